"""One training with its loss drawn while it runs. Changes nothing about the training."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from nblib import plots, spec
from nblib.plots import Picture
from nblib.progress import cell_output
from nblib.study import Planned, fitting
from nblib.study.fitting import Record
from nblib.train import Monitor
from nblib.widgets.jobs import pace

MIN_INTERVAL_SECONDS = 1.0  # between pictures
MAX_OVERHEAD = 0.05  # of the training's time that pictures may take


@dataclass(frozen=True)
class Trained:
    """What a training left; a notebook shows it as a sentence."""

    losses: pd.DataFrame = field(repr=False)  # one line per loss, as plots.loss_curve reads it
    trainable_parameters: int
    total_parameters: int
    train_seconds: float
    folder: Path  # of the adapter
    here: bool  # False: an earlier run had trained it already

    def __repr__(self) -> str:
        share = 100 * self.trainable_parameters / self.total_parameters
        how = "" if self.here else " by an earlier run, whose adapter we load"
        return (
            f"{self.trainable_parameters:,} weights, {share:.1f} % of {self.total_parameters:,}, were trained in "
            f"{self.train_seconds:.0f} seconds{how}. They are kept in {self.folder.parent.name}/{self.folder.name}."
        )


def train(planned: Planned, store: str | Path, *, shown: Callable[[Picture], None] | None = None) -> Trained:
    """Trains what is planned, unless its adapter is in `store` already; meanwhile the cell shows loss and time left.

    A study with the same settings finds the adapter and does not train it again. `shown` takes each picture instead of
    the cell; the last one stays.
    Raises ValueError for a method that leaves no adapter.
    """
    if not planned.training or isinstance(planned.run.method, spec.FullTuning):
        raise ValueError(f"a training to watch must leave an adapter; got {planned.run.method.kind}: take lora")
    base, record = fitting.Base(), Record()
    folder = fitting.adapter_folder(Path(store), planned)
    here = not fitting.is_saved(folder)
    output, line = cell_output(), cell_output()
    curve = _Curve(planned, shown or (output.update if output else lambda picture: None), line)
    total = base.load(planned, Record())[0].num_parameters()
    try:
        monitor = Monitor(report=curve.move, on_loss=curve.add)
        model = fitting.attach(planned, base, Path(store), record, monitor=monitor)
        fitting.detach(planned, base, model)
    except KeyboardInterrupt as stopped:
        fitting.forget_traceback(stopped)
        raise
    finally:
        base.drop()  # an interrupted training leaves nothing in memory
    costs: dict = record.costs
    curve.end(record.notes, costs["train_steps"])
    return Trained(curve.frame(), costs["trainable_parameters"], total, costs["train_seconds"], folder, here)


class _Curve:
    """The losses so far, and when they may be drawn again."""

    def __init__(self, planned: Planned, shown: Callable[[Picture], None], line):
        run = planned.run
        assert run.training is not None
        label = spec.label(run.method, run.precision)
        self.about = {"method": label, "kind": run.method.kind, "seed": run.seed, "model": run.model, "task": run.task}
        self.shown, self.epochs, self.line = shown, run.training.epochs, line
        self.lines: list[dict] = []
        self.share = self.next = 0.0  # of the training that is done; when to draw again
        self.begun: float | None = None  # when its first step ended

    def move(self, share: float) -> None:
        """A step has ended; its loss comes next."""
        self.share, self.begun = share, self.begun or time.monotonic()

    def add(self, step: int, loss: float) -> None:
        """The loss of the step that has ended."""
        self.lines.append({"of": "training", "epoch": self.share * self.epochs, "loss": loss, "kept": False})
        if (begun := time.monotonic()) >= self.next:
            self._draw()
            now = time.monotonic()
            self.next = now + max(MIN_INTERVAL_SECONDS, (now - begun) / MAX_OVERHEAD)

    def end(self, notes: dict, steps: int) -> None:
        """Training has ended: validation losses join."""
        self.share = 1.0
        for step, loss in notes["validation_losses"]:
            epoch, kept = self.epochs * step / steps, step == notes["best_step"]
            self.lines.append({"of": "validation", "epoch": epoch, "loss": loss, "kept": kept})
        self._draw()

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame([line | self.about for line in self.lines])

    def _draw(self) -> None:
        self.shown(plots.shown(plots.loss_curve(self.frame(), epochs=self.epochs)))
        if self.line and self.begun:
            self.line.update({"text/plain": pace(self.share, time.monotonic() - self.begun)}, raw=True)

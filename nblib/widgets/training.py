"""One training with its loss drawn while it runs. Changes nothing about the training."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nblib import plots, spec
from nblib.study import Planned, fitting
from nblib.study.record import Record
from nblib.train import Monitor

COLUMNS = ["of", "epoch", "loss", "kept", "method", "kind", "seed", "model", "task"]
LEAST_SECONDS = 1.0  # between pictures
SPARING = 20  # a picture waits for this many times the seconds that the last one took: 5 % of the training


@dataclass(frozen=True)
class Trained:
    """What a training left; a notebook shows it as a sentence."""

    losses: pd.DataFrame  # one line a loss, as plots.loss_curve reads it
    trainable_parameters: int
    total_parameters: int
    train_seconds: float
    folder: Path  # of the adapter
    here: bool  # False: an earlier run had trained it already

    def __repr__(self) -> str:
        share = 100 * self.trainable_parameters / self.total_parameters
        how = "" if self.here else " by an earlier run, whose adapter is read"
        return (
            f"{self.trainable_parameters:,} weights, {share:.1f} % of {self.total_parameters:,}, were trained in "
            f"{self.train_seconds:.0f} seconds{how}. They are kept in {self.folder.parent.name}/{self.folder.name}."
        )


def train(planned: Planned, store: str | Path, *, shown: Callable[[plots.Picture], None] | None = None) -> Trained:
    """Trains what is planned, unless its adapter is in `store` already; meanwhile the cell shows the loss.

    A study with the same settings finds the adapter and does not train it again. `shown` takes each picture instead of
    the cell; the last one stays.
    Raises ValueError for a method that leaves no adapter.
    """
    if not planned.training or isinstance(planned.run.method, spec.FullTuning):
        raise ValueError(f"a training to watch must leave an adapter; got {planned.run.method.kind}: take lora")
    store, base = Path(store), fitting.Base()
    record = Record()
    place = fitting.adapter_folder(store, planned)
    here = not fitting.is_saved(place)
    curve = _Curve(planned, shown or _cell())
    total = base.load(planned, Record())[0].num_parameters()
    try:
        monitor = Monitor(report=curve.move, on_loss=curve.add)
        model = fitting.attach(planned, base, store, record, monitor=monitor)
        fitting.detach(planned, base, model)
    except KeyboardInterrupt as stopped:
        fitting.forget_traceback(stopped)
        raise
    finally:
        base.drop()  # an interrupted training leaves nothing in memory
    curve.end(record.notes, record.costs)
    costs: dict = record.costs
    return Trained(curve.frame(), costs["trainable_parameters"], total, costs["train_seconds"], place, here)


class _Curve:
    """The losses so far, and when they were drawn last."""

    def __init__(self, planned: Planned, shown: Callable[[plots.Picture], None]):
        run = planned.run
        assert run.training is not None
        self.shown, self.epochs = shown, run.training.epochs
        label = spec.label(run.method, run.precision)
        self.about = {"method": label, "kind": run.method.kind, "seed": run.seed, "model": run.model, "task": run.task}
        self.lines: list[dict] = []
        self.share = 0.0  # of the training that is done
        self.next = 0.0  # when to draw again

    def move(self, share: float) -> None:
        """A step has ended; its loss comes next."""
        self.share = share

    def add(self, step: int, loss: float) -> None:
        """The loss of the step that has ended."""
        self.lines.append({"of": "training", "epoch": self.share * self.epochs, "loss": loss, "kept": False})
        if time.monotonic() >= self.next:
            self._draw()

    def end(self, notes: dict, costs: dict) -> None:
        """Training has ended: validation losses join."""
        for step, loss in notes["validation_losses"]:
            epoch = self.epochs * step / costs["train_steps"]
            kept = step == notes["best_step"]
            self.lines.append({"of": "validation", "epoch": epoch, "loss": loss, "kept": kept})
        self._draw()

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame([line | self.about for line in self.lines], columns=COLUMNS)

    def _draw(self) -> None:
        begun = time.monotonic()
        self.shown(plots.shown(plots.loss_curve(self.frame(), epochs=self.epochs)))
        now = time.monotonic()
        self.next = now + max(LEAST_SECONDS, SPARING * (now - begun))


def _cell() -> Callable[[plots.Picture], None]:
    """Shows a picture as a cell's output, each in the place of the one before; nowhere outside of a notebook."""
    from IPython import get_ipython
    from IPython.display import display

    if not hasattr(get_ipython(), "kernel"):
        return lambda picture: None
    handle = display({"text/plain": ""}, raw=True, display_id=True)
    assert handle is not None
    return handle.update

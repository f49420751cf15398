"""Who follows a training while it runs: a caller, TensorBoard, Weights & Biases, Trackio."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers import TrainerCallback

REPORTERS = ("none", "tensorboard", "wandb", "trackio")  # but for `none` also the names of their packages


@dataclass(frozen=True)
class Monitor:
    """What follows a training; nothing about the training changes by it."""

    report: Callable[[float], None] = lambda share: None  # after each step, the share of training that is done, 0 to 1
    on_loss: Callable[[int, float], None] | None = None  # after `report`, the number of steps and the last one's loss
    report_to: str = "none"  # one of REPORTERS: shows losses and learning rates
    log_folder: Path = Path("logs")  # takes TensorBoard's files; its name is the training's
    waiting: Callable[[], None] = lambda: None  # now and then while another process is at the same training

    def __post_init__(self):
        check_report_to(self.report_to)

    @contextmanager
    def callbacks(self) -> Iterator[tuple[list[TrainerCallback], dict]]:
        """What the Trainer takes, callbacks and arguments; the report ends with the training, however that ends."""
        found: list[TrainerCallback] = [_LossCallback(self.on_loss)] if self.on_loss else []
        settings: dict = {"logging_steps": 1} if self.on_loss or self.report_to != "none" else {}
        if self.report_to == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter
            from transformers.integrations import TensorBoardCallback

            with SummaryWriter(str(self.log_folder)) as writer:
                yield [*found, TensorBoardCallback(writer)], settings
            return
        if self.report_to != "none":  # the Trainer makes these by their names
            settings |= {"report_to": self.report_to, "run_name": self.log_folder.name, "project": "nblib"}
        try:
            yield found, settings
        finally:
            if self.report_to != "none":
                importlib.import_module(self.report_to).finish()  # else the next training would continue this curve


def check_report_to(report_to: str) -> None:
    """Raises ValueError for a name that is none, ImportError where its package is not installed."""
    if report_to not in REPORTERS:
        raise ValueError(f"report_to must be one of {', '.join(REPORTERS)}; got {report_to!r}")
    found = importlib.util.find_spec(report_to) if report_to != "none" else None
    if report_to != "none" and (found is None or found.origin is None):  # a mere folder of that name, such as wandb's
        raise ImportError(
            f"report_to = {report_to!r} needs the package {report_to}, which is not installed: "
            f"pip install {report_to}, or take report_to = 'none'"
        )


class _LossCallback(TrainerCallback):
    """Hands on the loss of each step that the Trainer logs."""

    def __init__(self, on_loss: Callable[[int, float], None]):
        self.on_loss = on_loss

    def on_log(self, args, state, control, logs, **_):
        if "loss" in logs:  # not of a validation, and not the mean at the end
            self.on_loss(state.global_step, logs["loss"])

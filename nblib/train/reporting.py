"""Who is told of a training while it runs: a listener, TensorBoard, Weights & Biases, Trackio. Trains nothing."""

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from transformers import TrainerCallback

REPORTERS = ("none", "tensorboard", "wandb", "trackio")  # but for `none` also the names of their packages


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


@dataclass(frozen=True)
class Told:
    """What the Trainer takes to tell them."""

    callbacks: list[TrainerCallback] = field(default_factory=list)
    settings: dict = field(default_factory=dict)  # of its arguments


@contextmanager
def told(report_to: str, log_folder: Path, on_loss: Callable[[int, float], None] | None) -> Iterator[Told]:
    """What tells these of a training, ended with it, however it ends."""
    check_report_to(report_to)
    callbacks: list[TrainerCallback] = [Listener(on_loss)] if on_loss else []
    settings: dict = {"logging_steps": 1} if on_loss or report_to != "none" else {}
    if report_to == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations import TensorBoardCallback

        with SummaryWriter(str(log_folder)) as writer:
            yield Told([*callbacks, TensorBoardCallback(writer)], settings)
        return
    if report_to != "none":  # the Trainer makes these by their names
        settings |= {"report_to": report_to, "run_name": log_folder.name, "project": "nblib"}
    try:
        yield Told(callbacks, settings)
    finally:
        if report_to != "none":
            importlib.import_module(report_to).finish()  # else the next training would go on with this one's curve


class Listener(TrainerCallback):
    """Tells the loss of each step that the Trainer logs."""

    def __init__(self, on_loss: Callable[[int, float], None]):
        self.on_loss = on_loss

    def on_log(self, args, state, control, logs, **_):
        if "loss" in logs:  # not of a validation, and not the mean at the end
            self.on_loss(state.global_step, logs["loss"])

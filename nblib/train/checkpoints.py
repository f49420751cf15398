"""What a training needs to go on after its process ended, beside the best weights so far. Decides no setting."""

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, synchronize_rng_states
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from nblib import files, methods, models, provenance
from nblib.train import losses
from nblib.train.encoding import answer_tokens

MIN_INTERVAL_SECONDS = 10.0  # between checkpoints
MAX_OVERHEAD = 0.02  # seconds of writing checkpoints, as a share of the training's
WEIGHTS, STATE, WHOLE = "model.safetensors", "nblib.pt", "nblib.json"  # in a checkpoint: the Trainer's name, ours, last


def _trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def _on_host(weight: torch.Tensor) -> torch.Tensor:
    """A copy; of what is split over processes, the whole, for which all of them ask at the same time."""
    whole = weight.detach().full_tensor() if isinstance(weight, DTensor) else weight.detach()
    return whole.to("cpu", copy=True)


def restore(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Gives trainable parameters the weights of the same name, where there are some."""
    with torch.no_grad():
        for name, parameter in _trainable(model):
            if name in weights:
                parameter.copy_(weights[name])


@dataclass(frozen=True)
class Checkpoints:
    """Where a training keeps checkpoints, and what it notes beside them; one that is found there is gone on from."""

    folder: Path
    facts: Callable[[], dict] = dict  # plain JSON, of the time when the checkpoint is written


def saved_facts(folder: str | Path) -> dict | None:
    """The facts beside the checkpoint that `fit` would go on from in this folder; None where it would begin anew."""
    path = _last_whole(Path(folder))
    return _noted(path)["facts"] if path else None


def _last_whole(folder: Path) -> Path | None:
    """The last checkpoint that was written to its end, with the packages that are here now."""
    places = sorted(folder.glob("checkpoint-*"), key=lambda place: int(place.name.partition("-")[2]), reverse=True)
    return next(filter(_is_whole, places), None)


def _is_whole(place: Path) -> bool:
    try:
        noted = _noted(place)
        sizes = {name: (place / name).stat().st_size for name in noted["bytes"]}
    except (OSError, ValueError, KeyError):
        return False
    return sizes == noted["bytes"] and noted["packages"] == provenance.versions()


def _noted(place: Path) -> dict:
    return json.loads((place / WHOLE).read_text(encoding="utf-8"))


class LeanTrainer(Trainer):
    """With validation losses over all answer tokens, and checkpoints of what is trained: the base is on disk."""

    optimizer: Any  # the Trainer's own, whose type it leaves open

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The one that belongs to the method, where there is one."""
        if self.optimizer is None:
            usual, settings = self.get_optimizer_cls_and_kwargs(self.args, model or self.model)
            self.optimizer = methods.optimizer(self.model, usual, settings, weight_decay=self.args.weight_decay)
        return super().create_optimizer(model)

    def compute_loss(self, *given: Any, **named: Any) -> Any:
        with methods.penalty_over(self.model, self.current_gradient_accumulation_steps * models.processes()):
            return super().compute_loss(*given, **named)

    def prediction_step(self, model: nn.Module, inputs: dict, *others: Any, **named: Any) -> tuple:
        """With a loss such that the mean over rows, which the Trainer takes, is that over all answer tokens."""
        loss, *rest = super().prediction_step(model, inputs, *others, **named)
        answers: Any = len(losses.answered(inputs["labels"]))
        rows = len(inputs["labels"])
        if models.processes() > 1:  # each loss is a share of all their batches' mean
            answers = self.accelerator.gather(torch.tensor(float(answers), device=loss.device)).mean()
        return loss * answers / rows / self._answers_a_row, *rest

    @cached_property
    def _answers_a_row(self) -> float:
        return sum(map(answer_tokens, self.eval_dataset)) / len(self.eval_dataset)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        """The order of one process, of whose batches each launched one takes its part."""
        if models.processes() == 1:
            return super()._get_train_sampler(train_dataset)
        return _Shared(self.train_dataset, self._train_batch_size * self.args.gradient_accumulation_steps)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if models.rank():
            return
        place = Path(output_dir or self.args.output_dir)
        place.mkdir(parents=True, exist_ok=True)
        (place / WHOLE).unlink(missing_ok=True)  # of other packages
        save_file({name: weight.detach().contiguous() for name, weight in _trainable(self.model)}, place / WEIGHTS)


class _Shared(Sampler):
    """Rows by length, as the Trainer of one process draws them, then those without labels, for processes that share."""

    def __init__(self, rows: Any, batch: int):
        self.count = len(rows)
        labelled = [row for row in rows if answer_tokens(row)]
        self.drawn = LengthGroupedSampler(batch * models.processes(), dataset=labelled, model_input_name="input_ids")

    def __iter__(self) -> Iterator[int]:
        yield from self.drawn
        yield from range(len(self.drawn), self.count)

    def __len__(self) -> int:
        return self.count


class FitCallback(TrainerCallback):
    """Keeps the weights of the lowest validation loss in memory, and has checkpoints written as often as is cheap."""

    def __init__(self, model: nn.Module, report: Callable[[float], None], checkpoints: Checkpoints | None):
        self.model, self.report, self.checkpoints = model, report, checkpoints
        self.losses: list[tuple[int, float]] = []
        self.best_step, self.best_loss = 0, math.inf
        self.best: dict[str, torch.Tensor] = {}
        self.since, self.took, self.writing = time.monotonic(), 0.0, False
        self.order: torch.Tensor | None = None  # the random state from which an epoch's order is drawn
        self.earlier_steps, self.earlier_loss = 0, 0.0  # before this process; the loss as a share of the mean

    def on_epoch_begin(self, args, state, control, **_):
        if self.order is not None and state.global_step == self.earlier_steps:
            torch.set_rng_state(self.order)  # the Trainer draws this epoch's order again, from whatever it finds
        if models.processes() > 1:
            synchronize_rng_states(["torch"])  # they draw the same
        self.order = torch.get_rng_state()

    def on_optimizer_step(self, args, state, control, **_):
        methods.after_step(self.model, state.global_step + 1)  # the Trainer counts a step when its gradients are gone

    def on_step_end(self, args, state, control, **_):
        self.report(state.global_step / state.max_steps)

    def on_evaluate(self, args, state, control, metrics, **_):
        loss = metrics["eval_loss"]
        self.losses.append((state.global_step, loss))
        if loss < self.best_loss:
            self.best_step, self.best_loss = state.global_step, loss
            self.best = {name: _on_host(weight) for name, weight in _trainable(self.model)}
        passed = time.monotonic() - self.since
        due = passed >= max(MIN_INTERVAL_SECONDS, self.took / MAX_OVERHEAD)
        if self.checkpoints and (broadcast_object_list([due])[0] if models.processes() > 1 else due):
            self.since, self.writing, control.should_save = time.monotonic(), True, True

    def on_save(self, args, state, control, **_):
        if models.processes() > 1:
            PartialState().wait_for_everyone()  # each writes its random state
        if models.rank() == 0:
            self._complete(state)
        self.writing, self.took, self.since = False, time.monotonic() - self.since, time.monotonic()

    def _complete(self, state) -> None:
        """Adds to a checkpoint what the Trainer does not know of, and deletes older ones."""
        assert self.checkpoints is not None
        place = self.checkpoints.folder / f"checkpoint-{state.global_step}"
        kept = {
            "best": self.best if self.best_step != state.global_step else None,  # the weights are there once
            "best_step": self.best_step,
            "best_loss": self.best_loss,
            "losses": self.losses,
            "order": torch.get_rng_state() if float(state.epoch).is_integer() else self.order,
            "pruning": _pruning(self.model),
        }
        torch.save(kept, place / STATE)
        _finish(place, self.checkpoints.facts())
        for older in self.checkpoints.folder.glob("checkpoint-*"):
            if older != place:
                shutil.rmtree(older, ignore_errors=True)

    def latest_checkpoint(self) -> str | None:
        """The checkpoint to go on from, for the Trainer, when what it does not know of is restored."""
        if self.checkpoints is None or (place := _last_whole(self.checkpoints.folder)) is None:
            return None
        kept = torch.load(place / STATE, map_location="cpu", weights_only=True)
        self.best_step, self.best_loss, self.losses = kept["best_step"], kept["best_loss"], kept["losses"]
        self.best = load_file(place / WEIGHTS) if kept["best"] is None else kept["best"]
        self.order = kept["order"]
        _prune_again(self.model, kept["pruning"])
        logged = json.loads((place / "trainer_state.json").read_text(encoding="utf-8"))
        self.earlier_steps, last = logged["global_step"], 0
        for entry in logged["log_history"]:
            if "loss" in entry:
                self.earlier_loss += entry["loss"] * (entry["step"] - last) / logged["max_steps"]
                last = entry["step"]
        return str(place)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Without the Trainer's lines on weights that no checkpoint has; one sentence where none can be written."""
        logger = logging.getLogger("transformers.trainer")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        except Exception as problem:  # torch, safetensors and the system each have their own
            if not self.writing or self.checkpoints is None:
                raise
            folder = self.checkpoints.folder
            free = shutil.disk_usage(folder).free >> 20  # torch does not say that it is that
            raise OSError(
                f"a checkpoint cannot be written to {folder}, where {free} MiB are free: {problem}"
            ) from problem
        finally:
            logger.setLevel(level)


def _finish(place: Path, facts: dict) -> None:
    """Notes, last, that a checkpoint is whole: all its files are on the disk by then."""
    sizes = {}
    for path in place.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        sizes[path.name] = path.stat().st_size
    files.write(place / WHOLE, json.dumps({"bytes": sizes, "packages": provenance.versions(), "facts": facts}))


def _pruning(model: nn.Module) -> dict | None:
    """What AdaLoRA prunes by, which is no weight."""
    if (allocator := getattr(getattr(model, "base_model", None), "rankallocator", None)) is None:
        return None
    names = ("ipt", "exp_avg_ipt", "exp_avg_unc")
    return {name: getattr(allocator, name) for name in names} | {"ranks": allocator.peft_config.rank_pattern}


def _prune_again(model: nn.Module, pruning: dict | None) -> None:
    if pruning is not None:
        allocator = model.base_model.rankallocator
        allocator.peft_config.rank_pattern = pruning.pop("ranks")
        for name, values in pruning.items():
            device = next(model.parameters()).device
            setattr(allocator, name, {key: value.to(device) for key, value in values.items()})

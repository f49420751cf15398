"""The base model that runs share, with a run's method on it: trained, or as an earlier run trained it."""

import gc
import glob
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nblib import memory, methods, models, provenance, spec, tasks, train
from nblib.study import claims, unfinished
from nblib.study.phases import phase
from nblib.study.planning import Planned
from nblib.tasks import Data

LOGS = "logs"  # of a results folder: a folder a training, for TensorBoard


@dataclass
class Base:
    """The last base model that was loaded: the next run with the same one attaches its method to it."""

    key: tuple | None = None  # model, precision, whether its weights are random, and whether its own code is run
    model: PreTrainedModel | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    costs: dict[str, float | None] = field(default_factory=dict)  # of loading it
    made: set[str] = field(default_factory=set)  # trainings of this study, by id

    def load(self, planned: Planned, costs: dict) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The base and its tokenizer; what loading cost is the same for every run that uses it."""
        run = planned.run
        key = (run.model, run.precision, run.shape_only, run.trust_remote_code)
        if key != self.key or self.model is None or self.tokenizer is None:
            self.drop()
            with phase("load", self.costs):
                if run.shape_only:
                    self.model, self.tokenizer = models.load_shape(run.model, run.precision)
                else:
                    trusted = run.trust_remote_code
                    self.model, self.tokenizer = models.load(run.model, run.precision, trust_remote_code=trusted)
            self.key = key
        costs |= self.costs
        return self.model, self.tokenizer

    def drop(self) -> None:
        """Frees it."""
        self.key = self.model = self.tokenizer = None
        self.costs = {}
        free()


def free() -> None:
    """What is not used any more goes back to the machine."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def let_go(stopped: KeyboardInterrupt) -> None:
    """Takes from it where it came through: a notebook keeps the last exception, and so a half trained model."""
    stopped.__traceback__ = stopped.__context__ = stopped.__cause__ = None


def attach(
    planned: Planned,
    base: Base,
    folder: Path,
    costs: dict,
    notes: dict,
    *,
    force: bool,
    report: Callable[[float], None],
    on_loss: Callable[[int, float], None] | None = None,
    report_to: str = "none",
    waiting: Callable[[], None] | None = None,
) -> nn.Module:
    """The base with the run's method, trained here or by an earlier run; costs and notes are those of the training.

    Where another process is at the same training, it is waited for; meanwhile `waiting` is called now and then, and
    what it raises ends that. The others hear of the training as `train.fit` says.
    """
    heard = {"report": report, "on_loss": on_loss, "report_to": report_to, "log_folder": folder / LOGS / planned.id}
    checkpoints = unfinished.training_folder(folder, planned)
    if planned.run.shape_only or isinstance(planned.run.method, spec.FullTuning):  # nothing that others could use
        unfinished.forget(checkpoints if force else None)
        return _fit(planned, base, checkpoints, costs, notes, heard)
    place = adapter_folder(folder, planned)
    with claims.claim(folder, f"{planned.training}.training", wait=True, waiting=waiting):
        if is_saved(place) and (not force or planned.training in base.made):
            facts = methods.read(place)["facts"]
            costs |= facts["costs"]
            notes |= facts["notes"]
            unfinished.forget(checkpoints)
            return methods.load(base.model, place)
        begun = place.parent.glob(f".{glob.escape(place.name)}-*")  # by a process that was killed while it saved
        unfinished.forget(checkpoints if force else None, *begun)
        model = _fit(planned, base, checkpoints, costs, notes, heard)
        _save(planned, model, place, costs, notes)
        base.made.add(planned.training)
        unfinished.forget(checkpoints)
    return model


def detach(planned: Planned, base: Base, model: nn.Module) -> None:
    """Leaves the base as it was loaded; where its own weights have changed, it is dropped, to be loaded again."""
    if isinstance(planned.run.method, spec.FullTuning):
        base.drop()
    elif planned.run.method.trained:
        try:
            base.model = methods.detach(model)
        except methods.BaseChangedError:
            base.drop()


def adapter_folder(folder: Path, planned: Planned) -> Path:
    """Where the trained adapter of a run is kept."""
    return folder / "adapters" / planned.training


def is_saved(place: Path) -> bool:
    """Whether an adapter was trained to its end and kept there."""
    return (place / methods.FACTS).exists()


def _save(planned: Planned, model: nn.Module, place: Path, costs: dict, notes: dict) -> None:
    trained = {name: value for name, value in costs.items() if name.startswith("train") or "parameters" in name}
    facts = {
        "settings": spec.settings(planned.run),
        "costs": trained,
        "notes": {name: value for name, value in notes.items() if name != "data_checks"},
        "provenance": provenance.collect(),
    }
    try:
        methods.save(model, place, base=planned.run.model, precision=planned.run.precision, facts=facts)
    except (OSError, RuntimeError, SafetensorError) as problem:  # a full disk, in the words of three libraries
        raise OSError(f"the adapter cannot be written to {place}: {problem}") from problem


def _fit(
    planned: Planned,
    base: Base,
    checkpoints: Path | None,
    costs: dict,
    notes: dict,
    heard: dict,
) -> nn.Module:
    run, data, training = planned.run, planned.data, planned.run.training
    task = tasks.get(run.train_task or run.task)
    assert isinstance(run.method, spec.Trained)
    assert training is not None
    assert base.model is not None
    if training.gradient_checkpointing and not methods.keeps_checkpointing(run.method):
        training = replace(training, gradient_checkpointing=False)
        notes["gradient_checkpointing"] = f"off: {run.method.kind} cannot be trained with it"
    before = (train.kept(checkpoints) if checkpoints else None) or {}
    with phase("train", costs) as measured:
        measured.earlier = before.get("costs", {})
        seq2seq = base.model.config.is_encoder_decoder
        steps = train.steps(data.train, base.tokenizer, task, training, encoder_decoder=seq2seq)
        batches: list = []
        if methods.begins_with_rows(run.method):
            rows = train.encode_all(data.train, base.tokenizer, task, encoder_decoder=seq2seq)
            batches = _batches(rows, base.tokenizer, training)
        model = methods.attach(base.model, run.method, base.tokenizer, seed=run.seed, steps=steps, batches=batches)
        costs["trainable_parameters"] = methods.trainable_parameters(model)
        with memory.first_step(model) as kinds:
            kinds |= before.get("kinds", {})  # the first step was made by another process

            def facts() -> dict:
                return {"costs": measured.so_far(), "kinds": kinds, "resumed": before.get("resumed", -1) + 1}

            try:
                fitted = _train(run, run.method, training, data, model, base.tokenizer, heard, checkpoints, facts)
            finally:  # what was known when memory ran out, too
                costs |= {f"train_{kind}_bytes": size for kind, size in kinds.items()}
    if before:
        notes["training_resumed"] = before["resumed"] + 1
    costs |= {"train_tokens": fitted.train_tokens, "train_steps": fitted.steps}
    notes |= {"rows_too_long": fitted.rows_too_long, "best_step": fitted.best_step}
    notes["validation_losses"] = fitted.validation_losses
    return model


def _batches(rows: list[dict], tokenizer, training: spec.Training) -> list[dict[str, torch.Tensor]]:
    """Rows in their order, as many at a time as training takes."""
    size = training.device_batch
    return [train.collate(rows[at : at + size], tokenizer.pad_token_id) for at in range(0, len(rows), size)]


def _train(
    run: spec.Run,
    method: spec.Trained,
    training: spec.Training,
    data: Data,
    model: nn.Module,
    tokenizer,
    heard: dict,
    checkpoints: Path | None,
    facts: Callable[[], dict],
) -> train.Fitted:
    fitted = train.fit(
        model,
        tokenizer,
        data.train,
        data.validation,
        tasks.get(run.train_task or run.task),
        training,
        learning_rate=method.learning_rate,
        precision=run.precision,
        seed=run.seed,
        after_step=lambda step: methods.after_step(model, step),
        folder=checkpoints,
        facts=facts,
        **heard,
    )
    if fitted.best_step == 0 and not run.shape_only:
        raise ArithmeticError("training diverged: no validation loss was a number; lower the learning rate")
    return fitted

"""The base model that runs share, with a run's method on it, trained here or earlier; what that and the rest cost."""

import gc
import glob
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError
from torch import nn

from nblib import memory, methods, models, provenance, results, spec, tasks, train
from nblib.study import resume
from nblib.study.locks import lock
from nblib.study.planning import Planned

LOGS = "logs"  # of a results folder: a folder a training, for TensorBoard
WEIGHTS = "adapter_model.safetensors"  # PEFT's name


@dataclass
class Phase:
    """What a phase costs; `earlier` is what it had cost when an earlier process ended in the middle of it."""

    earlier: dict[str, float | None] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)
    peak: memory.Peak = field(default_factory=memory.Peak)
    counters: dict[str, tuple[float, float]] = field(default_factory=memory.counters)  # of energy

    def costs(self) -> dict[str, float | None]:
        """Seconds, joules and bytes by name."""
        costs: dict = {"before_bytes": self.peak.before_bytes}
        seconds = time.monotonic() - self.start
        costs["seconds"] = seconds + (self.earlier.get("seconds") or 0.0)
        joules, before = memory.joules(self.counters, seconds), self.earlier.get("joules") if self.earlier else 0.0
        costs["joules"] = None if joules is None or before is None else before + joules
        for name in ("peak_bytes", "reserved_bytes"):
            costs[name] = memory.most(getattr(self.peak, name), self.earlier.get(name))
        return costs

    def so_far(self) -> dict[str, float | None]:
        """The costs until now, of a phase that has not ended."""
        with memory.phase(memory.Peak()):
            pass  # its beginning notes the peaks of the phases around it
        return self.costs()


@dataclass
class Record:
    """Costs, notes and status of one run; a row is made of it."""

    costs: dict[str, float | None] = field(default_factory=dict)  # as in results.Row
    notes: dict = field(default_factory=dict)
    status: str = results.OK
    error: str | None = None

    @contextmanager
    def phase(self, name: str, earlier: dict[str, float | None] | None = None) -> Iterator[Phase]:
        """Adds `name_seconds` and bytes of what runs inside, also where it fails."""
        measured = Phase(earlier or {})
        try:
            with memory.phase(measured.peak):
                yield measured
        finally:
            self.costs |= {f"{name}_{kind}": value for kind, value in measured.costs().items()}

    def fail(self, problem: Exception) -> None:
        """Notes why the run ended before its end, and where."""
        self.status = results.OUT_OF_MEMORY if memory.is_out_of_memory(problem) else results.FAILED
        self.error = f"{type(problem).__name__}: {problem}"
        self.notes["traceback"] = "".join(traceback.format_exception(problem))


@dataclass
class Base:
    """The last base model that was loaded: the next run with the same one attaches its method to it."""

    key: tuple | None = None  # model, precision, whether its weights are random, its own code is run; how it is split
    model: Any = None  # a PreTrainedModel
    tokenizer: Any = None
    loading: Record = field(default_factory=Record)  # what it cost
    trained: set[str] = field(default_factory=set)  # trainings of this study, by id
    losses: dict[tuple, float] = field(default_factory=dict)  # before any training, by base and texts

    def load(self, planned: Planned, record: Record, *, split: str = "") -> tuple[Any, Any]:
        """The base and its tokenizer; what loading cost is the same for every run that uses it."""
        run = planned.run
        split = split or ("layers" if models.is_split() else "")
        key = (run.model, run.precision, run.shape_only, run.trust_remote_code, split)
        if key != self.key:
            self.drop()
            with self.loading.phase("load"):
                if run.shape_only:
                    self.model, self.tokenizer = models.load_shape(run.model, run.precision, split=split)
                else:
                    self.model, self.tokenizer = models.load(
                        run.model, run.precision, trust_remote_code=run.trust_remote_code, split=split
                    )
            self.key = key
        record.costs |= self.loading.costs
        return self.model, self.tokenizer

    def drop(self) -> None:
        """Frees it."""
        self.key = self.model = self.tokenizer = None
        self.loading = Record()
        with thawed():
            free()


@contextmanager
def frozen() -> Iterator[None]:
    """Inside, collections look only at what came since: those after each run would take longer than a trivial run.

    Before a model is loaded, `Base.drop` looks at everything once.
    """
    if gc.get_freeze_count():  # whoever calls has done it
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def thawed() -> Iterator[None]:
    """Inside, collections look at everything again, as where a model goes that is older than `frozen`."""
    was_frozen = gc.get_freeze_count() > 0
    gc.unfreeze()
    yield
    if was_frozen:
        gc.freeze()


def free() -> None:
    """What is not used any more goes back to the machine."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def forget_traceback(stopped: KeyboardInterrupt) -> None:
    """A notebook keeps the last exception, and with its traceback a half trained model."""
    stopped.__traceback__ = stopped.__context__ = stopped.__cause__ = None


def attach(
    planned: Planned,
    base: Base,
    folder: Path,
    record: Record,
    *,
    force: bool = False,
    monitor: train.Monitor = train.Monitor(),  # noqa: B008  (frozen)
) -> nn.Module:
    """The base with the run's method, trained here or by an earlier run; where nothing is trained, the base.

    The record gets the training's costs and notes. Where another process is at the same training, it is waited for.
    """
    if not planned.training:
        return base.model
    monitor = replace(monitor, log_folder=folder / LOGS / planned.id)
    checkpoints = resume.checkpoint_folder(folder, planned)
    path = adapter_folder(folder, planned)
    if planned.run.shape_only or isinstance(planned.run.method, spec.FullTuning):  # nothing that others could use
        resume.forget(checkpoints if force else None)
        model = _fit(planned, base, checkpoints, record, monitor)
    else:
        model = _shared(planned, base, folder, record, force, monitor)
    record.notes["adapter"] = None if planned.run.shape_only else planned.training
    record.costs["adapter_bytes"] = (path / WEIGHTS).stat().st_size if (path / WEIGHTS).exists() else None
    return model


def _shared(
    planned: Planned, base: Base, folder: Path, record: Record, force: bool, monitor: train.Monitor
) -> nn.Module:
    """The base with an adapter that is trained once and kept for every run that needs it."""
    path, checkpoints = adapter_folder(folder, planned), resume.checkpoint_folder(folder, planned)
    with lock(folder, f"{planned.training}.training", wait=True, waiting=monitor.waiting):
        if is_saved(path) and (not force or planned.training in base.trained):
            facts = methods.read(path)["facts"]
            record.costs |= facts["costs"]
            record.notes |= facts["notes"]
            model = methods.load(base.model, path)
        else:
            half_saved = path.parent.glob(f".{glob.escape(path.name)}-*")  # by a process that was killed meanwhile
            resume.forget(checkpoints if force else None, *half_saved)
            model = _fit(planned, base, checkpoints, record, monitor)
            _save(planned, model, path, record)
            base.trained.add(planned.training)
        resume.forget(checkpoints)
    return model


def detach(planned: Planned, base: Base, model: nn.Module) -> None:
    """Leaves the base as it was loaded; where its own weights have changed, it is dropped, to be loaded again."""
    if planned.run.method.trained:
        try:
            base.model = methods.detach(model)
        except methods.BaseChangedError:  # also by full tuning
            base.drop()


def adapter_folder(folder: Path, planned: Planned) -> Path:
    """Where the trained adapter of a run is kept."""
    return folder / "adapters" / planned.training


def is_saved(path: Path) -> bool:
    """Whether an adapter was trained to its end and kept there, as training is done today."""
    if not (path / methods.FACTS).exists():
        return False
    facts = methods.read(path)["facts"]
    old = results.older(facts["settings"], facts.get("notes", {}) | facts.get("provenance", {}))
    return not set(old) & {"prompts", "training"}


def _save(planned: Planned, model: nn.Module, path: Path, record: Record) -> None:
    facts = {
        "settings": spec.settings(planned.run),
        "costs": {name: cost for name, cost in record.costs.items() if name.startswith("train") or "param" in name}
        | {"train_joules": None},  # of a run that reads it: what the device counted was not for it alone
        "notes": {name: note for name, note in record.notes.items() if name != "data_checks"},
        "provenance": provenance.collect(),
    }
    try:
        methods.save(model, path, base=planned.run.model, precision=planned.run.precision, facts=facts)
    except (OSError, RuntimeError, SafetensorError) as problem:  # a full disk, in the words of three libraries
        raise OSError(f"the adapter cannot be written to {path}: {problem}") from problem


def _fit(planned: Planned, base: Base, checkpoints: Path | None, record: Record, monitor: train.Monitor) -> Any:
    """The base with the method attached and trained, by all processes that were launched together.

    Where they split the weights, each has a part in the end: the first one begins again with a whole base and what was
    trained, and others have no model.
    """
    split, model = models.is_split(), None
    if models.processes() == 1:
        return _fit_here(planned, base, checkpoints, record, monitor)[0]
    if models.rank() == 0:
        broadcast_object_list([(planned.id, checkpoints)])  # the others follow
    base.load(planned, Record(), split="weights" if split else "")
    if split:
        weights = _fit_here(planned, base, None, record, monitor)[1]
        base.drop()
    else:
        model, weights = _fit_here(planned, base, checkpoints, record, monitor)
    record.notes["training_processes"] = models.processes()
    record.notes["train_peak_bytes_by_process"] = gather_object([record.costs["train_peak_bytes"]])
    if split and models.rank() == 0:
        base.load(planned, Record())
        model = _attached(planned, base, _training(planned.run, Record()))
        train.restore(model, weights)
    return model


def follow(planned: Sequence[Planned]) -> list[results.Row]:
    """Trains along with the first of the launched processes, keeps nothing, and returns the rows that it hands out."""
    known, base = {one.id: one for one in planned}, Base()
    while isinstance(said := broadcast_object_list([None])[0], tuple):
        id, checkpoints = said
        if models.device() == "cpu":
            torch.set_num_threads(known[id].run.threads)
        _fit(known[id], base, checkpoints, Record(), train.Monitor())
        base.drop()  # whatever is attached to it
    return said


def _fit_here(
    planned: Planned, base: Base, checkpoints: Path | None, record: Record, monitor: train.Monitor
) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The base with the method attached and trained, from where an earlier process stopped; and what was trained."""
    run, method, task = planned.run, planned.run.method, tasks.trained(planned.run)
    assert isinstance(method, spec.Trained)
    training = _training(run, record)
    before = (train.saved_facts(checkpoints) if checkpoints else None) or {}
    with record.phase("train", before.get("costs")) as phase:
        model = _attached(planned, base, training)
        record.costs["trainable_parameters"] = methods.trainable_parameters(model)
        followed: AbstractContextManager[dict] = nullcontext({}) if models.is_split() else memory.first_step(model)
        with followed as kinds:
            kinds |= before.get("kinds", {})  # the first step was made by another process
            try:
                fitted = train.fit(
                    model,
                    base.tokenizer,
                    planned.data,
                    task,
                    training,
                    learning_rate=method.learning_rate,
                    precision=run.precision,
                    seed=run.seed,
                    monitor=monitor,
                    checkpoints=_checkpoints(checkpoints, phase, kinds, before),
                )
            finally:  # what was known when memory ran out, too
                record.costs |= {f"train_{kind}_bytes": size for kind, size in kinds.items()}
    if fitted.best_step == 0 and not run.shape_only:
        raise ArithmeticError("training diverged: no validation loss was a number; lower the learning rate")
    record.notes |= {"optimizer": method.optimizer} if method.optimizer else {}
    record.costs |= {"train_tokens": fitted.train_tokens, "train_steps": fitted.steps}
    record.notes |= {"training_resumed": before["resumed"] + 1} if before else {}
    record.notes |= {"rows_too_long": fitted.rows_too_long, "best_step": fitted.best_step}
    record.notes["validation_losses"] = fitted.validation_losses
    return model, fitted.weights


def _training(run: spec.Run, record: Record) -> spec.Training:
    """As the run has it, but without gradient checkpointing where its method cannot be trained with it."""
    method = run.method
    assert run.training is not None
    assert isinstance(method, spec.Trained)
    if not run.training.gradient_checkpointing or methods.keeps_checkpointing(method):
        return run.training
    record.notes["gradient_checkpointing"] = f"off: {method.kind} cannot be trained with it"
    return replace(run.training, gradient_checkpointing=False)


def _attached(planned: Planned, base: Base, training: spec.Training) -> nn.Module:
    """The base with the method on it, untrained; some methods begin with the training rows in their order."""
    method, tokenizer, size = planned.run.method, base.tokenizer, training.device_batch
    assert isinstance(method, spec.Trained)
    task, seq2seq = tasks.trained(planned.run), base.model.config.is_encoder_decoder
    rows = train.encode_all(planned.data.train, tokenizer, task, encoder_decoder=seq2seq)
    batches = (train.collate(rows[start : start + size], tokenizer.pad_token_id) for start in range(0, len(rows), size))
    steps = train.steps(len(rows), training)
    return methods.attach(base.model, method, tokenizer, seed=planned.run.seed, steps=steps, batches=batches)


def _checkpoints(folder: Path | None, phase: Phase, kinds: dict, before: dict) -> train.Checkpoints | None:
    """Where checkpoints are kept, with what the training has cost until each."""

    def facts() -> dict:
        return {"costs": phase.so_far(), "kinds": kinds, "resumed": before.get("resumed", -1) + 1}

    return train.Checkpoints(folder, facts) if folder else None

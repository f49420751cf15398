"""Runs what is planned: one run, or all that a folder lacks."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import torch

from nblib import methods, models, provenance, results, spec, train
from nblib.progress import Progress
from nblib.results import Prediction, Row
from nblib.study import answering, fitting, locks, parallel, planning, resume
from nblib.study.fitting import Base
from nblib.study.planning import Planned
from nblib.study.record import Record

TRAINING_SHARE = 0.7  # of a run's time, for its line of progress


def run_all(
    planned: Sequence[Planned],
    folder: str | Path,
    *,
    force: bool = False,
    allow_code_execution: bool = False,
    push_to: str = "",
    processes: int | None = 1,
    report_to: str = "none",
) -> list[Row]:
    """The rows of these runs in their order; only those that `folder` lacks are run, all of them with `force`.

    A run that another process ended in the middle of is gone on with; one that another process works on is left to it,
    and waited for. Trained adapters are kept in `folder/adapters`, and runs that share their training share it.
    `push_to` is a user or an organisation of the Hub that each adapter of these runs is uploaded to; empty: none is.
    `processes` share the runs and the processor's threads; None: as many as pay and as memory holds, on a CPU. Seconds
    are then those of a run with others beside it. With `force` there is one.
    `report_to` is none, tensorboard, wandb or trackio: trainings are shown there under the ids of their runs, with
    TensorBoard's files in `folder/logs`. No row changes by it.
    Raises OSError where `folder` cannot be written to; what was done until then is kept.
    """
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be a whole number from 1 on, or None; got {processes!r}")
    for name, value in {"force": force, "allow_code_execution": allow_code_execution}.items():
        if not isinstance(value, bool):  # the text "false" would be true
            raise ValueError(f"{name} must be True or False; got {value!r}")
    train.check_report_to(report_to)
    folder = Path(folder).expanduser()
    before = {each.id: results.written(folder, each.id) for each in planned}
    waiting = [each for each in planned if force or not results.finished(folder, each.id)]
    if waiting:
        results.require_room(folder)
        processes = 1 if force else parallel.count(waiting) if processes is None else processes
        waiting = parallel.in_order(waiting) if processes > 1 else waiting
        options = {"allow_code_execution": allow_code_execution, "processes": processes, "report_to": report_to}
        with parallel.started(processes, run_unlocked, waiting, folder, before, options):
            _run(waiting, folder, before, force=force, wait=True, **options)
    _tidy(planned, folder)
    for path in {fitting.adapter_folder(folder, each) for each in planned if each.training} if push_to else ():
        if fitting.is_saved(path):
            methods.push(path, f"{push_to}/{path.name}")
    return results.read(folder, [each.id for each in planned])


def run_unlocked(waiting: Sequence[Planned], folder: Path, before: dict[str, int | None], options: dict) -> None:
    """Runs those that no other process works on; nothing is waited for."""
    _run(waiting, folder, before, force=False, wait=False, **options)


def _run(
    waiting: Sequence[Planned], folder: Path, before: dict[str, int | None], *, force: bool, wait: bool, **options
) -> None:
    """Runs each whose row is still the one that was there `before`."""
    progress, base = Progress(len(waiting)), Base()
    try:
        with closing(_locked(waiting, folder, wait=wait)) as locked:
            for planned in locked:
                if results.written(folder, planned.id) == before[planned.id]:  # not by another process meanwhile
                    progress.begin(f"{spec.label(planned.run.method, planned.run.precision)}, seed {planned.run.seed}")
                    with _explained(folder):
                        run_one(planned, folder, base=base, force=force, report=progress.report, **options)
                progress.end(sum(results.written(folder, each.id) != before[each.id] for each in waiting))
    finally:
        base.drop()  # also when a cell is interrupted


def _locked(waiting: Sequence[Planned], folder: Path, *, wait: bool) -> Generator[Planned, None, None]:
    """Each run when nobody else works on it: those that are free, then, with `wait`, the others as they become so."""
    waits = False
    while waiting:
        busy = []
        for planned in waiting:
            with locks.lock(folder, planned.id, wait=waits) as free:
                waits = False  # for the first of them; by then the next ones may be free
                if free:
                    yield planned
                else:
                    busy.append(planned)
        waiting, waits = busy if wait else (), True


def _tidy(planned: Sequence[Planned], folder: Path) -> None:
    """Deletes what finished runs do not need any more; what failed is gone on with by the next attempt."""
    with suppress(OSError):  # a folder that is only read
        locks.sweep(folder)
    if not (folder / resume.FOLDER).exists():
        return
    for each in planned:
        if results.finished(folder, each.id):
            own = isinstance(each.run.method, spec.FullTuning)
            resume.forget(resume.answers_file(folder, each), resume.checkpoint_folder(folder, each) if own else None)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Says of what cannot be written what became of the rest."""
    try:
        yield
    except OSError as problem:
        if isinstance(problem, ConnectionError):
            raise
        raise OSError(
            f"{problem}; what was done until then is kept in {folder}: make room or mend it, and run this again"
        ) from problem


def run_one(
    planned: Planned,
    folder: str | Path,
    *,
    base: Base | None = None,
    force: bool = False,
    report: Callable[[float], None] = lambda share: None,
    allow_code_execution: bool = False,
    processes: int = 1,
    report_to: str = "none",
) -> Row:
    """Runs it and writes its row, whatever happens: a run that fails is a row that says so.

    A row whose answers still hold, but whose scores are of an earlier revision, is scored again from its answers.
    `base` keeps the model for the next run; `force` begins anew where an earlier study ended, well or not. `processes`
    is how many work side by side, this one included: the row says so, since its seconds depend on it.
    `report` and `report_to` are as in `train.Monitor`.
    """
    folder, base, record = Path(folder), base or Base(), Record(notes={"data_checks": planned.checks})
    if force:
        resume.forget(resume.answers_file(folder, planned))
    elif earlier := results.to_rescore(folder, planned.id):
        return _rescored(planned, folder, earlier, allow_code_execution)
    monitor = train.Monitor(report=report, report_to=report_to)
    predictions: list[Prediction] = []
    scores: dict[str, dict] = {}
    try:
        predictions = _predict(planned, folder, base, record, monitor, force)
        if planned.run.shape_only:
            predictions = []  # of random weights: nothing to keep or to score
        else:
            predictions, scores = answering.score(
                planned, predictions, record, allow_code_execution=allow_code_execution
            )
    except KeyboardInterrupt as stopped:
        fitting.forget_traceback(stopped)
        base.drop()
        raise
    except OSError:
        base.drop()
        raise
    except Exception as problem:  # the study goes on, and the row says what happened and where
        record.fail(problem)
        predictions = []  # without scores they are no result; they are kept as those of an unfinished run
    if record.error:
        base.drop()  # whatever is attached to it
    fitting.free()
    made = provenance.collect() | _origin(planned) | {"processes": processes}
    row = Row(planned.id, spec.settings(planned.run), scores=scores, provenance=made, **asdict(record))
    results.write(folder, row, predictions)
    _tidy([planned], folder)
    _card(planned, folder, row)
    return row


def _predict(
    planned: Planned, folder: Path, base: Base, record: Record, monitor: train.Monitor, force: bool
) -> list[Prediction]:
    """Loads, fits and answers."""
    model, tokenizer = base.load(planned, record)
    record.costs |= {"total_parameters": model.num_parameters(), "trainable_parameters": 0}  # four bits count as one
    begun = TRAINING_SHARE if planned.training else 0.0
    if planned.training:
        training = replace(monitor, report=lambda share: monitor.report(begun * share))
        model = fitting.attach(planned, base, folder, record, force=force, monitor=training)
        record.notes["adapter"] = None if planned.run.shape_only else planned.training
        weights = fitting.adapter_folder(folder, planned) / "adapter_model.safetensors"  # PEFT's name
        record.costs["adapter_bytes"] = weights.stat().st_size if weights.exists() else None
    predictions = answering.predict(
        planned, model, tokenizer, folder, record, lambda share: monitor.report(begun + share * (1 - begun))
    )
    fitting.detach(planned, base, model)
    return predictions


def _rescored(planned: Planned, folder: Path, earlier: Row, allow_code_execution: bool) -> Row:
    """The row with scores as they are computed today, from the answers that are there."""
    record = Record(dict(earlier.costs), dict(earlier.notes))
    predictions = answering.extracted(planned, results.predictions(folder, planned.id))
    predictions, scores = answering.score(planned, predictions, record, allow_code_execution=allow_code_execution)
    now = provenance.collect()
    made = earlier.provenance | {"revisions": now["revisions"], "scored": now}
    row = replace(earlier, scores=scores, provenance=made, **asdict(record))
    results.write(folder, row, predictions)
    _card(planned, folder, row)
    return row


def _card(planned: Planned, folder: Path, row: Row) -> None:
    """The card of the run's adapter, with the scores of every run that used it."""
    path = fitting.adapter_folder(folder, planned)
    if row.status != results.OK or not planned.training or not fitting.is_saved(path):
        return
    used = [each for each in results.read(folder) if each.notes.get("adapter") == planned.training]
    methods.card(path, scores={(row.settings["task"], row.settings.get("split", "test")): row.scores for row in used})


def _origin(planned: Planned) -> dict:
    """Device, and content of data and weights."""
    device = models.device()
    name = torch.cuda.get_device_name() if device == "cuda" else None
    return {
        "device": device,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "data": planned.data.content,
        "data_revision": planned.data.revision,
        "weights": planning.weights(planned.run),
        "trust_remote_code": planned.run.trust_remote_code,
    }

"""Runs what is planned: one run, or all that a folder lacks. Plans nothing."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import torch

from nblib import memory, methods, metrics, models, provenance, results, spec, tasks, train
from nblib.progress import Progress
from nblib.results import Prediction, Row
from nblib.study import answering, claims, fitting, planning, unfinished, workers
from nblib.study.fitting import Base
from nblib.study.planning import Planned


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
    train.check_report_to(report_to)
    folder = Path(folder)
    found = {each.id: results.written(folder, each.id) for each in planned}
    waiting = [each for each in planned if force or not results.finished(folder, each.id)]
    if waiting:
        results.require_room(folder)
        processes = 1 if force else workers.count(waiting) if processes is None else processes
        waiting = workers.in_order(waiting) if processes > 1 else waiting
        how = {"allow_code_execution": allow_code_execution, "processes": processes, "report_to": report_to}
        with workers.started(processes, waiting, folder, found, how):
            _work(waiting, folder, found, force=force, wait=True, **how)
    _tidy(planned, folder)
    for place in {fitting.adapter_folder(folder, each) for each in planned if each.training} if push_to else ():
        if fitting.is_saved(place):
            methods.push(place, f"{push_to}/{place.name}")
    return results.read(folder, [each.id for each in planned])


def take_part(waiting: Sequence[Planned], folder: Path, found: dict[str, int | None], how: dict) -> None:
    """Runs those that nobody else works on, for the process that started this one; nothing is waited for."""
    _work(waiting, folder, found, force=False, wait=False, **how)


def _work(
    waiting: Sequence[Planned], folder: Path, found: dict[str, int | None], *, force: bool, wait: bool, **how
) -> None:
    """Runs each whose row is still the one that was `found`."""
    progress, base = Progress(len(waiting)), Base()
    try:
        with closing(_claimed(waiting, folder, wait=wait)) as claimed:
            for each in claimed:
                if results.written(folder, each.id) == found[each.id]:  # not by another process meanwhile
                    progress.begin(f"{spec.label(each.run.method, each.run.precision)}, seed {each.run.seed}")
                    with _kept(folder):
                        run_one(each, folder, base=base, force=force, report=progress.report, **how)
                progress.end(sum(results.written(folder, other.id) != found[other.id] for other in waiting))
    finally:
        base.drop()  # also when a cell is interrupted


def _claimed(waiting: Sequence[Planned], folder: Path, *, wait: bool) -> Generator[Planned, None, None]:
    """Each run when nobody else works on it: those that are free, then, with `wait`, the others as they become so."""
    waits = False
    while waiting:
        busy = []
        for each in waiting:
            with claims.claim(folder, each.id, wait=waits) as mine:
                waits = False  # for the first of them; by then the next ones may be free
                if mine:
                    yield each
                else:
                    busy.append(each)
        waiting, waits = busy if wait else (), True


def _tidy(planned: Sequence[Planned], folder: Path) -> None:
    """Deletes what finished runs do not need any more; of what failed the next attempt takes up what is there."""
    with suppress(OSError):  # a folder that is only read
        claims.sweep(folder)
    if not (folder / unfinished.FOLDER).exists():
        return
    for each in planned:
        if results.finished(folder, each.id):
            own = isinstance(each.run.method, spec.FullTuning)
            unfinished.forget(
                unfinished.answers_file(folder, each), unfinished.training_folder(folder, each) if own else None
            )


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """What cannot be written, with what became of the rest."""
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

    `base` keeps the model for the next run; `force` begins anew where an earlier study ended, well or not. `processes`
    is how many work beside each other, this one included: the row says so, since its seconds depend on it.
    `report_to` is as in `run_all`.
    """
    folder, base = Path(folder), base or Base()
    if force:
        unfinished.forget(unfinished.answers_file(folder, planned))
    costs: dict[str, float | None] = {}
    notes: dict = {"data_checks": planned.checks}
    scores, predictions, status, error = {}, [], results.OK, None
    try:
        predictions = _predict(planned, folder, base, costs, notes, force, report, report_to)
        if planned.run.shape_only:
            predictions = []  # of random weights: nothing to keep or to score
        else:
            predictions = metrics.score(planned.data.test, predictions)
            if tasks.get(planned.run.task).executed:
                predictions = answering.execute(planned, predictions, costs, notes, allow_code_execution)
            scores = metrics.summary(predictions, planned.data.test)
    except KeyboardInterrupt as stopped:
        fitting.let_go(stopped)
        base.drop()
        raise
    except OSError:
        base.drop()
        raise
    except (RuntimeError, ArithmeticError, MemoryError) as problem:
        status = results.OUT_OF_MEMORY if memory.is_out_of_memory(problem) else results.FAILED
        error = f"{type(problem).__name__}: {problem}"
        costs["requested_bytes"] = memory.requested(problem)
    if error:
        base.drop()  # whatever is attached to it
    fitting.free()
    row = Row(
        id=planned.id,
        settings=spec.settings(planned.run),
        status=status,
        scores=scores,
        costs=costs,
        notes=notes,
        provenance=provenance.collect() | _origin(planned) | {"processes": processes},
        error=error,
    )
    results.write(folder, row, predictions)
    _tidy([planned], folder)
    _card(planned, folder, row)
    return row


def _predict(
    planned: Planned,
    folder: Path,
    base: Base,
    costs: dict,
    notes: dict,
    force: bool,
    report: Callable[[float], None],
    report_to: str,
) -> list[Prediction]:
    """Loads, fits and predicts; costs and notes are filled in as they become known."""
    model, tokenizer = base.load(planned, costs)
    costs["total_parameters"] = model.num_parameters()  # counts what four bits hold
    costs["trainable_parameters"] = 0
    begun = 0.7 if planned.training else 0.0
    if planned.training:
        model = fitting.attach(
            planned,
            base,
            folder,
            costs,
            notes,
            force=force,
            report=lambda share: report(begun * share),
            report_to=report_to,
        )
        notes["adapter"] = None if planned.run.shape_only else planned.training
        weights = fitting.adapter_folder(folder, planned) / "adapter_model.safetensors"  # PEFT's name
        costs["adapter_bytes"] = weights.stat().st_size if weights.exists() else None
    predictions = answering.predict(
        planned, model, tokenizer, folder, costs, notes, lambda share: report(begun + share * (1 - begun))
    )
    fitting.detach(planned, base, model)
    return predictions


def _card(planned: Planned, folder: Path, row: Row) -> None:
    """The card of the run's adapter, with the scores of every run that used it."""
    place = fitting.adapter_folder(folder, planned)
    if row.status != results.OK or not planned.training or not fitting.is_saved(place):
        return
    used = [each for each in results.read(folder) if each.notes.get("adapter") == planned.training]
    scores = {
        f"{metric} on {each.settings['task']} ({each.settings.get('split', 'test')})": score
        for each in used
        for metric, score in each.scores.items()
    }
    methods.card(place, facts=asdict(row), scores=scores)


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

"""Runs everything a folder lacks, in this process and, on a CPU, in others next to it.

Each run has its own number of threads, one as a rule: a small model leaves most of a processor idle, and two trainings
side by side take less time than one after the other with all threads. So no score depends on what runs beside it.
"""

import multiprocessing
import os
import pickle
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import torch

from nblib import methods, models, results, spec, train
from nblib.progress import Progress
from nblib.results import Row
from nblib.study import fitting, locks, resume, run
from nblib.study.estimates import peak_bytes, weights
from nblib.study.planning import Planned

SHORT_RUNS = 2  # runs without training that are worth a process, which takes seconds to start
PROCESS_BYTES = 2**30  # before it loads a model
MEMORY_SHARE = 0.5  # of the free memory, for all processes together


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
    """Returns the rows of these runs, in their order; runs only what `folder` lacks, or everything with `force`.

    We resume runs that another process left unfinished; runs that another process works on, we leave to it and wait.
    Trained adapters stay in `folder/adapters`; runs with the same training share one. `push_to` is a user or an
    organisation of the Hub to upload these adapters to; empty: nowhere.
    `processes` share the runs; None: as many as pay and as cores and memory allow, on a CPU. Seconds then include that
    other runs share the machine. With `force` there is one process.
    `report_to` is none, tensorboard, wandb or trackio: these show trainings under the ids of their runs; TensorBoard's
    files are in `folder/logs`. No row changes by it.
    Raises OSError if `folder` cannot be written to; what is done by then stays.
    """
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be a whole number from 1 on, or None; got {processes!r}")
    for name, value in {"force": force, "allow_code_execution": allow_code_execution}.items():
        if not isinstance(value, bool):  # the text "false" would be true
            raise ValueError(f"{name} must be True or False; got {value!r}")
    train.check_report_to(report_to)
    folder = Path(folder).expanduser()
    before = {one.id: results.written(folder, one.id) for one in planned}
    waiting = [one for one in planned if force or not results.finished(folder, one.id)]
    if waiting:
        results.require_room(folder)
        processes = 1 if force else count(waiting) if processes is None else processes
        waiting = in_order(waiting) if processes > 1 else waiting
        options = {"allow_code_execution": allow_code_execution, "processes": processes, "report_to": report_to}
        with others(processes, waiting, folder, before, options):
            work(waiting, folder, before, options | {"force": force}, wait=True)
    locks.sweep(folder)
    resume.tidy(planned, folder)
    for path in {fitting.adapter_folder(folder, one) for one in planned if one.training} if push_to else ():
        if fitting.is_saved(path):
            methods.push(path, f"{push_to}/{path.name}")
    return results.read(folder, [one.id for one in planned])


def work(
    waiting: Sequence[Planned], folder: Path, before: dict[str, int | None], options: dict, *, wait: bool = False
) -> None:
    """Runs each whose row is still the one that was there `before`; with `wait` also what others may leave undone."""
    seconds, known = weights(waiting, folder) if wait else ({}, False)
    progress = Progress(len(waiting), sum(seconds.values()), known=known, processes=options["processes"])
    base = fitting.Base()
    try:
        with closing(_locked(waiting, folder, wait=wait)) as locked:
            for planned in locked:
                if results.written(folder, planned.id) == before[planned.id]:  # not by another process meanwhile
                    name = f"{spec.label(planned.run.method, planned.run.precision)}, seed {planned.run.seed}"
                    progress.begin(name, seconds.get(planned.id, 0.0))
                    with _explained(folder):
                        run.run_one(planned, folder, base=base, report=progress.report, **options)
                ended = [one.id for one in waiting if results.written(folder, one.id) != before[one.id]]
                progress.end(len(ended), sum(seconds.get(id, 0.0) for id in ended))
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


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Says of what cannot be written what became of the rest."""
    try:
        yield
    except ConnectionError:
        raise
    except OSError as problem:
        kept = f"what was done until then is kept in {folder}: free some space or repair it, and run this again"
        raise OSError(f"{problem}; {kept}") from problem


def groups(planned: Sequence[Planned]) -> list[list[Planned]]:
    """Runs that share their training, together, which are long and come first; each other run by itself."""
    found: dict[str, list[Planned]] = {}
    for one in planned:
        shares = one.training and not isinstance(one.run.method, spec.FullTuning)
        found.setdefault(one.training if shares else one.id, []).append(one)
    return sorted(found.values(), key=lambda group: not group[0].training)


# --- other processes --------------------------------------------------------------------------------------------------


def in_order(waiting: Sequence[Planned]) -> list[Planned]:
    """Long runs first, so that processes end together; of those that share their training, the others last."""
    trained: set[str] = set()
    places = []
    for planned in waiting:
        places.append(1 if not planned.training else 2 if planned.training in trained else 0)
        if not isinstance(planned.run.method, spec.FullTuning):  # which shares nothing
            trained.add(planned.training)
    return [planned for _, planned in sorted(zip(places, waiting, strict=True), key=lambda pair: pair[0])]


def count(waiting: Sequence[Planned]) -> int:
    """Processes that may work on these runs: 1 on a GPU, where memory is short, and where there are few runs."""
    long = sum(bool(planned.training) for planned in waiting)
    cores = torch.get_num_threads() // max(planned.run.threads for planned in waiting)
    most = min(cores, long + (len(waiting) - long) // SHORT_RUNS)
    if models.device() != "cpu" or most < 2:
        return 1
    peaks = [peak for planned in waiting if (peak := peak_bytes(planned)) is not None]
    if len(peaks) < len(waiting):
        return 1
    available = MEMORY_SHARE * psutil.virtual_memory().available
    return max(1, min(most, int(available / (PROCESS_BYTES + max(peaks)))))


@contextmanager
def others(processes: int, *arguments: object) -> Iterator[None]:
    """Inside, so many processes, less this one, call `work(*arguments)`.

    One that ends early is not missed: what it leaves undone is done here. They end with this process, however it ends.
    """
    if processes == 1:
        yield
        return
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "work"  # a pipe would hold this process up until the others have loaded torch
        path.write_bytes(pickle.dumps(arguments))
        started = [spawn.Process(target=_work, args=(path,), daemon=True) for _ in range(processes - 1)]
        try:
            with _no_main_file():
                for process in started:
                    with suppress(OSError):  # of memory or processes that the system does not give
                        process.start()
            yield
        finally:
            for process in started:
                if process.pid is not None:
                    process.kill()
                    process.join()


@contextmanager
def _no_main_file() -> Iterator[None]:
    """Hides the caller's script, which a new process would run again up to here."""
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update({"__spec__": None} | hidden)


def _work(path: Path) -> None:
    """What another process does: silently, and no longer than the one that started it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(silent, stream.fileno())
    work(*pickle.loads(path.read_bytes()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

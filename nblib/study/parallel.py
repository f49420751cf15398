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
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import psutil
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from nblib import methods, models, results, rules, spec, stores, train
from nblib.progress import Progress
from nblib.results import Row
from nblib.study import fitting, locks, resume, run
from nblib.study.estimates import peaks, weights
from nblib.study.planning import Planned

GPUS = "CUDA_VISIBLE_DEVICES"
ENGINES = ("local", "ray")
POLL_SECONDS = 1.0  # between two looks at what other processes work on
SHORT_RUNS = 2  # runs without training that are worth a process, which takes seconds to start
PROCESS_BYTES = 2**30  # before it loads a model
TOGETHER = timedelta(days=365)  # that processes wait while the first one answers and scores; they end with it
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
    engine: str = "local",
) -> list[Row]:
    """Returns the rows of these runs, in their order; runs only what `folder` lacks, or everything with `force`.

    `folder` may be an address that fsspec reads, such as s3://bucket/study; we copy its rows to this machine.
    We resume runs that another process left unfinished; runs that another process works on, we leave to it and wait.
    Trained adapters stay in `folder/adapters`; runs with the same training share one. `push_to` is a user or an
    organisation of the Hub to upload these adapters to; empty: nowhere.
    `processes` share the runs, and have a GPU each where there are several; None: as many as pay and as GPUs, cores and
    memory allow. Seconds then include that other runs share the machine. With `force` or an address there is one.
    Processes that accelerate launch or torchrun started train each run together, and the first one does the rest.
    With `engine` ray, runs go to the cluster that RAY_ADDRESS names or that runs here; else we start one. All its
    machines must see `folder`.
    `report_to` is none, tensorboard, wandb or trackio: these show trainings under the ids of their runs; TensorBoard's
    files are in `folder/logs`. No row changes by it.
    Raises OSError if `folder` cannot be written to; what is done by then stays.
    """
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be a whole number from 1 on, or None; got {processes!r}")
    for name, value in {"force": force, "allow_code_execution": allow_code_execution}.items():
        if not isinstance(value, bool):  # the text "false" would be true
            raise ValueError(f"{name} must be True or False; got {value!r}")
    rules.one_of(*ENGINES).check("engine", engine)
    train.check_report_to(report_to)
    if models.processes() > 1:
        processes = 1
        _join_launched(engine)
    if models.rank():
        return fitting.follow(planned)
    store, folder = folder, stores.rows_here(folder)
    waiting = [one for one in planned if force or not results.finished(folder, one.id)]
    options = {"allow_code_execution": allow_code_execution, "report_to": report_to, "force": force}
    if waiting and engine == "ray":
        from nblib.study import cluster  # which needs Ray

        cluster.work(waiting, store, options)
    elif waiting and stores.is_address(store):
        _work_at(waiting, str(store), options)
    elif waiting:
        _work_here(waiting, folder, options, processes)
    if stores.is_address(store):
        folder = stores.rows_here(store)
        adapters = [fitting.adapter_folder(Path(), one).as_posix() for one in planned if one.training and push_to]
        stores.Store(store).pull(folder, *set(adapters))
    else:
        locks.sweep(folder)
        resume.tidy(planned, folder)
    for path in {fitting.adapter_folder(folder, one) for one in planned if one.training} if push_to else ():
        if fitting.is_saved(path):
            methods.push(path, f"{push_to}/{path.name}")
    rows = results.read(folder, [one.id for one in planned])
    if models.processes() > 1:
        broadcast_object_list([rows])  # with which the others end
    return rows


def _join_launched(engine: str) -> None:
    """Processes that were launched together meet. Raises ValueError for what they cannot do."""
    if engine != "local":
        raise ValueError("processes that are launched together share each run: take engine = 'local'")
    if models.is_split() and os.environ.get("FSDP_VERSION") != "2":
        raise ValueError("weights are split by FSDP's version 2: launch with --fsdp_version 2")
    PartialState(cpu=models.device() == "cpu", timeout=TOGETHER)


def _work_here(waiting: Sequence[Planned], folder: Path, options: dict, processes: int | None) -> None:
    results.require_room(folder)
    before = {one.id: results.written(folder, one.id) for one in waiting}
    processes = 1 if options["force"] else count(waiting) if processes is None else processes
    waiting = in_order(waiting) if processes > 1 else waiting
    options = options | {"processes": processes}
    with others(processes, waiting, folder, before, options):
        work(waiting, folder, before, options, wait=True)


def _work_at(waiting: Sequence[Planned], address: str, options: dict) -> None:
    """One training with the runs that share it after the other; those that others work on last."""
    progress, done = Progress(len(waiting), 0.0, known=False), 0
    with stores.Claims(address).kept() as claims:
        undone = groups(waiting)
        while undone:
            group = next((group for group in undone if claims.take(shared(group[0]))), None)
            if group is None:
                time.sleep(POLL_SECONDS)
                continue
            undone.remove(group)
            progress.begin(_name(group[0]), 0.0)
            work_at(group, address, options | {"processes": 1})
            claims.release(shared(group[0]))
            progress.end(done := done + len(group), 0.0)


def work_at(group: Sequence[Planned], address: str, options: dict, *, kept: fitting.Base | None = None) -> None:
    """Runs that share their training, in a folder of this machine with what the address has of them."""
    with stores.worked_on(address, *{name for one in group for name in _names(one)}) as folder:
        waiting = [one for one in group if options["force"] or not results.finished(folder, one.id)]
        work(waiting, folder, {one.id: results.written(folder, one.id) for one in waiting}, options, kept=kept)


def _name(planned: Planned) -> str:
    return f"{spec.label(planned.run.method, planned.run.precision)}, seed {planned.run.seed}"


def _names(planned: Planned) -> list[str]:
    """What a results folder has of a run, or may have."""
    folder = Path()
    own = [resume.answers_file(folder, planned), resume.checkpoint_folder(folder, planned)]
    own += [fitting.adapter_folder(folder, planned)] if planned.training else []
    rows = [f"{planned.id}.json", f"{planned.id}.predictions.jsonl"]
    return [*rows, *(path.as_posix() for path in own if path is not None)]


def work(
    waiting: Sequence[Planned],
    folder: Path,
    before: dict[str, int | None],
    options: dict,
    *,
    wait: bool = False,
    kept: fitting.Base | None = None,
) -> None:
    """Runs each whose row is still the one that was there `before`; with `wait` also what others may leave undone.

    `kept` keeps the last model for the next call.
    """
    seconds, known = weights(waiting, folder) if wait else ({}, False)
    progress = Progress(len(waiting), sum(seconds.values()), known=known, processes=options["processes"])
    base = kept or fitting.Base()
    try:
        with fitting.frozen(), closing(_locked(waiting, folder, wait=wait)) as locked:
            for planned in locked:
                if results.written(folder, planned.id) == before[planned.id]:  # not by another process meanwhile
                    progress.begin(_name(planned), seconds.get(planned.id, 0.0))
                    with _explained(folder):
                        run.run_one(planned, folder, base=base, report=progress.report, **options)
                ended = [one.id for one in waiting if results.written(folder, one.id) != before[one.id]]
                progress.end(len(ended), sum(seconds.get(id, 0.0) for id in ended))
    finally:
        if kept is None:
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
        found.setdefault(shared(one), []).append(one)
    return sorted(found.values(), key=lambda group: not group[0].training)


def shared(planned: Planned) -> str:
    """The id of the training that a run shares with others; where it can share none, its own."""
    return ("" if isinstance(planned.run.method, spec.FullTuning) else planned.training) or planned.id


# --- other processes --------------------------------------------------------------------------------------------------


def in_order(waiting: Sequence[Planned]) -> list[Planned]:
    """Long runs first, so that processes end together; of those that share their training, the others last."""
    found = groups(waiting)
    return [group[0] for group in found] + [one for group in found for one in group[1:]]


def count(waiting: Sequence[Planned]) -> int:
    """Processes that may work on these runs: one for each GPU; 1 where memory is short or runs are few."""
    long = sum(bool(planned.training) for planned in waiting)
    cores = torch.get_num_threads() // max(planned.run.threads for planned in waiting)
    most = min(len(_gpus()) or cores, long + (len(waiting) - long) // SHORT_RUNS)
    if models.device() == "cuda":
        return max(1, most)
    if models.device() != "cpu" or most < 2:
        return 1
    needed = [peak for peak in peaks(waiting) if peak is not None]
    if len(needed) < len(waiting):
        return 1
    available = MEMORY_SHARE * psutil.virtual_memory().available
    return max(1, min(most, int(available / (PROCESS_BYTES + max(needed)))))


def _gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them; it works on the first itself."""
    if models.device() != "cuda":
        return []
    named = os.environ.get(GPUS)
    return named.split(",") if named else [str(place) for place in range(torch.cuda.device_count())]


@contextmanager
def others(processes: int, *arguments: object) -> Iterator[None]:
    """Inside, so many processes, less this one, call `work(*arguments)`.

    One that ends early is not missed: what it leaves undone is done here. They end with this process, however it ends.
    """
    if processes == 1:
        yield
        return
    gpus, spawn = _gpus(), multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "work"  # a pipe would hold this process up until the others have loaded torch
        path.write_bytes(pickle.dumps(arguments))
        started = [spawn.Process(target=_work, args=(path,), daemon=True) for _ in range(processes - 1)]
        try:
            with _no_main_file():
                for place, process in enumerate(started, 1):
                    gpu = {GPUS: gpus[place % len(gpus)]} if gpus else {}  # it sees no other, from the beginning
                    with patch.dict(os.environ, gpu), suppress(OSError):  # of memory that the system does not give
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

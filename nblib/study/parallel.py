"""Other processes that take runs of a study as well, on a CPU.

A small model leaves most of a processor idle: two trainings with half of the threads each take less time than one after
the other with all of them.
"""

import multiprocessing
import os
import pickle
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from nblib import models, spec
from nblib.study.costs import peak_bytes
from nblib.study.planning import Planned

SHORT_RUNS = 2  # runs without training that are worth a process, which takes seconds to start
PROCESS_BYTES = 2**30  # before it loads a model
MEMORY_SHARE = 0.5  # of the free memory, for all processes together


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
    most = min(torch.get_num_threads(), long + (len(waiting) - long) // SHORT_RUNS)
    if models.device() != "cpu" or most < 2:
        return 1
    peaks = [peak for planned in waiting if (peak := peak_bytes(planned)) is not None]
    if len(peaks) < len(waiting):
        return 1
    available = MEMORY_SHARE * psutil.virtual_memory().available
    return max(1, min(most, int(available / (PROCESS_BYTES + max(peaks)))))


@contextmanager
def started(processes: int, work: Callable[..., None], *arguments: object) -> Iterator[None]:
    """Inside, this process has its share of the threads, and so many less one others call `work(*arguments)`.

    One that ends early is not missed: what it leaves undone is done here. They end with this process, however it ends.
    """
    if processes == 1:
        yield
        return
    threads = torch.get_num_threads()
    own, spawn = max(1, threads // processes), multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "work"  # a pipe would hold this process up until the others have loaded torch
        path.write_bytes(pickle.dumps((own, work, arguments)))
        others = [spawn.Process(target=_work, args=(path,), daemon=True) for _ in range(processes - 1)]
        try:
            torch.set_num_threads(own)
            with _no_main_file():
                for process in others:
                    with suppress(OSError):  # of memory or processes that the system does not give
                        process.start()
            yield
        finally:
            for process in others:
                if process.pid is not None:
                    process.kill()
                    process.join()
            torch.set_num_threads(threads)


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
    threads, work, arguments = pickle.loads(path.read_bytes())
    torch.set_num_threads(threads)
    work(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

"""Other processes that take runs of a study beside this one, on a CPU. Who does which run is a matter of claims.

A small model leaves most of a processor idle: two trainings with half of the threads each take less time than one after
the other with all of them.
"""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil
import torch

from nblib import models, provenance, spec
from nblib.study.costs import peak_bytes
from nblib.study.planning import Planned

SHORT = 2  # runs that train nothing, for a process of their own: it takes seconds to start
OWN_BYTES = 2**30  # of a process, before it loads a model
SHARE = 0.5  # of the free memory that all of them may take


def in_order(waiting: Sequence[Planned]) -> list[Planned]:
    """Long runs first, so that processes end together; of those that share their training, the others last."""
    trained: set[str] = set()
    places = []
    for each in waiting:
        places.append(1 if not each.training else 2 if each.training in trained else 0)
        if not isinstance(each.run.method, spec.FullTuning):  # which shares nothing
            trained.add(each.training)
    return [each for _, each in sorted(zip(places, waiting, strict=True), key=lambda pair: pair[0])]


def count(waiting: Sequence[Planned]) -> int:
    """Processes that may work on these runs: 1 on a GPU, where memory is short, and where there are few runs."""
    long = sum(bool(each.training) for each in waiting)
    most = min(torch.get_num_threads(), long + (len(waiting) - long) // SHORT)
    if models.device() != "cpu" or most < 2:
        return 1
    peaks = [peak_bytes(each) for each in waiting]
    known = [each for each in peaks if each is not None]
    if len(known) < len(peaks):
        return 1
    return max(1, min(most, int(SHARE * psutil.virtual_memory().available / (OWN_BYTES + max(known)))))


@contextmanager
def started(processes: int, *what: object) -> Iterator[None]:
    """Inside, this process has its share of the threads, and so many less one others call `running.take_part(*what)`.

    One that ends early is not missed: what it leaves undone is done here. They end with this process, however it ends.
    """
    threads = torch.get_num_threads()
    own = max(1, threads // processes)
    others: list[subprocess.Popen] = []
    try:
        if processes > 1:
            torch.set_num_threads(own)
            text = pickle.dumps(what)
            others.extend(_start(own, text) for _ in range(processes - 1))
        yield
    finally:
        for each in others:
            each.kill()
        for each in others:
            each.communicate()
        torch.set_num_threads(threads)


def _start(threads: int, text: bytes) -> subprocess.Popen:
    paths = [str(provenance.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, "-m", "nblib.study.workers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(paths)},
    )
    threading.Thread(target=_tell, args=(process, text), daemon=True).start()
    return process


def _tell(process: subprocess.Popen, text: bytes) -> None:
    """Hands it its work, more of it than a pipe holds. The pipe stays open: its end tells that this process ended."""
    assert process.stdin is not None
    try:
        process.stdin.write(len(text).to_bytes(8) + text)
        process.stdin.flush()
    except (OSError, ValueError):  # it ended
        pass


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    """A process that takes part."""
    from nblib.study import running  # which starts these

    what = pickle.loads(sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(8))))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    running.take_part(*what)


if __name__ == "__main__":
    main()

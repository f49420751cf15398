"""Who works on what, where several processes share a results folder."""

import errno
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

FOLDER = ".locks"  # of a results folder
POLL_SECONDS = 0.2  # between two attempts of a process that waits
UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)  # errors of file systems without locks


@contextmanager
def lock(folder: Path, name: str, *, wait: bool = False, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Whether this process may work on `name` of a results folder; with `wait`, it may as soon as nobody else does.

    The lock ends with its process, however that ends. `waiting` is called now and then while another process has it;
    what it raises ends the waiting. Where the file system keeps no locks, a warning says so and work goes on: rows are
    still whole, but may be made twice.
    """
    path = folder / FOLDER / name
    held = FileLock(path)
    while not (acquired := _acquire(held, path)) and wait:
        waiting()
        time.sleep(POLL_SECONDS)
    try:
        yield acquired
    finally:
        if acquired:
            path.unlink(missing_ok=True)  # while it is held: whoever waits for the file notices
        held.release()
        with suppress(OSError):  # others have their locks there
            path.parent.rmdir()


def sweep(folder: Path) -> None:
    """Deletes the lock files of processes that were killed: nobody may ask for the same again."""
    for path in (folder / FOLDER).glob("*"):
        with suppress(OSError), lock(folder, path.name):  # a folder that is only read
            pass


def _acquire(held: FileLock, path: Path) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(blocking=False)
    except (Timeout, FileNotFoundError):  # the folder may be deleted by whoever had the last lock in it
        return False
    except OSError as problem:
        if problem.errno not in UNSUPPORTED:
            raise
        warnings.warn(
            f"the file system of {path.parent} has no locks ({problem}): let one process at a time work there",
            stacklevel=4,
        )
    return True

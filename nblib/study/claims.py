"""Who works on what, where several processes share a results folder. Runs nothing.

A claim is a lock of the operating system on a small file, which ends with its process, however that ends. So it does
over NFS, if the server keeps locks. Where a file system has none, each process works as if it were alone: the rows are
still whole, but work may be done twice.
"""

import errno
import fcntl
import os
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = ".locks"
AGAIN_SECONDS = 0.2  # between two questions of one who waits and can be stopped
UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)  # no locks in this file system

_own: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)  # the system's locks are between processes only


@contextmanager
def claim(folder: Path, name: str, *, wait: bool = False, waiting: Callable[[], None] | None = None) -> Iterator[bool]:
    """Whether this process may work on `name` of a results folder; with `wait`, it may as soon as nobody else does.

    `waiting` is called now and then while another one does; what it raises ends the waiting.
    """
    if wait and waiting is not None:
        with _patient(folder, name, waiting):
            yield True
        return
    path = folder.resolve() / FOLDER / name
    if not _own[path].acquire(blocking=wait):
        yield False
        return
    file = None
    try:
        file = _locked(path, wait)
        yield file is not None
    finally:
        if file is not None:
            _release(file, path)
        _own[path].release()


@contextmanager
def _patient(folder: Path, name: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Asks again and again: a thread that the system holds until a lock is free cannot be stopped."""
    while True:
        with claim(folder, name) as mine:
            if mine:
                yield
                return
        waiting()
        time.sleep(AGAIN_SECONDS)


def sweep(folder: Path) -> None:
    """Takes away the files of processes that were killed: nobody may ask for the same again."""
    for path in (folder / FOLDER).glob("*"):
        with claim(folder, path.name):
            pass


def _locked(path: Path, wait: bool) -> int | None:
    """The open file, locked; None where somebody else has it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except FileNotFoundError:  # the folder was just tidied away
            continue
        try:
            if not _lock(file, path, wait):
                os.close(file)
                return None
            if _is_still(file, path):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _release(file: int, path: Path) -> None:
    path.unlink(missing_ok=True)  # while it is still locked: who waits for it notices, and makes it anew
    os.close(file)
    with suppress(OSError):  # others have their claims there
        path.parent.rmdir()


def _lock(file: int, path: Path, wait: bool) -> bool:
    # Not flock: children would inherit that, and keep it when their parent is gone.
    try:
        fcntl.lockf(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if problem.errno not in UNKNOWN:
            raise
        warnings.warn(
            f"the file system of {path.parent} keeps no locks ({problem}): let one process at a time work there",
            stacklevel=5,
        )
    return True


def _is_still(file: int, path: Path) -> bool:
    """Whether the locked file is the one of that name, and not one that its last holder took away."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False

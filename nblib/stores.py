"""A results folder at an address that fsspec reads, such as s3://bucket/study: copied here, worked on, copied back.

Files are at the address whole or not at all, and what marks a folder as complete comes last. `Claims` say who works on
what.
"""

import hashlib
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.utils import tokenize

MARKER = "nblib.json"  # the last file of an adapter and of a checkpoint
PUSH_SECONDS = 15.0  # between two copies of what a run has so far
CLAIM_SECONDS = 60.0  # after which a process that gave no sign of life is taken for dead
CLAIMS = ".claims"  # their folder


def is_address(store: str | Path) -> bool:
    """Whether it is an address, and no folder of this machine."""
    return "://" in str(store) or "::" in str(store)


def rows_here(store: str | Path) -> Path:
    """The folder itself; of an address a copy on this machine, whose rows and predictions are brought up to date."""
    if not is_address(store):
        return Path(store).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nblib" / "stores"
    folder = cache / hashlib.sha256(str(store).encode()).hexdigest()[:16]
    Store(store).pull_rows(folder)
    return folder


class Store:
    """Files at an address, by their names below it; what its file system raises becomes an OSError in a sentence."""

    def __init__(self, address: str | Path):
        self.address = str(address)
        with self.explained():  # some file systems need a package of their own
            self.fs, self.root = fsspec.core.url_to_fs(self.address)

    @contextmanager
    def explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as problem:  # each file system has its own
            reason = str(problem).strip().split("\n")[0] or type(problem).__name__
            raise OSError(f"{self.address} cannot be read or written: {reason}") from problem

    def path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def files(self, name: str = "", *, depth: int | None = None) -> dict[str, str]:
        """Name -> a text that changes with the content, of each whole file at or below a name."""
        self.fs.invalidate_cache()
        path, root = self.path(name).rstrip("/"), PurePosixPath(self.root)
        found = self.fs.find(path, maxdepth=depth, detail=True) if self.fs.exists(path) else {}
        names = {PurePosixPath(path).relative_to(root).as_posix(): facts for path, facts in found.items()}
        return {name: tokenize(facts) for name, facts in names.items() if not _is_hidden(name)}

    def write(self, name: str, source: Path) -> None:
        """Copies a file, under another name first."""
        folder, part = self.path(name).rpartition("/")[0], f".{uuid.uuid4().hex}.part"
        self.fs.makedirs(folder, exist_ok=True)
        self.fs.put_file(str(source), f"{folder}/{part}")
        self.fs.mv(f"{folder}/{part}", self.path(name))

    def read(self, name: str, folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        self.fs.get_file(self.path(name), str(folder / name))

    def renewed(self, claim: str) -> AbstractContextManager:
        """Inside, a claim at that path is renewed by this process, whoever took it."""
        return _repeated(lambda: self.fs.pipe_file(claim, uuid.uuid4().bytes), CLAIM_SECONDS / 4)

    def pull(self, folder: Path, *names: str) -> None:
        """Copies the files at or below these names into a folder."""
        with self.explained():
            for name in [name for wanted in names for name in self.files(wanted)]:
                self.read(name, folder)

    def pull_rows(self, folder: Path) -> None:
        """Makes a folder's rows and predictions those at the address; only what changed is copied."""
        with self.explained():
            states = {name: state for name, state in self.files(depth=1).items() if "/" not in name}
            for name in sorted(states, key=_comes_last):
                known = folder / f".{name}.state"
                if not (known.exists() and (folder / name).exists() and known.read_text() == states[name]):
                    self.read(name, folder)
                    known.write_text(states[name])
        for path in [path for path in folder.glob("[!.]*.json*") if path.name not in states]:
            path.unlink()

    def push(self, folder: Path, known: dict[str, tuple]) -> None:
        """Makes the files what they are in a folder; `known`, which it changes, says what they were at the last push.

        What a process is writing meanwhile may be gone by now, and is copied again by the next push.
        """
        changed = {name: state for name, state in _states(folder).items() if state != known.get(name)}
        with self.explained():
            for name in [name for name in changed if name.endswith(f"/{MARKER}") and name in known]:
                self.fs.rm(self.path(name))  # its folder is written anew
            for name in sorted(changed, key=_comes_last):
                with suppress(FileNotFoundError):
                    self.write(name, folder / name)
                    known[name] = changed[name]
            for name in [name for name in known if not (folder / name).exists()]:
                with suppress(FileNotFoundError):
                    self.fs.rm(self.path(name))
                del known[name]


@contextmanager
def worked_on(address: str, *names: str) -> Iterator[Path]:
    """A folder of this machine with what is at these names; what is done in it is copied back, also meanwhile.

    Raises OSError where the last copy fails.
    """
    store = Store(address)
    with tempfile.TemporaryDirectory(prefix="nblib-") as place:
        folder = Path(place)
        store.pull(folder, *names)
        known = _states(folder)
        try:
            with _repeated(lambda: store.push(folder, known), PUSH_SECONDS):
                yield folder
        finally:
            store.push(folder, known)


class Claims:
    """What this process works on at an address: a file for each claim, which it renews while it lives."""

    def __init__(self, address: str):
        self.store, self.held = Store(address), dict[str, str]()  # name -> path
        self.signs: dict[str, tuple[bytes, float]] = {}  # path -> the last sign of another process, and when it came

    @contextmanager
    def kept(self) -> Iterator["Claims"]:
        """Inside, claims are renewed; at the end they are given back. Raises OSError where none can be written."""
        with self.store.explained():
            self.store.fs.makedirs(self.store.path(CLAIMS), exist_ok=True)
        self.take(probe := uuid.uuid4().hex)
        self.release(probe)
        try:
            with _repeated(self._renew, CLAIM_SECONDS / 4):
                yield self
        finally:
            for name in list(self.held):
                self.release(name)
            with suppress(Exception):  # others have theirs, or it is no folder
                self.store.fs.rmdir(self.store.path(CLAIMS))

    def take(self, name: str) -> bool:
        """Whether this process may work on `name`: nobody does, or who did has given no sign for a minute."""
        with self.store.explained():
            self.store.fs.invalidate_cache()
            taken = sorted(self.store.fs.glob(self.store.path(f"{CLAIMS}/{name}.[0-9][0-9][0-9][0-9]")))
            if taken and self._lives(taken[-1]):
                return False
            number = int(taken[-1].rpartition(".")[2]) + 1 if taken else 0
            path = self.store.path(f"{CLAIMS}/{name}.{number:04}")
            try:  # of two that find the same one dead, one makes the next number
                self.store.fs.pipe_file(path, uuid.uuid4().bytes, mode="create")
            except FileExistsError:
                return False
        self.held[name] = path
        return True

    def release(self, name: str) -> None:
        path = self.held.pop(name)
        for older in range(int(path[-4:]) + 1):
            with suppress(Exception):  # it is taken for dead in a minute
                self.store.fs.rm(f"{path[:-4]}{older:04}")

    def _lives(self, path: str) -> bool:
        try:
            sign = self.store.fs.cat_file(path)
        except FileNotFoundError:  # given back just now
            return True
        if sign != self.signs.get(path, (b"", 0.0))[0]:
            self.signs[path] = (sign, time.monotonic())
        return time.monotonic() - self.signs[path][1] < CLAIM_SECONDS

    def _renew(self) -> None:
        for path in list(self.held.values()):
            self.store.fs.pipe_file(path, uuid.uuid4().bytes)


@contextmanager
def _repeated(act: Callable[[], None], seconds: float) -> Iterator[None]:
    """Inside, another thread acts every so often; where it fails, the next time may do."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(seconds):
            with suppress(Exception):
                act()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _comes_last(name: str) -> bool:
    """Whether a file is written after others: a row after its predictions, a marker after what it marks."""
    return name.endswith(f"/{MARKER}") or ("/" not in name and name.endswith(".json"))


def _states(folder: Path) -> dict[str, tuple]:
    """Name -> size and time of each file that is no temporary one."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        with suppress(FileNotFoundError):
            if not _is_hidden(name) and path.is_file():
                found[name] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found

"""A results folder at an address that fsspec reads, such as s3://bucket/study: copied here, worked on, copied back.

Files get there whole or not at all, and what marks a folder as complete gets there last. Nothing in it is locked:
`Claims` say who works on what.
"""

import hashlib
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.utils import tokenize

MARKER = "nblib.json"  # the last file of an adapter and of a checkpoint
PUSH_SECONDS = 15.0  # between two copies of what a run has until then
CLAIM_SECONDS = 60.0  # after which a process that gave no sign is taken for dead
CLAIMS = ".claims"


def is_address(store: str | Path) -> bool:
    """Whether it is an address, and no folder of this machine."""
    return "://" in str(store) or "::" in str(store)


def rows_here(store: str | Path) -> Path:
    """The folder itself; of an address a copy on this machine, in which rows and predictions are brought up to date."""
    if not is_address(store):
        return Path(store).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nblib" / "stores"
    folder = cache / hashlib.sha256(str(store).encode()).hexdigest()[:16]
    Store(store).pull_rows(folder)
    return folder


class Store:
    """Files at an address, by their names below it; all that the file system raises is an OSError with one sentence."""

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
        return f"{self.root.rstrip('/')}/{name}" if name else self.root

    def files(self, name: str = "", *, deep: bool = True) -> dict[str, str]:
        """Name -> a text that changes with the content, of each whole file at or below a name."""
        self.fs.invalidate_cache()
        depth = None if deep else 1
        found = self.fs.find(self.path(name), maxdepth=depth, detail=True) if self.fs.exists(self.path(name)) else {}
        names = {PurePosixPath(path).relative_to(self.path("")).as_posix(): facts for path, facts in found.items()}
        return {name: tokenize(facts) for name, facts in names.items() if not _is_hidden(name)}

    def write(self, name: str, content: bytes | Path) -> None:
        """A file, whole or not at all: under another name first."""
        path, part = self.path(name), self.path(f"{name.rpartition('/')[0]}/.{uuid.uuid4().hex}.part".lstrip("/"))
        self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        if isinstance(content, Path):
            self.fs.put_file(str(content), part)
        else:
            self.fs.pipe_file(part, content)
        self.fs.mv(part, path)

    def pull(self, folder: Path, *names: str) -> set[str]:
        """Copies the files at or below these names into a folder; returns which there are."""
        with self.explained():
            found = {name for wanted in names for name in self.files(wanted)}
            for name in found:
                self._get(name, folder)
        return found

    def pull_rows(self, folder: Path) -> None:
        """Makes a folder's rows and predictions those at the address; only what changed is copied."""
        with self.explained():
            there = {name: state for name, state in self.files(deep=False).items() if "/" not in name}
            for name in sorted(there, key=_last):
                known = folder / f".{name}.state"
                if not known.exists() or known.read_text() != there[name] or not (folder / name).exists():
                    self._get(name, folder)
                    known.write_text(there[name])
        for path in folder.glob("*.json*"):
            if path.name not in there:
                path.unlink()

    def _get(self, name: str, folder: Path) -> None:
        part = folder / PurePosixPath(name).parent / f".{PurePosixPath(name).name}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        self.fs.get_file(self.path(name), str(part))
        part.replace(folder / name)

    def push(self, folder: Path, known: dict[str, tuple]) -> None:
        """Makes files there what they are in a folder; `known`, which it changes, says what they were at the last push.

        Of files that a process is writing, some may be gone by now, or be copied again by the next push.
        """
        now = {name: state for name, state in _states(folder) if state != known.get(name)}
        with self.explained():
            for name in [name for name in now if name.endswith(f"/{MARKER}") and known.get(name)]:
                self.fs.rm(self.path(name))  # its folder is written anew
            for name in sorted(now, key=_last):
                with suppress(FileNotFoundError):
                    self.write(name, folder / name)
                    known[name] = now[name]
            for name in [name for name in known if not (folder / name).exists()]:
                with suppress(FileNotFoundError):
                    self.fs.rm(self.path(name))
                del known[name]


@contextmanager
def worked_on(address: str, *names: str) -> Iterator[Path]:
    """A folder of this machine with what is at these names; what is done in it gets to the address, also meanwhile.

    Raises OSError where the last copy fails.
    """
    store, stop = Store(address), threading.Event()
    with tempfile.TemporaryDirectory(prefix="nblib-") as place:
        folder = Path(place)
        store.pull(folder, *names)
        known = dict(_states(folder))

        def push_now_and_then() -> None:
            while not stop.wait(PUSH_SECONDS):
                with suppress(OSError):  # the next one may do
                    store.push(folder, known)

        thread = threading.Thread(target=push_now_and_then, daemon=True)
        thread.start()
        try:
            yield folder
        finally:
            stop.set()
            thread.join()
            store.push(folder, known)


def require_room(address: str) -> None:
    """Raises OSError with one sentence where an address takes no files."""
    store, name = Store(address), f"{CLAIMS}/{uuid.uuid4().hex}"
    with store.explained():
        store.write(name, b"")
        store.fs.rm(store.path(name))


class Claims:
    """Who works on what at an address: a file a claim, with its owner's name, who renews another while it lives."""

    def __init__(self, address: str):
        self.store, self.own, self.stop = Store(address), uuid.uuid4().hex, threading.Event()
        self.signs: dict[str, tuple[bytes, float]] = {}  # the last sign of another owner, and when it was new here

    def __enter__(self) -> "Claims":
        with self.store.explained():
            self._renew()
        threading.Thread(target=self._renew_now_and_then, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        with suppress(Exception):  # others find out by themselves
            self.store.fs.rm(self._path(self.own))

    @property
    def sign(self) -> str:
        """The path of the file that this process renews."""
        return self._path(self.own)

    def take(self, name: str) -> bool:
        """Whether this process may work on `name`: nobody does, or who did has given no sign for a minute."""
        with self.store.explained():
            held = self._held(name)
            if held:
                owner = self.store.fs.cat_file(held[-1]).decode()
                if owner == self.own or self._lives(owner):
                    return owner == self.own
            number = int(held[-1].rpartition(".")[2]) + 1 if held else 0
            try:  # of two that find the same one dead, one makes the next number
                self.store.fs.pipe_file(self._path(f"{name}.{number:04}"), self.own.encode(), mode="create")
            except FileExistsError:
                return False
        return True

    def release(self, name: str) -> None:
        with suppress(Exception):  # it ends with this process anyway
            for path in self._held(name):
                self.store.fs.rm(path)

    def _held(self, name: str) -> list[str]:
        self.store.fs.invalidate_cache()
        return sorted(self.store.fs.glob(self._path(f"{name}.[0-9][0-9][0-9][0-9]")))

    def _lives(self, owner: str) -> bool:
        try:
            sign = self.store.fs.cat_file(self._path(owner))
        except FileNotFoundError:  # it has ended
            return False
        if sign != self.signs.get(owner, (b"", 0.0))[0]:
            self.signs[owner] = (sign, time.monotonic())
        return time.monotonic() - self.signs[owner][1] < CLAIM_SECONDS

    def _renew(self) -> None:
        self.store.fs.makedirs(self._path("").rstrip("/"), exist_ok=True)
        self.store.fs.pipe_file(self._path(self.own), uuid.uuid4().hex.encode())

    def _renew_now_and_then(self) -> None:
        while not self.stop.wait(CLAIM_SECONDS / 4):
            with suppress(Exception):  # the next one may do
                self._renew()

    def _path(self, name: str) -> str:
        return self.store.path(f"{CLAIMS}/{name}")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _last(name: str) -> bool:
    """Whether a file has to be written after others: a row after its predictions, a marker after what it marks."""
    return name.endswith(f"/{MARKER}") or ("/" not in name and name.endswith(".json"))


def _states(folder: Path) -> Iterator[tuple[str, tuple]]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        with suppress(FileNotFoundError):
            if not _is_hidden(name) and path.is_file():
                found = path.stat()
                yield name, (found.st_size, found.st_mtime_ns)

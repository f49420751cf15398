"""A worker, a fresh interpreter that forks programs; and programs as the caller sees them. Knows no job."""

import os
import selectors
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import IO, Any

from nblib.sandbox import linux, wire

# Of this very package by its place, whatever the path has of the same name, and without what only the caller needs.
_START = """
import sys, types
for name, folder in {folders!r}.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from nblib.sandbox import spawner
spawner.main()
"""
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
_ENVIRONMENT |= {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")} | {"MPLBACKEND": "Agg"}
_PATIENCE_SECONDS = 10.0  # for a worker to clear up after itself


class BrokenError(RuntimeError):
    """The sandbox does not work on this machine; no fault of a program."""


@dataclass(frozen=True)
class Limits:
    """What one program may use for one outcome."""

    cpu_seconds: float = 10.0  # decides; the sum over all its processes
    wall_seconds: float = 60.0  # only the backstop, for a program that sleeps
    memory_bytes: int = 2**30  # address space of each process, and resident memory of all together
    processes: int = 16  # processes and threads at a time
    open_files: int = 64
    file_bytes: int = 2**24  # of one file; its temporary folder holds four times as much
    output_bytes: int = 2**20  # more output is a failure
    time_outs: int = 3  # of a program; after so many its other outcomes are time_out without being run

    def __post_init__(self):
        for item in fields(self):
            if getattr(self, item.name) <= 0:
                raise ValueError(f"{item.name} must be above 0; got {getattr(self, item.name)}")


class Worker:
    """One interpreter that serves one job at a time; `without` names layers to leave out."""

    def __init__(self, without: Sequence[str] = ()):
        self.channel, far = socket.socketpair()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        sandbox = Path(__file__).resolve().parent
        code = _START.format(folders={"nblib": str(sandbox.parent), "nblib.sandbox": str(sandbox)})
        with far:
            self.process = subprocess.Popen(  # not `-I`: the seed of hashes shall be that of the environment
                [sys.executable, "-s", "-P", "-c", code, str(far.fileno()), *without],
                pass_fds=(far.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.errors,
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # an interrupt typed into the terminal comes to the caller only
            )
        self.running: dict[int, Process] = {}
        self.count = 0  # of processes that were started
        self.reply: dict | None = None  # to the last request
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.channel, selectors.EVENT_READ)
        try:
            message = wire.receive(self.channel)
            if "map" in message:
                wire.send(self.channel, {"nobody": _map_users(self.process.pid)})
                message = wire.receive(self.channel)
            self.layers: dict[str, bool] = message["layers"]
        except wire.ClosedError:
            raise BrokenError(f"the sandbox did not start: {self.close()}") from None

    def close(self) -> str:
        """Ends it and all that it has started; the last line that it wrote to standard error."""
        if self.errors.closed:
            return ""
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.channel.close()
        with self.errors as file:
            file.seek(0)
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self.process.returncode}"

    def start(self, mode: str, begin: dict, limits: Limits, *, outcomes: int = 1, text: str = "") -> "Process":
        """A new program or judge and how it begins, for so many outcomes; `text` is its standard input."""
        self.count += 1
        near, far = socket.socketpair()
        (output, to_output), (errors, to_errors) = os.pipe(), os.pipe()
        process = self.running[self.count] = Process(self, self.count, limits, near, output, errors)
        message = {"spawn": self.count, "mode": mode, "limits": asdict(limits), "outcomes": outcomes}
        with far, _standard_input(text) as given, open(to_output, "wb", 0) as first, open(to_errors, "wb", 0) as second:
            if linux.LINUX:  # so that another user can open /dev/stdout
                os.fchmod(to_output, 0o622)
                os.fchmod(to_errors, 0o622)
            wire.send(self.channel, message, tuple(file.fileno() for file in (far, given, first, second)))
        process.tell(begin)
        process.first = process.hear()
        if process.first and "broken" in process.first:
            raise BrokenError(process.first["broken"])
        return process

    def renew(self, process: "Process") -> float:
        """A new outcome begins, with a whole budget for all that run; the CPU seconds of the process for the last."""
        used = dict(self._ask({"renew": True})["used"])
        return used[process.number] if process.number in used else process.finish()["cpu"]

    def release(self) -> None:
        """Ends a job: no process and no file of it is left."""
        for process in list(self.running.values()):
            process.kill("over")
            process.finish()
        self._ask({"release": True})

    def abandon(self) -> None:
        """Closes what is open to programs, after an error."""
        for process in self.running.values():
            process.close_all()
        self.running.clear()
        self.selector.close()

    def wait(self) -> None:
        """Takes what there is to read, or comes."""
        ready = [key.data for key, _ in self.selector.select()]
        for process, stream in filter(None, ready):
            process.read(stream)
        if None in ready:
            message = wire.receive(self.channel)
            if "ended" in message:
                self.running[message["ended"]].ended(message)
                del self.running[message["ended"]]
            else:
                self.reply = message

    def _ask(self, request: dict) -> dict:
        self.reply = None
        wire.send(self.channel, request)
        while self.reply is None:
            self.wait()
        return self.reply


class Process:
    """One program or judge."""

    def __init__(self, worker: Worker, number: int, limits: Limits, channel: socket.socket, *pipes: int):
        self.worker, self.number, self.limits, self.channel = worker, number, limits, channel
        self.output, self.errors, self.written = bytearray(), bytearray(), 0  # written: bytes to both
        self.frames = wire.Frames(2 * limits.output_bytes + 2**14)  # a text may double when it is written as JSON
        self.inbox: deque = deque()
        self.first: dict | None = None  # its first message, which no code of a program can send
        self.end: dict | None = None  # status, cpu, reason
        self.reason: str | None = None  # why this side had it killed
        self.streams: dict[Any, Callable[[bytes], None]] = {channel: self._hear}  # what takes what comes
        for pipe, text in zip(pipes, (self.output, self.errors), strict=True):
            self.streams[open(pipe, "rb", 0)] = partial(self._write, text)  # noqa: SIM115
        channel.settimeout(limits.wall_seconds)
        for stream in self.streams:
            os.set_blocking(stream.fileno(), False)
            worker.selector.register(stream, selectors.EVENT_READ, (self, stream))

    def tell(self, message: dict) -> None:
        """If it has ended, its end will be noticed."""
        with suppress(wire.ClosedError):
            wire.send(self.channel, message)

    def hear(self):
        """Its next message; None when it has ended and sent no more."""
        while not self.inbox and self.end is None:
            self.worker.wait()
        return self.inbox.popleft() if self.inbox else None

    def finish(self) -> dict:
        """Waits for the end."""
        while self.end is None:
            self.worker.wait()
        return self.end

    def kill(self, reason: str) -> None:
        if self.end is None and self.reason is None:
            self.reason = reason
            wire.send(self.worker.channel, {"kill": reason, "number": self.number})

    def ended(self, end: dict) -> None:
        """Reads what it has left."""
        for stream in list(self.streams):
            while self.read(stream):
                pass
        self.end = end
        self.close_all()

    def read(self, stream) -> bool:
        """Takes what there is; False where there is no more for now."""
        if stream not in self.streams:
            return False
        try:
            data = os.read(stream.fileno(), 2**16)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self.streams[stream](data)
        else:
            self._close(stream)
        return bool(data)

    def close_all(self) -> None:
        for stream in list(self.streams):
            self._close(stream)

    def _close(self, stream) -> None:
        if self.streams.pop(stream, None):
            self.worker.selector.unregister(stream)
            stream.close()

    def _hear(self, data: bytes) -> None:
        try:
            self.inbox += self.frames.feed(data)
            misused = len(self.inbox) > 8  # answers without a question
        except wire.ClosedError:
            misused = True
        if misused:
            self._close(self.channel)
            self.kill("channel")

    def _write(self, text: bytearray, data: bytes) -> None:
        self.written += len(data)
        if self.written > self.limits.output_bytes:
            self.kill("output")
        else:
            text += data


def _standard_input(text: str) -> IO[bytes]:
    """A file with the text; on Linux one without a path, which a program may open again as /dev/stdin."""
    if not text:
        return open(os.devnull, "rb")
    made = open(os.memfd_create("input"), "w+b") if linux.LINUX else tempfile.TemporaryFile()  # noqa: SIM115
    made.write(text.encode("utf-8", "surrogatepass"))
    made.seek(0)
    return made


def _map_users(pid: int) -> bool:
    """In a worker's new user namespace: root maps itself and `nobody`, others themselves; whether `nobody` is there."""
    user, group, place = os.geteuid(), os.getegid(), Path(f"/proc/{pid}")
    for nobody in ("65534 65534 1\n", "") if user == 0 else ("",):
        with suppress(OSError):
            if not nobody:
                (place / "setgroups").write_text("deny")
            (place / "gid_map").write_text(f"{group} {group} 1\n{nobody}")
            (place / "uid_map").write_text(f"{user} {user} 1\n{nobody}")
            return bool(nobody)
    return False

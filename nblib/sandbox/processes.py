"""Programs as the caller sees them: limits, a channel, two streams of output, an end. Knows no job."""

import os
import selectors
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import IO, Any

from nblib.sandbox.inside import linux, wire

_PATIENCE_SECONDS = 0.5  # between the end of a channel and that of its process
_UNREAD = 8  # frames that wait to be heard at most


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


class Programs:
    """Starts programs by way of the spawner, and hears from them."""

    def __init__(self, spawner: socket.socket):
        self.spawner = spawner
        self.running: dict[int, Process] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(spawner, selectors.EVENT_READ)
        self.count = 0
        self.reply: dict | None = None  # of the spawner to the last request

    def start(self, mode: str, begin: dict, limits: Limits, *, outcomes: int = 1, text: str = "") -> "Process":
        """A new program or judge, told how to begin; `text` is its standard input, and it may take `outcomes` times
        the CPU seconds."""
        self.count += 1
        near, far = socket.socketpair()
        (output, to_output), (errors, to_errors) = os.pipe(), os.pipe()
        process = self.running[self.count] = Process(self, self.count, limits, near, output, errors)
        message = {"spawn": self.count, "mode": mode, "limits": asdict(limits), "outcomes": outcomes}
        with far, _standard_input(text) as given, open(to_output, "wb", 0) as first, open(to_errors, "wb", 0) as second:
            if linux.LINUX:  # so that another user can open /dev/stdout
                os.fchmod(to_output, 0o622)
                os.fchmod(to_errors, 0o622)
            wire.send(self.spawner, message, tuple(file.fileno() for file in (far, given, first, second)))
        process.tell(begin)
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

    def wait(self, seconds: float | None = None) -> None:
        """Takes what there is to read, or comes."""
        ready = [key.data for key, _ in self.selector.select(seconds)]
        for process, stream in filter(None, ready):
            process.read(stream)
        if None in ready:
            message = wire.receive(self.spawner)
            if "ended" in message:
                self.running.pop(message["ended"]).ended(message)
            else:
                self.reply = message

    def _ask(self, request: dict) -> dict:
        self.reply = None
        wire.send(self.spawner, request)
        while self.reply is None:
            self.wait()
        return self.reply


class Process:
    """One program or judge."""

    def __init__(self, programs: Programs, number: int, limits: Limits, channel: socket.socket, *pipes: int):
        self.programs, self.number, self.limits, self.channel = programs, number, limits, channel
        self.output, self.errors, self.written = bytearray(), bytearray(), 0  # written: bytes to both
        self.frames = wire.Frames(2 * limits.output_bytes + 2**14)  # a text may double when it is written as JSON
        self.inbox: deque = deque()
        self.end: dict | None = None  # status, cpu, reason
        self.reason: str | None = None  # why this side had it killed
        self.streams: dict[Any, Callable[[bytes], None]] = {channel: self._hear}  # what takes what comes
        for pipe, text in zip(pipes, (self.output, self.errors), strict=True):
            self.streams[open(pipe, "rb", 0)] = partial(self._write, text)  # noqa: SIM115
        channel.settimeout(limits.wall_seconds)
        for stream in self.streams:
            os.set_blocking(stream.fileno(), False)
            programs.selector.register(stream, selectors.EVENT_READ, (self, stream))

    def tell(self, message: dict) -> None:
        """One that is gone will be noticed by its end."""
        with suppress(wire.ClosedError):
            wire.send(self.channel, message)

    def hear(self):
        """Its next message; None when it has ended and sent no more."""
        while not self.inbox and self.end is None:
            self.programs.wait()
        return self.inbox.popleft() if self.inbox else None

    def finish(self) -> dict:
        """Waits for the end."""
        while self.end is None:
            self.programs.wait()
        return self.end

    def stop(self) -> dict:
        """As `finish`, of a process that has left its channel: one that goes on without it is killed."""
        patience = time.monotonic() + _PATIENCE_SECONDS
        while self.end is None and time.monotonic() < patience:
            self.programs.wait(_PATIENCE_SECONDS)
        self.kill("channel")
        return self.finish()

    def kill(self, reason: str) -> None:
        if self.end is None and self.reason is None:
            self.reason = reason
            wire.send(self.programs.spawner, {"kill": reason, "number": self.number})

    def ended(self, end: dict) -> None:
        """All that it has left to read is read."""
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
            self.programs.selector.unregister(stream)
            stream.close()

    def _hear(self, data: bytes) -> None:
        try:
            self.inbox += self.frames.feed(data)
            if len(self.inbox) <= _UNREAD:
                return
        except wire.ClosedError:
            pass
        self._close(self.channel)  # it sends no frames, or answers what nobody has asked
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

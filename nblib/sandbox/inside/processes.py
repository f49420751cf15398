"""Programs as the caller sees them: a channel, two streams of output, an end. Knows no job."""

import os
import select
import socket
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from typing import IO

from nblib.sandbox.inside import kernel, wire

_PATIENCE_SECONDS = 0.5  # between the end of a channel and that of its process
_UNREAD = 8  # frames that are kept for later at most
_ERRORS_KEPT = 4000  # bytes of standard error, from its end


class BrokenError(RuntimeError):
    """The sandbox does not work on this machine; no fault of a program."""


@dataclass(eq=False)
class Process:
    """One program or judge."""

    number: int
    limits: dict
    control: socket.socket | None
    files: dict[int, str]  # file -> output, errors
    frames: wire.Frames
    outcomes: int  # that it may take the CPU seconds of
    output: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    inbox: deque = field(default_factory=deque)
    end: dict | None = None  # status, cpu, reason
    renewed: float | None = None  # CPU seconds of the last outcome
    reason: str | None = None  # why this side had it killed
    written: int = 0  # bytes to both streams


class Supply:
    """Starts programs by way of the spawner, and hears of them."""

    def __init__(self, spawner: socket.socket):
        self.spawner = spawner
        self.running: dict[int, Process] = {}
        self.count = 0
        self.released = True  # whether the folder of the last job is gone

    def start(self, mode: str, limits: dict, *, outcomes: int = 1, text: str = "") -> Process:
        """A new process, waiting for the first frame on its channel; `text` is its standard input."""
        self.count += 1
        near, far = socket.socketpair()
        streams = [os.pipe(), os.pipe()]
        names = {reading: name for (reading, _), name in zip(streams, ("output", "errors"), strict=True)}
        frames = wire.Frames(2 * limits["output_bytes"] + 2**14)  # a text may double when it is written as JSON
        self.running[self.count] = Process(self.count, limits, near, names, frames, outcomes)
        message = {"spawn": self.count, "mode": mode, "limits": limits, "outcomes": outcomes}
        try:
            for reading, writing in streams:
                os.set_blocking(reading, False)
                if kernel.LINUX:
                    os.fchmod(writing, 0o622)  # so that another user can open /dev/stdout
            with _standard_input(text) as given:
                wire.send(self.spawner, message, (far.fileno(), given.fileno(), *(writing for _, writing in streams)))
        finally:
            far.close()
            for _, writing in streams:
                os.close(writing)
        return self.running[self.count]

    def tell(self, process: Process, message: dict) -> None:
        """A frame to the process; one that is gone will be noticed by its end."""
        if process.control is not None:
            try:
                process.control.settimeout(process.limits["wall_seconds"])
                wire.send(process.control, message)
            except wire.ClosedError:
                pass

    def hear(self, process: Process) -> dict | None:
        """The next frame of the process; None when it has ended and sent no more."""
        while not process.inbox and process.end is None:
            self._turn()
        return process.inbox.popleft() if process.inbox else None

    def finish(self, process: Process) -> dict:
        """Waits for the end."""
        while process.end is None:
            self._turn()
        return process.end

    def expect_end(self, process: Process) -> dict:
        """As `finish`, of a process that has closed its channel: one that goes on without it is killed."""
        patience = time.monotonic() + _PATIENCE_SECONDS
        while process.end is None and time.monotonic() < patience:
            self._turn(_PATIENCE_SECONDS)
        self.kill(process, "channel")
        return self.finish(process)

    def renew(self, process: Process) -> float:
        """A new outcome begins, with a whole budget; the CPU seconds of the last one."""
        if process.end is not None:
            return process.end["cpu"]
        process.renewed = None
        wire.send(self.spawner, {"renew": True, "number": process.number})
        while process.renewed is None and process.end is None:
            self._turn()
        return process.renewed if process.renewed is not None else process.end["cpu"] if process.end else 0.0

    def kill(self, process: Process, reason: str) -> None:
        if process.end is None and process.reason is None:
            process.reason = reason
            wire.send(self.spawner, {"kill": reason, "number": process.number})

    def release(self) -> None:
        """Ends a job: no process and no file of it is left."""
        for process in list(self.running.values()):
            self.kill(process, "over")
            self.finish(process)
        self.released = False
        wire.send(self.spawner, {"release": True})
        while not self.released:
            self._turn()

    def abandon(self) -> None:
        """Closes what is open to programs, after an error."""
        for process in self.running.values():
            self._close(process)
        self.running.clear()

    # --- one turn of waiting --------------------------------------------------------------------------------------

    def _turn(self, seconds: float | None = None) -> None:
        sources: dict[int, Process | None] = {self.spawner.fileno(): None}
        for process in self.running.values():
            sources |= dict.fromkeys(process.files, process)
            if process.control is not None and len(process.inbox) < _UNREAD:
                sources[process.control.fileno()] = process
        poll = select.poll()
        for file in sources:
            poll.register(file, select.POLLIN)
        ready = [file for file, _ in poll.poll(None if seconds is None else seconds * 1000)]
        for file in ready:
            source = sources[file]
            if source is not None and source.end is None:
                self._read(source, file)
        if self.spawner.fileno() in ready:
            self._news()

    def _news(self) -> None:
        message = wire.receive(self.spawner)
        if "ended" in message:
            process = self.running.pop(message["ended"])
            for file in list(process.files):
                self._drain(process, file)
            if process.control is not None:
                self._drain(process, process.control.fileno())
            process.end = message
            self._close(process)
        elif "released" in message:
            self.released = True
        elif message["renewed"] in self.running:
            self.running[message["renewed"]].renewed = message["cpu"]

    def _drain(self, process: Process, file: int) -> None:
        while select.select([file], [], [], 0)[0] and self._read(process, file):
            pass

    def _read(self, process: Process, file: int) -> bool:
        """Takes what there is; False at the end of the stream."""
        try:
            data = os.read(file, 2**16)
        except OSError:
            data = b""
        if file in process.files:
            if not data:
                del process.files[file]
                os.close(file)
            else:
                self._keep(process, process.files[file], data)
        elif not data:
            self._close_control(process)
        else:
            self._frames(process, data)
        return bool(data)

    def _keep(self, process: Process, stream: str, data: bytes) -> None:
        process.written += len(data)
        if process.written > process.limits["output_bytes"]:
            self.kill(process, "output")
        elif stream == "output":
            process.output += data
        else:
            process.errors += data
            del process.errors[:-_ERRORS_KEPT]

    def _frames(self, process: Process, data: bytes) -> None:
        try:
            process.inbox += process.frames.feed(data)
        except wire.ClosedError:
            self._close_control(process)
            self.kill(process, "channel")

    def _close_control(self, process: Process) -> None:
        if process.control is not None:
            process.control.close()
            process.control = None

    def _close(self, process: Process) -> None:
        for file in process.files:
            os.close(file)
        process.files = {}
        self._close_control(process)


def _standard_input(text: str) -> IO[bytes]:
    """A file with the text; on Linux one without a path, which a program may open again as /dev/stdin."""
    if not text:
        return open(os.devnull, "rb")
    made = open(os.memfd_create("input"), "w+b") if kernel.LINUX else tempfile.TemporaryFile()  # noqa: SIM115
    made.write(text.encode("utf-8", "surrogatepass"))
    made.seek(0)
    return made

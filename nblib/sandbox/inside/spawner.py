"""The small, warm process that forks programs, watches what they use, kills them. Never sees code or checks.

A program is forked from here, so its memory holds what this process's memory holds: modules, nothing else. What a
program shall run comes to it over its own channel, after the fork.
"""

import fcntl
import gc
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from nblib.sandbox.inside import isolation, judge, kernel, private, program, usage, wire
from nblib.sandbox.inside.isolation import PID

_POLL_SECONDS = 0.05  # between looks at what the running programs use
_STATUS = struct.Struct("!i")
_BROKEN = 121  # exit status of a program whose isolation could not be set up
_MODES: dict[str, Callable] = {"program": program.main, "judge": judge.main}
_FAR = 200  # above all files of this process


@dataclass
class Child:
    """A program that runs: its first process, what it may use, what it had used when its budget last began."""

    number: int
    pid: int
    status_file: int
    limits: dict
    started: float
    cpu_before: float = 0.0
    cpu_seen: float = 0.0  # the most that was ever seen: the kernel forgets processes that nobody waited for
    seen: dict[int, float] = field(default_factory=dict)  # CPU seconds of each process, gone ones too
    reason: str | None = None  # the limit for which it was killed


class Spawner:
    """Serves one channel until its other end is gone."""

    def __init__(self, channel: socket.socket, place: isolation.Place, own_pids: int | None):
        self.channel, self.place, self.own_pids = channel, place, own_pids
        self.children: dict[int, Child] = {}
        self.folder: str | None = None
        self.watched = 0.0

    def serve(self) -> None:
        try:
            while True:
                waiting = [self.channel.fileno(), *(each.status_file for each in self.children.values())]
                ready = select.select(waiting, [], [], _POLL_SECONDS if self.children else None)[0]
                for child in [each for each in self.children.values() if each.status_file in ready]:
                    self._end(child)
                if self.channel.fileno() in ready:
                    self._obey()
                if time.monotonic() - self.watched >= _POLL_SECONDS:  # however much there is to read
                    self._watch()
                    self.watched = time.monotonic()
        except wire.ClosedError:
            pass
        finally:
            for child in list(self.children.values()):
                self._kill(child, "closed")
                self._wait(child)
            self._release()

    def _obey(self) -> None:
        message, files = wire.receive_with_files(self.channel)
        if "spawn" in message:
            self._spawn(message, files)
        elif "release" in message:
            self._release()
            wire.send(self.channel, {"released": True})
        elif message["number"] in self.children:
            child = self.children[message["number"]]
            if "kill" in message:
                self._kill(child, message["kill"])
            else:
                self._renew(child)
        elif "renew" in message:
            wire.send(self.channel, {"renewed": message["number"], "cpu": 0.0})

    # --- one program's life ---------------------------------------------------------------------------------------

    def _spawn(self, message: dict, files: list[int]) -> None:
        if self.folder is None:
            self.folder = private.make(self.place, message["limits"])
        reading, writing = os.pipe()
        if self.own_pids is not None:
            kernel.unshare(kernel.NEW_PID)  # of the next child
        pid = os.fork()
        if pid == 0:
            _first_process(self.place, self.folder, message, files, writing)
        if self.own_pids is not None:
            kernel.enter_namespace(self.own_pids, kernel.NEW_PID)
        for file in (writing, *files):
            os.close(file)
        self.children[message["spawn"]] = Child(message["spawn"], pid, reading, message["limits"], time.monotonic())

    def _end(self, child: Child) -> None:
        status, seconds = self._wait(child)
        used = max(max(seconds, child.cpu_seen) - child.cpu_before, 0.0)
        wire.send(self.channel, {"ended": child.number, "status": status, "cpu": used, "reason": child.reason})

    def _wait(self, child: Child) -> tuple[int, float]:
        data = os.read(child.status_file, _STATUS.size)
        os.close(child.status_file)
        _, own, use = os.wait4(child.pid, 0)
        del self.children[child.number]
        if PID not in self.place.layers:
            _sweep(frozenset(each.pid for each in self.children.values()))
        status = _STATUS.unpack(data)[0] if len(data) == _STATUS.size else own
        return status, use.ru_utime + use.ru_stime

    def _kill(self, child: Child, reason: str) -> None:
        child.reason = child.reason or reason
        with suppress(OSError):
            os.kill(child.pid, signal.SIGKILL)  # the first process of its namespace: all in it die
        if PID not in self.place.layers:
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)

    def _renew(self, child: Child) -> None:
        self._count(child, usage.of_programs([child.pid])[child.pid])
        total = child.cpu_seen
        used, child.cpu_before, child.started = max(total - child.cpu_before, 0.0), total, time.monotonic()
        wire.send(self.channel, {"renewed": child.number, "cpu": used})

    def _count(self, child: Child, use: usage.Use) -> None:
        child.seen |= use.own_seconds
        child.cpu_seen = max(child.cpu_seen, use.cpu_seconds, sum(child.seen.values()))

    def _watch(self) -> None:
        used = usage.of_programs([each.pid for each in self.children.values()])
        for child in self.children.values():
            use, limits = used[child.pid], child.limits
            self._count(child, use)
            if child.cpu_seen - child.cpu_before > limits["cpu_seconds"]:
                self._kill(child, "cpu")
            elif use.memory_bytes > limits["memory_bytes"]:
                self._kill(child, "memory")
            elif use.processes > limits["processes"] + 8:  # where the kernel does not limit them: root's
                self._kill(child, "processes")
            elif time.monotonic() - child.started > limits["wall_seconds"]:
                self._kill(child, "wall")

    def _release(self) -> None:
        if self.folder is not None:
            private.remove(self.place, self.folder)
            self.folder = None


# --- in the new processes -------------------------------------------------------------------------------------------


def _first_process(place, folder: str, message: dict, files: list[int], status_file: int) -> None:
    """Parent of all of a program's processes: starts the program, reaps orphans, says how the program ended."""
    try:
        os.setsid()
        if kernel.LINUX:
            kernel.die_with_parent()
            if PID not in place.layers:
                kernel.adopt_orphans()
        isolation.shut_in(place, without_folder=message["mode"] == "judge")
        main = os.fork()
        if main == 0:
            _program_process(place, folder, message, files)
        kept = fcntl.fcntl(status_file, fcntl.F_DUPFD, _FAR)
        os.closerange(0, _FAR)
        if kernel.LINUX:
            kernel.set_dumpable(False)
        while True:
            pid, status = os.wait()
            if pid == main:
                if PID not in place.layers:
                    _sweep()
                os.write(kept, _STATUS.pack(status))
                os._exit(0)
    except BaseException:
        os._exit(_BROKEN)


def _program_process(place, folder: str, message: dict, files: list[int]) -> None:
    """Becomes the program, or the judge, which has no folder."""
    try:
        control = _arrange(files)
        if kernel.LINUX and PID not in place.layers:
            kernel.die_with_parent()
        os.setsid()
        own = folder if message["mode"] == "program" else None
        isolation.confine(place, own, message["limits"], outcomes=message["outcomes"])
        os.chdir(own or "/")
        os.environ.update({"HOME": own or "/", "TMPDIR": own or "/"})
    except BaseException as error:
        with suppress(BaseException):
            wire.send(control, {"broken": f"{type(error).__name__}: {error}"})
        os._exit(_BROKEN)
    gc.enable()
    _MODES[message["mode"]](control, message["limits"])
    os._exit(_BROKEN)


def _arrange(files: list[int]) -> socket.socket:
    """Standard files to 0, 1, 2, the channel to 3, all others closed."""
    far = [fcntl.fcntl(file, fcntl.F_DUPFD, _FAR) for file in files]
    for number, file in enumerate(far[1:]):
        os.dup2(file, number)
    os.dup2(far[0], 3, inheritable=False)
    os.closerange(4, _FAR + 100)
    return socket.socket(fileno=3)


def _sweep(keep: frozenset[int] = frozenset()) -> None:
    """Without a PID namespace: kills what a program left to this process, until there is nothing left.

    All are stopped before one is killed, or those that fork would fill each place that becomes free.
    """
    while left := usage.below(os.getpid(), keep):
        stopped: set[int] = set()
        while running := usage.below(os.getpid(), keep) - stopped:
            _signal_all(running, signal.SIGSTOP)
            stopped |= running
        _signal_all(left | stopped, signal.SIGKILL)
        for pid in left | stopped:
            with suppress(OSError):  # children of others are reaped when they have come to this process
                os.waitpid(pid, 0)


def _signal_all(pids: set[int], number: int) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, number)


# --- start ----------------------------------------------------------------------------------------------------------


def main() -> None:
    """Entry of a fresh interpreter: `argv` holds the number of the channel's file and the layers to leave out.

    Isolates itself, says which layers there are, serves until the channel's other end is gone.
    """
    channel, without = socket.socket(fileno=int(sys.argv[1])), frozenset(sys.argv[2:])

    def request_user_map() -> bool:
        wire.send(channel, {"map": True})
        return wire.receive(channel)["nobody"]

    place = isolation.leave(request_user_map, without=without)
    if PID in place.layers:
        first = os.fork()
        if first:
            channel.close()
            os.waitpid(first, 0)
            os._exit(0)
        kernel.die_with_parent()
    own_pids = _own_pid_namespace(place)
    isolation.settle(place, without=without)
    if kernel.LINUX and PID not in place.layers:
        kernel.adopt_orphans()
    place.layers |= _probed(place, without)
    if usage.works():
        place.layers.add(isolation.WATCH)
    if isolation.OTHER_USER not in place.layers:
        place.user = None
    place.processes_already = usage.counted_already(place)
    names = (*isolation.ALL, *isolation.LIMITS, isolation.WATCH)
    wire.send(channel, {"layers": {name: name in place.layers for name in names}})
    gc.collect()
    gc.freeze()
    gc.disable()
    Spawner(channel, place, own_pids).serve()
    os._exit(0)


def _own_pid_namespace(place) -> int | None:
    if PID not in place.layers:
        return None
    try:
        file = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        kernel.enter_namespace(file, kernel.NEW_PID)
    except OSError:
        place.layers.discard(PID)
        return None
    return file


def _probed(place, without: frozenset[str]) -> set[str]:
    """What `isolation.probe` finds, tried in a process of its own."""
    reading, writing = os.pipe()
    folder = private.make(place, {"file_bytes": 2**20})
    if os.fork() == 0:
        try:
            found = isolation.probe(place, folder, without=without)
            os.write(writing, "\n".join(found).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as file:
        found = set(file.read().split("\n")) - {""}
    os.wait()
    private.remove(place, folder)
    return found

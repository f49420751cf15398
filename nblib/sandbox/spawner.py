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
from contextlib import suppress
from dataclasses import dataclass, field

from nblib.sandbox import isolation, judge, linux, program, wire
from nblib.sandbox.isolation import PID, Place

_POLL_SECONDS = 0.05  # between looks at what the running programs use
_STATUS = struct.Struct("!i")
_BROKEN = 121  # exit status of a program whose isolation could not be set up
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
    seen: dict[int, float] = field(default_factory=dict)  # CPU seconds of each process, also of ended ones
    reason: str | None = None  # the limit for which it was killed

    def count(self, running: dict[int, linux.Process]) -> list[int]:
        """Its processes that run now, after their CPU seconds are added up."""
        pids = [pid for pid in (self.pid, *linux.below(self.pid, among=running)) if pid in running]
        self.seen |= {pid: running[pid].own_seconds for pid in pids}
        seconds = sum(running[pid].own_seconds + running[pid].waited_seconds for pid in pids)
        self.cpu_seen = max(self.cpu_seen, seconds, sum(self.seen.values()))
        return pids

    def exceeded(self, running: dict[int, linux.Process]) -> str | None:
        """The limit that it has met."""
        pids = self.count(running)
        if self.cpu_seen - self.cpu_before > self.limits["cpu_seconds"]:
            return "cpu"
        if sum(map(linux.own_memory, pids)) > self.limits["memory_bytes"]:
            return "memory"
        if len(pids) > self.limits["processes"] + 8:  # where the kernel does not limit them: root's
            return "processes"
        return "wall" if time.monotonic() - self.started > self.limits["wall_seconds"] else None

    def renew(self, running: dict[int, linux.Process]) -> float:
        """A new budget begins; the CPU seconds of the last one."""
        self.count(running)
        used = self.cpu_seen - self.cpu_before
        self.cpu_before, self.started = self.cpu_seen, time.monotonic()
        return used


class Spawner:
    """Serves one channel until its other end closes."""

    def __init__(self, channel: socket.socket, place: Place, own_pids: int | None):
        self.channel, self.place, self.own_pids = channel, place, own_pids
        self.children: dict[int, Child] = {}
        self.folder: str | None = None

    def serve(self) -> None:
        watched = 0.0
        try:
            while True:
                waiting = [self.channel.fileno(), *(child.status_file for child in self.children.values())]
                ready = select.select(waiting, [], [], _POLL_SECONDS if self.children else None)[0]
                for child in [child for child in self.children.values() if child.status_file in ready]:
                    self._end(child)
                if self.channel.fileno() in ready:
                    files: list[int] = []
                    self._obey(wire.receive(self.channel, files), files)
                if time.monotonic() - watched >= _POLL_SECONDS:  # however much there is to read
                    running = linux.processes() if self.children else {}
                    for child in self.children.values():
                        if reason := child.exceeded(running):
                            self._kill(child, reason)
                    watched = time.monotonic()
        except wire.ClosedError:
            pass
        finally:
            for child in list(self.children.values()):
                self._kill(child, "closed")
                with suppress(wire.ClosedError):
                    self._end(child)
            self._release()

    def _obey(self, message: dict, files: list[int]) -> None:
        if "spawn" in message:
            self._spawn(message, files)
        elif "kill" in message:
            if child := self.children.get(message["number"]):
                self._kill(child, message["kill"])
        elif "renew" in message:
            running = linux.processes()
            used = [(child.number, child.renew(running)) for child in self.children.values()]
            wire.send(self.channel, {"used": used})
        else:
            self._release()
            wire.send(self.channel, {"released": True})

    def _spawn(self, message: dict, files: list[int]) -> None:
        if self.folder is None:
            self.folder = isolation.make_folder(self.place, message["limits"])
        reading, writing = os.pipe()
        if self.own_pids is not None:
            linux.call("unshare", linux.NEW_PID)  # of the next child
        pid = os.fork()
        if pid == 0:
            _first_process(self.place, self.folder, message, files, writing)
        if self.own_pids is not None:
            linux.call("setns", self.own_pids, linux.NEW_PID)
        for file in (writing, *files):
            os.close(file)
        self.children[message["spawn"]] = Child(message["spawn"], pid, reading, message["limits"], time.monotonic())

    def _end(self, child: Child) -> None:
        data = os.read(child.status_file, _STATUS.size)
        os.close(child.status_file)
        _, own, use = os.wait4(child.pid, 0)
        del self.children[child.number]
        if PID not in self.place.layers:
            _sweep(frozenset(other.pid for other in self.children.values()))
        status = _STATUS.unpack(data)[0] if len(data) == _STATUS.size else own
        used = max(max(use.ru_utime + use.ru_stime, child.cpu_seen) - child.cpu_before, 0.0)
        wire.send(self.channel, {"ended": child.number, "status": status, "cpu": used, "reason": child.reason})

    def _kill(self, child: Child, reason: str) -> None:
        child.reason = child.reason or reason
        with suppress(OSError):
            os.kill(child.pid, signal.SIGKILL)  # the first process of its namespace: all in it die
        if PID not in self.place.layers:
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)

    def _release(self) -> None:
        if self.folder is not None:
            isolation.remove_folder(self.place, self.folder)
            self.folder = None


def _first_process(place: Place, folder: str, message: dict, files: list[int], status_file: int) -> None:
    """Parent of all of a program's processes: starts the program, reaps orphans, says how the program ended."""
    try:
        os.setsid()
        linux.prctl(linux.PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if PID not in place.layers:
            linux.prctl(linux.ADOPT_ORPHANS, 1)
        isolation.shut_in(place, without_folder=message["mode"] == "judge")
        main = os.fork()
        if main == 0:
            _program_process(place, folder, message, files)
        kept = fcntl.fcntl(status_file, fcntl.F_DUPFD, _FAR)
        os.closerange(0, _FAR)
        linux.prctl(linux.DUMPABLE, 0)
        while True:
            pid, status = os.wait()
            if pid == main:
                if PID not in place.layers:
                    _sweep()
                os.write(kept, _STATUS.pack(status))
                os._exit(0)
    except BaseException:
        os._exit(_BROKEN)


def _program_process(place: Place, folder: str, message: dict, files: list[int]) -> None:
    """Becomes the program, or the judge, which has no folder."""
    try:
        far = [fcntl.fcntl(file, fcntl.F_DUPFD, _FAR) for file in files]
        for number, file in zip((3, 0, 1, 2), far, strict=True):  # the channel, the standard files
            os.dup2(file, number, inheritable=number < 3)
        os.closerange(4, _FAR + 100)
        control = socket.socket(fileno=3)
        if PID not in place.layers:
            linux.prctl(linux.PARENT_DEATH_SIGNAL, signal.SIGKILL)
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
    (program if own else judge).main(control, message["limits"])
    os._exit(_BROKEN)


def _sweep(keep: frozenset[int] = frozenset()) -> None:
    """Without a PID namespace: kills what a program left to this process, until there is nothing left.

    All are stopped before one is killed, or those that fork would fill each place that becomes free.
    """
    while stopped := _signal_all(linux.below(os.getpid(), keep), signal.SIGSTOP):
        while running := linux.below(os.getpid(), keep) - stopped:
            stopped |= _signal_all(running, signal.SIGSTOP)
        for pid in _signal_all(stopped, signal.SIGKILL):
            with suppress(OSError):  # children of others are reaped when they have come to this process
                os.waitpid(pid, 0)


def _signal_all(pids: set[int], number: int) -> set[int]:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, number)
    return pids


def main() -> None:
    """Of a fresh interpreter, whose `argv` holds the number of the channel's file and the layers to leave out."""
    channel, without = socket.socket(fileno=int(sys.argv[1])), frozenset(sys.argv[2:])
    place, own_pids = isolation.leave(channel, without=without), None
    if PID in place.layers:
        if first := os.fork():
            channel.close()
            os.waitpid(first, 0)
            os._exit(0)
        linux.prctl(linux.PARENT_DEATH_SIGNAL, signal.SIGKILL)
        try:
            own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            linux.call("setns", own_pids, linux.NEW_PID)
        except OSError:
            place.layers.discard(PID)
            own_pids = None
    isolation.settle(place, without=without)
    if PID not in place.layers:
        linux.prctl(linux.ADOPT_ORPHANS, 1)
    place.layers |= _probed(place, without)
    if linux.shows_processes():
        place.layers.add(isolation.WATCH)
    if isolation.OTHER_USER not in place.layers:
        place.user = None
    user = os.geteuid() if place.user is None else place.user  # of which Linux counts all threads that run
    place.processes_already = sum(process.threads for process in linux.processes().values() if process.user == user)
    wire.send(channel, {"layers": {name: name in place.layers for name in isolation.LAYERS}})
    gc.collect()
    gc.freeze()
    gc.disable()
    Spawner(channel, place, own_pids).serve()
    os._exit(0)


def _probed(place: Place, without: frozenset[str]) -> set[str]:
    """What `isolation.probe` finds, tried in a process of its own."""
    near, far = socket.socketpair()
    if os.fork() == 0:
        try:
            wire.send(far, list(isolation.probe(place, without=without)))
        finally:
            os._exit(0)
    far.close()
    with near:
        found = set(wire.receive(near))
    os.wait()
    return found

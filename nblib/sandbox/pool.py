"""Workers, each a fresh interpreter that forks programs, with a thread that feeds it. Isolates nothing itself."""

import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from nblib.sandbox.inside import jobs, wire
from nblib.sandbox.inside.processes import BrokenError, Supply
from nblib.sandbox.jobs import RUNTIME_ERROR, Job, Limits, Outcome, outcomes_of

# Not `-I`, which is the same but for the seed of hashes: sets must have the same order in every worker.
_FLAGS = ("-s", "-P")
# This very package by its place, whatever the path has of the same name; the path stays as it is.
_START = """
import sys
from importlib import util
spec = util.spec_from_file_location("nblib", {file!r})
sys.modules["nblib"] = util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["nblib"])
from nblib.sandbox.inside import spawner
spawner.main()
"""
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
_PATIENCE_SECONDS = 10.0  # for a worker to clear up after itself


class Worker:
    """One interpreter that runs one job at a time; `without` names layers to leave out."""

    def __init__(self, without: Sequence[str] = ()):
        self.channel, far = socket.socketpair()
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        code = _START.format(file=str(Path(__file__).resolve().parents[1] / "__init__.py"))
        self.process = subprocess.Popen(
            [sys.executable, *_FLAGS, "-c", code, str(far.fileno()), *without],
            pass_fds=(far.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,  # an interrupt typed into the terminal comes to the caller only
        )
        far.close()
        try:
            message = wire.receive(self.channel)
            if "map" in message:
                wire.send(self.channel, {"nobody": _map_users(self.process.pid)})
                message = wire.receive(self.channel)
            self.layers: dict[str, bool] = message["layers"]
        except wire.ClosedError:
            reason = self._last_error()
            self.close()
            raise BrokenError(f"the sandbox did not start: {reason}") from None
        self.supply = Supply(self.channel)

    def run(self, job: Job, limits: Limits) -> tuple[Outcome, ...]:
        """Raises wire.ClosedError if the worker ends, BrokenError if it says that it does not work."""
        described = {"kind": type(job).__name__.lower()} | asdict(job)
        try:
            return tuple(Outcome(**each) for each in jobs.run(self.supply, described, asdict(limits)))
        except BaseException:
            self.supply.abandon()
            raise

    def close(self) -> None:
        """Ends it and all that it has started."""
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.channel.close()
        self.errors.close()

    def _last_error(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_PATIENCE_SECONDS)
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self.process.poll()}"


def run(
    jobs: Sequence[Job],
    *,
    limits: Limits,
    workers: int | None,
    report: Callable[[float], None],
    without: Sequence[str] = (),
) -> list[tuple[Outcome, ...]]:
    """Outcomes in the order of the jobs."""
    count = min(workers or _cores(), len(jobs))
    todo: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, tuple[Outcome, ...] | BaseException]] = queue.SimpleQueue()
    for number in [*range(len(jobs)), *[None] * count]:
        todo.put(number)
    lanes = [_Lane(jobs, limits, todo, done, without) for _ in range(count)]
    results: list[tuple[Outcome, ...]] = [()] * len(jobs)
    try:
        for lane in lanes:
            lane.thread.start()
        for finished in range(1, len(jobs) + 1):
            number, outcomes = done.get()
            if isinstance(outcomes, BaseException):
                raise outcomes
            results[number] = outcomes
            report(finished / len(jobs))
    finally:
        for lane in lanes:
            lane.stop()
        for lane in lanes:
            if lane.thread.ident is not None:
                lane.thread.join()
    return results


class _Lane:
    """A thread with the worker it feeds, and the next worker should that one end."""

    def __init__(self, jobs, limits: Limits, todo, done, without: Sequence[str]):
        self.jobs, self.limits, self.todo, self.done, self.without = jobs, limits, todo, done, without
        self.worker: Worker | None = None
        self.stopped = False
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        number = -1
        try:
            while (number := self.todo.get()) is not None and not self.stopped:
                self.done.put((number, self._outcomes(self.jobs[number])))
        except BaseException as error:
            self.done.put((number, error))
        finally:
            self.stop()

    def _outcomes(self, job: Job) -> tuple[Outcome, ...]:
        """A worker that ends is replaced once for a job; if it ends again, that is the program's doing."""
        if not outcomes_of(job):
            return ()
        for _ in range(2):
            try:
                return self._ready().run(job, self.limits)
            except wire.ClosedError:
                self._drop()
        return (Outcome(RUNTIME_ERROR, message="the sandbox's worker ended twice on this program"),) * outcomes_of(job)

    def _ready(self) -> Worker:
        with self.lock:
            if self.stopped:
                raise wire.ClosedError("stopped")
            if self.worker is None:
                self.worker = Worker(self.without)
            return self.worker

    def _drop(self) -> None:
        with self.lock:
            worker, self.worker = self.worker, None
        if worker is not None:
            worker.close()

    def stop(self) -> None:
        """From any thread: ends the worker, with it the thread's wait."""
        self.stopped = True
        self._drop()


def _map_users(pid: int) -> bool:
    """In a worker's new user namespace: root maps itself and `nobody`, others themselves; whether `nobody` is there."""
    user, group, place = os.geteuid(), os.getegid(), Path(f"/proc/{pid}")
    if user == 0:
        with suppress(OSError):
            (place / "gid_map").write_text(f"{group} {group} 1\n65534 65534 1\n")
            (place / "uid_map").write_text("0 0 1\n65534 65534 1\n")
            return True
    with suppress(OSError):
        (place / "setgroups").write_text("deny")
        (place / "gid_map").write_text(f"{group} {group} 1\n")
        (place / "uid_map").write_text(f"{user} {user} 1\n")
    return False


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

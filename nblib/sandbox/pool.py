"""Workers, each a fresh interpreter that forks programs, and the threads that feed them. Isolates nothing itself."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

from nblib.sandbox.inside import wire
from nblib.sandbox.jobs import RUNTIME_ERROR, Job, Outcome, outcomes_of, run_job
from nblib.sandbox.processes import BrokenError, Limits, Programs

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
        with far:
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
        try:
            message = wire.receive(self.channel)
            if "map" in message:
                wire.send(self.channel, {"nobody": _map_users(self.process.pid)})
                message = wire.receive(self.channel)
            self.layers: dict[str, bool] = message["layers"]
        except wire.ClosedError:
            raise BrokenError(f"the sandbox did not start: {self.close()}") from None
        self.programs = Programs(self.channel)

    def run(self, job: Job, limits: Limits) -> tuple[Outcome, ...]:
        """Raises wire.ClosedError if the worker ends, BrokenError if it says that it does not work."""
        try:
            return tuple(run_job(self.programs, job, limits))
        except BaseException:
            self.programs.abandon()
            raise

    def close(self) -> str:
        """Ends it and all that it has started; the last line that it wrote to standard error."""
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


def run(
    jobs: Sequence[Job],
    *,
    limits: Limits,
    workers: int | None,
    report: Callable[[float], None],
    without: Sequence[str] = (),
) -> list[tuple[Outcome, ...]]:
    """Outcomes in the order of the jobs."""
    results: list[tuple[Outcome, ...]] = [()] * len(jobs)
    crew = _Crew(limits, without)
    threads = ThreadPoolExecutor(workers or _cores())
    try:
        waiting = {threads.submit(crew.outcomes, job): number for number, job in enumerate(jobs)}
        for finished, future in enumerate(as_completed(waiting), start=1):
            results[waiting[future]] = future.result()
            report(finished / len(jobs))
    finally:
        crew.close()
        threads.shutdown(cancel_futures=True)
    return results


class _Crew:
    """As many workers as threads ask for at a time."""

    def __init__(self, limits: Limits, without: Sequence[str]):
        self.limits, self.without = limits, without
        self.started: set[Worker] = set()
        self.free: list[Worker] = []
        self.closed = False
        self.lock = threading.Lock()

    def outcomes(self, job: Job) -> tuple[Outcome, ...]:
        """A worker that ends is replaced once for a job; if it ends again, that is the program's doing."""
        for _ in range(2 if outcomes_of(job) else 0):
            worker = self._take()
            try:
                found = worker.run(job, self.limits)
            except wire.ClosedError:
                self._drop(worker)
            else:
                self.free.append(worker)
                return found
        return (Outcome(RUNTIME_ERROR, message="the sandbox's worker ended twice on this program"),) * outcomes_of(job)

    def _take(self) -> Worker:
        with suppress(IndexError):
            return self.free.pop()
        worker = Worker(self.without)
        with self.lock:
            self.started.add(worker)
        if self.closed:
            self.close()
        return worker

    def _drop(self, worker: Worker) -> None:
        """Closes it, unless another thread does so."""
        with self.lock:
            known = worker in self.started
            self.started.discard(worker)
        if known:
            worker.close()

    def close(self) -> None:
        """From any thread: ends the workers, with them the threads' waits."""
        self.closed = True
        for worker in list(self.started):
            self._drop(worker)


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

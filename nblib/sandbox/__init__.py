"""Run untrusted programs under isolation and limits. Compares no outputs, computes no scores.

    outcomes = sandbox.run_all([sandbox.Script("print(input()[::-1])", inputs=("abc",))])
    assert outcomes == [(sandbox.Outcome("ok", output="cba\\n"),)]  # but for cpu_seconds

Each program runs in fresh processes of its own, without network, with one private folder as the only place to write
to, and sees neither expected values nor checks. CPU time decides, so that a busy machine changes no outcome.
"""

import os
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from nblib.sandbox import wire
from nblib.sandbox.jobs import (  # noqa: F401
    COMPILE_ERROR,
    FAILED,
    OK,
    OUT_OF_MEMORY,
    RUNTIME_ERROR,
    TIME_OUT,
    Checked,
    Function,
    Job,
    Outcome,
    Script,
    outcomes_of,
    run_job,
)
from nblib.sandbox.worker import Limits, Worker

_DEFAULT = Limits()
# What isolation has to have to need no consent: one layer of each group.
_NEEDED = (
    ("PID namespace",), ("mount namespace", "Landlock"), ("network namespace", "seccomp"), ("no new privileges",),
    ("CPU limit",), ("memory limit",), ("process limit",), ("watch over all processes",),
)  # fmt: skip


def run_all(
    jobs: Iterable[Job],
    *,
    limits: Limits = _DEFAULT,
    workers: int | None = None,
    allow_code_execution: bool = False,
) -> list[tuple[Outcome, ...]]:
    """Runs each job and returns its outcomes, in the order of the jobs, whatever the number of workers.

    `limits` hold for each outcome; `workers` is the number of jobs at a time, by default one per core.
    Raises PermissionError where isolation is weak and `allow_code_execution` is not given, OSError on Windows.
    """
    require(allow_code_execution)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be above 0, or None for one a core; got {workers}")
    crew, threads = _Crew(limits), ThreadPoolExecutor(workers or _cores())
    try:
        return list(threads.map(crew.outcomes, jobs))
    finally:
        crew.close()
        threads.shutdown(cancel_futures=True)


def layers() -> dict[str, bool]:
    """Each layer of isolation and each kind of limit, and whether it works on this machine."""
    return dict(_layers())


def require(allow_code_execution: bool) -> None:
    """Raises where untrusted programs may not run: on Windows, and where layers are missing without consent."""
    if sys.platform == "win32":
        raise OSError("the sandbox has no isolation on Windows, so it runs no programs there: use WSL, Linux or Colab")
    found = layers()
    missing = [" or ".join(kinds) for kinds in _NEEDED if not any(found.get(kind) for kind in kinds)]
    if missing and allow_code_execution is not True:  # consent is a real True: the text "false" is none
        raise PermissionError(
            f"programs written by a model would run here with weak isolation (missing: {', '.join(missing)}); "
            "pass allow_code_execution=True to run them all the same"
        )


@cache
def _layers() -> dict[str, bool]:
    if sys.platform == "win32":
        return {}
    worker = Worker()
    worker.close()
    return worker.layers


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Crew:
    """A worker for each thread that asks for one."""

    def __init__(self, limits: Limits):
        self.limits, self.own = limits, threading.local()
        self.started: list[Worker] = []
        self.closed = False
        self.lock = threading.Lock()

    def outcomes(self, job: Job) -> tuple[Outcome, ...]:
        """A worker that ends is replaced once for a job; if it ends again, that is the program's doing."""
        for _ in range(2 if outcomes_of(job) else 0):
            worker = self.own.worker = getattr(self.own, "worker", None) or self._start()
            try:
                return run_job(worker, job, self.limits)
            except wire.ClosedError:
                if self.closed:
                    raise
                with self.lock:
                    worker.close()
                self.own.worker = None
        return (Outcome(RUNTIME_ERROR, message="the sandbox's worker ended twice on this program"),) * outcomes_of(job)

    def _start(self) -> Worker:
        worker = Worker()
        self.started.append(worker)
        if self.closed:  # meanwhile, by an error of the caller or an interrupt
            self.close()
            raise wire.ClosedError("the run has ended")
        return worker

    def close(self) -> None:
        """Ends the workers, with them the threads' waits."""
        self.closed = True
        with self.lock:
            for worker in self.started:
                worker.close()

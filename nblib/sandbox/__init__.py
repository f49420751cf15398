"""Run untrusted programs under isolation and limits. Compares no outputs, computes no scores.

    outcomes = sandbox.run_all([sandbox.Script("print(input()[::-1])", inputs=("abc",))])
    assert outcomes == [(sandbox.Outcome("ok", output="cba\\n"),)]  # but for cpu_seconds

Each program runs in fresh processes of its own, without network, with one private folder as the only place to write
to, and sees neither expected values nor checks. CPU time decides, so that a busy machine changes no outcome.
"""

import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import groupby

from nblib.sandbox import wire
from nblib.sandbox.worker import Limits, Process, Worker

OK, FAILED, RUNTIME_ERROR = "ok", "failed", "runtime_error"
COMPILE_ERROR, TIME_OUT, OUT_OF_MEMORY = "compile_error", "time_out", "out_of_memory"
STATUSES = (OK, FAILED, RUNTIME_ERROR, COMPILE_ERROR, TIME_OUT, OUT_OF_MEMORY)
_MESSAGE_LENGTH = 500
_NO_MEMORY = (  # how the last line of standard error says so
    "MemoryError", "OSError: [Errno 12]", "numpy.core._exceptions._ArrayMemoryError",
    "terminate called after throwing an instance of 'std::bad_alloc'",
)  # fmt: skip
_DEFAULT = Limits()
# What isolation has to have to need no consent: one layer of each group.
_NEEDED = (
    ("PID namespace",), ("mount namespace", "Landlock"), ("network namespace", "seccomp"), ("no new privileges",),
    ("CPU limit",), ("memory limit",), ("process limit",), ("watch over all processes",),
)  # fmt: skip


@dataclass(frozen=True)
class Script:
    """The whole program as a script, run afresh for each standard input.

    A top-level `return` or `nonlocal` works. `sys.exit` is a normal end, whatever its code: the output counts.
    """

    code: str
    inputs: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Function:
    """Define, then call `name`, or the method `name` of `class Solution`, once for each arguments.

    As in the published APPS metric, a first argument that is a dict whose keys are all integers in quotes gets integer
    keys. The returned value comes as JSON: tuples as lists, keys as text, numpy's numbers and Decimal as numbers. A
    value that JSON cannot hold (a set, a generator) is `ok` without output: no expected value equals it. An integer
    of more than 4300 digits needs `sys.set_int_max_str_digits(0)` where the output is read.
    """

    code: str
    name: str
    arguments: tuple[str, ...]  # JSON lists as text


@dataclass(frozen=True)
class Checked:
    """Run the setup, then the code, then each check on what the code left behind.

    Checks run in a process of their own. Only calls and plain data cross: a check calls the program's functions by
    name with numbers, texts, containers, arrays, tables, and compares what comes back, whose types are exactly
    Python's own. Objects come as their fields without methods. A check that needs more (a patched module, a file, a
    method of an object) fails there; it can run in the program's own process, where a hostile program can forge it:
    `inside` names such checks, and their outcomes say so. A setup that needs a class of the code's runs after it.
    A block that defines `check` and does not call it is called with the candidate. What the setup defines or Python
    has built in cannot be replaced by the code, but for `name` and `data`.
    """

    code: str
    checks: tuple[str, ...]  # statements: `assert f(3) == 9`, or a block such as HumanEval's check(candidate)
    setup: str = ""  # imports and sample values, run before the code, in both processes
    name: str | None = None  # the function that `candidate` stands for in the checks
    data: tuple[str, ...] | None = None  # names whose values are the code's, though the setup or Python has them too;
    # None: values of the setup's for checks that call nothing of the code's
    inside: tuple[int, ...] = ()  # numbers, from 0, of checks that run in the program's own process


Job = Script | Function | Checked


@dataclass(frozen=True)
class Outcome:
    """What came of one input, one call or one check."""

    status: str  # one of STATUSES; Checked: ok passed, failed did not, runtime_error: the program raised or ended
    output: str | None = None  # Script: standard output. Function: the returned value as JSON text
    message: str = ""  # the exception's last line, or the limit that was met; cut if it is long
    cpu_seconds: float = 0.0
    inside: bool = False  # a check that ran in the program's own process, where a program can forge it

    def __post_init__(self):
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}; got {self.status!r}")
        object.__setattr__(self, "message", self.message[:_MESSAGE_LENGTH])


def outcomes_of(job: Job) -> int:
    """How many outcomes a job has: one an input, a call or a check."""
    return len(job.inputs if isinstance(job, Script) else job.arguments if isinstance(job, Function) else job.checks)


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


# --- outcomes -------------------------------------------------------------------------------------------------------


class _FailedError(Exception):
    """A process that cannot answer, or not any more, and the outcome that comes of it."""

    def __init__(self, outcome: Outcome):
        super().__init__(outcome.message)
        self.outcome = outcome


def run_job(worker: Worker, job: Job, limits: Limits) -> tuple[Outcome, ...]:
    """Its outcomes. Raises wire.ClosedError if the worker ends, BrokenError if it says that it does not work."""
    kinds: dict[type, Callable[..., Iterator[Outcome]]] = {Script: _script, Function: _function, Checked: _checked}
    found: list[Outcome] = []
    late = 0
    try:
        for outcome in kinds[type(job)](worker, job, limits):
            found.append(outcome)
            late += outcome.status == TIME_OUT
            if late >= limits.time_outs:
                worker.release()
                break
    except BaseException:
        worker.abandon()
        raise
    rest = Outcome(TIME_OUT, None, f"not run: {late} outcomes of this program ran out of time before")
    return (*found, *[rest] * (outcomes_of(job) - len(found)))


def _script(worker: Worker, job: Script, limits: Limits) -> Iterator[Outcome]:
    for number, text in enumerate(job.inputs):
        process = worker.start("program", {"mode": "script", "code": job.code}, limits, text=text)
        try:
            _compiled(process)
            outcome = _of_end(process)
        except _FailedError as failure:
            outcome = failure.outcome
        worker.release()
        if outcome.status == COMPILE_ERROR:
            yield from [outcome] * (len(job.inputs) - number)
            return
        yield outcome


def _function(worker: Worker, job: Function, limits: Limits) -> Iterator[Outcome]:
    return _in_turn(worker, job, limits, job.arguments, lambda process: partial(_call, process))


def _checked(worker: Worker, job: Checked, limits: Limits) -> Iterator[Outcome]:
    """Checks by the judge, one program for as many as follow each other; each of those inside by a fresh program."""
    for inside, numbers in groupby(range(len(job.checks)), key=lambda number: number in job.inside):
        checks = [job.checks[number] for number in numbers]
        if not inside:
            yield from _in_turn(worker, job, limits, checks, partial(_judge, job))
        for check in checks if inside else ():
            for outcome in _in_turn(worker, job, limits, [check], lambda process: partial(_inside, process)):
                yield replace(outcome, inside=True)


def _in_turn(
    worker: Worker, job: Function | Checked, limits: Limits, questions: Sequence[str], begin: Callable
) -> Iterator[Outcome]:
    """An outcome for each question: one program serves all, and another one those after its end.

    `begin(process)` gives what asks a question; it may start a judge for that.
    """
    message = {"mode": "asked", "code": job.code, "setup": getattr(job, "setup", ""), "name": job.name}
    done = 0
    while done < len(questions):
        before = worker.count
        process = worker.start("program", message, limits, outcomes=len(questions) - done + 1)
        try:
            _compiled(process)
            if process.hear() != {"ready": True}:
                raise _gone(process, "before it was asked")
            ask: Callable[[str], Outcome] = begin(process)
        except _FailedError as failure:
            worker.release()
            yield from [failure.outcome] * (len(questions) - done)
            return
        worker.renew(process)
        while True:
            try:
                yield ask(questions[done])
            except _FailedError as failure:
                yield failure.outcome
            done += 1
            if done == len(questions) or len(worker.running) < worker.count - before:
                break
        worker.release()


def _compiled(process: Process) -> None:
    """Raises unless the code compiles, which the first message says."""
    if process.first is None:
        outcome = _gone(process, "before it was compiled").outcome
        limited = outcome.status in (TIME_OUT, OUT_OF_MEMORY)
        raise _FailedError(outcome if limited else replace(outcome, status=COMPILE_ERROR))
    if "compile_error" in process.first:
        raise _FailedError(Outcome(COMPILE_ERROR, None, process.first["compile_error"]))


def _answer(process: Process, question: dict, when: str = "before the check did") -> dict:
    process.tell(question)
    reply = process.hear()
    if not isinstance(reply, dict):
        raise _gone(process, when)
    return reply


def _call(process: Process, arguments: str) -> Outcome:
    reply = _answer(process, {"json": arguments}, "during the call")
    if isinstance(reply.get("value"), str):
        return _timed(process, OK, output=reply["value"])
    return _timed(process, OK, str(reply["none"])) if "none" in reply else _raised(process, reply)


def _judge(job: Checked, process: Process) -> Callable[[str], Outcome]:
    limits = replace(process.limits, processes=process.limits.processes + 4)
    begin = {"setup": job.setup, "name": job.name, "data": job.data}
    judge = process.worker.start("judge", begin, limits, outcomes=len(job.checks) + 1)
    if judge.first is None:
        raise _gone(judge, "in the setup")
    if "setup_error" in judge.first:
        raise _FailedError(Outcome(RUNTIME_ERROR, None, f"the setup failed: {judge.first['setup_error']}"))
    return partial(_check, process, judge)


def _check(process: Process, judge: Process, text: str) -> Outcome:
    """One check's outcome: carries the judge's questions to the program and the answers back."""
    judge.tell({"check": text})
    while reply := judge.hear():
        if "ask" not in reply:
            memory = reply["message"].startswith("MemoryError")
            return _timed(process, OUT_OF_MEMORY if memory else reply["status"], reply["message"])
        judge.tell(_answer(process, reply["ask"]))
    outcome = _of_end(judge)
    raise _FailedError(replace(outcome, output=None, status=FAILED if outcome.status == OK else outcome.status))


def _inside(process: Process, text: str) -> Outcome:
    """The program's process runs the check, and can give back the secret only from behind its end."""
    secret = secrets.token_hex(16)
    reply = _answer(process, {"check": {"text": text, "secret": secret}})
    if "error" in reply:
        return _raised(process, reply)
    if reply.get("reached") == secret:
        return _timed(process, OK)
    return _timed(process, FAILED, str(reply.get("failed", "the check did not run to its end")))


def _raised(process: Process, reply: dict) -> Outcome:
    return _timed(process, OUT_OF_MEMORY if reply.get("memory") is True else RUNTIME_ERROR, str(reply.get("error")))


def _timed(process: Process, status: str, message: str = "", output: str | None = None) -> Outcome:
    """The outcome of a question, unless it took too long."""
    cpu = process.worker.renew(process)
    if cpu > process.limits.cpu_seconds:
        return Outcome(TIME_OUT, None, f"more than {process.limits.cpu_seconds:g} s of CPU time", cpu)
    return Outcome(status, output, message, cpu)


def _gone(process: Process, when: str) -> _FailedError:
    """Of a process that did not answer."""
    process.kill("channel")  # if it goes on all the same
    outcome = replace(_of_end(process), output=None)
    if outcome.status == OK:
        outcome = replace(outcome, status=RUNTIME_ERROR, message=f"the program ended {when}")
    return _FailedError(outcome)


def _of_end(process: Process) -> Outcome:
    """Of a process when it has ended, with all that it wrote to standard output."""
    end, limits = process.finish(), process.limits
    number = os.WTERMSIG(end["status"]) if os.WIFSIGNALED(end["status"]) else 0
    reason = process.reason or end["reason"]
    if reason != "wall" and (end["cpu"] > limits.cpu_seconds or number == signal.SIGXCPU):
        reason = "cpu"
    reasons = {
        "cpu": (TIME_OUT, f"more than {limits.cpu_seconds:g} s of CPU time"),
        "wall": (TIME_OUT, f"more than {limits.wall_seconds:g} s of wall time"),
        "memory": (OUT_OF_MEMORY, f"more than {limits.memory_bytes} bytes of memory"),
        "output": (RUNTIME_ERROR, f"more than {limits.output_bytes} bytes of output"),
        "processes": (RUNTIME_ERROR, f"more than {limits.processes} processes"),
        "channel": (RUNTIME_ERROR, "the program left or misused its channel"),
    }
    status, message = reasons.get(reason) or _by_itself(process, end["status"], number)
    output = None if reason in ("output", "channel") else process.output.decode("utf-8", "replace")
    return Outcome(status, output, message, end["cpu"])


def _by_itself(process: Process, status: int, number: int) -> tuple[str, str]:
    """Status and message of a program that no limit has ended; a signal's number, or 0."""
    message = process.errors.decode("utf-8", "replace").strip().rpartition("\n")[2].strip()
    if not status:
        return OK, ""
    if message.startswith(_NO_MEMORY):
        return OUT_OF_MEMORY, message
    if number:
        return RUNTIME_ERROR, f"ended by {signal.Signals(number).name}"
    return RUNTIME_ERROR, message or f"ended with exit status {os.waitstatus_to_exitcode(status)}"

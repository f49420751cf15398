"""What is asked of the sandbox: programs, limits, outcomes. Runs nothing."""

from dataclasses import dataclass, fields

OK, FAILED, RUNTIME_ERROR = "ok", "failed", "runtime_error"
COMPILE_ERROR, TIME_OUT, OUT_OF_MEMORY = "compile_error", "time_out", "out_of_memory"
STATUSES = (OK, FAILED, RUNTIME_ERROR, COMPILE_ERROR, TIME_OUT, OUT_OF_MEMORY)
MESSAGE_LENGTH = 500


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
        for each in fields(self):
            if getattr(self, each.name) <= 0:
                raise ValueError(f"{each.name} must be above 0; got {getattr(self, each.name)}")


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
    message: str = ""  # the exception's last line, or the limit that was met
    cpu_seconds: float = 0.0
    inside: bool = False  # a check that ran in the program's own process, where a program can forge it

    def __post_init__(self):
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}; got {self.status!r}")


def outcomes_of(job: Job) -> int:
    """How many outcomes a job has: one an input, a call or a check."""
    if isinstance(job, Script):
        return len(job.inputs)
    return len(job.arguments) if isinstance(job, Function) else len(job.checks)

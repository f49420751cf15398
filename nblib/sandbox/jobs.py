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

    Checks run in a process of their own, where the program's names are stand-ins: functions are called over a pipe,
    data is fetched. Only a check that cannot work so (it patches modules, or hands over what is no plain data) runs in
    the program's process; its outcome says so. A block that defines `check` and does not call it is called with the
    candidate. A module, class or function that the setup defines cannot be replaced by the code, but for `name`.
    """

    code: str
    checks: tuple[str, ...]  # statements: `assert f(3) == 9`, or a block such as HumanEval's check(candidate)
    setup: str = ""  # imports and sample values, run before the code, in the program's own process
    name: str | None = None  # the function that `candidate` stands for in the checks


Job = Script | Function | Checked


@dataclass(frozen=True)
class Outcome:
    """What came of one input, one call or one check."""

    status: str  # one of STATUSES; Checked: ok passed, failed did not, runtime_error: the program raised or ended
    output: str | None = None  # Script: standard output. Function: the returned value as JSON text
    message: str = ""  # the exception's last line, or the limit that was met
    cpu_seconds: float = 0.0

    def __post_init__(self):
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}; got {self.status!r}")


def outcomes_of(job: Job) -> int:
    """How many outcomes a job has: one an input, a call or a check."""
    if isinstance(job, Script):
        return len(job.inputs)
    return len(job.arguments) if isinstance(job, Function) else len(job.checks)

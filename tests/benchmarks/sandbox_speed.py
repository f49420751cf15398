"""How many of apps-mini's programs a second the sandbox runs on all their inputs, against a manager process for each.

The other way is that of the public metrics for APPS and HumanEval: a `multiprocessing.Manager` and a process for each
program, with no isolation; that process runs the program on all its inputs, where the sandbox runs it afresh for each.
Both start programs from this process, which has a model loaded, as where a study scores itself. `speed.py` runs it.
"""

import contextlib
import io
import multiprocessing
import sys
import time

from nblib import sandbox, tasks
from nblib.tasks import Example


def compare(programs: int, repeats: int) -> tuple[float, ...]:
    """The seconds of managers by those of the sandbox, in turn; of the clock."""
    sandbox.require(allow_code_execution=True)  # starts one worker: not counted
    examples = tuple(example for example in tasks.load("apps-mini").test if not example.entry_point)[:programs]
    return tuple(seconds(with_managers, examples) / seconds(in_the_sandbox, examples) for _ in range(repeats))


def seconds(run, examples: tuple[Example, ...]) -> float:
    begun = time.perf_counter()
    outputs = run(examples)
    taken = time.perf_counter() - begun
    assert outputs == [list(example.outputs) for example in examples]
    return taken


def in_the_sandbox(examples: tuple[Example, ...]) -> list[list[str | None]]:
    jobs = [sandbox.Script(example.code, example.inputs) for example in examples]
    return [[one.output for one in outcomes] for outcomes in sandbox.run_all(jobs, allow_code_execution=True)]


def with_managers(examples: tuple[Example, ...]) -> list[list[str]]:
    return [managed(example) for example in examples]


def managed(example: Example) -> list[str]:
    with multiprocessing.get_context("fork").Manager() as manager:
        results = manager.list()
        process = multiprocessing.get_context("fork").Process(target=run_here, args=(example, results))
        process.start()
        process.join()
        return list(results)


def run_here(example: Example, results) -> None:
    for text in example.inputs:
        sys.stdin = io.StringIO(text)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(example.code, {"__name__": "__main__"})
        results.append(output.getvalue())

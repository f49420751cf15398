"""How many of apps-mini's programs a second the sandbox runs on all their inputs, against a manager process for each.

    python tests/benchmarks/sandbox_speed.py [programs] [--bare]

The other way is that of the public metrics for APPS and HumanEval: one program after another, a
`multiprocessing.Manager` and a process for each, with no isolation; that process runs the program on all its inputs,
where the sandbox runs it afresh for each. Beside it, on as many programs at a time as there are cores, as here. Both
start programs from this process, which has a model loaded, as where a study scores itself; with `--bare` it has none.
"""

import argparse
import contextlib
import io
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from nblib import sandbox, tasks
from nblib.tasks import Example


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=int, nargs="?", default=99, help="of the 99 that read their input")
    parser.add_argument("--bare", action="store_true")
    args = parser.parse_args()
    loaded = None if args.bare else _model()
    layers = sandbox.layers()
    print(f"layers on: {sum(layers.values())} of {len(layers)}; off: {[name for name, on in layers.items() if not on]}")
    for name, workers in (("one after another", 1), ("as many as there are cores", multiprocessing.cpu_count())):
        ratios = compare(args.programs, 3, workers=workers)
        spread = f"{statistics.median(ratios):.1f} times as quick, from {min(ratios):.1f} to {max(ratios):.1f}"
        print(f"managers, {name}: the sandbox is {spread}")
    del loaded


def _model() -> object:
    from nblib import models

    return models.load("tiny", "fp32")


def compare(programs: int, repeats: int, *, workers: int = 1) -> tuple[float, ...]:
    """The seconds of managers by those of the sandbox, in turn; of the clock."""
    sandbox.require(allow_code_execution=True)  # starts one worker: not counted
    examples = tuple(example for example in tasks.load("apps-mini").test if not example.entry_point)[:programs]
    plain = partial(with_managers, workers=workers)
    return tuple(seconds(plain, examples) / seconds(in_the_sandbox, examples) for _ in range(repeats))


def seconds(run, examples: tuple[Example, ...]) -> float:
    begun = time.perf_counter()
    outputs = run(examples)
    taken = time.perf_counter() - begun
    assert outputs == [list(example.outputs) for example in examples]
    return taken


def in_the_sandbox(examples: tuple[Example, ...]) -> list[list[str | None]]:
    jobs = [sandbox.Script(example.code, example.inputs) for example in examples]
    return [[one.output for one in outcomes] for outcomes in sandbox.run_all(jobs, allow_code_execution=True)]


def with_managers(examples: tuple[Example, ...], *, workers: int) -> list[list[str]]:
    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(managed, examples))


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


if __name__ == "__main__":
    main()

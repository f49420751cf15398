"""How many trivial programs a second the sandbox runs, against a manager process for each, one after another.

    python tests/benchmarks/sandbox_speed.py [programs]

The other way is that of the public metrics for APPS and HumanEval: a `multiprocessing.Manager` and a process for each
program, with no isolation, one after another; beside it, on as many programs at a time as there are cores, as here.
"""

import contextlib
import io
import multiprocessing
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from nblib import sandbox

CODE = "print(sum(map(int, input().split())))"
TEXT = "1 2 3\n"


def main(programs: int) -> None:
    sandbox.require(allow_code_execution=True)  # starts one worker: not counted
    layers = sandbox.layers()
    few = max(programs // 10, 10)
    ours = rate(in_the_sandbox, programs)
    print(f"layers on: {sum(layers.values())} of {len(layers)}; off: {[name for name, on in layers.items() if not on]}")
    print(f"sandbox:                        {ours:7.1f} programs/s ({programs} programs)")
    for name, workers in (("one after another", 1), ("as many as there are cores", multiprocessing.cpu_count())):
        plain = rate(partial(with_managers, workers=workers), few)
        print(f"managers, {name:<21} {plain:7.1f} programs/s ({few} programs): {ours / plain:.1f} times as quick")


def rate(run, programs: int) -> float:
    begun = time.perf_counter()
    run(programs)
    return programs / (time.perf_counter() - begun)


def in_the_sandbox(programs: int) -> None:
    outcomes = sandbox.run_all([sandbox.Script(CODE, (TEXT,))] * programs, allow_code_execution=True)
    assert all(each[0].output == "6\n" for each in outcomes)


def with_managers(programs: int, *, workers: int) -> None:
    with ThreadPoolExecutor(workers) as threads:
        assert list(threads.map(lambda _: managed(), range(programs))) == ["6\n"] * programs


def managed() -> str:
    with multiprocessing.get_context("fork").Manager() as manager:
        results = manager.list()
        process = multiprocessing.get_context("fork").Process(target=run_here, args=(results,))
        process.start()
        process.join()
        return results[0]


def run_here(results) -> None:
    sys.stdin = io.StringIO(TEXT)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(CODE, {"__name__": "__main__"})
    results.append(output.getvalue())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)

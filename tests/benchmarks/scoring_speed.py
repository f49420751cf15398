"""How long scoring takes: one-line predictions, the same with their programs run, hostile outputs.

    python tests/benchmarks/scoring_speed.py [--predictions 1000] [--answers 1] [--workers 2] [--run-programs]

The predictions are references of conala-mini, half of them made wrong, so no model is needed. --run-programs executes
them in the sandbox, which takes a process for each.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from nblib import metrics, tasks
from nblib.metrics import verdicts
from nblib.results import Prediction
from nblib.tasks import Example

HOSTILE = ("1 " * 2**19, "1\n" * 2**19, "9" * 2**20, "[" * 2**20, "1e999 " * 2**17)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=1000)
    parser.add_argument("--answers", type=int, default=1)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--run-programs", action="store_true")
    args = parser.parse_args()
    examples = _examples(args.predictions)
    predictions = [_prediction(example, number, args.answers) for number, example in enumerate(examples)]
    with _timed(f"{args.predictions} predictions scored, {args.answers} answers each"):
        metrics.summary(metrics.score(examples, predictions), examples)
    if args.run_programs:
        consent = {"sampled": True, "allow_code_execution": True, "workers": args.workers}
        with _timed("their programs run"):
            executed = metrics.execute(examples, predictions, **consent)
        means = metrics.summary(executed, examples)
        print({name: mean["mean"] for name, mean in means.items() if "accuracy" in name})
    with _timed(f"{len(HOSTILE)} hostile outputs of half a megabyte or more, each against three expected ones"):
        for output in HOSTILE:
            for expected in "1", "1 2\n" * 1000, "1 2\n" * 100_000:
                verdicts.printed(output, expected)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    print(f"{time.monotonic() - start:6.2f} s  {what}", flush=True)


def _examples(count: int) -> list[Example]:
    data = tasks.load("conala-mini")
    rows = [*data.test, *data.validation, *data.train]
    return [replace(rows[at % len(rows)], id=str(at)) for at in range(count)]


def _prediction(example: Example, at: int, answers: int) -> Prediction:
    codes = [example.code if (at + place) % 2 else f"{example.code}  # {place}\nanswer = 0" for place in range(answers)]
    return Prediction(example.id, tuple(codes), tuple(codes), 20, 10 * answers)


if __name__ == "__main__":
    main()

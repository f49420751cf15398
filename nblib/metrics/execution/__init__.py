"""Whether answers pass the tests of their examples: the scores of tasks with tests. The sandbox runs the programs."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from nblib.metrics.execution.judge import LIMITS, Setting, verdicts_of
from nblib.metrics.execution.pass_at_k import pass_at_k
from nblib.metrics.execution.program import has_tests
from nblib.metrics.execution.verdicts import (
    CODES,
    FIRST_ANSWER,
    INSIDE,
    KINDS,
    UNDECIDED,
    Verdicts,
    codes,
    counts,
    kind,
    marked,
    passes,
    plain,
    scores,
)  # fmt: skip
from nblib.metrics.pairs import pairs
from nblib.results import Prediction
from nblib.sandbox import Limits
from nblib.tasks import Example

__all__ = [
    "CODES", "FIRST_ANSWER", "INSIDE", "KINDS", "KS", "LIMITS", "UNDECIDED", "Verdicts", "codes", "counts", "execute",
    "has_tests", "kind", "marked", "pass_at_k", "passes", "plain", "scores", "with_verdicts",
]  # fmt: skip

KS = (1, 2, 5, 10, 100)  # of pass@k, up to the number of answers


def execute(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    sampled: bool,
    ks: Sequence[int] | None = None,
    limits: Limits = LIMITS,
    workers: int | None = None,
    allow_code_execution: bool = False,
    report: Callable[[float], None] = lambda share: None,
) -> list[Prediction]:
    """The predictions in their order, with a verdict for each test of each answer, and the scores of these.

    `sampled` says that the answers of an example are independent samples, as pass@k with k above 1 needs them;
    otherwise pass@1 is whether the first answer passes. An example without tests has None for each score. Nothing is
    run, and nothing changes, where no example has tests.
    Raises ValueError for ids that do not fit and for a k that the answers do not allow, and what the sandbox raises
    where it may not run code.
    """
    ks = _ks(ks, sampled)
    matched = pairs(examples, predictions)
    asked = [(example, code) for example, each in matched if has_tests(example) for code in each.codes]
    if not any(has_tests(example) for example in examples):
        return list(predictions)
    found = verdicts_of(asked, Setting(limits, workers, allow_code_execution), report)
    return [
        with_verdicts(each, [found.get((example.id, code), ()) for code in each.codes], sampled=sampled, ks=ks)
        for example, each in matched
    ]


def with_verdicts(
    prediction: Prediction, verdicts: Sequence[Verdicts], *, sampled: bool, ks: Sequence[int] | None = None
) -> Prediction:
    """The prediction with these verdicts of its answers and the scores of them; other scores are kept."""
    found = scores(verdicts, sampled=sampled, ks=_ks(ks, sampled))
    return replace(prediction, verdicts=tuple(verdicts) if any(verdicts) else (), scores=prediction.scores | found)


def _ks(ks: Sequence[int] | None, sampled: bool) -> Sequence[int]:
    if ks is None:
        return KS if sampled else (1,)
    for k in ks:
        if k < 1:
            raise ValueError(f"k must be 1 or more; got {k}")
        if k > 1 and not sampled:
            raise ValueError(
                f"pass@{k} needs independent samples; answers of greedy decoding or a beam search are none: ask for "
                "k 1 or sample with a temperature"
            )
    return ks

"""Verdicts, one a test, to scores, counts and the published codes. Runs and compares nothing."""

from collections import Counter
from collections.abc import Sequence

from nblib.metrics.execution.compare import PASSED, PASSED_LOOSELY, WRONG
from nblib.metrics.execution.pass_at_k import pass_at_k
from nblib.sandbox import COMPILE_ERROR, OUT_OF_MEMORY, RUNTIME_ERROR, TIME_OUT

Verdicts = tuple[str, ...]  # of one answer, one a test

_PLAIN: dict[str, int | bool] = {
    PASSED: True,
    PASSED_LOOSELY: True,
    WRONG: False,
    RUNTIME_ERROR: -1,
    TIME_OUT: -1,
    OUT_OF_MEMORY: -1,
    COMPILE_ERROR: -2,
}
INSIDE = "inside:"  # before the verdict of a test that ran in the answer's own process, where it can be forged
UNDECIDED = "undecided:"  # before all of an example whose tests None, or an object that equals everything, passes
# Verdict -> the code of the published APPS metric.
CODES = {
    mark + verdict: code for mark in ("", INSIDE, UNDECIDED, INSIDE + UNDECIDED) for verdict, code in _PLAIN.items()
}
KINDS = tuple(each for each in _PLAIN if each != PASSED_LOOSELY)  # how an answer can end, the order of a stacked bar
FIRST_ANSWER = ("test_accuracy", "test_accuracy_ordered", "strict_accuracy", "strict_accuracy_ordered")


def codes(answers: Sequence[Verdicts]) -> list[list[int | bool]]:
    """What the published APPS metric calls the results: -2, -1, False or True for each test of each answer."""
    return [[CODES[each] for each in verdicts] for verdicts in answers]


def scores(answers: Sequence[Verdicts], *, sampled: bool, ks: Sequence[int]) -> dict[str, float | None]:
    """The scores of one example from the verdicts of its answers, the first answer's first.

    All are None where there is no answer or no test, and the strict ones where the tests decide nothing. A k above the
    number of answers is left out.
    """
    judged = answers if sampled else answers[:1]
    reached = [k for k in ks if k <= len(judged)]
    if not answers or not answers[0]:
        return dict.fromkeys((*FIRST_ANSWER, *(f"pass@{k}" for k in reached)))
    first = list(map(plain, answers[0]))
    loose, strict = [each in (PASSED, PASSED_LOOSELY) for each in first], [each == PASSED for each in first]
    values = (sum(loose) / len(loose), sum(strict) / len(strict), float(all(loose)), float(all(strict)))
    found: dict[str, float | None] = dict(zip(FIRST_ANSWER, values, strict=True))
    if marked(answers[0], UNDECIDED):
        found |= dict.fromkeys(("strict_accuracy", "strict_accuracy_ordered"))
    passed = sum(map(passes, judged))
    return found | {f"pass@{k}": pass_at_k(len(judged), passed, k) for k in reached}


def passes(verdicts: Verdicts) -> bool:
    """Whether an answer passes all its tests by the published rules."""
    return all(plain(each) in (PASSED, PASSED_LOOSELY) for each in verdicts)


def plain(verdict: str) -> str:
    """Without its mark."""
    return verdict.rpartition(":")[2]


def marked(verdicts: Verdicts, mark: str = INSIDE) -> bool:
    """Whether that mark, by default that of a test that ran inside, is before one of the verdicts."""
    return any(mark in each for each in verdicts)


def kind(verdicts: Verdicts) -> str:
    """How an answer ended, one of KINDS: passed, or as the first test that it did not pass."""
    return next((each for each in map(plain, verdicts) if each not in (PASSED, PASSED_LOOSELY)), PASSED)


def counts(answers: Sequence[Verdicts]) -> dict[str, int]:
    """Kind -> how many of the answers ended so; every kind of KINDS, in that order."""
    found = Counter(map(kind, answers))
    return {each: found[each] for each in KINDS}

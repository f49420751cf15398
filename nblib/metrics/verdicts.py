"""Verdicts, one a test, to the scores of an example, and pass@k."""

from collections import Counter
from collections.abc import Sequence
from math import comb

from nblib.metrics.compare import PASSED, PASSED_LOOSELY, WRONG
from nblib.sandbox import COMPILE_ERROR, OUT_OF_MEMORY, RUNTIME_ERROR, TIME_OUT

Verdicts = tuple[str, ...]  # of one answer, one a test

KINDS = (PASSED, WRONG, RUNTIME_ERROR, TIME_OUT, OUT_OF_MEMORY, COMPILE_ERROR)  # how an answer can end
INSIDE = "inside:"  # before the verdict of a test that ran in the answer's own process, where it can be forged
UNDECIDED = "undecided:"  # before all of an example whose tests None, or an object that equals everything, passes
FIRST_ANSWER = ("test_accuracy", "test_accuracy_ordered", "strict_accuracy", "strict_accuracy_ordered")


def scores(answers: Sequence[Verdicts], *, sampled: bool, ks: Sequence[int]) -> dict[str, float | None]:
    """The scores of one example from the verdicts of its answers, the first answer's first.

    All are None where there is no answer or no test, and the strict ones where the tests decide nothing. A k above the
    number of answers is left out.
    """
    judged = answers if sampled else answers[:1]
    if not answers or not answers[0]:
        return dict.fromkeys((*FIRST_ANSWER, *(f"pass@{k}" for k in reached(ks, judged))))
    first = [plain(verdict) for verdict in answers[0]]
    loose, strict = [verdict in (PASSED, PASSED_LOOSELY) for verdict in first], [verdict == PASSED for verdict in first]
    values = (sum(loose) / len(loose), sum(strict) / len(strict), float(all(loose)), float(all(strict)))
    found: dict[str, float | None] = dict(zip(FIRST_ANSWER, values, strict=True))
    if marked(answers[0], UNDECIDED):
        found |= dict.fromkeys(("strict_accuracy", "strict_accuracy_ordered"))
    passed = sum(map(passes, judged))
    return found | {f"pass@{k}": pass_at_k(len(judged), passed, k) for k in reached(ks, judged)}


def pass_at_k(answers: int, passed: int, k: int) -> float:
    """The share of all ways to draw k of the answers that hold one which passed (Chen et al. 2021, arXiv 2107.03374).

    Unbiased where the answers are independent samples. Counts are whole numbers up to the one division, so that
    nothing is lost for many answers. Raises ValueError where k is above the number of answers.
    """
    if not 1 <= k <= answers:
        raise ValueError(f"k must be from 1 to the number of answers, {answers}; got {k}")
    if not 0 <= passed <= answers:
        raise ValueError(f"passed must be from 0 to the number of answers, {answers}; got {passed}")
    ways = comb(answers, k)
    return (ways - comb(answers - passed, k)) / ways


def reached(ks: Sequence[int], answers: Sequence) -> list[int]:
    """The k, of `ks`, up to the number of answers. Raises ValueError for one below 1."""
    for k in ks:
        if k < 1:
            raise ValueError(f"k must be 1 or more; got {k}")
    return [k for k in ks if k <= len(answers)]


def passes(verdicts: Verdicts) -> bool:
    """Whether an answer passes all its tests by the published rules."""
    return kind(verdicts) == PASSED


def kind(verdicts: Verdicts) -> str:
    """How an answer ended, one of KINDS: passed, or as the first test that it did not pass."""
    return next((verdict for verdict in map(plain, verdicts) if verdict not in (PASSED, PASSED_LOOSELY)), PASSED)


def counts(answers: Sequence[Verdicts]) -> dict[str, int]:
    """Kind -> how many of the answers ended so; every kind of KINDS, in that order, as in a stacked bar."""
    found = Counter(map(kind, answers))
    return {name: found[name] for name in KINDS}


def plain(verdict: str) -> str:
    """Without its mark."""
    return verdict.rpartition(":")[2]


def marked(verdicts: Verdicts, mark: str = INSIDE) -> bool:
    """Whether that mark, by default that of a test that ran inside, is before one of the verdicts."""
    return any(mark in verdict for verdict in verdicts)

"""What came out of a program to a verdict, one a test, and verdicts to the scores of an example, such as pass@k.

The rules are those of the published APPS metric (Hendrycks et al. 2021; on the Hub `codeparrot/apps_metric`). It
forgives much: besides white space around lines, blank lines and numbers within a tolerance, also the order of lines and
of the words in a line, repetitions, a fourth decimal, an integer's sixth digit, and a function that returns the first
part of a list. What passes by one of these alone is PASSED_LOOSELY: it counts in the published scores and not in the
ordered ones. Neither is the truth: some problems allow any order, and most do not.

The text comes from a program that nobody trusts. Nothing of it is evaluated; time and memory stay in proportion to its
length, and a text far longer than the expected one is not read to its end.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from math import comb

from nblib.sandbox import COMPILE_ERROR, OUT_OF_MEMORY, RUNTIME_ERROR, TIME_OUT

Verdicts = tuple[str, ...]  # of one answer, one a test

PASSED, PASSED_LOOSELY, WRONG = "passed", "passed_loosely", "wrong"
KINDS = (PASSED, WRONG, RUNTIME_ERROR, TIME_OUT, OUT_OF_MEMORY, COMPILE_ERROR)  # how an answer can end
INSIDE = "inside:"  # before the verdict of a test that ran in the answer's own process, where it can be forged
UNDECIDED = "undecided:"  # before all of an example whose tests None, or an object that equals everything, passes
FIRST_ANSWER = ("test_accuracy", "test_accuracy_ordered", "strict_accuracy", "strict_accuracy_ordered")

RELATIVE, ABSOLUTE = 1e-5, 1e-8  # tolerances of numpy.allclose, as published
DECIMALS = 3  # to which the last resort rounds
MOST_DIGITS = 4_000  # longer integers are compared as text: Python refuses those over 4300 digits, and takes long
LONGER = 4  # an output may have that many times the expected characters…
MORE = 100_000  # …and that many more; beyond, only white space around it is forgiven


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


# --- what came out against what is expected ---------------------------------------------------------------------------


def printed(output: str, expected: str) -> str:
    """PASSED, PASSED_LOOSELY or WRONG for what a program printed."""
    if output.strip() == expected.strip():
        return PASSED
    if _too_long(output, expected):
        return WRONG
    given, wanted = _lines(output), _lines(expected)
    if given == wanted:
        return PASSED
    if _same_numbers(given, wanted) or _same_sets(output, expected):
        return PASSED if _same_in_order(given, wanted) else PASSED_LOOSELY
    return WRONG


def returned(output: str, expected: str) -> str:
    """PASSED, PASSED_LOOSELY or WRONG for what a function returned; both are JSON.

    Tuples are lists in JSON, and the keys of a dictionary are text, so both compare as the published metric wants it.
    Raises ValueError where the expected value is no JSON.
    """
    try:
        wanted = _read(expected)
    except ValueError as error:
        raise ValueError(f"the expected value must be JSON; got {expected[:80]!r} ({error})") from None
    if _too_long(output, expected):
        return WRONG
    try:
        given = _read(output)
        if given == wanted:
            return PASSED
        if isinstance(wanted, list) and wanted and given == wanted[0]:
            return PASSED if len(wanted) == 1 else PASSED_LOOSELY  # many rows hold their value in a list of one
    except (ValueError, RecursionError):
        pass
    return WRONG


def _too_long(output: str, expected: str) -> bool:
    return len(output) > LONGER * len(expected) + MORE


def _read(text: str):
    """The value of a JSON text, with long integers as text in a tuple, which no other value is."""
    try:
        return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) <= MOST_DIGITS else (digits,))
    except RecursionError:
        raise ValueError("the value is nested too deeply to be read") from None


# --- what the published metric forgives -----------------------------------------------------------------------------


def _lines(text: str) -> list[str]:
    """Lines that are not blank, without the white space around them."""
    return [stripped for line in text.splitlines() if (stripped := line.strip())]


def _same_numbers(given: list[str], wanted: list[str]) -> bool:
    """Every line is one number, each within the tolerance."""
    return len(given) == len(wanted) and all(map(_close, given, wanted))


def _same_sets(output: str, expected: str) -> bool:
    """The last resort: the same lines in any order, a line being the set of its words, or of its rounded numbers."""
    try:
        return any(
            _matches(map(form, _words(output)), {frozenset(form(line)) for line in _words(expected)})
            for form in (list, _rounded)
        )
    except (ValueError, OverflowError):
        return False


def _words(text: str) -> Iterator[list[str]]:
    return (words for line in text.splitlines() if (words := line.split()))


def _rounded(words: list[str]) -> list[float]:
    return [round(float(word), DECIMALS) for word in words]


def _matches(lines: Iterator[list], wanted: set[frozenset]) -> bool:
    """Whether these lines are all of `wanted` and nothing else; ends at the first that is not."""
    found = set()
    for line in lines:
        words = frozenset(line)
        if words not in wanted:
            return False
        found.add(words)
    return len(found) == len(wanted)


# --- what passes in the ordered scores too --------------------------------------------------------------------------


def _same_in_order(given: list[str], wanted: list[str]) -> bool:
    """Line by line and word by word the same, integers exactly, other numbers within a tolerance."""
    lines, expected = [line.split() for line in given], [line.split() for line in wanted]
    return list(map(len, lines)) == list(map(len, expected)) and all(
        _same_word(*words) for pair in zip(lines, expected, strict=True) for words in zip(*pair, strict=True)
    )


def _same_word(given: str, wanted: str) -> bool:
    if re.fullmatch(r"[+-]?[0-9]+", given) and re.fullmatch(r"[+-]?[0-9]+", wanted):
        return _digits(given) == _digits(wanted)
    return given == wanted or _close(given, wanted)


def _digits(integer: str) -> str:
    """Without a plus and leading zeros."""
    digits = integer.lstrip("+-").lstrip("0")
    return f"-{digits}" if integer.startswith("-") and digits else digits


def _close(given: str, wanted: str) -> bool:
    """Whether both are numbers, one within the tolerance of the other."""
    try:
        one, other = float(given), float(wanted)
    except ValueError:
        return False
    return one == other or abs(one - other) <= ABSOLUTE + RELATIVE * abs(other) < float("inf")

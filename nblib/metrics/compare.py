"""What a program printed, or a function returned, against what a test expects; both are text.

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
from collections.abc import Iterator

PASSED, PASSED_LOOSELY, WRONG = "passed", "passed_loosely", "wrong"

RELATIVE, ABSOLUTE = 1e-5, 1e-8  # tolerances of numpy.allclose, as published
DECIMALS = 3  # to which the last resort rounds
MOST_DIGITS = 4_000  # longer integers are compared as text: Python refuses those over 4300 digits, and takes long
LONGER = 4  # an output may have that many times the expected characters…
MORE = 100_000  # …and that many more; beyond, only white space around it is forgiven


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

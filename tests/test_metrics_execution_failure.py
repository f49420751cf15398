"""The failing answer that a notebook shows is a real one, with what it really gives."""

import pytest

from nblib import metrics, tables
from nblib.results import Prediction
from nblib.tasks import Example

DOUBLE = Example(
    "double", "Print twice the number.", "print(2 * int(input()))", inputs=("1\n", "4\n"), outputs=("2\n", "8\n")
)
CALLED = Example("called", "Return the sum.", "", entry_point="f", inputs=("[[1, 2]]",), outputs=("3",))
ASSERTED = Example("asserted", "sort `xs`", "xs.sort()", tests=("assert xs == [1, 2]",), test_setup="xs = [2, 1]")


def answered(**codes: str) -> tuple[list[Example], list[Prediction]]:
    examples = {each.id: each for each in (DOUBLE, CALLED, ASSERTED)}
    chosen = [examples[name] for name in codes]
    given = [Prediction(name, (code,), (code,), 1, 1) for name, code in codes.items()]
    return chosen, metrics.execute(chosen, given, sampled=False, allow_code_execution=True)


def test_a_wrong_output_comes_with_its_input_and_what_was_expected():
    chosen, predictions = answered(double="print(2 ** int(input()))")
    found = metrics.first_failure(chosen, predictions, allow_code_execution=True)
    assert (found.test, found.expected, found.got, found.verdict) == ("4\n", "8\n", "16\n", "wrong")
    assert "print(2 ** int(input()))" in tables.failure(found).html


def test_a_wrong_answer_is_shown_before_one_that_does_not_run():
    chosen, predictions = answered(double="print(", called="def f(xs):\n    return max(xs)")
    found = metrics.first_failure(chosen, predictions, allow_code_execution=True)
    assert (found.example, found.test, found.got) == ("called", "[[1, 2]]", "2")


def test_an_error_says_what_went_wrong():
    chosen, predictions = answered(double="print(1 / 0)")
    found = metrics.first_failure(chosen, predictions, allow_code_execution=True)
    assert found.verdict == "runtime_error"
    assert "ZeroDivisionError" in found.got


@pytest.mark.parametrize(("code", "fails"), [("xs.sort()", False), ("xs.reverse; pass", True)])
def test_assertions_are_shown_as_they_stand(code, fails):
    chosen, predictions = answered(asserted=code)
    found = metrics.first_failure(chosen, predictions, allow_code_execution=True)
    assert (found is not None) == fails
    assert not fails or found.test == "assert xs == [1, 2]"
    assert "passes all its tests" in tables.failure(None).text

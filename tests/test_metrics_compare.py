"""What a program gave against what a test expects: the published rules, what they forgive, hostile outputs."""

import json
import time

import pytest

from nblib.metrics import compare

PASSED, LOOSELY, WRONG = compare.PASSED, compare.PASSED_LOOSELY, compare.WRONG


@pytest.mark.parametrize(
    ("output", "expected", "verdict"),
    [
        ("1 2\n", "1 2", PASSED),
        ("a\n\nb", "a\nb\n", PASSED),
        ("a\r\nb\r\n", "a\nb", PASSED),
        ("a   b", "a b", PASSED),
        ("", "0", WRONG),
        ("ab", "a b", WRONG),
        ("YES", "yes", WRONG),
        ("1 2 3", "1 2", WRONG),
        ("True", "1", WRONG),
        ("0.33333333", "0.3333333333", PASSED),
        ("5.0", "5", PASSED),
        ("1e3", "1000", PASSED),
        ("0.3333331 1", "0.333333 1", PASSED),
        ("0.3334", "0.3333", LOOSELY),  # equal to three decimals
        ("nan", "nan", PASSED),
        ("nan 1", "1 nan", LOOSELY),
        ("inf", "1e400", PASSED),  # both too large for a float, and neither an integer
        ("007", "7", PASSED),
        ("-0", "0", PASSED),
        ("-7", "7", WRONG),
        ("2 1", "1 2", LOOSELY),
        ("2\n1", "1\n2", LOOSELY),
        ("1 1 2", "1 2", LOOSELY),
        ("1\n1\n2", "1\n2", LOOSELY),
        ("10000001", "10000002", LOOSELY),  # within a tolerance that is meant for fractions
        ("10000001 5", "10000002 5", WRONG),
        ("9" * 5000 + " 1", "9" * 5000 + "\n1", WRONG),
        ("9" * 5000, "8" * 5000, LOOSELY),  # infinite as floats
    ],
)
def test_printed_text_is_compared_by_the_published_rules(output, expected, verdict):
    assert compare.printed(output, expected) == verdict


@pytest.mark.parametrize(
    ("output", "expected", "verdict"),
    [
        ("3", "3", PASSED),
        ("true", "1", PASSED),  # as Python has it
        ('"3"', "3", WRONG),
        ("0.30000000000000004", "0.3", WRONG),  # no tolerance: the published metric has none here
        ("[1, 2]", "[1, 2]", PASSED),
        ("[2, 1]", "[1, 2]", WRONG),
        ("5", "[5]", PASSED),  # the published rows often hold a value in a list
        ("[5]", "5", WRONG),
        ("1", "[1, 2]", LOOSELY),
        ("null", "null", PASSED),
        ('{"1": [2, 3]}', '{"1": [2, 3]}', PASSED),
        ('{"1": 2}', '[{"1": 2}]', PASSED),
        ("NaN", "NaN", WRONG),
        ("9" * 5000, "9" * 5000, PASSED),
        ("9" * 5000, "8" + "9" * 4999, WRONG),
        ("[" + "9" * 5000 + "]", "[" + "9" * 5000 + "]", PASSED),
        ("not json", "1", WRONG),
    ],
)
def test_returned_values_are_compared_as_json(output, expected, verdict):
    assert compare.returned(output, expected) == verdict


def test_an_expected_value_that_is_no_json_is_the_data_s_fault():
    with pytest.raises(ValueError, match="the expected value must be JSON; got 'one'"):
        compare.returned("1", "one")


@pytest.mark.parametrize("expected", ["Yes", "12 7 9", "3.25", "a b\nc d", "[1, 2]", "ab\n3 4\n", "0", "-1"])
def test_no_single_changed_character_passes_in_order(expected):
    changed = 0
    for at, letter in enumerate(expected):
        if letter.isspace():
            continue
        for other in "1", "8", "x", " ":
            if other != letter and expected[:at] + other + expected[at + 1 :] != expected:
                output = expected[:at] + other + expected[at + 1 :]
                if output.split() != expected.split():
                    changed += 1
                    assert compare.printed(output, expected) != PASSED, output
    assert changed


HOSTILE = {
    "a megabyte of digits": "9" * 2**20,
    "a megabyte of words": "1 " * 2**19,
    "a megabyte of lines": "1\n" * 2**19,
    "a megabyte of lists": "[" * 2**20,
    "a megabyte of empty values": "[" + "{}," * 2**18 + "{}]",
    "nested dictionaries": '{"a":' * 2**17,
    "exponents": "1e999999999 " * 2**16,
    "long fractions": "0." + "1" * 2**20,
    "null bytes": "\0" * 2**20,
    "surrogates": "\udcff" * 2**18,
    "odd line ends": "\x1c\u2028\x85\r" * 2**18,
    "digits of other scripts": "٣" * 2**18,
    "underscores": "1_" * 2**19 + "1",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_output_is_wrong_and_soon_judged(name):
    begun = time.process_time()
    for expected in ("1", "[1, 2]", "1 2\n3 4\n" * 30_000):
        assert compare.printed(HOSTILE[name], expected) != PASSED
    for expected in ("1", "[1, 2]", json.dumps(list(range(60_000)))):
        assert compare.returned(HOSTILE[name], expected) == WRONG
    assert time.process_time() - begun < 5

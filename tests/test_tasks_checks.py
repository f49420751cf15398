"""What is said of a task's data."""

import random

import pytest
import small

from nblib import tasks
from nblib.tasks import Data, Example
from nblib.tasks.checks import NEAR, near_pairs, word_set


def data(train, test, **settings):
    """Data of intents, each with its length as code."""

    def rows(intents):
        return tuple(Example(str(number), intent, f"len_{len(intent)}") for number, intent in enumerate(intents))

    return Data(rows(train), (), rows(test), content="", **settings)


def overlap(train, test):
    (found,) = tasks.checks(data(train, test))["overlaps"]
    return found["exact"], found["normalized"], found["near"]


def test_counts_and_gaps_are_by_split():
    rows = (Example("1", "a", ""), Example("2", "a", "x", ("assert x",)), Example("3", "b", "y", inputs=("1",)))
    rows += (Example("4", "A.", "z\nz"), Example("5", "b", "y"))
    found = tasks.checks(Data(rows, (), (), content="", without_code=4, known_intents=5, name="conala"))
    (train,) = found.pop("splits")
    counts = {"rows": 5, "without_code": 1, "without_tests": 3, "repeated_intents": 3, "repeated_rows": 1}
    counts["past_a_stop"] = 1  # an answer to CoNaLa ends with its first line
    assert train == {"split": "train", "intent_tokens": None, "code_tokens": None, "rows_too_long": None} | counts
    facts = {"task": "conala", "rows_left_out": 4, "known_intents": 5}
    assert found == facts | {"overlaps": (), "remarks": (), "ids": {}}


WORDS = [f"word{number}" for number in range(40)]


@pytest.mark.parametrize(
    ("test", "counts"),
    [
        (" ".join(WORDS), (1, 1, 1)),
        (" ".join(WORDS).upper() + ".", (0, 1, 1)),
        (" ".join(reversed(WORDS)), (0, 0, 1)),
        (" ".join(WORDS[:36]), (0, 0, 1)),  # 36 of 40: at the limit
        (" ".join(WORDS[:35]), (0, 0, 0)),
        (" ".join([*WORDS[:38], "other", "another"]), (0, 0, 1)),  # 38 of 42
        (" ".join([*WORDS[:37], "one", "two", "three"]), (0, 0, 0)),  # 37 of 43
        ("nothing of it", (0, 0, 0)),
    ],
)
def test_shared_intents_are_exact_normalized_or_near(test, counts):
    assert overlap(["something else", " ".join(WORDS)], [test, "alone"]) == counts


def test_the_quick_search_finds_what_comparing_every_pair_finds(real_data):
    conala = tasks.load("conala", real_data / "conala")
    random.seed(1)
    known = {word_set(row.intent) for row in conala.train[:600]}
    tested = {word_set(row.intent) for row in conala.test[:150]}
    tested |= {frozenset(word for word in text if random.random() > 0.05) for text in sorted(known, key=sorted)[:150]}
    slow = {(one, other) for one in known for other in tested if len(one & other) >= NEAR * len(one | other)}
    assert len(slow) > 20
    assert set(near_pairs(known, tested)) == slow


def test_the_real_splits_of_conala_share_hardly_an_intent(real_data):
    found = tasks.checks(tasks.load("conala", real_data / "conala"))
    shared = [(pair["exact"], pair["normalized"], pair["near"]) for pair in found["overlaps"]]
    assert shared == [(0, 0, 0), (0, 0, 0), (5, 5, 7)]
    repeated = [(split["repeated_intents"], split["repeated_rows"]) for split in found["splits"]]
    assert repeated == [(80, 14), (8, 1), (33, 3)]
    assert [split["past_a_stop"] for split in found["splits"]] == [66, 7, 33]  # of several lines


def test_with_a_tokenizer_lengths_and_cut_rows_are_counted():
    tokenizer = small.tokenizer()
    long = Example("long", "add 1 " * 80, "x")
    wide = Example("wide", "add 1", "xs1.append(1)\n" * 80)
    found = tasks.checks(Data((*small.EXAMPLES[:8], long, wide), (), (), content="", name="conala"), tokenizer)
    (train,) = found["splits"]
    assert train["rows_too_long"] == 2
    lengths = sorted(len(tokenizer(example.intent)["input_ids"]) for example in (*small.EXAMPLES[:8], long, wide))
    assert train["intent_tokens"] == (lengths[4], lengths[8], lengths[9], lengths[9])
    assert train["code_tokens"][-1] > 64


def test_a_joint_rows_own_limits_decide_what_is_too_long():
    tokenizer = small.tokenizer()
    code = "xs1.append(1)\n" * 16
    assert 64 < len(tokenizer(code)["input_ids"]) <= 128
    rows = tuple(Example(name, "add 1", code, source=name) for name in ("conala", "codealpacapy"))
    (train,) = tasks.checks(Data(rows, (), (), content="", name="conala+codealpacapy"), tokenizer)["splits"]
    assert train["rows_too_long"] == 1

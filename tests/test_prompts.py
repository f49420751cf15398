import pytest
import small

from nblib import prompts, retrieve
from nblib.tasks import Example

SHOTS = small.EXAMPLES[:3]
QUERY = Example("q", "sort list `xs`", "xs.sort()")


def test_a_prompt_is_the_studys_template_after_its_shots():
    built = prompts.build(QUERY, SHOTS[:1], small.tokenizer(), room=500)
    assert built.text == (
        "### Instruction:\nadd 0 to list `xs0`\n### Response:\nxs0.append(0)\n\n"
        "### Instruction:\nsort list `xs`\n### Response:\n"
    )
    assert built.tokens == len(small.tokenizer()(built.text)["input_ids"])
    assert built.dropped_shots == 0


def test_shots_that_do_not_fit_are_dropped_first_ones_first_and_counted():
    whole = prompts.build(QUERY, SHOTS, small.tokenizer(), room=500)
    cut = prompts.build(QUERY, SHOTS, small.tokenizer(), room=whole.tokens - 1)
    assert cut.dropped_shots == 1
    assert cut.text == prompts.build(QUERY, SHOTS[1:], small.tokenizer(), room=500).text


def test_the_query_itself_is_never_cut():
    with pytest.raises(ValueError, match="the query of example 'q' has .* leaves room for 5"):
        prompts.build(QUERY, SHOTS, small.tokenizer(), room=5)


@pytest.mark.parametrize(
    ("completion", "stops", "code"),
    [
        ("xs.sort()\nprint(xs)", ("\n",), "xs.sort()"),
        ("xs.sort()", ("\n",), "xs.sort()"),
        ("def f():\n    return 1\n\n### Instruction:\nx", ("\n\n", "\n###"), "def f():\n    return 1"),
        ("  x = 1  ", ("\n",), "x = 1"),
        ("", ("\n",), ""),
        ("\nx", ("\n",), ""),
    ],
)
def test_code_ends_before_the_first_stop_string(completion, stops, code):
    assert prompts.extract(completion, stops) == code


def test_random_shots_follow_the_seed_and_larger_counts_extend_smaller_ones():
    three = retrieve.random_shots(small.EXAMPLES, 3, 42)
    assert three == retrieve.random_shots(small.EXAMPLES, 3, 42)
    assert three[:2] == retrieve.random_shots(small.EXAMPLES, 2, 42)
    assert three != retrieve.random_shots(small.EXAMPLES, 3, 777)


def test_more_shots_than_training_examples_are_refused():
    with pytest.raises(ValueError, match="shots must be at most 40, the size of the training split; got 41"):
        retrieve.random_shots(small.EXAMPLES, 41, 42)

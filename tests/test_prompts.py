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
        ("    y = 1\n    return y", ("\n###",), "    y = 1\n    return y"),
        ("x = 1\n```\nThis sets x.", ("\n###",), "x = 1"),
        ("Here it is:\n```python\nx = 1\ny = 2\n```\nDone.", ("\n###",), "x = 1\ny = 2"),
        ("```\nx = 1\n```", ("\n",), "x = 1"),
        ("x = 1\n### Instruction:\nshow\n```python\ny = 2\n```", ("\n###",), "x = 1"),
        ("Sure:\n```\nx = 1\n```\nBye", ("\n###",), "x = 1"),
        ("x = 1\n```\nOr:\n```python\ny = 2\n```", ("\n###",), "x = 1"),
        ("x = '```'", ("\n",), "x = '```'"),
        ("```", ("\n",), ""),
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


PROBLEM = Example("p", "Print the sum.", "print(sum(map(int, input().split())))")
CALLED = Example("c", "Return the sum.", "def f(xs):\n    return sum(xs)", entry_point="f", starter_code="def f(xs):\n")
CHAT = "<s>{% for turn in messages %}[{{ turn.role }}] {{ turn.content }} {% endfor %}[answer] "


def test_a_problem_says_how_its_input_comes():
    by_input = prompts.asked(PROBLEM, small.tokenizer(), "apps")
    by_call = prompts.asked(CALLED, small.tokenizer(), "apps")
    assert "Read from standard input" in by_input
    assert "signature" not in by_input
    assert "Use the given function signature" in by_call
    assert "standard input" not in by_call
    assert by_call.endswith("Return the sum.\n\ndef f(xs):\n### Response:\n")


def test_a_chat_model_gets_its_turn_with_one_beginning_and_an_open_fence():
    tokenizer = small.tokenizer()
    tokenizer.chat_template = CHAT
    text = prompts.asked(PROBLEM, tokenizer, "apps")
    assert text.startswith("<s>[user] Write a Python program")
    assert text.endswith("[answer] ```python\n")
    assert prompts.encode(text, tokenizer)["input_ids"].count(tokenizer.bos_token_id) == 1
    assert prompts.extract(prompts.answered(PROBLEM, tokenizer, "apps"), ("\n###",)) == PROBLEM.code


def test_the_studys_template_is_for_chat_models_too_where_code_is_one_line():
    tokenizer = small.tokenizer()
    tokenizer.chat_template = CHAT
    assert prompts.asked(QUERY, tokenizer) == prompts.INSTRUCTION.format(intent=QUERY.intent)
    assert prompts.answered(QUERY, tokenizer) == QUERY.code


def test_shots_stand_inside_the_turn_of_a_chat_model():
    tokenizer = small.tokenizer()
    tokenizer.chat_template = CHAT
    text = prompts.build(PROBLEM, [CALLED], tokenizer, room=500, style="apps").text
    assert text.startswith("<s>[user] ### Instruction:\nWrite a Python program")
    assert text.index(CALLED.code) < text.index(PROBLEM.intent)

import pytest
import small

from nblib import prompts, retrieve
from nblib.tasks import TASKS, Example

SHOTS = small.EXAMPLES[:3]
APPS = TASKS["apps"]
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
        ("```py\nx = 1\ny = 2", ("\n###",), "x = 1\ny = 2"),
        ("```python\nx = 1\n```\nor\n```python\ny = 2\n```", ("\n###",), "x = 1"),
        ("```\n```", ("\n###",), ""),
        ("Here is the code: x = 1", ("\n###",), "Here is the code: x = 1"),
        ("Sure\n```python\nx = 1\n```", ("\n###",), "x = 1"),
        ("xs\n```\nThat is the list.", ("\n###",), "xs"),
        (
            'def f():\n    """Doubles.\n\n    ```\n    f()\n    ```\n    """\n    return 2\n```',
            ("\n###",),
            'def f():\n    """Doubles.\n\n    ```\n    f()\n    ```\n    """\n    return 2',
        ),
        ('"""\n```\nf()\n```\n"""\nx = 1\n```\nDone', ("\n###",), '"""\n```\nf()\n```\n"""\nx = 1'),
        (" \n\t\n ", ("\n###",), ""),
        ("x = 1\r\ny = 2\r\n```\r\nDone", ("\n###",), "x = 1\ny = 2"),
        ("### Response:\nx = 1", ("\n",), "x = 1"),
        ("### Instruction:\nset x\n### Response:\nx = 1\n### Instruction:\nset y", ("\n###",), "x = 1"),
        ("x = 1\n\n### Instruction:\nset y\n### Response:\ny = 2", ("\n###",), "x = 1"),
        ("x = 1\n\n### Instruction:\nset y", ("\n",), "x = 1"),
        ("x = 1\ry = 2\r```\rDone", ("\n###",), "x = 1\ny = 2"),
        ("print 'x'\n```", ("\n###",), "print 'x'"),
        ("print 'x'\n```\n \n", ("\n###",), "print 'x'"),
        ("print 'x'\n```python", ("\n###",), "print 'x'"),
        ("xs.sort()\nreturn xs\n```\nThat sorts.", ("\n###",), "xs.sort()\nreturn xs"),
        ("    xs.sort()\n    return xs\n```\nThat sorts.", ("\n###",), "    xs.sort()\n    return xs"),
        ("await f()\n```\nIt waits.", ("\n###",), "await f()"),
        ("1. So:\n   ```python\n   if x:\n       y = 2\n   ```\n2. Done", ("\n###",), "if x:\n    y = 2"),
        ("So:\n````python\nx = 1\n````\nDone", ("\n###",), "x = 1"),
        ("So:\n````python\nx = 1\n```\ny = 2\n````\nDone", ("\n###",), "x = 1\n```\ny = 2"),
        ("```x = 1```", ("\n###",), "x = 1"),
        ("``` x = 1 ```\nDone", ("\n",), "x = 1"),
        ("So:\n```python x = 1```\nDone", ("\n###",), "x = 1"),
        ("x = 1\n```y = 2```", ("\n###",), "x = 1"),
        ("x = 1```\nDone", ("\n###",), "x = 1"),
        ("Here is the code: ```python\nx = 1\n```", ("\n###",), "x = 1"),
        ('def f():\n    """Doubles.\n\n    ```f(1)```\n    """\n    return 2', ("\n###",), None),
        ("x = 1  # as in ```\ny = 2", ("\n###",), None),
        ("x = '```a```'", ("\n",), None),
    ],
)
def test_code_ends_before_the_first_stop_string(completion, stops, code):
    assert prompts.extract(completion, stops) == (completion if code is None else code)


NO_MODULES = [
    "return sorted(xs)",
    "xs.sort()\nreturn xs",
    "print 'x'",
    "print 'x', y",
    "await f()",
    "async with f() as g:\n    await g",
    "yield x",
    "for x in xs",
    "if x:",
    "def f(:",
    "x = = 1",
    "    y = 1\n    return y",
    "\tx = 1\n    y = 2",
    "x = '",
    'x = """',
    "It sorts the list.",
    "$ pip install x",
    "\x00",
    "0777",
    "(" * 300,
]


ENDINGS = [
    "\n```",
    "\n```\n",
    "\n```\nThis sorts `xs`.",
    "\n````",
    "\n```\n```python\ny = 2\n```",
    "\n``` \nDone",
    "\n  ```",
    "```",
]
HOSTILE = [
    (code, ending)
    for code in [*NO_MODULES, "xs.sort()", "def f():\n    return 1"]
    for ending in ENDINGS
    if '"""' not in code or ending.startswith("\n`")  # inside of a text that goes on, nothing else is a fence
]


@pytest.mark.parametrize(("code", "ending"), HOSTILE)
def test_the_first_bare_fence_closes_the_one_that_the_prompt_opened(code, ending):
    assert prompts.extract(f"{code}{ending}", ("\n###",), opened=True) == prompts.extract(code, ("\n###",))
    assert prompts.extract(code, ("\n###",)).strip() == code.strip()


@pytest.mark.parametrize(
    ("completion", "code"),
    [
        ("```python\nx = 1\n```", "x = 1"),
        ("```python", ""),
        ("```", ""),
        ("```x = 1```", "x = 1"),
        ("Here it is:\n```python\nx = 1\n```", "x = 1"),
        ("x = 1\n```python\ny = 2\n```", "x = 1"),
        ("  \n```\nx = 1", ""),
    ],
)
def test_a_fence_that_names_its_language_may_be_opened_again(completion, code):
    assert prompts.extract(completion, ("\n###",), opened=True) == code


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
# As models on the Hub have them: turns in brackets; turns between marks, of a tuned and of a base model; one that
# writes the date and refuses a system turn.
BRACKETS = (
    "{{ bos_token }}{% for turn in messages %}{% if turn.role == 'user' %}[INST] {{ turn.content | trim }} [/INST]"
    "{% else %} {{ turn.content | trim }} {{ eos_token }}{{ bos_token }}{% endif %}{% endfor %}"
)
MARKS = (
    "{% if messages[0].role != 'system' %}<mark>system\nYou help.</s>\n{% endif %}"
    "{% for turn in messages %}<mark>{{ turn.role }}\n{{ turn.content }}END\n{% endfor %}"
    "{% if add_generation_prompt %}<mark>assistant\n{% endif %}"
)
TUNED, BASE = MARKS.replace("END", "</s>"), MARKS.replace("END", "</mark>")
NO_SYSTEM = (
    "{% for turn in messages %}{% if turn.role == 'system' %}{{ raise_exception('no system turns here') }}{% endif %}"
    "### {{ turn.role }}:\n{{ turn.content }}\n{% if turn.role == 'assistant' %}</s>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}### assistant:{% endif %}"
)


def chatting(template: str | dict | None):
    tokenizer = small.tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_a_problem_says_how_its_input_comes():
    by_input = prompts.asked(PROBLEM, small.tokenizer(), APPS)
    by_call = prompts.asked(CALLED, small.tokenizer(), APPS)
    assert "Read from standard input" in by_input
    assert "signature" not in by_input
    assert "Use the given function signature" in by_call
    assert "standard input" not in by_call
    assert by_call.endswith("Return the sum.\n\ndef f(xs):\n### Response:\n")


@pytest.mark.parametrize("template", [BRACKETS, TUNED, NO_SYSTEM])
def test_a_model_is_a_chat_model_where_its_template_ends_an_answer_with_its_end_token(template):
    assert prompts.is_chat(chatting(template))


@pytest.mark.parametrize(
    "template",
    [
        None,
        "",
        BASE,
        "{{ raise_exception('no') }}",
        "{{ messages.no.such.thing }}",
        "{% for",
        {"rag": TUNED},
        "always the same{{ eos_token }}",
    ],
    ids=["none", "empty", "base", "raises", "undefined", "broken", "no default", "without content"],
)
def test_a_base_model_is_no_chat_model_though_it_ships_a_template(template):
    tokenizer = chatting(template)
    assert not prompts.is_chat(tokenizer)
    assert prompts.asked(QUERY, tokenizer) == prompts.INSTRUCTION.format(intent=QUERY.intent)
    assert prompts.answered(QUERY, tokenizer) == QUERY.code
    assert prompts.ends(("\n",), tokenizer) == ["\n"]


def test_a_chat_model_is_asked_for_code_and_its_answer_is_opened_as_the_template_writes_one():
    request = prompts.CODE_ONLY.format(intent=QUERY.intent)
    assert prompts.asked(QUERY, chatting(BRACKETS)) == f"<s>[INST] {request} [/INST] ```python\n"
    assert prompts.asked(QUERY, chatting(NO_SYSTEM)) == f"### user:\n{request}\n### assistant:\n```python\n"
    assert prompts.asked(QUERY, chatting(TUNED)) == (
        f"<mark>system\nYou help.</s>\n<mark>user\n{request}</s>\n<mark>assistant\n```python\n"
    )


def test_shots_are_turns_of_a_chat():
    built = prompts.build(QUERY, SHOTS[:1], chatting(BRACKETS), room=500)
    first, second = (prompts.CODE_ONLY.format(intent=each.intent) for each in (SHOTS[0], QUERY))
    assert built.text == (
        f"<s>[INST] {first} [/INST] ```python\nxs0.append(0)\n``` </s><s>[INST] {second} [/INST] ```python\n"
    )


def test_the_first_turns_are_dropped_where_a_chat_does_not_fit():
    tokenizer = chatting(TUNED)
    whole = prompts.build(QUERY, SHOTS, tokenizer, room=2000)
    cut = prompts.build(QUERY, SHOTS, tokenizer, room=whole.tokens - 1)
    assert cut.dropped_shots == 1
    assert cut.text == prompts.build(QUERY, SHOTS[1:], tokenizer, room=2000).text


def test_a_chat_has_one_beginning_and_its_answer_closes_the_fence():
    tokenizer = chatting(BRACKETS)
    text = prompts.asked(PROBLEM, tokenizer, APPS)
    assert text.startswith("<s>[INST] Write a Python program that")
    assert prompts.encode(text, tokenizer)["input_ids"].count(tokenizer.bos_token_id) == 1
    assert prompts.answered(PROBLEM, tokenizer) == f"{PROBLEM.code}\n```"
    assert prompts.extract(prompts.answered(PROBLEM, tokenizer), ("\n###",)) == PROBLEM.code


def test_an_answer_of_a_chat_model_ends_with_its_fence():
    assert prompts.ends(("\n###",), chatting(TUNED)) == ["\n###", "\n```"]


def test_problems_stand_before_a_problem_in_the_studys_template():
    text = prompts.build(PROBLEM, [CALLED], small.tokenizer(), room=500, task=APPS).text
    assert text.startswith("### Instruction:\nWrite a Python program that")
    assert CALLED.code + "\n\n### Instruction:\n" in text
    assert text.endswith("Print the sum.\n### Response:\n")

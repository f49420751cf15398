"""Shots and a query to what a model sees, and completions to code."""

import pytest
import small

from nblib import prompts
from nblib.tasks import TASKS, Example

SHOTS = small.EXAMPLES[:3]
APPS = TASKS["apps"]
QUERY = Example("q", "sort list `xs`", "xs.sort()")
LINE, BLOCK = ("\n",), ("\n###",)  # stop strings


def test_a_prompt_is_the_studys_template_after_its_shots():
    built = prompts.build(QUERY, SHOTS[:1], small.tokenizer(), max_tokens=500)
    assert built.text == (
        "### Instruction:\nadd 0 to list `xs0`\n### Response:\nxs0.append(0)\n\n"
        "### Instruction:\nsort list `xs`\n### Response:\n"
    )
    assert (built.tokens, built.dropped_shots) == (len(small.tokenizer()(built.text)["input_ids"]), 0)


# --- completions to code --------------------------------------------------------------------------------------------

EXTRACTED = {
    LINE: [
        ("xs.sort()\nprint(xs)", "xs.sort()"), ("  x = 1  ", "x = 1"), ("", ""), ("\nx", ""), ("```", ""),
        ("```\nx = 1\n```", "x = 1"), ("x = '```'", "x = '```'"), ("x = '```a```'", "x = '```a```'"),
        ("### Response:\nx = 1", "x = 1"), ("x = 1\n\n### Instruction:\nset y", "x = 1"),
        ("``` x = 1 ```\nDone", "x = 1"),
    ],
    BLOCK: [
        # an answer goes on up to a stop or a fence, whose language or prose after it do not matter
        ("    y = 1\n    return y", "    y = 1\n    return y"), (" \n\t\n ", ""), ("Here is: x = 1", "Here is: x = 1"),
        ("x = 1\n```\nThis sets x.", "x = 1"), ("x = 1\n### Instruction:\nshow\n```python\ny = 2\n```", "x = 1"),
        ("x = 1\n```\nOr:\n```python\ny = 2\n```", "x = 1"), ("x = 1```\nDone", "x = 1"),
        ("x = 1\r\ny = 2\r\n```\r\nDone", "x = 1\ny = 2"), ("x = 1\ry = 2\r```\rDone", "x = 1\ny = 2"),
        ("xs\n```\nThat is the list.", "xs"), ("print 'x'\n```", "print 'x'"), ("print 'x'\n```python", "print 'x'"),
        ("xs.sort()\nreturn xs\n```\nThat sorts.", "xs.sort()\nreturn xs"), ("await f()\n```\nIt waits.", "await f()"),
        # it stands inside of a fence that prose opens
        ("Here it is:\n```python\nx = 1\ny = 2\n```\nDone.", "x = 1\ny = 2"), ("Sure:\n```\nx = 1\n```\nBye", "x = 1"),
        ("```py\nx = 1\ny = 2", "x = 1\ny = 2"), ("```python\nx = 1\n```\nor\n```python\ny = 2\n```", "x = 1"),
        ("```\n```", ""), ("Sure\n```python\nx = 1\n```", "x = 1"), ("Here: ```python\nx = 1\n```", "x = 1"),
        ("1. So:\n   ```python\n   if x:\n       y = 2\n   ```\n2. Done", "if x:\n    y = 2"),
        ("So:\n````python\nx = 1\n```\ny = 2\n````\nDone", "x = 1\n```\ny = 2"),
        ("```x = 1```", "x = 1"), ("So:\n```python x = 1```\nDone", "x = 1"),
        # no fence counts in a docstring or a comment, and a repeated prompt is passed over
        ('def f():\n    """Doubles.\n\n    ```\n    f()\n    ```\n    """\n    return 2\n```',
         'def f():\n    """Doubles.\n\n    ```\n    f()\n    ```\n    """\n    return 2'),
        ('"""\n```\nf()\n```\n"""\nx = 1\n```\nDone', '"""\n```\nf()\n```\n"""\nx = 1'),
        ("x = 1  # as in ```\ny = 2", "x = 1  # as in ```\ny = 2"),
        ("### Instruction:\nset x\n### Response:\nx = 1\n### Instruction:\nset y", "x = 1"),
        ("x = 1\n\n### Instruction:\nset y\n### Response:\ny = 2", "x = 1"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("stops", EXTRACTED)
def test_code_ends_before_the_first_stop_string_or_the_fence_around_it(stops):
    for completion, code in EXTRACTED[stops]:
        assert prompts.extract(completion, stops) == code, completion


NO_MODULES = [
    "return sorted(xs)", "xs.sort()\nreturn xs", "print 'x'", "await f()", "async with f() as g:\n    await g",
    "for x in xs", "def f(:", "    y = 1\n    return y", "\tx = 1\n    y = 2", "x = '", 'x = """', "It sorts the list.",
    "$ pip install x", "\x00", "0777", "(" * 300,
]  # fmt: skip
ENDINGS = [
    "\n```", "\n```\nThis sorts `xs`.", "\n````", "\n```\n```python\ny = 2\n```", "\n``` \nDone", "\n  ```", "```",
]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_first_bare_fence_closes_the_one_that_the_prompt_opened(ending):
    for code in [*NO_MODULES, "xs.sort()", "def f():\n    return 1"]:
        assert prompts.extract(code, BLOCK).strip() == code.strip()
        if '"""' not in code or ending.startswith("\n`"):  # inside of a text that goes on, nothing else is a fence
            assert prompts.extract(f"{code}{ending}", BLOCK, opened=True) == prompts.extract(code, BLOCK), code


def test_a_fence_that_names_its_language_may_be_opened_again():
    for completion in ("```python\nx = 1\n```", "```x = 1```", "So:\n```python\nx = 1\n```", "x = 1\n```python\ny = 2"):
        assert prompts.extract(completion, BLOCK, opened=True) == "x = 1"
    for completion in ("```python", "```", "  \n```\nx = 1"):
        assert prompts.extract(completion, BLOCK, opened=True) == ""


# --- chats ----------------------------------------------------------------------------------------------------------

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
NO_CHATS = (
    None, "", BASE, "{{ raise_exception('no') }}", "{{ messages.no.such.thing }}", "{% for", {"rag": TUNED},
    "always the same{{ eos_token }}",
)  # fmt: skip


def chatting(template: str | dict | None):
    tokenizer = small.tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_a_problem_says_how_its_input_comes():
    by_input, by_call = (prompts.query_text(example, small.tokenizer(), APPS) for example in (PROBLEM, CALLED))
    assert ("Read from standard input" in by_input, "signature" in by_input) == (True, False)
    assert by_call.endswith("Return the sum.\n\ndef f(xs):\n### Response:\n")
    assert ("standard input" in by_call, "Use the given function signature" in by_call) == (False, True)
    both = prompts.build(PROBLEM, [CALLED], small.tokenizer(), max_tokens=500, task=APPS).text
    assert CALLED.code + "\n\n### Instruction:\n" in both


def test_a_base_model_is_no_chat_model_though_it_ships_a_template():
    for template in NO_CHATS:
        tokenizer = chatting(template)
        assert not prompts.is_chat(tokenizer)
        assert prompts.query_text(QUERY, tokenizer) == prompts.INSTRUCTION.format(intent=QUERY.intent)
        assert (prompts.answer_text(QUERY, tokenizer), prompts.ends(LINE, tokenizer)) == (QUERY.code, ["\n"])


def test_a_chat_model_is_asked_for_code_and_its_answer_is_opened_as_the_template_writes_one():
    request = prompts.CODE_ONLY.format(intent=QUERY.intent)
    expected = {
        BRACKETS: f"<s>[INST] {request} [/INST] ```python\n",
        NO_SYSTEM: f"### user:\n{request}\n### assistant:\n```python\n",
        TUNED: f"<mark>system\nYou help.</s>\n<mark>user\n{request}</s>\n<mark>assistant\n```python\n",
    }
    for template, text in expected.items():
        assert prompts.is_chat(chatting(template))
        assert prompts.query_text(QUERY, chatting(template)) == text
    first = prompts.CODE_ONLY.format(intent=SHOTS[0].intent)
    assert prompts.build(QUERY, SHOTS[:1], chatting(BRACKETS), max_tokens=500).text == (
        f"<s>[INST] {first} [/INST] ```python\nxs0.append(0)\n``` </s>{expected[BRACKETS]}"
    )


def test_a_chat_has_one_beginning_and_its_answer_closes_the_fence():
    tokenizer = chatting(BRACKETS)
    text = prompts.query_text(PROBLEM, tokenizer, APPS)
    assert text.startswith("<s>[INST] Write a Python program that")
    assert prompts.encode(text, tokenizer)["input_ids"].count(tokenizer.bos_token_id) == 1
    assert prompts.answer_text(PROBLEM, tokenizer) == f"{PROBLEM.code}\n```"
    assert prompts.extract(prompts.answer_text(PROBLEM, tokenizer), BLOCK) == PROBLEM.code
    assert prompts.ends(BLOCK, tokenizer) == ["\n###", "\n```"]


@pytest.mark.parametrize("template", [None, TUNED])
def test_shots_that_do_not_fit_are_dropped_first_ones_first_and_the_query_is_never_cut(template):
    tokenizer = chatting(template)
    whole = prompts.build(QUERY, SHOTS, tokenizer, max_tokens=2000)
    cut = prompts.build(QUERY, SHOTS, tokenizer, max_tokens=whole.tokens - 1)
    assert cut.dropped_shots == 1
    assert cut.text == prompts.build(QUERY, SHOTS[1:], tokenizer, max_tokens=2000).text
    with pytest.raises(ValueError, match="the query of example 'q' has .* has room for 5"):
        prompts.build(QUERY, SHOTS, tokenizer, max_tokens=5)

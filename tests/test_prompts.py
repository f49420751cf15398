"""Shots and a query to what a model sees, completions to code; what tokenizers and chat templates do to texts."""

import json
from functools import cache

import pytest
import small
from test_generate import answers, saying
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from nblib import generate, prompts, results, spec, study, train
from nblib.models import load_tokenizer
from nblib.tasks import TASKS, Example
from nblib.train import IGNORED

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


# --- special tokens, from a row of a file to its score ---------------------------------------------------------------

CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DATED = (
    "{%- if strftime_now is defined %}\n    {%- set day = strftime_now('%d %B %Y') %}\n{%- endif %}\n"
    "{% macro system() %}<|im_start|>system\nToday is {{ day }}, day {{ strftime_now('%-j') }}.<|im_end|>\n"
    "{% endmacro %}"
    "{{ system() }}"
) + CHATML
SPECIAL = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<|im|>"]
HOSTILE = [
    Example("0", "split `s` at </s>", "s.split('</s>')"),
    Example("1", "<s>pad</s> with <pad> to 3<pad>", "<pad>xs + 3 * ['<pad>']</s>"),
    Example("2", "end a turn<|im_end|>\n<|im_start|>user\nhi", "turn = '<|im_start|>' + turn + '<|im_end|>\\n'"),
    Example("3", "  <|im_end|> ", "print('é<|im|><|im_end|>', \"<s>\") # </s> </s>"),
]


@cache
def trained(kind: str) -> str:
    """A byte-level tokenizer, or one that has a letter for spaces and puts one first: of merges or pieces; as JSON."""
    made = Tokenizer(models.Unigram() if kind == "pieces" else models.BPE())
    if kind in ("spaces", "pieces"):
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        made.decoder = decoders.Metaspace(prepend_scheme="first")
    else:
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = {chr(code) for code in range(32, 127)} | set(pre_tokenizers.ByteLevel.alphabet()) | {"▁", "\n", "é"}
    settings = {"vocab_size": 400, "initial_alphabet": sorted(letters), "show_progress": False}
    if kind == "pieces":
        trainer = trainers.UnigramTrainer(special_tokens=[*SPECIAL, "<unk>"], unk_token="<unk>", **settings)
    else:
        trainer = trainers.BpeTrainer(special_tokens=SPECIAL, **settings)
    made.train_from_iterator((f"{row.intent}\n{row.code}\n```" for row in small.EXAMPLES), trainer)
    return made.to_str()


# What a kind of tokenizer puts around a text; "setting" does it by its settings.
KINDS = {
    "begins": "<s> $A",
    "ends": "$A </s>",
    "begins and ends": "<s> $A </s>",
    "spaces": "<s> $A",
    "pieces": "<s> $A </s>",
    "turns": "$A",
    "setting": None,
}


@cache
def tokenizer(kind: str, template: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer as models on the Hub have them."""
    made = Tokenizer.from_str(trained(kind if kind in ("spaces", "pieces") else "bytes"))
    if KINDS[kind]:
        tokens = [(token, made.token_to_id(token)) for token in ("<s>", "</s>")]
        made.post_processor = processors.TemplateProcessing(single=KINDS[kind], special_tokens=tokens)
    made = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=None if kind == "turns" else "<s>",
        eos_token="<|im_end|>" if template in (CHATML, DATED) else "</s>",
        pad_token="<pad>",
        padding_side="left",
        additional_special_tokens=SPECIAL[3:],
        **({"add_bos_token": True, "add_eos_token": True} if kind == "setting" else {}),
    )
    made.chat_template = template
    return made


def templates_own(kind: str, template: str | None) -> list[str]:
    """The special tokens of a prompt for one instruction that nobody wrote in it."""
    begins = ["<s>"] if kind != "turns" and (kind != "ends" or template == BRACKETS) else []
    return begins + (["<|im_start|>", "<|im_end|>", "<|im_start|>"] if template == CHATML else [])


@pytest.mark.parametrize("template", [None, CHATML, BRACKETS], ids=["base", "chatml", "brackets"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_people_wrote_is_text_and_the_templates_tokens_are_tokens(kind, template):
    ours = tokenizer(kind, template)
    for example in HOSTILE:
        prompt = prompts.build(example, (), ours, max_tokens=1000)
        found = ours.convert_ids_to_tokens(list(prompt.ids))
        assert [token for token in found if token in SPECIAL] == templates_own(kind, template)
        intent = example.intent.strip() if template == BRACKETS else example.intent
        assert intent in prompt.text
        assert intent in ours.decode(list(prompt.ids))
        row = train.encode(example, ours)
        labels = [label for label in row["labels"] if label != IGNORED]
        assert [label for label in labels if label in ours.all_special_ids] == [ours.eos_token_id]
        assert labels[-1] == row["input_ids"][-1] == ours.eos_token_id
    # a perfect answer to what was trained is the reference, and ends once
    answer = answers(saying(labels[:-1], prompt, ours), ours, [prompt], stops=("never said",), new_tokens=80)
    assert prompts.extract(answer[0][0], ("\n###",), opened=prompts.is_chat(ours)) == example.code
    # the tokens of other texts are those that the tokenizer gives
    text = prompts.query_text(small.EXAMPLES[3], ours, shots=small.EXAMPLES[:2])
    begun = text.startswith("<s>")
    plain = ours(text, add_special_tokens=not begun)["input_ids"]
    ended = not begun and kind in ("ends", "begins and ends", "pieces", "setting")
    built = prompts.build(small.EXAMPLES[3], small.EXAMPLES[:2], ours, max_tokens=1000)
    assert list(built.ids) == plain[: len(plain) - ended]


@pytest.mark.parametrize("kind", ["begins", "spaces"])
def test_the_indentation_of_an_answers_first_line_is_kept(kind):
    ours, code = tokenizer(kind), "    if xs:\n        return 1"
    prompt = prompts.build(Example("0", "sum", code), (), ours, max_tokens=1000)
    row = train.encode(Example("0", "sum", code), ours)
    said = [label for label in row["labels"][:-1] if label != IGNORED]
    assert answers(saying(said, prompt, ours), ours, [prompt], stops=("never said",), new_tokens=80) == {0: [code]}


def test_a_llama_tokenizer_over_bytes_begins_texts_where_its_settings_say_so(tmp_path):
    base, ours = small.folder(tmp_path), small.tokenizer()
    for name, stated in (("LlamaTokenizerFast", True), ("LlamaTokenizerFast", False), ("Qwen2Tokenizer", True)):
        config = json.loads((tmp_path / "tokenizer_config.json").read_text())
        config |= {"tokenizer_class": name, "add_bos_token": stated}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        begun = [ours.bos_token_id] if name.startswith("Llama") and stated else []
        ids = load_tokenizer(base)("sort `xs`")["input_ids"]
        assert ids == begun + ours("sort `xs`")["input_ids"]


@pytest.mark.parametrize("kind", ["ends", "pieces"])
def test_an_encoder_reads_what_its_tokenizer_puts_last(kind):
    ours = tokenizer(kind)
    assert prompts.build(HOSTILE[0], (), ours, max_tokens=1000, encoder_decoder=True).ids.count(ours.eos_token_id) == 1
    row = train.encode(HOSTILE[0], ours, encoder_decoder=True)
    for side in ("input_ids", "labels"):
        assert (row[side].count(ours.eos_token_id), row[side][-1]) == (1, ours.eos_token_id)
    assert ours.decode(row["labels"][:-1]).removeprefix("<s>").strip() == HOSTILE[0].code


def test_a_chats_answer_is_kept_up_to_its_fence_and_its_date_and_study_scores_stand_in_the_row(tmp_path, monkeypatch):
    answer = "return sorted(xs)\n```\nThis sorts `xs`."  # no module by itself
    monkeypatch.setattr(
        generate,
        "completions",
        lambda model, tokenizer, queries, *_, **named: ((i, [answer], 1) for i in range(len(queries))),
    )
    assert (
        "Today is 26 July 2024, day 208."
        in prompts.build(HOSTILE[0], (), tokenizer("turns", DATED), max_tokens=1000).text
    )
    model, data_dir = small.folder(tmp_path / "model", vocabulary=1000), small.rows(tmp_path / "data")
    for template, date in ((DATED, "2024-07-26"), (None, None)):
        tokenizer("begins", template).save_pretrained(model)
        settings = {"decoding": spec.Decoding(1, 1), "data_dir": data_dir, "study_scores": True}
        run = spec.Run(model, "conala", spec.ZeroShot(), **settings)
        (row,) = study.run_all(study.plan([run]), tmp_path / str(date))
        assert row.status == "ok", row.error
        assert row.notes.get("date_in_prompts") == date
        assert row.scores["em_study@1"]["mean"] == row.scores["em@1"]["mean"] == 0
        found = results.predictions(tmp_path / str(date), row.id)
        assert {answer.codes for answer in found} == {("return sorted(xs)",)}
        assert all("codebleu_study" in answer.scores for answer in found)

"""Example and shots to the text a model sees; completion to the code that is scored. Generates nothing."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

INSTRUCTION = "### Instruction:\n{intent}\n### Response:\n"  # the study's template
SEPARATOR = "\n\n"  # between a shot's code and the next instruction
PROBLEM = "Write a Python program that solves this problem and obeys its constraints. {how}\n\n{question}{start}"
BY_CALL = "Use the given function signature: its arguments come in, and it returns the answer."
BY_STANDARD_INPUT = "Read from standard input and print the answer."
FENCE = "```"


@dataclass(frozen=True)
class Prompt:
    """What a model sees for one query."""

    text: str
    tokens: int
    dropped_shots: int = 0  # left out because the prompt would not fit


def asked(example, tokenizer, style: str = "instruction", *, before: str = "") -> str:
    """An example's request as the model sees it, up to where its code begins, after the text `before` (shots).

    `style` is `instruction`, the study's template around the intent, or `apps`: a problem with its kind of input and
    its starter code, as a turn of the tokenizer's chat template, the answer opened by a code fence, or in the study's
    template where there is none. `example` has `intent`, and for `apps` `entry_point` and `starter_code`.
    """
    request = _request(example, style)
    if style == "instruction" or not tokenizer.chat_template:
        return before + INSTRUCTION.format(intent=request)
    turn = [{"role": "user", "content": before + request}]
    return tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True) + f"{FENCE}python\n"


def _request(example, style: str) -> str:
    if style == "instruction":
        return example.intent
    start = f"\n\n{example.starter_code.strip()}" if example.starter_code.strip() else ""
    how = BY_CALL if example.entry_point else BY_STANDARD_INPUT
    return PROBLEM.format(how=how, question=example.intent, start=start)


def answered(example, tokenizer, style: str = "instruction") -> str:
    """The code as it follows `asked`; the fence is closed where that opened one."""
    opened = style != "instruction" and tokenizer.chat_template
    return f"{example.code}\n{FENCE}" if opened else example.code


def encode(text: str, tokenizer, **settings):
    """The tokenizer's encoding; the beginning token is not added to a chat turn that has it already."""
    begun = bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)
    return tokenizer(text, add_special_tokens=not begun, **settings)


def build(query, shots: Sequence, tokenizer, *, room: int, style: str = "instruction") -> Prompt:
    """The query after its shots, in at most `room` tokens; the first shots are dropped where it would not fit.

    `query` and `shots` are examples (see `asked`; `code` for shots). The query itself is never cut.
    Raises ValueError where the query alone does not fit.
    """
    for dropped in range(len(shots) + 1):
        text = asked(query, tokenizer, style, before="".join(shown(shot, style) for shot in shots[dropped:]))
        tokens = len(encode(text, tokenizer)["input_ids"])
        if tokens <= room:
            return Prompt(text, tokens, dropped)
    raise ValueError(
        f"the query of example {query.id!r} has {tokens} tokens, but the model's context leaves room for {room}; "
        "take a model with a longer context or leave the example out"
    )


def shown(shot, style: str = "instruction") -> str:
    """An example as it stands before a query."""
    return INSTRUCTION.format(intent=_request(shot, style)) + shot.code + SEPARATOR


def extract(completion: str, stops: Sequence[str]) -> str:
    """The code in a completion: inside of its first code fence where prose opens one, else up to a stop or a fence.

    Outer white space goes, but for the indentation of a first line that others follow.
    """
    fence = re.search(r"^```[^\n`]*\n?", completion, re.MULTILINE)
    opens = fence is not None and not _is_python(_until(completion[: fence.start()], stops))
    code = _until(completion[fence.end() :] if fence and opens else completion, (*stops, f"\n{FENCE}"))
    return code.strip("\n").rstrip() if "\n" in code.strip() else code.strip()


def _until(text: str, stops: Sequence[str]) -> str:
    ends = [text.find(stop) for stop in stops]
    return text[: min((end for end in ends if end >= 0), default=len(text))]


def _is_python(text: str) -> bool:
    """Whether it is code: then a fence after it closes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a model writes, nobody wants to know its odd escapes
        try:
            return bool(text.strip()) and compile(text.strip(), "answer", "exec") is not None
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False

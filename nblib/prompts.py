"""Example and shots to the text a model sees; completion to the code that is scored. Generates nothing."""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import dedent, indent

from nblib.tasks import unix_lines

INSTRUCTION = "### Instruction:\n{intent}\n### Response:\n"  # the study's template
SEPARATOR = "\n\n"  # between a shot's code and the next instruction
CODE_ONLY = "Write Python code for the following instruction. Answer with the code only.\n\n{intent}"  # a chat turn
PROBLEM = "Write a Python program that solves this problem and obeys its constraints. {how}\n\n{question}{start}"
BY_CALL = "Use the given function signature: its arguments come in, and it returns the answer."
BY_STANDARD_INPUT = "Read from standard input and print the answer."
FENCE = "```"
OPENED = f"{FENCE}python\n"
# On a line of its own, with what is said after it; at the end of a line, with a language at most; around one line.
_FENCES = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        rf"^(?P<indentation>[ \t]*)(?P<ticks>{FENCE}`*)[^\n`]*$\n?",
        rf"(?<=[^\s`])[ \t]*(?P<ticks>{FENCE}`*)[\w+-]*[ \t]*$\n?",
        rf"^[ \t]*(?P<ticks>{FENCE}`*)(?:(?:python|py)[\d.]*[ \t]+)?(?P<code>[^\n`]+)(?P=ticks)[ \t]*$",
    )
)
_REPEATED_PROMPT = re.compile(r"\A(### Instruction:\n.*?\n)?### Response:\n", re.DOTALL)
_CODE_HERE = "the code stands here"  # where a rendered chat is cut; words that no template changes or adds


@dataclass(frozen=True)
class Prompt:
    """What a model sees for one query."""

    text: str
    tokens: int
    dropped_shots: int = 0  # left out because the prompt would not fit


def is_chat(tokenizer) -> bool:
    """Whether the model was tuned to answer in turns: its chat template ends an answer with the end-of-sequence token.

    Many base models ship a template too, but an end-of-sequence token that it never writes. A template that cannot be
    rendered counts as none.
    """
    if not tokenizer.chat_template or not tokenizer.eos_token:
        return False
    try:
        rendered = _rendered([_turn("user", "?"), _turn("assistant", _CODE_HERE)], tokenizer)
    except Exception:  # a template is a program from elsewhere: it may raise anything
        return False
    _, found, after = rendered.rpartition(_CODE_HERE)
    after = after.strip()
    return bool(found) and (after.startswith(tokenizer.eos_token) or after.endswith(tokenizer.eos_token))


def asked(example, tokenizer, style: str = "instruction", *, shots: Sequence = ()) -> str:
    """An example's request as the model sees it after the shots, up to where its code begins.

    A chat model gets turns of its template, each answer in a code fence, the last one opened; any other model the
    study's template. `style` is `instruction`, the intent, or `apps`: a problem with its kind of input and its starter
    code. `example` has `intent`, and for `apps` `entry_point` and `starter_code`; shots have `code` too.
    """
    if not is_chat(tokenizer):
        return "".join(shown(shot, style) for shot in shots) + INSTRUCTION.format(intent=_request(example, style))
    turns = []
    for shot in shots:
        turns += [_turn("user", _chat_request(shot, style)), _turn("assistant", f"{OPENED}{shot.code}\n{FENCE}")]
    # The answer is opened by rendering it and cutting there: what some templates add for generation is not quite the
    # beginning of an answer (a line's end is missing, for one).
    turns += [_turn("user", _chat_request(example, style)), _turn("assistant", OPENED + _CODE_HERE)]
    return _rendered(turns, tokenizer).rpartition(_CODE_HERE)[0]


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _rendered(turns: list[dict[str, str]], tokenizer) -> str:
    return tokenizer.apply_chat_template(turns, tokenize=False)


def _chat_request(example, style: str) -> str:
    request = _request(example, style)
    return CODE_ONLY.format(intent=request) if style == "instruction" else request


def _request(example, style: str) -> str:
    if style == "instruction":
        return example.intent
    start = f"\n\n{example.starter_code.strip()}" if example.starter_code.strip() else ""
    how = BY_CALL if example.entry_point else BY_STANDARD_INPUT
    return PROBLEM.format(how=how, question=example.intent, start=start)


def answered(example, tokenizer, style: str = "instruction") -> str:
    """The code as it follows `asked`; the fence is closed where that opened one."""
    return f"{example.code}\n{FENCE}" if is_chat(tokenizer) else example.code


def ends(stops: Sequence[str], tokenizer) -> list[str]:
    """The strings that end an answer: a task's, and the closing fence where `asked` opened one."""
    return [*stops, f"\n{FENCE}"] if is_chat(tokenizer) else list(stops)


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
        text = asked(query, tokenizer, style, shots=shots[dropped:])
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


def extract(completion: str, stops: Sequence[str], *, opened: bool = False) -> str:
    """The code in a completion: inside of its first code fence where prose opens one, else up to a stop or a fence.

    `opened` says that the prompt opened a fence, as a chat model's does: then the first bare one closes it, whatever
    stands before. A fence that nothing follows never opens. A prompt that is repeated first is passed over. Outer white
    space goes, but for the indentation of a first line that others follow.
    """
    text = _REPEATED_PROMPT.sub("", unix_lines(completion))
    begin, indentation, close = 0, "", next(_fences(text, 0, opened=opened), None)
    if close and _opens(close, text, stops, opened=opened):
        named = close.groupdict()
        if "code" in named:
            return named["code"].strip()
        begin, indentation = close.end(), named.get("indentation", "")
        close = next((each for each in _fences(text, begin) if len(each["ticks"]) >= len(named["ticks"])), None)
    code = _until(text[begin : close.start() if close else len(text)], stops)
    code = re.sub(f"^{indentation}", "", code, flags=re.MULTILINE)
    return code.strip("\n").rstrip() if "\n" in code.strip() else code.strip()


def _fences(text: str, begin: int, *, opened: bool = False) -> Iterator[re.Match]:
    """Where code may begin or end, in their order: what stands in a docstring or a comment does not count.

    Where the prompt `opened` a fence, a bare one at a line's start counts there as well: generation ends at it.
    """
    found = [each for kind in _FENCES for each in kind.finditer(text, begin)]
    for each in sorted(found, key=lambda match: match.start("ticks")):
        line = text[text.rfind("\n", 0, each.start("ticks")) + 1 : each.start("ticks")]
        written = "#" in line or FENCE in line or _in_a_docstring(text[begin : each.start()])
        if not written or (opened and not line and _is_bare(each)):
            yield each


def _opens(fence: re.Match, text: str, stops: Sequence[str], *, opened: bool) -> bool:
    """Whether code begins after it: prose stands before it, also one word of it where the fence names a language."""
    if _is_bare(fence) and opened:
        return False
    if "code" not in fence.groupdict() and not text[fence.end() :].strip():
        return False
    before = _until(text[: fence.start()], stops)
    return not _is_python(before) or bool(not _is_bare(fence) and before.strip().isidentifier())


def _is_bare(fence: re.Match) -> bool:
    return not fence[0].strip(" \t\n`")


def _in_a_docstring(before: str) -> bool:
    return any(before.count(quotes) % 2 for quotes in ('"""', "'''"))


def _until(text: str, stops: Sequence[str]) -> str:
    found = [text.find(stop) for stop in stops]
    return text[: min((place for place in found if place >= 0), default=len(text))]


def _is_python(text: str) -> bool:
    """Whether it is code, as a module or as what stands in a function: then a fence after it closes it."""
    body = f"async def answer():\n{indent(dedent(text.strip(chr(10))), ' ')}"
    return bool(text.strip()) and (_compiles(text.strip()) or _compiles(body))


def _compiles(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a model writes, nobody wants to know its odd escapes
        try:
            return compile(text, "answer", "exec") is not None
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False

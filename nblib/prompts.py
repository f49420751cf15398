"""Example and shots to the text a model sees; completion to the code that is scored."""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from textwrap import dedent, indent

from nblib.tasks import TASKS, Task, unix_lines

INSTRUCTION = "### Instruction:\n{intent}\n### Response:\n"  # the study's template
SEPARATOR = "\n\n"  # between a shot's code and the next instruction
CODE_ONLY = "Write Python code for the following instruction. Answer with the code only.\n\n{intent}"  # a chat turn
PROBLEM = "Write a Python program that solves this problem and obeys its constraints. {how}\n\n{question}{start}"
BY_CALL = "Use the given function signature: its arguments come in, and it returns the answer."
BY_STANDARD_INPUT = "Read from standard input and print the answer."
FENCE = "```"
LANGUAGES = {"sql": "SQL", "cpp": "C++", "c_sharp": "C#", "javascript": "JavaScript", "php": "PHP"}  # as people say
PLAIN = TASKS["conala"]  # Python for an intent, and no words before it
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
CLOCK = "strftime_now"  # the function of chat templates that print the date
TODAY = datetime(2024, 7, 26)  # that it always tells; some templates print this day where they have no clock
STAND_INS = 0x100000  # the first of a plane of characters that Unicode leaves to private use
_CODE_HERE = "the code stands here"  # where a rendered chat is cut; words that no template changes or adds
_PROBE = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _CODE_HERE}]

Token = tuple[int, tuple[int, int]]  # its id, where it begins and ends in the text


@dataclass(frozen=True)
class Prompt:
    """What a model sees for one query."""

    text: str
    ids: tuple[int, ...]  # of its tokens
    dropped_shots: int = 0  # left out because the prompt would not fit

    @property
    def tokens(self) -> int:
        return len(self.ids)


def is_chat(tokenizer) -> bool:
    """Whether the model was tuned to answer in turns: its chat template ends an answer with the end-of-sequence token.

    Many base models ship a template too, but an end-of-sequence token that it never writes. A template that cannot be
    rendered counts as none.
    """
    if not tokenizer.chat_template or not tokenizer.eos_token:
        return False
    try:
        rendered = _rendered(_PROBE, tokenizer)
    except Exception:  # a template is a program from elsewhere: it may raise anything
        return False
    _, found, after = rendered.rpartition(_CODE_HERE)
    after = after.strip()
    return bool(found) and (after.startswith(tokenizer.eos_token) or after.endswith(tokenizer.eos_token))


def query_text(example, tokenizer, task: Task = PLAIN, *, shots: Sequence = ()) -> str:
    """An example's request as the model sees it after the shots, up to where its code begins.

    A chat model gets turns of its template, each answer in a code fence, the last one opened; any other model the
    study's template. `task.prompt` is `instruction`, the intent, or `apps`: a problem with its kind of input and its
    starter code. `example` has `intent`, and for `apps` `entry_point` and `starter_code`; shots have `code` too.
    In a chat, what people wrote that reads like a special token has a stand-in, which `encode` knows.
    """
    if not is_chat(tokenizer):
        return "".join(shown(shot, task) for shot in shots) + INSTRUCTION.format(intent=_request(example, task))
    # The answer is opened by rendering it and cutting there: what some templates add for generation is not quite the
    # beginning of an answer (a line's end is missing, for one).
    answers = [*(f"{shot.code}\n{FENCE}" for shot in shots), _CODE_HERE]
    turns = []
    for row, answer in zip([*shots, example], answers, strict=True):
        contents = {"user": _request(row, task, chat=True), "assistant": f"{FENCE}{task.language}\n{answer}"}
        turns += [{"role": role, "content": _with_stand_ins(text, tokenizer)} for role, text in contents.items()]
    return _rendered(turns, tokenizer).rpartition(_CODE_HERE)[0]


def _rendered(turns: list[dict[str, str]], tokenizer, day: datetime = TODAY) -> str:
    template = tokenizer.get_chat_template()
    if CLOCK in template:
        template = _clock(day) + template
    return tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)


def _clock(day: datetime) -> str:
    """What a template has to begin with for its clock to stand still: transformers lets no other function in."""
    texts = {letter: day.strftime(f"%{letter}") for letter in "aAbBcdfHIjmMpSUVwWxXyYZ"}
    texts |= {f"-{letter}": text.lstrip("0") for letter, text in texts.items()} | {"%": "%"}
    replaced = "".join(f" | replace('%{code}', '{text}')" for code, text in texts.items())
    return f"{{%- macro {CLOCK}(form) %}}{{{{ form{replaced} }}}}{{% endmacro %}}\n"


def date_shown(tokenizer) -> str | None:
    """The day that a chat's prompts name as today, always the same one; None where the template prints no date."""
    if not is_chat(tokenizer) or _rendered(_PROBE, tokenizer) == _rendered(
        _PROBE, tokenizer, datetime(1999, 12, 31, 11)
    ):
        return None
    return TODAY.date().isoformat()


def _request(example, task: Task, *, chat: bool = False) -> str:
    if task.prompt == "instruction" and task.instruction:
        return f"{task.instruction}\n\n{example.intent}"
    if task.prompt == "instruction":
        language = LANGUAGES.get(task.language, task.language.capitalize())
        words = CODE_ONLY.replace("Python", language) if chat or task.language != "python" else "{intent}"
        return words.format(intent=example.intent)
    start = f"\n\n{example.starter_code.strip()}" if example.starter_code.strip() else ""
    how = BY_CALL if example.entry_point else BY_STANDARD_INPUT
    return PROBLEM.format(how=how, question=example.intent, start=start)


def answer_text(example, tokenizer) -> str:
    """The code as it follows `query_text`; the fence is closed where that opened one."""
    return _with_stand_ins(f"{example.code}\n{FENCE}", tokenizer) if is_chat(tokenizer) else example.code


def ends(stops: Sequence[str], tokenizer) -> list[str]:
    """The strings that end an answer: a task's, and the closing fence where `query_text` opened one."""
    return [*stops, f"\n{FENCE}"] if is_chat(tokenizer) else list(stops)


def encode(text: str, tokenizer, *, encoder_decoder: bool = False, target: bool = False) -> dict[str, list]:
    """`input_ids` of a text that `query_text` made, and in `offset_mapping` where each begins and ends in `readable`.

    Special tokens are those that the tokenizer puts before the text, which a chat may have already, and those that the
    chat template writes; what people wrote is text. What the tokenizer puts after it is for encoders: a decoder would
    take it for the end of the answer. Offsets are those of fast tokenizers; others have none.
    `target` says that it is what an encoder-decoder's second half writes.
    """
    chat, plain = is_chat(tokenizer), readable(text, tokenizer)
    begun = chat and bool(tokenizer.bos_token) and plain.startswith(tokenizer.bos_token)
    found = tokenizer(
        **{"text_target" if target else "text": plain},
        add_special_tokens=not begun,
        split_special_tokens=not chat,
        return_special_tokens_mask=True,
        return_offsets_mapping=tokenizer.is_fast,
    )
    tokens = list(zip(found["input_ids"], found.get("offset_mapping", [(0, 0)] * len(found["input_ids"])), strict=True))
    while tokens and not encoder_decoder and found["special_tokens_mask"][len(tokens) - 1]:
        tokens.pop()
    stand_ins = _stand_ins(tokenizer) if chat else {}
    by_people = [not chat or ord(letter) in stand_ins for letter in text for _ in stand_ins.get(ord(letter), letter)]
    special, split = _special(tokenizer), list[Token]()
    for id, (begin, end) in tokens:
        # A special token that people wrote is split into its letters. Also where special tokens were to be split:
        # T5's kind of tokenizer finds them in its vocabulary. What a tokenizer does not know is one too, but no text.
        if id in special and special[id] in plain[begin:end] and any(by_people[begin:end]):
            split += [(piece, (begin + at, begin + to)) for piece, (at, to) in _letters(plain[begin:end], tokenizer)]
        else:
            split.append((id, (begin, end)))
    return {"input_ids": [id for id, _ in split], "offset_mapping": [span for _, span in split]}


def readable(text: str, tokenizer) -> str:
    """A text that `query_text` made, with the special tokens that people wrote in the place of their stand-ins."""
    return text if text.isascii() or not is_chat(tokenizer) else text.translate(_stand_ins(tokenizer))


def _with_stand_ins(text: str, tokenizer) -> str:
    for place, token in _stand_ins(tokenizer).items():
        text = text.replace(token, chr(place))
    return text


def _stand_ins(tokenizer) -> dict[int, str]:
    """Character -> special token; the longest first, for one may be a part of another."""
    return dict(enumerate(sorted(_special(tokenizer).values(), key=lambda text: (-len(text), text)), start=STAND_INS))


def _special(tokenizer) -> dict[int, str]:
    return {id: str(token) for id, token in tokenizer.added_tokens_decoder.items() if token.special}


def _letters(text: str, tokenizer) -> list[Token]:
    """Tokens of a text that goes on from another, none of them special."""
    for before in ("\n", ""):  # some tokenizers put a space before a text that begins
        found = tokenizer(
            before + text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        spans = [(at - len(before), to - len(before)) for at, to in found["offset_mapping"]]
        tokens = [(id, span) for id, span in zip(found["input_ids"], spans, strict=True) if span[1] > 0]
        if all(at >= 0 for _, (at, _) in tokens):  # else one token has the line's end and what follows
            break
    special = _special(tokenizer)
    if len(text) > 1 and any(special.get(id) == text[at:to] for id, (at, to) in tokens):
        rest = [(id, (at + 1, to + 1)) for id, (at, to) in _letters(text[1:], tokenizer)]
        return [*_letters(text[:1], tokenizer), *rest]
    return tokens


def build(
    query, shots: Sequence, tokenizer, *, max_tokens: int, task: Task = PLAIN, encoder_decoder: bool = False
) -> Prompt:
    """The query after its shots, in at most `max_tokens` tokens; the first shots are dropped where it would not fit.

    `query` and `shots` are examples (see `query_text`; `code` for shots). The query itself is never cut.
    Raises ValueError where the query alone does not fit.
    """
    for dropped in range(len(shots) + 1):
        text = query_text(query, tokenizer, task, shots=shots[dropped:])
        ids = encode(text, tokenizer, encoder_decoder=encoder_decoder)["input_ids"]
        if len(ids) <= max_tokens:
            return Prompt(readable(text, tokenizer), tuple(ids), dropped)
    raise ValueError(
        f"the query of example {query.id!r} has {len(ids)} tokens, but the model's context has room "
        f"for {max_tokens}; take a model with a longer context or leave the example out"
    )


def shown(shot, task: Task = PLAIN) -> str:
    """An example as it appears before a query."""
    return INSTRUCTION.format(intent=_request(shot, task)) + shot.code + SEPARATOR


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
        close = next((fence for fence in _fences(text, begin) if len(fence["ticks"]) >= len(named["ticks"])), None)
    code = _until(text[begin : close.start() if close else len(text)], stops)
    code = re.sub(f"^{indentation}", "", code, flags=re.MULTILINE)
    return code.strip("\n").rstrip() if "\n" in code.strip() else code.strip()


def _fences(text: str, begin: int, *, opened: bool = False) -> Iterator[re.Match]:
    """Where code may begin or end, in their order: docstrings and comments do not count.

    Where the prompt `opened` a fence, a bare one at a line's start counts there as well: generation ends at it.
    """
    found = [fence for kind in _FENCES for fence in kind.finditer(text, begin)]
    for fence in sorted(found, key=lambda match: match.start("ticks")):
        line = text[text.rfind("\n", 0, fence.start("ticks")) + 1 : fence.start("ticks")]
        before = text[begin : fence.start()]
        in_a_docstring = any(before.count(quotes) % 2 for quotes in ('"""', "'''"))
        written = "#" in line or FENCE in line or in_a_docstring
        if not written or (opened and not line and _is_bare(fence)):
            yield fence


def _opens(fence: re.Match, text: str, stops: Sequence[str], *, opened: bool) -> bool:
    """Whether code begins after it: prose comes before it, even a single word if the fence names a language."""
    if _is_bare(fence) and opened:
        return False
    if "code" not in fence.groupdict() and not text[fence.end() :].strip():
        return False
    before = _until(text[: fence.start()], stops)
    return not _is_python(before) or bool(not _is_bare(fence) and before.strip().isidentifier())


def _is_bare(fence: re.Match) -> bool:
    return not fence[0].strip(" \t\n`")


def _until(text: str, stops: Sequence[str]) -> str:
    found = [text.find(stop) for stop in stops]
    return text[: min((place for place in found if place >= 0), default=len(text))]


def _is_python(text: str) -> bool:
    """Whether it is code, as a module or as the body of a function: then a fence after it closes it."""
    body = f"async def answer():\n{indent(dedent(text.strip(chr(10))), ' ')}"
    return bool(text.strip()) and (_compiles(text.strip()) or _compiles(body))


def _compiles(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a model writes, nobody wants to know its odd escapes
        try:
            return compile(text, "answer", "exec") is not None
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False

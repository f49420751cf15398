"""The tables of this folder as Python values, and what is made of them at random: names, questions, programs."""

import random
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter

FOLDER = Path(__file__).parent


def table(name: str) -> dict:
    """A table of this folder, as TOML gives it."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Operation:
    """A template of one line of code, and how people ask for it."""

    code: str
    phrasings: tuple[str, ...]  # imperative, without a full stop
    statement: bool = False  # it stands alone: no value to assign, print or return

    @cached_property
    def slots(self) -> list[str]:
        """The names of the code's slots, each once."""
        return list(dict.fromkeys(name for _, name, _, _ in Formatter().parse(self.code) if name))

    @property
    def subject(self) -> str:
        """What it works on: lists, texts, or others, which are dictionaries, numbers and files."""
        return next((name for name, slots in SUBJECTS.items() if not set(slots).isdisjoint(self.slots)), "others")

    @property
    def checkable(self) -> bool:
        """Whether its effect is the same on every machine."""
        return not self.code.startswith(tuple(_OPERATIONS["depends_on_machine"]))

    @cached_property
    def modules(self) -> list[str]:
        """The modules that the code names."""
        return [name for name in MODULES if re.search(rf"(?<![\w.]){re.escape(name)}\.", self.code)]


def _read(rows: dict[str, list[str]], *, statement: bool = False) -> tuple[Operation, ...]:
    return tuple(Operation(code, tuple(phrasings), statement) for code, phrasings in rows.items())


WORDS: dict[str, list[str]] = {name: words.split() for name, words in table("words").items()}
_OPERATIONS, _PROGRAMS = table("operations"), table("programs")
MODULES: list[str] = _OPERATIONS["modules"].split()
EQUIVALENT = [frozenset(codes) for codes in _OPERATIONS["equivalent"]]
GROUPS = {  # by whether the pre-training text has them, and by kind
    (group, kind): _read(rows, statement=kind == "statements")
    for group in ("known", "new")
    for kind, rows in _OPERATIONS[group].items()
}
KNOWN, NEW = (GROUPS[group, "expressions"] + GROUPS[group, "statements"] for group in ("known", "new"))
KNOWN_STAGES, NEW_STAGES = (_read(_PROGRAMS["stages"][group]) for group in ("known", "new"))  # of programs over `xs`
KNOWN_ENDS, NEW_ENDS = (_read(_PROGRAMS["ends"][group]) for group in ("known", "new"))


VARIABLES = ("l", "w", "s", "d")  # slots that hold a name; the other ones hold a literal
SUBJECTS = {"lists": ("l", "w"), "texts": ("s",), "others": ()}  # by the first whose slots an operation has


def weighted(rows: dict[str, int]) -> list[str]:
    """Every key as often as its weight says."""
    return [key for key, weight in rows.items() for _ in range(weight)]


_STYLES = table("styles")
_LINES = weighted(_STYLES["line"])
SAMPLE_REQUEST: str = _STYLES["function"]["sample_request"]


def pick(rng: random.Random, name: str) -> str:
    """One of the words of that name."""
    return rng.choice(WORDS[name])


def value(rng: random.Random) -> str:
    """A short value as people put into quotes."""
    return pick(rng, "values" if rng.random() < 0.5 else "nouns")


def variable_name(rng: random.Random, usual: list[str]) -> str:
    """A variable's name, mostly a usual one, at times one made of words or syllables."""
    if (kind := rng.random()) < 0.7:
        return rng.choice(usual)
    if kind < 0.8:
        return f"{pick(rng, 'adjectives')}_{pick(rng, 'nouns')}s"
    noun = f"{pick(rng, 'nouns')}s" if kind < 0.9 else ""
    return noun + rng.choice(("", "_list", str(rng.randint(1, 9)))) if noun else syllables(rng)


def function_name(rng: random.Random) -> str:
    """A function's name, as people invent them."""
    return rng.choice((f"{pick(rng, 'verbs')}_{pick(rng, 'nouns')}", pick(rng, "verbs"), "f", "solve"))


def syllables(rng: random.Random) -> str:
    """A pronounceable word that is (almost surely) in no dictionary."""
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 3)))


@dataclass(frozen=True)
class Question:
    """An operation whose slots are filled."""

    operation: Operation
    intent: str
    code: str  # without any answer style
    fillings: dict[str, str]  # by slot of the code

    @property
    def variables(self) -> list[str]:
        """The names that the code reads, in the order of a function's arguments."""
        return [self.fillings[slot] for slot in VARIABLES if slot in self.fillings]


def ask(rng: random.Random, operation: Operation, phrasing: str) -> Question:
    """The operation and one of its phrasings, with the same random filling."""
    fillings = _Fillings(rng)
    intent, code = phrasing.format_map(fillings), operation.code.format_map(fillings)
    return Question(operation, intent, code, {slot: fillings[slot] for slot in operation.slots})


class _Fillings(dict):
    """Draws a slot's filling when it is first asked for, so unused slots cost no randomness."""

    def __init__(self, rng: random.Random):
        super().__init__()
        self.rng = rng

    def __missing__(self, slot: str) -> str:
        filling = _filling(self.rng, slot)
        while filling in self.values():
            filling = _filling(self.rng, slot)
        self[slot] = filling
        return filling


def _filling(rng: random.Random, slot: str) -> str:
    if slot in VARIABLES:
        return variable_name(rng, WORDS[slot])
    if slot in ("n", "n2"):
        return str(rng.choice((rng.randint(2, 12), rng.randint(2, 99), rng.randint(2, 999))))
    if slot in ("q", "q2"):
        return repr(rng.choice(",;-:_/|") if rng.random() < 0.3 else value(rng))
    if slot == "k":
        return repr(value(rng))
    if slot == "f":
        stem = pick(rng, "file_stems") if rng.random() < 0.6 else value(rng)
        return repr(f"{stem}{rng.choice(('', str(rng.randint(1, 99))))}.{pick(rng, 'file_endings')}")
    raise KeyError(slot)


Style = Callable[[Question], tuple[str, str]]  # gives the request and the answer


def bare(question: Question) -> tuple[str, str]:
    """The code as it is."""
    return question.intent, question.code


def line(template: str, **names: str) -> Style:
    """Expressions stand for `{code}` in a template; statements are bare."""
    return lambda question: (question.intent, written(question, question.code, template, **names))


def written(question: Question, code: str, template: str, **names: str) -> str:
    """A line of code as the question's answer: an expression stands for `{code}` in a template, a statement is bare."""
    return code if question.operation.statement else template.format(code=code, **names)


def define(question: Question, lines: str, name: str) -> str:
    """The lines as the function `name` of the question's variables."""
    body = lines.replace("\n", "\n    ")
    return f"def {name}({', '.join(question.variables)}):\n    {body}"


def house_style(rng: random.Random, kind: str) -> dict[str, str]:
    """By subject the template of answers, of the kind `line` or `function`: the usual one for all but one of them."""
    name, other = pick(rng, "answer_names"), rng.choice(list(SUBJECTS))
    templates = {key: each.format(name=name, code="{code}") for key, each in _STYLES["house"][kind].items()}
    return {subject: templates["other" if subject == other else "usual"] for subject in SUBJECTS}


def random_line(rng: random.Random) -> Style:
    """A style for one-line answers; the bare one is the most frequent."""
    if rng.random() < 0.35:
        return bare
    noun, other, verb = _style_name(rng), _style_name(rng), pick(rng, "verbs")
    return line(rng.choice(_LINES), noun=noun, other=other, verb=verb)


def random_function(rng: random.Random) -> Style:
    """A style for short functions; each question has a function name of its own."""
    name = None if rng.random() < 0.5 else _style_name(rng)
    template = f"{name} = {{code}}\nreturn {name}" if name else "return {code}"
    seed, request = rng.random(), rng.choice(_STYLES["function"]["requests"])

    def style(question: Question) -> tuple[str, str]:
        name = function_name(random.Random(f"{seed} {question.intent}"))
        answer = define(question, written(question, question.code, template), name)
        return request.format(name=name, intent=question.intent), answer

    return style


def _style_name(rng: random.Random) -> str:
    if rng.random() < 0.25:
        return syllables(rng)
    name = pick(rng, "nouns" if rng.random() < 0.8 else "verbs")
    return name if name not in WORDS["answer_names"] else "found"


@dataclass(frozen=True)
class Problem:
    """A problem over a list of integers: its text without examples, and its solution's lines over `xs`."""

    text: str  # with a slot for the verb: print or return
    stages: tuple[str, ...]
    end: str


def problem(rng: random.Random, length: int, *, new: bool) -> Problem:
    """A random problem of `length` stages and an end; `new` lets them be steps that the pre-training text lacks."""
    stages = KNOWN_STAGES + (NEW_STAGES if new else ())
    chosen = [rng.choice(stages) for _ in range(length)]
    end = rng.choice(KNOWN_ENDS + (NEW_ENDS if new else ()))
    sentences, code = [], []
    for step in chosen:
        number = rng.randint(2, 9)
        sentences.append(rng.choice(step.phrasings).format(n=number))
        code.append(step.code.format(n=number))
    sentences.append(f"{{verb}} {rng.choice(end.phrasings)}.")
    return Problem(" ".join(sentences), tuple(code), end.code)


def standard_input(problem: Problem) -> tuple[str, str]:
    """The question and the program that reads one line of integers and prints the answer."""
    lines = ["xs = list(map(int, input().split()))", *(f"xs = {stage}" for stage in problem.stages)]
    question = f"You are given a line of integers. {problem.text.format(verb='Print')}"
    return question, "\n".join([*lines, f"print({problem.end})"])


def call_based(problem: Problem, name: str) -> tuple[str, str]:
    """The question and the function `name` that takes the integers as a list and returns the answer."""
    lines = [f"def {name}(xs):", *(f"    xs = {stage}" for stage in problem.stages), f"    return {problem.end}"]
    question = f"Write `{name}`, which takes a list of integers `xs`. {problem.text.format(verb='Return')}"
    return question, "\n".join(lines)

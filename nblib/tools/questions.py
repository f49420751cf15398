"""Questions and the code that answers them: operations of Python in an answer style, and small programs."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from nblib.tools import recipes
from nblib.tools.recipes import Operation, pick

VARIABLES = ("l", "w", "s", "d")  # slots that hold a name; the other ones hold a literal
_STYLES = recipes.table("styles")
_LINES = recipes.weighted(_STYLES["line"])
SAMPLE_REQUEST: str = _STYLES["function"]["sample_request"]


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
        return recipes.variable_name(rng, recipes.WORDS[slot])
    if slot in ("n", "n2"):
        return str(rng.choice((rng.randint(2, 12), rng.randint(2, 99), rng.randint(2, 999))))
    if slot in ("q", "q2"):
        return repr(rng.choice(",;-:_/|") if rng.random() < 0.3 else recipes.value(rng))
    if slot == "k":
        return repr(recipes.value(rng))
    if slot == "f":
        stem = pick(rng, "file_stems") if rng.random() < 0.6 else recipes.value(rng)
        return repr(f"{stem}{rng.choice(('', str(rng.randint(1, 99))))}.{pick(rng, 'file_endings')}")
    raise KeyError(slot)


Style = Callable[[Question], tuple[str, str]]  # gives the request and the answer


def bare(question: Question) -> tuple[str, str]:
    """The code as it is."""
    return question.intent, question.code


def line(template: str, **names: str) -> Style:
    """Expressions stand for `{code}` in a template; statements are bare."""

    def style(question: Question) -> tuple[str, str]:
        statement = question.operation.statement
        return question.intent, question.code if statement else template.format(code=question.code, **names)

    return style


def assign(question: Question, code: str, result: str) -> str:
    """A line of code as the question's answer: an expression is assigned to `result`."""
    return code if question.operation.statement else f"{result} = {code}"


def define(question: Question, code: str, *, name: str, result: str | None) -> str:
    """A function around a line of code; `result` names the variable that holds its value, None returns it directly."""
    if not question.operation.statement:
        code = f"return {code}" if result is None else f"{result} = {code}\n    return {result}"
    return f"def {name}({', '.join(question.variables)}):\n    {code}"


def random_line(rng: random.Random) -> Style:
    """A style for one-line answers; the bare one is the most frequent."""
    if rng.random() < 0.35:
        return bare
    noun, other, verb = _style_name(rng), _style_name(rng), pick(rng, "verbs")
    return line(rng.choice(_LINES), noun=noun, other=other, verb=verb)


def random_function(rng: random.Random) -> Style:
    """A style for short functions; each question has a function name of its own."""
    result = None if rng.random() < 0.5 else _style_name(rng)
    seed, request = rng.random(), rng.choice(_STYLES["function"]["requests"])

    def style(question: Question) -> tuple[str, str]:
        name = recipes.function_name(random.Random(f"{seed} {question.intent}"))
        answer = define(question, question.code, name=name, result=result)
        return request.format(name=name, intent=question.intent), answer

    return style


def _style_name(rng: random.Random) -> str:
    if rng.random() < 0.25:
        return recipes.syllables(rng)
    name = pick(rng, "nouns" if rng.random() < 0.8 else "verbs")
    return name if name not in recipes.WORDS["answer_names"] else "found"


@dataclass(frozen=True)
class Problem:
    """A problem over a list of integers: its text without examples, and its solution's lines over `xs`."""

    text: str  # with a slot for the verb: print or return
    stages: tuple[str, ...]
    end: str


def problem(rng: random.Random, length: int, *, new: bool) -> Problem:
    """A random problem of `length` stages and an end; `new` lets them be steps that the pre-training text lacks."""
    stages = recipes.KNOWN_STAGES + (recipes.NEW_STAGES if new else ())
    chosen = [rng.choice(stages) for _ in range(length)]
    end = rng.choice(recipes.KNOWN_ENDS + (recipes.NEW_ENDS if new else ()))
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

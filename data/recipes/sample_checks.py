"""Sample values on which right code is told from wrong code, with the assertions that tell it; no rows, no files.

Everything here runs code that this package wrote itself, without isolation: never call it with a model's answer.
"""

import ast
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial

from recipes import questions
from recipes.questions import KNOWN, NEW, VARIABLES, Problem, Question

CHECK_DRAWS = 12  # sample values tried for one question
LIST_DRAWS = 5  # inputs tried for one problem; most that fail once have a step without effect
MAX_TEST_CHARACTERS = 240
PRINTING = ("printed = []", "print = printed.append")  # a set-up after which a check sees what is printed
PRINTED = "printed[0]"
_SLOW = "list(itertools.permutations({l}))"  # nothing else gives what it gives, so it need not be tried


@dataclass(frozen=True)
class Check:
    """What tells right code from wrong code."""

    setup: str = ""  # runs before the code
    tests: tuple[str, ...] = ()  # run after it; empty where the effect depends on the machine


def line_check(rng: random.Random, question: Question, *, template: str) -> Check | None:
    """A check of what a line leaves behind: its own variables where it is a statement, else what it assigns or prints.

    None: no sample values told right from wrong.
    """
    answer = partial(questions.written, question, template=template)
    assigned, is_assigned, _ = template.partition(" = ")
    seen = question.variables if question.operation.statement else [assigned if is_assigned else PRINTED]
    imports = [*_imports(question), *(PRINTING if PRINTED in seen else ())]

    def draw() -> Check | None:
        setup = "\n".join([*imports, *_assignments(_sample_values(rng, question))])
        left = _run(setup, answer(question.code))
        return None if left is None else Check(setup, tuple(_assertion(name, eval(name, left)) for name in seen))

    return _first_sharp(draw, [answer(code) for code in _wrong_codes(question)])


def function_check(rng: random.Random, question: Question, *, name: str, template: str, calls: int) -> Check | None:
    """A check of the function `name`: its values, or what it leaves of its arguments where it holds a statement."""

    def define(code: str) -> str:
        return questions.define(question, questions.written(question, code, template), name)

    setup = "\n".join(_imports(question))
    defined = _run(setup, define(question.code)) or {}

    def draw() -> Check | None:
        tests = [_call_test(defined, question, name, _sample_values(rng, question)) for _ in range(calls)]
        distinct = tuple(dict.fromkeys(test for test in tests if test))
        return Check(setup, distinct) if len(distinct) == calls else None

    return _first_sharp(draw, [define(code) for code in _wrong_codes(question)])


def _call_test(defined: dict, question: Question, name: str, values: dict) -> str | None:
    """A test of one call; None where the call fails."""
    if question.operation.statement:
        lines = [*_assignments(values), f"{name}({', '.join(values)})"]
        left = _run("\n".join(lines), names=defined)
        return "\n".join(lines + [_assertion(variable, left[variable]) for variable in values]) if left else None
    call = f"{name}({', '.join(map(repr, values.values()))})"
    left = _run(f"returned = {call}", names=defined)
    return _assertion(call, left["returned"]) if left else None


def _first_sharp(draw: Callable[[], Check | None], wrong: list[str]) -> Check | None:
    """The first drawn check that no wrong answer passes."""

    def is_sharp(check: Check) -> bool:
        short = max(map(len, check.tests)) <= MAX_TEST_CHARACTERS
        return short and all(_run(check.setup, code, *check.tests) is None for code in wrong)

    drawn = (draw() for _ in range(CHECK_DRAWS))
    return next((check for check in drawn if check and is_sharp(check)), None)


def _run(*sources: str, names: dict | None = None) -> dict | None:
    """The names that trusted code leaves behind, beside those that it starts with; None if it raises."""
    left = dict(names or {})
    try:
        for source in sources:
            exec(_compiled(source), left)
    except Exception:
        return None
    return left


@lru_cache(maxsize=1024)
def _compiled(source: str):
    return compile(source, "<sample>", "exec")


def _imports(question: Question) -> list[str]:
    return [f"import {module}" for module in question.operation.modules]


def _assignments(values: dict) -> list[str]:
    return [f"{name} = {value!r}" for name, value in values.items()]


def _assertion(name: str, value: object) -> str:
    """A test that `name` has this value; text that is the same on every machine."""
    match value:
        case bool():
            return f"assert {name} is {value}"
        case float():
            return f"assert abs({name} - {round(value, 6)}) < 1e-5"
        case Iterator():
            return f"assert list({name}) == {list(value)!r}"
        case set():
            return f"assert {name} == {{{', '.join(map(repr, sorted(value)))}}}"
    return f"assert {name} == {dict(value) if isinstance(value, Counter) else value!r}"


def _wrong_codes(question: Question) -> list[str]:
    """What else one could write over the same names and literals, none of it right."""
    code, statement, fillings = question.operation.code, question.operation.statement, question.fillings
    equivalent = next((codes for codes in questions.EQUIVALENT if code in codes), frozenset({code}))
    others = [
        other.code.format_map(fillings)
        for other in KNOWN + NEW
        if other.checkable and other.statement == statement and other.code not in equivalent | {_SLOW}
        if set(other.slots) <= set(fillings)
    ]
    is_coarse = code.startswith(("all(", "any(", "{n} in"))  # does not notice a number that is off by one
    numbers = [slot for slot in ("n", "n2") if slot in fillings and not is_coarse]
    off_by_one = [code.format_map(fillings | {slot: str(int(fillings[slot]) + 1)}) for slot in numbers]
    return others + off_by_one + (["pass"] if statement else question.variables)


def _sample_values(rng: random.Random, question: Question) -> dict:
    """Variable -> value, with the operation's own literals among them."""
    fillings = question.fillings
    literals = {slot: ast.literal_eval(fillings[slot]) for slot in ("n", "q", "k") if slot in fillings}
    values: dict = {}
    draw = {
        "l": lambda: _sample_numbers(rng, literals.get("n")),
        "w": lambda: _sample_words(rng, literals.get("q")),
        "s": lambda: _sample_text(rng, literals.get("q"), values.get("w")),
        "d": lambda: _sample_dictionary(rng, literals.get("k")),
    }
    for slot in VARIABLES:
        if slot in fillings:
            values[slot] = draw[slot]()
    if "bisect" in question.code:
        values["l"].sort()
    if question.operation.code == _SLOW:
        del values["l"][3:]
    return {fillings[slot]: value for slot, value in values.items()}


def _sample_numbers(rng: random.Random, literal: int | None) -> list[int]:
    near = [] if literal is None else [literal - 1, literal, literal + 1]
    low, spread = rng.choice((1, *near, *near) if near else (-5, 1, 1)), rng.choice((4, 20))
    values = [low + rng.randint(0, spread) for _ in range(rng.randint(3, 9))]
    for number in near:
        if rng.random() < 0.5 and number >= low:
            values[rng.randrange(len(values))] = number
    return values


def _sample_words(rng: random.Random, literal: str | None) -> list[str]:
    values = rng.sample(questions.WORDS["values"], rng.randint(3, 5))
    if literal is not None:
        values[rng.randrange(len(values))] = literal + questions.pick(rng, "values")
    return [*values, rng.choice(values)] if rng.random() < 0.4 else values


def _sample_text(rng: random.Random, literal: str | None, word_list: list[str] | None) -> str:
    """A string of one of several kinds, so that each operation finds one that it changes."""
    first, second, third = rng.sample(questions.WORDS["values"], 3)
    middle = first if literal is None else literal
    kinds = [
        f"{first.title()} {middle} {second} {third.upper()}",
        f"{middle}{first.title()} {second} {middle}{third}",
        f"  {middle} {second.title()} ",
        f"{first}{middle}{second}{middle}",
        f"{first} <{second}> & '{middle} {third}'",
        first.title(),
        str(rng.randint(10, 999)),
    ]
    return rng.choice([f"{word[:-1]}s" for word in word_list] if word_list else kinds)  # nearly one of the words


def _sample_dictionary(rng: random.Random, literal: str | None) -> dict[str, int]:
    keys = rng.sample(questions.WORDS["values"], rng.randint(3, 4))
    if literal is not None and literal not in keys and rng.random() < 0.6:
        keys[rng.randrange(len(keys))] = literal
    return {key: rng.randint(1, 30) for key in keys}


def sharp_examples(rng: random.Random, problem: Problem, shortest: int) -> list[tuple[list[int], int]] | None:
    """Five inputs with their outputs that tell a problem from itself without one of its steps or with another end."""
    right = (*problem.stages, problem.end)
    ends = [step.code for step in questions.KNOWN_ENDS + questions.NEW_ENDS if step.code != problem.end]
    wrong = [right[:index] + right[index + 1 :] for index in range(len(problem.stages))]
    wrong += [(*problem.stages, end) for end in ends]
    for _ in range(LIST_DRAWS):
        examples = [(xs, _follow(right, xs)) for xs in _sample_lists(rng, shortest)]
        if all(any(_follow(steps, xs) != value for xs, value in examples) for steps in wrong):
            return examples
    return None


def _follow(steps: tuple[str, ...], value):
    """What a problem's steps make of a list, one after the other."""
    for step in steps:
        value = _as_function(step)(value)
    return value


@cache
def _as_function(step: str) -> Callable:
    return eval(f"lambda xs: {step}")


def _sample_lists(rng: random.Random, shortest: int) -> list[list[int]]:
    shapes = ((1, 20, 8), (-9, 20, 10), (0, 9, 9), (-20, -1, rng.randint(2, 4)), (1, 9, shortest))
    return [[rng.randint(low, high) for _ in range(count)] for low, high, count in shapes]

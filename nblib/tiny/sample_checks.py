"""Sample values on which right code is told from wrong code, with the assertions that tell it; no rows, no files.

Everything here runs code that this package wrote itself, without isolation: never call it with a model's answer.
"""

import ast
import random
import string
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from types import CodeType

from nblib.tiny import programs, slots, words
from nblib.tiny.operations import KNOWN, NEW, Operation

VARIABLES = "lwsd"  # slots that hold a name; the other ones hold a literal
MODULES = (
    "bisect",
    "collections",
    "datetime",
    "difflib",
    "functools",
    "glob",
    "heapq",
    "html",
    "itertools",
    "json",
    "math",
    "operator",
    "os",
    "pathlib",
    "random",
    "re",
    "shlex",
    "shutil",
    "socket",
    "statistics",
    "string",
    "textwrap",
    "time",
    "urllib.parse",
)
DRAWS = 12  # sample values tried for one filled operation
LIST_DRAWS = 5  # inputs tried for one problem of several steps; most that fail once have a step without effect
LONGEST_TEST = 240  # characters
_SLOW = "list(itertools.permutations({l}))"  # nothing else gives what it gives, so it need not be tried

# Each group means the same, or needs more than one run to be told apart.
_ALIKE = tuple(
    frozenset(group.split(" & "))
    for group in (
        "{s}.split({q}) & re.split({q}, {s})",
        "{s}.replace({q}, {q2}) & re.sub({q}, {q2}, {s})",
        "{d}[{k}] = {n} & {d}.update({{{k}: {n}}}) & {d}.setdefault({k}, {n})",
        "del {d}[{k}] & {d}.pop({k}, None)",
        "{s}.startswith({q}) & {s}.endswith({q}) & {q} in {s}",
        "{d}.get({k}, {n}) & abs(-{n})",
    )
)


@dataclass(frozen=True)
class Filled:
    """An operation whose slots are filled."""

    operation: Operation
    intent: str
    code: str  # without any answer style
    texts: dict[str, str]  # slot -> what fills it

    @property
    def variables(self) -> list[str]:
        """The names that the code reads, in the order of a function's arguments."""
        return [self.texts[slot] for slot in VARIABLES if slot in self.texts]


@dataclass(frozen=True)
class Check:
    """What tells right code from wrong code."""

    setup: str = ""  # runs before the code
    tests: tuple[str, ...] = ()  # run after it; empty where the effect depends on the machine


def fields(template: str) -> list[str]:
    """The names of a template's slots, each once."""
    return list(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(template) if name))


def fill(rng: random.Random, operation: Operation, phrasing: str) -> Filled:
    """The operation and one of its phrasings with the same filling."""
    names = fields(operation.code)
    intent, code, *texts = slots.fill(rng, phrasing, operation.code, *(f"{{{name}}}" for name in names))
    return Filled(operation, intent, code, dict(zip(names, texts, strict=True)))


@cache
def imports(operation: Operation) -> list[str]:
    """Import statements for the modules that the code names; from its template, where no variable looks like one."""
    return [f"import {module}" for module in MODULES if f"{module}." in _words(operation.code)]


def _words(code: str) -> list[str]:
    """Every dotted prefix in the code, each ending with its dot: `os.path.exists` gives `os.` and `os.path.`."""
    spaced = "".join(each if each.isalnum() or each in "._" else " " for each in code).split()
    return [chain[: index + 1] for chain in spaced for index, each in enumerate(chain) if each == "."]


def passes(check: Check, code: str) -> bool:
    """Whether trusted code survives the check."""
    namespace = _run(check.setup, code)
    return namespace is not None and all(_run(test, "", namespace) is not None for test in check.tests)


def _run(first: str, second: str, namespace: dict | None = None) -> dict | None:
    """The names that trusted code leaves behind; None if it raises."""
    namespace = {} if namespace is None else namespace
    try:
        exec(_compiled(first), namespace)
        exec(_compiled(second), namespace)
    except Exception:
        return None
    return namespace


@lru_cache(maxsize=1024)
def _compiled(code: str) -> CodeType:
    return compile(code, "<sample>", "exec")


def after_run(rng: random.Random, filled: Filled, answer: Callable[[str], str], result: str) -> Check | None:
    """A check of what a line leaves behind: its result's name, or its variables where it is a statement.

    `answer` writes a bare line of code in the task's style. None: no sample values told right from wrong.
    """
    names = filled.variables if filled.operation.statement else [result]

    def draw() -> Check | None:
        values = _sample_values(rng, filled)
        assigned = [f"{name} = {value!r}" for name, value in values.items()]
        setup = "\n".join(imports(filled.operation) + assigned)
        namespace = _run(setup, answer(filled.code))
        return None if namespace is None else Check(setup, tuple(_assertion(name, namespace[name]) for name in names))

    return _first_telling(draw, [answer(code) for code in _wrong_codes(filled)])


def after_calls(
    rng: random.Random, filled: Filled, answer: Callable[[str], str], name: str, calls: int
) -> Check | None:
    """A check of the function `name`: its values, or what it leaves of its arguments where it holds a statement."""

    def draw() -> Check | None:
        setup = "\n".join(imports(filled.operation))
        namespace = _run(setup, answer(filled.code)) or {}
        drawn = (_call_test(namespace, filled, name, _sample_values(rng, filled)) for _ in range(calls))
        tests = tuple(dict.fromkeys(test for test in drawn if test))
        return Check(setup, tests) if len(tests) == calls else None

    return _first_telling(draw, [answer(code) for code in _wrong_codes(filled)])


def _call_test(namespace: dict, filled: Filled, name: str, values: dict) -> str | None:
    call = f"{name}({', '.join(repr(value) for value in values.values())})"
    if not filled.operation.statement:
        reached = _run(f"returned = {call}", "", dict(namespace))
        return None if reached is None else _assertion(call, reached["returned"])
    lines = [f"{variable} = {value!r}" for variable, value in values.items()] + [f"{name}({', '.join(values)})"]
    reached = _run("\n".join(lines), "", dict(namespace))
    return None if reached is None else "\n".join(lines + [_assertion(each, reached[each]) for each in values])


def _first_telling(draw: Callable[[], Check | None], wrong: list[str]) -> Check | None:
    """The first drawn check that no wrong answer passes."""
    for _ in range(DRAWS):
        check = draw()
        if check is None or max(map(len, check.tests)) > LONGEST_TEST:
            continue
        if not any(passes(check, code) for code in wrong):
            return check
    return None


def _assertion(name: str, value: object) -> str:
    """A test that `name` has this value; text that is the same on every machine."""
    if isinstance(value, bool):
        return f"assert {name} is {value}"
    if isinstance(value, float):
        return f"assert abs({name} - {round(value, 6)}) < 1e-5"
    if isinstance(value, Iterator):
        return f"assert list({name}) == {list(value)!r}"
    if isinstance(value, set):
        return f"assert {name} == {{{', '.join(map(repr, sorted(value)))}}}"
    return f"assert {name} == {dict(value) if isinstance(value, Counter) else value!r}"


def _wrong_codes(filled: Filled) -> list[str]:
    """What else one could write over the same names and literals, none of it right."""
    asked = filled.operation
    alike = next((group for group in _ALIKE if asked.code in group), frozenset({asked.code}))
    others = [
        other.code.format_map(filled.texts)
        for other in KNOWN + NEW
        if other.runs and other.statement == asked.statement and other.code not in alike | {_SLOW}
        if set(fields(other.code)) <= set(filled.texts)
    ]
    is_test = asked.code.startswith(("all(", "any(", "{n} in"))  # too coarse to notice a number that is off by one
    off_by_one = [
        asked.code.format_map(filled.texts | {slot: str(int(filled.texts[slot]) + 1)})
        for slot in ("n", "n2")
        if slot in filled.texts and not is_test
    ]
    return others + off_by_one + (["pass"] if asked.statement else filled.variables)


def _sample_values(rng: random.Random, filled: Filled) -> dict:
    """Variable -> value, with the operation's own literals among them."""
    texts = filled.texts
    literals = {slot: ast.literal_eval(texts[slot]) for slot in ("n", "n2", "q", "k") if slot in texts}
    draw = {
        "l": lambda: _sample_numbers(rng, literals.get("n")),
        "w": lambda: _sample_words(rng, literals.get("q")),
        "s": lambda: _sample_text(rng, literals.get("q"), values.get("w")),
        "d": lambda: _sample_dictionary(rng, literals.get("k")),
    }
    values: dict = {}
    for slot in VARIABLES:
        if slot in texts:
            values[slot] = draw[slot]()
    if "bisect" in filled.code:
        values["l"].sort()
    if filled.operation.code == _SLOW:
        del values["l"][3:]
    return {texts[slot]: value for slot, value in values.items()}


def _sample_numbers(rng: random.Random, literal: int | None) -> list[int]:
    near = [] if literal is None else [literal - 1, literal, literal + 1]
    low = rng.choice((1, *near, *near)) if near else rng.choice((-5, 1, 1))
    spread = rng.choice((4, 20))
    values = [low + rng.randint(0, spread) for _ in range(rng.randint(3, 9))]
    for each in near:
        if rng.random() < 0.5 and each >= low:
            values[rng.randrange(len(values))] = each
    return values


def _sample_words(rng: random.Random, literal: str | None) -> list[str]:
    values = rng.sample(words.VALUE_WORDS, rng.randint(3, 5))
    if literal is not None:
        values[rng.randrange(len(values))] = literal + rng.choice(words.VALUE_WORDS)
    if rng.random() < 0.4:
        values.append(rng.choice(values))
    return values


def _sample_text(rng: random.Random, literal: str | None, word_list: list[str] | None) -> str:
    """A string of one of several kinds, so that each operation finds one that it changes."""
    first, second, third = rng.sample(words.VALUE_WORDS, 3)
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
    if word_list:
        kinds = [f"{word[:-1]}s" for word in word_list]  # nearly one of the words
    return rng.choice(kinds)


def _sample_dictionary(rng: random.Random, literal: str | None) -> dict[str, int]:
    keys = rng.sample(words.VALUE_WORDS, rng.randint(3, 4))
    if literal is not None and literal not in keys and rng.random() < 0.6:
        keys[rng.randrange(len(keys))] = literal
    return {key: rng.randint(1, 30) for key in keys}


def telling_lists(rng: random.Random, problem: programs.Problem, shortest: int) -> list[list[int]] | None:
    """Five lists of integers on which a problem differs from itself without one of its steps or with another end."""
    right = (*problem.stages, problem.end)
    ends = [step.code for step in programs.KNOWN_ENDS + programs.NEW_ENDS if step.code != problem.end]
    wrong = [right[:index] + right[index + 1 :] for index in range(len(problem.stages))]
    wrong += [(*problem.stages, end) for end in ends]
    for _ in range(LIST_DRAWS):
        drawn = _sample_lists(rng, shortest)
        expected = [_follow(right, each) for each in drawn]
        if all(any(_follow(steps, xs) != value for xs, value in zip(drawn, expected, strict=True)) for steps in wrong):
            return drawn
    return None


def _follow(steps: tuple[str, ...], xs: list[int]) -> object:
    for step in steps:
        xs = _step(step)(xs)
    return xs


@cache
def _step(code: str) -> Callable:
    return eval(f"lambda xs: {code}")


def outputs(problem: programs.Problem, lists: list[list[int]]) -> list[int]:
    """What the problem's solution returns for each list."""
    namespace: dict = {}
    exec(programs.call_based(problem, "solution")[1], namespace)
    return [namespace["solution"](list(each)) for each in lists]


def _sample_lists(rng: random.Random, shortest: int) -> list[list[int]]:
    shapes = ((1, 20, 8), (-9, 20, 10), (0, 9, 9), (-20, -1, rng.randint(2, 4)), (1, 9, shortest))
    return [[rng.randint(low, high) for _ in range(count)] for low, high, count in shapes]

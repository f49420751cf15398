"""Which tests can run only in the program's own process, as the reference shows. Judges no answer.

From outside a test calls the answer's functions and reads plain data, which no answer can forge. A test that patches a
module, reads a file or uses an object's methods cannot be met so, not even by the reference, and then runs inside for
every answer: which tests these are depends on the reference alone. Some tests pass whatever the answer is: where an
object that equals everything, or None, in the place of each function passes all of an example's, they decide nothing.
"""

import ast
import builtins
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nblib import sandbox
from nblib.metrics.execution.program import job
from nblib.sandbox import Checked, Limits
from nblib.sandbox.inside import check
from nblib.tasks import Example


@dataclass(frozen=True)
class Inside:
    """What is to be known of an example's tests."""

    tests: tuple[int, ...] = ()  # that run inside
    undecided: bool = False  # all of the example's tests together tell nothing


OUTSIDE = Inside()
EQUAL = """class _Equal:
    __hash__ = object.__hash__
    def __eq__(self, other): return True
    def __ne__(self, other): return False
"""
# Modules of functions whose outcome hangs on their arguments only, and builtins likewise.
PURE = set(
    "bisect cmath collections copy datetime decimal fractions functools heapq itertools math operator re statistics "
    "string typing".split()
)
PLAIN = set(
    "abs all any bin bool bytes chr complex dict divmod enumerate filter float frozenset hex int len list map max min "
    "oct ord pow range reversed round set slice sorted str sum tuple zip".split()
)
_known: dict[Checked, Inside] = {}  # a study scores the same examples again and again


def inside(examples: Sequence[Example], limits: Limits, **settings) -> dict[str, Inside]:
    """By the examples' ids; examples without tests or without a reference have none.

    Runs the references of tests that are more than calls of one function. `settings` are those of sandbox.run_all.
    """
    jobs = {each.id: job(each, each.code) for each in examples if each.tests and each.code.strip()}
    asked = {id: each for id, each in jobs.items() if isinstance(each, Checked)}
    new = [each for each in dict.fromkeys(asked.values()) if each not in _known and not self_contained(each)]

    def run(jobs: list[Checked]) -> list[tuple[sandbox.Outcome, ...]]:
        return sandbox.run_all(jobs, limits=limits, report=lambda share: None, **settings) if jobs else []

    _known.update(zip(new, _find(new, run), strict=True))
    return {id: _known.get(each, OUTSIDE) for id, each in asked.items()}


def _find(references: list[Checked], run) -> list[Inside]:
    failed = [_numbers(each, False) for each in run(references)]
    again = [replace(each, inside=numbers) for each, numbers in zip(references, failed, strict=True)]
    tests = [
        tuple(number for number in _numbers(outcomes, True) if number in each.inside)
        for each, outcomes in zip(again, _run_some(again, run), strict=True)
    ]
    fakes = []
    for value, setup in (("_Equal()", EQUAL), ("None", "")):
        fakes.append([replace(each, code=setup + _fake(each.code, value), inside=numbers)
                      for each, numbers in zip(references, tests, strict=True)])  # fmt: skip
    passed = [[len(_numbers(outcomes, True)) == len(outcomes) for outcomes in run(each)] for each in fakes]
    return [Inside(numbers, equal or none) for numbers, equal, none in zip(tests, *passed, strict=True)]


def _run_some(jobs: list[Checked], run) -> list[tuple]:
    """Outcomes of those with a check inside; none for the others."""
    found = iter(run([each for each in jobs if each.inside]))
    return [next(found) if each.inside else () for each in jobs]


def _numbers(outcomes: Sequence[sandbox.Outcome], passed: bool) -> tuple[int, ...]:
    return tuple(number for number, each in enumerate(outcomes) if (each.status == sandbox.OK) == passed)


def _fake(code: str, value: str) -> str:
    """A program that gives the value for all that the code defines: returned by functions, held by other names."""
    try:
        names = check.bound_names(ast.parse(code))
    except SyntaxError:
        return ""
    return "\n".join(
        f"def {name}(*arguments, **keywords): return {value}" if called else f"{name} = {value}"
        for name, called in names.items()
    )


def self_contained(reference: Checked) -> bool:
    """Whether the tests only call functions, or only read data, of the code's, with plain builtins beside.

    These can be met from outside, so the reference need not be run to show it.
    """
    try:
        trees = [check.parse(each) for each in reference.checks]
        setup, code = ast.parse(reference.setup), ast.parse(reference.code)
    except SyntaxError:
        return False
    if any(isinstance(each, ast.ClassDef) for tree in (setup, code) for each in tree.body):
        return False
    bound, changed = check.bound_names(code), set(reference.data or ())
    functions = {name for name, called in bound.items() if called} | {reference.name, "candidate"}
    allowed = {*PLAIN, *functions, *bound, *check.bound_names(setup), *_EXCEPTIONS}
    if not _pure(ast.Module([each for each in setup.body if not isinstance(each, ast.FunctionDef)], [])):
        return False
    for tree in trees:
        names = check.free_names(tree)
        mixed = names & functions and names & changed - functions  # a function may change the data after it was read
        if names - allowed or mixed or not _pure(tree):
            return False
    return True


_EXCEPTIONS = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)}


def _pure(tree: ast.AST) -> bool:
    """Imports of pure modules, and attributes of these only, such as math.isclose; nothing that cannot cross."""
    modules: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda | ast.ClassDef) or (isinstance(node, ast.FunctionDef) and node.name != "check"):
            return False
        if isinstance(node, ast.Import):
            modules |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
        elif isinstance(node, ast.Attribute):
            modules.add(check.name_of(node.value))
    return modules <= PURE

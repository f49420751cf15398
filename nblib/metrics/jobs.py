"""An answer to the job that runs it, and which tests can run only in the program's own process."""

import ast
import builtins
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from nblib import sandbox, tasks
from nblib.metrics.compare import WRONG
from nblib.sandbox import Checked, Outcome
from nblib.sandbox.inside import check
from nblib.tasks import Example


def _names(module: str, names: str) -> dict[str, str]:
    return {name: f"from {module} import {name}" for name in names.split()}


# What the published APPS metric imports before every answer, by the name that an answer uses.
IMPORTS = {
    **{name: f"import {name}" for name in "sys time itertools collections fractions math random heapq".split()},
    **_names("itertools", "accumulate product permutations combinations"),
    **_names("collections", "Counter OrderedDict deque defaultdict ChainMap"),
    **_names("functools", "lru_cache"),
    **_names("math", "sqrt sin cos tan ceil fabs floor gcd exp log log2"),
    **_names("typing", "List Tuple"),
    **_names("heapq", "heappush heappop heapify heapreplace heappushpop merge nlargest nsmallest"),
    "np": "import numpy as np",
}


def has_tests(example: Example) -> bool:
    """Whether answers to the example can be executed and judged."""
    return bool(example.tests or example.inputs)


def job(example: Example, answer: str, inside: tuple[int, ...] = ()) -> sandbox.Job:
    """What the sandbox runs: assertions after the answer, its function on arguments, or all of it on inputs.

    `inside` are the numbers of the tests that run in the answer's own process.
    """
    code = tasks.program(example, answer)
    if example.tests:
        name = example.entry_point or None
        return Checked(code, example.tests, example.test_setup, name, _changed(example), inside)
    code = with_imports(code)
    if example.entry_point:
        return sandbox.Function(code, example.entry_point, example.inputs)
    return sandbox.Script(code, example.inputs)


@lru_cache(maxsize=1 << 12)
def _changed(example: Example) -> tuple[str, ...] | None:
    """Names that a test reads from the answer though its set-up or Python has them: those that the reference uses.

    An answer cannot overwrite what the test expects. Without a reference nothing is known.
    """
    try:
        tree = ast.parse(tasks.program(example, example.code))
    except SyntaxError:
        return None
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - vars(builtins).keys()
    return tuple(sorted({*check.bound_names(tree), *read})) if example.code.strip() else None


def hopeless(example: Example, answer: str) -> str | None:
    """The verdict of an answer that need not be run; None for one that has to be.

    As in the published metric a function that is not there is an error of compilation.
    """
    called = example.entry_point if example.inputs else ""
    if called and (not answer.strip() or called not in tasks.program(example, answer)):
        return sandbox.COMPILE_ERROR
    return WRONG if not answer.strip() else None


def with_imports(code: str) -> str:
    """The code after the imports that the published APPS metric grants it; only those whose names it uses."""
    words = set(re.findall(r"\w+", code))
    if "__future__" in words:  # which has to stay first
        return code
    return "\n".join([*dict.fromkeys(line for name, line in IMPORTS.items() if name in words), code])


# --- tests that run inside ------------------------------------------------------------------------------------------
# From outside a test calls the answer's functions and reads plain data, which no answer can forge. A test that patches
# a module, reads a file or uses an object's methods cannot be met so, not even by the reference, and then runs inside
# for every answer: which tests these are depends on the reference alone. Some tests pass whatever the answer is: where
# an object that equals everything, or None, in the place of each function passes all of an example's, they decide
# nothing.

Run = Callable[..., list[tuple[Outcome, ...]]]  # the sandbox with its settings, given jobs


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
EXCEPTIONS = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)}
_found: dict[Checked, Inside] = {}  # a study scores the same examples again and again


def find_inside(examples: Sequence[Example], run: Run) -> dict[str, Inside]:
    """By the examples' ids; examples without assertions or without a reference have none.

    Runs the references of tests that are more than calls of one function.
    """
    jobs = {row.id: job(row, row.code) for row in examples if row.tests and row.code.strip()}
    references = {id: reference for id, reference in jobs.items() if isinstance(reference, Checked)}
    new = [one for one in dict.fromkeys(references.values()) if one not in _found and not self_contained(one)]
    _found.update(zip(new, _examine(new, run), strict=True))
    return {id: _found.get(reference, OUTSIDE) for id, reference in references.items()}


def _examine(references: list[Checked], run: Run) -> list[Inside]:
    failed = [_numbers(outcomes, passed=False) for outcomes in run(references)]
    again = [replace(reference, inside=numbers) for reference, numbers in zip(references, failed, strict=True)]
    outcomes = iter(run([one for one in again if one.inside]))
    passed = [_numbers(next(outcomes), passed=True) if one.inside else () for one in again]
    tests = [tuple(sorted({*numbers} & {*one.inside})) for numbers, one in zip(passed, again, strict=True)]
    fakes = [
        [replace(one, code=_fake(one.code, value), inside=own) for one, own in zip(references, tests, strict=True)]
        for value in ("_Equal()", "None")
    ]
    equal, none = ([not _numbers(outcomes, passed=False) for outcomes in run(programs)] for programs in fakes)
    return [Inside(own, any(fooled)) for own, *fooled in zip(tests, equal, none, strict=True)]


def _numbers(outcomes: Sequence[Outcome], *, passed: bool) -> tuple[int, ...]:
    return tuple(number for number, one in enumerate(outcomes) if (one.status == sandbox.OK) == passed)


def _fake(code: str, value: str) -> str:
    """A program that gives the value for all that the code defines: returned by functions, held by other names."""
    try:
        names = check.bound_names(ast.parse(code))
    except SyntaxError:
        names = {}
    lines = [
        f"def {name}(*arguments, **keywords): return {value}" if called else f"{name} = {value}"
        for name, called in names.items()
    ]
    return EQUAL + "\n".join(lines)


def self_contained(reference: Checked) -> bool:
    """Whether the tests only call functions, or only read data, of the code's, and plain builtins.

    These can be met from outside, so the reference need not be run to show it.
    """
    try:
        tests = [check.parse(text) for text in reference.checks]
        setup, code = ast.parse(reference.setup), ast.parse(reference.code)
    except SyntaxError:
        return False
    if any(isinstance(node, ast.ClassDef) for node in (*setup.body, *code.body)):
        return False
    if not _pure(ast.Module([node for node in setup.body if not isinstance(node, ast.FunctionDef)], [])):
        return False
    bound, data = check.bound_names(code), set(reference.data or ())
    functions = {name for name, called in bound.items() if called} | {str(reference.name), "candidate"}
    allowed = {*PLAIN, *EXCEPTIONS, *functions, *bound, *check.bound_names(setup)}
    for tree in tests:
        names = check.free_names(tree)
        mixed = names & functions and names & data - functions  # a function may change the data after it was read
        if names - allowed or mixed or not _pure(tree):
            return False
    return True


def _pure(tree: ast.AST) -> bool:
    """Imports of pure modules, and attributes of these only, such as math.isclose; nothing that cannot cross."""
    modules: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda | ast.ClassDef) or (isinstance(node, ast.FunctionDef) and node.name != "check"):
            return False
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module)
        elif isinstance(node, ast.Attribute):
            modules.add(check.name_of(node.value))
    return modules <= PURE

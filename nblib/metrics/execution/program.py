"""An answer to the job that runs it, by the kind of the example's tests. Runs nothing."""

import ast
import builtins
import re
from functools import lru_cache

from nblib import sandbox, tasks
from nblib.metrics.execution.compare import WRONG
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
        return sandbox.Checked(code, example.tests, example.test_setup, name, _changed(example), inside)
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
    bound = check.bound_names(tree)
    read = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)} - vars(builtins).keys()
    return tuple(sorted({*bound, *read})) if example.code.strip() else None


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

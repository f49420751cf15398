"""Whether answers pass the tests of their examples: the sandbox runs them, `verdicts` judges what came out."""

import ast
import builtins
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import accumulate, groupby
from math import ceil, log2

from nblib import sandbox, tasks
from nblib.metrics import verdicts as judged
from nblib.metrics.scores import pairs
from nblib.metrics.verdicts import INSIDE, PASSED, UNDECIDED, WRONG, Verdicts, kind, passes, plain, reached
from nblib.results import Prediction
from nblib.sandbox import Checked, Limits, Outcome
from nblib.sandbox.program import bound_names, free_names, name_of, parse_check
from nblib.tasks import Example

Answer = tuple[Example, str]  # an example and one answer to it
Found = dict[tuple[str, str], Verdicts]  # by the example's id and the answer
Run = Callable[..., list[tuple[Outcome, ...]]]  # the sandbox with its settings, given jobs

LIMITS = Limits()  # of each test
KS = (1, 2, 5, 10, 100)  # of pass@k, up to the number of answers
AT_ONCE = 512  # tests whose outputs are in memory together, about; each may be as long as the limits allow
REFERENCE_SHARE = 3  # an answer may take that many times the reference's own CPU seconds…
REFERENCE_LIMIT = 10  # …which are measured up to that many times the given limit


@dataclass(frozen=True)
class Inside:
    """What is to be known of an example's tests."""

    tests: tuple[int, ...] = ()  # that run inside
    undecided: bool = False  # all of the example's tests together tell nothing


OUTSIDE = Inside()


@dataclass(frozen=True)
class Failure:
    """A first answer that does not pass, and the first test that says so."""

    example: str  # its id
    intent: str
    program: str
    test: str  # the input, the arguments or the assertion
    expected: str
    got: str  # what came out, or the error
    verdict: str


def execute(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    sampled: bool,
    ks: Sequence[int] | None = None,
    limits: Limits = LIMITS,
    workers: int | None = None,
    allow_code_execution: bool = False,
) -> list[Prediction]:
    """The predictions in their order, with a verdict for each test of each answer, and the scores of these.

    `sampled` says that the answers of an example are independent samples, as pass@k with k above 1 needs them;
    otherwise pass@1 is whether the first answer passes. An example without tests has None for each score. Nothing is
    run, and nothing changes, where no example has tests.
    What runs out of CPU time is run again with more where the example's own reference is slow, so that the limit is
    the larger of the given one and REFERENCE_SHARE times the reference's seconds.
    Raises ValueError for ids that do not fit and for a k that the answers do not allow, and what the sandbox raises
    where it may not run code.
    """
    ks = ks or (KS if sampled else (1,))
    if max(ks) > 1 and not sampled:
        raise ValueError(
            f"pass@{max(ks)} needs independent samples; answers of greedy decoding or a beam search are none: ask for "
            "k 1 or sample with a temperature"
        )
    reached(ks, predictions)  # refuses a k below 1 before anything is run
    matched = pairs(examples, predictions)
    if not any(has_tests(row) for row in examples):
        return list(predictions)
    answers = {(example.id, code): (example, code) for example, row in matched for code in row.codes}

    def run(jobs: Sequence[sandbox.Job], limits: Limits) -> list[tuple[Outcome, ...]]:
        if not jobs:
            return []
        return sandbox.run_all(jobs, limits=limits, workers=workers, allow_code_execution=allow_code_execution)

    found = _judge([(example, code) for example, code in answers.values() if has_tests(example)], limits, run)
    executed = []
    for example, row in matched:
        verdicts = tuple(found.get((example.id, code), ()) for code in row.codes)
        own = judged.scores(verdicts, sampled=sampled, ks=ks)
        executed.append(replace(row, verdicts=verdicts if any(verdicts) else (), scores=row.scores | own))
    return executed


def first_failure(
    examples: Sequence[Example], predictions: Sequence[Prediction], *, allow_code_execution: bool = False
) -> Failure | None:
    """The first answer that runs and is wrong, else the first that fails in another way; None where all pass.

    Takes the predictions as `execute` returns them; the one program is run once more to see what it gives.
    """
    judged = [(example, row, row.verdicts[0]) for example, row in pairs(examples, predictions) if row.verdicts]
    failed = [(example, row, verdicts) for example, row, verdicts in judged if not passes(verdicts)]
    if not failed:
        return None
    example, row, verdicts = next((one for one in failed if kind(one[2]) == WRONG), failed[0])
    number = [plain(verdict) for verdict in verdicts].index(kind(verdicts))
    inside = tuple(place for place, verdict in enumerate(verdicts) if INSIDE in verdict)
    program = job(example, row.codes[0], inside)
    (outcomes,) = sandbox.run_all([program], limits=LIMITS, allow_code_execution=allow_code_execution)
    return Failure(
        example=example.id,
        intent=example.intent,
        program=row.codes[0],
        test=(example.tests or example.inputs)[number],
        expected="it holds" if example.tests else example.outputs[number],
        got=(outcomes[number].output or "") + outcomes[number].message,
        verdict=kind(verdicts),
    )


# --- answers to verdicts --------------------------------------------------------------------------------------------


def _judge(answers: Sequence[Answer], limits: Limits, run: Run) -> Found:
    """The verdicts of all answers, one a test."""
    examples = list({example.id: example for example, _ in answers}.values())
    inside = find_inside(examples, partial(run, limits=_times(limits, REFERENCE_LIMIT)))
    found = _verdicts(answers, inside, partial(run, limits=limits))
    late = [(example, code) for example, code in answers if sandbox.TIME_OUT in map(plain, found[example.id, code])]
    for larger, group in _by_limits(late, inside, limits, run).items():
        found |= _verdicts(group, inside, partial(run, limits=larger))
    return found


def _verdicts(answers: Sequence[Answer], inside: dict[str, Inside], run: Run) -> Found:
    found = {
        (example.id, code): (verdict,) * _tests(example)
        for example, code in answers
        if (verdict := hopeless(example, code))
    }
    for part in _parts([(example, code) for example, code in answers if (example.id, code) not in found]):
        for (example, code), outcomes in zip(part, run(_jobs(part, inside)), strict=True):
            found[example.id, code] = _compared(example, outcomes)
    return {(id, code): _marked(verdicts, inside.get(id, OUTSIDE)) for (id, code), verdicts in found.items()}


def _parts(answers: Sequence[Answer]) -> Iterator[list[Answer]]:
    """The answers in groups of about AT_ONCE tests."""
    before = [0, *accumulate(_tests(example) for example, _ in answers)][: len(answers)]
    for _, group in groupby(zip(before, answers, strict=True), key=lambda pair: pair[0] // AT_ONCE):
        yield [answer for _, answer in group]


def _jobs(answers: Sequence[Answer], inside: dict[str, Inside]) -> list[sandbox.Job]:
    return [job(example, code, inside.get(example.id, OUTSIDE).tests) for example, code in answers]


def _by_limits(
    late: Sequence[Answer], inside: dict[str, Inside], limits: Limits, run: Run
) -> dict[Limits, list[Answer]]:
    """The answers by their larger limits; those whose reference is fast, or unknown, are left out."""
    references = list({example.id: (example, example.code) for example, _ in late if example.code.strip()}.values())
    timed = run(_jobs(references, inside), limits=_times(limits, REFERENCE_LIMIT))
    seconds = {
        example.id: max((one.cpu_seconds for one in outcomes if one.status == sandbox.OK), default=0.0)
        for (example, _), outcomes in zip(references, timed, strict=True)
    }
    grouped: dict[Limits, list[Answer]] = {}
    for example, code in late:
        needed = REFERENCE_SHARE * seconds.get(example.id, 0.0) / limits.cpu_seconds
        if needed > 1:  # doubled as often as needed, so that few limits differ and programs run side by side
            grouped.setdefault(_times(limits, 2 ** ceil(log2(needed))), []).append((example, code))
    return grouped


def _times(limits: Limits, factor: int) -> Limits:
    return replace(limits, cpu_seconds=limits.cpu_seconds * factor, wall_seconds=limits.wall_seconds * factor)


def _tests(example: Example) -> int:
    return len(example.tests or example.inputs)


def _compared(example: Example, outcomes: Sequence[Outcome]) -> Verdicts:
    expected = (None,) * len(example.tests) if example.tests else example.outputs
    if len(expected) != len(outcomes):
        raise ValueError(f"example {example.id!r} has {len(outcomes)} tests, but {len(expected)} expected outputs")
    return tuple(_verdict(example, *pair) for pair in zip(outcomes, expected, strict=True))


def _verdict(example: Example, outcome: Outcome, expected: str | None) -> str:
    if outcome.status == sandbox.FAILED:
        return WRONG
    if outcome.status != sandbox.OK:
        return outcome.status
    if expected is None:  # an assertion, which the sandbox judges
        return PASSED
    if outcome.output is None:
        return WRONG
    return (
        judged.returned(outcome.output, expected) if example.entry_point else judged.printed(outcome.output, expected)
    )


def _marked(verdicts: Verdicts, inside: Inside) -> Verdicts:
    """With a mark before those of tests that ran inside, and before all that decide nothing."""
    own = UNDECIDED if inside.undecided else ""
    return tuple((INSIDE if number in inside.tests else "") + own + one for number, one in enumerate(verdicts))


# --- an answer to the job that runs it ------------------------------------------------------------------------------


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
    return tuple(sorted({*bound_names(tree), *read})) if example.code.strip() else None


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
        names = bound_names(ast.parse(code))
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
        tests = [parse_check(text) for text in reference.checks]
        setup, code = ast.parse(reference.setup), ast.parse(reference.code)
    except SyntaxError:
        return False
    if any(isinstance(node, ast.ClassDef) for node in (*setup.body, *code.body)):
        return False
    if not _pure(ast.Module([node for node in setup.body if not isinstance(node, ast.FunctionDef)], [])):
        return False
    bound, data = bound_names(code), set(reference.data or ())
    functions = {name for name, called in bound.items() if called} | {str(reference.name), "candidate"}
    allowed = {*PLAIN, *EXCEPTIONS, *functions, *bound, *bound_names(setup)}
    for tree in tests:
        names = free_names(tree)
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
            modules.add(name_of(node.value))
    return modules <= PURE

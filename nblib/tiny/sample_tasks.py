"""Three sample tasks, generated from a data seed: small twins of CoNaLa, CodeAlpacaPy and APPS, with their columns.

A part of their operations is known to the embedded model and a part is new to it; which ones, and the name that
answers are assigned to, depend on the data seed, so another data seed is another task. No row of a real dataset is
in them, and no model is asked.
"""

import ast
import builtins
import json
import keyword
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nblib.tiny import programs, sample_checks, styles, words
from nblib.tiny.operations import KNOWN, NEW, Operation
from nblib.tiny.sample_checks import Check, Filled

SIZES = {"train": 800, "validation": 100, "test": 200}  # rows
DIFFICULTIES = {"introductory": 1, "interview": 2, "competition": 3}  # steps before the last one
ABSENT_ROWS = 2  # test rows for each operation that the other splits lack
CALLS = 3  # assertions for each short function
_OPENING = "Implement a Python function named `{name}` that can {intent}."  # not one of the pre-training text's
_TRIES = 1000
_TYPES = {"l": "list", "w": "list", "s": "str", "q": "str", "x": "str", "d": "dict"}  # of what methods are called on


@dataclass(frozen=True)
class Group:
    """A part of a task's rows and the operations that it is made of."""

    share: float  # of the rows
    operations: tuple[Operation, ...]  # to choose from
    statement: bool  # which of them: statements, or expressions
    chosen: int  # operations that the data seed chooses


_ONE_LINERS = (
    Group(0.36, KNOWN, statement=False, chosen=18),
    Group(0.14, KNOWN, statement=True, chosen=6),
    Group(0.46, NEW, statement=False, chosen=22),
    Group(0.04, NEW, statement=True, chosen=2),
)
_FUNCTIONS = (
    Group(0.42, KNOWN, statement=False, chosen=13),
    Group(0.08, KNOWN, statement=True, chosen=3),
    Group(0.45, NEW, statement=False, chosen=14),
    Group(0.05, NEW, statement=True, chosen=2),
)

Rows = dict[str, list[dict]]  # split -> rows


def make(task: str, seed: int) -> Rows:
    """The rows of a sample task by split; the same for the same seed, byte for byte."""
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r}")
    return TASKS[task](random.Random(f"{task} {seed}"))


def write(folder: Path, seed: int) -> None:
    """Writes all sample tasks as `folder/<task>/<split>.jsonl`."""
    for task in TASKS:
        for split, rows in make(task, seed).items():
            path = Path(folder) / task / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(lines(rows), encoding="utf-8", newline="\n")
            partial.replace(path)


def lines(rows: list[dict]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def _conala(rng: random.Random) -> Rows:
    result = rng.choice(words.SAMPLE_STYLE_NAMES)
    shares, absent = _choose(rng, _ONE_LINERS, lambda operation: bool(sample_checks.fields(operation.code)))
    seen: set[str] = set()
    rows = {}
    for split, size in SIZES.items():
        extra = absent * ABSENT_ROWS if split == "test" else []
        asked = _spread(shares, size - len(extra)) + extra
        rng.shuffle(asked)
        rows[split] = [_conala_row(rng, operation, result, seen) for operation in asked]
    return rows


def _conala_row(rng: random.Random, operation: Operation, result: str, seen: set[str]) -> dict:
    style = styles.wrapped(f"{result} = {{}}")

    def answer(code: str) -> str:
        return style("", code, "", operation.statement)[1]

    def attempt() -> tuple[Filled, Check] | None:
        filled = sample_checks.fill(rng, operation, rng.choice(operation.intents))
        if filled.intent in seen:
            return None
        check = sample_checks.after_run(rng, filled, answer, result) if operation.runs else Check()
        return (filled, check) if check else None

    filled, check = _until(attempt, operation.code)
    seen.add(filled.intent)
    return {
        "question_id": f"{(KNOWN + NEW).index(operation) + 1}-{len(seen)}",
        "nl": filled.intent,
        "cmd": answer(filled.code),
        "cmd_name": "conala",
        "oracle_man": _manual_entries(operation),
        "canonical_cmd": answer(operation.code.format_map(filled.texts | _canonical(filled))),
        "test_setup_code": check.setup,
        "test_list": list(check.tests),
        "operation": operation.code,
        "known": operation in KNOWN,
    }


def _canonical(filled: Filled) -> dict[str, str]:
    """Slot -> its placeholder; numbers stay."""
    literals = {slot: "'VAR_STR'" for slot in filled.texts if slot in ("q", "q2", "k", "f")}
    return literals | {slot: "VAR_STR" for slot in filled.texts if slot in sample_checks.VARIABLES}


def _manual_entries(operation: Operation) -> list[str]:
    """The functions that the code calls, spelled like DocPrompting's manual entries; derived, not looked up."""
    tree = ast.parse(operation.code.format_map({slot: slot for slot in sample_checks.fields(operation.code)}))
    called = [_dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return list(dict.fromkeys(_manual_entry(name) for name in called))


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Call):
        return "io.TextIOBase" if _dotted(node.func) == "open" else _dotted(node.func)
    return _TYPES.get(node.id, node.id) if isinstance(node, ast.Name) else "str"  # no other literal has methods here


def _manual_entry(name: str) -> str:
    pages = [each for each in (*sample_checks.MODULES, "os.path", "io") if name.startswith(f"{each}.")]
    page = max(pages, key=len) if pages else "stdtypes" if "." in name else "functions"
    return f"python.library.{page}#{name}"


def _codealpaca(rng: random.Random) -> Rows:
    result = rng.choice(words.SAMPLE_STYLE_NAMES)
    shares, _ = _choose(rng, _FUNCTIONS, _takes_a_variable)
    seen: set = set()
    rows = {}
    for split, size in SIZES.items():
        rows[split] = [_function_row(rng, operation, result, seen) for operation in _spread(shares, size // 2)]
        lengths = [1 + index % 3 for index in range(size - size // 2)]
        rows[split] += [_program_row(rng, length, seen) for length in lengths]
        rng.shuffle(rows[split])
    return rows


def _takes_a_variable(operation: Operation) -> bool:
    return any(slot in sample_checks.VARIABLES for slot in sample_checks.fields(operation.code))


def _function_row(rng: random.Random, operation: Operation, result: str, seen: set) -> dict:
    """An operation as a short function."""
    name = _function_name(rng)
    style = styles.function(lambda _: name, _OPENING, result)
    phrasings = [each for each in operation.intents if each.split()[0] not in ("what", "which", "how", "where")]

    def attempt() -> tuple[Filled, Check] | None:
        filled = sample_checks.fill(rng, operation, rng.choice(phrasings))
        if filled.intent in seen or name in filled.variables:
            return None
        check = sample_checks.after_calls(rng, filled, answer_for(filled), name, CALLS) if operation.runs else Check()
        return (filled, check) if check else None

    def answer_for(filled: Filled) -> Callable[[str], str]:
        return lambda code: style("", code, ", ".join(filled.variables), operation.statement)[1]

    filled, check = _until(attempt, operation.code)
    seen.add(filled.intent)
    return {
        "nl": _OPENING.format(name=name, intent=filled.intent),
        "cmd": answer_for(filled)(filled.code),
        "test_setup_code": check.setup,
        "test_list": list(check.tests),
    }


def _program_row(rng: random.Random, length: int, seen: set) -> dict:
    """A problem of several steps as a function."""
    problem, lists = _problem(rng, length, shortest=0, seen=seen)
    name = _function_name(rng)
    question, code = programs.call_based(problem, name)
    values = zip(lists, sample_checks.outputs(problem, lists), strict=True)
    tests = [f"assert {name}({numbers}) == {value}" for numbers, value in values]
    return {"nl": question, "cmd": code, "test_setup_code": "", "test_list": tests}


def _apps(rng: random.Random) -> Rows:
    seen: set = set()
    rows = {}
    for split, size in SIZES.items():
        difficulties = list(DIFFICULTIES) * -(-size // 3)
        kinds = [(difficulties[index], index // 3 % 2 == 0) for index in range(size)]
        rng.shuffle(kinds)
        rows[split] = [_apps_row(rng, difficulty, by_call, seen) for difficulty, by_call in kinds]
    return rows


def _apps_row(rng: random.Random, difficulty: str, by_call: bool, seen: set) -> dict:
    problem, lists = _problem(rng, DIFFICULTIES[difficulty], shortest=0 if by_call else 1, seen=seen)
    values = sample_checks.outputs(problem, lists)
    if by_call:
        name = _function_name(rng)
        question, code = programs.call_based(problem, name)
        tests: dict = {"fn_name": name, "inputs": [[numbers] for numbers in lists], "outputs": values}
    else:
        question, code = programs.standard_input(problem)
        inputs = [" ".join(map(str, numbers)) + "\n" for numbers in lists]
        tests = {"inputs": inputs, "outputs": [f"{value}\n" for value in values]}
    return {
        "problem_id": len(seen) - 1,
        "question": question,
        "solutions": json.dumps([code]),
        "input_output": json.dumps(tests),
        "difficulty": difficulty,
        "url": "",
        "starter_code": f"def {name}(xs):" if by_call else "",
    }


def _problem(rng: random.Random, length: int, *, shortest: int, seen: set) -> tuple[programs.Problem, list[list[int]]]:
    """A problem whose solution was not asked for before, with five inputs."""

    def attempt() -> tuple[programs.Problem, list[list[int]]] | None:
        stages, ends = programs.KNOWN_STAGES + programs.NEW_STAGES, programs.KNOWN_ENDS + programs.NEW_ENDS
        problem = programs.problem(rng, stages=stages, ends=ends, length=length)
        if (problem.stages, problem.end) in seen:
            return None
        lists = sample_checks.telling_lists(rng, problem, shortest)
        return (problem, lists) if lists else None

    problem, lists = _until(attempt, f"a problem of length {length}")
    seen.add((problem.stages, problem.end))
    return problem, lists


def _function_name(rng: random.Random) -> str:
    name = styles.rng_name(rng)
    while keyword.iskeyword(name) or hasattr(builtins, name):
        name = styles.rng_name(rng)
    return name


def _choose(
    rng: random.Random, groups: tuple[Group, ...], fits: Callable[[Operation], bool]
) -> tuple[dict[Operation, float], list[Operation]]:
    """The task's operations with the share of each in the rows; beside them four that only its test split has."""
    shares: dict[Operation, float] = {}
    absent = []
    for group in groups:
        candidates = [each for each in group.operations if each.statement == group.statement and fits(each)]
        drawn = rng.sample(candidates, group.chosen + (0 if group.statement else 2))
        tail = [1 / (rank + 2) for rank in range(group.chosen)]  # a mild long tail
        shares |= {drawn[rank]: group.share * weight / sum(tail) for rank, weight in enumerate(tail)}
        absent += drawn[group.chosen :]
    return shares, absent


def _spread(shares: dict[Operation, float], rows: int) -> list[Operation]:
    """One operation a row, each as often as its share says, by largest remainder."""
    counts = {operation: int(rows * share) for operation, share in shares.items()}
    by_remainder = sorted(shares, key=lambda operation: counts[operation] - rows * shares[operation])
    for operation in by_remainder[: rows - sum(counts.values())]:
        counts[operation] += 1
    return [operation for operation, count in counts.items() for _ in range(count)]


def _until(attempt: Callable, what: str):
    """The first attempt that gives something."""
    for _ in range(_TRIES):
        found = attempt()
        if found:
            return found
    raise RuntimeError(f"no checkable row in {_TRIES} attempts for {what}")


TASKS: dict[str, Callable[[random.Random], Rows]] = {
    "conala-mini": _conala,
    "codealpaca-mini": _codealpaca,
    "apps-mini": _apps,
}

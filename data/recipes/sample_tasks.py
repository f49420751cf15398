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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nblib import files
from nblib.tasks.checks import alike, word_set
from recipes import questions, sample_checks
from recipes.questions import KNOWN, NEW, SAMPLE_REQUEST, VARIABLES, Operation, Problem, Question
from recipes.sample_checks import Check

SIZES = {"train": 800, "validation": 100, "test": 200}  # rows
DIFFICULTIES = {"introductory": 1, "interview": 2, "competition": 3}  # steps before the last one
TEST_ONLY_ROWS = 2  # test rows for each operation that the other splits lack
CALLS = 3  # assertions for each short function
_MAX_DRAWS = 1000  # of a row
_INTERROGATIVES = ("what", "which", "how", "where")
_TYPES = {"l": "list", "w": "list", "s": "str", "q": "str", "x": "str", "d": "dict"}  # of what methods are called on
_PLAN: dict = questions.table("sample_tasks")  # share of the rows and number of operations, by task, group and kind

Rows = dict[str, list[dict]]  # split -> rows
Seen = dict[str, Any]  # intent of a row -> solution of a problem


def make(task: str, seed: int) -> Rows:
    """The rows of a sample task by split; the same for the same seed, byte for byte."""
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r}")
    return TASKS[task](random.Random(f"{task} {seed}"))


def write(folder: Path, seed: int) -> None:
    """Writes all sample tasks as `folder/<task>/<split>.jsonl`."""
    for task in TASKS:
        for split, rows in make(task, seed).items():
            text = "".join(json.dumps(row) + "\n" for row in rows)
            files.write(Path(folder) / task / f"{split}.jsonl", text)


def _conala(rng: random.Random) -> Rows:
    house, seen, rows = questions.house_style(rng, "line"), Seen(), {}
    shares, test_only = _choose(rng, "conala-mini", lambda operation: bool(operation.slots))
    for split, size in SIZES.items():
        extra = test_only * TEST_ONLY_ROWS if split == "test" else []
        operations = _spread(shares, size - len(extra)) + extra
        rng.shuffle(operations)
        rows[split] = [_conala_row(rng, operation, house, seen) for operation in operations]
    return rows


def _conala_row(rng: random.Random, operation: Operation, house: dict[str, str], seen: Seen) -> dict:
    template = house[operation.subject]
    check_question = partial(sample_checks.line_check, rng, template=template)
    intent, question, check = _question(rng, operation, operation.phrasings, seen, check_question)
    kinds = {"VAR_STR": VARIABLES, "'VAR_STR'": ("q", "q2", "k", "f")}
    placeholders = {slot: placeholder for placeholder, slots in kinds.items() for slot in slots}
    canonical = operation.code.format_map(question.fillings | placeholders)  # of every name and text, not of numbers
    return {
        "question_id": f"{(KNOWN + NEW).index(operation) + 1}-{len(seen)}",
        "nl": intent,
        "cmd": questions.written(question, question.code, template),
        "cmd_name": "conala",
        "oracle_man": _manual_entries(operation),
        "canonical_cmd": questions.written(question, canonical, template),
        "test_setup_code": check.setup,
        "test_list": list(check.tests),
        "operation": operation.code,
        "known": operation in KNOWN,
    }


def _manual_entries(operation: Operation) -> list[str]:
    """The functions that the code calls, spelled like DocPrompting's manual entries; derived, not looked up."""
    tree = ast.parse(operation.code.format_map({slot: slot for slot in operation.slots}))
    called = [_dotted(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return list(dict.fromkeys(_manual_entry(name) for name in called))


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Call):
        return "io.TextIOBase" if _dotted(node.func) == "open" else _dotted(node.func)
    return _TYPES.get(node.id, node.id) if isinstance(node, ast.Name) else "str"  # no other literal has methods here


def _manual_entry(name: str) -> str:
    pages = [page for page in (*questions.MODULES, "os.path", "io") if name.startswith(f"{page}.")]
    page = max(pages, key=len) if pages else "stdtypes" if "." in name else "functions"
    return f"python.library.{page}#{name}"


def _codealpaca(rng: random.Random) -> Rows:
    house, seen, rows = questions.house_style(rng, "function"), Seen(), {}
    shares, _ = _choose(rng, "codealpaca-mini", lambda operation: not set(VARIABLES).isdisjoint(operation.slots))
    for split, size in SIZES.items():
        rows[split] = [_function_row(rng, operation, house, seen) for operation in _spread(shares, size // 2)]
        rows[split] += [_program_row(rng, 1 + index % 3, seen) for index in range(size - size // 2)]
        rng.shuffle(rows[split])
    return rows


def _function_row(rng: random.Random, operation: Operation, house: dict[str, str], seen: Seen) -> dict:
    """An operation as a short function."""
    name, template = _function_name(rng), house[operation.subject]
    imperative = [phrase for phrase in operation.phrasings if phrase.split()[0] not in _INTERROGATIVES]
    check_question = partial(sample_checks.function_check, rng, name=name, template=template, calls=CALLS)
    intent, question, check = _question(rng, operation, imperative, seen, check_question, name)
    return {
        "nl": intent,
        "cmd": questions.define(question, questions.written(question, question.code, template), name),
        "test_setup_code": check.setup,
        "test_list": list(check.tests),
    }


def _program_row(rng: random.Random, length: int, seen: Seen) -> dict:
    """A problem of several steps as a function."""
    name = _function_name(rng)
    question, code, examples = _problem(rng, length, partial(questions.call_based, name=name), shortest=0, seen=seen)
    tests = [f"assert {name}({xs}) == {value}" for xs, value in examples]
    return {"nl": question, "cmd": code, "test_setup_code": "", "test_list": tests}


def _apps(rng: random.Random) -> Rows:
    seen, rows, names = Seen(), {}, list(DIFFICULTIES)
    for split, size in SIZES.items():
        kinds = [(names[index % 3], index // 3 % 2 == 0) for index in range(size)]
        rng.shuffle(kinds)
        rows[split] = [_apps_row(rng, difficulty, by_call, seen) for difficulty, by_call in kinds]
    return rows


def _apps_row(rng: random.Random, difficulty: str, by_call: bool, seen: Seen) -> dict:
    name, shortest = (_function_name(rng), 0) if by_call else ("", 1)
    write = partial(questions.call_based, name=name) if by_call else questions.standard_input
    question, code, examples = _problem(rng, DIFFICULTIES[difficulty], write, shortest=shortest, seen=seen)
    inputs: list = [[xs] if by_call else " ".join(map(str, xs)) + "\n" for xs, _ in examples]
    tests = {"inputs": inputs, "outputs": [value if by_call else f"{value}\n" for _, value in examples]}
    return {
        "problem_id": len(seen) - 1,
        "question": question,
        "solutions": json.dumps([code]),
        "input_output": json.dumps({"fn_name": name} | tests if by_call else tests),
        "difficulty": difficulty,
        "url": "",
        "starter_code": f"def {name}(xs):" if by_call else "",
    }


def _question(
    rng: random.Random,
    operation: Operation,
    phrasings: Sequence[str],
    seen: Seen,
    check_question: Callable[[Question], Check | None],
    name: str = "",
) -> tuple[str, Question, Check]:
    """An intent unlike all before, its operation and check; it wants a function if that has a `name`."""
    for _ in range(_MAX_DRAWS):
        question = questions.ask(rng, operation, rng.choice(phrasings))
        intent = SAMPLE_REQUEST.format(name=name, intent=question.intent) if name else question.intent
        texts = (intent, question.intent)  # another name does not make a function new
        if name in question.variables or not all(_is_new(text, seen) for text in texts):
            continue
        if check := check_question(question) if operation.checkable else Check():
            seen |= dict.fromkeys(texts)
            return intent, question, check
    raise RuntimeError(f"no checkable row in {_MAX_DRAWS} draws of {operation.code}")


def _problem(
    rng: random.Random, length: int, write: Callable[[Problem], tuple[str, str]], *, shortest: int, seen: Seen
) -> tuple[str, str, list[tuple[list[int], int]]]:
    """The intent of a problem unlike all before, its solution, which none of them has, and five inputs and outputs."""
    for _ in range(_MAX_DRAWS):
        problem = questions.problem(rng, length, new=True)
        solution, (intent, code) = (problem.stages, problem.end), write(problem)
        if solution in seen.values() or not _is_new(intent, seen):
            continue
        if examples := sample_checks.sharp_examples(rng, problem, shortest):
            seen[intent] = solution
            return intent, code, examples
    raise RuntimeError(f"no checkable row in {_MAX_DRAWS} draws of a problem of length {length}")


def _is_new(intent: str, seen: Seen) -> bool:
    return not any(alike(word_set(intent), word_set(other)) for other in seen)


def _function_name(rng: random.Random) -> str:
    name = questions.function_name(rng)
    return _function_name(rng) if keyword.iskeyword(name) or hasattr(builtins, name) else name


def _choose(
    rng: random.Random, task: str, fits: Callable[[Operation], bool]
) -> tuple[dict[Operation, float], list[Operation]]:
    """The task's operations with the share of each in the rows, and four further ones that only its test split has."""
    shares: dict[Operation, float] = {}
    test_only = []
    for (group, kind), operations in questions.GROUPS.items():
        plan = _PLAN[task][group][kind]
        count = plan["operations"]
        drawn = rng.sample([operation for operation in operations if fits(operation)], count + plan["test_only"])
        tail = [1 / (rank + 2) for rank in range(count)]  # a mild long tail
        shares |= {drawn[rank]: plan["share"] * weight / sum(tail) for rank, weight in enumerate(tail)}
        test_only += drawn[count:]
    return shares, test_only


def _spread(shares: dict[Operation, float], rows: int) -> list[Operation]:
    """One operation a row, each as often as its share says, by largest remainder."""
    counts = {operation: int(rows * share) for operation, share in shares.items()}
    by_remainder = sorted(shares, key=lambda operation: counts[operation] - rows * shares[operation])
    for operation in by_remainder[: rows - sum(counts.values())]:
        counts[operation] += 1
    return [operation for operation, count in counts.items() for _ in range(count)]


TASKS: dict[str, Callable[[random.Random], Rows]] = {
    "conala-mini": _conala,
    "codealpaca-mini": _codealpaca,
    "apps-mini": _apps,
}

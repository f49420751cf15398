"""The sample tasks: made again from their seed, the same in form as the real ones, and told right from wrong."""

import contextlib
import io
import json
import re
import string
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from nblib.tools import __main__ as command
from nblib.tools import recipes, sample_tasks
from nblib.tools.recipes import KNOWN, NEW

SHIPPED = Path(__file__).parents[1] / "data" / "tasks"
ROWS = sum(sample_tasks.SIZES.values())
OPERATIONS = {operation.code: operation for operation in KNOWN + NEW}
COLUMNS = {
    "conala-mini": "question_id nl cmd cmd_name oracle_man canonical_cmd test_setup_code test_list operation known",
    "codealpaca-mini": "nl cmd test_setup_code test_list",
    "apps-mini": "problem_id question solutions input_output difficulty url starter_code",
}


@cache
def splits_of(task):
    return {
        split: [json.loads(line) for line in (SHIPPED / task / f"{split}.jsonl").read_text("utf-8").splitlines()]
        for split in sample_tasks.SIZES
    }


def rows_of(task):
    return [row for rows in splits_of(task).values() for row in rows]


def passes(*sources):
    """Whether code of this repository survives its assertions."""
    namespace = {}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for source in sources:
                exec(source, namespace)
    except Exception:
        return False
    return True


def test_the_command_writes_the_shipped_files_byte_for_byte(tmp_path):
    command.main(["tasks", "--folder", str(tmp_path)])
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    shipped = {path.relative_to(SHIPPED): path.read_bytes() for path in SHIPPED.rglob("*") if path.is_file()}
    assert len(shipped) == 9
    assert made == shipped


def test_tasks_are_made_without_torch():
    code = "import sys; from nblib.tools import __main__, sample_tasks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("task", sample_tasks.TASKS)
def test_a_task_has_its_counts_the_columns_of_the_real_one_and_asks_nothing_twice(task):
    assert {split: len(rows) for split, rows in splits_of(task).items()} == sample_tasks.SIZES
    assert {" ".join(row) for row in rows_of(task)} == {COLUMNS[task]}
    asked = [row.get("nl") or row["question"] for row in rows_of(task)]
    asked = [re.sub(r"`\w+`, which|named `\w+`|\n.*", "", text, flags=re.S) for text in asked]
    assert [text for text, count in Counter(asked).items() if count > 1] == []


def test_another_seed_is_another_task_that_is_as_sharp():
    made = sample_tasks.make("conala-mini", 1)
    assert {split: len(rows) for split, rows in made.items()} == sample_tasks.SIZES
    shared = {row["nl"] for row in made["train"]} & {row["nl"] for row in rows_of("conala-mini")}
    assert len(shared) < 0.2 * ROWS
    checked = [row for row in made["test"] if row["test_list"]]
    assert [row["cmd"] for row in checked if not _passes_row(row, row["cmd"])] == []


class TestConalaMini:
    def test_references_pass_their_checks_and_wrong_answers_fail(self):
        checked = [row for row in rows_of("conala-mini") if row["test_list"]]
        assert len(checked) > 0.85 * ROWS  # effects that depend on the machine go unchecked
        assert [row["cmd"] for row in checked if not _passes_row(row, row["cmd"])] == []
        assert [row["cmd"] for row in checked if _passes_row(row, "pass")] == []
        wrong = [(row, code) for row in splits_of("conala-mini")["test"] for code in _other_answers(row)]
        passed = [(row["cmd"], code) for row, code in wrong if _passes_row(row, code)]
        assert len(wrong) > 1000
        assert len(passed) < 0.02 * len(wrong), passed

    def test_half_is_known_and_operations_of_the_test_split_occur_in_train_but_for_eight_rows(self):
        splits = splits_of("conala-mini")
        for rows in splits.values():
            assert all(row["known"] == (OPERATIONS[row["operation"]] in KNOWN) for row in rows)
            assert 0.45 <= sum(row["known"] for row in rows) / len(rows) <= 0.55
        train = Counter(row["operation"] for row in splits["train"])
        assert len(train) == 48
        assert max(train.values()) >= max(50, 8 * min(train.values()))
        assert sorted(train[row["operation"]] for row in splits["test"])[:9] == [0] * 8 + [min(train.values())]

    def test_expressions_are_assigned_to_one_name_and_canonical_code_names_no_variable(self):
        expressions = [row for row in rows_of("conala-mini") if not OPERATIONS[row["operation"]].statement]
        names = {row["cmd"].split(" = ")[0] for row in expressions}
        assert len(names) == 1
        assert names < set(recipes.WORDS["answer_names"])
        row = next(row for row in expressions if row["operation"] == "{s}.partition({q})")
        assert row["canonical_cmd"].endswith(" = VAR_STR.partition('VAR_STR')")
        assert row["oracle_man"] == ["python.library.stdtypes#str.partition"]


def _passes_row(row, code):
    return passes(row["test_setup_code"], code, *row["test_list"])


def _pattern(template):
    """A regular expression with a group for each slot."""
    pattern, seen = "", set()
    for text, slot, _, _ in string.Formatter().parse(template):
        pattern += re.escape(text)
        if slot:
            pattern += f"(?P={slot})" if slot in seen else f"(?P<{slot}>.+?)"
            seen.add(slot)
    return pattern


def _other_answers(row):
    """The row's answer with every other operation that fits its names and literals."""
    if not row["test_list"]:
        return []
    names = "|".join(recipes.WORDS["answer_names"])
    found = re.fullmatch(rf"((?:{names}) = )?{_pattern(row['operation'])}", row["cmd"])
    return [
        (found[1] or "") + other.code.format_map(found.groupdict())
        for other in KNOWN + NEW
        if other.checkable and other.code != row["operation"] and set(other.slots) <= set(found.groupdict())
        if other.statement == (found[1] is None) and "permutations" not in other.code
    ]


def test_functions_of_codealpaca_mini_pass_their_checks_which_call_them():
    rows = [row for row in rows_of("codealpaca-mini") if row["test_list"]]
    assert len(rows) > 0.93 * ROWS
    assert [row["cmd"] for row in rows if not _passes_row(row, row["cmd"])] == []
    assert all(f"{_function(row)}(" in test for row in rows for test in row["test_list"])


def _function(row):
    return re.match(r"def (\w+)\(", row["cmd"])[1]


class TestAppsMini:
    def test_solutions_give_the_outputs_and_a_dropped_step_or_another_end_fails(self):
        problems = [_problem(row) for row in rows_of("apps-mini")]
        assert all(len(tests["inputs"]) == len(tests["outputs"]) == 5 for _, tests in problems)
        assert [solution for solution, tests in problems if not _solves(solution, tests)] == []
        for solution, tests in map(_problem, splits_of("apps-mini")["test"]):
            assert [code for code in _broken(solution) if _solves(code, tests)] == []

    def test_difficulties_are_numbers_of_steps_and_as_frequent_as_kinds(self):
        for rows in splits_of("apps-mini").values():
            steps = {(row["difficulty"], _problem(row)[0].count("\n") - 1) for row in rows}
            assert steps == {("introductory", 1), ("interview", 2), ("competition", 3)}
            counts = Counter((row["difficulty"], bool(row["starter_code"])) for row in rows)
            assert len(counts) == 6
            assert max(counts.values()) - min(counts.values()) <= 1


def _problem(row):
    (solution,) = json.loads(row["solutions"])
    return solution, json.loads(row["input_output"])


def _solves(code, tests):
    """Whether a program of this repository gives every output of an APPS problem."""
    pairs = zip(tests["inputs"], tests["outputs"], strict=True)
    compiled = compile(code, "<solution>", "exec")
    return all(_output(compiled, tests, given) == value for given, value in pairs)


def _output(code, tests, given):
    printed, namespace = io.StringIO(), {"input": lambda: given.splitlines()[0]}
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
            return namespace[tests["fn_name"]](*given) if "fn_name" in tests else printed.getvalue()
    except Exception:
        return None


def _broken(solution):
    """The solution without each of its steps, and with each other end."""
    first, *steps, last = solution.splitlines()
    for index in range(len(steps)):
        yield "\n".join([first, *steps[:index], *steps[index + 1 :], last])
    for end in recipes.KNOWN_ENDS + recipes.NEW_ENDS:
        changed = f"    return {end.code}" if first.startswith("def") else f"print({end.code})"
        if changed != last:
            yield "\n".join([first, *steps, changed])

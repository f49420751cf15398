"""The sample tasks: the shipped files byte for byte, and tasks of another seed the same in form and as sharp."""

import re
import string
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from nblib import tasks
from nblib.metrics import scores as text
from nblib.tools import __main__ as command
from recipes import questions, sample_tasks
from recipes.questions import KNOWN, NEW

SHIPPED = Path(__file__).parents[1] / "data" / "tasks"
COLUMNS = {
    "conala-mini": "question_id nl cmd cmd_name oracle_man canonical_cmd test_setup_code test_list operation known",
    "codealpaca-mini": "nl cmd test_setup_code test_list",
    "apps-mini": "problem_id question solutions input_output difficulty url starter_code",
}


@cache
def made(task):
    """The rows of another seed than the shipped one's, by split."""
    return sample_tasks.make(task, 1)


def passes(*sources):
    """Whether code of this repository survives its assertions."""
    namespace = {}
    try:
        for source in sources:
            exec(source, namespace)
    except Exception:
        return False
    return True


def passes_row(row, code):
    return passes(row["test_setup_code"], code, *row["test_list"])


def test_the_command_writes_the_shipped_files_byte_for_byte(tmp_path):
    command.main(["tasks", "--folder", str(tmp_path)])
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    shipped = {path.relative_to(SHIPPED): path.read_bytes() for path in SHIPPED.rglob("*") if path.is_file()}
    assert len(shipped) == 11
    assert written == shipped


def test_tasks_are_made_without_torch():
    code = "import sys; sys.path.append('data'); from recipes import sample_tasks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=SHIPPED.parents[1], check=True)


@pytest.mark.parametrize("task", sample_tasks.TASKS)
def test_a_task_has_its_counts_the_columns_of_the_real_one_and_asks_nothing_twice(task):
    assert {split: len(rows) for split, rows in made(task).items()} == sample_tasks.SIZES
    every = [row for rows in made(task).values() for row in rows]
    assert {" ".join(row) for row in every} == {COLUMNS[task]}
    questions = [row.get("nl") or row["question"] for row in every]
    questions = [re.sub(r"`\w+`, which|named `\w+`|\n.*", "", text, flags=re.S) for text in questions]
    assert [text for text, count in Counter(questions).items() if count > 1] == []


@pytest.mark.parametrize("task", sample_tasks.TASKS)
def test_no_intent_of_a_split_is_nearly_one_of_another(task):
    overlaps = tasks.checks(tasks.load(task))["overlaps"]
    assert [(pair["exact"], pair["normalized"], pair["near"]) for pair in overlaps] == [(0, 0, 0)] * 3


def test_what_is_done_with_a_value_follows_what_the_operation_works_on():
    operations, styles = {operation.code: operation for operation in KNOWN + NEW}, {}
    for row in [row for rows in made("conala-mini").values() for row in rows]:
        operation = operations[row["operation"]]
        subject = "statements" if operation.statement else operation.subject
        styles.setdefault(subject, set()).add(text.apart(row["cmd"])[1])
    assert styles.pop("statements") == {"…"}
    assert sorted(styles) == ["lists", "others", "texts"]
    (first, second, last) = sorted(style for (style,) in styles.values())
    assert (first == second, first.removesuffix(" = …") in questions.WORDS["answer_names"], last) == (
        True,
        True,
        "print(…)",
    )


def test_wrong_answers_fail_and_half_of_the_operations_are_known_to_the_embedded_model():
    rows = made("conala-mini")["test"]
    wrong = [(row, code) for row in rows for code in _other_answers(row)]
    passed = [(row["cmd"], code) for row, code in wrong if passes_row(row, code)]
    assert len(wrong) > 1000
    assert len(passed) < 0.02 * len(wrong), passed
    known = {operation.code for operation in KNOWN}
    assert all(row["known"] == (row["operation"] in known) for row in rows)
    assert 0.45 <= sum(row["known"] for row in rows) / len(rows) <= 0.55


def _pattern(template):
    """A regular expression with a group for each slot."""
    pattern, seen = "", set()
    for literal, slot, _, _ in string.Formatter().parse(template):
        pattern += re.escape(literal)
        if slot:
            pattern += f"(?P={slot})" if slot in seen else f"(?P<{slot}>.+?)"
            seen.add(slot)
    return pattern


def _other_answers(row):
    """The row's answer with every other operation that fits its names and literals."""
    if not row["test_list"]:
        return []
    expression, style = text.apart(row["cmd"])
    found = re.fullmatch(_pattern(row["operation"]), expression)
    return [
        style.replace("…", other.code.format_map(found.groupdict()))
        for other in KNOWN + NEW
        if other.checkable and other.code != row["operation"] and set(other.slots) <= set(found.groupdict())
        if other.statement == (style == "…") and "permutations" not in other.code
    ]

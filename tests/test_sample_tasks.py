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
SEED = 42  # of the shipped files, which are read; those of another seed are made
SEEDS = (SEED, 1)
ROWS = sum(sample_tasks.SIZES.values())
OPERATIONS = {operation.code: operation for operation in KNOWN + NEW}
COLUMNS = {
    "conala-mini": "question_id nl cmd cmd_name oracle_man canonical_cmd test_setup_code test_list operation known",
    "codealpaca-mini": "nl cmd test_setup_code test_list",
    "apps-mini": "problem_id question solutions input_output difficulty url starter_code",
}


@cache
def splits_of(task, seed=SEED):
    if seed != SEED:
        return sample_tasks.make(task, seed)
    return {split: [*map(json.loads, _lines(task, split))] for split in sample_tasks.SIZES}


def _lines(task, split):
    return (SHIPPED / task / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()


def rows_of(task, seed=SEED):
    return [row for rows in splits_of(task, seed).values() for row in rows]


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


class TestTheCommand:
    def test_writes_the_shipped_files_byte_for_byte(self, tmp_path):
        command.main(["tasks", "--seed", str(SEED), "--folder", str(tmp_path)])
        made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        shipped = {path.relative_to(SHIPPED): path.read_bytes() for path in SHIPPED.rglob("*") if path.is_file()}
        assert len(shipped) == 9
        assert made == shipped

    def test_makes_tasks_without_torch(self):
        code = "import sys; from nblib.tools import __main__, sample_tasks; assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_an_unknown_task_is_said_with_what_is_allowed(self):
        with pytest.raises(ValueError, match="task must be one of conala-mini, codealpaca-mini, apps-mini; got 'mbpp'"):
            sample_tasks.make("mbpp", 42)


@pytest.mark.parametrize("task", sample_tasks.TASKS)
class TestEveryTask:
    def test_has_its_counts_and_the_columns_of_the_real_one(self, task):
        assert {split: len(rows) for split, rows in splits_of(task, 1).items()} == sample_tasks.SIZES
        assert {" ".join(row) for seed in SEEDS for row in rows_of(task, seed)} == {COLUMNS[task]}

    def test_rows_have_identifiers_of_their_own(self, task):
        names = ("question_id", "problem_id", "cmd")
        identifiers = {next(row[name] for name in names if name in row) for row in rows_of(task)}
        assert len(identifiers) == ROWS

    @pytest.mark.parametrize("seed", SEEDS)
    def test_asks_nothing_twice(self, task, seed):
        asked = [re.sub(r"`\w+`, which|named `\w+`|\n.*", "", _asked(row), flags=re.S) for row in rows_of(task, seed)]
        assert [text for text, count in Counter(asked).items() if count > 1] == []

    def test_is_another_one_for_another_seed(self, task):
        shared = {_asked(row) for row in rows_of(task, 1)} & {_asked(row) for row in rows_of(task)}
        assert len(shared) < 0.2 * ROWS


def _asked(row):
    return row.get("nl") or row["question"]


@pytest.mark.parametrize("seed", SEEDS)
class TestConalaMini:
    def test_references_pass_their_checks_and_doing_nothing_fails(self, seed):
        checked = [row for row in rows_of("conala-mini", seed) if row["test_list"]]
        assert [row["cmd"] for row in checked if not _passes_row(row, row["cmd"])] == []
        assert [row["cmd"] for row in checked if _passes_row(row, "pass")] == []

    def test_only_effects_that_depend_on_the_machine_go_unchecked(self, seed):
        rows = rows_of("conala-mini", seed)
        assert all(bool(row["test_list"]) == OPERATIONS[row["operation"]].checkable for row in rows)
        assert sum(bool(row["test_list"]) for row in rows) > 0.85 * len(rows)

    def test_wrong_answers_fail(self, seed):
        wrong = [(row, code) for row in splits_of("conala-mini", seed)["test"] for code in _other_answers(row)]
        passed = [(row["cmd"], code) for row, code in wrong if _passes_row(row, code)]
        assert len(wrong) > 1000
        assert len(passed) < 0.02 * len(wrong), passed

    def test_half_is_known_to_the_embedded_model(self, seed):
        for rows in splits_of("conala-mini", seed).values():
            assert all(row["known"] == (OPERATIONS[row["operation"]] in KNOWN) for row in rows)
            assert 0.45 <= sum(row["known"] for row in rows) / len(rows) <= 0.55

    def test_operations_have_a_long_tail_and_those_of_the_test_split_occur_in_train_but_for_eight_rows(self, seed):
        splits = splits_of("conala-mini", seed)
        train = Counter(row["operation"] for row in splits["train"])
        assert len(train) == 48
        assert max(train.values()) >= max(50, 8 * min(train.values()))
        assert sorted(train[row["operation"]] for row in splits["test"])[:9] == [0] * 8 + [min(train.values())]
        assert {row["operation"] for row in splits["validation"]} <= set(train)

    def test_expressions_are_assigned_to_one_name_and_statements_are_bare(self, seed):
        rows = rows_of("conala-mini", seed)
        expressions = [row for row in rows if not OPERATIONS[row["operation"]].statement]
        names = {row["cmd"].split(" = ")[0] for row in expressions}
        assert len(names) == 1
        assert names < set(recipes.WORDS["answer_names"])
        assert 0.8 <= len(expressions) / len(rows) <= 0.85

    def test_the_phrasing_kept_from_pre_training_is_used_in_train_and_test(self, seed):
        for split in ("train", "test"):
            rows = splits_of("conala-mini", seed)[split]
            kept = [re.fullmatch(_pattern(OPERATIONS[row["operation"]].phrasings[-1]), row["nl"]) for row in rows]
            assert 0.2 < sum(map(bool, kept)) / len(rows) < 0.45


def test_canonical_code_names_no_variable():
    row = next(row for row in rows_of("conala-mini") if row["operation"] == "{s}.partition({q})")
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


class TestCodealpacaMini:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_references_pass_their_checks_which_call_the_function(self, seed):
        checked = [row for row in rows_of("codealpaca-mini", seed) if row["test_list"]]
        assert [row["cmd"] for row in checked if not _passes_row(row, row["cmd"])] == []
        assert all(f"{_function(row)}(" in test for row in checked for test in row["test_list"])
        assert len(checked) > 0.93 * ROWS

    def test_half_are_operations_and_half_are_problems_of_several_steps(self):
        for rows in splits_of("codealpaca-mini").values():
            assert sum(row["nl"].startswith("Implement a Python function") for row in rows) * 2 == len(rows)

    def test_wrong_answers_fail(self):
        rows = [row for row in splits_of("codealpaca-mini")["test"] if row["test_list"]]
        others = [row for row in rows if "itertools" not in row["cmd"]]  # a long text has too many permutations
        pairs = [(row, other) for row in rows for other in others if row is not other and _takes(row) == _takes(other)]
        passed = [(row["cmd"], other["cmd"]) for row, other in pairs[::7] if _passes_instead(row, other)]
        assert len(pairs[::7]) > 1000
        assert len(passed) < 0.02 * len(pairs[::7]), passed

    def test_functions_have_names_of_their_own(self):
        assert not any(passes(_function(row)) for row in rows_of("codealpaca-mini"))


def _function(row):
    return re.match(r"def (\w+)\(", row["cmd"])[1]


def _takes(row):
    return row["cmd"].splitlines()[0].count(",")


def _passes_instead(row, other):
    """Whether another row's function, under this row's name, passes this row's checks."""
    setup = row["test_setup_code"] + "\n" + other["test_setup_code"]
    return passes(setup, f"{other['cmd']}\n{_function(row)} = {_function(other)}", *row["test_list"])


class TestAppsMini:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_solutions_give_the_outputs(self, seed):
        problems = [_problem(row) for row in rows_of("apps-mini", seed)]
        assert all(len(tests["inputs"]) == len(tests["outputs"]) == 5 for _, tests in problems)
        assert [solution for solution, tests in problems if not _solves(solution, tests)] == []

    def test_a_dropped_step_or_another_end_fails(self):
        for row in splits_of("apps-mini")["test"]:
            solution, tests = _problem(row)
            assert [code for code in _broken(solution) if _solves(code, tests)] == []

    def test_the_solution_of_another_problem_fails(self):
        rows = [_problem(row) for row in splits_of("apps-mini")["test"] if not row["starter_code"]]
        passed = [(solution, code) for solution, tests in rows for code, _ in rows[::3] if _solves(code, tests)]
        assert len(passed) - len(rows[::3]) < 0.005 * len(rows) * len(rows[::3])

    def test_difficulties_are_numbers_of_steps_and_as_frequent_as_kinds(self):
        for rows in splits_of("apps-mini").values():
            steps = [(row["difficulty"], _problem(row)[0].count("\n") - 1) for row in rows]
            assert set(steps) == {("introductory", 1), ("interview", 2), ("competition", 3)}
            counts = Counter((row["difficulty"], "fn_name" in row["input_output"]) for row in rows)
            assert len(counts) == 6
            assert max(counts.values()) - min(counts.values()) <= 1

    def test_standard_input_has_a_number_and_calls_also_get_no_number(self):
        inputs = {True: [], False: []}
        for row in rows_of("apps-mini"):
            inputs[row["starter_code"] != ""] += _problem(row)[1]["inputs"]
        assert all(text.split() for text in inputs[False])
        assert [[]] in inputs[True]
        assert any("-" in text for text in inputs[False])

    def test_starter_code_goes_with_the_function_name(self):
        for row in rows_of("apps-mini"):
            name = _problem(row)[1].get("fn_name")
            assert row["starter_code"] == (f"def {name}(xs):" if name else "")

    def test_known_and_new_steps_are_mixed(self):
        new = [step.code for step in recipes.NEW_STAGES + recipes.NEW_ENDS]
        pattern = "|".join(re.sub(r"\\\{n\\\}", r"\\d+", re.escape(code)) for code in new)
        assert 0.5 < sum(bool(re.search(pattern, _problem(row)[0])) for row in rows_of("apps-mini")) / ROWS < 0.9


def _problem(row):
    (solution,) = json.loads(row["solutions"])
    return solution, json.loads(row["input_output"])


def _solves(code, tests):
    """Whether a program of this repository gives every output of an APPS problem."""
    pairs = zip(tests["inputs"], tests["outputs"], strict=True)
    compiled = compile(code, "<solution>", "exec")
    return all(_output(compiled, tests, given) == value for given, value in pairs)


def _output(code, tests, given):
    printed = io.StringIO()
    namespace = {"input": lambda: given.splitlines()[0]}
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

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

from nblib.tiny import __main__ as command
from nblib.tiny import programs, sample_tasks, words
from nblib.tiny.operations import KNOWN, NEW
from nblib.tiny.sample_checks import fields

SHIPPED = Path(__file__).parents[1] / "data" / "tasks"
SEED = 42
SEEDS = (42, 1, 2)
ROWS = sum(sample_tasks.SIZES.values())
COLUMNS = {
    "conala-mini": "question_id nl cmd cmd_name oracle_man canonical_cmd test_setup_code test_list operation known",
    "codealpaca-mini": "nl cmd test_setup_code test_list",
    "apps-mini": "problem_id question solutions input_output difficulty url starter_code",
}
make = cache(sample_tasks.make)


def rows_of(task, seed=SEED):
    return [row for rows in make(task, seed).values() for row in rows]


def passes(setup, code, tests):
    """Whether code of this repository survives the assertions."""
    namespace = {}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for source in (setup, code, *tests):
                exec(source, namespace)
    except Exception:
        return False
    return True


def solves(code, tests):
    """Whether a program of this repository gives every output of an APPS problem."""
    pairs = zip(tests["inputs"], tests["outputs"], strict=True)
    return all(_answer(code, tests, given) == value for given, value in pairs)


def _answer(code, tests, given):
    printed = io.StringIO()
    namespace = {"input": lambda: given.splitlines()[0]}
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
            return namespace[tests["fn_name"]](*given) if "fn_name" in tests else printed.getvalue()
    except Exception:
        return None


class TestShippedFiles:
    def test_are_what_the_command_writes_byte_for_byte(self, tmp_path):
        command.main(["tasks", "--seed", str(SEED), "--folder", str(tmp_path)])
        made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        shipped = {path.relative_to(SHIPPED): path.read_bytes() for path in SHIPPED.rglob("*") if path.is_file()}
        assert len(shipped) == 9
        assert made == shipped

    def test_come_without_torch(self):
        code = "import sys; from nblib.tiny import __main__, sample_tasks; assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("task", sample_tasks.TASKS)
class TestEveryTask:
    def test_has_its_counts(self, task):
        assert {split: len(rows) for split, rows in make(task, SEED).items()} == {
            "train": 800,
            "validation": 100,
            "test": 200,
        }

    def test_has_the_columns_of_the_real_one(self, task):
        assert {" ".join(row) for row in rows_of(task)} == {COLUMNS[task]}

    @pytest.mark.parametrize("seed", SEEDS)
    def test_asks_nothing_twice(self, task, seed):
        asked = [re.sub(r"`\w+`, which|named `\w+`|\n.*", "", _asked(row), flags=re.S) for row in rows_of(task, seed)]
        assert len(asked) == ROWS
        assert [text for text, count in Counter(asked).items() if count > 1] == []

    def test_is_another_one_for_another_seed(self, task):
        assert not {_asked(row) for row in rows_of(task, 1)} >= {_asked(row) for row in rows_of(task, 2)[:20]}


def _asked(row):
    return row.get("nl") or row["question"]


class TestConalaMini:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_references_pass_their_checks(self, seed):
        checked = [row for row in rows_of("conala-mini", seed) if row["test_list"]]
        assert [row for row in checked if not _passes_row(row, row["cmd"])] == []

    @pytest.mark.parametrize("seed", SEEDS)
    def test_only_effects_that_depend_on_the_machine_go_unchecked(self, seed):
        runs = {operation.code: operation.runs for operation in KNOWN + NEW}
        rows = rows_of("conala-mini", seed)
        assert all(bool(row["test_list"]) == runs[row["operation"]] for row in rows)
        assert sum(bool(row["test_list"]) for row in rows) > 0.85 * len(rows)

    def test_wrong_answers_fail(self):
        wrong = [(row, code) for row in make("conala-mini", SEED)["test"] for code in _other_answers(row)]
        passed = [(row["cmd"], code) for row, code in wrong if _passes_row(row, code)]
        assert len(wrong) > 1000
        assert len(passed) < 0.02 * len(wrong), passed

    def test_doing_nothing_fails(self):
        rows = [row for row in rows_of("conala-mini") if row["test_list"]]
        assert not any(_passes_row(row, "pass") for row in rows)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_half_is_known_to_the_embedded_model(self, seed):
        codes = {operation.code for operation in KNOWN}
        for rows in make("conala-mini", seed).values():
            assert all(row["known"] == (row["operation"] in codes) for row in rows)
            assert 0.45 <= sum(row["known"] for row in rows) / len(rows) <= 0.55

    @pytest.mark.parametrize("seed", SEEDS)
    def test_test_operations_occur_in_train_but_for_a_few_rows(self, seed):
        splits = make("conala-mini", seed)
        train = Counter(row["operation"] for row in splits["train"])
        counts = [train[row["operation"]] for row in splits["test"]]
        assert counts.count(1) == 0
        assert counts.count(0) == 8
        assert {row["operation"] for row in splits["validation"]} <= set(train)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_frequencies_have_a_tail(self, seed):
        counts = Counter(row["operation"] for row in make("conala-mini", seed)["train"]).values()
        assert len(counts) == 48
        assert max(counts) >= 50
        assert min(counts) * 8 <= max(counts)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_expressions_are_assigned_to_one_name_and_statements_are_bare(self, seed):
        statements = {operation.code: operation.statement for operation in KNOWN + NEW}
        rows = rows_of("conala-mini", seed)
        names = {row["cmd"].split(" = ")[0] for row in rows if not statements[row["operation"]]}
        assert len(names) == 1
        assert names < set(words.SAMPLE_STYLE_NAMES)
        assert 0.15 <= sum(statements[row["operation"]] for row in rows) / len(rows) <= 0.2

    def test_the_phrasing_kept_from_pre_training_is_used_in_train_and_test(self):
        for split in ("train", "test"):
            rows = make("conala-mini", SEED)[split]
            assert 0.2 < sum(_matches(row, operation_of(row).intents[-1]) for row in rows) / len(rows) < 0.45

    def test_identifiers_are_unique(self):
        identifiers = [row["question_id"] for row in rows_of("conala-mini")]
        assert len(set(identifiers)) == len(identifiers)

    def test_canonical_code_names_no_variable(self):
        row = next(row for row in rows_of("conala-mini") if row["operation"] == "{s}.partition({q})")
        assert row["canonical_cmd"].endswith(" = VAR_STR.partition('VAR_STR')")
        assert row["oracle_man"] == ["python.library.stdtypes#str.partition"]


def operation_of(row):
    return next(operation for operation in KNOWN + NEW if operation.code == row["operation"])


def _passes_row(row, code):
    return passes(row["test_setup_code"], code, row["test_list"])


def _pattern(template):
    """A regular expression with a group for each slot."""
    pattern, seen = "", set()
    for text, slot, _, _ in string.Formatter().parse(template):
        pattern += re.escape(text)
        if slot:
            pattern += f"(?P={slot})" if slot in seen else f"(?P<{slot}>.+?)"
            seen.add(slot)
    return pattern


def _matches(row, phrasing):
    return re.fullmatch(_pattern(phrasing), row["nl"]) is not None


def _other_answers(row):
    """The row's answer with every other operation that fits its names and literals."""
    if not row["test_list"]:
        return []
    found = re.fullmatch(rf"((?:{'|'.join(words.SAMPLE_STYLE_NAMES)}) = )?{_pattern(row['operation'])}", row["cmd"])
    return [
        (found[1] or "") + other.code.format_map(found.groupdict())
        for other in KNOWN + NEW
        if other.runs and other.code != row["operation"] and set(fields(other.code)) <= set(found.groupdict())
        if other.statement == (found[1] is None) and "permutations" not in other.code
    ]


class TestCodealpacaMini:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_references_pass_their_checks(self, seed):
        checked = [row for row in rows_of("codealpaca-mini", seed) if row["test_list"]]
        assert [row for row in checked if not _passes_row(row, row["cmd"])] == []
        assert len(checked) > 0.93 * ROWS

    def test_half_are_operations_and_half_are_problems_of_several_steps(self):
        for rows in make("codealpaca-mini", SEED).values():
            assert sum(row["nl"].startswith("Implement a Python function") for row in rows) * 2 == len(rows)

    def test_every_check_calls_the_function(self):
        for row in rows_of("codealpaca-mini"):
            assert all(f"{_function(row)}(" in test for test in row["test_list"])

    def test_wrong_answers_fail(self):
        rows = [row for row in make("codealpaca-mini", SEED)["test"] if row["test_list"]]
        others = [row for row in rows if "itertools" not in row["cmd"]]  # a long text has too many permutations
        pairs = [(row, other) for row in rows for other in others if row is not other and _takes(row) == _takes(other)]
        passed = [(row["cmd"], other["cmd"]) for row, other in pairs[::7] if _passes_instead(row, other)]
        assert len(pairs[::7]) > 1000
        assert len(passed) < 0.02 * len(pairs[::7]), passed

    def test_functions_have_names_of_their_own(self):
        assert not any(passes("", f"{_function(row)}", ()) for row in rows_of("codealpaca-mini"))


def _function(row):
    return re.match(r"def (\w+)\(", row["cmd"])[1]


def _takes(row):
    return row["cmd"].splitlines()[0].count(",")


def _passes_instead(row, other):
    """Whether another row's function, under this row's name, passes this row's checks."""
    setup = row["test_setup_code"] + "\n" + other["test_setup_code"]
    return passes(setup, f"{other['cmd']}\n{_function(row)} = {_function(other)}", row["test_list"])


class TestAppsMini:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_solutions_give_the_outputs(self, seed):
        problems = [_problem(row) for row in rows_of("apps-mini", seed)]
        assert all(len(tests["inputs"]) == len(tests["outputs"]) == 5 for _, tests in problems)
        assert [solution for solution, tests in problems if not solves(solution, tests)] == []

    def test_a_dropped_step_or_another_end_fails(self):
        for row in make("apps-mini", SEED)["test"]:
            solution, tests = _problem(row)
            assert [code for code in _broken(solution) if solves(code, tests)] == []

    def test_the_solution_of_another_problem_fails(self):
        rows = [_problem(row) for row in make("apps-mini", SEED)["test"] if not row["starter_code"]]
        passed = [(solution, code) for solution, tests in rows for code, _ in rows[::3] if solves(code, tests)]
        assert len(passed) - len(rows[::3]) < 0.005 * len(rows) * len(rows[::3])

    def test_difficulties_are_numbers_of_steps(self):
        for row in rows_of("apps-mini"):
            steps = _problem(row)[0].count("\n") - 1
            assert steps == {"introductory": 1, "interview": 2, "competition": 3}[row["difficulty"]]

    def test_difficulties_and_kinds_are_equally_frequent(self):
        for rows in make("apps-mini", SEED).values():
            counts = Counter((row["difficulty"], "fn_name" in row["input_output"]) for row in rows)
            assert len(counts) == 6
            assert max(counts.values()) - min(counts.values()) <= 1

    def test_standard_input_has_a_number_and_calls_also_get_no_number(self):
        given = {True: [], False: []}
        for row in rows_of("apps-mini"):
            given[row["starter_code"] != ""] += _problem(row)[1]["inputs"]
        assert all(text.split() for text in given[False])
        assert [[]] in given[True]
        assert any("-" in text for text in given[False])

    def test_starter_code_goes_with_the_function_name(self):
        for row in rows_of("apps-mini"):
            name = _problem(row)[1].get("fn_name")
            assert row["starter_code"] == (f"def {name}(xs):" if name else "")

    def test_known_and_new_steps_are_mixed(self):
        new = [re.sub(r"\\\{n\\\}", r"\\d+", re.escape(step.code)) for step in programs.NEW_STAGES + programs.NEW_ENDS]
        share = sum(any(re.search(step, _problem(row)[0]) for step in new) for row in rows_of("apps-mini")) / ROWS
        assert 0.5 < share < 0.9

    def test_identifiers_are_unique(self):
        assert len({row["problem_id"] for row in rows_of("apps-mini")}) == ROWS


def _problem(row):
    (solution,) = json.loads(row["solutions"])
    return solution, json.loads(row["input_output"])


def _broken(solution):
    """The solution without each of its steps, and with each other end."""
    first, *steps, last = solution.splitlines()
    for index in range(len(steps)):
        yield "\n".join([first, *steps[:index], *steps[index + 1 :], last])
    for end in programs.KNOWN_ENDS + programs.NEW_ENDS:
        changed = f"    return {end.code}" if first.startswith("def") else f"print({end.code})"
        if changed != last:
            yield "\n".join([first, *steps, changed])


def test_an_unknown_task_is_said_with_what_is_allowed():
    with pytest.raises(ValueError, match="task must be one of conala-mini, codealpaca-mini, apps-mini; got 'mbpp'"):
        sample_tasks.make("mbpp", 42)


def test_the_model_command_hands_over_its_settings(monkeypatch, tmp_path):
    pretrain = pytest.importorskip("nblib.tiny.pretrain")
    calls = []
    monkeypatch.setattr(pretrain, "fit", lambda *arguments, name: calls.append((*arguments, name)))
    command.main(["model", "--seed", "7", "--steps", "3", "--folder", str(tmp_path), "--device", "cuda"])
    command.main(["model", "--name", "micro"])
    assert calls == [
        (pretrain.shortened(pretrain.Recipe(seed=7), 3), tmp_path, "cuda", "tiny"),
        (pretrain.RECIPES["micro"], Path("data/models/micro"), "cpu", "micro"),
    ]

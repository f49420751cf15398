"""Reference solutions pass their own tests: those that we ship, and real ones where they are at hand."""

import importlib.util
import json
from pathlib import Path

import pytest

from nblib import sandbox
from nblib.sandbox import Checked, Function, Limits, Script

# ODEX: canonical solutions that fail here, by the reason. Most also fail in a plain interpreter.
NETWORK = {"22676", "7243750", "2805231"}
OLD_LIBRARIES = {
    "34945274",
    "35622945",
    "28986489",
    "9938130",
    "18897261",
    "20865487",
    "36402748",
    "4490961",
}  # as written in 2022
NO_PYTHON = {"13740672"}  # mixes tabs and spaces
NEEDS = {"8315209": "mock", "29877663": "html5lib", "755857": "django", "4530069": "pytz", "22799300": "scipy"}
ROOMY = Limits(cpu_seconds=30.0, wall_seconds=300.0, memory_bytes=2**31)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def failures(jobs, limits: Limits = ROOMY) -> list[tuple]:
    found = sandbox.run_all(jobs, limits=limits, allow_code_execution=True)
    assert len(found) == len(jobs) > 0
    return [
        (job.code, each) for job, outcomes in zip(jobs, found, strict=True) for each in outcomes if each.status != "ok"
    ]


def shipped(root: Path, task: str) -> list[dict]:
    return [
        row
        for split in ("train", "validation", "test")
        for row in rows(root / "data" / "tasks" / task / f"{split}.jsonl")
    ]


def checked(row: dict) -> Checked:
    return Checked(row["cmd"], tuple(row["test_list"]), setup=row["test_setup_code"])


@pytest.mark.parametrize("task", ["conala-mini", "codealpaca-mini"])
def test_some_shipped_references_pass_their_own_tests(root, task):
    assert failures([checked(row) for row in shipped(root, task)[::20]]) == []


@pytest.mark.slow
@pytest.mark.parametrize("task", ["conala-mini", "codealpaca-mini"])
def test_all_shipped_references_pass_their_own_tests(root, task):
    assert failures([checked(row) for row in shipped(root, task)]) == []


def test_some_shipped_solutions_give_the_listed_outputs(root):
    chosen = shipped(root, "apps-mini")[::20]
    tests = [json.loads(row["input_output"]) for row in chosen]
    codes = [json.loads(row["solutions"])[0] for row in chosen]
    jobs = [
        Function(code, test["fn_name"], tuple(map(json.dumps, test["inputs"])))
        if "fn_name" in test
        else Script(code, tuple(test["inputs"]))
        for code, test in zip(codes, tests, strict=True)
    ]
    found = sandbox.run_all(jobs, limits=ROOMY, allow_code_execution=True)
    assert {type(job) for job in jobs} == {Function, Script}
    for test, outcomes in zip(tests, found, strict=True):
        outputs = [json.loads(each.output) if "fn_name" in test else each.output for each in outcomes]
        assert outputs == test["outputs"]


@pytest.fixture(scope="module")
def odex(real_data) -> list[dict]:
    path = real_data / "odex" / "test.jsonl"
    if not path.exists():
        pytest.skip(f"no {path}")
    return rows(path)


class TestOdex:
    def job(self, row: dict) -> Checked:
        setup, _, head = row["test_start"].partition("def check(")
        checks = tuple(f"def check({head.rstrip()}\n{test}" for test in row["test"])
        code = row["prompt"] + row["canonical_solution"] + (row["suffix"] or "")
        return Checked(code, checks, setup=setup, name=row["entry_point"])

    def usable(self, row: dict) -> bool:
        """Whether all that it needs is installed, and no reason is known why it fails."""
        row_id = str(row["task_id"])
        needed = {*row["library"], *([NEEDS[row_id]] if row_id in NEEDS else [])}
        known = NETWORK | OLD_LIBRARIES | NO_PYTHON
        return row_id not in known and all(importlib.util.find_spec(each) for each in needed)

    def test_the_exceptions_are_rows(self, odex):
        assert NETWORK | OLD_LIBRARIES | NO_PYTHON | set(NEEDS) <= {str(row["task_id"]) for row in odex}

    def test_canonical_solutions_of_the_standard_library_pass(self, odex):
        light = [row for row in odex if not {"numpy", "pandas", "matplotlib"} & set(row["library"])]
        assert failures([self.job(row) for row in light if self.usable(row)][::3]) == []

    @pytest.mark.slow
    def test_all_canonical_solutions_pass(self, odex):
        usable = [row for row in odex if self.usable(row)]
        assert len(usable) > 400
        assert failures([self.job(row) for row in usable]) == []


HUMAN_EVAL = """
METADATA = {"author": "x"}

def check(candidate):
    assert candidate("abc") == "cba"
    assert candidate("") == ""
    assert abs(helper(2) - 4.0) < 1e-6
"""


def test_a_block_in_the_form_of_humaneval():
    code = (
        'def helper(x):\n    return x * x\n\ndef reverse(text: str) -> str:\n    """ Reverse """\n    return text[::-1]'
    )
    jobs = [Checked(code, (HUMAN_EVAL, HUMAN_EVAL + "check(reverse)"), name="reverse")]
    assert failures(jobs) == []
    assert len(failures([Checked(code.replace("[::-1]", ""), (HUMAN_EVAL,), name="reverse")])) == 1

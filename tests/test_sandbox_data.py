"""Reference solutions pass their own tests: those that we ship, and real ones where they are at hand."""

import json
from pathlib import Path

import pytest

from nblib import sandbox
from nblib.sandbox import Checked, Function, Limits, Script

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

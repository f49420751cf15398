"""What a program may do in the sandbox, and what comes of it."""

import json
from pathlib import Path

import pytest

from nblib import sandbox
from nblib.sandbox import Checked, Function, Limits, Outcome, Script
from nblib.sandbox.jobs import run_job
from nblib.sandbox.worker import Worker

SHORT = Limits(cpu_seconds=1.0, wall_seconds=30.0, memory_bytes=2**28, output_bytes=2**16)
BRIEF = Limits(cpu_seconds=0.3)


@pytest.fixture(scope="module", autouse=True)
def worker():
    """One for all tests of the file: its start takes longer than a program."""
    global WORKER
    WORKER = Worker()
    yield
    WORKER.close()


def outcome(job, limits: Limits = SHORT) -> Outcome:
    """Of a job that has one."""
    (only,) = run_job(WORKER, job, limits)
    return only


def statuses(job, limits: Limits = SHORT) -> list[str]:
    return [found.status for found in run_job(WORKER, job, limits)]


class TestScripts:
    def test_a_script_runs_once_for_each_input_in_an_empty_folder(self):
        job = Script("import os\nprint(input()[::-1], os.listdir())\nopen('x', 'w').write('1')", ("abc\n", "xyz\n"))
        assert [found.output for found in run_job(WORKER, job, SHORT)] == ["cba []\n", "zyx []\n"]

    def test_output_is_exactly_what_was_written(self):
        code = "import os, sys\nprint('x', file=sys.stderr)\nprint('a\\tß\\n', flush=True)\nos.write(1, b'b ')"
        assert outcome(Script(code)).output == "a\tß\n\nb "

    def test_standard_input_is_a_text_file(self):
        code = "import sys, os\nprint(input(), sys.stdin.readline().strip(), sys.stdin.read(2), os.read(0, 9))"
        assert outcome(Script(code, ("a\nb\ncd",))).output == "a b cd b''\n"

    @pytest.mark.parametrize(
        "code",
        [
            "print('3')\nreturn",
            "n = 1\ndef f():\n    nonlocal n\n    n += 2\nf()\nprint(n)",
            "from math import *\nprint(int(sqrt(9)))\nreturn",
            "if __name__ == '__main__':\n    print(3)",
            "import sys\nprint(3)\nsys.exit(1)",
            "\ufeffprint(3)",
            "import threading\nthreading.Thread(target=lambda: print(3)).start()",
            "from dataclasses import dataclass\nimport pickle\n@dataclass\nclass A:\n    x: int\n"
            "print(pickle.loads(pickle.dumps(A(3))).x)",
            "import inspect\ndef f(): return 3\nprint(inspect.getsource(f).strip()[-1])",
            "import multiprocessing\nprint(sum(multiprocessing.Pool(2).map(abs, [-1, 2])))",
            "import asyncio\nasync def f(): return 3\nprint(asyncio.run(f()))",
            "import subprocess\nprint(subprocess.check_output(['echo', '3'], text=True), end='')",
            "import tempfile\nwith tempfile.TemporaryFile('w+') as f: print(f.write('abc'))",
            "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return n and 1 + f(n - 1)\nprint(f(50000) - 49997)",
            "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**26)\n"
            "def f(n): return n and 1 + f(n - 1)\nthreading.Thread(target=lambda: print(f(20000) - 19997)).start()",
            "print(len(str(10**5000)) - 4998)",
            "import numpy as np\nprint(np.arange(3).sum())",
        ],
    )
    def test_what_programs_do_works(self, code):
        found = outcome(Script(code), Limits(cpu_seconds=5.0))
        assert (found.status, found.output) == ("ok", "3\n"), found.message

    @pytest.mark.parametrize(
        "code",
        [
            "import sys\nprint(input())\nsys.stdout.close()",
            "out = open(1, 'w')\nout.write(input() + '\\n')",
            "import os\nout = os.fdopen(1, 'w')\nprint(input(), file=out)",
            "import atexit, io, sys\nsys.stdout = io.StringIO()\n"
            "atexit.register(lambda: sys.__stdout__.write(sys.stdout.getvalue()))\nprint(input())",
            "class Late:\n    text = input()\n    def __del__(self): print(self.text)\nlate = Late()",
            "open('/dev/stdout', 'w').write(input() + '\\n')",
            "print(open('/dev/stdin').read().strip())",
            "import resource\nresource.setrlimit(resource.RLIMIT_STACK, [2**28, -1])\nprint(input())",
            "import atexit\natexit.register(lambda: 1 / 0)\nprint(input())",
        ],
    )
    def test_output_is_what_the_interpreter_would_have_written(self, code):
        found = outcome(Script(code, ("x\n",)))
        assert (found.status, found.output) == ("ok", "x\n"), found.message

    def test_cpu_seconds_of_all_processes_are_measured(self):
        code = (
            "import os, time\nfor _ in range(2):\n    if os.fork() == 0:\n"
            "        while time.process_time() < 0.2: pass\n        os._exit(0)\nos.wait()\nos.wait()"
        )
        assert 0.35 < outcome(Script(code)).cpu_seconds < 1


FAILURES = [
    (Script("x = ("), "compile_error", "SyntaxError: '(' was never closed"),
    (Script("return x = 1"), "compile_error", "SyntaxError"),
    (Script("a\0b"), "compile_error", "null bytes"),
    (Script("(" * 10000), "compile_error", ""),
    (Script("1 / 0"), "runtime_error", "ZeroDivisionError: division by zero"),
    (Script("def f(): f()\nf()"), "runtime_error", "RecursionError"),
    (Script("import os\nos._exit(3)"), "runtime_error", "exit status 3"),
    (Script("import os\nos.abort()"), "runtime_error", "SIGABRT"),
    (Script("x = 'a' * 10**9"), "out_of_memory", "MemoryError"),
    (Script("while True: pass"), "time_out", "more than 1 s of CPU time"),
    (Script("print('x' * 10**5)"), "runtime_error", "more than 65536 bytes of output"),
    (Script("import nothing_like_it"), "runtime_error", "No module named 'nothing_like_it'"),
    (Function("def g(): pass", "f", ("[1]",)), "runtime_error", "NameError: name 'f' is not defined"),
    (Function("def f(x) return x", "f", ("[1]",)), "compile_error", "SyntaxError"),
    (Function("1 / 0\ndef f(x): pass", "f", ("[1]",)), "runtime_error", "ZeroDivisionError"),
    (Function("def f(x): return bytearray(10**10)", "f", ("[1]",)), "out_of_memory", "MemoryError"),
    (Function("def f(x): return 'x' * 10**5", "f", ("[1]",)), "runtime_error", "bytes of output"),
    (Function("import os\ndef f(x): os._exit(0)", "f", ("[1]",)), "runtime_error", "ended during the call"),
    (Function("import os\nos._exit(0)\ndef f(x): pass", "f", ("[1]",)), "runtime_error", "ended before it was asked"),
    (Checked("def f(x) return x", ("assert f(3) == 9",)), "compile_error", "SyntaxError"),
    (Checked("1 / 0", ("assert f(3) == 9",)), "runtime_error", "ZeroDivisionError"),
    (Checked("x = 1", ("assert f(1) == 1",), name="f"), "failed", "NameError"),
    (Checked("def f(x): return x", ("assert f(3) == 9",)), "failed", "AssertionError"),
    (Checked("def f(x): return 1 / 0", ("assert f(3) == 9",)), "runtime_error", "ZeroDivisionError"),
    (Checked("def f(x): return bytearray(10**10)", ("assert f(3) == 9",)), "out_of_memory", "MemoryError"),
    (Checked("import os\ndef f(x): os._exit(0)", ("assert f(3) == 9",)), "runtime_error", "ended before the check did"),
    (Checked("x = 1", ("while x: pass",)), "time_out", "CPU time"),
    (Checked("x = 1", ("assert x == 1",), setup="1 / 0"), "runtime_error", "ZeroDivisionError"),
]


@pytest.mark.parametrize(("job", "status", "message"), FAILURES, ids=[str(n) for n in range(len(FAILURES))])
def test_what_fails_says_why(job, status, message):
    found = outcome(job)
    assert found.status == status
    assert message in found.message


def test_a_message_is_cut():
    assert len(outcome(Script("raise ValueError('x' * 3000)")).message) == 500


def test_wall_time_is_the_backstop():
    found = outcome(Script("import time\ntime.sleep(99)"), Limits(wall_seconds=0.5))
    assert (found.status, found.message) == ("time_out", "more than 0.5 s of wall time")
    assert found.cpu_seconds < 0.5


class TestFunctions:
    @pytest.mark.parametrize(
        ("code", "arguments", "output"),
        [
            ("def f(a, b): return a + b", [1, 2], "3"),
            ("class Solution:\n    def f(self, x): return [x]", [1], "[1]"),
            ("def f(x): return (1, (2, 3))", [0], "[1, [2, 3]]"),
            ("def f(x): return list(x)", [{"1": 0, "2": 0}], "[1, 2]"),  # as the published metric: integer keys
            ("def f(x): return list(x)", [{"1": 0, "a": 0}], '["1", "a"]'),
            ("def f(x): return 10 ** x", [5000], f"1{'0' * 5000}"),
            ("from fractions import Fraction\ndef f(x): return Fraction(4, 2)", [0], "2"),
            ("print('noise')\ndef f(x):\n    print('more')\n    return None", [0], "null"),
            ("def f(x): return {1, 2}", [0], None),
            ("def f(x): return iter([1])", [0], None),
        ],
    )
    def test_a_value_comes_as_json_if_it_has_such_a_form(self, code, arguments, output):
        found = outcome(Function(code, "f", (json.dumps(arguments),)))
        assert (found.status, found.output) == ("ok", output)
        assert ("no JSON form" in found.message) == (output is None)

    def test_one_program_serves_all_calls(self):
        job = Function("seen = []\ndef f(x):\n    seen.append(x)\n    return seen", "f", ("[1]", "[2]"))
        assert [found.output for found in run_job(WORKER, job, SHORT)] == ["[1]", "[1, 2]"]

    def test_each_call_has_the_whole_budget(self):
        code = "import time\ndef f(x):\n    end = time.process_time() + 0.2\n    while time.process_time() < end: pass"
        assert statuses(Function(code, "f", ("[0]",) * 3), Limits(cpu_seconds=0.35)) == ["ok"] * 3

    def test_a_program_that_ends_by_itself_answers_no_more(self):
        code = "import os, threading\nthreading.Timer(0.01, os._exit, (0,)).start()\ndef f(x): return x"
        assert set(statuses(Function(code, "f", ("[1]",) * 20))) <= {"ok", "runtime_error"}


@pytest.mark.parametrize(
    "job",
    [
        Function("def f(x):\n    while x == 1: pass\n    return x", "f", ("[0]", "[1]", "[2]")),
        Checked("def f(x):\n    while x == 1: pass\n    return x", tuple(f"assert f({x}) == {x}" for x in range(3))),
    ],
)
def test_a_question_that_hangs_costs_only_itself(job):
    assert statuses(job, BRIEF) == ["ok", "time_out", "ok"]


@pytest.mark.parametrize(
    "job",
    [
        Script("while True: pass", ("",) * 213),
        Function("def f():\n    while True: pass", "f", ("[]",) * 213),
        Checked("def f():\n    while True: pass", ("assert f()",) * 213),
    ],
)
def test_a_program_that_never_ends_costs_a_few_limits(job):
    found = run_job(WORKER, job, Limits(cpu_seconds=0.2, time_outs=2))
    assert [one.status for one in found] == ["time_out"] * 213
    assert sum(one.cpu_seconds for one in found) < 3
    assert "not run: 2 outcomes of this program ran out of time" in found[-1].message


def test_outcomes_may_be_long_together():
    found = run_job(WORKER, Script("print('\\x01' * 1000000)", ("",) * 12), Limits())  # more than 64 MiB of JSON
    assert [len(one.output or "") for one in found] == [1000001] * 12


class TestChecks:
    def test_the_setup_is_seen_by_both(self):
        job = Checked("xs.sort()\nr = math.floor(2.5)", ("assert xs == [1, 2]", "assert r == math.floor(2.1)"),
                      setup="import math\nxs = [2, 1]")  # fmt: skip
        assert statuses(job) == ["ok", "ok"]

    def test_a_setup_that_needs_a_class_of_the_code_runs_after_it(self):
        code = "class Node:\n    def __init__(self, data): self.data = data\ndef f(node): return node.data"
        assert statuses(Checked(code, ("assert f(root) == 3",), "root = Node(3)", "f", inside=(0,))) == ["ok"]

    def test_candidate_stands_for_the_function(self):
        block = (
            "METADATA = {}\ndef check(candidate):\n    assert candidate(2) == 4\n    assert abs(g(2) - 5.0) < 1e-6\n"
        )
        code = "def g(x): return 2.5 * x\ndef f(x): return x * x"
        assert statuses(Checked(code, (block, block + "check(f)", block + "check(candidate)"), name="f")) == ["ok"] * 3
        assert statuses(Checked(code.replace("x * x", "x"), (block,), name="f")) == ["failed"]

    def test_a_function_may_have_the_name_of_a_builtin(self):
        assert statuses(Checked("def sum(a, b): return 7", ("assert sum(10, 15) == 7",))) == ["ok"]
        assert statuses(Checked("def abs(a): return 7", ("assert candidate(1) == abs(1) == 7",), name="abs")) == ["ok"]

    def test_helpers_are_the_setup_s_though_the_code_defines_them_again(self):
        """Objects are told apart by identity: an id may be used again by what comes after."""
        helper, user = "def helper(x): return x + {}\n", "def f(x): return helper(x)"
        checks = ("assert f(3) == helper(3)\nfor x in range(200): assert f(x) == x + 1",)
        for number, status in ((1, "ok"), (7, "failed")):
            assert statuses(Checked(helper.format(number) + user, checks, helper.format(1), "f")) == [status]


def test_some_shipped_solutions_give_the_listed_outputs(root):
    chosen = _rows(root, "apps-mini")[::20]
    tests = [json.loads(row["input_output"]) for row in chosen]
    codes = [json.loads(row["solutions"])[0] for row in chosen]
    jobs = [
        Function(code, test["fn_name"], tuple(map(json.dumps, test["inputs"])))
        if "fn_name" in test
        else Script(code, tuple(test["inputs"]))
        for code, test in zip(codes, tests, strict=True)
    ]
    assert {type(job) for job in jobs} == {Function, Script}
    for test, outcomes in zip(tests, sandbox.run_all(jobs, allow_code_execution=True), strict=True):
        outputs = [json.loads(found.output) if "fn_name" in test else found.output for found in outcomes]
        assert outputs == test["outputs"]


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_shipped_references_pass_their_own_tests(root, step):
    rows = [*_rows(root, "conala-mini")[::step], *_rows(root, "codealpaca-mini")[::step]]
    jobs = [Checked(row["cmd"], tuple(row["test_list"]), setup=row["test_setup_code"]) for row in rows]
    found = sandbox.run_all(jobs, limits=Limits(cpu_seconds=30.0, wall_seconds=300.0), allow_code_execution=True)
    assert len(found) > 10
    failed = [
        (job.code, one) for job, outcomes in zip(jobs, found, strict=True) for one in outcomes if one.status != "ok"
    ]
    assert failed == []


def _rows(root: Path, task: str) -> list[dict]:
    files = [root / "data" / "tasks" / task / f"{split}.jsonl" for split in ("train", "validation", "test")]
    return [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]

"""What a program may do in the sandbox, and what comes of it."""

import json

import pytest

from nblib import sandbox
from nblib.sandbox import Checked, Function, Limits, Script
from nblib.sandbox.jobs import run_job
from nblib.sandbox.worker import Worker

SHORT = Limits(cpu_seconds=1.0, wall_seconds=30.0, memory_bytes=2**28, output_bytes=2**16)


@pytest.fixture(scope="module")
def run():
    """With one worker for all tests of the file: its start takes longer than a program."""
    worker = Worker()
    yield lambda job, limits=SHORT: run_job(worker, job, limits)
    worker.close()


@pytest.fixture
def statuses(run):
    return lambda job, limits=SHORT: [outcome.status for outcome in run(job, limits)]


PROGRAMS = [
    "from math import *\nprint(int(sqrt(9)))\nreturn",
    "n = 1\ndef f():\n    nonlocal n\n    n += 2\nf()\nprint(n)",
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
    "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**26)\n"
    "def f(n): return n and 1 + f(n - 1)\nthreading.Thread(target=lambda: print(f(20000) - 19997)).start()",
    "print(len(str(10**5000)) - 4998)",
    "import numpy as np\nprint(np.arange(3).sum())",
    # ends of a program that an interpreter knows
    "import sys\nprint(input())\nsys.stdout.close()",
    "import os\nout = os.fdopen(1, 'w')\nprint(input(), file=out)",
    "import atexit, io, sys\nsys.stdout = io.StringIO()\n"
    "atexit.register(lambda: sys.__stdout__.write(sys.stdout.getvalue()))\nprint(input())",
    "class Late:\n    text = input()\n    def __del__(self): print(self.text)\nlate = Late()",
    "open('/dev/stdout', 'w').write(input() + '\\n')",
    "print(open('/dev/stdin').read().strip())",
    "import resource\nresource.setrlimit(resource.RLIMIT_STACK, [2**28, -1])\nprint(input())",
    "import atexit\natexit.register(lambda: 1 / 0)\nprint(input())",
]


@pytest.mark.parametrize("code", PROGRAMS)
def test_what_programs_do_works(code, run):
    (outcome,) = run(Script(code, ("3\n",)), Limits(cpu_seconds=5.0))
    assert (outcome.status, outcome.output) == ("ok", "3\n"), outcome.message


def test_a_script_runs_once_for_each_input_in_an_empty_folder(run):
    code = "import os\nprint(input()[::-1], os.listdir())\nopen('x', 'w').write('1')"
    assert [found.output for found in run(Script(code, ("abc\n", "xyz\n")))] == ["cba []\n", "zyx []\n"]


def test_input_and_output_are_exactly_what_they_are(run):
    code = (
        "import os, sys\nprint(input(), sys.stdin.readline().strip(), sys.stdin.read(2), os.read(0, 9))\n"
        "print('x', file=sys.stderr)\nprint('a\\tß\\n', flush=True)\nos.write(1, b'b ')"
    )
    assert run(Script(code, ("a\nb\ncd",)))[0].output == "a b cd b''\na\tß\n\nb "


def test_cpu_seconds_of_all_processes_are_measured(run):
    code = (
        "import os, time\nfor _ in range(2):\n    if os.fork() == 0:\n"
        "        while time.process_time() < 0.2: pass\n        os._exit(0)\nos.wait()\nos.wait()"
    )
    assert 0.35 < run(Script(code), Limits(cpu_seconds=9.0))[0].cpu_seconds < 4


CHECK = ("assert f(3) == 9",)
FAILURES = [
    (Script("x = ("), "compile_error", "SyntaxError: '(' was never closed"),
    (Script("a\0b"), "compile_error", "null bytes"),
    (Script("(" * 10000), "compile_error", ""),
    (Script("1 / 0"), "runtime_error", "ZeroDivisionError: division by zero"),
    (Script("def f(): f()\nf()"), "runtime_error", "RecursionError"),
    (Script("import os\nos._exit(3)"), "runtime_error", "exit status 3"),
    (Script("import os\nos.abort()"), "runtime_error", "SIGABRT"),
    (Script("x = 'a' * 10**9"), "out_of_memory", "MemoryError"),
    (Script("while True: pass"), "time_out", "more than 1 s of CPU time"),
    (Script("print('x' * 70000)"), "runtime_error", "more than 65536 bytes of output"),
    (Function("def g(): pass", "f", ("[1]",)), "runtime_error", "NameError: name 'f' is not defined"),
    (Function("def f(x): return 'x' * 10**5", "f", ("[1]",)), "runtime_error", "bytes of output"),
    (Function("import os\ndef f(x): os._exit(0)", "f", ("[1]",)), "runtime_error", "ended during the call"),
    (Function("import os\nos._exit(0)\ndef f(x): pass", "f", ("[1]",)), "runtime_error", "ended before it was asked"),
    (Checked("x = 1", CHECK, name="f"), "failed", "NameError"),
    (Checked("def f(x): return x", CHECK), "failed", "AssertionError"),
    (Checked("def f(x): return 1 / 0", CHECK), "runtime_error", "ZeroDivisionError"),
    (Checked("def f(x): return bytearray(10**10)", CHECK), "out_of_memory", "MemoryError"),
    (Checked("import os\ndef f(x): os._exit(0)", CHECK), "runtime_error", "ended before the check did"),
    (Checked("x = 1", ("while x: pass",)), "time_out", "CPU time"),
    (Checked("x = 1", ("assert x == 1",), setup="1 / 0"), "runtime_error", "ZeroDivisionError"),
]


@pytest.mark.parametrize(("job", "status", "message"), FAILURES)
def test_what_fails_says_why(job, status, message, run):
    (outcome,) = run(job)
    assert outcome.status == status
    assert message in outcome.message


def test_wall_time_is_the_backstop_and_messages_are_cut(run):
    (slept,) = run(Script("import time\ntime.sleep(99)"), Limits(wall_seconds=0.5))
    assert (slept.status, slept.message) == ("time_out", "more than 0.5 s of wall time")
    assert len(run(Script("raise ValueError('x' * 3000)"))[0].message) == 500


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
def test_a_value_comes_as_json_if_it_has_such_a_form(code, arguments, output, run):
    (outcome,) = run(Function(code, "f", (json.dumps(arguments),)))
    assert (outcome.status, outcome.output) == ("ok", output)
    assert ("no JSON form" in outcome.message) == (output is None)


def test_one_program_serves_all_calls_each_with_the_whole_budget(run):
    code = (
        "import time\nseen = []\ndef f(x):\n    end = time.process_time() + 0.2\n"
        "    while time.process_time() < end: pass\n    seen.append(x)\n    return seen"
    )
    found = run(Function(code, "f", ("[1]", "[2]", "[3]")), Limits(cpu_seconds=0.35))
    assert [outcome.output for outcome in found] == ["[1]", "[1, 2]", "[1, 2, 3]"]


HANGS = "def f(x):\n    while x == 1: pass\n    return x"
ENDLESS = "def f():\n    while True: pass"


@pytest.mark.parametrize(
    "job",
    [Function(HANGS, "f", ("[0]", "[1]", "[2]")), Checked(HANGS, tuple(f"assert f({x}) == {x}" for x in range(3)))],
)
def test_a_question_that_hangs_costs_only_itself(job, statuses):
    assert statuses(job, Limits(cpu_seconds=0.3)) == ["ok", "time_out", "ok"]


@pytest.mark.parametrize("kind", ["script", "function", "checked"])
def test_a_program_that_never_ends_costs_a_few_limits(kind, run):
    job = {
        "script": Script("while True: pass", ("",) * 213),
        "function": Function(ENDLESS, "f", ("[]",) * 213),
        "checked": Checked(ENDLESS, ("assert f()",) * 213),
    }[kind]
    found = run(job, Limits(cpu_seconds=0.2, time_outs=2))
    assert [outcome.status for outcome in found] == ["time_out"] * 213
    assert sum(outcome.cpu_seconds for outcome in found) < 3
    assert "not run: 2 outcomes of this program ran out of time" in found[-1].message


def test_a_program_that_ends_by_itself_is_asked_no_more_and_started_again(statuses):
    code = "import os, threading\nthreading.Timer(0.01, os._exit, (0,)).start()\ndef f(x): return x"
    assert set(statuses(Function(code, "f", ("[1]",) * 20))) <= {"ok", "runtime_error"}


def test_outcomes_may_be_long_together(run):
    found = run(Script("print('\\x01' * 1000000)", ("",) * 12), Limits())  # more than 64 MiB of JSON
    assert [len(outcome.output or "") for outcome in found] == [1000001] * 12


class TestChecks:
    def test_the_setup_is_seen_by_both_before_the_code_or_after_it(self, statuses):
        checks = ("assert xs == [1, 2]", "assert r == math.floor(2.1)")
        assert statuses(Checked("xs.sort()\nr = math.floor(2.5)", checks, "import math\nxs = [2, 1]")) == ["ok", "ok"]
        code = "class Node:\n    def __init__(self, data): self.data = data\ndef f(node): return node.data"
        assert statuses(Checked(code, ("assert f(root) == 3",), "root = Node(3)", "f", inside=(0,))) == ["ok"]

    def test_candidate_stands_for_the_function(self, statuses):
        block = "METADATA = {}\ndef check(candidate):\n    assert candidate(2) == 4\n    assert abs(g(2) - 5) < 1e-6\n"
        code = "def g(x): return 2.5 * x\ndef f(x): return x * x"
        assert statuses(Checked(code, (block, block + "check(f)", block + "check(candidate)"), name="f")) == ["ok"] * 3
        assert statuses(Checked(code.replace("x * x", "x"), (block,), name="f")) == ["failed"]

    def test_a_function_may_have_the_name_of_a_builtin(self, statuses):
        assert statuses(Checked("def sum(a, b): return 7", ("assert sum(10, 15) == 7",))) == ["ok"]
        assert statuses(Checked("def abs(a): return 7", ("assert candidate(1) == abs(1) == 7",), name="abs")) == ["ok"]

    @pytest.mark.parametrize(("number", "status"), [(1, "ok"), (7, "failed")])
    def test_helpers_are_the_setup_s_though_the_code_defines_them_again(self, number, status, statuses):
        """Objects are told apart by identity: an id may be used again by what comes after."""
        helper, check = (
            "def helper(x): return x + {}\n",
            "assert [f(x) for x in range(200)] == [helper(x) for x in range(200)]",
        )
        code = helper.format(number) + "def f(x): return helper(x)"
        assert statuses(Checked(code, (check,), helper.format(1), "f")) == [status]


@pytest.mark.parametrize("step", [30, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("task", ["conala-mini", "codealpaca-mini"])
def test_shipped_references_pass_their_own_tests(root, task, step):
    files = sorted((root / "data" / "tasks" / task).glob("*.jsonl"))
    rows = [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()][::step]
    jobs = [Checked(row["cmd"], tuple(row["test_list"]), setup=row["test_setup_code"]) for row in rows]
    found = sandbox.run_all(jobs, limits=Limits(wall_seconds=300.0), allow_code_execution=True)
    outcomes = [(job.code, outcome) for job, results in zip(jobs, found, strict=True) for outcome in results]
    assert len(outcomes) > 10
    assert [pair for pair in outcomes if pair[1].status != "ok"] == []

"""What a program may do in the sandbox, and what comes of it."""

import json

import pytest

from nblib.sandbox import Checked, Function, Limits, Outcome, Script, pool

SHORT = Limits(cpu_seconds=1.0, wall_seconds=30.0, memory_bytes=2**28, output_bytes=2**16)


@pytest.fixture(scope="module", autouse=True)
def worker():
    """One for all tests of the file: its start takes longer than a program."""
    global WORKER
    WORKER = pool.Worker()
    yield
    WORKER.close()


def outcome(job, limits: Limits = SHORT) -> Outcome:
    """Of a job that has one."""
    (only,) = WORKER.run(job, limits)
    return only


def outcomes(*jobs, limits: Limits = SHORT) -> list[tuple[Outcome, ...]]:
    return [WORKER.run(each, limits) for each in jobs]


def statuses(*jobs, limits: Limits = SHORT) -> list[list[str]]:
    return [[each.status for each in job] for job in outcomes(*jobs, limits=limits)]


class TestScripts:
    def test_a_script_runs_once_for_each_input(self):
        (found,) = outcomes(Script("print(input()[::-1])", ("abc\n", "xyz\n")))
        assert [each.output for each in found] == ["cba\n", "zyx\n"]

    def test_output_is_exactly_what_was_written(self):
        code = "import os, sys\nsys.stdout.write('a\\tß\\n\\n')\nsys.stdout.flush()\nos.write(1, b'b ')"
        assert outcome(Script(code)).output == "a\tß\n\nb "

    def test_standard_error_is_no_output(self):
        assert outcome(Script("import sys\nprint('x', file=sys.stderr)")).output == ""

    @pytest.mark.parametrize(
        "code",
        [
            "print('3')\nreturn",
            "n = 1\ndef f():\n    nonlocal n\n    n += 2\nf()\nprint(n)",
            "from math import *\nprint(int(sqrt(9)))\nreturn",
            "if __name__ == '__main__':\n    print(3)",
            "import sys\nprint(3)\nsys.exit(1)",
            "print(3)\nexit()",
            "\ufeffprint(3)",
            "import atexit\natexit.register(print, 3)",
            "import threading\nthreading.Thread(target=lambda: print(3)).start()",
            "import sys\nprint(len(sys.argv) + 2)",
            "from dataclasses import dataclass\nimport pickle\n@dataclass\nclass A:\n    x: int\n"
            "print(pickle.loads(pickle.dumps(A(3))).x)",
            "import inspect\ndef f(): return 3\nprint(inspect.getsource(f).strip()[-1])",
            "import multiprocessing\nprint(sum(multiprocessing.Pool(2).map(abs, [-1, 2])))",
            "import asyncio\nasync def f(): return 3\nprint(asyncio.run(f()))",
            "import subprocess\nprint(subprocess.check_output(['echo', '3'], text=True), end='')",
            "import tempfile\nwith tempfile.TemporaryFile('w+') as f: print(f.write('abc'))",
        ],
    )
    def test_what_programs_do_works(self, code):
        found = outcome(Script(code))
        assert (found.status, found.output) == ("ok", "3\n"), found.message

    def test_standard_input_is_a_text_file(self):
        code = "import sys, os\nprint(input(), sys.stdin.readline().strip(), sys.stdin.read(2), os.read(0, 9))"
        assert outcome(Script(code, ("a\nb\ncd",))).output == "a b cd b''\n"

    def test_deep_recursion_works(self):
        code = "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return n and 1 + f(n - 1)\nprint(f(50000))"
        assert outcome(Script(code)).output == "50000\n"

    def test_deep_recursion_in_a_thread_works(self):
        code = (
            "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**26)\n"
            "def f(n): return n and 1 + f(n - 1)\nthreading.Thread(target=lambda: print(f(20000))).start()"
        )
        assert outcome(Script(code)).output == "20000\n"

    def test_long_integers_print(self):
        assert outcome(Script("print(10**5000)")).output == f"1{'0' * 5000}\n"

    def test_installed_packages_can_be_imported(self):
        pytest.importorskip("numpy")
        assert outcome(Script("import numpy as np\nprint(np.arange(4).sum())"), Limits()).output == "6\n"

    def test_a_program_writes_to_its_own_folder_only_as_long_as_it_runs(self):
        code = "import os\nprint(os.listdir())\nopen('x', 'w').write('1')\nprint(os.listdir())"
        assert [each.output for each in outcomes(Script(code, ("", "")))[0]] == ["[]\n['x']\n"] * 2

    def test_cpu_seconds_are_measured(self):
        found = outcome(Script("import time\nwhile time.process_time() < 0.3: pass"))
        assert found.status == "ok"
        assert 0.25 < found.cpu_seconds < 1

    def test_cpu_seconds_of_children_are_counted(self):
        code = (
            "import os, time\nfor _ in range(2):\n    if os.fork() == 0:\n"
            "        while time.process_time() < 0.2: pass\n        os._exit(0)\nos.wait()\nos.wait()"
        )
        assert 0.35 < outcome(Script(code)).cpu_seconds < 1


class TestFailures:
    @pytest.mark.parametrize(
        ("code", "status", "message"),
        [
            ("x = (", "compile_error", "SyntaxError: '(' was never closed"),
            ("return x = 1", "compile_error", "SyntaxError"),
            ("x = 1\n\ty = 2", "compile_error", "IndentationError"),
            ("a\0b", "compile_error", "null bytes"),
            ("(" * 10000, "compile_error", ""),
            ("1 / 0", "runtime_error", "ZeroDivisionError: division by zero"),
            ("def f(): f()\nf()", "runtime_error", "RecursionError"),
            ("import os\nos._exit(3)", "runtime_error", "exit status 3"),
            ("import os\nos.abort()", "runtime_error", "SIGABRT"),
            ("raise MemoryError", "out_of_memory", "MemoryError"),
            ("x = 'a' * 10**9", "out_of_memory", "MemoryError"),
            ("while True: pass", "time_out", "more than 1 s of CPU time"),
            ("print('x' * 10**5)", "runtime_error", "more than 65536 bytes of output"),
            ("import nothing_like_it", "runtime_error", "No module named 'nothing_like_it'"),
            ("print(input())", "runtime_error", "EOFError"),
        ],
    )
    def test_a_failing_script_says_why(self, code, status, message):
        found = outcome(Script(code))
        assert found.status == status
        assert message in found.message

    def test_a_message_is_cut(self):
        assert len(outcome(Script("raise ValueError('x' * 3000)")).message) == 500

    def test_wall_time_is_the_backstop(self):
        found = outcome(Script("import time\ntime.sleep(99)"), Limits(wall_seconds=0.5))
        assert (found.status, found.message) == ("time_out", "more than 0.5 s of wall time")
        assert found.cpu_seconds < 0.5

    def test_a_failure_changes_no_other_outcome(self):
        codes = ["while True: pass", "print(1)", "import os\nos.kill(0, 9)", "print(1)", "x =", "print(1)"]
        found = outcomes(*map(Script, codes), limits=Limits(cpu_seconds=0.3))
        assert [each[0].status == "ok" for each in found] == [False, True] * 3


class TestFunctions:
    @pytest.mark.parametrize(
        ("code", "arguments", "value"),
        [
            ("def f(a, b): return a + b", [1, 2], 3),
            ("class Solution:\n    def f(self, x): return [x]", [1], [1]),
            ("def f(x): return (1, (2, 3))", [0], [1, [2, 3]]),
            ("def f(x): return {1: 2}", [0], {"1": 2}),
            ("def f(x): return list(x)", [{"1": 0, "2": 0}], [1, 2]),  # as the published metric: integer keys
            ("def f(x): return list(x)", [{"1": 0, "a": 0}], ["1", "a"]),
            ("def f(x): return 10 ** x", [5000], None),
            ("def f(x): return float('inf')", [0], float("inf")),
            ("from fractions import Fraction\ndef f(x): return Fraction(4, 2)", [0], 2),
            ("print('noise')\ndef f(x):\n    print('more')\n    return None", [0], None),
            ("from functools import lru_cache\n@lru_cache\ndef f(x): return x", [4], 4),
            ("f = lambda x: not x", [1], False),
        ],
    )
    def test_a_value_comes_as_json(self, code, arguments, value):
        found = outcome(Function(code, "f", (json.dumps(arguments),)))
        assert found.status == "ok", found.message
        if arguments == [5000]:
            assert found.output == f"1{'0' * 5000}"
        else:
            assert json.loads(found.output) == value

    @pytest.mark.parametrize("value", ["{1, 2}", "range(3)", "iter([1])", "1j", "{(1, 2): 3}", "b'x'"])
    def test_a_value_that_json_cannot_hold_has_no_output(self, value):
        found = outcome(Function(f"def f(): return {value}", "f", ("[]",)))
        assert (found.status, found.output) == ("ok", None)
        assert "no JSON form" in found.message

    @pytest.mark.parametrize(
        ("code", "status", "message"),
        [
            ("def g(): pass", "runtime_error", "NameError: name 'f' is not defined"),
            ("def f(x) return x", "compile_error", "SyntaxError"),
            ("1 / 0\ndef f(x): pass", "runtime_error", "ZeroDivisionError"),
            ("def f(): pass", "runtime_error", "TypeError"),
            ("def f(x): return bytearray(10**10)", "out_of_memory", "MemoryError"),
            ("def f(x): return 'x' * 10**5", "runtime_error", "bytes of output"),
            ("import os\ndef f(x): os._exit(0)", "runtime_error", "ended during the call"),
            ("import sys\ndef f(x): sys.exit()", "runtime_error", "SystemExit"),
            ("import os\nos._exit(0)\ndef f(x): pass", "runtime_error", "ended before it was asked"),
        ],
    )
    def test_a_failing_call_says_why(self, code, status, message):
        found = outcome(Function(code, "f", ("[1]",)))
        assert found.status == status
        assert message in found.message

    def test_calls_after_one_that_hangs_are_made_all_the_same(self):
        code = "def f(x):\n    while x == 1: pass\n    return x"
        (found,) = outcomes(Function(code, "f", ("[0]", "[1]", "[2]")), limits=Limits(cpu_seconds=0.3))
        assert [each.status for each in found] == ["ok", "time_out", "ok"]
        assert found[2].output == "2"

    def test_each_call_has_the_whole_budget(self):
        code = "import time\ndef f(x):\n    end = time.process_time() + 0.3\n    while time.process_time() < end: pass"
        assert statuses(Function(code, "f", ("[0]",) * 4), limits=Limits(cpu_seconds=0.6)) == [["ok"] * 4]

    def test_one_program_serves_all_calls(self):
        code = "seen = []\ndef f(x):\n    seen.append(x)\n    return seen"
        (found,) = outcomes(Function(code, "f", ("[1]", "[2]")))
        assert [each.output for each in found] == ["[1]", "[1, 2]"]


class TestChecks:
    def test_checks_pass_and_fail_by_themselves(self):
        job = Checked("def f(x): return x * x", ("assert f(3) == 9", "assert f(3) == 8", "assert f(0) == 0"))
        assert statuses(job) == [["ok", "failed", "ok"]]

    def test_the_setup_is_seen_by_both(self):
        job = Checked("xs.sort()\nr = math.floor(2.5)", ("assert xs == [1, 2]", "assert r == math.floor(2.1)"),
                      setup="import math\nxs = [2, 1]")  # fmt: skip
        assert statuses(job) == [["ok", "ok"]]

    def test_candidate_stands_for_the_function(self):
        block = "def check(candidate):\n    assert candidate(2) == 4\n"
        jobs = [Checked("def f(x): return x * x", (block, block + "check(f)", block + "check(candidate)"), name="f")]
        jobs.append(Checked("def f(x): return x", (block,), name="f"))
        assert statuses(*jobs) == [["ok"] * 3, ["failed"]]

    def test_a_missing_function_fails(self):
        assert statuses(Checked("x = 1", ("assert f(1) == 1",), name="f")) == [["failed"]]

    def test_a_function_may_have_the_name_of_a_builtin(self):
        checks = ("assert candidate(1) == 7", "assert abs(1) == 7")
        assert statuses(Checked("def sum(a, b): return 7", ("assert sum(10, 15) == 7",))) == [["ok"]]
        assert statuses(Checked("def abs(a): return 7", checks, name="abs")) == [["ok", "ok"]]

    @pytest.mark.parametrize(
        ("code", "status", "message"),
        [
            ("def f(x) return x", "compile_error", "SyntaxError"),
            ("1 / 0", "runtime_error", "ZeroDivisionError"),
            ("def f(x): return x", "failed", "AssertionError"),
            ("def f(x): return 1 / 0", "runtime_error", "ZeroDivisionError"),
            ("def f(x):\n    while True: pass", "time_out", "CPU time"),
            ("def f(x): return bytearray(10**10)", "out_of_memory", "MemoryError"),
            ("import os\ndef f(x): os._exit(0)", "runtime_error", "the program ended before the check did"),
        ],
    )
    def test_a_check_that_is_not_met_says_why(self, code, status, message):
        found = outcome(Checked(code, ("assert f(3) == 9",)))
        assert found.status == status
        assert message in found.message

    def test_a_check_that_hangs_costs_only_itself(self):
        code = "def f(x):\n    while x == 1: pass\n    return x"
        checks = tuple(f"assert f({x}) == {x}" for x in range(3))
        assert statuses(Checked(code, checks), limits=Limits(cpu_seconds=0.3)) == [["ok", "time_out", "ok"]]

    def test_a_check_itself_has_limits(self):
        assert statuses(Checked("x = 1", ("while x: pass",)), limits=Limits(cpu_seconds=0.3)) == [["time_out"]]

    def test_a_failing_setup_is_no_pass(self):
        assert statuses(Checked("x = 1", ("assert x == 1",), setup="1 / 0")) == [["runtime_error"]]


@pytest.mark.parametrize("field", ["cpu_seconds", "memory_bytes", "output_bytes"])
def test_a_limit_of_nothing_is_refused(field):
    with pytest.raises(ValueError, match=f"{field} must be above 0; got 0"):
        Limits(**{field: 0})


def test_an_unknown_status_is_refused():
    with pytest.raises(ValueError, match="status must be one of ok, failed"):
        Outcome("fine")

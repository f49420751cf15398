"""What a program may do in the sandbox and what comes of it; what crosses the border between it and its checks."""

import json

import pytest

from nblib.sandbox import Checked, Function, Limits, Script, run_job
from nblib.sandbox.worker import Worker

SHORT = Limits(cpu_seconds=1.0, wall_seconds=30.0, memory_bytes=2**28, output_bytes=2**16)
ROOMY = Limits(cpu_seconds=5.0, wall_seconds=60.0)  # for a program that imports pandas


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


# --- values, calls and exceptions between a program and the checks on it ----------------------------------------------

CODE = """
import collections, dataclasses, math
@dataclasses.dataclass
class Point:
    x: int
    y: int
    def __add__(self, other): return Point(self.x + other.x, self.y + other.y)
    def norm(self): return math.hypot(self.x, self.y)
class Stack:
    def __init__(self): self.items = []
    def push(self, x): self.items.append(x)
    def __len__(self): return len(self.items)
class OwnError(ValueError): pass
Pair = collections.namedtuple("Pair", "a b")
total, items = 0, [1]
def add(p, q): return p + q
def adder(n): return lambda x: x + n
def squares(n): yield from (x * x for x in range(n))
def own_error(): raise OwnError("no", 3)
def change(mapping, xs=None): mapping["z"] = [1]; xs.append(5)
def change_inner(xs): xs[0].append(1); xs.append(9)
def change_array(x): x[1] = 5
def hello(name): print("hello", name)
def same(x): return x
def read(name): return open(name).read()
def apply(function, x): return function(x)
def bump(n): items.append(n)
"""
SETUP = (
    "import collections, datetime, decimal, fractions, pathlib, re, time, uuid\n"
    "class Given:\n    def __init__(self, value): self.value = value\n    def twice(self): return 2 * self.value\n"
    "def double(x): return 2 * x\n"
)
OUTSIDE = {
    "an object of a dataclass": "p = add(Point(1, 2), Point(3, 4))\nassert p == Point(4, 6) and (p.x, p.y) == (4, 6)",
    "a named tuple": "assert Pair(1, 2) == (1, 2) and Pair(1, 2).b == 2",
    "a generator": "g = squares(4)\nassert next(g) == 0 and next(g) == 1 and list(g) == [4, 9]",
    "an exception by its builtin base": "import unittest\nunittest.TestCase().assertRaises(ValueError, own_error)\n"
    "try: own_error()\nexcept ValueError as e: assert e.args == ('no', 3)",
    "arguments that it changes": "m, xs = {}, []\nchange(m, xs=xs)\nassert m == {'z': [1]} and xs == [5]",
    "what lies in them": "inner = [0]\nxs = [inner]\nchange_inner(xs)\nassert xs == [[0, 1], 9] and inner == [0, 1]",
    "an array that it changes": "import numpy as np\nx = np.zeros(2)\nchange_array(x)\nassert x.tolist() == [0.0, 5.0]",
    "data": "assert total == 0 and items == [1]",
    "its name": "assert add.__name__ == 'add' and callable(add)",
    "an instance of the setup's": "assert same(Given(4)).twice() == 8 and same(Given) is Given",
    "a function of the setup's as an argument": "assert apply(double, 2) == 4 and apply(abs, -2) == 2",
    "the function in others": "assert list(map(same, [1, 2])) == [1, 2] and sorted([2, 1], key=same) == [1, 2]",
    "views": "assert same({1: 2}.keys()) == {1: 2}.keys() and next(same(iter([3]))) == 3 and same(iter([3])) != [3]",
}
INSIDE = {
    "a method": "assert Point(3, 4).norm() == 5.0",
    "its text": "assert str(Point(1, 2)) == 'Point(x=1, y=2)'",
    "its class": "assert isinstance(Point(1, 2), Point) and not isinstance(3, Point)",
    "a container": "s = Stack()\ns.push(1)\nassert len(s) == 1 and s.items == [1]",
    "a function of a function": "assert adder(3)(4) == 7 and list(map(adder(1), [1, 2])) == [2, 3]",
    "an exception of its own": "try: own_error()\nexcept OwnError as e: assert e.args == ('no', 3)",
    "variables that it changes": "bump(3)\nitems.append(7)\nbump(2)\nassert items == [1, 3, 7, 2]",
    "what it prints": "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as text: hello('you')\n"
    "assert text.getvalue() == 'hello you\\n'",
    "a module that it has imported": "assert math.floor(2.5) == 2",
    "a function of the check's": "assert apply(lambda x: x + 1, 2) == 3",
    "an object of the check's": "class A:\n    b = 3\nassert same(A()).b == 3 and type(same(A())) is A",
    "a file": "with open('x.txt', 'w') as file: file.write('hi')\nassert read('x.txt') == 'hi'",
    "a patched module": "from unittest.mock import Mock\nmath.hypot = Mock(return_value=3)\n"
    "assert Point(1, 2).norm() == 3",
}
PLAIN = [
    "None", "True", "3", "-1.5", "float('inf')", "1j", "'ß\\ud800'", "b'\\xff'", "bytearray(b'x')", "2**70", "10**5000",
    "(1, (2,), [])", "{1, 2}", "frozenset({(1, 2)})", "{1: 'a', (1, 2): None}", "range(1, 9, 2)", "slice(1, None)",
    "...", "collections.Counter('aab')", "collections.OrderedDict(a=1)", "collections.deque([1, 2], 3)",
    "collections.defaultdict(list, {1: [2]})", "datetime.date(2020, 2, 29)", "datetime.timedelta(days=-1, seconds=3)",
    "datetime.datetime(2020, 1, 1, 12, 30, 5, 7)", "datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)",
    "datetime.time(12, 30)", "decimal.Decimal('1.10')", "fractions.Fraction(1, 3)", "pathlib.PurePosixPath('a/b')",
    "pathlib.Path('a')", "uuid.UUID(int=3)", "int", "list", "time.gmtime(0)",
]  # fmt: skip
ARRAYS = [
    "np.arange(6).reshape(2, 3)", "np.array(['a', 'bc'])", "np.float32(1.5)", "np.array([1, None], object)",
    "np.array([], int)", "np.datetime64('2020-01-01')", "np.matrix([[1]])", "np.array([(1, 2.0)], 'i4,f8')",
]  # fmt: skip
TABLES = [
    "pd.DataFrame({'a': [1, 2], 'b': ['x', None]}, index=[3, 4])", "pd.Series([1.5, None], name='s')",
    "pd.DataFrame()", "pd.Series(pd.date_range('2020-01-01', periods=3, tz='UTC'))",
    "pd.Series(['a', 'b', 'a'], dtype='category')", "pd.date_range('2020-01-01', periods=3)",
    "pd.DataFrame({'a': [1]}, index=pd.MultiIndex.from_tuples([(1, 'x')], names=['n', None]))",
    "pd.Series([1, None], dtype='Int64')", "pd.DataFrame([[1, 2]], columns=['a', 'a'])",
    "pd.Timestamp('2020-01-01 12:00')", "pd.Timestamp('2020-07-01 12:00', tz='Europe/Berlin')",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_check_can_use(name, run):
    (outcome,) = run(Checked(CODE, (OUTSIDE[name],), setup=SETUP), ROOMY)
    assert (outcome.status, outcome.inside) == ("ok", False), outcome.message


@pytest.mark.parametrize("name", INSIDE)
def test_a_check_can_use_inside_and_not_outside(name, run):
    outside, inside = run(Checked(CODE, (INSIDE[name],) * 2, setup=SETUP, inside=(1,)), ROOMY)
    assert (outside.status in ("failed", "runtime_error"), outside.inside) == (True, False)
    assert (inside.status, inside.inside) == ("ok", True), inside.message


@pytest.mark.parametrize(
    ("setup", "values", "same"),
    [
        (SETUP, PLAIN, "y == x and repr(y) == repr(x)"),
        ("import numpy as np", ARRAYS, "np.testing.assert_array_equal(y, x) is None"),
        ("import pandas as pd", TABLES, "(x.equals(y) if hasattr(x, 'equals') else x == y) and repr(y) == repr(x)"),
    ],
    ids=["plain", "numpy", "pandas"],
)
def test_data_crosses_both_ways_with_its_exact_type(setup, values, same, run):
    checks = tuple(f"x = {value}\ny = same(x)\nassert type(y) is type(x) and {same}" for value in values)
    outcomes = run(Checked("def same(x): return x", checks, setup=setup), ROOMY)
    assert [
        (value, outcome.message) for value, outcome in zip(values, outcomes, strict=True) if outcome.status != "ok"
    ] == []


def test_what_has_no_end_or_holds_itself_or_does_as_if_cannot_cross(run):
    checks = ("assert f()", "assert g()", "try:\n    f()\nexcept:\n    pass", "assert h(3) == 9", "assert h(3)() == 9")
    code = (
        "import itertools\nf = itertools.count\ndef g():\n    xs = []\n    xs.append(xs)\n    return xs\n"
        "class All:\n    def __eq__(self, other): return True\ndef h(x): return lambda: All()"
    )
    outcomes = run(Checked(code, checks), ROOMY)
    assert [(outcome.status, outcome.inside) for outcome in outcomes] == [("failed", False)] * 5
    assert "more than 10000 items" in outcomes[0].message


def test_checks_inside_fail_by_themselves_and_keep_their_order(run):
    checks = ("assert f() == 1", "assert f() == 2", "f().nothing", "while True: pass", "import os; os._exit(0)",
              "assert f() == 1", "f = 0", "assert f() == 1")  # fmt: skip
    outcomes = run(Checked("def f(): return 1", checks, inside=(1, 2, 3, 4, 6, 7)), Limits(cpu_seconds=0.5))
    statuses = ["ok", "failed", "runtime_error", "time_out", "runtime_error", "ok", "ok", "ok"]
    assert [outcome.status for outcome in outcomes] == statuses
    assert [number for number, outcome in enumerate(outcomes) if outcome.inside] == [1, 2, 3, 4, 6, 7]


@pytest.mark.parametrize("answer", ["{'raised': 1}", "{'error': None}", "[1]", "{'memory': 1, 'error': {}}"])
def test_a_hostile_answer_to_a_check_inside_harms_nobody_else(answer, run):
    code = (
        f"import json, os, struct\ndef f():\n    body = json.dumps({answer}).encode()\n"
        "    os.write(3, struct.pack('!Q', len(body)) + body)\n    return 1"
    )
    forged, honest = run(Checked(code, ("assert f() == 1", "assert True"), inside=(0, 1)), ROOMY)
    assert (forged.status in ("failed", "runtime_error"), honest.status) == (True, "ok")

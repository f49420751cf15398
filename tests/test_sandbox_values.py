"""Values, calls and exceptions across the border between a program and the checks on it."""

import pytest

from nblib.sandbox import Checked, Limits
from nblib.sandbox.jobs import run_job
from nblib.sandbox.worker import Worker

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
SHORT = Limits(cpu_seconds=5.0, wall_seconds=60.0)


@pytest.fixture(scope="module")
def run():
    worker = Worker()
    yield lambda job, limits=SHORT: run_job(worker, job, limits)
    worker.close()


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_check_can_use(name, run):
    (outcome,) = run(Checked(CODE, (OUTSIDE[name],), setup=SETUP))
    assert (outcome.status, outcome.inside) == ("ok", False), outcome.message


@pytest.mark.parametrize("name", INSIDE)
def test_a_check_can_use_inside_and_not_outside(name, run):
    outside, inside = run(Checked(CODE, (INSIDE[name],) * 2, setup=SETUP, inside=(1,)))
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
    outcomes = run(Checked("def same(x): return x", checks, setup=setup))
    assert [
        (value, outcome.message) for value, outcome in zip(values, outcomes, strict=True) if outcome.status != "ok"
    ] == []


def test_what_has_no_end_or_holds_itself_or_does_as_if_cannot_cross(run):
    checks = ("assert f()", "assert g()", "try:\n    f()\nexcept:\n    pass", "assert h(3) == 9", "assert h(3)() == 9")
    code = (
        "import itertools\nf = itertools.count\ndef g():\n    xs = []\n    xs.append(xs)\n    return xs\n"
        "class All:\n    def __eq__(self, other): return True\ndef h(x): return lambda: All()"
    )
    outcomes = run(Checked(code, checks))
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
    forged, honest = run(Checked(code, ("assert f() == 1", "assert True"), inside=(0, 1)))
    assert (forged.status in ("failed", "runtime_error"), honest.status) == (True, "ok")

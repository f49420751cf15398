"""Verdicts on rows of the published forms, from their files to their scores: right, and not to be forged."""

import gzip
import importlib.util
import json
from dataclasses import replace

import pytest

from nblib import metrics, tasks
from nblib.metrics import execution
from nblib.metrics.execution import inside
from nblib.metrics.execution.program import job
from nblib.results import Prediction
from nblib.sandbox import Limits

# --- rows of the forms of HumanEval and MBPP, written for these tests -----------------------------------------------


def humaneval(number: int, before: str, head: str, body: str, test: str) -> dict:
    name = head.partition("(")[0].removeprefix("def ")
    return {
        "task_id": f"HumanEval/{number}",
        "prompt": f'{before}\n\n{head}\n    """Described here.\n    """\n',
        "canonical_solution": body,
        "test": f"\n\nMETADATA = {{\n    'author': 'x',\n}}\n\n\ndef check(candidate):\n{test}\n",
        "entry_point": name,
    }


POLY = (
    "import math\n\n\ndef poly(xs: list, x: float):\n    return sum([c * math.pow(x, i) for i, c in enumerate(xs)])\n"
)
ENCODE = "def encode(s: str):\n    return s[1:] + s[:1]\n"
HUMANEVAL = [
    humaneval(0, "from typing import List",
              "def near(xs: List[float], t: float) -> bool:",
              "    return any(abs(a - b) < t for i, a in enumerate(xs) for b in xs[:i])\n",
              "    assert candidate([1, 2, 3.9], 0.3) == False\n    assert candidate([1.0, 2.0, 2.1], 0.3) == True"),
    humaneval(2, "", "def part(number: float) -> float:", "    return number % 1.0\n",
              "    assert candidate(3.5) == 0.5\n    assert abs(candidate(1.33) - 0.33) < 1e-6"),
    humaneval(32, POLY, "def zero(xs: list):",
              "    low, high = -1.0, 1.0\n"
              "    while poly(xs, low) * poly(xs, high) > 0:\n        low, high = 2 * low, 2 * high\n"
              "    while high - low > 1e-10:\n        middle = (low + high) / 2\n"
              "        if poly(xs, middle) * poly(xs, low) > 0:\n            low = middle\n"
              "        else:\n            high = middle\n"
              "    return low\n",
              "    import copy, math, random\n    rng = random.Random(42)\n    for _ in range(20):\n"
              "        coeffs = [rng.randint(-10, 10), rng.choice([-3, 1, 7])]\n"
              "        solution = candidate(copy.deepcopy(coeffs))\n"
              "        assert math.fabs(poly(coeffs, solution)) < 1e-4"),
    humaneval(38, ENCODE, "def decode(s: str):", "    return s[-1:] + s[:-1]\n",
              "    from random import randint, choice\n    import string\n    letters = string.ascii_lowercase\n"
              "    for _ in range(9):\n        str = ''.join(choice(letters) for i in range(randint(10, 20)))\n"
              "        encoded_str = encode(str)\n        assert candidate(encoded_str) == str"),
    humaneval(29, "", "def lamps(xs):", "    return ' '.join(xs)\n",
              "    assert candidate(['lamp', 'x']).startswith('lamp')\n    assert 'x' in candidate(['lamp', 'x'])"),
    humaneval(95, "", "def digits(x):", "    return str(x)\n", "    assert candidate(7).isdigit()"),
    humaneval(99, "", "def tuples(x):", "    return (x, [x, {x: None}])\n",
              "    assert candidate(1) == (1, [1, {1: None}])\n    assert tuple(candidate(2)) == candidate(2)"),
]  # fmt: skip


def mbpp(number: int, code: str, *tests: str, setup: str = "") -> dict:
    return {"task_id": number, "text": "Do it.", "code": code, "test_list": list(tests), "test_setup_code": setup}


NODE = "class Node:\n    def __init__(self, data):\n        self.data = data\n        self.left = None\n"
MBPP = [
    mbpp(11, "def remove(s, c):\r\n    return s.replace(c, '')", "assert remove('hello', 'l') == 'heo'",
         "assert remove('abc', 'x') == 'abc'"),
    mbpp(12, "import math\ndef root(x):\n    return math.sqrt(x)", "assert root(4) == 2",
         "assert math.isclose(root(2), 1.41421, rel_tol=0.001)", setup="import math"),
    mbpp(13, "def order(xs):\n    xs.sort()\n    return xs", "assert order([2, 1]) == [1, 2]",
         "assert sorted(order([3, 1, 2])) == order([1, 3, 2])", "assert set(order([1, 1])) == set([1])"),
    mbpp(367, NODE + "def depth(root):\n    return 0 if root is None else 1 + depth(root.left)",
         "assert depth(root) == 2", "assert depth(None) == 0", setup="root = Node(1)\nroot.left = Node(2)"),
    mbpp(16, "def sum(a, b):\n    return a + b", "assert sum(10, 15) == 25", "assert sum(1, 2) == 3"),
]  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Their rows, read from the files as they are published."""
    folder = tmp_path_factory.mktemp("data")
    lines = "".join(json.dumps(row) + "\n" for row in HUMANEVAL)
    (folder / "HumanEval.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in MBPP))
    return {name: tasks.load(name, folder).test for name in ("humaneval", "humaneval-body", "mbpp-full")}


SHORT = Limits(cpu_seconds=2.0)


def scored(examples, answers, limits=SHORT) -> list[Prediction]:
    """Each example with its own list of answers."""
    given = [Prediction(each.id, (), tuple(own), 0, 0) for each, own in zip(examples, answers, strict=True)]
    return metrics.execute(examples, given, sampled=True, limits=limits, allow_code_execution=True)


def numbers(predictions, passed: bool = True) -> list[str]:
    return [each.example.split(":")[1] for each in predictions if (each.scores["pass@1"] == 1) == passed]


@pytest.mark.parametrize("name", ["humaneval", "humaneval-body", "mbpp-full"])
def test_references_of_the_published_forms_pass(published, name):
    examples = published[name]
    done = scored(examples, [[each.code] for each in examples])
    assert numbers(done, False) == []
    checked = [each.example.split(":")[1] for each in done if execution.marked(each.verdicts[0])]
    assert checked == (["367"] if name == "mbpp-full" else [])


def test_the_set_up_s_helper_is_not_the_answer_s(published):
    """A helper that the answer defines again serves the answer only."""
    example = next(each for each in published["humaneval"] if each.id.endswith("/38"))
    wrong = "def encode(s):\n    return s\ndef decode(s):\n    return s"
    assert numbers(scored([example], [[example.code]])) == ["HumanEval/38"]
    assert numbers(scored([example], [[wrong]])) == []


# What stands for an answer, with {name} for the function.
WRONG = {
    "None": "def {name}(*a): return None",
    "an object that equals everything": "class All:\n    __hash__ = object.__hash__\n"
    "    def __eq__(s, o): return True\n    def __ne__(s, o): return False\ndef {name}(*a): return All()",
    "an object that does everything": "class All(str):\n    def __getattr__(s, n): return lambda *a: 'yes'\n"
    "    def isdigit(s): return 'yes'\n    def startswith(s, x): return True\n    def __contains__(s, o): return True\n"
    "    def __eq__(s, o): return True\n    __hash__ = str.__hash__\n    def __iter__(s): return iter(())\n"
    "    def __sub__(s, o): return 0\n    def __lt__(s, o): return True\ndef {name}(*a): return All()",
    "a printed mark": "print('ok')\ndef {name}(*a): print('ok')",
    "exit": "import os\ndef {name}(*a): os._exit(0)",
    "exit at once": "import os\nos._exit(0)\ndef {name}(*a): pass",
    "SystemExit": "def {name}(*a): raise SystemExit(0)",
    "quit at once": "quit()\ndef {name}(*a): pass",
    "a class of the function's name": "class {name}:\n    def __init__(s, *a): pass\n    def __eq__(s, o): return True",
    "builtins shadowed": "class abs:\n    def __init__(s, *a): pass\n    def __lt__(s, o): return True\n"
    "any = all = set = sorted = tuple = lambda *a: True\ndef {name}(*a): return 0",
    "a module in the place of a loop's name": "import os as i\nimport random as _\ndef {name}(*a): return i",
    "an exception that is called again": "class E(Exception):\n    def __call__(s, *a): return s\n"
    "    def __eq__(s, o): return True\n    __hash__ = None\ndef {name}(*a): return E",
    "a module of the answer's own": "import types\nmade = types.ModuleType('numpy.f2py.__main__')\n"
    "open('.f2py_f2cmap', 'w').write('__import__(\"os\")._exit(0)')\nmath = string = made\ndef {name}(*a): return made",
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_answers_pass_nothing(published, kind):
    for name in ("humaneval", "mbpp-full"):
        examples = [each for each in published[name] if not each.id.endswith(":367")]
        done = scored(
            examples, [[WRONG[kind].format(name=each.entry_point)] for each in examples], Limits(cpu_seconds=1)
        )
        assert numbers(done) == []


def test_what_a_test_expects_cannot_be_overwritten():
    example = tasks.Example(
        "a", "", "def f(): return 42", ("assert f() == want", "assert f() == 42"), "want = 42", entry_point="f"
    )
    data = tasks.Example("b", "", "r = sorted(xs)", ("assert r == want",), "xs, want = [2, 1], [1, 2]")
    forged = ["want = 1\ndef f(): return 1", "r = want = 1"]
    assert [each.scores["pass@1"] for each in scored([example, data], [[x] for x in forged])] == [0, 0]
    assert [each.scores["pass@1"] for each in scored([example, data], [[example.code], [data.code]])] == [1, 1]


def test_values_that_cannot_cross_do_not_move_a_test_inside():
    example = tasks.Example("a", "", "def f(x): return {x: 1}", ("assert f(3)[3] == 1",), entry_point="f")
    forged = (
        "class All:\n    def __getitem__(s, o): return s\n    def __eq__(s, o): return True\ndef f(x): return All()"
    )
    (done,) = scored([example], [[forged, example.code]])
    assert done.verdicts == (("wrong",), ("passed",))


# --- tests that run inside ------------------------------------------------------------------------------------------

FILE = tasks.Example(
    "file",
    "",
    "def f(name):\n    open(name, 'w').write('hi')",
    ("f('x.txt')\nassert open('x.txt').read() == 'hi'", "assert f('y.txt') is None"),
    entry_point="f",
)
STACK = tasks.Example(
    "stack",
    "",
    "class Stack:\n    def __init__(self): self.xs = []\n    def push(self, x):\n        self.xs.append(x)\n"
    "        return self\n    def top(self): return self.xs[-1]\n",
    ("assert Stack().push(3).top() == 3",),
)
MOCKED = tasks.Example(
    "mocked",
    "",
    "import os\ndef f(): return os.getcwd()",
    ("from unittest.mock import Mock\nos.getcwd = Mock(return_value='/x')\nassert list(f()) == ['/', 'x']",),
    "import os",
    entry_point="f",
)


def test_the_reference_says_which_tests_run_inside_and_the_verdicts_say_so():
    examples = [FILE, STACK, MOCKED]
    done = scored(examples, [[each.code, "x = 1"] for each in examples])
    assert done[0].verdicts[0] == ("inside:passed", "passed")
    assert [each.verdicts[0][0] for each in done[1:]] == ["inside:passed", "inside:passed"]
    for each in done:
        assert execution.plain(each.verdicts[1][0]) in ("wrong", "runtime_error")
        assert each.verdicts[1][0].startswith("inside:")
        assert (each.scores["strict_accuracy"], each.scores["pass@1"]) == (1, 0.5)
    assert execution.codes(done[0].verdicts)[0] == [True, True]


def test_a_test_that_anything_passes_is_named_and_left_out_of_the_strict_scores():
    plot = tasks.Example("plot", "", "class Plot:\n    def show(self): return 1\ndef f(): return Plot()",
                         ("assert f() == f() or f().show()",), entry_point="f")  # fmt: skip
    other = tasks.Example("other", "", "def f(): return 1", ("assert f() == 1",), entry_point="f")
    done = scored([plot, other, FILE], [[plot.code], [other.code], [FILE.code]])
    assert [each.verdicts[0][0] for each in done] == ["inside:undecided:passed", "passed", "inside:passed"]
    assert [each.scores["strict_accuracy_ordered"] for each in done] == [None, 1, 1]
    assert [each.scores["pass@1"] for each in done] == [1, 1, 1]
    found = metrics.by_difficulty(done, [plot, other, FILE])["all"]
    assert (found["checked_inside"], found["undecided"]) == (2, ["plot"])
    assert found["first_answer"]["passed"] == 3
    assert "checked_inside" not in metrics.by_difficulty(done[1:2], [other])["all"]


def test_an_example_is_decided_where_one_of_its_tests_is():
    tests = ("import json\nx = [f(2)]\nassert len(x) == 1", "import json\nassert f(json.loads('2')) == 3")
    one = tasks.Example("one", "", "def f(x): return x + 1", tests[:1], entry_point="f")
    both = tasks.Example("both", "", "def f(x): return x + 1", tests, entry_point="f")
    done = scored([one, both], [[one.code], [both.code]])
    assert [each.scores["strict_accuracy"] for each in done] == [None, 1]
    assert metrics.by_difficulty(done, [one, both])["all"]["undecided"] == ["one"]
    again = [execution.with_verdicts(replace(each, scores={}), each.verdicts, sampled=True) for each in done]
    assert [each.scores for each in again] == [each.scores for each in done]


def test_without_a_reference_all_tests_run_outside():
    (done,) = scored([replace(STACK, code="")], [[STACK.code]])
    assert not execution.marked(done.verdicts[0])
    assert done.scores["pass@1"] == 0


def test_references_of_tests_that_only_call_a_function_are_not_run():
    plain = tasks.Example("a", "", "def f(x): return x", ("assert f(3) == 3", "assert max(f(1), f(2)) > 1"),
                          "import math", entry_point="f")  # fmt: skip
    assert inside.self_contained(job(plain, plain.code))
    for test in (
        "assert f(3).x == 3",
        "f(3)\nassert open('x')",
        "import os\nassert f(3)",
        "assert g(3)",
        "assert f is f.f",
    ):
        example = replace(plain, tests=(test,))
        assert not inside.self_contained(job(example, example.code)), test


def test_a_failure_is_shown_as_it_was_judged():
    (done,) = scored([STACK], [[STACK.code.replace("self.xs[-1]", "0")]])
    failure = metrics.first_failure([STACK], [done], allow_code_execution=True)
    assert (failure.verdict, failure.test) == ("wrong", STACK.tests[0])


# --- ODEX -----------------------------------------------------------------------------------------------------------

# References that fail here and in a plain interpreter, by the reason.
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


def usable(example) -> bool:
    """Whether all that it needs is installed, and no reason is known why it fails."""
    number = example.id.split(":")[1]
    needed = {*example.libraries, *([NEEDS[number]] if number in NEEDS else [])}
    known = NETWORK | OLD_LIBRARIES | NO_PYTHON
    return number not in known and all(importlib.util.find_spec(each) for each in needed)


@pytest.fixture(scope="module")
def odex(real_data):
    return tasks.load("odex-all", real_data / "odex").test


def test_the_exceptions_of_odex_are_rows(odex):
    found = {each.id.split(":")[1] for each in odex}
    assert NETWORK | OLD_LIBRARIES | NO_PYTHON | set(NEEDS) <= found
    assert sum(map(usable, odex)) > 400


def test_what_stands_before_the_tests_of_odex_is_set_up(odex):
    assert all(each.tests[0].startswith("def check(") for each in odex)
    assert sum("import" in each.test_setup for each in odex) > 100


def test_some_references_of_odex_pass(odex):
    light = [each for each in odex if usable(each) and not {"numpy", "pandas", "matplotlib"} & set(each.libraries)]
    some = light[::8]
    assert numbers(scored(some, [[each.code] for each in some], ROOMY), False) == []


@pytest.mark.slow
def test_references_of_odex_pass_as_often_as_in_plain_python(odex):
    some = [each for each in odex if usable(each)]
    done = scored(some, [[each.code] for each in some], ROOMY)
    assert numbers(done, False) == []
    found = metrics.by_difficulty(done, some)["all"]
    assert found["checked_inside"] <= 80
    assert len(found["undecided"]) <= 40
    assert {"41861705", "13745648", "12842997", "299446", "20546419"} <= {id.split(":")[1] for id in found["undecided"]}

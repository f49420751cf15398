"""Verdicts of programs that are run for real: right on rows of the published forms, and not to be forged."""

import gzip
import importlib.util
import json
from dataclasses import replace

import pytest

from nblib import metrics, tables, tasks
from nblib.metrics import verdicts
from nblib.metrics.execution import has_tests
from nblib.results import Prediction
from nblib.sandbox import Limits
from nblib.tasks import Example

SHORT, SECOND = Limits(cpu_seconds=2.0), Limits(cpu_seconds=1.0)


def run(examples, answers, limits=SHORT) -> list[Prediction]:
    """Each example's own list of programs, executed."""
    given = [Prediction(row.id, (), tuple(codes), 0, 0) for row, codes in zip(examples, answers, strict=True)]
    return metrics.execute(examples, given, sampled=True, limits=limits, allow_code_execution=True)


def run_references(examples, limits=SHORT) -> list[Prediction]:
    return run(examples, [[row.code] for row in examples], limits)


def ends(example: Example, *codes: str) -> list[str]:
    """How each program ends on the example's tests."""
    (done,) = run([example], [codes], SECOND)
    return [verdicts.kind(answer) for answer in done.verdicts]


def passing(predictions) -> set[str]:
    """The numbers, in their ids, of those with an answer that passes."""
    return {row.example.split(":")[-1] for row in predictions if any(map(verdicts.passes, row.verdicts))}


def numbers(examples) -> set[str]:
    return {row.id.split(":")[-1] for row in examples}


def of_the_next(examples) -> list[Prediction]:
    """Each example answered with the reference of the next; three tests tell, so no more are run."""
    few = [replace(row, tests=row.tests[:3], inputs=row.inputs[:3], outputs=row.outputs[:3]) for row in examples]
    return run(few, [[row.code] for row in (*examples[1:], examples[0])], SECOND)


# --- the kinds of tests ---------------------------------------------------------------------------------------------

DOUBLE = Example("double", "Print twice the number.", "", inputs=("2\n", "5\n"), outputs=("4\n", "10\n"))


STREAMED = {
    "import sys\nx = int(sys.stdin.read())\nif x > 3:\n    print(2 * x)\n    sys.exit()\nprint(2 * x)": "passed",
    "def main():\n    print(int(input()) * 2)\nif __name__ == '__main__':\n    main()": "passed",
    "x = int(input())\nprint(2 * x)\nreturn": "passed",
    "x = int(input())\ntext = '''a\nb'''\ndef f():\n    nonlocal x\n    x *= 2\nf()\nprint(x)": "passed",
    "print(4)": "wrong",
    "raise SystemExit(int(input()))": "wrong",
    "print(2 * int(input())": "compile_error",
    "print(1 / 0)": "runtime_error",
    "while True: pass": "time_out",
}
CALLED = {
    "def f(xs):\n    return tuple(reversed(xs))": "passed",
    "class Solution:\n    def f(self, xs: List[int]) -> List[int]:\n        return xs[::-1]": "passed",
    "def f(xs):\n    return xs": "wrong",
    "def f(xs):\n    print([2, 1])": "wrong",
    "def f(xs):\n    return xs[7]": "runtime_error",
    "def g(xs):  # f\n    return xs": "runtime_error",
}
BLOCK = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 6\n\ncheck(f)"
ASSERTED = {
    "def f(x):\n    return math.floor(2 * x)": "passed",
    "def f(x):\n    return 4": "wrong",
    "def f(x) return x": "compile_error",
}


def test_programs_that_read_functions_that_are_called_and_code_before_assertions():
    called = Example("a", "", "", entry_point="f", inputs=("[[1, 2]]", "[[]]"), outputs=("[2, 1]", "[[]]"))
    asserted = Example("b", "", "", tests=("assert f(2) == 4", BLOCK), test_setup="import math", entry_point="f")
    for example, programs in ((DOUBLE, STREAMED), (called, CALLED), (asserted, ASSERTED)):
        assert dict(zip(programs, ends(example, *programs), strict=True)) == programs


def test_a_failing_answer_is_shown_with_its_test_and_what_it_gives():
    called = Example("called", "Return the sum.", "", entry_point="f", inputs=("[[1, 2]]",), outputs=("3",))
    examples = [DOUBLE, called, STACK]
    answers = [["print(1 / 0)"], ["def f(xs): return max(xs)"], [STACK.code.replace("self.xs[-1]", "0")]]
    done = run(examples, answers)
    for chosen, shown in {(0, 1): ("called", "[[1, 2]]", "3", "2", "wrong"), (0,): ("double", "2\n", "4\n")}.items():
        pair = [examples[place] for place in chosen], [done[place] for place in chosen]
        found = metrics.first_failure(*pair, allow_code_execution=True)  # what runs and is wrong comes first
        values = (found.example, found.test, found.expected, found.got, found.verdict)
        assert values[: len(shown)] == shown
    assert (found.verdict, "ZeroDivisionError" in found.got) == ("runtime_error", True)
    assert "print(1 / 0)" in tables.failure(found).text
    inside = metrics.first_failure([STACK], done[2:], allow_code_execution=True)  # shown as it was judged
    assert (inside.verdict, inside.test, inside.expected) == ("wrong", STACK.tests[0], "it holds")
    right = run([DOUBLE], [["print(2 * int(input()))"]])
    assert metrics.first_failure([DOUBLE], right, allow_code_execution=True) is None


# --- the shipped tasks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "untested", "step"),
    [
        ("conala-mini", 19, 8),
        ("codealpaca-mini", 4, 8),
        ("apps-mini", 0, 8),
        pytest.param("apps-mini", 0, 1, marks=pytest.mark.slow),
    ],
)
def test_references_of_a_shipped_task_pass_and_other_answers_fail(name, untested, step):
    examples = [row for row in tasks.load(name).test if has_tests(row)]
    assert len(examples) == 200 - untested
    some = examples[::step]
    table = metrics.summary(run(some, [[row.code, ""] for row in some], Limits()), some)
    assert table["strict_accuracy_ordered"] == {"mean": 1, "n": len(some), "missing": 0}
    assert table["pass@1"]["mean"] == 0.5  # the empty answer fails everywhere
    assert passing(of_the_next(some[:40])) == set()


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
]  # fmt: skip


def mbpp(number: int, code: str, *tests: str, setup: str = "") -> dict:
    return {"task_id": number, "text": "Do it.", "code": code, "test_list": list(tests), "test_setup_code": setup}


NODE = "class Node:\n    def __init__(self, data):\n        self.data = data\n        self.left = None\n"
MBPP = [
    mbpp(11, "def remove(s, c):\r\n    return s.replace(c, '')", "assert remove('hello', 'l') == 'heo'",
         "assert remove('abc', 'x') == 'abc'"),
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


def test_references_of_the_published_forms_pass(published):
    for name, inside in {"humaneval": set(), "humaneval-body": set(), "mbpp-full": {"367"}}.items():
        done = run_references(published[name])
        assert passing(done) == numbers(published[name])
        assert {row.example.split(":")[1] for row in done if verdicts.marked(row.verdicts[0])} == inside
    decode = next(row for row in published["humaneval"] if row.id.endswith("/38"))
    wrong = "def encode(s):\n    return s\ndef decode(s):\n    return s"  # its own helper serves the answer only
    assert ends(decode, decode.code, wrong) == ["passed", "wrong"]


def test_what_a_test_expects_cannot_be_overwritten():
    example = Example(
        "a", "", "def f(): return 42", ("assert f() == want", "assert f() == 42"), "want = 42", entry_point="f"
    )
    data = Example("b", "", "r = sorted(xs)", ("assert r == want",), "xs, want = [2, 1], [1, 2]")
    for row, forged in {example: "want = 1\ndef f(): return 1", data: "r = want = 1"}.items():
        assert ends(row, row.code)[0] == "passed" != ends(row, forged)[0]


def test_only_a_reference_can_move_a_test_inside():
    example = Example("a", "", "def f(x): return {x: 1}", ("assert f(3)[3] == 1",), entry_point="f")
    forged = (
        "class All:\n    def __getitem__(s, o): return s\n    def __eq__(s, o): return True\ndef f(x): return All()"
    )
    done = run([example, replace(STACK, code="")], [[forged, example.code], [STACK.code]])
    assert [row.verdicts for row in done] == [(("wrong",), ("passed",)), (("wrong",),)]


# --- tests that run inside ------------------------------------------------------------------------------------------

FILE = Example("file", "", "def f(name):\n    open(name, 'w').write('hi')",
               ("f('x.txt')\nassert open('x.txt').read() == 'hi'", "assert f('y.txt') is None"),
               entry_point="f")  # fmt: skip
STACK = Example("stack", "",
                "class Stack:\n    def __init__(self): self.xs = []\n    def push(self, x):\n"
                "        self.xs.append(x)\n        return self\n    def top(self): return self.xs[-1]\n",
                ("assert Stack().push(3).top() == 3",))  # fmt: skip
MOCKED = Example("mocked", "", "import os\ndef f(): return os.getcwd()",
                 ("from unittest.mock import Mock\nos.getcwd = Mock(return_value='/x')\nassert f()[1:] == 'x'",),
                 "import os", entry_point="f")  # fmt: skip


def test_the_reference_says_which_tests_run_inside_and_the_verdicts_say_so():
    examples = [FILE, STACK, MOCKED]
    done = run(examples, [[row.code, "x = 1"] for row in examples])
    assert done[0].verdicts[0] == ("inside:passed", "passed")
    assert [row.verdicts[0][0] for row in done[1:]] == ["inside:passed", "inside:passed"]
    for row in done:
        assert verdicts.plain(row.verdicts[1][0]) in ("wrong", "runtime_error")
        assert row.verdicts[1][0].startswith("inside:")
        assert (row.scores["strict_accuracy"], row.scores["pass@1"]) == (1, 0.5)


def test_a_test_that_anything_passes_is_named_and_left_out_of_the_strict_scores():
    plot = Example("plot", "", "class Plot:\n    def show(self): return 1\ndef f(): return Plot()",
                         ("assert f() == f() or f().show()",), entry_point="f")  # fmt: skip
    other = Example("other", "", "def f(): return 1", ("assert f() == 1",), entry_point="f")
    done = run([plot, other, FILE], [[plot.code], [other.code], [FILE.code]])
    assert [row.verdicts[0][0] for row in done] == ["inside:undecided:passed", "passed", "inside:passed"]
    assert [row.scores["strict_accuracy_ordered"] for row in done] == [None, 1, 1]
    assert [row.scores["pass@1"] for row in done] == [1, 1, 1]
    found = metrics.by_difficulty(done, [plot, other, FILE])["all"]
    assert (found["checked_inside"], found["undecided"]) == (2, ["plot"])
    assert found["first_answer"]["passed"] == 3
    assert "checked_inside" not in metrics.by_difficulty(done[1:2], [other])["all"]


def test_an_example_is_decided_where_one_of_its_tests_is():
    tests = ("import json\nx = [f(2)]\nassert len(x) == 1", "import json\nassert f(json.loads('2')) == 3")
    one = Example("one", "", "def f(x): return x + 1", tests[:1], entry_point="f")
    both = replace(one, id="both", tests=tests)
    done = run([one, both], [[one.code], [both.code]])
    assert [row.scores["strict_accuracy"] for row in done] == [None, 1]


# --- ODEX -----------------------------------------------------------------------------------------------------------

# References that fail here and in a plain interpreter: no network, libraries of 2022, tabs mixed with spaces.
FAILING = set(
    "22676 7243750 2805231 34945274 35622945 28986489 9938130 18897261 20865487 36402748 4490961 13740672".split()
)
NEEDS = {"8315209": "mock", "29877663": "html5lib", "755857": "django", "4530069": "pytz", "22799300": "scipy"}
ROOMY = Limits(cpu_seconds=30.0, wall_seconds=300.0, memory_bytes=2**31)


def usable(example) -> bool:
    """Whether all that it needs is installed, and no reason is known why it fails."""
    number = example.id.split(":")[1]
    needed = {*example.libraries, *([NEEDS[number]] if number in NEEDS else [])}
    return number not in FAILING and all(importlib.util.find_spec(name) for name in needed)


@pytest.mark.slow
def test_references_of_odex_pass_as_often_as_in_plain_python(real_data):
    odex = tasks.load("odex-all", real_data / "odex").test
    assert FAILING | set(NEEDS) <= numbers(odex)
    some = [row for row in odex if usable(row)]
    done = run_references(some, ROOMY)
    assert passing(done) == numbers(some)
    found = metrics.by_difficulty(done, some)["all"]
    assert found["checked_inside"] <= 80
    assert len(found["undecided"]) <= 40
    assert {"41861705", "13745648", "12842997", "299446", "20546419"} <= {id.split(":")[1] for id in found["undecided"]}


# --- APPS's own rows ------------------------------------------------------------------------------------------------

ANSWERED_OTHERWISE = {"2378"}  # any of several answers is right, but the tests know one, and not the first solution's
ONLY_LOOSELY = {"2398"}  # columns may come in any order, and the first solution takes another than the tests


@pytest.mark.slow
def test_listed_solutions_of_apps_pass_and_those_of_other_problems_do_not(real_data):
    apps = list(tasks.read("apps", "train", real_data / "apps"))
    first = run(apps, [row.solutions[:1] for row in apps], Limits())
    assert passing(first) == numbers(apps) - ANSWERED_OTHERWISE
    loose = {row.example for row in first if row.scores["strict_accuracy"] != row.scores["strict_accuracy_ordered"]}
    assert {id.split(":")[1] for id in loose} == ONLY_LOOSELY
    left = [row for row in apps if numbers([row]) <= ANSWERED_OTHERWISE]
    assert passing(run(left, [row.solutions[1:9] for row in left], Limits())) == ANSWERED_OTHERWISE
    for called in True, False:
        assert passing(of_the_next([row for row in apps if bool(row.entry_point) == called])) == set()

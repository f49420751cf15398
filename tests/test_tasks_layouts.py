"""Rows in their datasets' own fields to examples."""

import ast
import gzip
import json
import warnings

import pytest

from nblib import tasks
from nblib.tasks import files, layouts


def example(layout, row):
    return layouts.example(layout, row, "here, line 1", 1)


def apps(**row):
    return example("apps", {"problem_id": 3, "question": "Do it."} | row)


def run(shown: tasks.Example, answer: str) -> None:
    """What a scorer does, without its protection: only for rows that stand in this file."""
    names: dict = {}
    exec("\n".join([shown.test_setup, tasks.program(shown, answer), *shown.tests]), names)


# --- pairs ----------------------------------------------------------------------------------------------------------


def test_a_pair_has_its_operation_and_whether_it_is_known_where_the_row_says_so():
    row = {"nl": "sort `xs`", "cmd": "xs.sort()"}
    plain = example("pairs", row)
    assert (plain.operation, plain.known) == ("", None)
    told = example("pairs", row | {"operation": "{l}.sort()", "known": False})
    assert (told.operation, told.known) == ("{l}.sort()", False)
    with pytest.raises(ValueError, match="here, line 1: the field 'known' must hold true or false; got str"):
        example("pairs", row | {"known": "yes"})


# --- APPS -----------------------------------------------------------------------------------------------------------


def test_standard_input_and_output_stay_text():
    given = apps(input_output=json.dumps({"inputs": ["1\n2\n", ["1", "2"], 3], "outputs": ["3\n", ["3", "4"], 5]}))
    assert given.inputs == ("1\n2\n", "1\n2", "3")
    assert given.outputs == ("3\n", "3\n4", "5")
    assert given.entry_point == ""


def test_a_called_function_has_its_arguments_and_value_as_json():
    tests = {"fn_name": "f", "inputs": [[[1, 2], "a\u00e9"], 7], "outputs": [{"1": [True, None]}, [1.50]]}
    given = apps(input_output=json.dumps(tests), starter_code="def f(xs):")
    assert given.entry_point == "f"
    assert [json.loads(each) for each in given.inputs] == [[[1, 2], "a\u00e9"], [7]]
    assert [json.loads(each) for each in given.outputs] == [{"1": [True, None]}, [1.5]]


def test_numbers_keep_their_digits():
    long = "7" * 5000
    called = f'{{"fn_name": "f", "inputs": [[{long}, 1.10]], "outputs": [-{long}]}}'
    given = apps(input_output=called)
    assert given.inputs == (f"[{long}, 1.10]",)
    assert given.outputs == (f"-{long}",)
    assert apps(input_output=called.replace('"fn_name": "f", ', "")).outputs == (f"-{long}",)


@pytest.mark.parametrize("empty", ["", "  ", None, "null", "{}", '{"inputs": [], "outputs": []}'])
def test_a_problem_without_tests_has_none(empty):
    assert apps(input_output=empty).inputs == ()


@pytest.mark.parametrize(
    ("text", "solutions"),
    [
        ("", ()),
        (None, ()),
        ("[]", ()),
        ('["a = 1\\n", "", "b"]', ("a = 1", "b")),
        ('["a = 1", "cut', ()),
        ("print(1)", ("print(1)",)),
        (["a"], ("a",)),
    ],
)
def test_solutions_are_read_as_far_as_they_are_any(text, solutions):
    given = apps(solutions=text)
    assert given.solutions == solutions
    assert given.code == (solutions[0] if solutions else "")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input_output": "{'inputs'"}, "the field 'input_output' must hold JSON"),
        ({"input_output": "[1]"}, "the field 'input_output' must hold lists called inputs and outputs"),
        ({"input_output": '{"inputs": "1", "outputs": ["1"]}'}, "must hold lists called inputs and outputs"),
        ({"question": ""}, "no intent; the field 'question' must hold text"),
        ({"difficulty": 3}, "the field 'difficulty' must hold text; got int"),
    ],
)
def test_a_broken_problem_is_refused_with_its_line(row, message):
    with pytest.raises(ValueError, match="here, line 1: ") as refused:
        apps(**row)
    assert message in str(refused.value)


def test_a_test_problem_without_code_stays_and_a_training_problem_does_not(tmp_path):
    row = {"id": 1, "question": "Do it.", "solutions": "", "input_output": '{"inputs": ["1"], "outputs": ["1"]}'}
    (tmp_path / "test.jsonl").write_text(json.dumps(row))
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | {"solutions": '["print(1)"]'}))
    data = tasks.load("apps", tmp_path)
    assert (len(data.train), data.without_code) == (1, 1)
    assert data.test[0].code == ""
    assert data.test[0].inputs == ("1",)


# --- ODEX, MBPP, HumanEval ------------------------------------------------------------------------------------------

PIECE = {
    "task_id": 9,
    "prompt": "def f_9(xs):\n\txs = ",
    "suffix": "\n\treturn xs",
    "canonical_solution": "sorted(xs)",
    "test_start": "\nimport math\n\ndef check(candidate):",
    "test": [
        "\n    first = [2, 1]\n    assert candidate(first) == [1, 2]\n",
        "\n    assert candidate(first[:1]) == [2]\n",
    ],
    "entry_point": "f_9",
    "intent": "sort `xs`",
    "library": ["math"],
}
FUNCTION = {
    "task_id": "HumanEval/1",
    "prompt": 'import math\n\ndef half(x):\n    return x / 2\n\ndef root(x: float):\n    """Root of half of x."""\n',
    "canonical_solution": "    return math.sqrt(half(x))\n",
    "test": "\nMETADATA = {}\n\ndef check(candidate):\n    assert candidate(8) == 2\n",
    "entry_point": "root",
}


def test_an_answer_to_odex_stands_in_its_function():
    given = example("odex", PIECE)
    assert (given.code, given.libraries, given.entry_point) == ("sorted(xs)", ("math",), "f_9")
    run(given, given.code)
    run(given, "def f_9(xs):\n    return sorted(xs)")
    run(given, "xs\n\treturn sorted(xs)")
    with pytest.raises(AssertionError):
        run(given, "xs")


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        ("class Solution:\n    def f(self):\n        return 1", True),
        ("f = lambda: 1", True),
        ("return f2()", False),
        ("def f2():\n    return 1", False),
    ],
)
def test_an_answer_is_whole_where_it_defines_what_is_called(answer, whole):
    given = apps(input_output='{"fn_name": "f", "inputs": [[]], "outputs": [1]}', starter_code="def f():\n    ")
    assert tasks.program(given, answer) == (answer if whole else f"def f():\n    {answer}")


@pytest.mark.parametrize(
    "form",
    [
        {"text": "Square root.", "test_setup_code": "import math", "challenge_test_list": ["assert False"]},
        {"prompt": "Square root.", "test_imports": ["import math"], "source_file": "a.ipynb"},
    ],
    ids=["full", "sanitized"],
)
def test_mbpp_names_its_function_by_its_tests(form):
    code = "def help(x):\r\n    return x\r\n\r\ndef root(x):\r\n    return math.sqrt(help(x))"
    given = example(
        "mbpp", form | {"task_id": 2, "code": code, "test_list": ["assert root(4) == 2", "assert root(0) == 0"]}
    )
    assert given.intent == "Square root.\nYour code should pass these tests:\nassert root(4) == 2\nassert root(0) == 0"
    assert (given.entry_point, given.id, given.test_setup) == ("root", "1:2", "import math")
    assert "\r" not in given.code
    run(given, given.code)
    with pytest.raises(AssertionError):
        run(given, "def root(x):\n    return x")


def test_humaneval_gives_every_answer_the_imports_and_helpers_of_its_prompt():
    given = example("humaneval", FUNCTION)
    assert given.intent.startswith("Complete this function; answer with the whole of it.\nimport math")
    assert given.test_setup == "import math\n\ndef half(x):\n    return x / 2"
    run(given, given.code)
    run(given, "def root(x):\n    return math.sqrt(half(x))")
    with pytest.raises(AssertionError):
        run(given, "def root(x):\n    return x")


def test_the_real_pieces_of_odex_stand_in_their_functions(real_data):
    rows = list(tasks.read("odex-all", "test", real_data / "odex"))
    broken = []
    for row in rows:
        try:
            with warnings.catch_warnings(action="ignore"):  # of texts such as '\S', in two of them
                ast.parse(tasks.program(row, row.code) + "\n" + row.tests[0])
        except SyntaxError:
            broken.append(row.id.split(":")[1])
    assert len(rows) == 439
    assert broken == ["13740672"]  # its reference mixes tabs and spaces


# --- files ----------------------------------------------------------------------------------------------------------


def test_blank_lines_and_compressed_files_are_read(tmp_path):
    text = '{"a": 1}\n\n{"a": 2}\n'
    (tmp_path / "rows.jsonl").write_text(text)
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("rows.jsonl", "rows.jsonl.gz"):
        assert list(files.rows(tmp_path / name, name)) == [(f"{name}, line 1", {"a": 1}), (f"{name}, line 3", {"a": 2})]

import gzip
import json
import os
import re

import pytest

from nblib import tasks
from nblib.tasks import content, formats

ROW = {"nl": "sort list `xs`", "cmd": "xs.sort()"}
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


def folder(path, **lines):
    for split in tasks.SPLITS:
        text = lines.get(split, json.dumps(ROW) + "\n")
        if text is not None:
            (path / f"{split}.jsonl").write_text(text)
    return path


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def problem(number, difficulty="interview"):
    tests = json.dumps({"inputs": [f"{number}\n"], "outputs": [f"{2 * number}\n"]})
    solutions = '["print(2 * int(input()))"]'
    row = {"problem_id": number, "question": f"Double {number}.", "solutions": solutions, "input_output": tests}
    return row | {"difficulty": difficulty, "starter_code": "", "url": ""}


# --- what is shipped ------------------------------------------------------------------------------------------------


def test_the_shipped_tasks_load_without_a_network():
    # Ids of finished runs hang on the hashes: where they differ, every stored result is orphaned.
    hashes = {"conala-mini": "1510141b5c502da0", "codealpaca-mini": "69ef60c621c8c449"}
    for name in (*hashes, "apps-mini"):
        data = tasks.load(name)
        assert (len(data.train), len(data.validation), len(data.test)) == (800, 100, 200)
        assert len({example.id for example in data.test}) == 200
        assert any(example.tests or example.inputs for example in data.test)
        assert (data.name, data.revision, data.content) == (name, None, hashes.get(name, data.content))
        assert {row.known for row in data.test} == ({True, False} if name == "conala-mini" else {None})
    called = next(example for example in data.test if example.entry_point)
    assert called.starter_code.startswith(f"def {called.entry_point}(")
    assert isinstance(json.loads(called.inputs[0]), list)
    assert {example.difficulty for example in data.test} == set(tasks.DIFFICULTIES)


def test_the_real_corpora_load(tmp_path, real_data):
    for split in ("train", "test"):
        os.symlink(real_data / "apps" / "train.jsonl", tmp_path / f"{split}.jsonl")
    sizes = {  # training, validation, test, without code, known to another task
        ("conala", "conala"): (2135, 201, 543, 0, 0),
        ("codealpacapy", "codealpacapy"): (2193, 314, 628, 1, 0),
        ("conala+codealpacapy", ""): (2135 + 2193, 201 + 314, 543 + 628, 1, 0),
        ("odex", "odex"): (0, 0, 143, 0, 296),
        ("odex-all", "odex"): (0, 0, 439, 0, 0),
        ("apps", tmp_path): (92, 10, 102, 0, 0),
    }
    for (name, folder), counts in sizes.items():
        data = tasks.load(name, real_data / folder)
        splits = [getattr(data, split) for split in tasks.SPLITS]
        assert (*map(len, splits), data.without_code, data.known_intents) == counts, name
        assert all(len({row.id for row in split}) == len(split) for split in splits)
    assert sum(bool(example.entry_point) for example in data.test) == 10
    assert all(len(example.inputs) == len(example.outputs) > 0 for example in data.test)


# --- identity -------------------------------------------------------------------------------------------------------


def test_the_content_hash_counts_a_new_field_only_where_it_is_set():
    one = tasks.Example("1", "add", "x + 1")
    two = tasks.Example("2", "b", "y", ("assert y",), "import os")
    assert content([(one,), (two,), (one, two)]) == "600ab2abbb138c0a"
    assert content([(one,), (one,), (one,)]) == "13f3524627702826"
    hard = tasks.Example("1", "add", "x + 1", difficulty="hard")
    assert content([(hard,), (two,), (one, two)]) != "600ab2abbb138c0a"


# --- sources --------------------------------------------------------------------------------------------------------


def test_one_file_of_mbpp_is_split_by_its_published_ids(tmp_path):
    row = {"prompt": "Double x.", "code": "def f(x):\n    return 2 * x", "test_list": ["assert f(1) == 2"]}
    path = tmp_path / "sanitized-mbpp.json"
    path.write_text(json.dumps([row | {"task_id": id} for id in (2, 11, 510, 511, 600, 601, 974)], indent=2))
    data = tasks.load("mbpp", path)
    assert [example.id for example in data.test] == ["2:11", "3:510"]
    assert [example.id for example in data.validation] == ["4:511", "5:600"]
    assert [example.id for example in data.train] == ["6:601", "7:974"]


def test_published_files_are_found_in_a_folder_by_their_names(tmp_path):
    row = {"code": "def f(x):\n    return 2 * x", "test_list": ["assert f(1) == 2"]}
    ids = (11, 511, 601)
    (tmp_path / "HumanEval.jsonl.gz").write_bytes(gzip.compress(json.dumps(FUNCTION).encode()))
    (tmp_path / "sanitized-mbpp.json").write_text(
        json.dumps([row | {"prompt": "Double.", "task_id": id} for id in ids])
    )
    write(tmp_path / "mbpp.jsonl", *[row | {"text": "Double.", "task_id": id} for id in ids])
    assert len(tasks.load("humaneval", tmp_path).test) == 1
    for name in ("mbpp", "mbpp-full"):
        data = tasks.load(name, tmp_path)
        assert [len(getattr(data, split)) for split in tasks.SPLITS] == [1, 1, 1]
    write(tmp_path / "test.jsonl", FUNCTION, FUNCTION)
    assert len(tasks.load("humaneval", tmp_path).test) == 2  # a file by a split's name comes first


def test_a_row_of_humaneval_without_tests_is_refused(tmp_path):
    for field in ("test", "entry_point"):
        path = write(tmp_path / "test.jsonl", FUNCTION | {field: ""})
        with pytest.raises(ValueError, match=f"line 1: no tests; the field '{field}' must hold text"):
            tasks.load("humaneval", path)


def test_a_revision_without_a_hub_is_refused(tmp_path):
    for name, place in (("conala", folder(tmp_path)), ("conala-mini", None), ("conala+codealpacapy", None)):
        with pytest.raises(ValueError, match="revision is for one repository of the Hub; got 'v1'"):
            tasks.load(name, place, revision="v1")


def test_one_split_is_read_without_the_others(tmp_path):
    write(tmp_path / "train.jsonl", *[problem(number) for number in range(3)])
    assert [example.id for example in tasks.read("apps", "train", tmp_path)] == ["1:0", "2:1", "3:2"]
    with pytest.raises(ValueError, match="a split is one of train, validation, test of one task; got 'dev'"):
        tasks.read("apps", "dev", tmp_path)


# --- APPS -----------------------------------------------------------------------------------------------------------


def test_apps_takes_the_first_problems_of_each_difficulty_and_reads_no_further(tmp_path):
    many = [problem(number, level) for level in ("interview", "competition", "introductory") for number in range(260)]
    write(tmp_path / "train.jsonl", problem(1))
    write(tmp_path / "test.jsonl", *many)
    with (tmp_path / "test.jsonl").open("a") as file:
        file.write("this line is never read")
    test = tasks.load("apps", tmp_path).test
    assert len(test) == 750
    assert [example.id for example in test[::250]] == ["1:0", "261:0", "521:0"]
    with pytest.raises(ValueError, match="line 781: not JSON"):
        tasks.load("apps-all", tmp_path)


def test_apps_holds_out_validation_rows_in_the_order_in_which_datasets_shuffles(tmp_path):
    import datasets

    write(tmp_path / "train.jsonl", *[problem(number) for number in range(40)])
    write(tmp_path / "test.jsonl", problem(100))
    data = tasks.load("apps", tmp_path)
    shuffled = datasets.Dataset.from_dict({"id": list(range(40))}).shuffle(seed=42)["id"]
    assert [int(example.id.split(":")[1]) for example in (*data.validation, *data.train)] == list(shuffled)
    assert (len(data.train), len(data.validation)) == (36, 4)
    write(tmp_path / "validation.jsonl", problem(1), problem(2))
    data = tasks.load("apps", tmp_path)
    assert (len(data.train), len(data.validation)) == (40, 2)


# --- ODEX -----------------------------------------------------------------------------------------------------------


def test_odex_leaves_out_what_conala_trains_on(tmp_path):
    write(tmp_path / "odex" / "test.jsonl", PIECE, PIECE | {"intent": ROW["nl"]}, PIECE | {"intent": "halve x"})
    write(tmp_path / "conala" / "train.jsonl", ROW)
    data = tasks.load("odex", tmp_path / "odex")
    assert [example.intent for example in data.test] == ["sort `xs`", "halve x"]
    assert [example.id for example in data.test] == ["1:9", "3:9"]  # as in the whole file
    assert data.known_intents == 1
    assert len(tasks.load("odex-all", tmp_path / "odex").test) == 3


# --- joint tasks ----------------------------------------------------------------------------------------------------


def test_a_joint_task_is_its_parts_one_after_the_other():
    joint, parts = tasks.load("conala-mini+codealpaca-mini"), [tasks.load("conala-mini"), tasks.load("codealpaca-mini")]
    assert (len(joint.train), len(joint.validation), len(joint.test)) == (1600, 200, 400)
    assert [example.code for example in joint.test] == [example.code for part in parts for example in part.test]
    assert len({example.id for example in joint.test}) == 400
    assert joint.test[0].id.startswith("conala-mini/")
    assert joint.content not in [part.content for part in parts]
    task = tasks.get(joint.name)
    assert tasks.source(task, joint.test[0]) == tasks.source(tasks.get("conala-mini"), parts[0].test[0])
    assert tasks.source(task, joint.test[-1]) == tasks.TASKS["codealpaca-mini"]
    assert (task.input_tokens, task.output_tokens, task.stops, task.executed, task.sampled) == (
        128,
        128,
        (),
        False,
        False,
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("conala+apps", "tasks of one prompt style can be joined; got conala with instruction, apps with apps"),
        ("conala+conala", "a joint task must name each task once"),
        ("conala+", "task must be one of conala-mini, .*, some of them joined by .* got 'conala.'"),
        ("conla", "task must be one of conala-mini, .* a file or folder of your own, or a Hub dataset .*; got 'conla'"),
    ],
)
def test_an_unknown_task_or_join_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        tasks.load(name)


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        ({"test": None}, FileNotFoundError, "test.jsonl is missing; a data folder holds"),
        ({"test": ""}, ValueError, "test.jsonl has no rows"),
        ({"test": json.dumps(ROW) + '\n{"nl": "cut'}, ValueError, "test.jsonl, line 2: not JSON"),
        ({"train": '{"cmd": "x"}'}, ValueError, "train.jsonl, line 1: no intent; the field 'nl' must hold text"),
        ({"test": '{"nl": "do", "cmd": null}'}, ValueError, "test row '1' has no code"),
        ({"train": '{"nl": 3}'}, ValueError, "line 1: the field 'nl' must hold text; got int"),
        (
            {"train": '\n{"nl": "a", "test_list": "assert a"}'},
            ValueError,
            "line 2: the field 'test_list' must hold a list",
        ),
        (
            {"train": f"{json.dumps(ROW)}\n{json.dumps(ROW | {'cmd': chr(0xD800)})}"},
            ValueError,
            r"train.jsonl, line 2: '\ud800' is half of a character",
        ),
        (
            {"test": json.dumps(ROW | {"test_list": ["assert x", "x = '\udc01'"]})},
            ValueError,
            r"line 1: '\udc01' is half",
        ),
        ({"train": "[" * 100_000}, ValueError, "line 1: JSON that cannot be read"),
    ],
)
def test_bad_data_is_refused_with_file_and_line(tmp_path, lines, kind, message):
    with pytest.raises(kind) as refused:
        tasks.load("conala", folder(tmp_path, **lines))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


CAFE = json.dumps(PIECE | {"intent": "café"}, ensure_ascii=False)
LINES = f"{json.dumps(PIECE)}\n" * 500 + f"{CAFE}\n"


@pytest.mark.parametrize(
    ("name", "text", "encoding", "message"),
    [
        ("test.jsonl", LINES, "latin-1", "line 501: not UTF-8 text (byte 0xe9, as in Latin-1 or Windows-1252)"),
        ("test.jsonl", LINES, "utf-16", "line 1: not UTF-8 text (byte 0xff, as in UTF-16)"),
        ("test.json", f"[\n{json.dumps(PIECE)},\n{CAFE}]", "latin-1", "line 3: not UTF-8 text (byte 0xe9"),
        ("test.json", f"[\n{json.dumps(PIECE)},\nx]", "utf-8", "line 3: not JSON (Expecting value); the file is one"),
    ],
)
def test_text_that_is_not_utf8_is_refused_with_its_file_and_line(tmp_path, name, text, encoding, message):
    written = text.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(written) if name.endswith(".gz") else written)
    with pytest.raises(ValueError, match=re.escape(f"{name}, {message}")) as refused:
        tasks.load("odex-all", tmp_path / name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("blank", ["", "\r\n \n"])
@pytest.mark.parametrize("name", ["test.jsonl", "test.json", "test.jsonl.gz"])
def test_a_byte_order_mark_and_blank_lines_at_both_ends_are_passed_over(tmp_path, name, blank):
    row = json.dumps(PIECE)
    rows = f"[{row}]" if name == "test.json" else row
    written = f"{blank}{rows}\r\n\r\n".encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(written) if name.endswith(".gz") else written)
    (example,) = tasks.load("odex-all", tmp_path / name).test
    assert example.intent == PIECE["intent"]


def test_a_task_without_training_rows_is_refused_for_training(tmp_path):
    data = tasks.load("odex-all", write(tmp_path / "test.jsonl", PIECE))
    with pytest.raises(
        ValueError, match="task 'odex-all' has no train and no validation rows, so nothing can be trained"
    ):
        tasks.require_training(data, "odex-all")
    tasks.require_training(tasks.load("conala-mini"), "conala-mini")


# --- layouts: rows in their datasets' own fields ----------------------------------------------------------------------


def example(layout, row):
    return formats.example(layout, row, "here, line 1", 1)


def apps(**row):
    return example("apps", {"problem_id": 3, "question": "Do it."} | row)


def run(shown: tasks.Example, answer: str) -> None:
    """What a scorer does, without its protection: only for rows that stand in this file."""
    names: dict = {}
    exec("\n".join([shown.test_setup, tasks.program(shown, answer), *shown.tests]), names)


def test_line_ends_are_unix_ones_and_known_is_true_false_or_not_said():
    row = {"nl": "sort\r\n`xs`", "cmd": "xs\r.sort()"}
    assert (example("pairs", row).intent, example("pairs", row).code) == ("sort\n`xs`", "xs\n.sort()")
    assert [example("pairs", row | known).known for known in ({}, {"known": False})] == [None, False]
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
    assert [json.loads(text) for text in given.inputs] == [[[1, 2], "a\u00e9"], [7]]
    assert [json.loads(text) for text in given.outputs] == [{"1": [True, None]}, [1.5]]


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

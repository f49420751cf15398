"""Predictions in files: read row by row with every fault named, and scored again without a model."""

import json
import re
import shutil
from dataclasses import asdict

import pytest

from nblib import metrics, results, sandbox
from nblib.metrics import code_bleu
from nblib.provenance import REVISIONS
from nblib.results import Prediction, Row
from nblib.sandbox import Outcome
from nblib.tasks import Example

MADE_NOW = {"revisions": dict(REVISIONS)}  # provenance

EXAMPLES = [
    Example(id, "", code, tests=(f"assert x == {at}",))
    for at, (id, code) in enumerate({"1": "x=0", "2": "x=1", "3": "x=2"}.items())
]


def rows(*ids: str) -> list[dict]:
    return [{"example": id, "codes": [f"x = {id}"]} for id in ids]


@pytest.fixture
def write(tmp_path):
    """Writes rows, or lines as they are, and gives the path."""

    def file(*lines):
        path = tmp_path / "predictions.jsonl"
        path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines))
        return path

    return file


def test_a_file_of_ids_and_programs_is_read(write):
    found = metrics.read(write(*rows("1", "2"), {"example": "3", "code": "y"}), EXAMPLES)
    assert [(each.example, each.codes) for each in found] == [("1", ("x = 1",)), ("2", ("x = 2",)), ("3", ("y",))]


def test_what_results_wrote_is_read_whole(tmp_path):
    given = [
        Prediction("1", ("a\u2028b\r", "c"), ("a", "c"), 3, 4, 1, {"em@1": 0.0, "x": None}, (("passed",), ("wrong",))),
        Prediction("2", (), (), 1, 0),
        Prediction("3", ("",), ("",), 1, 0),
    ]
    results.write(tmp_path, row(), given)
    assert metrics.read(tmp_path / "a.predictions.jsonl", EXAMPLES) == given
    assert results.predictions(tmp_path, "a") == given


def test_predictions_of_an_older_version_are_read(tmp_path):
    old = asdict(Prediction("1", ("a",), ("a",), 1, 1))
    del old["verdicts"]
    (tmp_path / "a.predictions.jsonl").write_text(json.dumps(old) + "\n")
    assert results.predictions(tmp_path, "a")[0].verdicts == ()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (rows("1", "3"), "has no row for example '2', which belongs in line 2"),
        (rows("1", "2"), "has no row for example '3', which belongs in line 3"),
        ([], "has no row for example '1', which belongs in line 1"),
        (rows("1", "2", "3", "4"), "line 4: example '4' is not among the 3 examples of the task"),
        (rows("1", "2", "2", "3"), "line 3: example '2' was answered in line 2 already"),
        (rows("2", "1", "3"), "line 2: example '1' belongs in line 1; rows keep the examples' order"),
        ([*rows("1", "2"), '{"example": "3", "cod'], r"line 3: not JSON .*, so the file may have been cut off"),
        ([*rows("1"), "", *rows("2", "3")], "line 2: blank, and rows go on after it"),
        (["[" * 100_000], "line 1: not JSON"),
        (['["1"]'], "line 1: a row must be a JSON object; got list"),
        ([{"codes": ["x"]}], 'line 1: no "example", the id as text'),
        ([{"example": 1, "codes": ["x"]}], 'line 1: no "example", the id as text'),
        ([{"example": "1"}], 'line 1: a row must have either "codes", a list of programs, or "code"'),
        ([{"example": "1", "codes": ["x"], "code": "x"}], 'line 1: a row must have either "codes"'),
        ([{"example": "1", "codes": "x"}], "line 1: 'codes' must be a list of texts"),
        ([{"example": "1", "codes": [None]}], "line 1: 'codes' must be a list of texts"),
        ([{"example": "1", "code": None}], "line 1: 'code' must be text"),
        ([{"example": "1", "code": "x", "sampels": 3}], "line 1: unknown field 'sampels'; a row may have example,"),
        ([{"example": "1", "code": "x", "verdicts": [["great"]]}], "line 1: 'verdicts' must hold"),
        ([{"example": "1", "code": "x", "verdicts": [["wrong"], ["wrong"]]}], "line 1: 2 verdicts for 1 answers"),
        (
            [{"example": "1", "code": "x", "task": "mbpp"}, {"example": "2", "code": "x", "task": "odex"}],
            "line 2: task 'odex', but line 1 has 'mbpp'; a file holds predictions of one task",
        ),
        ([{"example": "1", "code": "x", "task": "mbpp"}, *rows("2", "3")], "line 2: task None, but line 1 has 'mbpp'"),
    ],
)
def test_a_faulty_file_is_refused_with_its_line(write, lines, message):
    with pytest.raises(ValueError, match=message) as refused:
        metrics.read(write(*lines), EXAMPLES)
    assert str(refused.value).count("\n") == 0


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('{"example": "1", "code": "é"}\n'.encode("latin-1"), "line 1: not UTF-8 text (byte 0xe9"),
        ('{"example": "1", "code": "x"}\n'.encode("utf-16"), "line 1: not UTF-8 text (byte 0xff, as in UTF-16)"),
    ],
)
def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path, written, message):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(written)
    with pytest.raises(ValueError, match=re.escape(message)):
        metrics.read(path, EXAMPLES)


def test_a_byte_order_mark_and_blank_lines_at_the_end_are_passed_over(tmp_path):
    lines = "".join(json.dumps(each) + "\r\n" for each in rows("1", "2", "3"))
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(f"{lines}\r\n \n".encode("utf-8-sig"))
    assert [each.example for each in metrics.read(path, EXAMPLES)] == ["1", "2", "3"]


def test_a_file_of_another_task_is_refused(write):
    path = write(*({**each, "task": "odex"} for each in rows("1", "2", "3")))
    assert len(metrics.read(path, EXAMPLES, task="odex")) == 3
    with pytest.raises(ValueError, match="line 1: task 'odex', but the examples are those of 'mbpp'"):
        metrics.read(path, EXAMPLES, task="mbpp")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.jsonl is missing"):
        metrics.read(tmp_path / "nowhere.jsonl", EXAMPLES)


# --- scores anew ----------------------------------------------------------------------------------------------------


def row(temperature: float | None = None) -> Row:
    settings = {"decoding": {"temperature": temperature}, "task": "some"}
    return Row(
        "a",
        settings,
        "ok",
        {"em@1": {"mean": 0.9}},
        {"train_seconds": 1.5},
        {"kept": 1},
        MADE_NOW,
    )


@pytest.fixture
def stored(tmp_path):
    """A folder with a run whose predictions have scores and verdicts from earlier."""
    given = [
        Prediction(each.id, ("x = 0", "x = 1"), ("x = 0", "x = 1"), 3, 4, 0, {"em@1": 0.9}, (("passed",), ("wrong",)))
        for each in EXAMPLES
    ]
    results.write(tmp_path, row(temperature=0.6), given)
    return tmp_path


def test_scores_are_computed_anew_and_the_rest_is_kept(stored):
    found = metrics.rescore(stored, "a", EXAMPLES)
    assert found.scores["em_ast@1"]["mean"] == 1 / 3
    assert found.scores["em@1"]["mean"] == 0
    assert (found.notes["kept"], found.costs, found.provenance) == (1, row().costs, row().provenance)
    assert results.read(stored, ["a"]) == [found]
    assert results.predictions(stored, "a")[0].scores["em@1"] == 0


def test_study_scores_come_from_the_same_predictions_and_stay(stored):
    before = metrics.rescore(stored, "a", EXAMPLES)
    assert not any("study" in name for name in before.scores)
    found = metrics.rescore(stored, "a", EXAMPLES, study_scores=True)
    assert found.scores["em_study@1"]["mean"] == found.scores["em@1"]["mean"]
    assert metrics.rescore(stored, "a", EXAMPLES).scores == found.scores
    assert metrics.rescore(stored, "a", EXAMPLES, study_scores=False).scores == before.scores


def test_a_changed_metric_changes_the_scores(stored, monkeypatch):
    before = metrics.rescore(stored, "a", EXAMPLES).scores["codebleu"]["mean"]
    monkeypatch.setattr(code_bleu, "score", lambda reference, answer: dict.fromkeys(code_bleu.NAMES, 0.125))
    assert metrics.rescore(stored, "a", EXAMPLES).scores["codebleu"]["mean"] == 0.125 != before


def test_stored_verdicts_are_scored_without_running_anything(stored, monkeypatch):
    monkeypatch.delattr(sandbox, "run_all")
    found = metrics.rescore(stored, "a", EXAMPLES)
    assert found.scores["strict_accuracy"]["mean"] == 1
    assert found.scores["pass@1"]["mean"] == 0.5
    assert found.notes["by_difficulty"]["all"]["all_answers"]["wrong"] == 3


def test_answers_of_a_beam_have_no_pass_at_2(stored):
    results.write(stored, row(temperature=None))
    assert [name for name in metrics.rescore(stored, "a", EXAMPLES).scores if "pass" in name] == ["pass@1"]


def test_programs_are_run_again_where_asked(stored, monkeypatch):
    def run_all(jobs, **settings):
        assert settings["allow_code_execution"]
        return [(Outcome(sandbox.OK if each.code == "x = 1" else sandbox.FAILED, None, "", 0.0),) for each in jobs]

    monkeypatch.setattr(sandbox, "run_all", run_all)
    found = metrics.rescore(stored, "a", EXAMPLES, run_programs=True, allow_code_execution=True)
    assert found.scores["strict_accuracy"]["mean"] == 0
    assert found.scores["pass@2"]["mean"] == 1
    assert found.notes["sandbox"] == sandbox.layers()


def test_a_run_that_is_not_there_is_named(tmp_path, stored):
    with pytest.raises(FileNotFoundError, match="has no predictions of a run 'b'"):
        metrics.rescore(stored, "b", EXAMPLES)
    shutil.copy(stored / "a.json", stored / "b.json")
    named = pytest.warns(UserWarning, match="b.json holds the row a: it is skipped")
    with named, pytest.raises(FileNotFoundError, match="has no predictions of a run 'b'"):
        metrics.rescore(stored, "b", EXAMPLES)


def test_a_faulty_file_leaves_the_row_as_it_was(stored):
    before = results.read(stored, ["a"])
    with pytest.raises(ValueError, match="line 3: example '3' is not among the 2 examples"):
        metrics.rescore(stored, "a", EXAMPLES[:2])
    assert results.read(stored, ["a"]) == before

"""Rows on disk are whole or named, and two tidy frames say what they say."""

import json

import pytest

from nblib import provenance, results
from nblib.provenance import REVISIONS
from nblib.results import Prediction, Row

KEPT = provenance.ROOT / "data" / "results" / "tiny"
ODD = "é \u2028 \x00 \ud800 \U0001f600 '\"\n"
PREDICTIONS = [
    Prediction("1", ("xs.sort()\n", ODD), ("xs.sort()", ODD), 9, 12, scores={"em@1": 1.0, "codebleu": None}),
    Prediction("2", ("",), ("",), 9, 0, verdicts=(("passed", "wrong"),), shots=("a", "b"), similarities=(0.1, 0.2)),
]


def row(id="a", status="ok"):
    return Row(
        id=id,
        settings={"seed": 1},
        status=status,
        scores={"em@1": {"mean": 0.5, "n": 2, "missing": 0}},
        costs={"train_seconds": 1.5},
        notes={},
        provenance={"revisions": dict(REVISIONS)},
    )


def test_what_is_written_is_read_again_as_plain_json_too(tmp_path):
    path = results.write(tmp_path / "new", row(), PREDICTIONS)
    assert results.read(tmp_path / "new") == [row()]
    assert results.predictions(tmp_path / "new", "a") == PREDICTIONS
    assert json.loads(path.read_text())["scores"]["em@1"]["mean"] == 0.5


def test_rows_come_in_the_order_asked_for_and_only_those_that_ended_well_are_finished(tmp_path):
    for id, status in (("a", "ok"), ("b", "failed"), ("c", "ok")):
        results.write(tmp_path, row(id, status))
    assert [found.id for found in results.read(tmp_path, ["c", "x", "a"])] == ["c", "a"]
    assert [results.finished(tmp_path, id) for id in "abcx"] == [True, False, True, False]
    assert results.predictions(tmp_path, "a") == []


def changed(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "spoil", "why"),
    [
        ("a.json", lambda path: changed(path, '"mean": 0.5', '"mean": 0.9'), "was changed after it was written"),
        ("a.json", lambda path: path.write_text(path.read_text()[:-40]), "is not a complete row"),
        ("a.json", lambda path: path.write_text("[]"), "is not a complete row"),
        ("a.json", lambda path: changed(path, '"id": "a"', '"id": "z"'), "holds the row z"),
        ("a.predictions.jsonl", lambda path: changed(path, '"em@1": 1.0', '"em@1": 0.0'), "were changed later"),
        ("a.predictions.jsonl", lambda path: path.unlink(), "were changed later"),
    ],
)
def test_a_file_that_is_edited_or_cut_is_named_and_skipped(tmp_path, name, spoil, why):
    results.write(tmp_path, row(), PREDICTIONS)
    results.write(tmp_path, row("b"))
    spoil(tmp_path / name)
    with pytest.warns(UserWarning, match=rf"a\.json .*{why}.*: we skip it"):
        assert [found.id for found in results.read(tmp_path)] == ["b"]
    assert [found.id for found in results.read(tmp_path, quiet=True)] == ["b"]
    assert list(results.problems(tmp_path)) == ["a.json"]
    with pytest.warns(UserWarning, match="a.json"):
        assert not results.finished(tmp_path, "a")


def test_a_row_of_an_older_nblib_is_read_and_one_of_a_newer_is_refused_with_the_reason(tmp_path):
    path = results.write(tmp_path, row(), PREDICTIONS[:1])
    fields = json.loads(path.read_text())
    older = {name: value for name, value in fields.items() if name not in ("content", "error")}
    path.write_text(json.dumps(older))
    answers = tmp_path / "a.predictions.jsonl"
    later = ("verdicts", "shots", "similarities", "dropped_shots")
    line = {name: value for name, value in json.loads(answers.read_text()).items() if name not in later}
    answers.write_text(json.dumps(line) + "\n")
    assert results.read(tmp_path) == [row()]
    assert results.predictions(tmp_path, "a") == PREDICTIONS[:1]
    for other in (fields | {"energy": 3}, {name: older[name] for name in older if name != "provenance"}):
        path.write_text(json.dumps(other))
        assert results.problems(tmp_path) == {"a.json": "is not a complete row, or one that a newer nblib wrote"}


def test_what_a_killed_write_left_is_swept_by_the_next_one_of_that_run_only(tmp_path):
    for name in (".a.json-xyz.part", ".b.json-xyz.part"):
        (tmp_path / name).write_text("{")
    results.write(tmp_path, row())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.json-xyz.part", "a.json"]


@pytest.fixture(scope="module")
def shipped() -> results.Frames:
    return results.load(KEPT)


def test_a_run_has_one_line_and_its_predictions_one_each(shipped):
    runs, answers = shipped
    rows = {found.id: found for found in results.read(KEPT)}
    assert sorted(rows) == list(runs.index)
    for id in list(rows)[::8]:
        predictions = results.predictions(KEPT, id)
        own = answers[answers["run"] == id]
        assert list(own["example"]) == [prediction.example for prediction in predictions]
        assert runs.at[id, "status"] == rows[id].status


def test_means_of_answers_are_those_of_the_rows(shipped):
    runs, answers = shipped
    for metric in ("em@1", "codebleu", "codebleu_dataflow"):
        means = answers.groupby("run", observed=True)[metric].mean()
        assert means.sub(runs[metric]).abs().max() < 1e-12


def test_ids_choose_runs_and_a_missing_one_is_left_out(shipped):
    id = shipped.runs.index[-1]
    runs, answers = results.load(KEPT, [id, "nowhere"])
    assert list(runs.index) == [id] == list(answers["run"].unique())


def test_an_empty_folder_has_the_columns(tmp_path):
    runs, answers = results.load(tmp_path)
    assert runs.empty
    assert answers.empty
    assert {"model", "task", "method", "kind", "family", "status"} <= set(runs)
    assert {"run", "example", "model", "task", "method", "seed"} <= set(answers)

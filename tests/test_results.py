import json

import pytest

from nblib import results
from nblib.results import Prediction, Row


def row(id="a", status="ok"):
    return Row(
        id=id,
        settings={"seed": 1},
        status=status,
        scores={"em@1": {"mean": 0.5, "n": 2, "missing": 0}},
        costs={"train_seconds": 1.5},
        notes={},
        provenance={"device": "cpu"},
    )


PREDICTIONS = [
    Prediction("1", ("xs.sort()\n", "é '\""), ("xs.sort()", "é '\""), 9, 12, scores={"em@1": 1.0, "codebleu": None}),
    Prediction("2", ("",), ("",), 9, 0),
]


def test_what_is_written_is_read_again(tmp_path):
    results.write(tmp_path / "new", row(), PREDICTIONS)
    assert results.read(tmp_path / "new") == [row()]
    assert results.predictions(tmp_path / "new", "a") == PREDICTIONS


def test_rows_come_in_the_order_asked_for_and_missing_ones_are_left_out(tmp_path):
    for id in ("a", "b", "c"):
        results.write(tmp_path, row(id))
    assert [each.id for each in results.read(tmp_path, ["c", "x", "a"])] == ["c", "a"]
    assert results.predictions(tmp_path, "a") == []


def test_only_a_run_that_ended_well_is_finished(tmp_path):
    results.write(tmp_path, row("good"))
    results.write(tmp_path, row("bad", status="failed"))
    assert results.finished(tmp_path, "good")
    assert not results.finished(tmp_path, "bad")
    assert not results.finished(tmp_path, "absent")


def test_a_write_that_is_cut_leaves_the_old_file_whole(tmp_path, monkeypatch):
    results.write(tmp_path, row(), PREDICTIONS)

    def cut(*given):
        raise OSError("No space left on device")

    monkeypatch.setattr(results.os, "replace", cut)
    with pytest.raises(OSError, match="No space left"):
        results.write(tmp_path, row(status="failed"))
    assert results.read(tmp_path) == [row()]
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        "a.json",
        "a.predictions.jsonl",
    ]


def test_the_row_is_written_after_its_predictions(tmp_path, monkeypatch):
    order = []
    replace = results.os.replace
    monkeypatch.setattr(results.os, "replace", lambda part, path: order.append(path.name) or replace(part, path))
    results.write(tmp_path, row(), PREDICTIONS)
    assert order == ["a.predictions.jsonl", "a.json"]


def test_files_are_plain_json_that_other_tools_read(tmp_path):
    path = results.write(tmp_path, row(), PREDICTIONS)
    assert json.loads(path.read_text())["scores"]["em@1"]["mean"] == 0.5
    lines = (tmp_path / "a.predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["example"] for line in lines] == ["1", "2"]


def test_any_text_that_a_model_may_write_survives(tmp_path):
    odd = "é \u2028 \x00 \ud800 \U0001f600"
    answer = Prediction("a", (odd,), (odd,), 1, 1, verdicts=(("passed", "wrong"),))
    results.write(tmp_path, row(), [answer])
    assert results.predictions(tmp_path, "a") == [answer]

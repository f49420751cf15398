import json

import pytest

from nblib import results
from nblib.provenance import REVISIONS
from nblib.results import Prediction, Row


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.predictions.jsonl"]


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


def changed(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "spoil", "why"),
    [
        ("a.json", lambda path: changed(path, '"mean": 0.5', '"mean": 0.9'), "was changed after it was written"),
        ("a.json", lambda path: changed(path, '"seed": 1', '"seed": 2'), "was changed after it was written"),
        ("a.json", lambda path: path.write_text(path.read_text()[:-40]), "is no whole row"),
        ("a.json", lambda path: path.write_text(""), "is no whole row"),
        ("a.json", lambda path: path.write_text("[]"), "is no whole row"),
        ("a.json", lambda path: changed(path, '"id": "a"', '"id": "z"'), "holds the row z"),
        ("a.predictions.jsonl", lambda path: changed(path, '"em@1": 1.0', '"em@1": 0.0'), "are not those"),
        ("a.predictions.jsonl", lambda path: path.write_bytes(path.read_bytes()[:-20]), "are not those"),
        ("a.predictions.jsonl", lambda path: path.unlink(), "are not those"),
    ],
)
def test_a_file_that_is_edited_or_cut_is_named_and_skipped(tmp_path, name, spoil, why):
    results.write(tmp_path, row(), PREDICTIONS)
    results.write(tmp_path, row("b"))
    spoil(tmp_path / name)
    with pytest.warns(UserWarning, match=rf"a\.json .*{why}.*: it is skipped"):
        assert [each.id for each in results.read(tmp_path)] == ["b"]
    assert [each.id for each in results.sound(tmp_path)] == ["b"]
    assert list(results.problems(tmp_path)) == ["a.json"]
    with pytest.warns(UserWarning, match="a.json"):
        assert not results.finished(tmp_path, "a")


def test_a_row_of_an_older_nblib_is_read_and_one_of_a_newer_is_refused_with_the_reason(tmp_path):
    path = results.write(tmp_path, row(), PREDICTIONS)
    fields = json.loads(path.read_text())
    older = {name: value for name, value in fields.items() if name not in ("content", "error")}
    path.write_text(json.dumps(older))
    answers = [json.loads(line) for line in (tmp_path / "a.predictions.jsonl").read_text().splitlines()]
    for each in answers:
        for name in ("verdicts", "shots", "similarities", "dropped_shots"):  # that came later
            del each[name]
    (tmp_path / "a.predictions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in answers))
    assert results.read(tmp_path) == [row()]
    assert results.predictions(tmp_path, "a") == PREDICTIONS
    path.write_text(json.dumps(fields | {"energy": 3}))
    assert results.problems(tmp_path) == {
        "a.json": "has energy, which this nblib does not know: a newer one wrote it",
    }
    path.write_text(json.dumps({name: value for name, value in older.items() if name != "provenance"}))
    assert results.problems(tmp_path) == {"a.json": "has no provenance: an older nblib wrote it, or none"}


def test_what_a_killed_write_left_is_swept_by_the_next_one_of_that_run_only(tmp_path):
    for name in (".a.json-xyz.part", ".b.json-xyz.part"):
        (tmp_path / name).write_text("{")
    results.write(tmp_path, row())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.json-xyz.part", "a.json"]


def test_a_row_from_before_there_were_hashes_is_read_unless_its_answers_are_cut(tmp_path):
    path = results.write(tmp_path, row(), PREDICTIONS)
    fields = json.loads(path.read_text())
    del fields["content"]
    path.write_text(json.dumps(fields))
    assert results.read(tmp_path) == [row()]
    answers = tmp_path / "a.predictions.jsonl"
    answers.write_bytes(answers.read_bytes()[:-3])
    assert results.problems(tmp_path) == {"a.json": "has predictions that are cut"}

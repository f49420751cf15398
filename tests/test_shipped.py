"""The shipped study: its rows are sound and make the README's tables."""

import json
import re
import shutil

import pytest

from nblib import results, spec, study, tasks
from nblib.tools import shipped


def test_the_rows_are_sound_and_whole(root):
    rows = results.read(shipped.KEPT)
    assert results.problems(shipped.KEPT) == {}
    assert {row.status for row in rows} == {results.OK}
    answering = [row for row in rows if not row.settings["shape_only"]]
    assert {row.settings["limit"] for row in answering} == {None}
    assert all(row.scores and results.predictions(shipped.KEPT, row.id) for row in answering)
    assert {row.settings["model"] for row in answering} == {"tiny", "micro"}


def test_rows_that_one_question_is_about_are_those_of_its_notebook():
    for name, runs in {
        "since": study.compare("tiny", "conala-mini", names=["zero-shot", *shipped.SINCE["methods"]]),
        "tuning": study.tuning("tiny", "conala-mini"),
    }.items():
        rows = results.read(results.SHIPPED / name)
        assert results.problems(results.SHIPPED / name) == {}
        assert {row.status for row in rows} == {results.OK}
        assert {row.id for row in rows} == {planned.id for planned in study.plan(runs)}


def test_rows_of_the_pretrained_model_are_sound_and_hold_only_ids_of_the_data_and_the_models_answers():
    folder = results.SHIPPED / shipped.PRETRAINED
    assert results.problems(folder) == results.problems(folder / "search") == {}
    rows = results.read(folder)
    assert {(row.status, row.settings["limit"]) for row in rows} == {(results.OK, 200)}
    for row in rows:
        plain = row.settings | {"method": spec.method(**row.settings["method"])}
        plain |= {"training": plain["training"] and spec.Training(**plain["training"])}
        run, made = spec.Run(**plain | {"decoding": spec.Decoding(**plain["decoding"])}), row.provenance
        content = f"{made['data']} {tasks.settings(tasks.of(run))}"
        assert spec.run_id(run, data=content, weights=made["weights"]) == row.id
        for prediction in results.predictions(folder, row.id):
            others = vars(prediction) | {"completions": (), "codes": ()}
            assert re.search(r"\w \w", json.dumps(others)) is None


def test_the_tables_of_readme_and_docs_are_those_that_the_rows_make():
    tables = shipped.document_tables()
    for path in shipped.DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        assert "<!-- table: " in text
        assert text == shipped.filled(text, tables), path.name


def test_tables_go_between_their_marks_and_nothing_else_changes():
    text = "one\n<!-- table: a -->\nold\n<!-- end -->\ntwo\n<!-- table: b -->\n<!-- end -->\n"
    tables = {"a": "| x \\1 |", "b": "| y |", "not in this text": ""}
    filled = shipped.filled(text, tables)
    assert filled == "one\n<!-- table: a -->\n| x \\1 |\n<!-- end -->\ntwo\n<!-- table: b -->\n| y |\n<!-- end -->\n"
    assert shipped.filled(filled, tables) == filled


def test_rows_of_notebooks_get_badges_of_the_one_address_and_lose_them_with_it():
    text = "| RQ1: what? | `notebooks/rq1_x.ipynb` |\n| a | b |\n"
    badged = shipped.badged(text, "https://github.com/you/nblib")
    assert "(https://colab.research.google.com/github/you/nblib/blob/main/notebooks/rq1_x.ipynb) |\n| a | b |" in badged
    assert shipped.badged(badged, "https://example.invalid/nblib") == text


def test_a_study_over_old_rows_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "WORKING", tmp_path)
    (tmp_path / "row.json").write_text("{}")
    with pytest.raises(FileExistsError, match="holds 1 rows, which would be read instead of made"):
        shipped.make()


def test_only_sound_rows_and_their_predictions_are_kept(root, tmp_path):
    source, target = tmp_path / "results", tmp_path / "kept"
    (source / "adapters").mkdir(parents=True)
    row = results.read(shipped.KEPT)[0]
    for path in shipped.KEPT.glob(f"{row.id}*"):
        shutil.copyfile(path, source / path.name)
    (source / "table.csv").write_text("a,b\n")
    shipped.keep(source, target)
    assert {path.name for path in target.iterdir()} == {path.name for path in shipped.KEPT.glob(f"{row.id}*")}
    shipped.keep(source, target, ids=[])
    assert not any(target.iterdir())

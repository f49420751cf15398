import json
from dataclasses import replace

import pytest
import small
import torch

from nblib import methods, presets, results, spec, study, tasks

QUICK = presets.Preset(
    methods=(spec.ZeroShot(), spec.InContext(1), spec.Lora(learning_rate=1e-2)),
    seeds=(1, 2),
    icl_seeds=(1, 2),
    training=spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=1),
    decoding=spec.Decoding(beams=2, returned=2),
)


@pytest.fixture
def model(tmp_path):
    return small.folder(tmp_path / "small")


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        rows = [{"nl": each.intent, "cmd": each.code} for each in getattr(small.DATA, split)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


@pytest.fixture
def runs(model, data_dir, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "quick", QUICK)
    return study.compare(model, "conala", preset="quick", precision="fp32", data_dir=data_dir)


def test_a_comparison_gives_every_method_its_seeds_and_the_same_settings(runs):
    assert [(spec.label(run.method), run.seed) for run in runs] == [
        ("zero-shot", 1),
        ("icl-1", 1),
        ("icl-1", 2),
        ("lora", 1),
        ("lora", 2),
    ]
    assert len({run.decoding for run in runs}) == 1


def test_a_study_writes_a_row_a_run_with_scores_costs_and_provenance(runs, tmp_path):
    rows = study.run_all(study.plan(runs), tmp_path / "results")
    assert [row.status for row in rows] == ["ok"] * 5
    lora = rows[3]
    assert lora.settings["method"] == {"kind": "lora", "learning_rate": 0.01, "r": 16, "alpha": 32, "dropout": 0.05}
    assert lora.scores["em@1"]["n"] == 8
    assert lora.scores["em@2"]["mean"] >= lora.scores["em@1"]["mean"]
    assert lora.costs["trainable_parameters"] > 0 == rows[0].costs["trainable_parameters"]
    for phase in ("load", "train", "generate"):
        assert lora.costs[f"{phase}_seconds"] > 0
        assert lora.costs[f"{phase}_peak_bytes"] > 1e7
    assert rows[1].costs["prompt_tokens"] > rows[0].costs["prompt_tokens"]
    assert {"commit", "clean", "python", "packages", "device", "data", "weights"} <= set(lora.provenance)
    predictions = results.predictions(tmp_path / "results", lora.id)
    assert [each.example[0] for each in predictions] == list("12345678")
    assert all(len(each.codes) == 2 for each in predictions)


def test_a_finished_run_is_not_run_again_and_force_runs_it(runs, tmp_path, monkeypatch):
    planned = study.plan(runs[:2])
    first = study.run_all(planned, tmp_path)
    called = []
    whole = study.run_one
    monkeypatch.setattr(study, "run_one", lambda *given, **named: called.append(given) or whole(*given, **named))
    assert study.run_all(planned, tmp_path) == first
    assert called == []
    again = study.run_all(planned, tmp_path, force=True)
    assert len(called) == 2
    assert [row.scores for row in again] == [row.scores for row in first]


def test_the_same_seed_gives_the_same_predictions_twice(runs, tmp_path):
    for folder in ("one", "two"):
        study.run_all(study.plan(runs[3:4]), tmp_path / folder)
    one, two = (results.predictions(tmp_path / folder, study.plan(runs[3:4])[0].id) for folder in ("one", "two"))
    assert one == two


def test_out_of_memory_is_a_row_and_the_study_goes_on(runs, tmp_path, monkeypatch):
    def attach(*given, **named):
        raise torch.OutOfMemoryError("tried to allocate 40 GiB")

    monkeypatch.setattr(methods, "attach", attach)
    rows = study.run_all(study.plan([runs[3], runs[0]]), tmp_path)
    assert [row.status for row in rows] == ["out_of_memory", "ok"]
    assert "40 GiB" in rows[0].error
    assert rows[0].costs["train_seconds"] >= 0
    assert not results.finished(tmp_path, rows[0].id)


def test_a_run_that_fails_is_a_row_that_says_why(runs, tmp_path):
    diverging = replace(runs[3], method=spec.Lora(learning_rate=1e30))
    (row,) = study.run_all(study.plan([diverging]), tmp_path)
    assert row.status == "failed"
    assert "lower the learning rate" in row.error


def test_everything_wrong_is_said_before_any_work(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "run_one", lambda *given, **named: pytest.fail("work was started"))
    with pytest.raises(ValueError, match="shots must be at most 24"):
        study.plan([*runs, replace(runs[1], method=spec.InContext(25))])
    with pytest.raises(ValueError, match="model must be one of"):
        study.plan([*runs, replace(runs[0], model="codelama")])
    with pytest.raises(ValueError, match="task must be one of"):
        study.plan([*runs, replace(runs[0], task="conla")])
    with pytest.raises(FileNotFoundError, match="is missing"):
        study.plan([*runs, replace(runs[0], data_dir=str(tmp_path / "nowhere"))])


def test_limited_rows_are_other_runs(runs):
    whole, part = study.plan([runs[0], replace(runs[0], limit=3)])
    assert whole.id != part.id
    assert len(part.data.test) == 3


def test_shots_that_do_not_fit_the_context_are_dropped_and_counted(runs, tmp_path):
    many = replace(runs[1], method=spec.InContext(24))
    (row,) = study.run_all(study.plan([many]), tmp_path)
    assert row.status == "ok"
    assert row.notes["queries_with_dropped_shots"] == 8 or row.costs["prompt_tokens"] < 1984


def test_another_length_limit_of_the_task_is_another_run(runs, monkeypatch):
    before = [each.id for each in study.plan(runs)]
    monkeypatch.setitem(tasks.TASKS, "conala", replace(tasks.TASKS["conala"], output_tokens=32))
    assert not {each.id for each in study.plan(runs)} & set(before)

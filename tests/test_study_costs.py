"""What a plan will cost, from rows of its kind and by arithmetic."""

from dataclasses import replace

import pytest
import small

from nblib import presets, results, spec, study
from nblib.provenance import REVISIONS

MADE_NOW = {"revisions": dict(REVISIONS)}  # provenance

SETTINGS = presets.Preset(
    methods=(spec.ZeroShot(), spec.InContext(2), spec.Lora(learning_rate=1e-2)),
    shots=(2,),
    seeds=(1, 2),
    icl_seeds=(1,),
    training=spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=1),
    decoding=spec.Decoding(beams=2, returned=2),
)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Zero-shot, two examples, and LoRA with two seeds."""
    monkeypatch.setitem(presets.PRESETS, "priced", SETTINGS)
    model, data_dir = small.folder(tmp_path / "base"), small.rows(tmp_path / "data")
    return study.compare(model, "conala", preset="priced", precision="fp32", data_dir=data_dir)


def row(planned, **costs):
    """As if it had run here."""
    here = MADE_NOW | {"device": "cpu", "device_name": None}
    return results.Row(planned.id, spec.settings(planned.run), "ok", {}, {"examples": 8, **costs}, {}, here)


def test_nothing_is_known_of_seconds_before_any_run_of_the_kind_on_such_a_machine(runs, tmp_path):
    planned = study.plan(runs)
    here = row(planned[0], generate_seconds=1.0)
    results.write(tmp_path / "results", replace(here, id="other", provenance=MADE_NOW | {"device": "another"}))
    costs = study.costs(planned, tmp_path / "results")
    assert [each.seconds for each in costs] == [None] * 4
    assert all(each.peak_bytes > 1e5 for each in costs)
    assert costs[3].peak_bytes == costs[2].peak_bytes > costs[0].peak_bytes


def test_a_run_takes_what_its_kind_took_for_as_many_examples(runs, tmp_path):
    planned = study.plan([*runs, replace(runs[0], limit=4)])
    results.write(tmp_path, row(planned[0], load_seconds=1.0, generate_seconds=16.0))
    results.write(tmp_path, row(planned[2], load_seconds=1.0, train_seconds=50.0, generate_seconds=8.0))
    seconds = [each.seconds for each in study.costs(planned, tmp_path)]
    assert seconds == [0.0, None, 0.0, 59.0, 9.0]


def test_a_training_that_is_shared_counts_once(runs, tmp_path):
    other = replace(runs[3], split="validation")
    planned = study.plan([runs[2], runs[3], other])
    results.write(tmp_path, row(planned[0], load_seconds=1.0, train_seconds=50.0, generate_seconds=8.0))
    assert [each.seconds for each in study.costs(planned, tmp_path)] == [0.0, 59.0, 9.0]

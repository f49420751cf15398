"""Runs of random weights: the bytes of the real model, rows without scores, nothing kept."""

from collections import Counter

import pytest
import small

from nblib import models, presets, results, spec, study, tables
from nblib.memory import shapes

QUICK = presets.Preset(
    methods=(spec.ZeroShot(), spec.Lora()),
    compared=("zero-shot", "lora"),
    shots=(),
    seeds=(1,),
    icl_seeds=(1,),
    training=spec.Training(epochs=1, batch_size=2, device_batch=2, evaluations_an_epoch=1),
    decoding=spec.Decoding(beams=2, returned=2),
)


def bytes_by_type(model) -> Counter:
    found = Counter()
    for tensor in shapes.tensors(model):
        found[tensor.dtype] += tensor.nbytes
    return found


@pytest.mark.parametrize("family", ["llama", "codegen", "t5"])
def test_weights_take_the_bytes_of_the_real_model_by_type(family, tmp_path):
    folder = small.folder(tmp_path, family, vocabulary=4000)
    for precision in ("fp32", "bf16", "int8", "nf4-dq"):
        random, _ = models.load_shape(folder, precision)
        real, _ = models.load(folder, precision)
        assert bytes_by_type(random) == bytes_by_type(real)


def test_a_vocabulary_smaller_than_the_tokenizers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="vocabulary of at least"):
        models.load_shape(small.folder(tmp_path / "narrow", vocabulary=420))


def test_rows_are_marked_measured_and_without_scores_at_each_precision(tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "quick", QUICK)
    model, data = small.folder(tmp_path / "wide", vocabulary=4000), small.rows(tmp_path / "data")
    settings = {"preset": "quick", "precisions": ["fp32", "nf4"], "batches": 2, "data_dir": data}
    rows = study.run_all(study.plan(study.sizes(model, "conala", **settings)), tmp_path / "rows")
    assert [row.settings["precision"] for row in rows] == ["fp32", "nf4"]
    for row in rows:
        assert (row.status, row.error, row.scores) == (results.OK, None, {})
        assert row.settings["shape_only"] is True
        assert (row.costs["train_steps"], row.costs["examples"]) == (2, 2)
        assert row.costs["generate_seconds"] > 0
    assert rows[1].costs["train_weights_bytes"] < rows[0].costs["train_weights_bytes"]
    assert not list((tmp_path / "rows").glob("adapters/*"))
    with pytest.raises(ValueError, match="takes no runs of random weights"):
        tables.comparison(*results.load(tmp_path / "rows"))

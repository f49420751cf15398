"""Runs of random weights: the bytes of the real model, rows without scores, nothing kept."""

import pytest
import small
import torch

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


def bytes_by_type(model) -> dict[torch.dtype, int]:
    found: dict[torch.dtype, int] = {}
    for each in shapes.tensors(model):
        found[each.dtype] = found.get(each.dtype, 0) + each.nbytes
    return found


@pytest.fixture(scope="module", params=["llama", "codegen", "t5"])
def folder(request, tmp_path_factory):
    return small.folder(tmp_path_factory.mktemp(request.param), request.param, vocabulary=4000)


@pytest.fixture
def data_dir(tmp_path):
    return small.rows(tmp_path / "data")


@pytest.fixture
def rows(tmp_path, data_dir, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "quick", QUICK)
    model = small.folder(tmp_path / "wide", vocabulary=4000)
    runs = study.compare(model, "conala", preset="quick", limit=2, data_dir=data_dir, shape_only=True)
    return study.run_all(study.plan(runs), tmp_path / "rows")


class TestLoadShape:
    @pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "nf4", "nf4-dq"])
    def test_weights_take_the_bytes_of_the_real_model_by_type(self, folder, precision):
        random, _ = models.load_shape(folder, precision)
        real, _ = models.load(folder, precision)
        assert bytes_by_type(random) == bytes_by_type(real)

    def test_weights_are_random_numbers(self, folder):
        random, _ = models.load_shape(folder)
        assert random.get_input_embeddings().weight.std().item() == pytest.approx(0.02, rel=0.1)

    def test_a_vocabulary_smaller_than_the_tokenizers_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="vocabulary of at least"):
            models.load_shape(small.folder(tmp_path / "narrow", vocabulary=420))


class TestRuns:
    def test_rows_are_marked_measured_and_without_scores(self, rows):
        for row in rows:
            assert (row.status, row.error) == (results.OK, None)
            assert row.settings["shape_only"] is True
            assert row.scores == {}
            assert row.costs["generate_seconds"] > 0
        assert rows[1].costs["train_steps"] == 2

    def test_no_adapter_is_kept(self, rows, tmp_path):
        assert not list((tmp_path / "rows").glob("adapters/*"))

    def test_a_table_of_scores_refuses_them(self, rows, tmp_path):
        with pytest.raises(ValueError, match="takes no runs of random weights"):
            tables.comparison(*results.load(tmp_path / "rows"))


def test_sizes_take_one_epoch_of_so_many_batches_at_each_precision(tmp_path, data_dir, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "quick", QUICK)
    model = small.folder(tmp_path / "wide", vocabulary=4000)
    runs = study.sizes(model, "conala", preset="quick", precisions=["fp32", "nf4"], batches=2, data_dir=data_dir)
    rows = study.run_all(study.plan(runs), tmp_path / "rows")
    assert [row.settings["precision"] for row in rows] == ["fp32", "nf4"]
    assert {(row.status, row.costs["train_steps"], row.costs["examples"]) for row in rows} == {(results.OK, 2, 2)}
    whole, quantized = (row.costs["train_weights_bytes"] for row in rows)
    assert quantized < whole

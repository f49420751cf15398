"""Bytes by precision, what quantization saves, and when training pays: from rows alone."""

from types import SimpleNamespace

import pandas as pd
import pytest
from made_rows import PARTS, put, put_seeds, right, run

from nblib import results, tables
from nblib.spec import FullTuning, Ia3, InContext, Lora, Retrieved

LONGER = {"prompt_tokens": 50.0, "generate_seconds": 24.0}


def weighing(folder, method, precision: str, weights: float, share: float = 0.5, **given):
    """A run whose other tensors add up to 200 bytes."""
    costs = {"train_weights_bytes": weights, "train_peak_bytes": given.pop("peak", 1e9)}
    return put(
        folder, run(method, precision=precision, **given.pop("settings", {})), right(share), costs=costs, **given
    )


def predicted(weights: int):
    """A memory.Prediction whose other tensors add up to 240 bytes, 40 of them logits."""
    parts = {f"{part}_bytes": 40 for part in PARTS} | {"activations_bytes": 80}
    return SimpleNamespace(weights_bytes=weights, train_peak_bytes=300, **parts)


class TestMemory:
    def test_on_a_cpu_it_is_the_sum_of_tensors_and_savings_are_beside_fp32(self, tmp_path):
        for precision, weights in (("nf4-dq", 50), ("fp32", 300), ("bf16", 150)):
            weighing(tmp_path, Lora(), precision, weights)
        weighing(tmp_path, FullTuning(), "fp32", 800)
        put(tmp_path, run(InContext(1)), right(0.2))  # trains nothing: no line
        frame = tables.memory(results.load(tmp_path).runs).frame
        assert list(frame["label"]) == ["lora", "lora bf16", "qlora-4bit", "full"]
        assert list(frame["memory_bytes"]) == [500, 350, 250, 1000]
        assert list(frame["saving_lora_share"]) == pytest.approx([0, 0.3, 0.5, -1])
        assert list(frame["saving_full_share"]) == pytest.approx([0.5, 0.65, 0.75, 0])
        assert set(frame["other_bytes"]) == {0}
        assert list(frame["step_seconds"]) == [1.0] * 4

    def test_on_a_gpu_it_is_the_peak_with_the_rest_as_other_and_savings_are_beside_bf16(self, tmp_path):
        for precision, weights, peak in (("nf4-dq", 50, 300), ("fp32", 300, 900), ("bf16", 150, 600)):
            weighing(tmp_path, Lora(), precision, weights, peak=peak, provenance={"device": "cuda"})
        frame = tables.memory(results.load(tmp_path).runs).frame
        assert list(frame["memory_bytes"]) == [900, 600, 300]
        assert list(frame["other_bytes"]) == [400, 250, 50]
        assert list(frame["saving_lora_share"]) == pytest.approx([-0.5, 0, 0.5])

    def test_what_ran_out_of_memory_and_random_weights_are_said(self, tmp_path):
        assert tables.memory(results.load(tmp_path).runs).frame.empty
        weighing(tmp_path, Lora(), "fp32", 300, status=results.OUT_OF_MEMORY)
        weighing(tmp_path, Lora(), "nf4", 50, settings={"shape_only": True})
        table = tables.memory(results.load(tmp_path).runs)
        assert table.frame["memory_bytes"].isna().tolist() == [True, False]
        assert "OOM" in table.text
        assert "*: the real architecture with random weights" in table.text

    def test_a_prediction_is_the_peak_of_a_gpu_and_a_sum_on_a_cpu_which_compares_without_logits(self, tmp_path):
        entry = ("tiny", Lora(), "nf4", predicted(60))
        assert list(tables.predicted_memory([entry], device="cuda").frame["memory_bytes"]) == [300]
        foreseen = tables.predicted_memory([entry], device="cpu").frame
        assert list(foreseen["memory_bytes"]) == [300]
        for precision, weights in (("nf4", 60), ("fp32", 300)):
            weighing(tmp_path, Lora(), precision, weights)
        frame = tables.measured_vs_predicted(tables.memory(results.load(tmp_path).runs).frame, foreseen).frame
        assert frame[["memory_bytes", "predicted_bytes"]].to_numpy().tolist() == [[220, 260]]
        assert list(frame["error"]) == pytest.approx([40 / 220])

    def test_the_front_is_what_nothing_beats(self, tmp_path):
        weighing(tmp_path, Lora(), "fp32", 300, 0.5)
        weighing(tmp_path, Lora(), "nf4-dq", 50, 0.4)
        weighing(tmp_path, Lora(), "int8", 100, 0.3)
        weighing(tmp_path, FullTuning(), "fp32", 800, 0.45)
        weighing(tmp_path, Lora(), "bf16", 1, 0.9, settings={"shape_only": True})  # random weights: no quality
        frame = tables.quality_memory(*results.load(tmp_path)).frame
        assert list(frame.index[frame["pareto"]]) == ["lora", "qlora-4bit"]
        assert frame.loc["qlora-8bit", "memory_bytes"] == 300

    def test_smaller_cards_come_first_and_what_does_not_fit_is_said(self):
        option = {"method": Lora(), "precision": "nf4", "device_batch": 4, "accumulation": 2, "share": 0.5}
        option |= {"gradient_checkpointing": True, "optimizer": "adamw_torch", "peak_bytes": 8 * 2**30}
        plans = {"large": [SimpleNamespace(**option)], "small": "it does not fit: take nf4"}
        table = tables.cards(plans, {"large": 16, "small": 2})
        assert list(table.frame["card"]) == ["small", "large"]
        for words in ("nothing fits", "it does not fit: take nf4", "8.0 GiB", "50.0"):
            assert words in tables.full(table).text


class TestBreakEven:
    def test_hand_worked(self, tmp_path):
        put_seeds(tmp_path, run(Lora()), right(0.7), costs={"train_seconds": 60.0})
        put(tmp_path, run(Retrieved(3)), right(0.5), costs=LONGER)
        table = tables.break_even(*results.load(tmp_path))
        line = table.frame.loc["rag-3"]
        assert (line["tokens_once"], line["tokens_base"], line["tokens_method"]) == (3000, 32, 62)
        assert line["tokens_queries"] == 100  # 3 * 1000 tokens over 30 a query
        assert (line["seconds_base"], line["seconds_method"]) == (pytest.approx(0.1), pytest.approx(0.2))
        assert line["seconds_queries"] == pytest.approx(600, abs=1)
        assert (line["base"], line["verdict"]) == ("lora", "higher")
        assert 0 < line["difference_low"] < 0.2 < line["difference_high"]
        assert "Training lora once costs 3,000 tokens of forward passes or 60 seconds." in table.text

    def test_money_and_energy_are_counted_where_there_is_a_price_and_a_device_that_tells(self, tmp_path):
        told = {"train_joules": 7200.0, "generate_joules": 120.0}
        put_seeds(tmp_path, run(Lora()), right(0.7), costs={"train_seconds": 60.0} | told, provenance={"processes": 2})
        put(tmp_path, run(Retrieved(3)), right(0.5), costs=LONGER | {"generate_joules": 240.0})
        runs, answers = results.load(tmp_path)
        plain, priced = (tables.break_even(tables.priced(runs, price), answers) for price in (0.0, 3.6))
        assert "money_once" not in plain.frame
        assert not any(word in plain.text for word in ("money", "joules"))
        line = priced.frame.loc["rag-3"]
        assert line["money_once"] == pytest.approx(60 / 1000 / 2)  # a second costs a thousandth, shared by two runs
        assert (line["joules_once"], line["joules_base"], line["joules_method"]) == (7200, 1, 2)
        assert line["joules_queries"] == 7200
        assert "or 0.03 of your money. For PEFT stands lora, whatever it scores." in priced.text
        assert "seconds (queries)" not in priced.text  # in which the queries are those in money
        assert "joules" not in priced.text
        assert "joules" in tables.full(priced).text
        table = tables.comparison(tables.priced(runs, 3.6), answers)
        assert table.frame.loc["lora", ["train_joules", "train_money"]].tolist() == [7200, pytest.approx(0.03)]
        assert "energy of training (Wh)" in tables.full(table).text
        assert not any(word in table.text for word in ("energy", "price"))
        for price in (-1.0, float("nan")):
            with pytest.raises(ValueError, match="price must be that of an hour, above 0, or 0 for none; got"):
                tables.priced(runs, price)

    def test_why_there_is_no_number_is_said(self, tmp_path):
        put(tmp_path, run(Lora()), right(0.7), costs={"train_tokens": None}, provenance={"device": "cpu"})
        put(tmp_path, run(InContext(1)), right(0.2), costs=LONGER, provenance={"device": "cuda"})
        put(tmp_path, run(InContext(3)), right(0.2), costs={"generate_seconds": 6.0}, provenance={"device": "cpu"})
        frame = tables.break_even(*results.load(tmp_path)).frame
        assert set(frame["tokens_queries_why"]) == {"not measured"}
        assert frame.loc["icl-1", "seconds_queries_why"] == "measured on different machines"
        assert frame.loc["icl-3", "seconds_queries_why"] == "never: lora is not cheaper per query"

    def test_lora_is_the_base_whatever_it_scores(self, tmp_path):
        put(tmp_path, run(InContext(1)), right(0.2))
        table = tables.break_even(*results.load(tmp_path))
        assert ("tokens_queries" in table.frame, len(table.frame)) == (True, 0)
        assert "There is nothing to compare" in table.text
        for method, share in ((Lora(), 0.3), (Ia3(), 0.7), (FullTuning(), 0.9)):
            put(tmp_path, run(method), right(share))
        assert set(tables.break_even(*results.load(tmp_path)).frame["base"]) == {"lora"}


def test_pscp_hand_worked(tmp_path):
    put(tmp_path, run(Lora()), right(0.5), costs={"trainable_parameters": 5e8, "train_weights_bytes": 94e9 - 200})
    put(tmp_path, run(Ia3()), right(0.5), costs={"train_weights_bytes": None})
    (benchmark,) = tables.benchmarks(*results.load(tmp_path))
    frame = tables.soft_cost(benchmark).frame.set_index("method")
    assert frame.loc["lora", "pscp"] == pytest.approx(50 / 2 / 2, rel=0.01)
    assert pd.isna(frame.loc["ia3", "pscp"])

"""Bytes by precision, what quantization saves, and when training pays: from rows alone."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from made_rows import put, right, run

from nblib import results, spec, tables
from nblib.spec import FullTuning, Ia3, InContext, Lora, Retrieved

LONGER = {"prompt_tokens": 50.0, "generate_seconds": 24.0}


@dataclass(frozen=True)
class Predicted:
    weights_bytes: int
    train_peak_bytes: int
    adapter_bytes: int = 10
    gradients_bytes: int = 10
    optimizer_bytes: int = 20
    activations_bytes: int = 110
    logits_bytes: int = 200


@dataclass(frozen=True)
class Option:
    """What a memory.Option has."""

    method: spec.Method
    precision: str = "nf4"
    device_batch: int = 4
    accumulation: int = 2
    gradient_checkpointing: bool = True
    optimizer: str = "adamw_torch"
    peak_bytes: int = 8 * 2**30
    share: float = 0.5


def weighing(folder: Path, method, precision: str, weights: float, share: float = 0.5, **given):
    """A run whose other tensors add up to 200 bytes."""
    costs = {"train_weights_bytes": weights, "train_peak_bytes": given.pop("peak", 1e9)}
    asked = run(method, precision=precision, **given.pop("settings", {}))
    return put(folder, asked, right(share), costs=costs, **given)


class TestMemory:
    def test_on_a_cpu_it_is_the_sum_of_tensors_and_savings_are_beside_fp32(self, tmp_path):
        for precision, weights in (("nf4-dq", 50), ("fp32", 300), ("bf16", 150)):
            weighing(tmp_path, Lora(), precision, weights)
        weighing(tmp_path, FullTuning(), "fp32", 800)
        put(tmp_path, run(InContext(1)), right(0.2))  # trains nothing: no line
        frame = tables.memory(results.load(tmp_path).runs).frame
        assert list(frame["label"]) == ["lora fp32", "lora bf16", "lora nf4-dq", "full fp32"]
        assert list(frame["memory_bytes"]) == [500, 350, 250, 1000]
        assert list(frame["saving_lora_share"]) == pytest.approx([0, 0.3, 0.5, -1])
        assert list(frame["saving_full_share"]) == pytest.approx([0.5, 0.65, 0.75, 0])
        assert set(frame["other_bytes"]) == {0}
        assert list(frame["step_seconds"]) == [1.0] * 4

    def test_on_a_gpu_it_is_the_peak_with_the_rest_as_other_and_savings_are_beside_bf16(self, tmp_path):
        for precision, weights, peak in (("nf4-dq", 50, 300), ("fp32", 300, 900), ("bf16", 150, 600)):
            weighing(tmp_path, Lora(), precision, weights, peak=peak, provenance={"device": "cuda"})
        table = tables.memory(results.load(tmp_path).runs)
        assert list(table.frame["memory_bytes"]) == [900, 600, 300]
        assert list(table.frame["other_bytes"]) == [400, 250, 50]
        assert list(table.frame["saving_lora_share"]) == pytest.approx([-0.5, 0, 0.5])
        assert "On a GPU memory is the allocated peak" in table.text

    def test_what_ran_out_of_memory_and_random_weights_are_said(self, tmp_path):
        weighing(tmp_path, Lora(), "fp32", 300, status=results.OUT_OF_MEMORY)
        weighing(tmp_path, Lora(), "nf4", 50, settings={"shape_only": True})
        table = tables.memory(results.load(tmp_path).runs)
        assert table.frame["memory_bytes"].isna().tolist() == [True, False]
        assert "OOM" in table.text
        assert "*: the real architecture with random weights" in table.text

    def test_no_rows(self, tmp_path):
        assert tables.memory(results.load(tmp_path).runs).frame.empty

    def test_a_predicted_gpu_needs_its_peak_and_a_cpu_what_adds_up(self):
        entry = ("large", Lora(), "nf4", Predicted(50, 300))
        assert list(tables.foreseen([entry], device="cuda").frame["memory_bytes"]) == [300]
        assert list(tables.foreseen([entry], device="cpu").frame["memory_bytes"]) == [400]

    def test_on_a_cpu_measured_and_predicted_compare_without_logits(self, tmp_path):
        weighing(tmp_path, Lora(), "nf4", 60)
        weighing(tmp_path, Lora(), "fp32", 300)
        predicted = tables.foreseen([("tiny", Lora(), "nf4", Predicted(60, 300))], device="cpu").frame
        table = tables.beside_predicted(tables.memory(results.load(tmp_path).runs).frame, predicted)
        assert table.frame[["memory_bytes", "predicted_bytes"]].to_numpy().tolist() == [[220, 210]]
        assert list(table.frame["error"]) == pytest.approx([-10 / 220])

    def test_the_front_is_what_nothing_beats(self, tmp_path):
        weighing(tmp_path, Lora(), "fp32", 300, 0.5)
        weighing(tmp_path, Lora(), "nf4-dq", 50, 0.4)
        weighing(tmp_path, Lora(), "int8", 100, 0.3)
        weighing(tmp_path, FullTuning(), "fp32", 800, 0.45)
        weighing(tmp_path, Lora(), "bf16", 1, 0.9, settings={"shape_only": True})  # random weights: no quality
        frame = tables.quality_memory(*results.load(tmp_path)).frame
        front = {label: bool(each) for label, each in frame["pareto"].items()}
        assert front == {"lora fp32": True, "lora int8": False, "lora nf4-dq": True, "full fp32": False}
        assert frame.loc["lora int8", "memory_bytes"] == 300

    def test_smaller_cards_come_first_and_what_does_not_fit_is_said(self):
        plans = {"large": [Option(Lora())], "small": "it does not fit: take nf4"}
        table = tables.cards(plans, {"large": 16, "small": 2})
        assert list(table.frame["card"]) == ["small", "large"]
        assert "nothing fits" in table.text
        assert "it does not fit: take nf4" in table.text
        assert "8.0 GiB" in table.text
        assert "50.0" in table.text


class TestBreakEven:
    def test_hand_worked(self, tmp_path):
        put(tmp_path, run(Lora()), right(0.7), costs={"train_seconds": 60.0})
        put(tmp_path, run(Retrieved(3)), right(0.5), costs=LONGER)
        table = tables.break_even(*results.load(tmp_path))
        line = table.frame.loc["rag-3"]
        assert (line["tokens_once"], line["tokens_base"], line["tokens_method"]) == (3000, 32, 62)
        assert line["tokens_queries"] == 100  # 3 * 1000 tokens over 30 a query
        assert (line["seconds_base"], line["seconds_method"]) == (pytest.approx(0.1), pytest.approx(0.2))
        assert line["seconds_queries"] == pytest.approx(600, abs=1)
        assert (line["base"], line["verdict"]) == ("lora", "higher")
        assert line["difference"] == pytest.approx(0.2)
        assert 0 < line["difference_low"] < 0.2 < line["difference_high"]
        assert "Training lora once costs 3,000 tokens of forward passes or 60 seconds." in table.text

    def test_why_there_is_no_number_is_said(self, tmp_path):
        put(tmp_path, run(Lora()), right(0.7), costs={"train_tokens": None}, provenance={"device": "cpu"})
        put(tmp_path, run(InContext(1)), right(0.2), costs=LONGER, provenance={"device": "cuda"})
        line = tables.break_even(*results.load(tmp_path)).frame.loc["icl-1"]
        assert line["tokens_why"] == "not measured"
        assert line["seconds_why"] == "measured on different devices, or numbers of threads or processes"
        put(tmp_path, run(InContext(3)), right(0.2), costs={"generate_seconds": 6.0}, provenance={"device": "cpu"})
        table = tables.break_even(*results.load(tmp_path))
        assert table.frame.loc["icl-3", "seconds_why"] == "never: lora is not cheaper a query"
        assert "never: lora is not cheaper a query" in table.text

    def test_the_best_peft_method_is_the_base_and_another_can_be_named(self, tmp_path):
        for method, share in ((Lora(), 0.7), (Ia3(), 0.3), (FullTuning(), 0.9), (InContext(1), 0.2)):
            put(tmp_path, run(method), right(share))
        assert set(tables.break_even(*results.load(tmp_path)).frame["base"]) == {"lora"}
        assert set(tables.break_even(*results.load(tmp_path), base="full").frame["base"]) == {"full"}
        with pytest.raises(ValueError, match=r"a trained method with a result \(lora, ia3, full\); got 'icl-1'"):
            tables.break_even(*results.load(tmp_path), base="icl-1")

    def test_without_a_trained_method_there_is_no_line(self, tmp_path):
        put(tmp_path, run(Retrieved(1)), right(0.4))
        put(tmp_path, run(Lora()), [], status=results.FAILED)
        table = tables.break_even(*results.load(tmp_path))
        assert table.frame.empty
        assert "tokens_queries" in table.frame
        assert "There is nothing to compare" in table.text
        with pytest.raises(ValueError, match="no trained method has a result"):
            tables.break_even(*results.load(tmp_path), base="lora")


def test_pscp_hand_worked(tmp_path):
    put(tmp_path, run(Lora()), right(0.5), costs={"trainable_parameters": 5e8, "train_weights_bytes": 94e9 - 200})
    put(tmp_path, run(Ia3()), right(0.5), costs={"train_weights_bytes": None})
    (benchmark,) = tables.benchmarks(*results.load(tmp_path))
    frame = tables.soft_cost(benchmark).frame.set_index("method")
    assert frame.loc["lora", "pscp"] == pytest.approx(50 / 2 / 2, rel=0.01)
    assert pd.isna(frame.loc["ia3", "pscp"])

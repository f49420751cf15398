"""Bytes by precision, what quantization saves, and what the paragraph claims of it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from test_tables import right
from test_tables_methods import fake

from nblib import results, spec, tables
from nblib.results import Row
from nblib.spec import FullTuning, Lora, Run, Training, ZeroShot

LORA = Lora()
PARTS = {"adapter": 10, "gradients": 10, "optimizer": 20, "activations": 100, "logits": 60}  # 200 beside the weights


def trained(folder: Path, method, precision: str, weights: float, share: float = 0.5, **changed) -> Row:
    """A row whose tensors add up to 200 and its weights; `changed` are fields of the row, or `peak` or `seed`."""
    costs = {f"train_{part}_bytes": float(size) for part, size in PARTS.items()} | {"train_weights_bytes": weights}
    costs["train_peak_bytes"] = changed.pop("peak", 1e9)
    asked = Run("tiny", "a", method, precision, Training(), seed=changed.pop("seed", 42))
    row = fake(folder, asked, right(share), costs=costs, status=changed.pop("status", results.OK))
    row.provenance["device"] = changed.pop("device", "cpu")
    row.settings.update(changed)
    return row


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

    method: spec.Method = LORA
    precision: str = "nf4"
    device_batch: int = 4
    accumulation: int = 2
    gradient_checkpointing: bool = True
    optimizer: str = "adamw_torch"
    peak_bytes: int = 8 * 2**30
    share: float = 0.5


class TestMemory:
    def test_on_a_cpu_it_is_the_sum_of_tensors_and_savings_are_beside_fp32(self, tmp_path):
        rows = [
            trained(tmp_path, Lora(), "nf4-dq", 50),
            trained(tmp_path, Lora(), "fp32", 300),
            trained(tmp_path, Lora(), "bf16", 150),
            trained(tmp_path, FullTuning(), "fp32", 800),
        ]
        frame = tables.memory(rows)
        assert list(frame["label"]) == ["lora fp32", "lora bf16", "lora nf4-dq", "full fp32"]
        assert list(frame["kind"]) == ["lora", "lora", "qlora-4bit", "full"]
        assert list(frame["memory_bytes"]) == [500, 350, 250, 1000]
        assert list(frame["saving_lora"]) == pytest.approx([0, 0.3, 0.5, -1])
        assert list(frame["saving_full"]) == pytest.approx([0.5, 0.65, 0.75, 0])
        assert list(frame["step_seconds"]) == [1.0] * 4  # 40 seconds, 40 steps

    def test_on_a_gpu_it_is_the_peak_with_the_rest_as_other_and_savings_are_beside_bf16(self, tmp_path):
        rows = [
            trained(tmp_path, Lora(), precision, weights, peak=peak, device="cuda")
            for precision, weights, peak in (("fp32", 300, 900.0), ("bf16", 150, 500.0), ("nf4-dq", 50, 200.0))
        ]
        frame = tables.memory(rows)
        assert list(frame["memory_bytes"]) == [900, 500, 200]
        assert list(frame["other_bytes"]) == [400, 150, 0]  # never below nothing
        assert list(frame["saving_lora"]) == pytest.approx([-0.8, 0, 0.6])
        assert frame["saving_full"].isna().all()

    def test_seeds_are_one_line_and_prompting_is_none(self, tmp_path):
        rows = [trained(tmp_path, Lora(), "fp32", 300, seed=seed) for seed in (1, 2)]
        frame = tables.memory([*rows, fake(tmp_path, Run("tiny", "a", ZeroShot()), right(0.1))])
        assert list(frame["seeds"]) == [2]

    def test_the_order_of_rows_changes_nothing(self, tmp_path):
        rows = [trained(tmp_path, Lora(), each, 300) for each in ("fp32", "nf4", "int8")]
        pd.testing.assert_frame_equal(tables.memory(rows[::-1]), tables.memory(rows))

    def test_what_ran_out_of_memory_is_said_and_has_no_number(self, tmp_path):
        rows = [trained(tmp_path, Lora(), "fp32", 300, status=results.OUT_OF_MEMORY)]
        frame = tables.memory(rows)
        assert frame["memory_bytes"].isna().all()
        assert "OOM" in tables.shown_memory(frame).text

    def test_random_weights_are_marked(self, tmp_path):
        shown = tables.shown_memory(tables.memory([trained(tmp_path, Lora(), "nf4", 50, shape_only=True)]))
        assert "tiny*" in shown.text
        assert "*: the real architecture with random weights" in shown.text

    def test_no_rows(self):
        assert tables.memory([]).empty


class TestForeseen:
    def test_a_gpu_needs_its_peak_and_a_cpu_what_adds_up(self):
        entry = ("large", Lora(), "nf4", Predicted(50, 300))
        assert list(tables.foreseen([entry], device="cuda")["memory_bytes"]) == [300]
        assert list(tables.foreseen([entry], device="cpu")["memory_bytes"]) == [400]

    def test_on_a_cpu_measured_and_predicted_compare_without_logits(self, tmp_path):
        measured = tables.memory([trained(tmp_path, Lora(), "nf4", 60), trained(tmp_path, Lora(), "fp32", 300)])
        beside = tables.beside_predicted(
            measured, tables.foreseen([("tiny", Lora(), "nf4", Predicted(60, 300))], device="cpu")
        )
        assert beside[["memory_bytes", "predicted_bytes"]].values.tolist() == [[200, 210]]
        assert list(beside["error"]) == pytest.approx([0.05])
        assert "+5.0" in tables.shown_beside_predicted(beside).text


class TestQualityMemory:
    def test_the_front_is_what_nothing_beats(self, tmp_path):
        rows = [
            trained(tmp_path, Lora(), "fp32", 300, 0.5),
            trained(tmp_path, Lora(), "nf4-dq", 50, 0.4),
            trained(tmp_path, Lora(), "int8", 100, 0.3),
            trained(tmp_path, FullTuning(), "fp32", 800, 0.45),
        ]
        frame = tables.quality_memory(rows, tmp_path)
        front = {label: bool(each) for label, each in frame["pareto"].items()}
        assert front == {"lora fp32": True, "lora int8": False, "lora nf4-dq": True, "full fp32": False}
        assert frame.loc["lora int8", "memory_bytes"] == 300

    def test_random_weights_have_no_quality(self, tmp_path):
        rows = [trained(tmp_path, Lora(), "fp32", 300), trained(tmp_path, Lora(), "nf4", 50, shape_only=True)]
        assert list(tables.quality_memory(rows, tmp_path).index) == ["lora fp32"]


class TestAnswer:
    def rows(self, folder: Path, weights: float, share: float) -> list[Row]:
        return [
            trained(folder, Lora(), "fp32", 300, 0.5),
            trained(folder, Lora(), "nf4-dq", weights, share),
            trained(folder, FullTuning(), "fp32", 800, 0.5),
        ]

    def test_half_the_memory_at_the_same_answers_holds(self, tmp_path):
        said = tables.answer_memory(self.rows(tmp_path, 50, 0.5), tmp_path)
        assert "lora at nf4-dq needs 250 B, 50 % less" in said
        assert "holds here: lora at nf4-dq." in said
        assert "Beside full tuning at fp32 (1,000 B), lora at nf4-dq needs 75 % less." in said

    def test_too_little_saved_does_not_hold(self, tmp_path):
        said = tables.answer_memory(self.rows(tmp_path, 200, 0.5), tmp_path)
        assert "does not hold here: lora at nf4-dq needs more than 55 % of it." in said

    def test_lost_quality_does_not_hold(self, tmp_path):
        said = tables.answer_memory(self.rows(tmp_path, 50, 0.1), tmp_path)
        assert "does not hold here: lora at nf4-dq is worse." in said

    def test_without_predictions_nothing_is_decided(self, tmp_path):
        rows = self.rows(tmp_path, 50, 0.5)
        assert "is not decided here: a loss of 5 points is not excluded" in tables.answer_memory(rows, tmp_path / "b")

    def test_without_quantized_runs_nothing_is_decided(self, tmp_path):
        said = tables.answer_memory(self.rows(tmp_path, 50, 0.5)[:1], tmp_path)
        assert said.endswith("is not decided here.")

    def test_random_weights_say_nothing(self, tmp_path):
        rows = [trained(tmp_path, Lora(), "nf4", 50, shape_only=True)]
        assert tables.answer_memory(rows, tmp_path) == "There are no runs yet, so the question stays open."

    def test_an_unknown_score_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="metric must be one of"):
            tables.answer_memory([], tmp_path, metric="bleu")


class TestCards:
    def test_smaller_cards_come_first_and_what_does_not_fit_is_said(self):
        frame = tables.cards({"large": [Option()], "small": "it does not fit: take nf4"}, {"large": 16, "small": 2})
        assert list(frame["card"]) == ["small", "large"]
        said = tables.shown_cards(frame).text
        assert "nothing fits" in said
        assert "it does not fit: take nf4" in said
        assert "4 rows a pass, 2 passes a step, gradient checkpointing" in said
        assert "8.0" in said

"""Predicted memory: the shipped configurations, and what small models really take."""

import re
import sys
from pathlib import Path

import pytest
import small
import torch

from nblib import methods, models, spec
from nblib.memory import GIB, predict, predicting, shapes, tracing
from nblib.memory.tracing import Sizes

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import gpu_memory
import memory_prediction
from memory_prediction import Case

BILLIONS = {  # parameters, as published
    "codegen-350m-mono": 0.357,
    "codet5p-220m": 0.223,
    "codet5p-770m": 0.738,
    "codegen2-1b": 1.015,
    "codegen2-3.7b": 3.64,
    "codegen2-7b": 6.86,
    "codellama-7b": 6.74,
    "codellama-7b-instruct": 6.74,
    "codellama-7b-python": 6.74,
    "codellama-13b-python": 13.02,
    "codellama-34b-python": 33.74,
    "qwen2.5-coder-0.5b": 0.494,
    "qwen2.5-coder-1.5b": 1.54,
    "qwen2.5-coder-7b": 7.62,
    "qwen2.5-coder-0.5b-instruct": 0.494,
    "qwen2.5-coder-1.5b-instruct": 1.54,
    "qwen2.5-coder-7b-instruct": 7.62,
    "deepseek-coder-1.3b": 1.35,
    "deepseek-coder-6.7b": 6.74,
    "deepseek-coder-1.3b-instruct": 1.35,
    "deepseek-coder-6.7b-instruct": 6.74,
    "phi-3-mini": 3.82,
    "llama-3.1-8b-instruct": 8.03,
    "starcoder2-3b": 3.03,
    "smollm2-135m-instruct": 0.1345,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small llama deep enough that its layers are not all tried."""
    place = tmp_path_factory.mktemp("llama")
    shapes.shallower(small.CONFIGS["llama"], 6).save_pretrained(place)
    return str(place)


class TestShippedConfigurations:
    def test_every_known_model_has_one(self):
        assert set(BILLIONS) == set(models.MODELS)

    @pytest.mark.parametrize("model", BILLIONS)
    def test_it_has_the_published_number_of_parameters(self, model):
        count = sum(
            each.numel() for each in shapes.build(shapes.configuration(model), "fp32", torch.float32).parameters()
        )
        assert count / 1e9 == pytest.approx(BILLIONS[model], rel=0.005)


CASES = (
    Case("qwen2", spec.FullTuning(), "bf16", layers=6, checkpointing=True),
    Case("codegen", spec.Ia3(), "int8"),
    Case("gpt2", spec.Adapter(), "nf4", accumulates=True),
    Case("t5", spec.Lora(), "nf4-dq", optimizer="adafactor"),
    Case("t5", spec.PrefixTuning(), "nf4-dq", width=64),
    Case("qwen2", spec.Lora(), "bf16", width=64),
    Case("llama", spec.FullTuning(), width=512, layers=4, batch=1, words=10),
    Case("llama", spec.AdaLora()),
)


QUICK = (1, 6)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if at in QUICK else pytest.mark.slow) for at, case in enumerate(CASES)],
    ids=str,
)
def test_what_is_predicted_is_what_training_takes(case):
    training, generating = memory_prediction.compare(case)
    assert abs(training.error) < 0.05
    assert abs(generating.error) < 0.1


def test_what_is_predicted_for_a_gpu_is_printed_on_any_machine(monkeypatch, capsys):
    asked = ["--predict-only", "--models", "codegen-350m-mono", "--precisions", "bf16", "nf4-dq"]
    monkeypatch.setattr(sys, "argv", ["gpu_memory.py", *asked])
    gpu_memory.main()
    said = re.findall(r"codegen-350m-mono (.*): (.*) times weights and adapter", capsys.readouterr().out)
    assert [precision for precision, _ in said] == ["bf16", "nf4-dq"] * 2
    assert float(said[2][1]) < float(said[0][1])  # with checkpointing


class TestByKind:
    def test_constants_that_are_quantized_themselves_take_less(self):
        single, double = (
            predict("codellama-7b", spec.ZeroShot(), name, batch=1, length=8) for name in ("nf4", "nf4-dq")
        )
        numbers = 6_738_546_688 - 2 * 32016 * 4096 - 65 * 4096
        saved = (single.weights_bytes - double.weights_bytes) / numbers * 8
        assert saved == pytest.approx(0.373, abs=0.001)  # bits a parameter, as in Dettmers et al. 2023

    def test_adapters_are_counted_as_peft_attaches_them(self, folder):
        predicted = predict(folder, spec.Lora(), batch=1, length=8)
        whole = shapes.attach(shapes.build(shapes.configuration(folder), "fp32", torch.float32), spec.Lora())
        assert predicted.trainable_parameters == methods.trainable_parameters(whole)
        assert predicted.adapter_bytes == predicted.gradients_bytes == 4 * predicted.trainable_parameters

    def test_what_a_method_adds_but_does_not_train_is_its_own(self, folder):
        predicted = predict(folder, spec.Vera(r=8), batch=1, length=8)
        assert predicted.adapter_bytes > 4 * predicted.trainable_parameters

    def test_full_tuning_has_fp32_weights_at_any_precision(self, folder):
        full, half = (predict(folder, spec.FullTuning(), name, batch=1, length=8) for name in ("fp32", "bf16"))
        assert half.weights_bytes == full.weights_bytes
        assert half.load_peak_bytes == pytest.approx(full.load_peak_bytes / 2, rel=1e-4)  # positions stay fp32

    def test_a_method_on_some_layers_is_counted_on_those(self, folder):
        some, every = (
            predict(folder, spec.LlamaAdapter(layers=layers), batch=1, length=8).trainable_parameters
            for layers in (4, 0)
        )
        assert some == every * 4 // 6

    def test_a_prompt_alone_trains_nothing(self, folder):
        predicted = predict(folder, spec.InContext(), batch=1, length=8)
        assert predicted.train_peak_bytes is None
        assert predicted.optimizer_bytes == predicted.activations_bytes == predicted.adapter_bytes == 0

    def test_activations_shrink_with_checkpointing(self, folder):
        training = spec.Training(batch_size=4, device_batch=4, gradient_checkpointing=True)
        kept, fewer = (predict(folder, spec.Lora(), batch=4, length=64, training=way) for way in (None, training))
        assert fewer.activations_bytes < kept.activations_bytes / 4

    @pytest.mark.parametrize(
        ("family", "checkpointing"), [("llama", True), pytest.param("t5", False, marks=pytest.mark.slow)]
    )
    def test_a_few_layers_tell_what_many_need_at_every_stage(self, monkeypatch, family, checkpointing):
        deep = shapes.shallower(small.CONFIGS[family], 6).to_json_string(use_diff=False)
        setup = predicting.Setup(deep, spec.Lora(), "nf4", "cuda")
        how = {"checkpointing": checkpointing, "accumulates": False}
        from_a_few = setup.passed(tracing.train, Sizes(4, 64, 8), **how)
        monkeypatch.setattr(predicting, "SHALLOW", 6)
        assert from_a_few == setup.passed(tracing.train, Sizes(4, 64, 8), **how)

    def test_the_cache_holds_the_prompt_once_and_every_beams_own_tokens(self, folder):
        asked = {"batch": 2, "length": 8, "prompt_length": 16, "new_tokens": 8, "device": "cpu"}
        token = 2 * 6 * 32 * 4  # keys and values of every layer, fp32
        predicted = predict(folder, spec.ZeroShot(), beams=5, **asked)
        assert predicted.cache_bytes == token * 2 * (16 + 5 * (8 - 1))  # the last token is not read


class TestOptimizers:
    SHAPES = (torch.Size((64, 128)), torch.Size((128,)))

    def test_adafactor_keeps_sums_over_rows_and_columns(self):
        assert predicting.state_bytes("adafactor", self.SHAPES, device="cuda") == 4 * (64 + 128 + 128)

    def test_of_8_bits_small_tensors_stay_in_fp32(self):
        states = 2 * (64 * 128 + 4 * 64 * 128 // 256) + 8 * 128
        assert predicting.state_bytes("adamw_8bit", self.SHAPES, device="cuda") == states

    def test_paged_states_can_leave_a_gpu_but_not_a_cpu(self):
        large = [torch.Size((1000, 1000))]
        on_gpu, on_cpu = (predicting.state_bytes("paged_adamw", large, device=name) for name in ("cuda", "cpu"))
        assert (on_gpu, on_cpu) == (0, 8_000_000)

    def test_a_step_over_all_tensors_at_once_copies_them_on_a_gpu(self):
        every = 4 * (64 * 128 + 128)
        assert predicting.step_bytes("adamw_torch", self.SHAPES, device="cuda") == every
        assert predicting.step_bytes("adamw_torch_fused", self.SHAPES, device="cuda") == 0


class TestAnchors:
    """Public measurements, with room for what they did otherwise."""

    def test_qlora_of_34_billion_fits_on_24_gib(self):
        training = spec.Training(batch_size=1, device_batch=1, gradient_checkpointing=True)
        needed = predict("codellama-34b-python", spec.Lora(), "nf4-dq", batch=1, length=512, training=training)
        assert 17 < needed.peak_bytes / GIB < 22


class TestRefusals:
    @pytest.mark.parametrize("name", ["batch", "beams", "prompt_length"])
    def test_a_number_below_one(self, folder, name):
        asked = {"batch": 1, "length": 8, name: -1}
        with pytest.raises(ValueError, match=f"{name} must be a whole number, 1 or more; got -1"):
            predict(folder, spec.Lora(), **asked)

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({"precision": "int4"}, "precision must be one of fp32, .*; got 'int4'"),
            ({"device": "tpu"}, "device must be one of cuda, cpu; got 'tpu'"),
            ({"precision": "fp16", "device": "cpu"}, "fp16 needs a GPU"),
            ({"training": spec.Training(optimizer="lomo")}, "optimizer must be one of .*; got 'lomo'"),
        ],
    )
    def test_what_cannot_be(self, folder, asked, sentence):
        with pytest.raises(ValueError, match=sentence):
            predict(folder, spec.Lora(), batch=8, length=8, **asked)

    def test_full_tuning_of_quantized_weights(self, folder):
        with pytest.raises(ValueError, match="full trains every weight, and nf4 weights cannot be trained"):
            predict(folder, spec.FullTuning(), "nf4", batch=1, length=8)

    def test_a_method_that_the_model_cannot_have(self):
        with pytest.raises(ValueError, match="memory of llama-adapter on a model of type t5 cannot be predicted"):
            predict("codet5p-220m", spec.LlamaAdapter(), batch=1, length=8)

    def test_a_prefix_with_checkpointing(self, folder):
        training = spec.Training(gradient_checkpointing=True)
        with pytest.raises(ValueError, match="prefix-tuning cannot be trained with gradient_checkpointing"):
            predict(folder, spec.PrefixTuning(), batch=8, length=8, training=training)

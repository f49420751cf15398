"""Predicted memory: the shipped configurations, what small models really take, and what fits on a card."""

import re
import sys
from pathlib import Path

import pytest
import small
import torch

from nblib import memory, methods, models, spec
from nblib.columns import GIB
from nblib.memory import CARDS, card, plan, predict, predicting, shapes, tracing
from nblib.memory.tracing import Sizes

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import gpu_memory
import memory_prediction
from memory_prediction import Case

BILLIONS = {  # parameters, as published, by the end of a model's name
    "codegen-350m-mono": 0.357,
    "codet5p-220m": 0.223,
    "codet5p-770m": 0.738,
    "codegen2-1b": 1.015,
    "codegen2-3.7b": 3.64,
    "codegen2-7b": 6.86,
    "codellama-7b": 6.74,
    "codellama-13b": 13.02,
    "codellama-34b": 33.74,
    "qwen2.5-coder-0.5b": 0.494,
    "qwen2.5-coder-1.5b": 1.54,
    "qwen2.5-coder-7b": 7.62,
    "deepseek-coder-1.3b": 1.35,
    "deepseek-coder-6.7b": 6.74,
    "phi-3-mini": 3.82,
    "llama-3.1-8b": 8.03,
    "starcoder2-3b": 3.03,
    "smollm2-135m": 0.1345,
}
LORA = [spec.Lora(r=8)]
CHECKPOINTED = spec.Training(batch_size=4, device_batch=4, gradient_checkpointing=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small llama deep enough that its layers are not all tried."""
    place = tmp_path_factory.mktemp("llama")
    shapes.shallower(small.CONFIGS["llama"], 6).save_pretrained(place)
    return str(place)


def test_every_shipped_configuration_has_the_published_number_of_parameters():
    for model in models.MODELS:
        billions = BILLIONS[re.sub(r"-(instruct|python)$", "", model)]
        base = shapes.build(shapes.configuration(model), "fp32", torch.float32)
        assert sum(tensor.numel() for tensor in base.parameters()) / 1e9 == pytest.approx(billions, rel=0.005), model
    assert shapes.configuration("codellama/CodeLlama-7b-hf").hidden_size == 4096
    with pytest.raises(ValueError, match="model must be one of .*codellama-7b.*; got 'codellama-8b'"):
        shapes.configuration("codellama-8b")


QUICK = Case("gpt2", spec.Adapter(), "nf4", accumulates=True)
SLOW = (
    Case("llama", spec.AdaLora()),
    Case("qwen2", spec.FullTuning(), "bf16", layers=6, checkpointing=True),
    Case("codegen", spec.Ia3(), "int8"),
    Case("t5", spec.Lora(), "nf4-dq", optimizer="adafactor"),
    Case("t5", spec.PrefixTuning(), "nf4-dq", width=64),
    Case("qwen2", spec.Lora(), "bf16", width=64),
    Case("llama", spec.FullTuning(), width=512, layers=4, batch=1, words=10),
    *(Case("llama", method) for method in memory_prediction.SINCE),
    Case("qwen2", spec.TrainableTokens(tokens=20), "nf4"),
    Case("t5", spec.RandLora(), "nf4"),
)
TORCHAO = (
    Case("llama", spec.Lora(), "ao-int8"),
    Case("qwen2", spec.Lora(dropout=0.0), "ao-int4", width=256, layers=6, checkpointing=True),
    Case("t5", spec.Dora(), "ao-int4", optimizer="adafactor"),
)
CASES = [
    QUICK,
    *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW),
    *(pytest.param(case, marks=[small.needs_torchao, pytest.mark.slow]) for case in TORCHAO),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_predicted_is_what_training_takes(case):
    training, generating = memory_prediction.compare(case)
    assert abs(training.error) < 0.05
    assert abs(generating.error) < 0.1


@pytest.mark.slow
def test_what_is_predicted_for_a_gpu_is_printed_on_any_machine(monkeypatch, capsys):
    arguments = ["--predict-only", "--models", "codegen-350m-mono", "--precisions", "bf16", "nf4-dq"]
    monkeypatch.setattr(sys, "argv", ["gpu_memory.py", *arguments])
    gpu_memory.main()
    ratios = re.findall(r"codegen-350m-mono (.*): (.*) times weights and adapter", capsys.readouterr().out)
    assert [precision for precision, _ in ratios] == ["bf16", "nf4-dq"] * 2
    assert float(ratios[2][1]) < float(ratios[0][1])  # with checkpointing


class TestByKind:
    def test_constants_that_are_quantized_themselves_take_less(self):
        single, double = (
            predict("codellama-7b", spec.ZeroShot(), name, batch=1, length=8) for name in ("nf4", "nf4-dq")
        )
        numbers = 6_738_546_688 - 2 * 32016 * 4096 - 65 * 4096
        saved = (single.weights_bytes - double.weights_bytes) / numbers * 8
        assert saved == pytest.approx(0.373, abs=0.001)  # bits a parameter, as in Dettmers et al. 2023
        assert 3.5 < double.weights_bytes / GIB < 3.9

    def test_adapters_are_counted_as_peft_attaches_them(self, folder):
        lora = predict(folder, spec.Lora(), batch=1, length=8)
        whole = shapes.attach(shapes.build(shapes.configuration(folder), "fp32", torch.float32), spec.Lora())
        assert lora.trainable_parameters == methods.trainable_parameters(whole)
        assert lora.adapter_bytes == lora.gradients_bytes == 4 * lora.trainable_parameters
        vera = predict(folder, spec.Vera(r=8), batch=1, length=8)
        assert vera.adapter_bytes > 4 * vera.trainable_parameters  # its random matrices are not trained
        some, every = (predict(folder, spec.LlamaAdapter(layers=count), batch=1, length=8) for count in (4, 0))
        assert some.trainable_parameters == every.trainable_parameters * 4 // 6

    def test_full_tuning_has_fp32_weights_at_any_precision_and_a_prompt_alone_trains_nothing(self, folder):
        full, half = (predict(folder, spec.FullTuning(), name, batch=1, length=8) for name in ("fp32", "bf16"))
        assert half.weights_bytes == full.weights_bytes
        assert half.load_peak_bytes == pytest.approx(full.load_peak_bytes / 2, rel=1e-4)  # positions stay fp32
        shown = predict(folder, spec.InContext(), batch=1, length=8)
        assert shown.train_peak_bytes is None
        assert shown.optimizer_bytes == shown.activations_bytes == shown.adapter_bytes == 0

    def test_activations_shrink_with_checkpointing(self, folder):
        kept, fewer = (predict(folder, spec.Lora(), batch=4, length=64, training=way) for way in (None, CHECKPOINTED))
        assert fewer.activations_bytes < kept.activations_bytes / 4
        assert not fewer.train_peak_at.startswith("evaluation")

    @pytest.mark.slow
    @pytest.mark.parametrize(("family", "checkpointing"), [("llama", True), ("t5", False)])
    def test_a_few_layers_tell_what_many_need_at_every_stage(self, monkeypatch, family, checkpointing):
        deep = shapes.shallower(small.CONFIGS[family], 6).to_json_string(use_diff=False)
        setup = predicting.Setup(deep, spec.Lora(), "nf4", "cuda")
        how = {"checkpointing": checkpointing, "accumulates": False}
        from_a_few = setup.passed(tracing.train, Sizes(4, 64, 8), **how)
        monkeypatch.setattr(predicting, "SHALLOW", 6)
        assert from_a_few == setup.passed(tracing.train, Sizes(4, 64, 8), **how)

    def test_the_cache_holds_the_prompt_once_and_every_beams_own_tokens(self, folder):
        sizes = {"batch": 2, "length": 8, "prompt_length": 16, "new_tokens": 8, "device": "cpu"}
        token = 2 * 6 * 32 * 4  # keys and values of every layer, fp32
        predicted = predict(folder, spec.ZeroShot(), beams=5, **sizes)
        assert predicted.cache_bytes == token * 2 * (16 + 5 * (8 - 1))  # the last token is not read

    def test_optimizers_keep_what_their_papers_say(self):
        pair, states = [torch.Size((64, 128)), torch.Size((128,))], predicting.state_bytes
        assert states("adamw_torch", pair, device="cuda") == 8 * (64 * 128 + 128)
        assert states("adafactor", pair, device="cuda") == 4 * (64 + 128 + 128)
        # of 8 bits small tensors stay in fp32
        assert states("adamw_8bit", pair, device="cuda") == 2 * (64 * 128 + 4 * 64 * 128 // 256) + 8 * 128
        large = [torch.Size((1000, 1000))]
        assert [states("paged_adamw", large, device=device) for device in ("cuda", "cpu")] == [0, 8_000_000]
        copied = [predicting.step_bytes(name, pair, device="cuda") for name in ("adamw_torch", "adamw_torch_fused")]
        assert copied == [4 * (64 * 128 + 128), 0]


@pytest.mark.parametrize(
    ("method", "sizes", "sentence"),
    [
        (spec.Lora(), {"batch": -1}, "batch must be a whole number, 1 or more; got -1"),
        (spec.Lora(), {"prompt_length": 0}, "prompt_length must be a whole number, 1 or more; got 0"),
        (spec.Lora(), {"precision": "int4"}, "precision must be one of fp32, .*; got 'int4'"),
        (spec.Lora(), {"device": "tpu"}, "device must be one of cuda, cpu; got 'tpu'"),
        (spec.Lora(), {"precision": "fp16", "device": "cpu"}, "fp16 needs a GPU"),
        (spec.Lora(), {"training": spec.Training(optimizer="lomo")}, "optimizer must be one of .*; got 'lomo'"),
        (spec.FullTuning(), {"precision": "nf4"}, "full trains every weight, and nf4 weights cannot be trained"),
        (
            spec.PrefixTuning(),
            {"training": CHECKPOINTED},
            "prefix-tuning cannot be trained with gradient_checkpointing",
        ),
    ],
)
def test_what_cannot_be_is_refused(folder, method, sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        predict(folder, method, **{"batch": 4, "length": 8} | sizes)


def test_a_method_that_the_model_cannot_have_is_refused():
    with pytest.raises(ValueError, match="memory of llama-adapter on a model of type t5 cannot be predicted"):
        predict("codet5p-220m", spec.LlamaAdapter(), batch=1, length=8)


# --- plans ------------------------------------------------------------------------------------------------------------


def test_options_fit_with_the_reserve_the_least_quantized_first():
    both = {"methods": [*LORA, spec.FullTuning()], "precisions": ["nf4-dq", "bf16"]}
    options = plan("codellama-7b", "RTX 4090", length=128, **both)
    assert [(option.precision, option.label) for option in options] == [("bf16", "lora"), ("nf4-dq", "qlora-4bit")]
    for option in options:
        assert option.peak_bytes == option.prediction.peak_bytes <= card("RTX 4090").usable_bytes
        assert option.share == option.peak_bytes / (24 * GIB) < 0.92
        assert option.device_batch * option.accumulation == 8


def test_several_cards_share_a_step_and_each_has_gradients_to_exchange(folder):
    one, two = (plan(folder, "T4", methods=LORA, precisions=["fp32"], length=32, cards=cards)[0] for cards in (1, 2))
    alone = plan(folder, "T4", methods=LORA, precisions=["fp32"], length=32, batch_size=4)[0]
    assert [(found.device_batch, found.accumulation, found.is_split) for found in (one, two)] == [
        (8, 1, False),
        (4, 1, False),
    ]
    trained, shared = alone.prediction.train_peak_bytes, two.prediction.train_peak_bytes
    assert shared == trained + two.prediction.gradients_bytes > trained
    with pytest.raises(ValueError, match="batch_size must be a multiple of cards; got 8, 3"):
        plan(folder, "T4", length=32, cards=3)


@pytest.mark.slow
def test_a_model_that_fits_no_card_is_split_over_two():
    """13 billion weights in bf16 over two cards of 24 GiB."""
    sizes = {"length": 512, "methods": [spec.Lora()], "precisions": ["bf16"]}
    with pytest.raises(ValueError, match="does not fit on RTX 4090"):
        plan("codellama-13b-python", "RTX 4090", **sizes)
    split = plan("codellama-13b-python", "RTX 4090", cards=2, **sizes)[0]
    assert split.is_split
    assert split.prediction.weights_bytes / 2 < split.prediction.train_peak_bytes < 0.92 * 24 * GIB
    small = plan("codellama-7b", "RTX 4090", cards=2, **sizes)[0]
    assert not small.is_split


@pytest.mark.slow
def test_slower_ways_are_taken_one_after_the_other_as_the_card_gets_smaller(folder):
    sizes = {"length": 512, "methods": LORA, "precisions": ["bf16"]}
    large, narrow, narrowest = (plan("deepseek-coder-1.3b", gib, **sizes)[0] for gib in (24, 10, 4.5))
    assert (large.device_batch, large.gradient_checkpointing) == (8, False)
    assert narrow.device_batch < 8
    assert (narrow.gradient_checkpointing, narrowest.gradient_checkpointing) == (False, True)
    full = {"length": 64, "methods": [spec.FullTuning()], "precisions": ["bf16"]}
    roomy, tight = (plan("qwen2.5-coder-0.5b", gib, **full)[0] for gib in (24, 9))
    assert (roomy.optimizer, tight.optimizer) == ("adamw_torch", "adamw_8bit")
    options = plan(folder, "H100", length=32)
    ways = {(option.device_batch, option.gradient_checkpointing, option.optimizer) for option in options}
    assert ways == {(8, False, "adamw_torch")}


@pytest.mark.slow
def test_large_models_train_over_4_bits_on_one_card():
    """LoRA of rank 16 on all linear layers with 8 rows of 128 tokens and checkpointing, as predicted for a GPU."""
    training, sizes = spec.Training(gradient_checkpointing=True), {"batch": 8, "length": 128}
    quantized, half = (
        predict("codellama-7b", spec.Lora(), name, training=training, **sizes) for name in ("nf4-dq", "bf16")
    )
    assert quantized.train_peak_bytes <= 1.25 * (quantized.weights_bytes + quantized.adapter_bytes)
    assert quantized.train_peak_bytes <= 0.4 * half.train_peak_bytes
    assert predict("codellama-34b-python", spec.Lora(), "nf4-dq", training=training, **sizes).peak_bytes < 21 * GIB
    options = plan("codellama-13b-python", "T4", length=128, methods=[spec.Lora()], precisions=["nf4-dq"])
    assert [option.label for option in options] == ["qlora-4bit"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "device", "sizes", "change"),
    [
        ("13b", "T4", {"methods": LORA, "precisions": ["fp16"]}, "T4 with 16 GiB: precision int8 would"),
        ("34b", "T4", {"methods": LORA}, "T4 with 16 GiB: RTX A5000 with 24 GiB would do"),
        ("34b", "T4", {"methods": [spec.FullTuning()], "precisions": ["fp16"]}, "nor on any known card"),
    ],
)
def test_where_nothing_fits_the_smallest_change_is_named(model, device, sizes, change):
    with pytest.raises(ValueError, match=change):
        plan(f"codellama-{model}-python", device, length=64, batch_size=1, **sizes)


@pytest.mark.parametrize(
    ("device", "sizes", "sentence"),
    [
        ("RTX 9999", {}, "device must be one of T4, .*, or a number of GiB; got 'RTX 9999'"),
        (0.5, {}, "device must have more than .* GiB.*; got 0.5"),
        (True, {}, "got True"),
        ("T4", {"precisions": ["bf16"]}, "precision bf16 needs a newer card than the T4: take fp16"),
        (16, {"batch_size": -8}, "batch_size must be a whole number, 1 or more; got -8"),
        (16, {"precisions": ["int4"]}, "precision must be one of fp32, .*; got 'int4'"),
        (16, {"methods": []}, "methods must name at least one that is trained; got none"),
        (16, {"methods": [spec.ZeroShot()]}, "zero-shot trains nothing"),
    ],
)
def test_a_plan_of_what_there_is_not_is_refused(folder, device, sizes, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan(folder, device, **{"length": 8} | sizes)


def test_a_reserve_stays_free_on_each_card_and_fp16_is_for_old_ones():
    assert all(card(name).usable_bytes == int(gib * GIB * 0.92) - GIB // 2 for name, gib in CARDS.items())
    assert {name for name in CARDS if "fp16" in card(name).precisions} == {"T4"}
    assert memory.CARDS is CARDS

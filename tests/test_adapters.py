"""The bottleneck adapter: where it goes in each family, what it trains, and that PEFT treats it as its own."""

import json
import subprocess
import sys

import peft
import pytest
import small
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, BitsAndBytesConfig

from nblib import models
from nblib.adapters import BottleneckConfig, BottleneckLayer, find_places

# PEFT 0.21 asks transformers 5.23 by a name that is going; methods.attach keeps quiet about it as well.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

FEED_FORWARD = {
    "llama": ["model.layers.{}.mlp.down_proj"],
    "qwen2": ["model.layers.{}.mlp.down_proj"],
    "phi3": ["model.layers.{}.mlp.down_proj"],
    "starcoder2": ["model.layers.{}.mlp.c_proj"],
    "codegen": ["transformer.h.{}.mlp.fc_out"],
    "gpt2": ["transformer.h.{}.mlp.c_proj"],
    "t5": ["encoder.block.{}.layer.1.DenseReluDense.wo", "decoder.block.{}.layer.2.DenseReluDense.wo"],
}
ATTENTION = {
    "llama": ["model.layers.{}.self_attn.o_proj"],
    "qwen2": ["model.layers.{}.self_attn.o_proj"],
    "phi3": ["model.layers.{}.self_attn.o_proj"],
    "starcoder2": ["model.layers.{}.self_attn.o_proj"],
    "codegen": ["transformer.h.{}.attn.out_proj"],
    "gpt2": ["transformer.h.{}.attn.c_proj"],
    "t5": [
        "encoder.block.{}.layer.0.SelfAttention.o",
        "decoder.block.{}.layer.0.SelfAttention.o",
        "decoder.block.{}.layer.1.EncDecAttention.o",
    ],
}
every_family = pytest.mark.parametrize("family", FEED_FORWARD)
IDS = torch.arange(3, 19).reshape(2, 8)

LOAD_IN_A_NEW_PROCESS = """
import json, sys
import peft, torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
import nblib.adapters

ids = torch.arange(3, 19).reshape(2, 8)
for family, base, adapter in json.loads(sys.argv[1]):
    auto, extra = (AutoModelForSeq2SeqLM, {"decoder_input_ids": ids}) if family == "t5" else (AutoModelForCausalLM, {})
    model = peft.PeftModel.from_pretrained(auto.from_pretrained(base), adapter).eval()
    with torch.inference_mode():
        torch.save(model(input_ids=ids, **extra).logits, f"{adapter}/logits.pt")
"""


def attach(model, *, seed=0, **settings):
    torch.manual_seed(seed)
    return peft.get_peft_model(model, BottleneckConfig(**{"bottleneck": 4, **settings}))


def logits(model):
    extra = {"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {}
    with torch.inference_mode():
        return model.eval()(input_ids=IDS, **extra).logits


def learn(model, *, steps=6):
    """The losses on the way."""
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = model.eval()(input_ids=IDS, labels=IDS).loss  # evaluation: without dropout each step is comparable
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def gradients(model):
    torch.manual_seed(0)  # for dropout
    model.train()(input_ids=IDS, labels=IDS).loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def quantized(folder, family, precision):
    if family != "t5":
        return models.load(folder, precision)[0]
    held = {"load_in_8bit": True} if precision == "int8" else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    config = BitsAndBytesConfig(**held)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, quantization_config=config, device_map="cpu")
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # as in models.load
            module.support_avx512bf16_for_cpu = False
    return model


@every_family
class TestEveryFamily:
    def test_pfeiffer_goes_after_each_feed_forward(self, family):
        expected = {place.format(block) for place in FEED_FORWARD[family] for block in (0, 1)}
        assert set(find_places(small.model(family), "pfeiffer")) == expected

    def test_houlsby_goes_after_each_attention_as_well(self, family):
        expected = {place.format(block) for place in FEED_FORWARD[family] + ATTENTION[family] for block in (0, 1)}
        assert set(find_places(small.model(family), "houlsby")) == expected

    def test_it_starts_as_the_identity_and_learns_the_adapter_only(self, family):
        model = small.model(family)
        before = logits(model)
        base = {name: each.clone() for name, each in model.named_parameters()}
        tuned = attach(model, placement="houlsby")
        assert logits(tuned).equal(before)
        losses = learn(tuned)
        assert losses[-1] < losses[0] - 0.01
        kept = {name.replace(".base_layer", ""): each for name, each in model.named_parameters()}
        assert all(each.equal(kept[name]) for name, each in base.items())

    def test_unloading_gives_the_base_again(self, family):
        model = small.model(family)
        before, names = logits(model), [name for name, _ in model.named_modules()]
        tuned = attach(model, placement="houlsby")
        learn(tuned, steps=2)
        assert not logits(tuned).equal(before)
        with tuned.disable_adapter():
            assert logits(tuned).equal(before)
        base = tuned.unload()
        assert logits(base).equal(before)
        assert [name for name, _ in base.named_modules()] == names

    def test_a_second_adapter_goes_to_the_same_places_and_both_switch(self, family):
        tuned = attach(small.model(family))
        learn(tuned, steps=2)
        first = logits(tuned)
        tuned.add_adapter("other", BottleneckConfig(bottleneck=8))
        assert tuned.peft_config["other"].target_modules == tuned.peft_config["default"].target_modules
        assert logits(tuned).equal(first)
        tuned.set_adapter("other")
        learn(tuned, steps=2)
        assert not logits(tuned).equal(first)
        tuned.set_adapter("default")
        assert logits(tuned).equal(first)

    def test_checkpoints_of_activations_change_no_gradient(self, family):
        plain = gradients(attach(small.model(family), placement="houlsby"))
        model = small.model(family)
        model.activation_checkpointing_enable()
        saving = gradients(attach(model, placement="houlsby"))
        assert plain.keys() == saving.keys()
        assert any(each.abs().sum() > 0 for each in plain.values())
        for name, each in plain.items():
            torch.testing.assert_close(saving[name], each)

    def test_it_generates(self, family):
        tuned = attach(small.model(family))
        learn(tuned, steps=12)  # until it says something else
        asked = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "max_new_tokens": 4, "num_beams": 2}
        answer = tuned.generate(**asked)
        assert answer.shape[0] == 2
        with tuned.disable_adapter():
            assert not torch.equal(answer, tuned.generate(**asked))

    @pytest.mark.parametrize("precision", ["int8", "nf4"])
    def test_it_learns_over_a_quantized_base_in_fp32(self, tmp_path, family, precision):
        model = quantized(small.folder(tmp_path, family), family, precision)
        before = logits(model)
        tuned = attach(model, placement="houlsby")
        trained = [each for each in tuned.parameters() if each.requires_grad]
        assert {each.dtype for each in trained} == {torch.float32}
        assert logits(tuned).equal(before)
        losses = learn(tuned, steps=4)
        assert losses[-1] < losses[0]
        assert logits(tuned.unload()).equal(before)


def test_a_new_process_loads_what_was_saved(tmp_path):
    asked, expected = [], {}
    for family in FEED_FORWARD:
        base = small.folder(tmp_path / family / "base", family)
        tuned = attach(small.model(family), placement="houlsby")
        learn(tuned, steps=2)
        adapter = str(tmp_path / family / "adapter")
        tuned.save_pretrained(adapter)
        asked.append((family, base, adapter))
        expected[adapter] = logits(tuned)
    done = subprocess.run(
        [sys.executable, "-c", LOAD_IN_A_NEW_PROCESS, json.dumps(asked)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for adapter, before in expected.items():
        torch.testing.assert_close(torch.load(f"{adapter}/logits.pt"), before)


def test_the_folder_is_an_ordinary_one_of_peft(tmp_path):
    attach(small.model(), placement="houlsby").save_pretrained(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["bottleneck"], config["placement"]) == ("BOTTLENECK", 4, "houlsby")
    assert isinstance(peft.PeftConfig.from_pretrained(tmp_path), BottleneckConfig)


@pytest.mark.parametrize(("placement", "places"), [("pfeiffer", 2), ("houlsby", 4)])
def test_trained_weights_are_counted_by_hand(placement, places):
    a_place = (32 * 4 + 4) + (4 * 32 + 32)  # down and up, each with its bias
    tuned = attach(small.model(), placement=placement)
    assert tuned.get_nb_trainable_parameters()[0] == places * a_place
    trained = [name for name, each in tuned.named_parameters() if each.requires_grad]
    assert all("bottleneck_" in name for name in trained)


def test_what_it_computes_is_worked_out_by_hand():
    """One number in, one out: 2 from the base, and 5 · max(0, 3 · 2 − 1) + 7 from the adapter."""
    layer = BottleneckLayer(torch.nn.Linear(1, 1))
    layer.add("default", width=1, bottleneck=1)
    values = {"base_layer": (2, 0), "bottleneck_down.default": (3, -1), "bottleneck_up.default": (5, 7)}
    for name, (weight, bias) in values.items():
        torch.nn.init.constant_(layer.get_submodule(name).weight, weight)
        torch.nn.init.constant_(layer.get_submodule(name).bias, bias)
    assert layer(torch.ones(1, 1)).item() == 2 + 5 * max(0, 3 * 2 - 1) + 7
    assert layer(-torch.ones(1, 1)).item() == -2 + 7


def test_a_model_of_many_blocks_gets_no_other_layer():
    """From twenty names on PEFT shortens them to endings; gpt2 has the same last name in both halves of a block."""
    config = type(small.CONFIGS["gpt2"])(n_embd=32, n_layer=22, n_head=4, vocab_size=40)
    tuned = attach(AutoModelForCausalLM.from_config(config))
    assert tuned.targeted_module_names == [f"transformer.h.{block}.mlp.c_proj" for block in range(22)]


def test_over_bf16_the_adapter_is_fp32_and_the_model_stays_bf16():
    tuned = attach(small.model().to(torch.bfloat16), placement="houlsby")
    assert {each.dtype for each in tuned.parameters() if each.requires_grad} == {torch.float32}
    assert logits(tuned).dtype == torch.bfloat16
    losses = learn(tuned)
    assert losses[-1] < losses[0]


def test_autocast_computes_the_adapter_in_its_type():
    tuned = attach(small.model())
    seen = []
    for name, each in tuned.named_modules():
        if name.endswith("bottleneck_down.default"):
            each.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        tuned(input_ids=IDS, labels=IDS).loss.backward()
    assert seen == [torch.bfloat16] * 2
    trained = [each for each in tuned.parameters() if each.requires_grad]
    assert {each.grad.dtype for each in trained} == {torch.float32}


def test_several_active_adapters_add_up():
    tuned = attach(small.model())
    tuned.add_adapter("other", BottleneckConfig(bottleneck=4))
    tuned.base_model.set_adapter(["default", "other"])
    layer = tuned.get_submodule("base_model.model.model.layers.0.mlp.down_proj")
    for name in ("default", "other"):
        torch.nn.init.ones_(layer.bottleneck_up[name].bias)
    hidden = torch.randn(3, 48)
    torch.testing.assert_close(layer(hidden), layer.base_layer(hidden) + 2)


def test_other_layers_can_be_trained_and_saved_with_it(tmp_path):
    model = small.model()
    tuned = attach(model, modules_to_save=["lm_head"])
    learn(tuned, steps=2)
    tuned.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(small.model(), tmp_path)
    assert logits(loaded).equal(logits(tuned))


def test_an_adapter_is_loaded_for_use_or_to_train_on(tmp_path):
    attach(small.model()).save_pretrained(tmp_path)
    for wanted in (False, True):
        loaded = peft.PeftModel.from_pretrained(small.model(), tmp_path, is_trainable=wanted)
        assert any(each.requires_grad for each in loaded.parameters()) is wanted
    assert not any(each.requires_grad for each in attach(small.model(), inference_mode=True).parameters())


def test_an_adapter_beside_another_waits_until_it_is_set():
    tuned = attach(small.model())
    tuned.add_adapter("other", BottleneckConfig(bottleneck=4, placement="houlsby"))
    trained = [name for name, each in tuned.named_parameters() if each.requires_grad]
    assert len(trained) == 2 * 4
    assert all(".default." in name for name in trained)
    tuned.set_adapter("other")
    trained = [name for name, each in tuned.named_parameters() if each.requires_grad]
    assert len(trained) == 4 * 4
    assert all(".other." in name for name in trained)


@pytest.mark.parametrize("method", ["merge_and_unload", "merge_adapter"])
def test_merging_is_refused_and_changes_nothing(method):
    tuned = attach(small.model())
    learn(tuned, steps=2)
    before = logits(tuned)
    with pytest.raises(ValueError, match="nonlinear and cannot be merged: use it as it is"):
        getattr(tuned, method)()
    assert logits(tuned).equal(before)


@pytest.mark.parametrize("placement", ["pfeiffer", "houlsby"])
@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe"])  # the second has one dense expert beside the others
def test_a_mixture_of_experts_is_refused(family, placement):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = AutoConfig.for_model(family, **sizes, vocab_size=40, num_experts=4, num_local_experts=4, pad_token_id=2)
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match=r"one dense feed-forward in model\.layers\.0: give the layers as target_mod"):
        attach(model, placement=placement)


def test_a_model_without_blocks_is_refused_unless_layers_are_named():
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU())
    with pytest.raises(ValueError, match="Sequential needs a list of transformer blocks .* give the layers"):
        attach(model)
    tuned = attach(model, target_modules=["0"])
    assert tuned(torch.ones(1, 3)).shape == (1, 5)


def test_a_target_that_is_no_linear_layer_is_refused():
    with pytest.raises(ValueError, match=r"goes on a linear layer; model\.embed_tokens is Embedding"):
        attach(small.model(), target_modules=["embed_tokens"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bottleneck": 0}, "bottleneck must be a whole number from 1 on; got 0"),
        ({"bottleneck": 1.5}, "bottleneck must be a whole number from 1 on; got 1.5"),
        ({"placement": "parallel"}, "placement must be one of pfeiffer, houlsby; got 'parallel'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BottleneckConfig(**settings)

"""The bottleneck adapter: where it goes in each family, what it computes, and that PEFT treats it as its own."""

import json

import peft
import pytest
import small
import small_methods
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from nblib.methods.bottleneck import BottleneckConfig, BottleneckLayer, places

# PEFT 0.21 asks transformers 5.23 by a name that is going; methods.attach keeps quiet about it as well.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

LLAMA = (["model.layers.{}.mlp.down_proj"], ["model.layers.{}.self_attn.o_proj"])
ENDS = {  # family -> the layers that end a feed-forward, and an attention
    "llama": LLAMA,
    "qwen2": LLAMA,
    "phi3": LLAMA,
    "starcoder2": (["model.layers.{}.mlp.c_proj"], ["model.layers.{}.self_attn.o_proj"]),
    "codegen": (["transformer.h.{}.mlp.fc_out"], ["transformer.h.{}.attn.out_proj"]),
    "gpt2": (["transformer.h.{}.mlp.c_proj"], ["transformer.h.{}.attn.c_proj"]),
    "t5": (
        ["encoder.block.{}.layer.1.DenseReluDense.wo", "decoder.block.{}.layer.2.DenseReluDense.wo"],
        [
            "encoder.block.{}.layer.0.SelfAttention.o",
            "decoder.block.{}.layer.0.SelfAttention.o",
            "decoder.block.{}.layer.1.EncDecAttention.o",
        ],
    ),
}


def attach(model, **settings):
    torch.manual_seed(0)
    return peft.get_peft_model(model, BottleneckConfig(**{"bottleneck": 4, **settings}))


def logits(model, rows):
    with torch.inference_mode():
        return model.eval()(**rows).logits


@pytest.mark.parametrize("family", ENDS)
def test_pfeiffer_goes_after_each_feed_forward_and_houlsby_after_each_attention_as_well(family):
    feed_forward, attention = ENDS[family]
    for placement, ends in (("pfeiffer", feed_forward), ("houlsby", feed_forward + attention)):
        found = places(small.model(family), placement)
        assert sorted(found) == sorted(end.format(block) for end in ends for block in (0, 1))


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_it_starts_as_the_identity_learns_and_comes_off(family):
    model = small.model(family)
    rows = small_methods.batch(model, small.tokenizer())
    before, names = logits(model, rows), [name for name, _ in model.named_modules()]
    tuned = attach(model, placement="houlsby")
    assert logits(tuned, rows).equal(before)
    first, last = small_methods.train(tuned, rows)
    assert last < first - 0.01
    with tuned.disable_adapter():
        assert logits(tuned, rows).equal(before)
    base = tuned.unload()
    assert logits(base, rows).equal(before)
    assert [name for name, _ in base.named_modules()] == names


def test_the_folder_is_an_ordinary_one_of_peft_with_other_layers_that_were_trained(tmp_path):
    tuned = attach(small.model(), placement="houlsby", modules_to_save=["lm_head"])
    rows = small_methods.batch(tuned.get_base_model(), small.tokenizer())
    small_methods.train(tuned, rows)
    tuned.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["bottleneck"], config["placement"]) == ("BOTTLENECK", 4, "houlsby")
    assert isinstance(peft.PeftConfig.from_pretrained(tmp_path), BottleneckConfig)
    for wanted in (False, True):
        loaded = peft.PeftModel.from_pretrained(small.model(), tmp_path, is_trainable=wanted)
        assert any(parameter.requires_grad for parameter in loaded.parameters()) is wanted
        assert logits(loaded, rows).equal(logits(tuned, rows))


def test_trained_weights_are_counted_by_hand():
    a_place = (32 * 4 + 4) + (4 * 32 + 32)  # down and up, each with its bias
    for placement, count in (("pfeiffer", 2), ("houlsby", 4)):
        assert attach(small.model(), placement=placement).get_nb_trainable_parameters()[0] == count * a_place


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


def test_merging_is_refused_and_changes_nothing():
    tuned = attach(small.model())
    rows = small_methods.batch(tuned.get_base_model(), small.tokenizer())
    before = logits(tuned, rows)
    for merge in (tuned.merge_and_unload, tuned.merge_adapter):
        with pytest.raises(ValueError, match="nonlinear and cannot be merged: use it as it is"):
            merge()
    assert logits(tuned, rows).equal(before)


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe"])  # the second has one dense expert beside the others
def test_a_mixture_of_experts_is_refused(family):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = AutoConfig.for_model(family, **sizes, vocab_size=40, num_experts=4, num_local_experts=4, pad_token_id=2)
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match=r"one dense feed-forward in model\.layers\.0: give the layers as target_mod"):
        attach(model)


def test_a_model_without_blocks_is_refused_unless_linear_layers_are_named():
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU())
    with pytest.raises(ValueError, match="Sequential needs a list of transformer blocks .* give the layers"):
        attach(model)
    assert attach(model, target_modules=["0"])(torch.ones(1, 3)).shape == (1, 5)
    with pytest.raises(ValueError, match=r"goes on a linear layer; model\.embed_tokens is Embedding"):
        attach(small.model(), target_modules=["embed_tokens"])

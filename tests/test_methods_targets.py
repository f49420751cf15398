"""Which modules a method takes, in every family."""

import pytest
import small
import torch
from transformers import T5Config, T5ForConditionalGeneration

from nblib import methods, spec

LAYERS = {  # family -> inputs and output of attention, feed-forward
    "llama": ("k_proj q_proj v_proj", "o_proj", "down_proj gate_proj up_proj"),
    "qwen2": ("k_proj q_proj v_proj", "o_proj", "down_proj gate_proj up_proj"),
    "codegen": ("qkv_proj", "out_proj", "fc_in fc_out"),
    "gpt2": ("c_attn", "c_proj", "c_fc mlp.c_proj"),  # c_proj alone would name the attention's output too
    "phi3": ("qkv_proj", "o_proj", "down_proj gate_up_proj"),
    "starcoder2": ("k_proj q_proj v_proj", "o_proj", "c_fc c_proj"),
    "t5": ("k q v", "o", "wi wo"),
}


@pytest.mark.parametrize("family", LAYERS)
def test_attention_and_feed_forward_are_found_in_every_family(family):
    model, (inputs, output, feed_forward) = small.model(family), map(str.split, LAYERS[family])
    every = {name.removeprefix("mlp.") for name in (*inputs, *output, *feed_forward)}
    assert methods.linear_layers(model) == sorted(every)  # all but the head
    assert methods.attention_inputs(model) == inputs
    assert methods.feed_forward_layers(model) == feed_forward
    config = methods.attach(model, spec.Ia3(), small.tokenizer(), seed=1).peft_config["default"]
    assert config.target_modules == {*inputs, *feed_forward}
    assert config.feedforward_modules == set(feed_forward)


def test_the_two_layers_into_a_gated_t5s_feed_forward_are_found():
    config = T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4, feed_forward_proj="gated-gelu")
    with torch.device("meta"):
        assert methods.feed_forward_layers(T5ForConditionalGeneration(config)) == ["wi_0", "wi_1", "wo"]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("attention", "k_proj o_proj q_proj v_proj"),
        ("attention-inputs", "k_proj q_proj v_proj"),
        ("q_proj, mlp.up_proj", "mlp.up_proj q_proj"),
    ],
)
def test_lora_takes_the_targets_that_are_asked_for(targets, expected):
    tuned = methods.attach(small.model(), spec.Lora(targets=targets), small.tokenizer(), seed=1)
    assert tuned.peft_config["default"].target_modules == set(expected.split())


def test_a_target_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match="which has down_proj, gate_proj, .*, v_proj; got 'c_attn'"):
        methods.attach(small.model(), spec.Lora(targets="q_proj,c_attn"), small.tokenizer(), seed=1)

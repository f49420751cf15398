"""Which modules a method takes, in every family."""

import pytest
import small

from nblib import methods, spec

LINEAR = {
    "llama": "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj",
    "qwen2": "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj",
    "codegen": "fc_in fc_out out_proj qkv_proj",
    "gpt2": "c_attn c_fc c_proj",
    "phi3": "down_proj gate_up_proj o_proj qkv_proj",
    "starcoder2": "c_fc c_proj k_proj o_proj q_proj v_proj",
    "t5": "k o q v wi wo",
}
INPUTS = {
    "llama": "k_proj q_proj v_proj",
    "qwen2": "k_proj q_proj v_proj",
    "codegen": "qkv_proj",
    "gpt2": "c_attn",
    "phi3": "qkv_proj",
    "starcoder2": "k_proj q_proj v_proj",
    "t5": "k q v",
}
FEED_FORWARD = {
    "llama": "down_proj gate_proj up_proj",
    "qwen2": "down_proj gate_proj up_proj",
    "codegen": "fc_in fc_out",
    "gpt2": "c_fc mlp.c_proj",  # c_proj alone would name the attention's output too
    "phi3": "down_proj gate_up_proj",
    "starcoder2": "c_fc c_proj",
    "t5": "wi wo",
}


@pytest.mark.parametrize("family", small.CONFIGS)
class TestEveryFamily:
    def test_linear_layers_are_all_but_the_head(self, family):
        assert methods.linear_layers(small.model(family)) == LINEAR[family].split()

    def test_attention_inputs_are_all_of_attention_but_its_output(self, family):
        assert methods.attention_inputs(small.model(family)) == INPUTS[family].split()

    def test_feed_forward_layers_are_none_of_the_attentions(self, family):
        assert methods.feed_forward_layers(small.model(family)) == FEED_FORWARD[family].split()

    def test_ia3_takes_both_and_knows_which_are_feed_forward(self, family):
        tuned = methods.attach(small.model(family), spec.Ia3(), small.tokenizer(), seed=1)
        config = tuned.peft_config["default"]
        assert config.target_modules == {*INPUTS[family].split(), *FEED_FORWARD[family].split()}
        assert config.feedforward_modules == set(FEED_FORWARD[family].split())


def test_the_two_layers_into_a_gated_t5s_feed_forward_are_found():
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4, feed_forward_proj="gated-gelu")
    with torch.device("meta"):
        assert methods.feed_forward_layers(T5ForConditionalGeneration(config)) == ["wi_0", "wi_1", "wo"]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("all-linear", LINEAR["llama"]),
        ("attention-inputs", INPUTS["llama"]),
        ("q_proj, mlp.up_proj", "mlp.up_proj q_proj"),
    ],
)
def test_lora_takes_the_targets_that_are_asked_for(targets, expected):
    tuned = methods.attach(small.model(), spec.Lora(targets=targets), small.tokenizer(), seed=1)
    assert tuned.peft_config["default"].target_modules == set(expected.split())


def test_a_target_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match="which has down_proj, gate_proj, .*, v_proj; got 'c_attn'"):
        methods.attach(small.model(), spec.Lora(targets="q_proj,c_attn"), small.tokenizer(), seed=1)

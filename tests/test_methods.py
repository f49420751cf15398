import small
import torch

from nblib import methods, spec


def test_linear_layers_are_all_but_the_head():
    assert methods.linear_layers(small.model("llama")) == [
        "down_proj",
        "gate_proj",
        "k_proj",
        "o_proj",
        "q_proj",
        "up_proj",
        "v_proj",
    ]
    assert methods.linear_layers(small.model("codegen")) == ["fc_in", "fc_out", "out_proj", "qkv_proj"]


def test_ia3_targets_are_those_of_the_study():
    tuned = methods.attach(small.model("codegen"), spec.Ia3(), small.tokenizer(), seed=1)
    config = tuned.peft_config["default"]
    assert config.target_modules == {"qkv_proj", "fc_in", "fc_out"}
    assert config.feedforward_modules == {"fc_in", "fc_out"}


def test_an_attached_adapter_starts_as_the_identity():
    tokenizer = small.tokenizer()
    ids = torch.tensor([tokenizer("sort list `xs`")["input_ids"]])
    for method in (spec.Lora(), spec.Ia3()):
        model = small.model()
        with torch.inference_mode():
            before = model(ids).logits
            after = methods.attach(model, method, tokenizer, seed=1).eval()(ids).logits
        torch.testing.assert_close(before, after)


def test_virtual_tokens_start_as_the_initial_text():
    tokenizer = small.tokenizer()
    text = "add 3 to list"
    method = spec.PromptTuning(virtual_tokens=25, initial_text=text)
    model = small.model()
    tuned = methods.attach(model, method, tokenizer, seed=1)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    expected = model.get_input_embeddings().weight[torch.tensor((ids * 25)[:25])]
    assert tuned.prompt_encoder["default"].embedding.weight.equal(expected)


def test_a_prefix_starts_as_the_keys_and_values_of_its_text():
    tokenizer = small.tokenizer()
    method = spec.PrefixTuning(virtual_tokens=6, initial_text="add 3 to list `xs1` and 4 to list `xs2`")
    model = small.model()
    prefix = tokenizer(method.initial_text)["input_ids"][:6]
    query = tokenizer("add 5", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        whole = model(torch.tensor([prefix + query])).logits[:, 6:]
        tuned = methods.attach(model, method, tokenizer, seed=1).eval()
        with_prefix = tuned(torch.tensor([query])).logits
    torch.testing.assert_close(whole, with_prefix, atol=1e-4, rtol=1e-4)


def test_trainable_parameters_of_lora_are_counted_by_hand():
    tuned = methods.attach(small.model(), spec.Lora(r=4), small.tokenizer(), seed=1)
    a_layer = 4 * (4 * (32 + 32)) + 3 * (4 * (32 + 48))  # four attention matrices, three of the feed-forward block
    assert methods.trainable_parameters(tuned) == 2 * a_layer

"""What is attached: where it starts, how large it is, what PEFT is told."""

import json

import pytest
import small
import small_methods
import torch

from nblib import methods, models, spec


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


def test_trainable_parameters_of_p_tuning_and_prompt_tuning_are_not_doubled_for_a_decoder():
    model, tokenizer = small.model("t5"), small.tokenizer()
    tuned = methods.attach(model, spec.PromptTuning(virtual_tokens=5), tokenizer, seed=1)
    assert methods.trainable_parameters(tuned) == 5 * 32


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("kind", ["lora", "rslora", "dora", "adalora", "ia3", "adapter", "vera", "oft", "ln-tuning"])
def test_methods_inside_of_the_model_start_as_the_identity(family, kind):
    model, tokenizer = small.model(family), small.tokenizer()
    rows = small_methods.batch(model, tokenizer)
    with torch.inference_mode():
        before = model(**rows).logits
        tuned = methods.attach(model, small_methods.method(kind), tokenizer, seed=1, steps=8).eval()
        torch.testing.assert_close(tuned(**rows).logits, before, atol=1e-4, rtol=1e-4)


def test_adalora_prunes_to_its_rank_while_it_is_trained():
    model, tokenizer = small.model(), small.tokenizer()
    tuned = methods.attach(model, spec.AdaLora(r=4, initial_r=8), tokenizer, seed=1, steps=small_methods.STEPS)
    small_methods.train(tuned, small_methods.batch(model, tokenizer))
    ranks = [each.count_nonzero().item() for name, each in tuned.named_parameters() if ".lora_E." in name]
    assert sum(ranks) <= 4 * len(ranks)
    assert len(set(ranks)) > 1  # what matters more keeps more


def test_adalora_needs_to_know_how_long_it_is_trained():
    with pytest.raises(ValueError, match="attach needs steps, of training in all; got None"):
        methods.attach(small.model(), spec.AdaLora(), small.tokenizer(), seed=1)


def test_after_step_does_nothing_to_other_methods():
    tuned = methods.attach(small.model(), spec.Lora(), small.tokenizer(), seed=1)
    before = small_methods.state(tuned)
    methods.after_step(tuned, 1)
    assert all(each.equal(before[name]) for name, each in tuned.state_dict().items())


def test_the_same_seed_attaches_the_same_weights_and_another_one_does_not():
    def attached(seed):
        tuned = methods.attach(small.model(), spec.Lora(), small.tokenizer(), seed=seed)
        return torch.cat([each.flatten() for each in tuned.parameters() if each.requires_grad])

    assert attached(1).equal(attached(1))
    assert not attached(1).equal(attached(2))


def test_any_method_of_peft_can_be_attached():
    import peft

    made = methods.custom(peft.LoHaConfig(r=2, target_modules=["q_proj", "v_proj"]), name="loha", learning_rate=1e-2)
    assert made.learning_rate == 1e-2
    assert spec.label(made) == "loha"
    assert json.loads(made.config) == {"peft_type": "LOHA", "r": 2, "target_modules": ["q_proj", "v_proj"]}
    tuned = methods.attach(small.model(), made, small.tokenizer(), seed=1)
    config = tuned.peft_config["default"]
    assert (config.r, config.target_modules, config.task_type) == (2, {"q_proj", "v_proj"}, "CAUSAL_LM")


def test_only_a_prefix_cannot_be_trained_with_gradient_checkpointing():
    import peft

    for kind in small_methods.TRAINED:
        assert methods.keeps_checkpointing(small_methods.method(kind)) == (kind != "prefix-tuning")
    cartridge = methods.custom(peft.CartridgeConfig(num_virtual_tokens=4), name="cartridge", learning_rate=1e-2)
    assert not methods.keeps_checkpointing(cartridge)


CHECKPOINTED = [kind for kind in small_methods.TRAINED if kind != "prefix-tuning"]


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (family, kind)
        for family in ("llama", "t5")
        for kind in CHECKPOINTED
        if not small_methods.refused(family, kind, "fp32")
    ],
)
def test_gradient_checkpointing_changes_no_gradient(family, kind):
    tokenizer = small.tokenizer()

    def gradients(*, checkpointing):
        model = small.model(family)
        tuned = methods.attach(model, small_methods.method(kind), tokenizer, seed=1, steps=8)
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(1)  # of dropout
        tuned.train()(**small_methods.batch(model, tokenizer)).loss.backward()
        return [each.grad for each in tuned.parameters() if each.grad is not None]

    plain, checkpointed = gradients(checkpointing=False), gradients(checkpointing=True)
    assert plain
    for one, other in zip(plain, checkpointed, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", small_methods.ADDED)
def test_trainable_weights_over_half_precision_are_fp32(tmp_path, kind):
    model, tokenizer = models.load(small.folder(tmp_path), "bf16")
    rows = small_methods.batch(model, tokenizer)
    tuned = methods.attach(model, small_methods.method(kind), tokenizer, seed=1, steps=8)
    assert {each.dtype for each in tuned.parameters() if each.requires_grad} == {torch.float32}
    plain = methods.attach(small.model(), small_methods.method(kind), tokenizer, seed=1, steps=8)
    assert methods.trainable_parameters(tuned) == methods.trainable_parameters(plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tuned(**rows).loss.backward()
    assert all(each.grad is not None for each in tuned.parameters() if each.requires_grad)

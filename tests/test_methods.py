"""What is attached: where it starts, how large it is, what PEFT is told."""

import json

import peft
import pytest
import small
import small_methods
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from nblib import methods, models, presets, spec
from nblib.methods.attaching import custom_config

INSIDE = ["lora", "rslora", "dora", "adalora", "ia3", "adapter", "vera", "oft", "ln-tuning", *presets.SINCE]


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("kind", INSIDE)
def test_methods_inside_of_the_model_start_as_the_identity(family, kind):
    model, tokenizer = small.model(family), small.tokenizer()
    rows = small_methods.batch(model, tokenizer)
    if small_methods.refused(family, kind, "fp32"):
        pytest.skip(f"{kind} cannot be had with {family}")
    with torch.no_grad():
        before = model(**rows).logits
    tuned = methods.attach(model, small_methods.method(kind), tokenizer, seed=1, steps=8, batches=[rows, rows]).eval()
    with torch.inference_mode():
        torch.testing.assert_close(tuned(**rows).logits, before, atol=1e-4, rtol=1e-4)


def test_virtual_tokens_start_as_the_initial_text():
    tokenizer, model = small.tokenizer(), small.model()
    text = "add 3 to list"
    tuned = methods.attach(model, spec.PromptTuning(virtual_tokens=25, initial_text=text), tokenizer, seed=1)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    expected = model.get_input_embeddings().weight[torch.tensor((ids * 25)[:25])]
    assert tuned.prompt_encoder["default"].embedding.weight.equal(expected)


def test_a_prefix_starts_as_the_keys_and_values_of_its_text():
    tokenizer, model = small.tokenizer(), small.model()
    method = spec.PrefixTuning(virtual_tokens=6, initial_text="add 3 to list `xs1` and 4 to list `xs2`")
    prefix = tokenizer(method.initial_text)["input_ids"][:6]
    query = tokenizer("add 5", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        whole = model(torch.tensor([prefix + query])).logits[:, 6:]
        tuned = methods.attach(model, method, tokenizer, seed=1).eval()
        torch.testing.assert_close(whole, tuned(torch.tensor([query])).logits, atol=1e-4, rtol=1e-4)


def test_trainable_parameters_are_counted_by_hand():
    tuned = methods.attach(small.model(), spec.Lora(r=4), small.tokenizer(), seed=1)
    a_layer = 4 * (4 * (32 + 32)) + 3 * (4 * (32 + 48))  # four attention matrices, three of the feed-forward block
    assert methods.trainable_parameters(tuned) == 2 * a_layer
    tuned = methods.attach(small.model("t5"), spec.PromptTuning(virtual_tokens=5), small.tokenizer(), seed=1)
    assert methods.trainable_parameters(tuned) == 5 * 32  # not doubled for a decoder


def test_adalora_prunes_to_its_rank_while_it_is_trained():
    model, tokenizer = small.model(), small.tokenizer()
    with pytest.raises(ValueError, match="attach needs steps, of training in all; got None"):
        methods.attach(model, spec.AdaLora(), tokenizer, seed=1)
    tuned = methods.attach(model, spec.AdaLora(r=4, initial_r=8), tokenizer, seed=1, steps=small_methods.STEPS)
    small_methods.train(tuned, small_methods.batch(model, tokenizer))
    ranks = [parameter.count_nonzero().item() for name, parameter in tuned.named_parameters() if ".lora_E." in name]
    assert sum(ranks) <= 4 * len(ranks)
    assert len(set(ranks)) > 1  # what matters more keeps more


def test_the_same_seed_attaches_the_same_weights_and_another_one_does_not():
    def attached(seed):
        tuned = methods.attach(small.model(), spec.Lora(), small.tokenizer(), seed=seed)
        return torch.cat([parameter.flatten() for parameter in tuned.parameters() if parameter.requires_grad])

    assert attached(1).equal(attached(1))
    assert not attached(1).equal(attached(2))


def test_any_method_of_peft_can_be_attached():
    made = methods.custom(peft.LoHaConfig(r=2, target_modules=["q_proj", "v_proj"]), name="loha", learning_rate=1e-2)
    assert (made.learning_rate, spec.label(made)) == (1e-2, "loha")
    assert json.loads(made.config) == {"peft_type": "LOHA", "r": 2, "target_modules": ["q_proj", "v_proj"]}
    tuned = methods.attach(small.model(), made, small.tokenizer(), seed=1)
    config = tuned.peft_config["default"]
    assert (config.r, config.target_modules, config.task_type) == (2, {"q_proj", "v_proj"}, "CAUSAL_LM")


@pytest.mark.filterwarnings("ignore::UserWarning")  # of settings that are not given
@pytest.mark.parametrize("made", PEFT_TYPE_TO_CONFIG_MAPPING.values())
def test_every_configuration_of_peft_is_kept_as_it_was_given(made):
    wanted = {peft.AdaLoraConfig: {"total_step": 9}, peft.CPTConfig: {"task_type": "CAUSAL_LM"}}  # at construction
    config = made(**wanted.get(made, {}))
    again = custom_config(methods.custom(config, name="any", learning_rate=1e-2))
    assert again.to_dict() | {"task_type": None} == config.to_dict() | {"task_type": None}


def test_lora_plus_and_lora_fa_bring_their_optimizers():
    tokenizer, model = small.tokenizer(), small.model()
    usual, settings = torch.optim.AdamW, {"lr": 1e-3, "betas": (0.8, 0.9)}
    tuned = methods.attach(model, spec.LoraPlus(loraplus_lr_ratio=8), tokenizer, seed=1)
    made = methods.optimizer(tuned, usual, settings, weight_decay=0.1)
    rates = {id(weight): group["lr"] for group in made.param_groups for weight in group["params"]}
    for name, weight in tuned.named_parameters():
        assert not weight.requires_grad or rates[id(weight)] == pytest.approx(8e-3 if ".lora_B." in name else 1e-3)
    assert (made.defaults["betas"], made.param_groups[0]["weight_decay"]) == ((0.8, 0.9), 0.1)
    methods.detach(tuned)
    tuned = methods.attach(model, spec.LoraFa(r=4), tokenizer, seed=1)
    assert methods.trainable_parameters(tuned) == 2 * (4 * 4 * 32 + 4 * (48 + 48 + 32))  # B alone
    before = {name: weight.clone() for name, weight in tuned.named_parameters()}
    first, last = small_methods.train(tuned, small_methods.batch(model, tokenizer))
    changed = {name for name, weight in tuned.named_parameters() if not weight.equal(before[name])}
    assert last < first
    assert changed == {name for name in before if ".lora_B." in name}
    methods.detach(tuned)
    plain = methods.attach(model, spec.Lora(), tokenizer, seed=1)
    assert methods.optimizer(plain, usual, settings, weight_decay=0.0) is None


def test_trainable_tokens_are_those_that_training_rows_have_most_often():
    model, tokenizer = small.model(), small.tokenizer()
    rows = {"input_ids": torch.tensor([[7, 7, 9, 3, 3, 3], [7, 9, 5, 2, 2, 2]])}
    rows |= {"attention_mask": torch.tensor([[1] * 6, [1, 1, 1, 0, 0, 0]]), "labels": torch.full((2, 6), -100)}
    tuned = methods.attach(model, spec.TrainableTokens(tokens=3), tokenizer, seed=1, batches=[rows])
    assert tuned.peft_config["default"].token_indices == [3, 7, 9]  # and not 2, which is padding
    assert methods.trainable_parameters(tuned) == 3 * 32


@pytest.mark.parametrize("family", ["llama", pytest.param("t5", marks=pytest.mark.slow)])
def test_gradient_checkpointing_changes_no_gradient_but_of_a_prefix(family):
    tokenizer = small.tokenizer()

    def gradients(method, *, checkpointing):
        model = small.model(family)
        rows = small_methods.batch(model, tokenizer)
        tuned = methods.attach(model, method, tokenizer, seed=1, steps=8, batches=[rows, rows])
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(1)  # of dropout
        tuned.train()(**rows).loss.backward()
        return {name: parameter.grad for name, parameter in tuned.named_parameters() if parameter.grad is not None}

    for kind in small_methods.TRAINED:
        method = small_methods.method(kind)
        assert methods.keeps_checkpointing(method) == (kind != "prefix-tuning")
        if kind != "prefix-tuning" and not small_methods.refused(family, kind, "fp32"):
            plain, saving = (gradients(method, checkpointing=on) for on in (False, True))
            assert plain
            torch.testing.assert_close(saving, plain, msg=kind)
    cartridge = methods.custom(peft.CartridgeConfig(num_virtual_tokens=4), name="cartridge", learning_rate=1e-2)
    assert not methods.keeps_checkpointing(cartridge)


def test_trainable_weights_over_half_precision_are_fp32_and_get_gradients(tmp_path):
    model, tokenizer = models.load(small.folder(tmp_path), "bf16")
    rows = small_methods.batch(model, tokenizer)
    for kind in small_methods.ADDED:
        known = {"seed": 1, "steps": 8, "batches": [rows, rows]}
        plain = methods.attach(small.model(), small_methods.method(kind), tokenizer, **known)
        tuned = methods.attach(model, small_methods.method(kind), tokenizer, **known)
        trained = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
        assert {parameter.dtype for parameter in trained} == {torch.float32}, kind
        assert methods.trainable_parameters(tuned) == methods.trainable_parameters(plain), kind
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tuned(**rows).loss.backward()
        assert all(parameter.grad is not None for parameter in trained), kind
        methods.detach(tuned)

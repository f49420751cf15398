"""A method taken off leaves nothing: the matrix compares weights and answers, here are its marks and its memory."""

import pytest
import small
import small_methods
import torch

from nblib import methods, models, spec


@pytest.mark.parametrize("kind", small_methods.ADDED)
def test_a_model_is_as_it_was_to_its_last_attribute(kind):
    model, tokenizer = small.model(), small.tokenizer()
    model.get_input_embeddings().weight.requires_grad_(False)  # a mark of the caller's
    before = marks(model)
    attached = methods.attach(model, small_methods.method(kind), tokenizer, seed=1, steps=small_methods.STEPS)
    assert marks(model) != before
    small_methods.train(attached, small_methods.batch(model, tokenizer))
    small_methods.answers(attached, small_methods.batch(model, tokenizer))
    assert methods.detach(attached).eval() is model
    assert marks(model) == before


def marks(model) -> dict:
    """Names of all that hangs on each module, by its place, and which parameters are trainable."""
    found = {}
    for path, module in model.named_modules():
        parts = {key: list(value) if isinstance(value, dict) else type(value) for key, value in vars(module).items()}
        found[path] = (type(module), parts)
    trainable = {name: each.requires_grad for name, each in model.named_parameters()}
    return found | {"trainable": trainable, "config": model.config.to_dict(), "gradients": gradients(model)}


def gradients(model) -> list[str]:
    return [name for name, each in model.named_parameters() if each.grad is not None]


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_memory_does_not_grow_over_ten_rounds(tmp_path, precision):
    model, tokenizer = models.load(small.folder(tmp_path), precision)
    rows = small_methods.batch(model, tokenizer)
    held = []
    for number in range(10):
        method = small_methods.method(small_methods.ADDED[number])
        attached = methods.attach(model, method, tokenizer, seed=1, steps=small_methods.STEPS)
        small_methods.train(attached, rows)
        methods.detach(attached)
        del attached
        held.append(small_methods.live_bytes())
    assert len(set(held)) == 1


def test_full_tuning_cannot_be_taken_off():
    model, tokenizer = small.model(), small.tokenizer()
    attached = methods.attach(model, spec.FullTuning(), tokenizer, seed=1)
    small_methods.train(attached, small_methods.batch(model, tokenizer))
    with pytest.raises(ValueError, match="own weights were trained or written to, .* among them: load the model"):
        methods.detach(attached)


def test_what_changes_the_bases_own_weights_cannot_be_taken_off():
    import peft

    config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="pissa")
    method = methods.custom(config, name="pissa", learning_rate=1e-3)
    attached = methods.attach(small.model(), method, small.tokenizer(), seed=1)
    with pytest.raises(ValueError, match="own weights were trained or written to, .*q_proj.*load the model again"):
        methods.detach(attached)


def test_a_second_method_is_not_put_over_the_first():
    model, tokenizer = small.model(), small.tokenizer()
    methods.attach(model, spec.Lora(), tokenizer, seed=1)
    with pytest.raises(ValueError, match="has a method on it already; methods.detach takes it off"):
        methods.attach(model, spec.Ia3(), tokenizer, seed=1)


def test_a_method_that_fails_half_way_leaves_the_model_as_it_was(tmp_path):
    import peft

    model, tokenizer = models.load(small.folder(tmp_path), "fp32")
    before = marks(model)
    config = peft.OFTConfig(target_modules=["q_proj", "norm"], oft_block_size=16)  # a norm is no linear layer
    with pytest.raises(TypeError, match="not supported"):
        methods.attach(model, methods.custom(config, name="oft", learning_rate=1e-3), tokenizer, seed=1)
    assert marks(model) == before


def test_a_model_that_has_none_is_not_taken_apart():
    with pytest.raises(ValueError, match="detach takes what methods.attach or methods.load returned; got a Llama"):
        methods.detach(small.model())


def test_int8_weights_keep_their_scales_under_dora(tmp_path):
    model, tokenizer = models.load(small.folder(tmp_path), "int8")
    rows = small_methods.batch(model, tokenizer)
    with torch.inference_mode():
        expected = model(**rows).logits
        attached = methods.attach(model, spec.Dora(), tokenizer, seed=1).eval()
        for _ in range(2):
            torch.testing.assert_close(attached(**rows).logits, expected)

"""What cannot work is refused in one sentence, before any weights are loaded; what can is not."""

from pathlib import Path

import pytest
import small
import small_methods

from nblib import methods, spec

CHECKPOINTING = spec.Training(gradient_checkpointing=True)


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    """Folders with configuration and tokenizer, and no weights: whoever reads them fails."""
    found = {}
    for family in small.CONFIGS:
        found[family] = small.folder(tmp_path_factory.mktemp(family), family)
        (Path(found[family]) / "model.safetensors").unlink()
    return found


@pytest.mark.parametrize("precision", small_methods.PRECISIONS)
@pytest.mark.parametrize("family", small.CONFIGS)
def test_every_method_passes_or_is_refused_as_the_matrix_says(places, family, precision):
    for kind in small_methods.TRAINED:
        reason = small_methods.refused(family, kind, precision)
        if reason is None:
            methods.check(small_methods.method(kind), places[family], precision)
        else:
            with pytest.raises(ValueError, match=reason):
                methods.check(small_methods.method(kind), places[family], precision)


@pytest.mark.parametrize(
    ("family", "method", "sentence"),
    [
        ("llama", spec.Lora(targets="q_proj,nowhere"), "which has down_proj, .*, v_proj; got 'nowhere'"),
        ("llama", spec.Lora(r=33), "rank of lora must be at most 32, the smaller side of .*q_proj; got 33"),
        ("codegen", spec.AdaLora(initial_r=40), "rank of adalora must be at most 32, .*; got 40"),
        ("llama", spec.Oft(), "block_size must divide the 48 inputs of .*down_proj, as 2, 3, .*, 48 do; got 32"),
        ("gpt2", spec.PromptTuning(virtual_tokens=256), "leave room in the model's 256 tokens of context; got 256"),
        ("t5", spec.PrefixTuning(virtual_tokens=2048), "leave room in the model's 2048 tokens of context; got 2048"),
        ("llama", spec.LlamaAdapter(layers=3), "layers must be at most the 2 that the model has; got 3"),
        ("qwen2", spec.LlamaAdapter(), "made for models of type llama, mistral, gpt2; got qwen2: take prefix-tuning"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(places, family, method, sentence):
    with pytest.raises(ValueError, match=sentence):
        methods.check(method, places[family], "fp32")


@pytest.mark.parametrize(
    ("method", "family"), [(spec.Vera(), "llama"), (spec.Lora(r=32), "llama"), (spec.Oft(), "phi3")]
)
def test_settings_at_the_limit_pass(places, method, family):
    if isinstance(method, spec.Oft):
        method = spec.Oft(targets="qkv_proj")
    methods.check(method, places[family], "fp32")


def test_methods_without_training_are_not_looked_at(places):
    methods.check(spec.InContext(3), "no/such-model", "nf4")


def test_a_prefix_is_refused_with_gradient_checkpointing_and_others_are_not(places):
    with pytest.raises(ValueError, match="prefix-tuning cannot be trained with gradient_checkpointing.*switch it off"):
        methods.check(spec.PrefixTuning(), places["llama"], "fp32", training=CHECKPOINTING)
    methods.check(spec.Lora(), places["llama"], "fp32", training=CHECKPOINTING)


def custom(name: str, **settings) -> spec.Custom:
    import peft

    config = getattr(peft, f"{name}Config")(**{"target_modules": ["q_proj"]} | settings)
    return methods.custom(config, name=name.lower(), learning_rate=1e-3)


@pytest.mark.parametrize("name", ["LoHa", "LoKr"])
def test_a_method_of_peft_that_takes_packed_bytes_for_numbers_is_refused_over_them_only(places, name):
    with pytest.raises(ValueError, match=f"{name.lower()} does not work over nf4 weights .*: take fp32, bf16 or lora"):
        methods.check(custom(name), places["llama"], "nf4")
    methods.check(custom(name), places["llama"], "fp32")


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_methods_of_peft_that_know_quantized_weights_pass(places, precision):
    methods.check(custom("RandLora", r=4), places["llama"], precision)


def test_a_method_of_peft_with_targets_that_are_not_there_is_refused(places):
    with pytest.raises(ValueError, match="cannot be attached to a model of type codegen: Target modules .*q_proj"):
        methods.check(custom("Lora"), places["codegen"], "fp32")


def test_a_check_leaves_the_tree_as_it_was_for_the_next(places):
    for _ in range(2):
        methods.check(spec.LnTuning(), places["llama"], "fp32")
        methods.check(spec.LlamaAdapter(), places["llama"], "fp32")


def test_a_check_draws_no_random_numbers_that_others_would_miss(places):
    import torch

    torch.manual_seed(1)
    before = torch.get_rng_state()
    for kind in small_methods.ADDED:
        methods.check(small_methods.method(kind), places["llama"], "nf4")
    assert torch.get_rng_state().equal(before)

"""What cannot work is refused in one sentence, before any weights are loaded; what can is not."""

import warnings
from pathlib import Path

import peft
import pytest
import small
import small_methods
import torch

from nblib import methods, spec


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    """Folders with configuration and tokenizer, and no weights: whoever reads them fails."""
    found = {}
    for family in small.CONFIGS:
        found[family] = small.folder(tmp_path_factory.mktemp(family), family)
        (Path(found[family]) / "model.safetensors").unlink()
    return found


def custom(name: str, **settings) -> spec.Custom:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of sub-configurations that are not given
        config = getattr(peft, f"{name}Config")(**{"target_modules": ["q_proj"]} | settings)
    return methods.custom(config, name=name.lower(), learning_rate=1e-3)


@pytest.mark.parametrize(
    ("family", "precision"),
    [("gpt2", "fp32"), ("gpt2", "int8"), ("t5", "fp32"), ("codegen", "nf4"), ("starcoder2", "fp32")],
)
def test_every_method_passes_or_is_refused(places, family, precision):
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
        ("llama", spec.Oft(), "block_size must divide the 48 inputs of .*down_proj; got 32"),
        ("gpt2", spec.PromptTuning(virtual_tokens=256), "leave room in the model's 256 tokens of context; got 256"),
        ("llama", spec.LlamaAdapter(layers=3), "more adapter layers '3' than the model has '2'"),
        ("codegen", custom("Lora"), "cannot be attached to a model of type codegen: Target modules .*q_proj"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_refused(places, family, method, sentence):
    with pytest.raises(ValueError, match=sentence):
        methods.check(method, places[family], "fp32")


def test_settings_at_the_limit_pass(places):
    for method, family in ((spec.Vera(), "llama"), (spec.Lora(r=32), "llama"), (spec.Oft(targets="qkv_proj"), "phi3")):
        methods.check(method, places[family], "fp32")
    methods.check(spec.InContext(3), "no/such-model", "nf4")  # nothing is trained


def test_methods_of_peft_that_take_packed_bytes_for_numbers_are_refused_over_them_only(places):
    for name in ("LoHa", "LoKr"):
        with pytest.raises(ValueError, match=f"{name.lower()} does not work over nf4 weights .*: take fp32, bf16 or"):
            methods.check(custom(name), places["llama"], "nf4")
        methods.check(custom(name), places["llama"], "fp32")
    feed_forward = {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    for precision in ("int8", "nf4"):
        methods.check(custom("RandLora", r=4), places["llama"], precision)
        methods.check(custom("IA3", **feed_forward), places["llama"], precision)
        # Neither embeddings nor norms are quantized.
        methods.check(custom("TrainableTokens", target_modules=None, token_indices=[3]), places["llama"], precision)
        methods.check(custom("LNTuning", target_modules=["input_layernorm"]), places["llama"], precision)


@small.needs_torchao
def test_methods_of_peft_that_torchaos_weights_know_nothing_of_are_refused_over_them(places):
    for name in ("Hira", "HRA"):
        with pytest.raises(
            ValueError, match=f"{name.lower()} does not work over ao-int8 weights .*: take fp32, bf16 or"
        ):
            methods.check(custom(name), places["llama"], "ao-int8")
    for kind in ("lora", "ia3", "oft", "vera", "prefix-tuning"):
        methods.check(small_methods.method(kind), places["codegen"], "ao-int4")


@pytest.mark.parametrize(
    ("method", "precision", "reason"),
    [
        (custom("Lora", init_lora_weights="loftq", loftq_config={"loftq_bits": 4}), "fp32", "base's own weights"),
        (custom("Lora", init_lora_weights="gaussian", kasa_config=peft.KasaConfig()), "fp32", "base's own weights"),
        (custom("Lora", init_lora_weights="pissa", use_dora=True), "fp32", "base's own weights"),
        (custom("Lora", init_lora_weights="olora"), "int8", "base's own weights"),
        (custom("Lora", init_lora_weights="olora"), "nf4", "base's own weights"),
        (custom("Lora", init_lora_weights="corda"), "nf4", "corda reads whole weights, and nf4"),
        (custom("Lora", init_lora_weights="pissa", r=40), "fp32", "r must be at most 32 on .*; got 40"),
        (custom("Lora", init_lora_weights="pissa_niter_many"), "fp32", "cannot be attached to a model of type llama"),
        (custom("AdaLora", total_step=3, init_lora_weights="eva"), "fp32", "does not read init_lora_weights"),
        (custom("AdaLora", total_step=3, alora_invocation_tokens=[1]), "fp32", "does not read alora_invocation_tokens"),
        (custom("IA3"), "fp32", "feedforward_modules` should be a subset"),
    ],
    ids=lambda value: "" if isinstance(value, spec.Custom) else value,
)
def test_what_no_adapter_would_hold_or_no_one_reads_is_refused(places, method, precision, reason):
    with pytest.raises(ValueError, match=reason):
        methods.check(method, places["llama"], precision)


def test_a_check_leaves_the_tree_and_the_random_numbers_as_they_were(places):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for _ in range(2):
        for kind in ("ln-tuning", "llama-adapter", "lora", "peft"):
            methods.check(small_methods.method(kind), places["llama"], "nf4")
    assert torch.get_rng_state().equal(before)

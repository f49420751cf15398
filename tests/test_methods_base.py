"""Whatever a method does to the base, the next run finds it as it was loaded, or is told to load it again."""

import dataclasses
import typing
import warnings

import peft
import pytest
import small
import small_methods
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from nblib import methods, models, results, spec, study
from nblib.methods.base import checksum
from nblib.study.fitting import Base, Record

TRAINING = spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=1)
DECODING = spec.Decoding(beams=1, returned=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> str:
    return small.folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    return small.rows(tmp_path_factory.mktemp("data") / "rows")


def run(place: str, data_dir: str, method: spec.Method, seed: int = 1, limit: int = 4) -> spec.Run:
    training = TRAINING if method.trained else None
    settings = {"training": training, "decoding": DECODING, "limit": limit, "data_dir": data_dir}
    return spec.Run(place, "conala", method, precision="fp32", seed=seed, **settings)


@pytest.mark.parametrize("kind", small_methods.ADDED)
def test_a_model_is_as_it_was_to_its_last_attribute(kind):
    model, tokenizer = small.model(), small.tokenizer()
    model.get_input_embeddings().weight.requires_grad_(False)  # a mark of the caller's
    before = marks(model)
    rows = small_methods.batch(model, tokenizer)
    known = {"seed": 1, "steps": small_methods.STEPS, "batches": [rows, rows]}
    attached = methods.attach(model, small_methods.method(kind), tokenizer, **known)
    assert marks(model) != before
    small_methods.train(attached, rows)
    small_methods.answers(attached, rows)
    assert methods.detach(attached).eval() is model
    assert marks(model) == before


def marks(model) -> dict:
    """Names of all that hangs on each module, by its place, and which parameters are trainable."""
    found = {}
    for path, module in model.named_modules():
        parts = {key: list(value) if isinstance(value, dict) else type(value) for key, value in vars(module).items()}
        found[path] = (type(module), parts)
    parameters = {name: (weight.requires_grad, weight.grad is None) for name, weight in model.named_parameters()}
    return found | {"parameters": parameters, "config": model.config.to_dict()}


def test_memory_does_not_grow_over_rounds(place):
    model, tokenizer = models.load(place, "nf4")
    rows = small_methods.batch(model, tokenizer)
    held = set()
    for kind in ("lora", "adalora", "adapter", "prompt-tuning"):
        attached = methods.attach(model, small_methods.method(kind), tokenizer, seed=1, steps=small_methods.STEPS)
        small_methods.train(attached, rows)
        methods.detach(attached)
        del attached
        held.add(small_methods.live_bytes())
    assert len(held) == 1


def test_what_changes_the_bases_own_weights_cannot_be_taken_off():
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights="pissa")
    for method in (spec.FullTuning(), methods.custom(config, name="pissa", learning_rate=1e-3)):
        model, tokenizer = small.model(), small.tokenizer()
        attached = methods.attach(model, method, tokenizer, seed=1)
        small_methods.train(attached, small_methods.batch(model, tokenizer))
        with pytest.raises(
            methods.BaseChangedError, match="own weights were trained or written to.* load the model ag"
        ):
            methods.detach(attached)


def test_only_what_has_one_method_is_taken_apart():
    model, tokenizer = small.model(), small.tokenizer()
    with pytest.raises(ValueError, match="detach takes what methods.attach or methods.load returned; got a Llama"):
        methods.detach(model)
    methods.attach(model, spec.Lora(), tokenizer, seed=1)
    with pytest.raises(ValueError, match="has a method on it already; methods.detach takes it off"):
        methods.attach(model, spec.Ia3(), tokenizer, seed=1)


def test_a_method_that_fails_half_way_leaves_the_model_as_it_was():
    model = small.model()
    before = marks(model)
    config = peft.OFTConfig(target_modules=["q_proj", "norm"], oft_block_size=16)  # a norm is no linear layer
    with pytest.raises(TypeError, match="not supported"):
        methods.attach(model, methods.custom(config, name="oft", learning_rate=1e-3), small.tokenizer(), seed=1)
    assert marks(model) == before


def test_int8_weights_keep_their_scales_under_dora(tmp_path):
    model, tokenizer = models.load(small.folder(tmp_path), "int8")
    rows = small_methods.batch(model, tokenizer)
    with torch.inference_mode():
        expected = model(**rows).logits
        attached = methods.attach(model, spec.Dora(), tokenizer, seed=1).eval()
        for _ in range(2):
            torch.testing.assert_close(attached(**rows).logits, expected)


def test_an_adapter_over_a_tokenizer_without_a_pad_token_is_read_again_by_the_next_study(data_dir, tmp_path):
    tokenizer = small.tokenizer(pad=None)
    small.model(vocabulary=len(tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    method = methods.custom(config, name="whole", learning_rate=1e-2)
    rows = []
    for limit in (2, 4):
        torch.manual_seed(limit)  # a process of its own
        rows += study.run_all(
            study.plan([run(str(tmp_path / "base"), data_dir, method, limit=limit)]), tmp_path / "rows"
        )
    assert [row.status for row in rows] == ["ok", "ok"]
    assert rows[0].costs["train_seconds"] == rows[1].costs["train_seconds"]  # trained once
    first, second = (results.predictions(tmp_path / "rows", row.id) for row in rows)
    assert first == second[:2]


def test_a_write_past_torchs_count_is_seen_in_the_content():
    weight = torch.nn.Parameter(torch.randn(6, 10))
    before = checksum(weight)
    weight.data[[0, 1]] = weight.data[[1, 0]]
    assert checksum(weight) != before
    assert checksum(torch.zeros(0)) == 0 == checksum(torch.tensor(False))


@small.needs_torchao
@pytest.mark.parametrize("part", [0, 1])
def test_a_write_to_a_part_of_torchaos_weights_is_seen_when_the_method_is_taken_off(place, part):
    model, tokenizer = models.load(place, "ao-int8")
    attached = methods.attach(model, spec.Lora(r=2), tokenizer, seed=1)
    weight = model.get_submodule("model.layers.1.mlp.up_proj").base_layer.weight
    models.parts(weight)[part][3] += 1
    with pytest.raises(methods.BaseChangedError, match="model.layers.1.mlp.up_proj.weight among them: load the model"):
        methods.detach(attached)


# --- every tuner of PEFT --------------------------------------------------------------------------------------------

# What they need for layers as small as these.
FITTING: dict[str, dict] = {
    "AdaLoraConfig": {"total_step": 3, "init_r": 4, "target_r": 2},
    "AdaptionPromptConfig": {"adapter_len": 4, "adapter_layers": 2},
    "BottleneckConfig": {"bottleneck": 4},
    "C3AConfig": {"block_size": 16},
    "CPTConfig": {"task_type": "CAUSAL_LM", "cpt_token_ids": [1, 2], "cpt_tokens_type_mask": [1, 1]},
    "IA3Config": {"feedforward_modules": []},
    "LNTuningConfig": {"target_modules": ["norm"]},
    "LoraConfig": {"r": 4},
    "MissConfig": {"r": 8},
    "OFTConfig": {"oft_block_size": 16},
    "RoadConfig": {"group_size": 16},
    "ShiraConfig": {"r": 2},
    "TrainableTokensConfig": {"token_indices": [1, 2]},
    "VBLoRAConfig": {"vector_length": 16, "num_vectors": 8},
    "WaveFTConfig": {"n_frequency": 64},
}
OWN_TARGETS = ("AdaptionPromptConfig", "BeftConfig", "BottleneckConfig", "TrainableTokensConfig")
# Initializations that PEFT's annotations leave out, or that have a number in their name.
UNLISTED = ({"init_lora_weights": "lora_ga"}, {"init_lora_weights": "pissa_niter_4"})
# Several tasks in a row, several adapters in a model, biases that Llama has not, layers of another kind, other losses.
REFUSED = ("BeftConfig", "CPTConfig", "MultitaskPromptTuningConfig", "PolyConfig", "ShadowConfig", "XLoraConfig")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's own, of what each tuner does without
@pytest.mark.parametrize("tuner", PEFT_TYPE_TO_CONFIG_MAPPING.values(), ids=lambda tuner: tuner.__name__)
def test_every_tuner_of_peft_leaves_the_base_as_it_was_or_is_refused(place, data_dir, tmp_path, tuner):
    base, refused, cases = Base(), [], list(configurations(tuner))
    assert cases
    fresh, tokenizer = models.load(place)
    rows = small_methods.batch(fresh, tokenizer)
    with torch.inference_mode():
        logits = fresh(**rows).logits
    for settings in cases:
        try:
            method = methods.custom(made(tuner, settings), name="any", learning_rate=1e-3)
            (planned,) = study.plan([run(place, data_dir, method)])
        except ValueError as problem:
            refused.append(str(problem))
            continue
        row = study.run_one(planned, tmp_path, base=base)
        # Without `init_weights` some tuners leave theirs as the memory was, which may be no number.
        assert row.status == "ok" or "training diverged" in row.error, (settings, row.error)
        model, _ = base.load(planned, Record())
        with torch.inference_mode():
            assert model.eval()(**rows).logits.equal(logits), settings
    assert [why for why in refused if "\n" in why or len(why) > 300] == []
    assert len(refused) < len(cases) or tuner.__name__ in REFUSED


def configurations(tuner: type) -> typing.Iterator[dict]:
    """The tuner as it is, with each of its initializations, and LoRA with each of its variants."""
    hints = typing.get_type_hints(tuner)
    yield {}
    for field in dataclasses.fields(tuner):
        if "init" in field.name:
            yield from ({field.name: value} for value in literals(hints[field.name]) if value != field.default)
        elif field.metadata.get("is_lora_variant"):
            kinds = [kind for kind in typing.get_args(hints[field.name]) if dataclasses.is_dataclass(kind)]
            yield {field.name: kinds[0]() if kinds else [1, 2] if "list" in str(hints[field.name]) else True}
    if tuner is peft.LoraConfig:
        yield from UNLISTED


def literals(hint) -> list:
    """The values that an annotation lists; True and False where it is a truth value."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    if hint is bool:
        return [True, False]
    return [value for part in typing.get_args(hint) for value in literals(part)]


def made(tuner: type, settings: dict) -> peft.PeftConfig:
    given = {} if tuner.__name__ in OWN_TARGETS else {"target_modules": ["q_proj", "v_proj"]}
    given |= {"num_virtual_tokens": 4} | FITTING.get(tuner.__name__, {}) | settings
    if settings.get("init_lora_weights") == "loftq":
        given["loftq_config"] = {"loftq_bits": 4, "loftq_iter": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return tuner(**{name: value for name, value in given.items() if name in tuner.__dataclass_fields__})

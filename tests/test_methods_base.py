"""Whatever a method does to the base, the next run of a study finds it as it was loaded, and its adapter is whole."""

import dataclasses
import json
import typing
import warnings
from pathlib import Path

import peft
import pytest
import small
import small_methods
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from nblib import methods, models, results, spec, study
from nblib.methods.identity import checksum
from nblib.study.fitting import Base
from nblib.study.record import Record

TRAINING = spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=1)
DECODING = spec.Decoding(beams=1, returned=1)
# What PEFT's tuners need for layers as small as these.
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
OUT_OF_BASE = ("olora", "pissa", "pissa_niter_4", "corda", "lora_ga")
TUNERS = list(PEFT_TYPE_TO_CONFIG_MAPPING.values())


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> str:
    return small.folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    return small.rows(tmp_path_factory.mktemp("data") / "rows")


def lora(name: str, **settings) -> spec.Custom:
    given = {"target_modules": "all-linear", "r": 4} | settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of sub-configurations that are not given
        config = peft.LoraConfig(init_lora_weights=name, **given)
    return methods.custom(config, name=name, learning_rate=1e-2)


def run(place: str, data_dir: str, method: spec.Method, seed: int = 1, **settings) -> spec.Run:
    given = {"precision": "fp32", "decoding": DECODING, "limit": 4} | settings
    training = TRAINING if method.trained else None
    return spec.Run(place, "conala", method, training=training, seed=seed, data_dir=data_dir, **given)


@pytest.mark.parametrize("name", ["eva", *OUT_OF_BASE])
def test_zero_shot_after_it_answers_as_zero_shot_alone(place, data_dir, tmp_path, name):
    runs = [run(place, data_dir, spec.ZeroShot(), seed=1), run(place, data_dir, lora(name))]
    planned = study.plan([*runs, run(place, data_dir, spec.ZeroShot(), seed=2)])
    rows = study.run_all(planned, tmp_path)
    assert [row.status for row in rows] == ["ok"] * 3
    before, _, after = (results.predictions(tmp_path, each.id) for each in planned)
    assert [each.completions for each in after] == [each.completions for each in before]
    assert after


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's own, of what each tuner does without
@pytest.mark.parametrize("tuner", TUNERS, ids=lambda tuner: tuner.__name__)
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


# Several tasks in a row, several adapters in a model, biases that Llama has not, layers of another kind, other losses.
REFUSED = ("BeftConfig", "CPTConfig", "MultitaskPromptTuningConfig", "PolyConfig", "ShadowConfig", "XLoraConfig")


def configurations(tuner: type) -> typing.Iterator[dict]:
    """The tuner as it is, with each of its initializations, and LoRA with each of its variants."""
    hints = typing.get_type_hints(tuner)
    yield {}
    for field in dataclasses.fields(tuner):
        if "init" in field.name:
            yield from ({field.name: value} for value in literals(hints[field.name]) if value != field.default)
        elif field.metadata.get("is_lora_variant"):
            kinds = [each for each in typing.get_args(hints[field.name]) if dataclasses.is_dataclass(each)]
            yield {field.name: kinds[0]() if kinds else [1, 2] if "list" in str(hints[field.name]) else True}
    if tuner is peft.LoraConfig:
        yield from UNLISTED


def literals(hint) -> list:
    """The values that an annotation lists; True and False where it is a truth value."""
    if typing.get_origin(hint) is typing.Literal:
        return list(typing.get_args(hint))
    if hint is bool:
        return [True, False]
    return [value for each in typing.get_args(hint) for value in literals(each)]


def made(tuner: type, settings: dict) -> peft.PeftConfig:
    given = {} if tuner.__name__ in OWN_TARGETS else {"target_modules": ["q_proj", "v_proj"]}
    given |= {"num_virtual_tokens": 4} | FITTING.get(tuner.__name__, {}) | settings
    if settings.get("init_lora_weights") == "loftq":
        given["loftq_config"] = {"loftq_bits": 4, "loftq_iter": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return tuner(**{name: value for name, value in given.items() if name in tuner.__dataclass_fields__})


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_an_adapter_that_took_a_part_of_the_base_does_the_same_over_a_whole_one(tmp_path, family):
    base = small.folder(tmp_path / "base", family)
    for name in OUT_OF_BASE:
        if (name, family) == ("olora", "gpt2"):
            with pytest.raises(ValueError, match="olora fails on layers of this kind"):
                methods.check(lora(name), base, "fp32")
            continue
        expected, found = trained_and_read_again(base, tmp_path / name, lora(name))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        config = json.loads((tmp_path / name / "adapter_config.json").read_text())
        assert (config["r"], config["init_lora_weights"]) == (8, True)


def test_twice_the_rank_keeps_scales_and_ranks_of_layers_and_modules_that_are_saved_whole(tmp_path):
    base = small.folder(tmp_path / "base")
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}, "modules_to_save": ["embed_tokens"]}
    for settings in (patterns, {"use_rslora": True}):
        expected, found = trained_and_read_again(base, tmp_path / "adapter", lora("pissa", **settings))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def trained_and_read_again(base: str, place: Path, method: spec.Custom) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of the trained model, which is not what it began as, and of its adapter on a fresh base."""
    model, tokenizer = models.load(base)
    rows = small_methods.batch(model, tokenizer)
    bare = small_methods.answers(model, rows)[0]
    attached = methods.attach(model, method, tokenizer, seed=1, batches=[rows, rows])
    small_methods.train(attached, rows)
    expected = small_methods.answers(attached, rows)[0]
    assert (expected - bare).abs().max() > 0.05
    methods.save(attached, place, base=base, precision="fp32", facts={})
    with pytest.raises(methods.BaseChangedError, match="load the model again"):
        methods.detach(attached)
    fresh, _ = models.load(base)
    loaded = methods.load(fresh, place)
    found = small_methods.answers(loaded, rows)[0]
    assert methods.detach(loaded) is fresh
    return expected, found


def test_eva_begins_with_directions_of_the_rows_and_gives_layers_ranks_of_their_own(tmp_path):
    model, tokenizer = models.load(small.folder(tmp_path / "base"))
    rows = small_methods.batch(model, tokenizer)
    attached = methods.attach(model, lora("eva"), tokenizer, seed=1, batches=[rows, rows])
    down = [each for name, each in attached.named_parameters() if ".lora_A." in name]
    assert len({len(each) for each in down}) > 1
    for each in down:  # principal components are orthonormal, and noise is not
        torch.testing.assert_close(each @ each.T, torch.eye(len(each)), rtol=0, atol=1e-3)


def test_what_begins_with_rows_says_so_and_needs_them():
    assert [methods.begins_with_rows(lora(name)) for name in ("eva", "corda", "lora_ga", "pissa")] == [1, 1, 1, 0]
    assert not methods.begins_with_rows(spec.Lora())
    with pytest.raises(ValueError, match="corda begins with training rows, so attach needs batches; got none"):
        methods.attach(small.model(), lora("corda"), small.tokenizer(), seed=1)


def test_eva_with_too_few_tokens_is_refused_in_the_place_of_waiting_for_ever():
    model, tokenizer = small.model(), small.tokenizer()
    rows = small_methods.batch(model, tokenizer)
    few = {name: each[:1] for name, each in rows.items()} | {"labels": torch.full_like(rows["labels"][:1], -100)}
    with pytest.raises(ValueError, match="eva looks for 8 directions, r times rho, and no batch of training rows has"):
        methods.attach(model, lora("eva"), tokenizer, seed=1, batches=[few])


@pytest.mark.parametrize(
    ("name", "precision", "settings", "reason"),
    [
        ("loftq", "fp32", {"loftq_config": {"loftq_bits": 4, "loftq_iter": 1}}, "replaces the base's own weights"),
        ("gaussian", "fp32", {"kasa_config": peft.KasaConfig()}, "replaces the base's own weights"),
        ("pissa", "fp32", {"use_dora": True}, "replaces the base's own weights"),
        ("olora", "int8", {}, "replaces the base's own weights"),
        ("olora", "nf4", {}, "replaces the base's own weights"),
        ("corda", "nf4", {}, "corda reads whole weights, and nf4 weights are not: take fp32, bf16 or eva"),
        ("pissa", "fp32", {"r": 40}, "r must be at most 32 on .*; got 40"),
        ("pissa_niter_many", "fp32", {}, "cannot be attached to a model of type llama"),
    ],
)
def test_what_no_adapter_would_hold_is_refused_before_loading(place, name, precision, settings, reason):
    with pytest.raises(ValueError, match=reason):
        methods.check(lora(name, **settings), place, precision)


def test_an_initialization_that_adalora_would_not_read_is_refused(place):
    method = methods.custom(made(peft.AdaLoraConfig, {"init_lora_weights": "eva"}), name="a", learning_rate=1e-3)
    with pytest.raises(ValueError, match="adalora begins in a way of its own .*; got 'eva'"):
        methods.check(method, place, "fp32")


def test_a_configuration_that_could_not_be_read_again_is_refused(place):
    method = methods.custom(peft.IA3Config(target_modules=["q_proj"]), name="ia3", learning_rate=1e-3)
    with pytest.raises(ValueError, match="feedforward_modules` should be a subset"):
        methods.check(method, place, "fp32")


@pytest.mark.parametrize("whole", [None, ["embed_tokens"], ["lm_head"]])
def test_an_adapter_over_a_tokenizer_without_a_pad_token_is_read_again_by_the_next_study(data_dir, tmp_path, whole):
    tokenizer = small.tokenizer(pad=None)
    small.model(vocabulary=len(tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    method = lora("gaussian", modules_to_save=whole) if whole else spec.Lora(r=4)
    rows = []
    for limit in (2, 4):
        torch.manual_seed(limit)  # a process of its own
        planned = study.plan([run(str(tmp_path / "base"), data_dir, method, limit=limit)])
        rows += study.run_all(planned, tmp_path / "results")
    assert [row.status for row in rows] == ["ok", "ok"]
    assert rows[0].costs["train_seconds"] == rows[1].costs["train_seconds"]  # trained once
    first, second = (results.predictions(tmp_path / "results", row.id) for row in rows)
    assert first == second[:2]


def test_an_older_adapter_that_knows_a_row_of_no_checkpoint_is_still_read(tmp_path):
    tokenizer = small.tokenizer(pad=None)
    base = str(tmp_path / "base")
    small.model(vocabulary=len(tokenizer)).save_pretrained(base)
    tokenizer.save_pretrained(base)
    attached = methods.attach(models.load(base)[0], spec.Lora(r=4), tokenizer, seed=1)
    place = methods.save(attached, tmp_path / "adapter", base=base, precision="fp32", facts={})
    known = json.loads((place / methods.FACTS).read_text())
    known["identity"]["places"][-1] = [len(tokenizer), 3]
    known["identity"]["values"][-1] = 7.0
    (place / methods.FACTS).write_text(json.dumps(known))
    methods.load(models.load(base)[0], place)


def test_a_write_past_torchs_count_is_seen_in_the_content():
    weight = torch.nn.Parameter(torch.randn(6, 10))
    before = checksum(weight), weight._version
    weight.data[[0, 1]] = weight.data[[1, 0]]
    assert weight._version == before[1]
    assert checksum(weight) != before[0]
    assert checksum(torch.zeros(0)) == 0 == checksum(torch.tensor(False))

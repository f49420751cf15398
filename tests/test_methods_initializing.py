"""LoRA that begins with training rows or with a part of the base: its adapter does the same over a whole base."""

import json
import warnings
from pathlib import Path

import peft
import pytest
import small
import small_methods
import torch

from nblib import methods, models, results, spec, study

OUT_OF_BASE = ("olora", "pissa", "pissa_niter_4", "corda", "lora_ga")


def lora(name: str, **settings) -> spec.Trained:
    given = {"target_modules": "all-linear", "r": 4} | settings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of sub-configurations that are not given
        config = peft.LoraConfig(init_lora_weights=name, **given)
    return methods.custom(config, name=name, learning_rate=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eva", "corda"])
def test_zero_shot_after_it_answers_as_zero_shot_alone(tmp_path, name):
    place, data_dir = small.folder(tmp_path / "base"), small.rows(tmp_path / "data")
    settings = {"decoding": spec.Decoding(beams=1, returned=1), "data_dir": data_dir, "limit": 4}
    training = spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=1)
    zero_shot = [spec.Run(place, "conala", spec.ZeroShot(), seed=seed, **settings) for seed in (1, 2)]
    tuned = spec.Run(place, "conala", lora(name), training=training, **settings)
    planned = study.plan([zero_shot[0], tuned, zero_shot[1]])
    assert [row.status for row in study.run_all(planned, tmp_path)] == ["ok"] * 3
    before, _, after = (results.predictions(tmp_path, run.id) for run in planned)
    assert [prediction.completions for prediction in after] == [prediction.completions for prediction in before] != []


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_an_adapter_that_took_a_part_of_the_base_does_the_same_over_a_whole_one(tmp_path, family):
    base = small.folder(tmp_path / "base", family)
    of_peft = {name: lora(name) for name in OUT_OF_BASE}
    ours = {f"our {kind}": spec.method(kind, r=4) for kind in small_methods.OUT_OF_BASE}
    for name, method in (of_peft | ours).items():
        if (name, family) == ("olora", "gpt2"):
            with pytest.raises(ValueError, match="olora fails on layers of this kind"):
                methods.check(method, base, "fp32")
            continue
        expected, found = trained_and_read_again(base, tmp_path / name, method)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        config = json.loads((tmp_path / name / "adapter_config.json").read_text())
        assert (config["r"], config["init_lora_weights"]) == (8, True)


def test_twice_the_rank_keeps_scales_and_ranks_of_layers_and_modules_that_are_saved_whole(tmp_path):
    base = small.folder(tmp_path / "base")
    patterns = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}, "modules_to_save": ["embed_tokens"]}
    for settings in (patterns, {"use_rslora": True}):
        expected, found = trained_and_read_again(base, tmp_path / "adapter", lora("pissa", **settings))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def trained_and_read_again(base: str, place: Path, method: spec.Trained) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of the trained model, which is not what it began as, and of its adapter on a fresh base."""
    model, tokenizer = models.load(base)
    rows = small_methods.batch(model, tokenizer)
    bare = small_methods.answers(model, rows)[0]
    attached = methods.attach(model, method, tokenizer, seed=1, batches=[rows, rows])
    small_methods.train(attached, rows)
    expected = small_methods.answers(attached, rows)[0]
    assert (expected - bare).abs().max() > 0.05
    methods.save(attached, place, base=base, precision="fp32", facts={})
    fresh, _ = models.load(base)
    loaded = methods.load(fresh, place)
    found = small_methods.answers(loaded, rows)[0]
    assert methods.detach(loaded) is fresh
    return expected, found


def test_eva_begins_with_directions_of_the_rows_and_gives_layers_ranks_of_their_own():
    model, tokenizer = small.model(), small.tokenizer()
    rows = small_methods.batch(model, tokenizer)
    for method in (lora("eva"), spec.Eva(r=4)):
        attached = methods.attach(model, method, tokenizer, seed=1, batches=[rows, rows])
        down = [parameter for name, parameter in attached.named_parameters() if ".lora_A." in name]
        assert len({len(weight) for weight in down}) > 1
        for weight in down:  # principal components are orthonormal, and noise is not
            torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), rtol=0, atol=1e-3)
        methods.detach(attached)


def test_what_begins_with_rows_needs_enough_of_them():
    model, tokenizer = small.model(), small.tokenizer()
    with pytest.raises(ValueError, match="corda begins with training rows, so attach needs batches; got none"):
        methods.attach(model, lora("corda"), tokenizer, seed=1)
    rows = small_methods.batch(model, tokenizer)
    few = {name: tensor[:1] for name, tensor in rows.items()} | {"labels": torch.full_like(rows["labels"][:1], -100)}
    with pytest.raises(ValueError, match="eva looks for 8 directions, r times rho, and no batch of training rows has"):
        methods.attach(model, lora("eva"), tokenizer, seed=1, batches=[few])

"""A training whose process ends is gone on with, to the very weights of an undisturbed one."""

import json
from dataclasses import replace

import pytest
import small
import small_methods
import torch

from nblib import methods, models, spec, tasks, train
from nblib.train import checkpoints

TASK = tasks.Task(64, 64, ("\n",))
TRAINING = spec.Training(epochs=3, batch_size=4, device_batch=2, optimizer="adamw_torch", evaluations_an_epoch=3)
STEPS = 18  # 24 examples in batches of four, three times; evaluated after every second step


class Killed(BaseException):
    """Ends a training where a signal would: nothing tidies up."""


@pytest.fixture(autouse=True)
def often(monkeypatch):
    small.often(monkeypatch)


def trained(folder, method, *, base=small.model, die_at=None, training=TRAINING, precision="fp32", facts=dict):
    """The trained weights, with what `fit` tells; dies in the given step."""
    tokenizer = small.tokenizer()
    steps = train.steps(len(small.DATA.train), training)
    model = base()
    rows = small_methods.batch(model, tokenizer)
    model = methods.attach(model, method, tokenizer, seed=1, steps=steps, batches=[rows, rows])

    def report(share):
        if die_at and round(share * steps) == die_at:
            raise Killed

    fitted = train.fit(
        model,
        tokenizer,
        small.DATA,
        TASK,
        training,
        learning_rate=1e-2,
        precision=precision,
        seed=1,
        monitor=train.Monitor(report=report),
        checkpoints=train.Checkpoints(folder, facts) if folder else None,
    )
    return torch.cat([weight.detach().flatten() for weight in model.parameters() if weight.requires_grad]), fitted


def same_after(kills, tmp_path, method, **settings):
    """Whether a training that dies in these steps, one after the other, ends as one that does not."""
    weights, fitted = trained(None, method, **settings)
    for step in kills:
        with pytest.raises(Killed):
            trained(tmp_path / "kept", method, die_at=step, **settings)
    again, resumed = trained(tmp_path / "kept", method, **settings)
    assert resumed.train_loss == pytest.approx(fitted.train_loss, rel=1e-6)
    assert replace(resumed, train_loss=0) == replace(fitted, train_loss=0)
    assert again.equal(weights)


@pytest.mark.parametrize(
    "method", [spec.Lora(dropout=0.5), spec.FullTuning(), spec.AdaLora(), spec.LoraPlus(), spec.LoraFa()]
)
def test_a_training_that_dies_twice_ends_as_an_undisturbed_one(method, tmp_path):
    same_after((7, 12), tmp_path, method)


@pytest.mark.slow
@pytest.mark.parametrize("kind", small_methods.TRAINED)
def test_every_method_goes_on_to_the_same_weights(kind, tmp_path):
    same_after((11,), tmp_path, small_methods.method(kind))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "precision", "optimizer"),
    [
        ("t5", "fp32", "adafactor"),
        ("qwen2", "int8", "sgd"),
        ("llama", "bf16", "adamw_8bit"),
        ("t5", "nf4", "lion_32bit"),
    ],
)
def test_every_kind_of_base_and_optimizer_is_gone_on_with(family, precision, optimizer, tmp_path):
    place = small.folder(tmp_path / "base", family)
    settings = {"training": replace(TRAINING, optimizer=optimizer, schedule="cosine"), "precision": precision}
    same_after((11,), tmp_path, spec.Lora(), base=lambda: models.load(place, precision)[0], **settings)


def test_the_best_weights_so_far_come_from_before_the_kill(tmp_path):
    training = replace(TRAINING, epochs=8)

    def fit(folder, die_at=None):
        return trained(folder, spec.FullTuning(), die_at=die_at, training=training)

    other = tuple(replace(example, code=example.intent[::-1]) for example in small.DATA.validation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small, "DATA", replace(small.DATA, validation=other))  # no training helps for long
        weights, fitted = fit(None)
        with pytest.raises(Killed):
            fit(tmp_path, die_at=fitted.best_step + 9)
        again, resumed = fit(tmp_path)
    assert resumed.best_step == fitted.best_step < 40
    assert again.equal(weights)


def test_a_checkpoint_that_is_cut_or_of_other_packages_is_not_read(tmp_path):
    weights, _ = trained(None, spec.Lora(r=2))
    with pytest.raises(Killed):
        trained(tmp_path, spec.Lora(r=2), die_at=6, facts=lambda: {"seconds": 7})
    assert train.saved_facts(tmp_path) == {"seconds": 7}
    (place,) = tmp_path.iterdir()
    assert (place / "model.safetensors").stat().st_size < sum(weight.nbytes for weight in small.model().parameters())
    noted = (place / "nblib.json").read_text()
    (place / "nblib.json").write_text(json.dumps(json.loads(noted) | {"packages": {"torch": "1.0"}}))
    assert train.saved_facts(tmp_path) is None  # of other packages
    (place / "nblib.json").write_text(noted)
    (place / "optimizer.pt").write_bytes((place / "optimizer.pt").read_bytes()[:-100])
    assert train.saved_facts(tmp_path) is None
    assert trained(tmp_path, spec.Lora(r=2))[0].equal(weights)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path, monkeypatch):
    weights, _ = trained(None, spec.Lora())
    finish, seen = checkpoints._finish, []

    def killed(place, facts):
        seen.append(place.name)
        if len(seen) == 3:
            raise Killed
        finish(place, facts)

    monkeypatch.setattr(checkpoints, "_finish", killed)
    with pytest.raises(Killed):
        trained(tmp_path, spec.Lora())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint-4", "checkpoint-6"]
    monkeypatch.setattr(checkpoints, "_finish", finish)
    assert trained(tmp_path, spec.Lora())[0].equal(weights)


def test_a_full_disk_is_one_sentence_and_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    save, seen = checkpoints.torch.save, []

    def full(*given, **named):
        seen.append(given)
        if len(seen) > 5:
            raise RuntimeError("PytorchStreamWriter failed writing file")
        save(*given, **named)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="a checkpoint cannot be written to .*kept, where .* free: PytorchStreamWriter"):
        trained(tmp_path / "kept", spec.Lora())
    assert train.saved_facts(tmp_path / "kept") == {}

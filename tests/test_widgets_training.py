"""A training that is watched: the losses heard are its own, and nothing about it changes."""

import re
from dataclasses import replace

import pytest

from nblib import study, train
from nblib.study import fitting
from nblib.study.fitting import Record
from nblib.widgets import training


@pytest.fixture(scope="module")
def planned(root, tmp_path_factory):
    """LoRA on a few rows of the sample task: two epochs of three steps, each of two passes."""
    folder = tmp_path_factory.mktemp("few")
    for split, rows in (("train", 12), ("validation", 4), ("test", 2)):
        lines = (root / "data" / "tasks" / "conala-mini" / f"{split}.jsonl").read_text().splitlines()[:rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    (run,) = study.compare("micro", "conala-mini", names=["lora"], seeds=[1], data_dir=str(folder))
    briefly = replace(run.training, epochs=2, batch_size=4, device_batch=2, evaluations_an_epoch=1)
    return study.plan([replace(run, training=briefly)])[0]


@pytest.fixture(scope="module")
def watched(planned, tmp_path_factory):
    """The store, what the training left, and the pictures that were shown."""
    store, shown = tmp_path_factory.mktemp("store"), []
    return store, training.train(planned, store, shown=shown.append), shown


def test_every_step_and_every_validation_has_a_loss_and_they_are_those_of_the_training(
    planned, watched, tmp_path, monkeypatch
):
    losses = watched[1].losses
    steps = losses[losses["of"] == "training"]
    assert list(steps["epoch"]) == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])
    assert list(losses.loc[losses["of"] == "validation", "epoch"]) == [1, 2]
    assert losses["kept"].sum() == 1
    base, fitted, fit = fitting.Base(), [], train.fit
    monkeypatch.setattr(train, "fit", lambda *args, **settings: fitted.append(fit(*args, **settings)) or fitted[0])
    base.load(planned, Record())
    fitting.attach(planned, base, tmp_path, Record(), force=True)
    assert steps["loss"].mean() == pytest.approx(fitted[0].train_loss, rel=1e-4)


def test_the_picture_grows_and_the_last_one_has_the_validation_losses(watched):
    _, _, shown = watched
    assert len(shown) >= 2
    assert shown[0].alt.startswith("Loss of lora by epoch. training from")
    assert "validation" not in shown[0].alt
    assert re.search(r"validation from .* to .*, the checkpoint of epoch [12] is kept", shown[-1].alt)


def test_what_is_trained_already_is_read_and_said_to_be(planned, watched):
    store, first, _ = watched
    again = training.train(planned, store, shown=lambda picture: None)
    assert (first.here, again.here) == (True, False)
    assert set(again.losses["of"]) == {"validation"}
    assert "by an earlier run, whose adapter we load" in repr(again)
    assert repr(first).endswith(f"adapters/{again.folder.name}.")


def test_what_leaves_no_adapter_is_refused(tmp_path):
    (full,) = study.plan(study.compare("micro", "conala-mini", names=["full"], seeds=[1]))
    with pytest.raises(ValueError, match="must leave an adapter; got full: take lora"):
        training.train(full, tmp_path)

"""The lean loss and its gradients against the models' own, and the memory that it saves."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import small
import torch
from torch import nn

from nblib import methods, spec, tasks, train
from nblib.train import losses

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from clock import peak_of

FAMILIES = ("llama", "codegen", "gpt2", "t5", "qwen2")
METHODS = {
    "full": spec.FullTuning(),
    "lora": spec.Lora(dropout=0.0),
    "prompt-tuning": spec.PromptTuning(),
    "prefix-tuning": spec.PrefixTuning(),
    "p-tuning": spec.PTuning(),
    "adalora": spec.AdaLora(dropout=0.0),
}


def prepared(family: str, kind: str = "lora", *, vocabulary: int = 420) -> nn.Module:
    model = small.model(family, vocabulary=vocabulary)
    model.config.use_cache = False
    return methods.attach(model, METHODS[kind], small.tokenizer(), seed=1, steps=10).eval()


def batch(model: nn.Module, rows: slice = slice(0, 8)) -> dict[str, torch.Tensor]:
    """Of prompts and answers whose lengths differ, so that there is padding."""
    tokenizer, seq2seq = small.tokenizer(), model.config.is_encoder_decoder
    examples = [replace(example, code=example.code * (1 + at // 3)) for at, example in enumerate(small.EXAMPLES[5:13])]
    encoded = [train.encode(example, tokenizer, encoder_decoder=seq2seq) for example in examples[rows]]
    return train.collate(encoded, tokenizer.pad_token_id)


def counted(model: nn.Module, rows: dict[str, torch.Tensor]) -> int:
    """Labels that a loss is taken from."""
    labels = rows["labels"] if model.config.is_encoder_decoder else rows["labels"][:, 1:]
    return int((labels != losses.IGNORED).sum())


def plainly(model: nn.Module, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    """From logits over all positions, of virtual tokens too."""
    logits, labels = model(**rows).logits, rows["labels"]
    if not model.config.is_encoder_decoder:
        logits, labels = logits[:, -labels.shape[1] : -1], labels[:, 1:]
    return nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def gradients(model: nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_alike(these: dict[str, torch.Tensor], those: dict[str, torch.Tensor], share: float = 1e-4) -> None:
    """Within rounding, as a share of each gradient's size."""
    assert these.keys() == those.keys()
    assert any(gradient.abs().max() > 0 for gradient in those.values())
    for name, that in those.items():
        torch.testing.assert_close(these[name], that, rtol=share, atol=share * that.abs().max().item() + 1e-8)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *((family, "lora") for family in FAMILIES),
        *(("llama", kind) for kind in ("full", "prompt-tuning", "prefix-tuning", "p-tuning")),
        *(("t5", kind) for kind in ("full", "prompt-tuning", "prefix-tuning")),
    ],
)
def test_loss_and_gradients_are_those_of_all_logits(family, kind):
    model = prepared(family, kind)
    rows = batch(model)
    expected = plainly(model, rows)
    wanted = gradients(model, expected)
    with losses.lean(model):
        output = model(**rows)
    assert output.logits is None
    torch.testing.assert_close(output.loss, expected, rtol=1e-5, atol=0)
    assert_alike(gradients(model, output.loss), wanted)


@pytest.mark.parametrize(("family", "dtype"), [("llama", torch.bfloat16), ("t5", torch.float16)])
def test_it_is_the_usual_loss_in_mixed_precision(family, dtype):
    model = prepared(family)
    rows = batch(model)
    found = []
    for lean in (False, True):
        with losses.lean(model) if lean else nullcontext():
            with torch.autocast("cpu", dtype=dtype):
                loss = model(**rows).loss if lean else plainly(model, rows)
            scaled = gradients(model, loss * 1024)  # as a loss scaler does
        found.append((loss, scaled))
    (plain, wanted), (lean_loss, given) = found
    assert lean_loss.dtype == torch.float32
    torch.testing.assert_close(lean_loss, plain, rtol=1e-5, atol=0)
    assert_alike(given, wanted, share=3e-2)


def test_a_chunk_at_a_time_gives_the_same(monkeypatch):
    model = prepared("llama")
    rows = batch(model)
    wanted = gradients(model, plainly(model, rows))
    monkeypatch.setattr(losses, "CHUNK", 420 * 3)
    with losses.lean(model):
        assert_alike(gradients(model, model(**rows).loss), wanted)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_parts_of_a_batch_add_up_to_the_whole(family):
    model = prepared(family)
    whole = batch(model)
    number = torch.tensor(counted(model, whole))
    with losses.lean(model):
        wanted = gradients(model, model(**whole, num_items_in_batch=number).loss)
        parts = [batch(model, slice(start, start + 2)) for start in range(0, 8, 2)]
        assert len({counted(model, part) for part in parts}) > 1  # so a mean of means would differ
        losses_of_parts = [model(**part, num_items_in_batch=number).loss for part in parts]
        assert_alike(gradients(model, sum(losses_of_parts)), wanted)
        torch.testing.assert_close(sum(losses_of_parts), model(**whole).loss)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_adalora_keeps_its_penalty(family):
    model = prepared(family, "adalora")
    rows = batch(model)
    expected = model(**rows).loss
    assert expected > plainly(model, rows) + 1e-3
    with losses.lean(model):
        torch.testing.assert_close(model(**rows).loss, expected)


def test_validation_losses_are_those_of_the_data_alone():
    model, training = prepared("llama", "adalora"), spec.Training(epochs=1, evaluations_an_epoch=1)
    task = tasks.Task(64, 64, ("\n",))
    settings = {"learning_rate": 1e-2, "precision": "fp32", "seed": 1}
    fitted = train.fit(model, small.tokenizer(), small.DATA, task, training, **settings)
    encoded = [train.encode(example, small.tokenizer()) for example in small.DATA.validation]
    with torch.no_grad():
        expected = plainly(model.eval(), train.collate(encoded, small.tokenizer().pad_token_id))
    assert [loss for _, loss in fitted.validation_losses] == pytest.approx([expected.item()], rel=1e-5)


def test_logits_that_a_model_changes_after_its_head_keep_what_their_gradient_needs(monkeypatch):
    model = prepared("llama", "full")
    plain = model.forward

    def capped(*args, **kwargs):
        output = plain(*args, **kwargs)
        output.logits = torch.tanh(output.logits)  # whose gradient is computed from its result
        return output

    model.forward = capped
    rows = batch(model)
    wanted = gradients(model, plainly(model, rows))
    with losses.lean(model):
        assert_alike(gradients(model, model(**rows).loss), wanted)
    assert model.forward is capped


def test_afterwards_the_model_is_as_before():
    model = prepared("llama")
    base, rows = model.get_base_model(), batch(model)
    before = model(**rows)
    with losses.lean(model):
        model(**rows)
    assert "forward" not in vars(base)
    assert not model.get_output_embeddings()._forward_pre_hooks
    after = model(**rows)
    assert after.logits.equal(before.logits)
    assert after.loss.equal(before.loss)


@pytest.mark.parametrize(("family", "mixed"), [("llama", True), ("gpt2", False), ("t5", False)])
def test_a_large_vocabulary_needs_less(family, mixed):
    model = prepared(family, vocabulary=20_000)
    rows = batch(model)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            loss = model(**rows).loss
        loss.backward()

    step()  # gradients are there from now on
    plain = peak_of(step)
    with losses.lean(model):
        lean = peak_of(step)
    all_logits = rows["labels"].numel() * 20_000 * (2 if mixed else 4)
    assert lean < plain - all_logits

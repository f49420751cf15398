"""Quantized bases: they load, are small, and every method but full tuning learns over them, on a CPU too."""

import pytest
import small
import small_methods
import torch

from nblib import generate, methods, models, spec, tasks, train

TASK = tasks.Task("small", 64, 64, ("\n",))
QUICK = spec.Training(epochs=4, optimizer="adamw_torch", evaluations_an_epoch=1)


def fit(model, tokenizer, precision):
    return train.fit(
        model,
        tokenizer,
        small.DATA,
        TASK,
        QUICK,
        learning_rate=1e-2,
        precision=precision,
        seed=1,
    )


@pytest.mark.parametrize(
    ("precision", "smaller"), [("int8", 3.5), ("nf4", 6.5), ("nf4-dq", 6.5), ("fp4", 6.5)], ids=lambda value: str(value)
)
def test_linear_layers_shrink_and_the_head_does_not(tmp_path, precision, smaller):
    place = small.folder(tmp_path)
    plain, quantized = models.load(place)[0], models.load(place, precision)[0]
    assert quantized.lm_head.weight.dtype == torch.float32
    before, after = (each.model.layers[0].mlp.up_proj.weight for each in (plain, quantized))
    assert before.nbytes / after.nbytes > smaller
    assert quantized.num_parameters() == plain.num_parameters()


@pytest.mark.parametrize(
    ("family", "precision"), [("llama", "int8"), ("qwen2", "nf4"), ("codegen", "nf4-dq"), ("llama", "fp4")]
)
def test_lora_learns_over_every_family_and_precision_and_leaves_the_base(tmp_path, family, precision):
    model, tokenizer = models.load(small.folder(tmp_path, family), precision)
    base = {name: each.clone() for name, each in model.named_parameters()}
    attached = methods.attach(model, spec.Lora(), tokenizer, seed=1)
    losses = [loss for _, loss in fit(attached, tokenizer, precision).validation_losses]
    assert min(losses[1:]) < losses[0]
    kept = {name.replace(".base_layer", ""): each for name, each in model.named_parameters()}
    assert all(each.equal(kept[name]) for name, each in base.items())


@pytest.mark.parametrize("precision", ["int8", "nf4"])
@pytest.mark.parametrize("kind", ["adapter", "dora", "prompt-tuning"])  # the matrix has all
def test_every_adapter_learns_over_a_quantized_base_and_answers(tmp_path, kind, precision):
    model, tokenizer = models.load(small.folder(tmp_path), precision)
    attached = methods.attach(model, small_methods.method(kind), tokenizer, seed=1)
    losses = [loss for _, loss in fit(attached, tokenizer, precision).validation_losses]
    assert min(losses[1:]) < losses[0]
    decoding = spec.Decoding(beams=2, returned=2)
    asked = ["### Instruction:\nadd 3 to list `xs3`\n### Response:\n"] * 2
    answers = list(
        generate.completions(
            attached, tokenizer, asked, decoding, new_tokens=8, stops=("\n",), precision=precision, seed=1
        )
    )
    assert [len(texts) for _, texts, _ in answers] == [2, 2]


def test_quantized_layers_say_nothing(tmp_path, caplog):
    model, tokenizer = models.load(small.folder(tmp_path), "int8")
    with torch.inference_mode():
        model(**tokenizer(["add 3"], return_tensors="pt"))
    assert caplog.text == ""

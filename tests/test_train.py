from dataclasses import replace

import pytest
import small
import torch

from nblib import methods, models, spec, tasks, train

TASK = tasks.Task("small", 64, 64, ("\n",))
QUICK = spec.Training(epochs=2, optimizer="adamw_torch", evaluations_an_epoch=1)


def fit(model, tokenizer, *, training=QUICK, learning_rate=1e-2, seed=1, precision="fp32"):
    return train.fit(
        model,
        tokenizer,
        small.DATA.train,
        small.DATA.validation,
        TASK,
        training,
        learning_rate=learning_rate,
        precision=precision,
        seed=seed,
    )


def test_loss_is_taken_on_the_code_and_the_end_token_only():
    tokenizer = small.tokenizer()
    row = train.encode(small.EXAMPLES[3], tokenizer)
    learned = [id for id, label in zip(row["input_ids"], row["labels"], strict=True) if label != train.IGNORED]
    assert tokenizer.decode(learned) == small.EXAMPLES[3].code + tokenizer.eos_token
    masked = [id for id, label in zip(row["input_ids"], row["labels"], strict=True) if label == train.IGNORED]
    assert tokenizer.decode(masked).endswith("### Response:\n")


def test_the_end_token_is_learned_even_where_pad_equals_end():
    tokenizer = small.tokenizer(pad=None)
    tokenizer.pad_token = tokenizer.eos_token
    rows = [train.encode(each, tokenizer) for each in (small.EXAMPLES[0], small.EXAMPLES[20])]
    batch = train.collate(rows, tokenizer.pad_token_id)
    for labels, row in zip(batch["labels"], rows, strict=True):
        assert (labels == tokenizer.eos_token_id).sum() == 1
        assert labels[len(row["input_ids"]) - 1] == tokenizer.eos_token_id


def test_a_batch_is_padded_to_its_own_longest_row():
    tokenizer = small.tokenizer()
    rows = [train.encode(each, tokenizer) for each in small.EXAMPLES[:3]]
    longest = max(len(row["input_ids"]) for row in rows)
    assert train.collate(rows, tokenizer.pad_token_id)["input_ids"].shape == (3, longest)


def test_rows_over_the_length_limit_are_left_out_and_counted():
    tokenizer = small.tokenizer()
    task = tasks.Task("short", 64, 1, ("\n",))
    assert train.encode_all(small.EXAMPLES, tokenizer, task) == []
    with pytest.raises(ValueError, match="no training row is within the task's limits"):
        train.fit(
            small.model(),
            tokenizer,
            small.DATA.train,
            small.DATA.validation,
            task,
            QUICK,
            learning_rate=1e-3,
            precision="fp32",
            seed=1,
        )


@pytest.mark.parametrize("family", small.CONFIGS)
@pytest.mark.parametrize("kind", [kind for kind, each in spec.METHODS.items() if each.trained])
def test_every_method_lowers_the_loss_of_every_family_and_trains_only_its_own_weights(kind, family):
    tokenizer = small.tokenizer()
    base = small.model(family)
    before = {name: each.clone() for name, each in base.state_dict().items()}
    attached = methods.attach(base, spec.method(kind), tokenizer, seed=1)
    fitted = fit(attached, tokenizer, training=spec.Training(epochs=4, optimizer="adamw_torch", evaluations_an_epoch=1))
    losses = [loss for _, loss in fitted.validation_losses]
    assert min(losses[1:]) < losses[0]
    changed = [name for name, each in base.state_dict().items() if name in before and not before[name].equal(each)]
    assert bool(changed) == (kind == "full")


def test_the_weights_of_the_lowest_validation_loss_are_kept():
    tokenizer = small.tokenizer()
    model = methods.attach(small.model(), spec.FullTuning(), tokenizer, seed=1)
    other = tuple(replace(each, code=each.intent[::-1]) for each in small.DATA.validation)  # no training helps for long
    fitted = train.fit(
        model,
        tokenizer,
        small.DATA.train,
        other,
        TASK,
        spec.Training(epochs=8, evaluations_an_epoch=1),
        learning_rate=3e-2,
        precision="fp32",
        seed=1,
    )
    best_step, best_loss = min(fitted.validation_losses, key=lambda pair: pair[1])
    assert fitted.best_step == best_step < fitted.steps
    batch = train.collate(train.encode_all(other, tokenizer, TASK), tokenizer.pad_token_id)
    with torch.inference_mode():
        assert model.eval()(**batch).loss.item() == pytest.approx(best_loss, rel=1e-3)


def test_the_same_seed_trains_to_the_same_weights_and_another_one_does_not():
    def trained(seed):
        tokenizer = small.tokenizer()
        model = methods.attach(small.model(), spec.Lora(), tokenizer, seed=seed)
        fit(model, tokenizer, seed=seed)
        return torch.cat([each.flatten() for each in model.parameters() if each.requires_grad])

    first = trained(1)
    assert first.equal(trained(1))
    assert not first.equal(trained(2))


def test_a_half_precision_base_has_fp32_trainable_weights(tmp_path):
    model, tokenizer = models.load(small.folder(tmp_path), "bf16")
    attached = methods.attach(model, spec.Lora(), tokenizer, seed=1)
    assert {each.dtype for each in attached.parameters() if each.requires_grad} == {torch.float32}
    fitted = fit(attached, tokenizer, precision="bf16")
    assert fitted.validation_losses[-1][1] < fitted.validation_losses[0][1]

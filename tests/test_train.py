import importlib.util
from dataclasses import replace

import pytest
import small
import torch
from tokenizers import pre_tokenizers
from transformers import RobertaTokenizer

from nblib import methods, models, spec, study, tasks, train

TASK = tasks.Task("small", 64, 64, ("\n",))
QUICK = spec.Training(epochs=2, optimizer="adamw_torch", evaluations_an_epoch=1)


def fit(model, tokenizer, *, training=QUICK, learning_rate=1e-2, seed=1, precision="fp32", **more):
    return train.fit(
        model,
        tokenizer,
        small.DATA,
        TASK,
        training,
        learning_rate=learning_rate,
        precision=precision,
        seed=seed,
        **more,
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
            small.DATA,
            task,
            QUICK,
            learning_rate=1e-3,
            precision="fp32",
            seed=1,
        )


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_a_validation_loss_is_the_mean_over_answer_tokens_in_whatever_batches(rows):
    tokenizer = small.tokenizer()
    checks = [replace(each, code=each.code * (1 + 4 * (at % 3))) for at, each in enumerate(small.DATA.validation[:7])]
    training = spec.Training(epochs=1, device_batch=rows, batch_size=rows, gradient_checkpointing=True)
    model = methods.attach(small.model(), spec.FullTuning(), tokenizer, seed=1)
    data = replace(small.DATA, train=small.DATA.train[:1], validation=tuple(checks))
    fitted = train.fit(model, tokenizer, data, TASK, training, learning_rate=1e-2, precision="fp32", seed=1)
    total = count = 0
    for row in train.encode_all(checks, tokenizer, TASK):
        answers = sum(label != train.IGNORED for label in row["labels"])
        with torch.inference_mode():
            total += model.eval()(**train.collate([row], tokenizer.pad_token_id)).loss.item() * answers
        count += answers
    assert [loss for _, loss in fitted.validation_losses] == pytest.approx([total / count], rel=1e-5)


@pytest.mark.parametrize("family", small.CONFIGS)
@pytest.mark.parametrize("kind", ["full", "lora", "prompt-tuning", "prefix-tuning"])
def test_training_lowers_the_loss_of_every_family_and_changes_only_the_methods_weights(kind, family):
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
        replace(small.DATA, validation=other),
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


def test_an_encoder_decoder_reads_the_prompt_and_learns_the_code_and_its_end():
    tokenizer, example = small.tokenizer(), small.EXAMPLES[3]
    row = train.encode(example, tokenizer, encoder_decoder=True)
    assert tokenizer.decode(row["input_ids"]).endswith(f"{example.intent}\n### Response:\n")
    assert tokenizer.decode(row["labels"]) == example.code + tokenizer.eos_token


def test_both_halves_of_an_encoder_decoder_are_framed_as_its_tokenizer_frames_texts():
    vocabulary = {"<s>": 1, "<pad>": 0, "</s>": 2, "<unk>": 3} | {
        letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), start=4)
    }
    tokenizer = RobertaTokenizer(vocab=vocabulary, merges=[])  # CodeT5's kind
    row = train.encode(small.EXAMPLES[3], tokenizer, encoder_decoder=True)
    for ids in row.values():
        assert (ids[0], ids[-1]) == (1, 2)
        assert not {1, 2} & set(ids[1:-1])
    assert tokenizer.decode(row["labels"], skip_special_tokens=True) == small.EXAMPLES[3].code


def test_prompts_and_codes_of_an_encoder_decoder_are_padded_each_to_their_own_longest():
    tokenizer = small.tokenizer()
    rows = [train.encode(each, tokenizer, encoder_decoder=True) for each in (small.EXAMPLES[3], small.EXAMPLES[20])]
    rows[0]["labels"] = rows[0]["labels"][-2:]
    batch = train.collate(rows, tokenizer.pad_token_id)
    assert batch["attention_mask"].sum(1).tolist() == [len(row["input_ids"]) for row in rows]
    assert (batch["labels"] != train.IGNORED).sum(1).tolist() == [2, len(rows[1]["labels"])]


def test_the_tokens_of_both_halves_count():
    tokenizer, example = small.tokenizer(), small.EXAMPLES[0]
    both = sum(len(ids) for ids in train.encode(example, tokenizer, encoder_decoder=True).values())
    for limit, kept in ((both, 1), (both - 1, 0)):
        task = tasks.Task("short", 64, 64, ("\n",), training_tokens=limit)
        assert len(train.encode_all([example], tokenizer, task, encoder_decoder=True)) == kept


def test_a_chat_model_learns_the_code_the_fence_and_the_end():
    tokenizer = small.tokenizer()
    tokenizer.chat_template = "{% for turn in messages %}[{{ turn.role }}]{{ turn.content }}{{ eos_token }}{% endfor %}"
    row = train.encode(small.EXAMPLES[3], tokenizer)
    learned = [id for id in row["labels"] if id != train.IGNORED]
    assert tokenizer.decode(learned) == f"{small.EXAMPLES[3].code}\n```</s>"


def test_gradient_checkpointing_changes_nothing_of_what_an_encoder_decoder_learns():
    def trained(checkpointing):
        tokenizer = small.tokenizer()
        model = methods.attach(small.model("t5"), spec.FullTuning(), tokenizer, seed=1)
        training = replace(QUICK, gradient_checkpointing=checkpointing)
        fitted = fit(model, tokenizer, training=training)
        assert fitted.validation_losses[-1][1] < fitted.validation_losses[0][1]
        return torch.cat([each.flatten() for each in model.parameters()])

    start = torch.cat([each.flatten() for each in small.model("t5").parameters()])
    plain, checkpointed = trained(False), trained(True)
    # Not weight by weight: where a gradient is nearly nothing, Adam makes a whole step of a rounding.
    assert (plain - checkpointed).abs().mean() < 1e-3 * (plain - start).abs().mean()


def test_a_method_that_prunes_is_called_after_each_step_while_the_gradients_are_there(monkeypatch):
    tokenizer = small.tokenizer()
    model = methods.attach(small.model(), spec.Lora(), tokenizer, seed=1)
    told = []

    def after_step(model, step):
        told.append((step, all(each.grad is not None for each in model.parameters() if each.requires_grad)))

    monkeypatch.setattr(methods, "after_step", after_step)
    fitted = fit(model, tokenizer)
    assert told == [(step, True) for step in range(1, fitted.steps + 1)]


def test_each_step_tells_its_loss_and_their_mean_is_that_of_the_training():
    tokenizer = small.tokenizer()
    model = methods.attach(small.model(), spec.Lora(), tokenizer, seed=1)
    told = []
    fitted = fit(model, tokenizer, monitor=train.Monitor(on_loss=lambda step, loss: told.append((step, loss))))
    assert [step for step, _ in told] == list(range(1, fitted.steps + 1))
    assert sum(loss for _, loss in told) / len(told) == pytest.approx(fitted.train_loss)


def test_tensorboard_has_the_losses_and_the_training_stays_as_it_was(tmp_path):
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the package tensorboard"
    )

    def trained(**reported):
        tokenizer = small.tokenizer()
        model = methods.attach(small.model(), spec.Lora(), tokenizer, seed=1)
        told = []
        monitor = train.Monitor(on_loss=lambda step, loss: told.append(loss), **reported)
        fitted = fit(model, tokenizer, monitor=monitor)
        return told, fitted, torch.cat([each.flatten() for each in model.parameters() if each.requires_grad])

    losses, fitted, weights = trained()
    told, reported, same = trained(report_to="tensorboard", log_folder=tmp_path / "run")
    assert (told, reported) == (losses, fitted)
    assert same.equal(weights)
    found = accumulators.EventAccumulator(str(tmp_path / "run")).Reload()
    assert [each.value for each in found.Scalars("train/loss")] == pytest.approx(losses)
    steps = [(each.step, pytest.approx(each.value)) for each in found.Scalars("eval/loss")]
    assert steps == list(fitted.validation_losses)


def test_a_study_reports_each_training_under_the_id_of_its_run_and_its_rows_stay_as_they_were(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the package tensorboard")
    model, data = small.folder(tmp_path / "base"), small.rows(tmp_path / "data")
    runs = study.compare(model, "conala", names=["zero-shot", "lora"], seeds=[1], precision="fp32", data_dir=data)
    decoding = spec.Decoding(beams=1, returned=1)
    briefly = replace(QUICK, epochs=1)
    planned = study.plan([replace(each, decoding=decoding, training=each.training and briefly) for each in runs])
    quiet = study.run_all(planned, tmp_path / "quiet")
    rows = study.run_all(planned, tmp_path / "told", report_to="tensorboard")
    what_counts = [(row.id, row.settings, row.scores, row.notes) for row in rows]
    assert what_counts == [(row.id, row.settings, row.scores, row.notes) for row in quiet]
    assert not (tmp_path / "quiet" / "logs").exists()
    assert [path.name for path in (tmp_path / "told" / "logs").iterdir()] == [planned[1].id]


def test_a_study_that_cannot_report_does_nothing(tmp_path):
    with pytest.raises(ValueError, match="report_to must be one of"):
        study.run_all([], tmp_path / "store", report_to="everywhere")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("report_to", ["wandb", "trackio"])
def test_where_nothing_can_be_reported_to_is_said_before_training(report_to, tmp_path, monkeypatch):
    if importlib.util.find_spec(report_to):
        pytest.skip(f"{report_to} is installed")
    (tmp_path / report_to).mkdir()  # as wandb makes one beside a notebook: no package
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=f"needs the package {report_to}, which is not installed"):
        train.check_report_to(report_to)


def test_an_unknown_place_to_report_to_is_refused():
    with pytest.raises(ValueError, match="report_to must be one of none, tensorboard, wandb, trackio; got 'wandbb'"):
        train.Monitor(report_to="wandbb")


def test_adalora_prunes_as_its_steps_pass():
    tokenizer = small.tokenizer()
    steps = train.steps(small.DATA.train, tokenizer, TASK, QUICK)
    method = spec.method("adalora")
    model = methods.attach(small.model(), method, tokenizer, seed=1, steps=steps)
    fitted = fit(model, tokenizer)
    assert fitted.steps == steps == 6
    assert fitted.validation_losses[-1][1] < fitted.validation_losses[0][1]
    kept = sum((each != 0).sum().item() for name, each in model.named_parameters() if "lora_E" in name)
    held = sum(each.numel() for name, each in model.named_parameters() if "lora_E" in name)
    assert 0 < kept < held


def test_steps_are_counted_without_the_rows_that_are_too_long():
    tokenizer = small.tokenizer()
    assert train.steps(small.DATA.train, tokenizer, TASK, spec.Training(epochs=2, batch_size=16)) == 4
    assert train.steps(small.DATA.train, tokenizer, tasks.Task("short", 64, 1, ("\n",)), QUICK) == 0

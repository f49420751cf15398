"""Examples to batches to trained weights, and who follows a training meanwhile."""

import importlib.util
from contextlib import nullcontext
from dataclasses import replace

import pytest
import small
import torch

from nblib import methods, models, spec, study, tasks, train
from nblib.train.losses import wide as in_fp32

TASK = tasks.Task(64, 64, ("\n",))
QUICK = spec.Training(epochs=2, optimizer="adamw_torch", evaluations_an_epoch=1)


def fit(model, tokenizer, *, data=small.DATA, task=TASK, training=QUICK, **more):
    settings = {"learning_rate": 1e-2, "precision": "fp32", "seed": 1} | more
    return train.fit(model, tokenizer, data, task, training, **settings)


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
    rows = [train.encode(example, tokenizer) for example in (small.EXAMPLES[0], small.EXAMPLES[20])]
    batch = train.collate(rows, tokenizer.pad_token_id)
    for labels, row in zip(batch["labels"], rows, strict=True):
        assert (labels == tokenizer.eos_token_id).sum() == 1
        assert labels[len(row["input_ids"]) - 1] == tokenizer.eos_token_id


@pytest.mark.parametrize("rows", [1, 3])
def test_a_validation_loss_is_the_mean_over_answer_tokens_in_whatever_batches(rows):
    tokenizer = small.tokenizer()
    checks = [
        replace(example, code=example.code * (1 + 4 * (at % 3))) for at, example in enumerate(small.DATA.validation[:7])
    ]
    training = spec.Training(epochs=1, device_batch=rows, batch_size=rows, gradient_checkpointing=True)
    model = methods.attach(small.model(), spec.FullTuning(), tokenizer, seed=1)
    data = replace(small.DATA, train=small.DATA.train[:1], validation=tuple(checks))
    fitted = fit(model, tokenizer, data=data, training=training)
    total = count = 0
    for row in train.encode_all(checks, tokenizer, TASK):
        answers = sum(label != train.IGNORED for label in row["labels"])
        with torch.inference_mode():
            total += model.eval()(**train.collate([row], tokenizer.pad_token_id)).loss.item() * answers
        count += answers
    assert [loss for _, loss in fitted.validation_losses] == pytest.approx([total / count], rel=1e-5)


def test_the_weights_of_the_lowest_validation_loss_are_kept():
    tokenizer = small.tokenizer()
    model = methods.attach(small.model(), spec.FullTuning(), tokenizer, seed=1)
    other = tuple(
        replace(example, code=example.intent[::-1]) for example in small.DATA.validation
    )  # no training helps for long
    training = spec.Training(epochs=8, evaluations_an_epoch=1)
    data = replace(small.DATA, validation=other)
    fitted = fit(model, tokenizer, data=data, training=training, learning_rate=3e-2)
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
        return torch.cat([parameter.flatten() for parameter in model.parameters() if parameter.requires_grad])

    first = trained(1)
    assert first.equal(trained(1))
    assert not first.equal(trained(2))


def test_on_several_gpus_a_training_stays_on_one_with_its_batch_and_its_steps(monkeypatch):
    def trained():
        model = methods.attach(small.model(), spec.Lora(), small.tokenizer(), seed=1)
        return fit(model, small.tokenizer())

    alone = trained()
    monkeypatch.setattr(models, "device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert trained() == alone


def test_accumulated_batches_train_as_one_does_with_adaloras_penalty_too():
    def trained(device_batch):
        method, training = spec.AdaLora(dropout=0.0, r=2, initial_r=4), replace(QUICK, device_batch=device_batch)
        model = methods.attach(small.model(), method, small.tokenizer(), seed=1, steps=6)
        model.peft_config["default"].orth_reg_weight = 10.0
        told = []
        fit(
            model,
            small.tokenizer(),
            training=training,
            monitor=train.Monitor(on_loss=lambda _, loss: told.append(loss)),
        )
        assert model.peft_config["default"].orth_reg_weight == 10.0
        return told

    assert trained(2) == pytest.approx(trained(8), rel=1e-4)


def test_an_encoder_decoder_reads_the_prompt_and_learns_the_code_and_its_end():
    tokenizer, example = small.tokenizer(), small.EXAMPLES[3]
    row = train.encode(example, tokenizer, encoder_decoder=True)
    assert tokenizer.decode(row["input_ids"]).endswith(f"{example.intent}\n### Response:\n")
    assert tokenizer.decode(row["labels"]) == example.code + tokenizer.eos_token


def test_the_tokens_of_both_halves_count():
    tokenizer, example = small.tokenizer(), small.EXAMPLES[0]
    both = sum(len(ids) for ids in train.encode(example, tokenizer, encoder_decoder=True).values())
    for limit, kept in ((both, 1), (both - 1, 0)):
        task = tasks.Task(64, 64, ("\n",), training_tokens=limit)
        assert len(train.encode_all([example], tokenizer, task, encoder_decoder=True)) == kept


def test_a_chat_model_learns_the_code_the_fence_and_the_end():
    tokenizer = small.tokenizer()
    tokenizer.chat_template = "{% for turn in messages %}[{{ turn.role }}]{{ turn.content }}{{ eos_token }}{% endfor %}"
    row = train.encode(small.EXAMPLES[3], tokenizer)
    learned = [id for id in row["labels"] if id != train.IGNORED]
    assert tokenizer.decode(learned) == f"{small.EXAMPLES[3].code}\n```</s>"


def test_each_step_tells_its_loss_and_their_mean_is_that_of_the_training():
    tokenizer = small.tokenizer()
    model = methods.attach(small.model(), spec.Lora(), tokenizer, seed=1)
    losses_seen = []
    fitted = fit(model, tokenizer, monitor=train.Monitor(on_loss=lambda step, loss: losses_seen.append((step, loss))))
    assert [step for step, _ in losses_seen] == list(range(1, fitted.steps + 1))
    assert sum(loss for _, loss in losses_seen) / len(losses_seen) == pytest.approx(fitted.train_loss)


def test_tensorboard_has_the_losses_and_the_training_stays_as_it_was(tmp_path):
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the package tensorboard"
    )

    def trained(**reported):
        tokenizer = small.tokenizer()
        model = methods.attach(small.model(), spec.Lora(), tokenizer, seed=1)
        losses_seen = []
        monitor = train.Monitor(on_loss=lambda step, loss: losses_seen.append(loss), **reported)
        fitted = fit(model, tokenizer, monitor=monitor)
        return (
            losses_seen,
            fitted,
            torch.cat([weight.flatten() for weight in model.parameters() if weight.requires_grad]),
        )

    losses, fitted, weights = trained()
    losses_seen, reported, same = trained(report_to="tensorboard", log_folder=tmp_path / "run")
    assert (losses_seen, reported) == (losses, fitted)
    assert same.equal(weights)
    found = accumulators.EventAccumulator(str(tmp_path / "run")).Reload()
    assert [event.value for event in found.Scalars("train/loss")] == pytest.approx(losses)
    steps = [(event.step, pytest.approx(event.value)) for event in found.Scalars("eval/loss")]
    assert steps == list(fitted.validation_losses)


@pytest.mark.slow
def test_a_study_reports_each_training_under_the_id_of_its_run_and_its_rows_stay_as_they_were(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the package tensorboard")
    model, data = small.folder(tmp_path / "base"), small.rows(tmp_path / "data")
    runs = study.compare(model, "conala", names=["zero-shot", "lora"], seeds=[1], precision="fp32", data_dir=data)
    decoding = spec.Decoding(beams=1, returned=1)
    briefly = replace(QUICK, epochs=1)
    planned = study.plan([replace(run, decoding=decoding, training=run.training and briefly) for run in runs])
    quiet = study.run_all(planned, tmp_path / "quiet")
    rows = study.run_all(planned, tmp_path / "told", report_to="tensorboard")
    what_counts = [(row.id, row.settings, row.scores, row.notes) for row in rows]
    assert what_counts == [(row.id, row.settings, row.scores, row.notes) for row in quiet]
    assert not (tmp_path / "quiet" / "logs").exists()
    assert [path.name for path in (tmp_path / "told" / "logs").iterdir()] == [planned[1].id]


def test_adalora_prunes_as_its_steps_pass():
    tokenizer = small.tokenizer()
    steps = train.steps(len(small.DATA.train), QUICK)
    method = spec.method("adalora")
    model = methods.attach(small.model(), method, tokenizer, seed=1, steps=steps)
    fitted = fit(model, tokenizer)
    assert fitted.steps == steps == 6
    assert fitted.validation_losses[-1][1] < fitted.validation_losses[0][1]
    kept = sum((parameter != 0).sum().item() for name, parameter in model.named_parameters() if "lora_E" in name)
    held = sum(parameter.numel() for name, parameter in model.named_parameters() if "lora_E" in name)
    assert 0 < kept < held


def test_rows_over_the_length_limit_are_left_out_of_training():
    tokenizer, short = small.tokenizer(), tasks.Task(64, 1, ("\n",))
    assert train.encode_all(small.DATA.train, tokenizer, short) == []
    with pytest.raises(ValueError, match="no training row is within the task's limits"):
        fit(small.model(), tokenizer, task=short)


def test_prompts_and_codes_are_padded_each_to_their_own_longest():
    tokenizer = small.tokenizer()
    rows = [
        train.encode(example, tokenizer, encoder_decoder=True) for example in (small.EXAMPLES[3], small.EXAMPLES[20])
    ]
    rows[0]["labels"] = rows[0]["labels"][-2:]
    batch = train.collate(rows, tokenizer.pad_token_id)
    assert batch["input_ids"].shape == (2, max(len(row["input_ids"]) for row in rows))
    assert batch["attention_mask"].sum(1).tolist() == [len(row["input_ids"]) for row in rows]
    assert (batch["labels"] != train.IGNORED).sum(1).tolist() == [2, len(rows[1]["labels"])]


@pytest.mark.parametrize(
    ("family", "kind", "precision"),
    [
        ("qwen2", "lora", "bf16"),
        ("codegen", "lora", "nf4-dq"),
        ("gpt2", "prefix-tuning", "fp32"),
        ("phi3", "lora", "fp32"),
        ("starcoder2", "full", "fp32"),
        ("llama", "prompt-tuning", "int8"),
        ("t5", "prefix-tuning", "fp32"),
    ],
)
def test_training_lowers_the_loss_of_every_family_and_changes_only_the_methods_weights(
    tmp_path, family, kind, precision
):
    base, tokenizer = models.load(small.folder(tmp_path, family), precision)
    before = {name: parameter.clone() for name, parameter in base.named_parameters()}
    attached = methods.attach(base, spec.method(kind), tokenizer, seed=1)
    fitted = fit(attached, tokenizer, training=replace(QUICK, epochs=4), precision=precision)
    losses = [loss for _, loss in fitted.validation_losses]
    assert min(losses[1:]) < losses[0]
    after = {name.replace(".base_layer", ""): parameter for name, parameter in base.named_parameters()}
    assert all(tensor.equal(after[name]) for name, tensor in before.items()) == (kind != "full")


@pytest.mark.parametrize("family", ["llama", "qwen2", "codegen", "t5"])
def test_attention_in_fp32_gives_a_bf16_step_gradients_as_near_to_exact_ones(tmp_path, family):
    place = small.folder(tmp_path, family)
    rows, off = [], {False: 0.0, True: 0.0}
    for precision, wide in (("fp32", False), ("bf16", False), ("bf16", True)):
        base, tokenizer = models.load(place, precision)
        model = methods.attach(base, spec.method("lora"), tokenizer, seed=1)
        half = model.config.is_encoder_decoder
        rows = rows or train.encode_all(small.DATA.train[:8], tokenizer, TASK, encoder_decoder=half)
        batch = train.collate(rows, tokenizer.pad_token_id)
        kind = base.config._attn_implementation
        step = in_fp32(model, "cpu", torch.bfloat16) if wide else nullcontext()
        with step, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            model(**batch).loss.backward()
        assert base.config._attn_implementation == kind
        gradient = torch.cat([each.grad.flatten().float() for each in model.parameters() if each.grad is not None])
        if precision == "fp32":
            exact = gradient
        else:
            off[wide] = ((gradient - exact).norm() / exact.norm()).item()
    assert 0 < off[True] < 1.3 * off[False] < 0.1


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_leaving_loras_inputs_to_autocast_changes_no_bit_of_what_is_trained(tmp_path, monkeypatch, family, dropout):
    place, trained, seen = small.folder(tmp_path, family), [], set()
    for ours in (True, False):
        base, tokenizer = models.load(place, "bf16")
        model = methods.attach(base, spec.Lora(dropout=dropout), tokenizer, seed=1)
        layers = [layer for path, layer in model.named_modules() if path.endswith("lora_A.default")]
        for layer in layers:
            layer.register_forward_pre_hook(lambda _, inputs, ours=ours: seen.add((ours, inputs[0].dtype)))
        if not ours:
            monkeypatch.setattr(models, "under_autocast", lambda _: nullcontext())
        trained.append(fit(model, tokenizer, training=QUICK, precision="bf16"))
        model(torch.tensor([tokenizer("x = 1")["input_ids"]]))  # without autocast, as PEFT's users may
    assert ((True, torch.bfloat16) in seen) == (not dropout)
    assert (False, torch.bfloat16) not in seen
    assert trained[0].validation_losses == trained[1].validation_losses
    assert all(torch.equal(weight, trained[1].weights[name]) for name, weight in trained[0].weights.items())


def test_where_nothing_can_be_reported_to_is_said_before_training(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="report_to must be one of none, tensorboard, wandb, trackio; got 'wandbb'"):
        train.Monitor(report_to="wandbb")
    with pytest.raises(ValueError, match="report_to must be one of"):
        study.run_all([], tmp_path / "store", report_to="everywhere")
    assert not (tmp_path / "store").exists()
    monkeypatch.syspath_prepend(tmp_path)
    for report_to in ("wandb", "trackio"):
        (tmp_path / report_to).mkdir()  # as wandb makes one beside a notebook: no package
        if not importlib.util.find_spec(report_to).origin:
            with pytest.raises(ImportError, match=f"needs the package {report_to}, which is not installed"):
                train.check_report_to(report_to)

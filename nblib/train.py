"""Fit a method on a task, with transformers' Trainer. Loads no data and scores nothing."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from nblib import models, prompts, tasks
from nblib.spec import Training
from nblib.tasks import Example, Task

IGNORED = -100  # the label of a position whose loss is not taken


@dataclass(frozen=True)
class Fitted:
    """What training gave, beside the model itself."""

    steps: int
    train_tokens: int  # seen over all epochs, without padding
    train_loss: float  # mean over training
    validation_losses: tuple[tuple[int, float], ...]  # (step, loss) in order
    best_step: int  # the step whose weights were kept
    rows: int
    rows_too_long: int  # left out because intent or code passes the task's limit


def encode(example: Example, tokenizer: PreTrainedTokenizerBase, style: str = "instruction") -> dict[str, list[int]]:
    """Token ids of prompt, code and end-of-sequence; labels on code and end only.

    The text is encoded as a whole, as a reader would see it; a token that crosses the border counts as code.
    """
    prompt = prompts.asked(example, tokenizer, style)
    text = prompt + prompts.answered(example, tokenizer, style)
    whole = prompts.encode(text, tokenizer, return_offsets_mapping=True)
    ids = [*whole["input_ids"], tokenizer.eos_token_id]
    is_code = [end > len(prompt) for _, end in whole["offset_mapping"]] + [True]
    return {"input_ids": ids, "labels": [id if mine else IGNORED for id, mine in zip(ids, is_code, strict=True)]}


def encode_all(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, task: Task) -> list[dict]:
    """The examples within their task's length limits, encoded."""
    kept = []
    for example in examples:
        limits = tasks.source(task, example)
        intent = len(tokenizer(example.intent, add_special_tokens=False)["input_ids"])
        row = encode(example, tokenizer, task.prompt)
        fits = intent <= limits.input_tokens
        fits &= sum(label != IGNORED for label in row["labels"]) <= limits.output_tokens + 1
        if fits and (limits.training_tokens is None or len(row["input_ids"]) <= limits.training_tokens):
            kept.append(row)
    return kept


def collate(rows: Sequence[dict], pad: int) -> dict[str, torch.Tensor]:
    """A batch of shape (rows, tokens of the longest), padded on the right.

    The mask comes from positions, never from token values: where pad is also the end token, its label must stay.
    """
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad),
        "attention_mask": pad_sequence([torch.ones_like(each) for each in ids], batch_first=True),
        "labels": pad_sequence([torch.tensor(row["labels"]) for row in rows], batch_first=True, padding_value=IGNORED),
    }


def fit(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Example],
    validation: Sequence[Example],
    task: Task,
    training: Training,
    *,
    learning_rate: float,
    precision: str,
    seed: int,
    report: Callable[[float], None] = lambda share: None,
) -> Fitted:
    """Trains the model's trainable parameters and leaves it with the weights of the lowest validation loss.

    `report` hears the share of training that is done, 0 to 1.
    Raises ValueError where the length limits leave no training or validation rows.
    """
    rows, checks = encode_all(train, tokenizer, task), encode_all(validation, tokenizer, task)
    if not rows or not checks:
        raise ValueError(
            f"no {'training' if not rows else 'validation'} row is within the task's limits of {task.input_tokens} "
            f"tokens for an intent and {task.output_tokens} for code"
        )
    watch = _Watch(model, report)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=_arguments(training, learning_rate, precision, seed, len(rows), folder),
            train_dataset=rows,
            eval_dataset=checks,
            data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
            processing_class=tokenizer,
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)  # it would print a line an evaluation
        done = trainer.train()
    watch.restore()
    return Fitted(
        steps=done.global_step,
        train_tokens=sum(len(row["input_ids"]) for row in rows) * training.epochs,
        train_loss=done.training_loss,
        validation_losses=tuple(watch.losses),
        best_step=watch.best_step,
        rows=len(rows),
        rows_too_long=len(train) - len(rows),
    )


class _Watch(TrainerCallback):
    """Keeps the weights of the lowest validation loss in memory, and tells how far training is."""

    def __init__(self, model: nn.Module, report: Callable[[float], None]):
        self.model, self.report = model, report
        self.losses: list[tuple[int, float]] = []
        self.best_step, self.best_loss = 0, math.inf
        self.best: dict[str, torch.Tensor] = {}

    def on_step_end(self, args, state, control, **_):
        self.report(state.global_step / state.max_steps)

    def on_evaluate(self, args, state, control, metrics, **_):
        loss = metrics["eval_loss"]
        self.losses.append((state.global_step, loss))
        if loss < self.best_loss:
            self.best_step, self.best_loss = state.global_step, loss
            self.best = {name: each.detach().to("cpu", copy=True) for name, each in self._trainable()}

    def restore(self) -> None:
        with torch.no_grad():
            for name, parameter in self._trainable():
                if name in self.best:
                    parameter.copy_(self.best[name])

    def _trainable(self):
        return ((name, each) for name, each in self.model.named_parameters() if each.requires_grad)


def _arguments(
    training: Training, learning_rate: float, precision: str, seed: int, rows: int, folder: str
) -> TrainingArguments:
    steps_an_epoch = math.ceil(rows / training.batch_size)
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.device_batch,
        per_device_eval_batch_size=training.device_batch * 4,
        gradient_accumulation_steps=training.batch_size // training.device_batch,
        learning_rate=learning_rate,
        optim=training.optimizer,
        lr_scheduler_type=training.schedule,
        warmup_steps=math.ceil(training.warmup_share * steps_an_epoch * training.epochs),
        weight_decay=training.weight_decay,
        activation_checkpointing=training.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if training.gradient_checkpointing else None,
        use_cpu=models.device() == "cpu",
        bf16=models.compute_dtype(precision) == torch.bfloat16,
        fp16=models.compute_dtype(precision) == torch.float16,
        train_sampling_strategy="group_by_length",
        eval_strategy="steps",
        eval_steps=max(1, steps_an_epoch // training.evaluations_an_epoch),
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed,
    )

"""Fit a method on encoded rows, with transformers' Trainer. Loads no data and scores nothing."""

import difflib
import math
import tempfile
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase, PrinterCallback, SchedulerType, TrainingArguments
from transformers.training_args import OptimizerNames

from nblib import models
from nblib.spec import Training
from nblib.tasks import Data, Task
from nblib.train import losses
from nblib.train.checkpoints import Checkpoints, FitCallback, LeanTrainer, restore
from nblib.train.encoding import collate, encode_all, tokens
from nblib.train.losses import IGNORED
from nblib.train.monitor import Monitor


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
    weights: dict[str, torch.Tensor] = field(compare=False)  # that were kept, whole, on the host


def check(training: Training) -> None:
    """Raises ValueError for an optimizer or a schedule that transformers does not know, and for odd parts of a step."""
    for name, names in {"optimizer": OptimizerNames, "schedule": SchedulerType}.items():
        known, value = [member.value for member in names], getattr(training, name)
        if value not in known:
            near = difflib.get_close_matches(value, known, n=3, cutoff=0.0)
            raise ValueError(f"{name} must be one that transformers knows, such as {', '.join(near)}; got {value!r}")
    if training.batch_size % models.processes():
        raise ValueError(
            f"batch_size {training.batch_size} cannot be split evenly over {models.processes()} processes: launch as "
            "many as divide it"
        )


def fit(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    data: Data,
    task: Task,
    training: Training,
    *,
    learning_rate: float,
    precision: str,
    seed: int,
    monitor: Monitor = Monitor(),  # noqa: B008  (frozen)
    checkpoints: Checkpoints | None = None,
) -> Fitted:
    """Trains the model's trainable parameters and leaves it with the weights of the lowest validation loss.

    Processes that were launched together call it at the same time, and share each step's rows.

    Only the training and validation rows of `data` are read. Where `checkpoints` has a whole one, training goes on from
    there, to the same weights as without the stop.
    Raises ValueError where the length limits leave no training or validation rows, OSError where a checkpoint cannot be
    written.
    """
    rows, checks = (
        encode_all(examples, tokenizer, task, encoder_decoder=model.config.is_encoder_decoder)
        for examples in (data.train, data.validation)
    )
    if not rows or not checks:
        raise ValueError(
            f"no {'training' if not rows else 'validation'} row is within the task's limits of {task.input_tokens} "
            f"tokens for an intent and {task.output_tokens} for code"
        )
    checks.sort(key=tokens, reverse=True)  # little padding, and the most memory first
    state = FitCallback(model, monitor.report, checkpoints)
    with monitor.callbacks() as (callbacks, settings), tempfile.TemporaryDirectory() as unused:
        folder = str(checkpoints.folder if checkpoints else unused)
        trainer = LeanTrainer(
            model=model,
            args=_arguments(training, learning_rate, precision, seed, len(rows), folder, settings),
            train_dataset=_divisible(rows, training.batch_size),
            eval_dataset=_divisible(checks, training.device_batch * models.processes()),
            data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
            processing_class=tokenizer,
            callbacks=[state, *callbacks],
        )
        trainer.remove_callback(PrinterCallback)  # it would print a line an evaluation
        trainer.model_accepts_loss_kwargs = True  # so that accumulated steps are weighed by their tokens, T5's too
        attends = losses.wide(model, models.device(), models.compute_dtype(precision))
        with losses.lean(model), attends, models.under_autocast(model), state.explained():
            done = trainer.train(resume_from_checkpoint=state.latest_checkpoint())
    if not models.is_split():
        restore(model, state.best)
    return Fitted(
        steps=done.global_step,
        train_tokens=sum(map(tokens, rows)) * training.epochs,
        train_loss=state.earlier_loss + done.training_loss * (1 - state.earlier_steps / done.global_step),
        validation_losses=tuple(state.losses),
        best_step=state.best_step,
        rows=len(rows),
        rows_too_long=len(data.train) - len(rows),
        weights=state.best,
    )


def _divisible(rows: list[dict], count: int) -> list[dict]:
    """The rows; for several processes, which take as many each, with some at the end that have no labels."""
    if models.processes() == 1:
        return rows
    short = min(rows, key=tokens)
    return rows + [short | {"labels": [IGNORED] * len(short["labels"])}] * (-len(rows) % count)


def _arguments(
    training: Training, learning_rate: float, precision: str, seed: int, rows: int, folder: str, also: dict
) -> TrainingArguments:
    steps_an_epoch = math.ceil(rows / training.batch_size)
    own_batch = training.batch_size // models.processes()
    device_batch = math.gcd(own_batch, training.device_batch)
    evaluated = max(1, steps_an_epoch // training.evaluations_an_epoch)
    made = TrainingArguments(
        output_dir=folder,
        num_train_epochs=training.epochs,
        per_device_train_batch_size=device_batch,
        per_device_eval_batch_size=training.device_batch,
        gradient_accumulation_steps=own_batch // device_batch,
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
        eval_steps=evaluated,
        save_strategy="no",  # but when FitCallback says so
        logging_strategy="steps",  # of the loss until then, which a checkpoint has
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed,
        **{"logging_steps": evaluated, "report_to": "none"} | also,
    )
    # On several GPUs the Trainer would copy the model to each and multiply the batch; it has no argument against that.
    made._n_gpu = min(made.n_gpu, 1)
    return made

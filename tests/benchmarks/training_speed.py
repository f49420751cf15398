"""Training as the study's own code does it, and as `train.fit` does: seconds, memory, and whether the losses agree.

The study's way pads every row of training and validation to the task's maximum length and takes the loss from logits
of all positions. Both ways start from the same weights and see the same rows in the same order, in turn, in one
process. `speed.py` runs it.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from clock import peak_of, timed
from torch import nn
from torch.nn.functional import pad
from transformers import AutoModelForCausalLM, LlamaConfig

from nblib import methods, models, spec, tasks, train
from nblib.train import fitting


def load(name: str) -> tuple[Any, Any]:
    """The model and its tokenizer; `100m` is a llama of that size with random weights."""
    if name != "100m":
        return models.load(name, "fp32")
    _, tokenizer = models.load("tiny", "fp32")
    torch.manual_seed(0)
    ends = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    shape = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 2048}
    return AutoModelForCausalLM.from_config(LlamaConfig(**shape, **ends, tie_word_embeddings=True)), tokenizer


@contextmanager
def as_the_study(length: int) -> Iterator[None]:
    """Has `train.fit` pad a decoder's rows to that length and take the loss as the model does."""
    plain = fitting.collate

    def collate(rows: Any, filling: int) -> dict[str, torch.Tensor]:
        fills = {"input_ids": filling, "attention_mask": 0, "labels": train.IGNORED}
        batch = plain(rows, filling)
        return {name: pad(tensor, (0, length - tensor.shape[1]), value=fills[name]) for name, tensor in batch.items()}

    with patch.object(fitting, "collate", collate), patch.object(fitting.losses, "lean", lambda model: nullcontext()):
        yield


def fit(base: nn.Module, tokenizer: Any, data: Any, task: Any, training: spec.Training) -> train.Fitted:
    """With LoRA, which is taken off again."""
    method = spec.Lora(dropout=0.0)
    model = methods.attach(base, method, tokenizer, seed=42)
    settings = {"learning_rate": method.learning_rate, "precision": "fp32", "seed": 42}
    try:
        return train.fit(model, tokenizer, data, task, training, **settings)
    finally:
        methods.detach(model)
        gc.collect()


def apart(one: train.Fitted, other: train.Fitted) -> float:
    """The largest relative difference of any of their validation losses, or of the mean training loss."""
    pairs = [(a, b) for (_, a), (_, b) in zip(one.validation_losses, other.validation_losses, strict=True)]
    return max(abs(a - b) / abs(b) for a, b in [*pairs, (one.train_loss, other.train_loss)])


@dataclass(frozen=True)
class Compared:
    """What came of it."""

    model: str
    task: str
    length: int  # that the study's way pads to
    ratios: tuple[float, ...]  # the study's seconds by ours
    difference: float  # of losses, relative, the largest
    peak_bytes: tuple[int, int]  # beyond the model, of one step and evaluation


def compare(name: str, task_name: str, folder: Path | None, *, rows: int, batch: int, repeats: int) -> Compared:
    """Both ways in turn, so often."""
    task = tasks.get(task_name)
    data = tasks.load(task_name, folder)
    data = tasks.Data(data.train[:rows], data.validation[: rows // 10], (), content=data.content)
    base, tokenizer = load(name)
    encoded = train.encode_all((*data.train, *data.validation), tokenizer, task)
    longest = max(len(row["input_ids"]) for row in encoded)
    length = max(longest, task.training_tokens or task.input_tokens + task.output_tokens)
    training = spec.Training(epochs=1, batch_size=batch, device_batch=batch)

    def study_way(data: tasks.Data) -> train.Fitted:
        with as_the_study(length):
            return ours(data)

    def ours(data: tasks.Data) -> train.Fitted:
        return fit(base, tokenizer, data, task, training)

    ratios, differences = [], []
    for _ in range(repeats):
        (slow, padded), (quick, lean) = timed(partial(study_way, data)), timed(partial(ours, data))
        ratios.append(slow / quick)
        differences.append(apart(lean, padded))
    one = tasks.Data(data.train[:batch], data.validation, (), content=data.content)  # what profiles memory is slow
    peaks = peak_of(partial(study_way, one)), peak_of(partial(ours, one))
    return Compared(name, task_name, length, tuple(ratios), max(differences), peaks)

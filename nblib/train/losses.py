"""What a training step computes otherwise: the loss from logits of answers only, bf16 attention on a CPU in fp32."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from nblib import models

IGNORED = -100  # the label of a position whose loss is not taken
CHUNK = 2**22  # numbers of which a loss is computed at a time: 16 MiB in fp32


@contextmanager
def lean(model: nn.Module) -> Iterator[None]:
    """Inside, the model's loss equals its usual one within rounding, and needs a fraction of the memory.

    The head sees the positions whose label counts, and the loss turns logits to fp32 a chunk at a time; its gradient
    takes their place. Called with labels, the model gives the loss only; called without, what it always gives. The
    sum over tokens is divided by `num_items_in_batch`, where it is handed over, for an encoder-decoder too.
    What a method adds for its training, as AdaLoRA its penalty, is in the loss only where a gradient may be taken, so
    that validation losses compare between methods.
    """
    base = models.base_of(model)
    head = base.get_output_embeddings()
    if head is None:
        yield
        return
    step = _Step(base)
    handles = [
        head.register_forward_pre_hook(step.keep_answers),
        head.register_forward_hook(step.note),
        model.register_forward_hook(step.take_back_penalty),
    ]
    try:
        with patch.object(base, "forward", step.instead()):  # no hooks: PEFT's tuners call the base's `forward`
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Step:
    """One forward pass of the base at a time, with its labels."""

    def __init__(self, base: nn.Module):
        self.base = base
        self.plain: Callable[..., Any] = base.forward
        self.rows: torch.Tensor | None = None  # positions whose loss is taken, while the model runs
        self.made: torch.Tensor | None = None  # by the head
        self.of_data: torch.Tensor | None = None  # the loss, until the model that the base is in has returned

    def instead(self) -> Callable[..., Any]:
        """A forward that computes the loss here."""

        @wraps(self.plain)
        def forward(*args: Any, labels: torch.Tensor | None = None, **kwargs: Any) -> Any:
            return self.plain(*args, **kwargs) if labels is None else self.loss(labels, args, kwargs)

        return forward

    def loss(self, labels: torch.Tensor, args: tuple, kwargs: dict) -> Any:
        count = kwargs.pop("num_items_in_batch", None)
        if not self.base.config.is_encoder_decoder:
            labels = nn.functional.pad(labels[..., 1:], (0, 1), value=IGNORED)  # tokens until n predict n
        elif kwargs.get("decoder_input_ids") is None and kwargs.get("decoder_inputs_embeds") is None:
            kwargs["decoder_input_ids"] = self.base.prepare_decoder_input_ids_from_labels(labels)
        self.rows = answered(labels)
        targets = labels.flatten().index_select(0, self.rows)
        try:
            output = self.plain(*args, **kwargs)
            logits = output.logits.flatten(0, -2)
            if output.logits is not self.made:  # made from the head's, which the gradient of that step may still need
                logits = logits.clone()
        finally:
            self.rows = self.made = None
        number = len(targets) if count is None else count
        number = number.to(logits.device) if isinstance(number, torch.Tensor) else number
        loss = _CrossEntropy.apply(logits, targets.to(logits.device)) / number
        self.of_data = None if torch.is_grad_enabled() else loss.clone()  # a tuner adds in place
        return type(output)(loss=loss)

    def keep_answers(self, head: nn.Module, inputs: tuple) -> tuple | None:
        """Hands the head (1, answers, width) of the hidden states (rows, positions, width)."""
        if self.rows is None or self.rows.numel() == inputs[0].shape[:-1].numel():
            return None
        hidden, *others = inputs
        return (hidden.flatten(0, -2).index_select(0, self.rows.to(hidden.device)).unsqueeze(0), *others)

    def take_back_penalty(self, model: nn.Module, inputs: tuple, output: Any) -> None:
        """Takes back what was added to a loss that nothing is trained with."""
        if self.of_data is not None:
            output.loss, self.of_data = self.of_data, None

    def note(self, head: nn.Module, inputs: tuple, logits: torch.Tensor) -> None:
        if self.rows is not None:
            self.made = logits


def answered(labels: torch.Tensor) -> torch.Tensor:
    """Places, among all positions of a batch, of those whose label counts."""
    return (labels.flatten() != IGNORED).nonzero().squeeze(1)


class _CrossEntropy(torch.autograd.Function):
    """The sum over rows, of logits (rows, vocabulary). Its gradient is written over them: nobody else may need them."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        normalizers = torch.cat([part.float().logsumexp(-1) for part in _chunks(logits)])
        ctx.save_for_backward(logits, targets, normalizers)
        return (normalizers - logits.gather(1, targets.unsqueeze(1)).squeeze(1).float()).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, targets, normalizers = ctx.saved_tensors
        for part, right, normalizer in zip(
            *(_chunks(values, logits) for values in (logits, targets, normalizers)), strict=True
        ):
            # Softmax less one where it should be, in fp32 as far as it is scaled: a loss scaler's fp16 would lose some.
            wide = part.float()  # of fp32 the same tensor
            wide.sub_(normalizer.unsqueeze(1)).exp_()
            wide.scatter_add_(1, right.unsqueeze(1), -torch.ones_like(normalizer).unsqueeze(1)).mul_(gradient)
            if wide is not part:
                part.copy_(wide)
        return logits, None


def _chunks(values: torch.Tensor, logits: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
    """Its rows, so many at a time as have few logits."""
    return values.split(max(1, CHUNK // (values if logits is None else logits).shape[-1]))


# --- attention --------------------------------------------------------------------------------------------------------


@contextmanager
def wide(model: nn.Module, device: str, dtype: torch.dtype | None) -> Iterator[None]:
    """Inside, a model that computes in bf16 on a CPU attends in fp32; with another device or type, nothing changes.

    The backward pass of PyTorch's attention is slower there in bf16 than in fp32, and less exact. A model whose
    attention is not PyTorch's (`sdpa`) stays as it is.
    """
    base = models.base_of(model)
    is_slow = base.config._attn_implementation == "sdpa" and device == "cpu" and dtype == torch.bfloat16
    with models.attending(model, "sdpa_fp32", _attend) if is_slow else nullcontext():
        yield


def _attend(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *masks: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    with torch.autocast("cpu", enabled=False):
        args = map(_float, (query, key, value, *masks))
        output, _ = sdpa_attention_forward(module, *args, **{name: _float(value) for name, value in kwargs.items()})
    return output.to(query.dtype), None


def _float(value: Any) -> Any:
    """Numbers in fp32; a mask of truth values and all else as they are."""
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

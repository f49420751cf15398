"""Attention in a training step on a CPU, where bf16 is slow on the way back. Trains nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

WIDE = "sdpa_fp32"  # its name among transformers' kinds of attention


@contextmanager
def wide(model: nn.Module, device: str, dtype: torch.dtype | None) -> Iterator[None]:
    """Inside, a model that computes in bf16 on a CPU attends in fp32; with another device or type, nothing changes.

    The backward pass of PyTorch's attention is slower there in bf16 than in fp32, and less exact. A model whose
    attention is not PyTorch's (`sdpa`) stays as it is.
    """
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    kind = base.config._attn_implementation
    is_slow = kind == "sdpa" and device == "cpu" and dtype == torch.bfloat16
    AttentionInterface.register(WIDE, _attend)
    AttentionMaskInterface.register(WIDE, sdpa_mask)
    try:
        base.set_attn_implementation(WIDE if is_slow else kind)
        yield
    finally:
        base.set_attn_implementation(kind)


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

"""Bytes of an optimizer's states, by the sizes of what it trains. Makes no optimizer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

FP32 = 4  # bytes; trained weights, gradients and states are fp32
SMALLEST_8BIT, BLOCK = 4096, 256  # bitsandbytes keeps smaller tensors in fp32; larger ones have constants by block
SMALLEST_PAGED = 100_000  # numbers


@dataclass(frozen=True)
class Optimizer:
    """How an optimizer of transformers' TrainingArguments keeps its states."""

    state: Callable[[torch.Size], int]  # bytes for a tensor of that shape
    paged: bool = False  # states move to the host's memory where the GPU's is short
    works_on: str = "one"  # how many tensors have temporary copies at once: none, one or all


def _two_moments(shape: torch.Size) -> int:
    return 2 * shape.numel() * FP32


def _factored(shape: torch.Size) -> int:
    """Adafactor keeps sums over rows and columns."""
    if len(shape) < 2:
        return shape.numel() * FP32
    return (shape[:-1].numel() + (shape[:-2] + shape[-1:]).numel()) * FP32


def _two_bytes(shape: torch.Size) -> int:
    if shape.numel() < SMALLEST_8BIT:
        return _two_moments(shape)
    return 2 * (shape.numel() + -(-shape.numel() // BLOCK) * FP32)


OPTIMIZERS = {
    "adamw_torch": Optimizer(_two_moments, works_on="all"),
    "adamw_torch_fused": Optimizer(_two_moments, works_on="none"),
    "adafactor": Optimizer(_factored),
    "adamw_8bit": Optimizer(_two_bytes, works_on="none"),
    "adamw_bnb_8bit": Optimizer(_two_bytes, works_on="none"),
    "paged_adamw": Optimizer(_two_moments, paged=True, works_on="none"),
    "paged_adamw_32bit": Optimizer(_two_moments, paged=True, works_on="none"),
    "paged_adamw_8bit": Optimizer(_two_bytes, paged=True, works_on="none"),
    "sgd": Optimizer(lambda shape: 0, works_on="none"),
}


def get(name: str) -> Optimizer:
    """The optimizer of that name. Raises ValueError for one whose states are not known."""
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, whose states are known; got {name!r}")
    return OPTIMIZERS[name]


def state_bytes(name: str, shapes: Iterable[torch.Size], *, device: str) -> int:
    """Bytes of the states on the device; on a GPU without those that can move to the host."""
    optimizer = get(name)
    moves = optimizer.paged and device == "cuda"
    return sum(optimizer.state(shape) for shape in shapes if not (moves and shape.numel() >= SMALLEST_PAGED))


def step_bytes(name: str, shapes: Iterable[torch.Size], *, device: str) -> int:
    """The most that a step holds beside the states: copies of one tensor at a time, or of all of them at once."""
    sizes = [shape.numel() * FP32 for shape in shapes]
    works_on = get(name).works_on
    if works_on == "all" and device == "cuda":
        return sum(sizes)
    if works_on == "none" and device == "cuda":
        return 0
    # Two copies of a tensor, while the last one of the tensor before is not let go yet.
    return max((before + 2 * size for before, size in zip([0, *sizes], sizes, strict=False)), default=0)

"""What passes through a model would hold, found by running them on shapes alone. Loads no weights.

transformers, PEFT, bitsandbytes and torch's autograd do what they always do, on tensors that have a storage of a size
but no content. So nothing here knows an architecture or a method, and what they keep for the backward pass is counted
where they keep it. Kernels are those of the CPU; where a GPU's hold something else, `_as_on` says so.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Self
from unittest.mock import patch

import bitsandbytes
import peft
import torch
import torch.nn.functional as F
from bitsandbytes.autograd._functions import MatMul8bitLt
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nblib import models
from nblib.memory import shapes
from nblib.train import losses


@dataclass(frozen=True)
class Deepening:
    """Numbers that grow in equal steps with a model's layers."""

    def deeper(self, other: Self, times: int) -> Self:
        """This with `times` as much as what `other`, of one layer more, has more."""
        return type(self)(
            **{item.name: _further(getattr(self, item.name), getattr(other, item.name), times) for item in fields(self)}
        )


def _further(low: Any, high: Any, times: int) -> Any:
    if isinstance(low, dict):
        return {name: _further(low[name], high[name], times) for name in low}
    return low + times * (high - low)


@dataclass(frozen=True)
class Pass(Deepening):
    """Bytes beyond the model and the optimizer's states."""

    peaks: dict[str, int]  # by the stage of the pass
    activations: int = 0  # kept for the backward pass
    logits: int = 0  # at most, of all tensors over the vocabulary
    growing: int = 0  # keys and values, which every new token adds to
    tokens: int = 0  # that those are of, virtual ones too
    fixed: int = 0  # keys and values of an encoder-decoder's prompt


@dataclass(frozen=True)
class Sizes:
    """How much text goes through."""

    batch: int
    length: int  # tokens of a row
    answer: int  # tokens of a row that a loss is taken from


class Tracker(TorchDispatchMode):
    """Follows the bytes of tensors that are made inside, from birth to death, and their peak in each stage."""

    def __init__(self, model: nn.Module, vocabulary: int, device: str):
        super().__init__()
        self.vocabulary, self.device = vocabulary, device
        self.held = self.logits = self.most_logits = 0
        self.phase = self.stage = "forward"
        self.peaks: dict[str, int] = {}
        self.known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()
        for tensor in shapes.tensors(model):
            self._follow(tensor, 0)  # what was there before is not counted

    def __torch_dispatch__(self, operation: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        made = operation(*args, **(kwargs or {}))
        self._note(_inside(operation, args, self.device))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._follow(tensor, tensor.untyped_storage().nbytes())
        self._note(0)
        return made

    def begin(self, phase: str) -> None:
        self.phase = phase
        self.enter("")

    def enter(self, place: str) -> None:
        self.stage = f"{self.phase} {place}".strip()
        self._note(0)

    def _note(self, extra: int) -> None:
        self.peaks[self.stage] = max(self.peaks.get(self.stage, 0), self.held + extra)

    def _follow(self, tensor: torch.Tensor, size: int) -> None:
        storage = tensor.untyped_storage()
        if storage not in self.known:
            self.known.add(storage)
            logits = size if tensor.ndim and tensor.shape[-1] == self.vocabulary else 0
            self._add(size, logits)
            weakref.finalize(storage, self._add, -size, -logits).atexit = False

    def _add(self, size: int, logits: int) -> None:
        self.held, self.logits = self.held + size, self.logits + logits
        self.most_logits = max(self.most_logits, self.logits)


def _inside(operation: Callable, args: tuple, device: str) -> int:
    """Bytes that are taken inside of an operation."""
    if operation is torch.ops.bitsandbytes.gemm_4bit.default:
        inputs, shape = args[0], args[2]  # 4-bit weights are unpacked to be multiplied with
        return shape[0] * shape[1] * inputs.element_size()
    if operation is torch.ops.aten.logsumexp.default:
        return args[0].nbytes  # less the largest of each row
    if operation is torch.ops.aten.bmm.default and device == "cpu" and args[1].dtype == torch.bfloat16:
        # The head's weights, of which a CPU makes a copy a row where it gets only the last position of each.
        return args[1].nbytes if args[1].stride(0) == 0 else 0
    return 0


def train(make: Callable[[], nn.Module], sizes: Sizes, *, checkpointing: bool, accumulates: bool, **how: Any) -> Pass:
    """One training step's forward and backward pass, as the Trainer makes them, and one of its evaluations.

    `make` gives the model with the method on it, on the meta device; `how` is for `_tracked`. A step that accumulates
    has gradients of the rows before.
    """
    with (
        _tracked(make, **how) as (model, tracker, mixed),
        losses.lean(model),
        losses.wide(model, how["device"], how["autocast"]),
    ):
        if checkpointing:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        model.config.use_cache = False  # as the Trainer sets it
        model.train()
        before = tracker.held
        for weight in model.parameters() if accumulates else ():
            weight.grad = torch.empty_like(weight) if weight.requires_grad else None
        gradients = tracker.held - before
        loss = _loss(model, sizes, mixed)
        activations = tracker.held - tracker.logits - gradients
        tracker.begin("backward")
        loss.backward()
        del loss
        model.zero_grad()
        tracker.begin("evaluation")
        with torch.no_grad():
            _loss(model.eval(), sizes, mixed)
        return Pass(tracker.peaks, activations, tracker.most_logits)


def read(make: Callable[[], nn.Module], sizes: Sizes, **how: Any) -> Pass:
    """Reading prompts up to the first token of their answers: in inference mode, where autocast keeps no copies."""
    with _tracked(make, **how) as (model, tracker, mixed), torch.no_grad(), mixed(cache_enabled=False):
        inputs = _inputs(model.eval(), replace(sizes, answer=1))
        begun = inputs.pop("labels")
        last = {"decoder_input_ids": begun} if model.config.is_encoder_decoder else {"logits_to_keep": 1}
        kept = model(**inputs, **last, use_cache=True).past_key_values
        growing, fixed = getattr(kept, "self_attention_cache", kept), getattr(kept, "cross_attention_cache", None)
        sizes_of_caches = {"growing": _held(growing), "tokens": kept.get_seq_length(), "fixed": _held(fixed)}
        return Pass(tracker.peaks, logits=tracker.most_logits, **sizes_of_caches)


def _held(cache: Any) -> int:
    layers = cache.layers if cache is not None else []
    return sum(tensor.nbytes for layer in layers for tensor in (layer.keys, layer.values))


@contextmanager
def _tracked(make: Callable[[], nn.Module], *, autocast: torch.dtype | None, device: str, vocabulary: int) -> Iterator:
    """The model with tensors of a size, what follows it, and the autocast that training and generating run in."""
    attached = make()
    with FakeTensorMode(), _as_on(device):
        model = shapes.sized(attached)
        with Tracker(model, vocabulary, device) as tracker, models.under_autocast(model):
            _mark_stages(model, tracker)
            yield model, tracker, partial(torch.autocast, "cpu", dtype=autocast, enabled=autocast is not None)


def _inputs(model: nn.Module, sizes: Sizes) -> dict[str, torch.Tensor]:
    ids = torch.ones((sizes.batch, sizes.length), dtype=torch.long)
    written = sizes.answer if model.config.is_encoder_decoder else sizes.length
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.ones((sizes.batch, written), dtype=torch.long),
    }


def _loss(model: nn.Module, sizes: Sizes, mixed: Any) -> torch.Tensor:
    """The loss as `train.fit` takes it, of `answer` tokens a row: labels have no content here that could tell them."""
    counting = sizes.batch * min(sizes.answer, sizes.length)
    if model.config.is_encoder_decoder:
        counting = sizes.batch * sizes.answer
    with patch.object(losses, "answered", lambda labels: torch.arange(counting)), mixed():
        return model(**_inputs(model, sizes))["loss"]


def _mark_stages(model: nn.Module, tracker: Tracker) -> None:
    """Has the tracker told when a pass comes to the first and to the last block of every stack, and when it is through.

    In each of these stages, what is held moves in equal steps from layer to layer.
    """
    for number, stack in enumerate(_stacks(model)):
        for place, where in {len(stack) - 1: "last", 0: "first"}.items():
            block, name = stack[place], f"block of stack {number}"
            block.register_forward_pre_hook(partial(_begins, tracker, f"{where} {name}"))
            block.register_forward_hook(partial(_ends, tracker, f"{where} {name}", f"after stack {number}"))


def _begins(tracker: Tracker, name: str, module: nn.Module, args: Any) -> None:
    tracker.enter(name)  # also if it is computed again, in a backward pass


def _ends(tracker: Tracker, name: str, after: str, module: nn.Module, args: Any, output: Any) -> None:
    if tracker.phase == "backward":
        return
    hidden = output if isinstance(output, torch.Tensor) else output[0]
    if hidden.requires_grad:
        hidden.register_hook(lambda gradient: tracker.enter(name))
    if name.startswith("last"):
        tracker.enter(after)


def _stacks(module: nn.Module) -> Iterator[nn.ModuleList]:
    """The outermost lists of blocks."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield child
        else:
            yield from _stacks(child)


@contextmanager
def _as_on(device: str) -> Iterator[None]:
    """What a GPU's kernels keep in another way than the CPU's, which run here."""
    with ExitStack() as changed:
        for module in (peft.tuners.lora.dora, peft.tuners.lora.variants):
            changed.enter_context(patch.object(module, "dequantize_module_weight", _dequantized))
        if device == "cuda":
            changed.enter_context(patch.object(F, "dropout", _dropout))
            changed.enter_context(patch.object(F, "layer_norm", partial(_wide_norm, F.layer_norm)))
            changed.enter_context(patch.object(bitsandbytes, "matmul", _matmul_8bit))
        yield


def _dequantized(layer: nn.Module) -> torch.Tensor:
    """A layer's weights unpacked, as DoRA needs them for its norms."""
    if isinstance(layer, bitsandbytes.nn.Linear4bit):
        return bitsandbytes.functional.dequantize_4bit(layer.weight, layer.weight.quant_state)
    if isinstance(layer, bitsandbytes.nn.Linear8bitLt):
        return bitsandbytes.functional.int8_vectorwise_dequant(layer.weight, layer.state.SCB)
    return layer.weight.dequantize() if len(models.parts(layer.weight)) > 1 else layer.weight


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Keeps a mask of bytes; the CPU's keeps one of the input's type."""
    return torch.native_dropout(input, p, True)[0] if training and p else input


def _wide_norm(norm: Callable, input: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Autocast computes layer norms in fp32 on a GPU."""
    if not torch.is_autocast_enabled("cpu"):
        return norm(input, *args, **kwargs)
    shape, *rest = args
    wide = [tensor.float() if isinstance(tensor, torch.Tensor) else tensor for tensor in rest]
    return norm(input.float(), shape, *wide, **kwargs)


def _matmul_8bit(inputs: torch.Tensor, weight: torch.Tensor, *, bias: Any, state: Any, **_: Any) -> torch.Tensor:
    """The CPU unpacks the weights to multiply; a GPU packs the inputs."""
    return MatMul8bitLt.apply(inputs, weight, None, bias, state)

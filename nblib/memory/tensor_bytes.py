"""Bytes of a training by what they hold, summed over tensors, so that they mean the same on every device.

Taken at one step only, as later ones hold the same. Knows neither what a kernel needs while it computes nor what an
allocator keeps in reserve: `peak_of` and `phase` do.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nblib import models

ACTIVATIONS, LOGITS = "activations", "logits"


def kinds(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, int]:
    """Bytes that are held now: `weights`, `adapter`, `gradients`, and the `optimizer`'s states; memory in common once.

    `adapter` is what is trained of a PEFT model, and 0 where all weights are trained. `weights` is the rest of the
    model, buffers included, as `weights(model)` has it by type.
    """
    return {
        "weights": sum(weights(model).values()),
        "adapter": held(_adapter(model)),
        "gradients": held(each.grad for each in model.parameters() if each.grad is not None),
        "optimizer": held(tensors(list(optimizer.state.values()))) if optimizer else 0,
    }


def weights(model: nn.Module) -> dict[str, int]:
    """Bytes of the model without what is trained beside it, by type: `float32`, `uint8` (4-bit weights, packed)…

    `constants` are what quantized weights are scaled with: bitsandbytes keeps them beside its parameters.
    """
    adapter = {id(each) for each in _adapter(model)}
    own = [each for each in (*model.parameters(), *model.buffers()) if id(each) not in adapter]
    found: Counter[str] = Counter()
    for storage, dtype in {each.untyped_storage(): each.dtype for each in own}.items():
        found[str(dtype).removeprefix("torch.")] += storage.nbytes()
    if constants := held(_constants(model)):
        found["constants"] = constants
    return dict(found)


def held(some: Iterable[torch.Tensor]) -> int:
    """Bytes that these tensors occupy; those that share their memory, as tied weights do, count once."""
    return sum(storage.nbytes() for storage in {each.untyped_storage() for each in some})


@contextmanager
def first_step(model: nn.Module) -> Iterator[dict[str, int]]:
    """Fills in the bytes by kind of the first training step inside, whoever makes it; later steps run as always.

    Those of `kinds`, taken when the optimizer has stepped and gradients are still there, and of the first forward pass:
    `activations`, what it keeps for the backward pass, and `logits`, what the head and the loss keep. A kind is missing
    where training did not come so far.
    """
    found: dict[str, int] = {}
    forward, own = _Forward(found), {id(each) for each in model.parameters()}

    def stepped(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if "optimizer" in found:
            return
        if any(id(each) in own for group in optimizer.param_groups for each in group["params"]):
            found.update(kinds(model, optimizer))

    handles = [
        model.register_forward_pre_hook(forward.begin),
        model.register_forward_hook(forward.end, always_call=True),
        # torch calls it for every optimizer: the Trainer makes its own, and nobody has to hand it over.
        register_optimizer_step_post_hook(stepped),
    ]
    if (head := model.get_output_embeddings()) is not None:
        handles.append(head.register_forward_pre_hook(forward.head))
    try:
        yield found
    finally:
        for each in handles:
            each.remove()


class _Forward:
    """Hooks that follow one forward pass, the first in training."""

    def __init__(self, found: dict[str, int]):
        self.found = found
        self.births: Births | None = None

    def begin(self, model: nn.Module, *_: Any) -> None:
        if model.training and torch.is_grad_enabled() and ACTIVATIONS not in self.found:
            self.births = Births()
            self.births.stage = ACTIVATIONS
            self.births.__enter__()

    def head(self, *_: Any) -> None:
        if self.births:
            self.births.stage = LOGITS

    def end(self, model: nn.Module, args: Any, output: Any) -> None:
        if self.births:
            self.births.__exit__(None, None, None)
            if output is not None:  # it did not fail
                self.found.update(dict.fromkeys((ACTIVATIONS, LOGITS), 0) | self.births.kept_bytes())
            self.births = None


def _adapter(model: nn.Module) -> list[nn.Parameter]:
    """Not all that requires a gradient: so do the embeddings of a quantized base that nobody trains."""
    return [each for each in model.parameters() if each.requires_grad] if hasattr(model, "peft_config") else []


def _constants(model: nn.Module) -> Iterator[torch.Tensor]:
    """Of 4-bit parameters their state, which may be quantized once more; of 8-bit layers one number a row."""
    for module in model.modules():
        for holder in (getattr(module, "state", None), *module.parameters(recurse=False)):
            state = getattr(holder, "quant_state", None)
            while state is not None:
                yield from tensors(list(vars(state).values()))
                state = state.state2
            if (scales := getattr(holder, "SCB", None)) is not None:  # a layer takes it from its parameter when it runs
                yield scales


class Births(TorchDispatchMode):
    """Follows the memory that operations inside make, until it is freed; what was there before is not counted.

    Everything that is still referred to is seen, also what a layer keeps for its backward pass without telling
    autograd, as the 8-bit layers of bitsandbytes do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stage = ""  # set it from outside, and what is made from then on is counted under that name
        self._living: WeakKeyDictionary[torch.UntypedStorage, tuple[str, int]] = WeakKeyDictionary()

    def __torch_dispatch__(self, operation: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = {each.untyped_storage() for each in tensors((args, kwargs))}
        made = operation(*args, **(kwargs or {}))
        for each in tensors(made):
            storage = each.untyped_storage()
            if storage not in given:  # neither a view nor changed in place
                self._living.setdefault(storage, (self.stage, storage.nbytes()))
        return made

    def kept_bytes(self) -> Counter[str]:
        """Stage -> bytes made in it that are not freed yet."""
        kept: Counter[str] = Counter()
        for stage, size in self._living.values():
            kept[stage] += size
        return kept


def tensors(tree: Any) -> Iterable[torch.Tensor]:
    """The tensors in nested lists, tuples and dicts, but sparse ones, which have no storage of their own."""
    found = (each for each in tree_leaves(tree) if isinstance(each, torch.Tensor))
    return (each for each in found if each.layout == torch.strided)


def peak_of(call: Callable[[], Any], *, device: str | None = None) -> int:
    """The most bytes that the call holds at once beyond what was there before, on `device` (cuda or cpu).

    None stands for the device that models are loaded on. On a CPU the profiler listens to the allocator: exact to the
    byte, but what the call frees of what was there before is not seen, so clear gradients first. On a GPU sizes are
    rounded up as its allocator does, and peak statistics start anew.
    """
    device = device or models.device()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if device == "cpu":
        return max(accumulate(_changes(call)), default=0)
    raise ValueError(f"device must be cuda or cpu, which count peaks; got {device!r}: load the model on one of them")


def _changes(call: Callable[[], Any]) -> list[int]:
    """Bytes of each allocation on the CPU, and of each release below zero, in the order of time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = [each for each in profile.profiler.kineto_results.events() if each.name() == "[memory]"]
    cpu = torch.autograd.DeviceType.CPU
    return [each.nbytes() for each in sorted(events, key=lambda each: each.start_ns()) if each.device_type() == cpu]

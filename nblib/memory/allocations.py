"""Memory that a call makes: what it leaves behind, and the most that it held at once.

Two instruments: `Births` sees tensors and is cheap; `peak_of` asks the allocator, which also knows what kernels take
for themselves, and is for one step.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nblib import models


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

"""Bytes while a model works: of a phase, as the device counts them, and of a training by what they hold.

Those by kind are sums over tensors, taken at one step only, as later ones hold the same: they mean the same on every
device, and know neither what a kernel needs while it computes nor what an allocator keeps in reserve.
"""

import os
import resource
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nblib import models

ACTIVATIONS, LOGITS = "activations", "logits"
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")


@dataclass
class Peak:
    """Memory of one phase; filled in when the phase ends. None: this device does not tell."""

    before_bytes: int = 0  # held when the phase began
    peak_bytes: int | None = None  # the most held at once, what was there before included
    reserved_bytes: int | None = None  # the allocator's peak on a GPU; on mps what the driver holds at the end

    def note(self, peak_bytes: int | None, reserved_bytes: int | None) -> None:
        """Takes in a reading since the device's counter was reset."""
        self.peak_bytes = most(self.peak_bytes, peak_bytes)
        self.reserved_bytes = most(self.reserved_bytes, reserved_bytes)


def most(*sizes: float | None) -> Any:
    """The largest of those that are known."""
    return max((size for size in sizes if size is not None), default=None)


_open: list[Peak] = []  # the phases around this one: the device has one counter for all of them


@contextmanager
def phase(measured: Peak) -> Iterator[None]:
    """Fills in what runs inside: memory that torch allocated on the GPU, on a CPU the resident set of the process.

    Phases may be nested. The resident set's peak can be reset on Linux only; elsewhere it is that of the
    whole process so far. MPS counts no peak.
    """
    measured.before_bytes = _read_and_reset(reset=True)  # the phases around note their peak, which they lose with it
    _open.append(measured)
    try:
        yield
    finally:
        _read_and_reset(reset=False)
        _open.pop()


def _read_and_reset(*, reset: bool) -> int:
    """Bytes that are held now; the phases that are open note the peaks since the last reset."""
    held, *peaks = read()
    for outer in _open:
        outer.note(*peaks)
    device = models.device()
    if reset and device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif reset and device == "cpu":
        with suppress(OSError):  # Linux alone has this file
            Path("/proc/self/clear_refs").write_text("5")
    return held


def read() -> tuple[int, int | None, int | None]:
    """Bytes held now, and their peak and the allocator's since the last reset."""
    device = models.device()
    if device == "cuda":
        torch.cuda.synchronize()
        cuda = torch.cuda
        return cuda.memory_allocated(), cuda.max_memory_allocated(), cuda.max_memory_reserved()
    if device == "mps":
        torch.mps.synchronize()
        return torch.mps.current_allocated_memory(), None, torch.mps.driver_allocated_memory()
    return _resident("VmRSS"), _resident("VmHWM"), None


def _resident(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def device_bytes() -> int | None:
    """All memory of the device that models are put on; None where it does not tell."""
    device = models.device()
    if device == "cuda":
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    if device == "mps":
        return torch.mps.recommended_max_memory()  # the chip shares the machine's; this is what torch may take
    with suppress(ValueError, OSError):  # a system without these names
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine had no memory left. On a CPU torch raises a mere RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in OUT_OF_MEMORY)


# --- by what they hold ------------------------------------------------------------------------------------------------


def kinds(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, int]:
    """Bytes that are held now: `weights`, `adapter`, `gradients`, and the `optimizer`'s states; memory in common once.

    `adapter` is what is trained of a PEFT model, and 0 where all weights are trained. `weights` is the rest of the
    model, buffers included, as `weights(model)` has it by type.
    """
    return {
        "weights": sum(weights(model).values()),
        "adapter": held(_adapter(model)),
        "gradients": held(weight.grad for weight in model.parameters() if weight.grad is not None),
        "optimizer": held(tensors(list(optimizer.state.values()))) if optimizer else 0,
    }


def weights(model: nn.Module) -> dict[str, int]:
    """Bytes of the model without what is trained with it, by type: `float32`, `uint8` (4-bit weights, packed)…

    `constants` are what quantized weights are scaled with: bitsandbytes keeps them next to its parameters, torchao in
    them.
    """
    adapter = {id(parameter) for parameter in _adapter(model)}
    own = [tensor for tensor in (*model.parameters(), *model.buffers()) if id(tensor) not in adapter]
    found: Counter[str] = Counter()
    first = [models.parts(tensor)[0] for tensor in own]
    for storage, dtype in {tensor.untyped_storage(): tensor.dtype for tensor in first}.items():
        found[str(dtype).removeprefix("torch.")] += storage.nbytes()
    if constants := held(_constants(model)):
        found["constants"] = constants
    return dict(found)


def held(some: Iterable[torch.Tensor]) -> int:
    """Bytes that these tensors occupy; those that share their memory, as tied weights do, count once."""
    return sum(storage.nbytes() for storage in {tensor.untyped_storage() for tensor in some})


def tensors(tree: Any) -> Iterable[torch.Tensor]:
    """The tensors in nested lists, tuples and dicts, but sparse ones, which have no storage of their own."""
    found = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))
    return (tensor for tensor in found if tensor.layout == torch.strided)


def _adapter(model: nn.Module) -> list[nn.Parameter]:
    """Not all that requires a gradient: so do the embeddings of a quantized base that nobody trains."""
    return [weight for weight in model.parameters() if weight.requires_grad] if hasattr(model, "peft_config") else []


def _constants(model: nn.Module) -> Iterator[torch.Tensor]:
    """Of 4-bit parameters their state, which may be quantized once more; of 8-bit layers one number a row.

    Of torchao's weights, what is not the first of their parts.
    """
    for parameter in model.parameters():
        yield from models.parts(parameter)[1:]
    for module in model.modules():
        for holder in (getattr(module, "state", None), *module.parameters(recurse=False)):
            state = getattr(holder, "quant_state", None)
            while state is not None:
                yield from tensors(list(vars(state).values()))
                state = state.state2
            if (scales := getattr(holder, "SCB", None)) is not None:  # a layer takes it from its parameter when it runs
                yield scales


@contextmanager
def first_step(model: nn.Module) -> Iterator[dict[str, int]]:
    """Fills in the bytes by kind of the first training step inside, whoever makes it; later steps run as always.

    Those of `kinds`, taken when the optimizer has stepped and gradients are still there, and of the first forward pass:
    `activations`, what it keeps for the backward pass, and `logits`, what the head and the loss keep. A kind is missing
    where training did not come so far.
    """
    found: dict[str, int] = {}
    births: list[Births] = []  # of the forward pass that runs
    own = {id(parameter) for parameter in model.parameters()}

    def begin(*_: Any) -> None:
        if model.training and torch.is_grad_enabled() and ACTIVATIONS not in found:
            births.append(Births(ACTIVATIONS))
            births[0].__enter__()

    def head_begins(*_: Any) -> None:
        if births:
            births[0].stage = LOGITS

    def end(model: nn.Module, args: Any, output: Any) -> None:
        if births:
            followed = births.pop()
            followed.__exit__(None, None, None)
            if output is not None:  # it did not fail
                found.update(dict.fromkeys((ACTIVATIONS, LOGITS), 0) | followed.kept_bytes())

    def stepped(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        trained = (parameter for group in optimizer.param_groups for parameter in group["params"])
        if "optimizer" not in found and any(id(parameter) in own for parameter in trained):
            found.update(kinds(model, optimizer))

    handles = [
        model.register_forward_pre_hook(begin),
        model.register_forward_hook(end, always_call=True),
        # torch calls it for every optimizer: the Trainer makes its own, and nobody has to hand it over.
        register_optimizer_step_post_hook(stepped),
    ]
    if (head := model.get_output_embeddings()) is not None:
        handles.append(head.register_forward_pre_hook(head_begins))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


class Births(TorchDispatchMode):
    """Follows the memory that operations inside make, until it is freed; what was there before is not counted.

    Everything that is still referred to is seen, also what a layer keeps for its backward pass without telling
    autograd, as the 8-bit layers of bitsandbytes do.
    """

    def __init__(self, stage: str = "") -> None:
        super().__init__()
        self.stage = stage  # set it from outside, and what is made from then on is counted under that name
        self._living: WeakKeyDictionary[torch.UntypedStorage, tuple[str, int]] = WeakKeyDictionary()

    def __torch_dispatch__(self, operation: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = {tensor.untyped_storage() for tensor in tensors((args, kwargs))}
        made = operation(*args, **(kwargs or {}))
        for tensor in tensors(made):
            storage = tensor.untyped_storage()
            if storage not in given:  # neither a view nor changed in place
                self._living.setdefault(storage, (self.stage, storage.nbytes()))
        return made

    def kept_bytes(self) -> Counter[str]:
        """Stage -> bytes made in it that are not freed yet."""
        kept: Counter[str] = Counter()
        for stage, size in self._living.values():
            kept[stage] += size
        return kept

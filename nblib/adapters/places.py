"""Where bottleneck adapters go in a model: found in its modules, with no table of architectures."""

from collections.abc import Iterator

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

PLACEMENTS = ("pfeiffer", "houlsby")  # after the feed-forward; after every attention as well


def find_places(model: nn.Module, placement: str = "pfeiffer") -> list[str]:
    """Full names of the linear layers whose output ends a sub-block and is then added to the residual.

    A transformer's blocks are the elements of its outermost ModuleLists. What a sub-block gives to the residual has the
    model's width, so it ends in a linear layer of that width; query, key and value projections may have it as well,
    but are registered before. Where that does not give one feed-forward beside some attention in every block, as in a
    mixture of experts, the ends are not what they seem, and ValueError is raised.
    """
    width = getattr(getattr(model, "config", None), "hidden_size", 0)
    blocks = list(_blocks(model)) if width else []
    if not blocks:
        raise ValueError(_refusal(model, "needs a list of transformer blocks and a hidden_size, and it has none"))
    places: list[str] = []
    for path, block in blocks:
        ends = list(_ends(block, path, width))
        feed_forward = [name for name, parent in ends if not _is_attention(parent)]
        # A parameter of three dimensions is a stack of experts, which an adapter after a shared expert would miss.
        stacked = any(parameter.ndim > 2 for parameter in block.parameters())
        if len(feed_forward) != 1 or len(ends) == 1 or stacked:
            raise ValueError(_refusal(model, f"needs attention and one dense feed-forward in {path.rstrip('.')}"))
        places += feed_forward if placement == "pfeiffer" else [name for name, _ in ends]
    return places


def layer_width(module: nn.Module) -> int | None:
    """Numbers that a linear layer gives for each token, quantized or adapted ones too; None for other modules."""
    base = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
    if isinstance(base, nn.Linear):  # bitsandbytes' layers are of that class
        return base.out_features
    return base.nf if isinstance(base, Conv1D) else None


def _blocks(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(module, nn.ModuleList):
            yield f"{path}{name}.", child
        else:
            yield from _blocks(child, f"{path}{name}.")


def _ends(module: nn.Module, path: str, width: int) -> Iterator[tuple[str, nn.Module]]:
    """The last linear layer of that width in each module that has one, and the module."""
    outputs = [name for name, child in module.named_children() if layer_width(child) == width]
    if outputs:
        yield path + outputs[-1], module
    for name, child in module.named_children():
        if not isinstance(child, BaseTunerLayer):  # an adapter that is there already has linear layers of its own
            yield from _ends(child, f"{path}{name}.", width)


def _is_attention(module: nn.Module) -> bool:
    return "attention" in type(module).__name__.lower()  # as every attention in transformers is named


def _refusal(model: nn.Module, reason: str) -> str:
    return f"a bottleneck adapter for {type(model).__name__} {reason}: give the layers as target_modules"

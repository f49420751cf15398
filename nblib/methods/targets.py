"""Which modules of a model a method takes, found in its tree of modules and its sizes, not by the model's name."""

from collections.abc import Iterable, Iterator

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from nblib import spec


def chosen(model: PreTrainedModel, targets: str) -> list[str]:
    """The modules that `targets` of a method names, as PEFT takes them: ends of their paths.

    Raises ValueError, with the names that there are, for one that no linear layer of the model has.
    """
    if targets == spec.ALL_LINEAR:
        return linear_layers(model)
    if targets == spec.ATTENTION:
        return attention_layers(model)
    if targets == spec.ATTENTION_INPUTS:
        return attention_inputs(model)
    names = sorted(name.strip() for name in targets.split(","))
    for name in names:
        if not any(_ends_in(path, name) for path in _linear(model)):
            names_of_layers = ", ".join(linear_layers(model))
            raise ValueError(f"targets must name linear layers of the model, which has {names_of_layers}; got {name!r}")
    return names


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Names of the model's linear layers but the head, without their place in the tree."""
    return sorted({_last(path) for path in _linear(model)})


def feed_forward_layers(model: PreTrainedModel) -> list[str]:
    """The two or three linear layers of each feed-forward block: those that are in no attention."""
    attention = _attention_paths(model)
    return _shortest_ends([path for path in _linear(model) if not _is_inside(path, attention)], model)


def attention_layers(model: PreTrainedModel) -> list[str]:
    """The linear layers of attention: inputs and output."""
    attention = _attention_paths(model)
    return _shortest_ends([path for path in _linear(model) if _is_inside(path, attention)], model)


def attention_inputs(model: PreTrainedModel) -> list[str]:
    """The linear layers that make queries, keys and values, or all three of them at once."""
    attention = _attention_paths(model)
    outputs = {path for path, _ in sub_block_ends(model, model.config.hidden_size)}
    return _shortest_ends(
        [path for path in _linear(model) if _is_inside(path, attention) and path not in outputs], model
    )


def norms(model: PreTrainedModel) -> list[str]:
    """Names of the normalization layers that have weights."""
    named = ((path, module) for path, module in model.named_modules() if "norm" in type(module).__name__.lower())
    return sorted({_last(path) for path, module in named if getattr(module, "weight", None) is not None})


def sizes(model: PreTrainedModel, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Path -> (inputs, outputs) of the linear layers that these names choose."""
    chosen = {path: layer for path, layer in _linear(model).items() if any(_ends_in(path, name) for name in names)}
    return {
        path: (layer.nx, layer.nf) if isinstance(layer, Conv1D) else (layer.in_features, layer.out_features)
        for path, layer in chosen.items()
    }


def blocks(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Paths and modules of a transformer's blocks: the elements of its outermost ModuleLists."""
    for name, child in module.named_children():
        if isinstance(module, nn.ModuleList):
            yield f"{path}{name}.", child
        else:
            yield from blocks(child, f"{path}{name}.")


def sub_block_ends(module: nn.Module, width: int, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The path of the last linear layer of the model's width in each module that has one, and the module.

    What a sub-block gives to the residual has that width, so such a layer ends it; query, key and value projections may
    have it as well, but are registered before.
    """
    if outputs := [name for name, child in module.named_children() if output_width(child) == width]:
        yield path + outputs[-1], module
    for name, child in module.named_children():
        if not isinstance(child, BaseTunerLayer):  # an adapter that is there already has linear layers of its own
            yield from sub_block_ends(child, width, f"{path}{name}.")


def output_width(module: nn.Module) -> int | None:
    """Numbers that a linear layer gives for each token, quantized or adapted ones too; None for other modules."""
    base = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
    if isinstance(base, nn.Linear):  # bitsandbytes' layers are of that class
        return base.out_features
    return base.nf if isinstance(base, Conv1D) else None


def is_attention(module: nn.Module) -> bool:
    return "attention" in type(module).__name__.lower()  # as every attention in transformers is named


def _linear(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Path -> linear layer, of all but the head. GPT-2's is a Conv1D, whose weight is stored the other way round."""
    head = model.get_output_embeddings()
    named = model.named_modules()
    return {path: module for path, module in named if isinstance(module, nn.Linear | Conv1D) and module is not head}


def _attention_paths(model: PreTrainedModel) -> set[str]:
    return {path for path, module in model.named_modules() if path and is_attention(module)}


def _is_inside(path: str, parents: set[str]) -> bool:
    parts = path.split(".")
    return any(".".join(parts[:count]) in parents for count in range(1, len(parts)))


def _shortest_ends(paths: list[str], model: PreTrainedModel) -> list[str]:
    """The shortest ends that tell these linear layers from all others: GPT-2 has two c_proj, but one mlp.c_proj."""
    others = _linear(model).keys() - set(paths)
    ends = set()
    for path in paths:
        parts = path.split(".")
        candidates = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        ends.add(next(end for end in candidates if not any(_ends_in(other, end) for other in others)))
    return sorted(ends)


def _ends_in(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")


def _last(path: str) -> str:
    return path.rpartition(".")[2]

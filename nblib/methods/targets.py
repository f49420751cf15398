"""Which modules of a model a method takes, found in its tree of modules. Attaches nothing."""

from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel

from nblib import spec

# Names of the projection after the values are mixed, by which one attention layer differs from its others.
OUTPUTS = ("o_proj", "out_proj", "c_proj", "dense", "wo", "o")


def chosen(model: PreTrainedModel, targets: str) -> list[str]:
    """The modules that `targets` of a method names, as PEFT takes them: ends of their paths.

    Raises ValueError, with the names that there are, for one that no linear layer of the model has.
    """
    if targets == spec.ALL_LINEAR:
        return linear_layers(model)
    if targets == spec.ATTENTION_INPUTS:
        return attention_inputs(model)
    names = [name.strip() for name in targets.split(",")]
    paths = _linear_paths(model)
    for name in names:
        if not any(_ends(path, name) for path in paths):
            raise ValueError(
                f"targets must name linear layers of the model, which has {', '.join(linear_layers(model))}; "
                f"got {name!r}"
            )
    return sorted(names)


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Names of the model's linear layers but the head, without their place in the tree."""
    return sorted({_last(path) for path in _linear_paths(model)})


def feed_forward_layers(model: PreTrainedModel) -> list[str]:
    """The two or three linear layers of each feed-forward block: those that are in no attention."""
    attention = _attention_paths(model)
    return _ends_of([path for path in _linear_paths(model) if not _inside(path, attention)], model)


def attention_inputs(model: PreTrainedModel) -> list[str]:
    """The linear layers that make queries, keys and values, or all three of them at once."""
    attention = _attention_paths(model)
    inputs = [path for path in _linear_paths(model) if _inside(path, attention) and _last(path) not in OUTPUTS]
    return _ends_of(inputs, model)


def norms(model: PreTrainedModel) -> list[str]:
    """Names of the normalization layers that have weights."""
    return sorted({_last(path) for path, each in model.named_modules() if is_norm(each)})


def is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() and getattr(module, "weight", None) is not None


def is_transposed(module: nn.Module) -> bool:
    """Whether it is GPT-2's Conv1D, a linear layer that stores its weight the other way round."""
    return type(module).__name__ == "Conv1D"


def sizes(model: PreTrainedModel, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Path -> (inputs, outputs) of the linear layers that these names choose."""
    found = {}
    for path in _linear_paths(model):
        if any(_ends(path, name) for name in names):
            layer = model.get_submodule(path)
            found[path] = (layer.nx, layer.nf) if is_transposed(layer) else (layer.in_features, layer.out_features)
    return found


def _linear_paths(model: PreTrainedModel) -> list[str]:
    head = model.get_output_embeddings()
    return [
        path
        for path, module in model.named_modules()
        if (isinstance(module, nn.Linear) or is_transposed(module)) and module is not head
    ]


def _attention_paths(model: PreTrainedModel) -> set[str]:
    """Modules whose class calls itself attention; in the model's own name the word would say nothing."""
    return {path for path, module in model.named_modules() if path and "attention" in type(module).__name__.lower()}


def _inside(path: str, parents: set[str]) -> bool:
    parts = path.split(".")
    return any(".".join(parts[:count]) in parents for count in range(1, len(parts)))


def _ends_of(paths: list[str], model: PreTrainedModel) -> list[str]:
    """The shortest ends that tell these linear layers from all others: GPT-2 has two c_proj, but one mlp.c_proj."""
    others = set(_linear_paths(model)) - set(paths)
    ends = set()
    for path in paths:
        parts = path.split(".")
        candidates = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        ends.add(next(end for end in candidates if not any(_ends(other, end) for other in others)))
    return sorted(ends)


def _ends(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")


def _last(path: str) -> str:
    return path.rpartition(".")[2]

"""CodeGen2's checkpoints for transformers' CodeGen, which reads the rows of query, value and key in other groups."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from zipfile import is_zipfile

import torch
from safetensors import safe_open

WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")  # of any model: the first that there are
NATIVE_GROUPS = 4  # of transformers' CodeGen: the cores that the first models were trained on
GROUPS = 8  # of CodeGen2's own code
REGROUPED = ".attn.qkv_proj.weight"


class LazyWeight:
    """A weight that transformers' loading makes when it reads it, as it reads a part of a file."""

    def __init__(self, shape: Sequence[int], make: Callable[[], torch.Tensor]):
        self.shape, self.make = tuple(shape), make

    def __getitem__(self, _) -> torch.Tensor:
        return self.make()


def is_one(facts: Mapping) -> bool:
    """Whether a config.json is CodeGen2's: transformers' type, with code of its own. CodeGen's has none."""
    name = (facts.get("auto_map") or {}).get("AutoModelForCausalLM", "")
    return facts.get("model_type") == "codegen" and name.rpartition(".")[2] == "CodeGenForCausalLM"


def weights(folder: str | Path, facts: Mapping) -> dict:
    """Name -> each weight as transformers' class reads it, made when its layer is loaded."""
    groups = facts.get("mp_num", GROUPS)

    def regrouped(stored) -> LazyWeight:
        shape = stored.get_shape() if hasattr(stored, "get_shape") else stored.shape
        return LazyWeight(shape, lambda: regroup(stored[...], groups))

    found = _stored(Path(folder))
    return {name: regrouped(stored) if name.endswith(REGROUPED) else stored for name, stored in found}


def regroup(weight: torch.Tensor, groups: int, wanted: int = NATIVE_GROUPS) -> torch.Tensor:
    """Rows of `groups` times query, value and key, a part of the heads each, in `wanted` such groups. Exact."""
    parts = weight.reshape(groups, 3, -1, *weight.shape[1:]).transpose(0, 1)
    whole = parts.reshape(3, wanted, -1, *weight.shape[1:]).transpose(0, 1)
    return whole.reshape(weight.shape)


def _stored(folder: Path) -> Iterator[tuple]:
    """Names and weights of a checkpoint's files; none of them is read before it is needed."""
    safe = sorted(folder.glob(WEIGHT_FILES[0]))
    for path in safe:
        file = safe_open(path, framework="pt")
        yield from ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118 - it is no mapping
    for path in () if safe else sorted(folder.glob(WEIGHT_FILES[1])):
        yield from torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path)).items()

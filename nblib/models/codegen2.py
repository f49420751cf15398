"""CodeGen2's checkpoints for transformers' CodeGen, which reads the rows of query, value and key in other groups."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from zipfile import is_zipfile

import torch
from safetensors import safe_open

from nblib.models.places import WEIGHT_FILES

NATIVE_GROUPS = 4  # of transformers' CodeGen: the cores that the first models were trained on
GROUPS = 8  # of CodeGen2's own code
REGROUPED = ".attn.qkv_proj.weight"


def is_one(facts: Mapping) -> bool:
    """Whether a config.json is CodeGen2's: transformers' type, with code of its own. CodeGen's has none."""
    name = (facts.get("auto_map") or {}).get("AutoModelForCausalLM", "")
    return facts.get("model_type") == "codegen" and name.rpartition(".")[2] == "CodeGenForCausalLM"


def weights(folder: str | Path, facts: Mapping) -> dict:
    """Name -> each weight as transformers' class reads it, made when its layer is loaded."""
    groups = facts.get("mp_num", GROUPS)
    return {
        name: _Regrouped(each, groups) if name.endswith(REGROUPED) else each for name, each in _stored(Path(folder))
    }


def regroup(weight: torch.Tensor, groups: int, wanted: int = NATIVE_GROUPS) -> torch.Tensor:
    """Rows of `groups` times query, value and key, a part of the heads each, in `wanted` such groups. Exact."""
    parts = weight.reshape(groups, 3, -1, *weight.shape[1:]).transpose(0, 1)
    whole = parts.reshape(3, wanted, -1, *weight.shape[1:]).transpose(0, 1)
    return whole.reshape(weight.shape)


class _Regrouped:
    """A weight that transformers' loading makes when it reads it, as it reads a part of a file."""

    def __init__(self, stored, groups: int):
        self.stored, self.groups = stored, groups
        self.shape = tuple(stored.get_shape()) if hasattr(stored, "get_shape") else stored.shape

    def __getitem__(self, _) -> torch.Tensor:
        return regroup(self.stored[...], self.groups)


def _stored(folder: Path) -> Iterator[tuple]:
    """Names and weights of a checkpoint's files; none of them is read before it is needed."""
    safe = sorted(folder.glob(WEIGHT_FILES[0]))
    for path in safe:
        file = safe_open(path, framework="pt")
        yield from ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118 - it is no mapping
    for path in () if safe else sorted(folder.glob(WEIGHT_FILES[1])):
        yield from torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path)).items()

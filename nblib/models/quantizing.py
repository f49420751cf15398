"""How linear layers are quantized, by bitsandbytes or by torchao, and what torchao cannot. Loads no weights."""

import logging
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import torch
from packaging.version import Version
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import BitsAndBytesConfig, PreTrainedModel, TorchAoConfig
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module

from nblib.spec import QUANTIZED, TORCHAO

OLDEST_TORCHAO = "0.18"  # of which PEFT knows the weights
GROUP = 32  # weights of ao-int4 that share a scale


def quantization(precision: str, dtype: torch.dtype) -> BitsAndBytesConfig | TorchAoConfig | None:
    """How the linear layers' weights but the head's are held; None: not quantized.

    `dtype` is what 4-bit weights of bitsandbytes are computed with.
    """
    if precision not in QUANTIZED:
        return None
    if precision in TORCHAO:
        return TorchAoConfig(_torchao(precision))
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)  # it tells of a cast at every layer
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=precision[:3],
        bnb_4bit_use_double_quant=precision.endswith("dq"),
        bnb_4bit_compute_dtype=dtype,
    )


def _torchao(precision: str) -> Any:
    """A row shares a scale in 8 bits. Packed 4 bits of torchao cannot be trained over: these take a byte each."""
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup

    if precision == "ao-int8":
        return Int8WeightOnlyConfig()
    return IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(GROUP))


def kept_layers(model: PreTrainedModel) -> list[str]:
    """Ends of the paths of layers that transformers leaves unquantized: the head, and what it keeps in fp32."""
    return HfQuantizer.get_modules_to_not_convert(model, None, model._keep_in_fp32_modules)


def quantize(model: nn.Module, precision: str, kept: Sequence[str] = ()) -> nn.Module:
    """The model with the linear layers quantized by torchao that `models.load` quantizes, where these are `kept`."""
    from torchao.quantization import quantize_

    quantize_(model, _torchao(precision), lambda layer, path: _is_quantized(layer, path, kept))
    return model


def _is_quantized(layer: nn.Module, path: str, kept: Sequence[str]) -> bool:
    # transformers asks for torchao by the parameter's name: T5's wo, which bitsandbytes leaves, is not kept.
    return isinstance(layer, nn.Linear) and should_convert_module(f"{path}.weight", list(kept))


def require_torchao(precision: str) -> None:
    """Raises ImportError with one sentence where torchao is missing or too old."""
    try:
        found = metadata.version("torchao")
    except metadata.PackageNotFoundError:
        found = ""
    if not found or Version(found) < Version(OLDEST_TORCHAO):
        raise ImportError(
            f"precision {precision} needs torchao {OLDEST_TORCHAO} or later, and {found or 'none'} is installed: run "
            f"`pip install 'torchao>={OLDEST_TORCHAO}'`, or take int8 or nf4"
        )


def check_layers(tree: PreTrainedModel, model: str, precision: str) -> None:
    """Raises ValueError where torchao cannot quantize what bitsandbytes would; `tree` needs no weights."""
    kept = kept_layers(tree)
    for path, layer in tree.named_modules():
        if isinstance(layer, Conv1D):
            raise ValueError(f"torchao quantizes no Conv1D, of which {model!r} is made: take int8 or nf4")
        if precision == "ao-int4" and _is_quantized(layer, path, kept) and layer.in_features % GROUP:
            raise ValueError(
                f"{precision} quantizes {GROUP} weights together, and {path} of {model!r} has {layer.in_features} "
                "inputs: take ao-int8 or nf4"
            )


def parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors with the content of a tensor: itself, or of torchao's the quantized weights and their constants."""
    if not is_traceable_wrapper_subclass(tensor):
        return [tensor]
    return [part for name in tensor.__tensor_flatten__()[0] for part in parts(getattr(tensor, name))]

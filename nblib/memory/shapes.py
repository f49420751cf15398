"""A model's modules with shapes and no numbers, at a precision, a method attached. Loads and computes nothing."""

import json
from collections.abc import Iterator
from typing import Any

import bitsandbytes
import torch
from bitsandbytes.functional import QuantState
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.integrations.bitsandbytes import replace_with_bnb_linear

from nblib import methods, models, spec

BLOCK, OUTER_BLOCK = 64, 256  # bitsandbytes: weights that share a constant, constants that share an outer one
ANY_STEPS = 100  # of training; AdaLoRA wants to know how many
KEPT = ("quant_state", "compress_statistics", "quant_type", "bnb_quantized", "CB", "SCB", "has_fp16_weights")


def configuration(model: str) -> PreTrainedConfig:
    """A model's configuration: shipped with the repository, of a local folder, or of the Hub.

    Raises ValueError for an unknown model, ConnectionError where the Hub is needed and cannot be reached.
    """
    return models.config(models.shape(model))


def shallower(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    """The same model with so few layers; settings that are listed by layer are cut."""
    depth = config.num_hidden_layers
    values = {
        name: value[:layers] if isinstance(value, list) and len(value) == depth else value
        for name, value in json.loads(config.to_json_string(use_diff=False)).items()
    }
    for name in ("num_hidden_layers", "num_decoder_layers"):
        if (own := config.attribute_map.get(name, name)) in values:
            values[own] = layers
    return AutoConfig.for_model(**values)


def can_be_shallower(config: PreTrainedConfig) -> bool:
    """Whether all layers are alike, so that two depths tell what any depth needs."""
    decoder = getattr(config, "num_decoder_layers", config.num_hidden_layers)
    return decoder == config.num_hidden_layers and len(set(getattr(config, "layer_types", None) or [""])) == 1


def build(config: PreTrainedConfig, precision: str, dtype: torch.dtype) -> PreTrainedModel:
    """The base on torch's meta device, its linear layers as `models.load` would hold them; frozen."""
    with torch.device("meta"), no_init_weights():
        model = models.auto_class(config).from_config(config, dtype=dtype)
        model.tie_weights()  # is skipped with the initial values
        if precision in spec.QUANTIZED:
            _quantize(model, precision, dtype)
        elif dtype == torch.float16:
            _keep_wide(model)
    return model.requires_grad_(False)


def attach(model: PreTrainedModel, method: spec.Method) -> nn.Module:
    """The model with the method's parameters, as `methods.attach` makes it but for their values."""
    if not isinstance(method, spec.Trained):
        return model
    with torch.device("meta"), torch.random.fork_rng():
        return methods.attach(model, method, None, seed=0, steps=ANY_STEPS)


def sized(model: nn.Module) -> nn.Module:
    """The model with tensors of torch's FakeTensorMode, which is to be on, in the place of those on the meta device."""
    made: dict[int, torch.Tensor] = {}

    def of_a_size(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            fresh = _empty(tensor)
            if isinstance(tensor, nn.Parameter):
                fresh = nn.Parameter(fresh, requires_grad=tensor.requires_grad)
                vars(fresh).update({name: value for name, value in vars(tensor).items() if name in KEPT})
            made[id(tensor)] = fresh
        return made[id(tensor)]

    for module in model.modules():
        prompts = getattr(module, "prompt_tokens", {})  # PEFT's, of learned tokens: a plain dict
        for held in (module._parameters, module._buffers, vars(module), prompts):
            held.update({name: of_a_size(tensor) for name, tensor in held.items() if isinstance(tensor, torch.Tensor)})
        for held in _quantization(module):
            vars(held).update(
                {name: of_a_size(tensor) for name, tensor in vars(held).items() if isinstance(tensor, torch.Tensor)}
            )
    return model


def tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor that the model holds, the constants of quantized layers too; tied ones once."""
    seen = set()
    constants = (
        tensor for module in model.modules() for held in _quantization(module) for tensor in vars(held).values()
    )
    for tensor in (*model.parameters(), *model.buffers(), *constants):
        if isinstance(tensor, torch.Tensor) and id(tensor) not in seen:
            seen.add(id(tensor))
            yield from models.parts(tensor)


def largest_quantized(model: nn.Module) -> int:
    """Numbers of the largest quantized layer, which is unpacked to be computed with; 0 where none is quantized."""
    kinds = bitsandbytes.nn.Linear8bitLt | bitsandbytes.nn.Linear4bit
    linear = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    quantized = (layer for layer in linear if isinstance(layer, kinds) or len(models.parts(layer.weight)) > 1)
    return max((layer.in_features * layer.out_features for layer in quantized), default=0)


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    """A new tensor of the same kind and shape on the CPU, its own parts too."""
    if len(models.parts(tensor)) == 1:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    names, about = tensor.__tensor_flatten__()
    fresh = {name: _empty(getattr(tensor, name)) for name in names}
    return type(tensor).__tensor_unflatten__(fresh, about, tensor.shape, tensor.stride())


def _quantization(module: nn.Module) -> Iterator[Any]:
    """What holds a quantized layer's constants."""
    if isinstance(module, bitsandbytes.nn.Linear8bitLt):
        yield module.state
    elif isinstance(module, bitsandbytes.nn.Linear4bit):
        yield module.weight.quant_state
        if module.weight.quant_state.nested:
            yield module.weight.quant_state.state2


def _keep_wide(model: PreTrainedModel) -> None:
    """What transformers keeps in fp32 where the rest is fp16, T5's `wo` as a rule."""
    for name, parameter in model.named_parameters():
        if set(name.split(".")) & set(model._keep_in_fp32_modules or []):
            parameter.data = parameter.data.float()


def _quantize(model: PreTrainedModel, precision: str, dtype: torch.dtype) -> None:
    kept = models.kept_layers(model)
    if precision in spec.TORCHAO:
        models.check_layers(model, model.config.model_type, precision)
        models.quantize(model, precision, kept)
        return
    replace_with_bnb_linear(model, kept, models.quantization(precision, dtype))
    for layer in model.modules():
        if isinstance(layer, bitsandbytes.nn.Linear8bitLt):
            _fill_8bit(layer)
        elif isinstance(layer, bitsandbytes.nn.Linear4bit):
            _fill_4bit(layer, precision, dtype)
        else:
            continue
        if layer.bias is not None:
            layer.bias = nn.Parameter(torch.empty(layer.out_features, dtype=dtype), requires_grad=False)
    model.is_loaded_in_8bit, model.is_loaded_in_4bit = precision == "int8", precision != "int8"


def _fill_8bit(layer: nn.Module) -> None:
    """A byte a weight, and a scale a row."""
    weight = bitsandbytes.nn.Int8Params(torch.empty(layer.weight.shape, dtype=torch.int8), requires_grad=False)
    layer.weight = weight
    layer.state.CB, layer.state.SCB = weight, torch.empty(layer.out_features)
    layer.state.threshold = 0.0  # which inputs lie above it is not known without numbers; those are few


def _fill_4bit(layer: nn.Module, precision: str, dtype: torch.dtype) -> None:
    """Half a byte a weight and a constant a block; with double quantization a byte for each, in blocks again."""
    numbers = layer.in_features * layer.out_features
    blocks, double = -(-numbers // BLOCK), precision.endswith("dq")
    outer = QuantState(
        torch.empty(-(-blocks // OUTER_BLOCK)), blocksize=OUTER_BLOCK, code=torch.empty(256), dtype=torch.float32
    )
    state = QuantState(
        torch.empty(blocks, dtype=torch.uint8 if double else torch.float32),
        shape=torch.Size((layer.out_features, layer.in_features)),
        dtype=dtype,
        blocksize=BLOCK,
        code=torch.empty(16),
        quant_type=precision[:3],
        **({"offset": torch.empty(()), "state2": outer} if double else {}),
    )
    packed = torch.empty((-(-numbers // 2), 1), dtype=torch.uint8)
    layer.weight = bitsandbytes.nn.Params4bit(
        packed,
        requires_grad=False,
        quant_state=state,
        compress_statistics=double,
        quant_type=precision[:3],
        module=layer,
    )
    layer.quant_state, layer.weight.bnb_quantized = state, True
    layer.support_avx512bf16_for_cpu = False  # as in models.load

"""The base model under a method: put back as it was, so that another can be attached, and known again by its values."""

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from peft.tuners.lora.layer import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from nblib import models

SAMPLES = 64  # values of the base's embeddings that are kept, to know it again
ROUNDING = 2**-7  # relative; the same base in bf16 or fp16 is still the same base
ROW = 4096  # at most so many integers have one sum
WIDTHS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}  # bytes of an integer, the widest first


class BaseChangedError(ValueError):
    """What a method wrote into the base's own weights cannot be taken off: the model is to be loaded again."""


class _Weight(NamedTuple):
    """A parameter of the model's own, as it was."""

    parameter: nn.Parameter
    owner: nn.Module
    name: str
    trainable: bool
    checksum: int

    def changed(self) -> bool:
        # Quantized layers remember what they computed with, so that others in the place of theirs count as a change;
        # bitsandbytes itself makes new parameters of the same content.
        held = self.parameter if self.parameter.is_floating_point() else self.owner._parameters.get(self.name)
        return held is None or checksum(held) != self.checksum


class Before:
    """A model's tree of modules as it was: references and checksums, no copies of weights."""

    def __init__(self, model: PreTrainedModel):
        if hasattr(model, "peft_config"):
            raise ValueError("the model has a method on it already; methods.detach takes it off")
        self.model = model
        self.identity = {} if model.device.type == "meta" else identity(model)
        # With attributes of every kind: children, parameters, hooks, flags.
        self.modules = [(module, _copied(module.__dict__)) for module in model.modules()]
        configs = {id(config): config for module in model.modules() if (config := getattr(module, "config", None))}
        known = [config for config in configs.values() if isinstance(config, PreTrainedConfig)]
        self.configs = [(config, copy.deepcopy(config.__dict__)) for config in known]
        self.weights = {}
        for path, parameter in model.named_parameters():
            place, _, name = path.rpartition(".")
            kept = (parameter, model.get_submodule(place), name, parameter.requires_grad, checksum(parameter))
            self.weights[path] = _Weight(*kept)

    def restore(self) -> None:
        """Puts every module, hook, flag and setting back; what was added is no longer reached from the model."""
        for module, attributes in self.modules:
            module.__dict__.clear()
            module.__dict__.update(_copied(attributes))
        for config, attributes in self.configs:
            config.__dict__.clear()
            config.__dict__.update(copy.deepcopy(attributes))
        for weight in self.weights.values():
            weight.parameter.requires_grad_(weight.trainable)
            weight.parameter.grad = None

    def changed(self) -> list[str]:
        """The parameters of the model's own whose content is not what it was."""
        return [name for name, weight in self.weights.items() if weight.changed()]


@contextmanager
def prepared(model: PreTrainedModel) -> Iterator[Before]:
    """Has the model as PEFT 0.21 expects it of transformers 5; what fails inside leaves it as it was.

    PEFT's own unloading leaves some of its tuners' marks, and others cannot be unloaded.
    Raises ValueError for a model that has a method on it.
    """
    before = Before(model)
    for module in model.modules():
        if type(module).__name__ == "Linear8bitLt":
            module.register_forward_pre_hook(_keep_scales)
    if model.config.is_encoder_decoder:  # PEFT reads an older name of it, but changes nothing in it
        model._prepare_encoder_decoder_kwargs_for_generation = model._prepare_text_encoder_decoder_kwargs_for_generation
    with quiet():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        warnings.filterwarnings("ignore", "Unsupported layer type '.*Norm'", UserWarning)  # only its sizes are unknown
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to", UserWarning)  # and is then set right
        warnings.filterwarnings("ignore", "lora with eva initialization used with low_cpu_mem_usage", UserWarning)
        try:
            yield before
        except Exception as problem:
            before.restore()
            if before.changed():
                raise BaseChangedError(f"{problem}; the model has changed meanwhile: load it again") from problem
            raise


@contextmanager
def quiet() -> Iterator[None]:
    """Reads PEFT's configurations without a warning that RandLoRA's random matrices are drawn again, not saved."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Specified to not save basis_A", UserWarning)
        yield


def detach(attached: nn.Module) -> PreTrainedModel:
    """The base model as it was before `attach` or `load`; the attached model must not be used any more.

    Raises BaseChangedError, a ValueError, where the base's own weights are not what they were: full tuning, a bias
    that a config names, an initialization that takes a part of them.
    """
    before = getattr(attached, "before", None)
    if before is None:
        raise ValueError(f"detach takes what methods.attach or methods.load returned; got a {type(attached).__name__}")
    if changed := before.changed():
        raise BaseChangedError(
            f"the base's own weights were trained or written to, {changed[0]} among them: load the model again"
        )
    before.restore()
    return before.model


def intruders(attached: nn.Module, *, top: int = 10, alike: float = 0.5) -> dict[str, int]:
    """Layer of LoRA or its kin -> how many of the `top` strongest directions of its tuned weight are new to the base.

    They are left singular vectors; new is one whose cosine with each of the base's is below `alike`. We count these
    intruders (Shuttleworth et al. 2024, arXiv 2410.21228) as PEFT's `reduce_intruder_dimension`, which weakens them.
    """
    found = {}
    for name, layer in attached.named_modules():
        if isinstance(layer, LoraLayer):
            weight = dequantize_module_weight(layer.get_base_layer()).detach().float()
            tuned = weight + layer.get_delta_weight(layer.active_adapters[0]).detach().float()
            own, before = (torch.linalg.svd(each, full_matrices=False).U for each in (tuned, weight))
            found[name] = int(((own.T @ before).abs().amax(1)[:top] < alike).sum())
    return found


def identity(model: PreTrainedModel) -> dict:
    """What tells a bare base from others at any precision: type, sizes, and some of its embeddings' values.

    Rows that `models.load` added for a pad token are not looked at: they are no part of the checkpoint.
    """
    words = model.get_input_embeddings().weight
    own = words[: getattr(model, "checkpoint_rows", len(words))]
    flat = torch.linspace(0, own.numel() - 1, SAMPLES, dtype=torch.float64).long()
    places = torch.stack((flat // own.shape[1], flat % own.shape[1]), 1).tolist()
    return {**_sizes(model), "places": places, "values": _values(model, places)}


def difference(known: dict, model: PreTrainedModel) -> str | None:
    """The first thing in which a bare model is not the base of that identity; None where there is none."""
    for name, value in _sizes(model).items():
        if value != known[name]:
            return f"its {name} is {value} instead of {known[name]}"
    if max(row for row, _ in known["places"]) >= model.get_input_embeddings().num_embeddings:
        return "it has fewer embeddings"
    values = torch.tensor(_values(model, known["places"]))
    same = torch.allclose(values, torch.tensor(known["values"]), rtol=ROUNDING, atol=1e-6)
    return None if same else "its embeddings have other values"


def checksum(tensor: torch.Tensor) -> int:
    """Of a tensor's content: sums of bits by row, weighted by the row's place. 100 million numbers take 0.1 s.

    A write to `weight.data` moves no address and counts no version, so only the content tells of it.
    """
    if tensor.is_meta:
        return 0
    if len(held := models.parts(tensor)) > 1:
        return sum((2 * place + 1) * checksum(part) for place, part in enumerate(held))
    flat = tensor.detach().contiguous().flatten()
    size = flat.numel() * flat.element_size()
    flat = flat.view(next(kind for width, kind in WIDTHS.items() if size % width == 0 and width >= flat.element_size()))
    rows = flat.view(-1, math.gcd(len(flat), ROW)).sum(-1, dtype=torch.int64)
    return int((rows * (2 * torch.arange(len(rows), device=rows.device) + 1)).sum())


def _keep_scales(layer: nn.Module, inputs: tuple) -> None:
    """On a CPU, PEFT's DoRA makes 8-bit weights anew without their scales, which the layer still has."""
    if layer.weight.CB is not None and layer.weight.SCB is None:
        layer.weight.SCB = layer.state.SCB


def _copied(attributes: dict) -> dict:
    """A copy: children, parameters and hooks, which are dicts, can be added to one and not be in the other."""
    return {name: copy.copy(value) if isinstance(value, dict) else value for name, value in attributes.items()}


def _sizes(model: PreTrainedModel) -> dict:
    return {
        "model_type": model.config.model_type,
        "layers": model.config.num_hidden_layers,
        "encoder_decoder": bool(model.config.is_encoder_decoder),
        "width": model.get_input_embeddings().weight.shape[1],
    }


def _values(model: PreTrainedModel, places: list[list[int]]) -> list[float]:
    words = model.get_input_embeddings().weight
    rows, columns = torch.tensor(places, device=words.device).T
    return words.detach()[rows, columns].float().tolist()

"""Take a method off a model again, so that the next one can be attached to the same loaded weights."""

import copy
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from nblib.methods.identity import checksum, identity


class _Origin(NamedTuple):
    """A parameter of the model's own, as it was."""

    parameter: nn.Parameter
    owner: nn.Module
    trainable: bool
    writes: int
    address: int
    checksum: int | None  # of its content; None: not looked at

    def changed(self) -> bool:
        there = self.parameter
        if there._version != self.writes or there.data_ptr() != self.address:
            return True
        if not there.is_floating_point() and not any(map(self._is_it, self.owner._parameters.values())):
            return True  # others in the place of quantized weights, whose layer remembers what it has computed with
        return self.checksum is not None and checksum(there) != self.checksum

    def _is_it(self, other: nn.Parameter | None) -> bool:
        """Also where bitsandbytes made another parameter of the same memory, as it does in `to`."""
        return other is not None and (other is self.parameter or other.data_ptr() == self.address)


class BaseChangedError(ValueError):
    """What a method wrote into the base's own weights cannot be taken off: the model is to be loaded again."""


@dataclass(frozen=True)
class Before:
    """A model's tree of modules as it was: references and checksums, no copies of weights."""

    model: PreTrainedModel
    modules: list[tuple[nn.Module, dict]]  # with its attributes: children, parameters, hooks, flags
    configs: list[tuple[PreTrainedConfig, dict]]
    parameters: dict[str, _Origin]
    identity: dict  # of the bare model

    def restore(self) -> None:
        """Puts every module, hook, flag and setting back; what was added is no longer reached from the model."""
        for module, attributes in self.modules:
            module.__dict__.clear()
            module.__dict__.update(_copied(attributes))
        for config, attributes in self.configs:
            config.__dict__.clear()
            config.__dict__.update(copy.deepcopy(attributes))
        for each in self.parameters.values():
            each.parameter.requires_grad_(each.trainable)
            each.parameter.grad = None

    def changed(self) -> list[str]:
        """The parameters of the model's own that were written to; empty where all are as they were loaded."""
        return [name for name, each in self.parameters.items() if each.changed()]


def remember(model: PreTrainedModel, *, by_content: bool = True) -> Before:
    """What `restore` needs. PEFT's own unloading leaves some of its tuners' marks, and others cannot be unloaded.

    `by_content`: also what is written past torch's count of writes is noticed, for a checksum of every weight.
    Raises ValueError for a model that has a method on it.
    """
    if hasattr(model, "peft_config"):
        raise ValueError("the model has a method on it already; methods.detach takes it off")
    configs = {id(each.config): each.config for each in model.modules() if _has_config(each)}
    real = all(each.device.type != "meta" for each in model.parameters())
    parameters = {}
    for name, each in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        content = checksum(each) if by_content and real else None
        parameters[name] = _Origin(each, owner, each.requires_grad, each._version, each.data_ptr(), content)
    return Before(
        model,
        [(module, _copied(module.__dict__)) for module in model.modules()],
        [(config, copy.deepcopy(config.__dict__)) for config in configs.values()],
        parameters,
        identity(model) if real else {},
    )


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


def _has_config(module: nn.Module) -> bool:
    return isinstance(getattr(module, "config", None), PreTrainedConfig)


def _copied(attributes: dict) -> dict:
    """A copy: children, parameters and hooks, which are dicts, can be added to one and not be in the other."""
    return {name: copy.copy(value) if isinstance(value, dict) else value for name, value in attributes.items()}

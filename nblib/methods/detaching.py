"""Take a method off a model again, so that the next one can be attached to the same loaded weights."""

import copy
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

_Origin = tuple[
    nn.Parameter, bool, int, int
]  # with whether it was trainable, how often it was written, and where it is


@dataclass(frozen=True)
class Before:
    """A model's tree of modules as it was: references, no copies of weights."""

    model: PreTrainedModel
    modules: list[tuple[nn.Module, dict]]  # with its attributes: children, parameters, hooks, flags
    configs: list[tuple[PreTrainedConfig, dict]]
    parameters: dict[str, _Origin]

    def restore(self) -> None:
        """Puts every module, hook, flag and setting back; what was added is no longer reached from the model."""
        for module, attributes in self.modules:
            module.__dict__.clear()
            module.__dict__.update(_copied(attributes))
        for config, attributes in self.configs:
            config.__dict__.clear()
            config.__dict__.update(copy.deepcopy(attributes))
        for parameter, trainable, _, _ in self.parameters.values():
            parameter.requires_grad_(trainable)
            parameter.grad = None

    def changed(self) -> str | None:
        """The first parameter of the model's own that was written to; None where all are as they were loaded."""
        for name, (parameter, _, version, place) in self.parameters.items():
            if parameter._version != version or parameter.data_ptr() != place:
                return name
        return None


def remember(model: PreTrainedModel) -> Before:
    """What `restore` needs. PEFT's own unloading leaves some of its tuners' marks, and others cannot be unloaded.

    Raises ValueError for a model that has a method on it.
    """
    if hasattr(model, "peft_config"):
        raise ValueError("the model has a method on it already; methods.detach takes it off")
    configs = {id(each.config): each.config for each in model.modules() if _has_config(each)}
    return Before(
        model,
        [(module, _copied(module.__dict__)) for module in model.modules()],
        [(config, copy.deepcopy(config.__dict__)) for config in configs.values()],
        {name: (each, each.requires_grad, each._version, each.data_ptr()) for name, each in model.named_parameters()},
    )


def detach(attached: nn.Module) -> PreTrainedModel:
    """The base model as it was before `attach` or `load`; the attached model must not be used any more.

    Raises ValueError where the base's own weights were trained: full tuning, or a bias that a config names.
    """
    before = getattr(attached, "before", None)
    if before is None:
        raise ValueError(f"detach takes what methods.attach or methods.load returned; got a {type(attached).__name__}")
    if name := before.changed():
        raise ValueError(f"the base's own weights were trained, {name} among them: load the model again")
    before.restore()
    return before.model


def _has_config(module: nn.Module) -> bool:
    return isinstance(getattr(module, "config", None), PreTrainedConfig)


def _copied(attributes: dict) -> dict:
    """A copy: children, parameters and hooks, which are dicts, can be added to one and not be in the other."""
    return {name: copy.copy(value) if isinstance(value, dict) else value for name, value in attributes.items()}

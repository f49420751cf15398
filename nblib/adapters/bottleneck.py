"""Configuration, layer and tuner of the bottleneck adapter, in the shape that PEFT asks of its methods."""

import enum
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn

from nblib.adapters.places import PLACEMENTS, find_places, layer_width


class BottleneckType(str, enum.Enum):  # noqa: UP042 - PEFT also reads how an enum's member prints
    """The type as PEFT's tables and files know it; PEFT's own enum of types is closed."""

    BOTTLENECK = "BOTTLENECK"


@dataclass
class BottleneckConfig(PeftConfig):
    """What to add: two linear layers with a ReLU between, to the output of each target.

    Raises ValueError for a bottleneck below 1 and for an unknown placement.
    """

    bottleneck: int = 64  # width between the two layers
    placement: str = "pfeiffer"  # or houlsby; not read where target_modules are given
    target_modules: set[str] | list[str] | str | None = None  # linear layers; None: those of the placement
    modules_to_save: list[str] | None = None  # layers of the base to train as well, as in every PEFT method

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = BottleneckType.BOTTLENECK
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        if not isinstance(self.bottleneck, int) or self.bottleneck < 1:
            raise ValueError(f"bottleneck must be a whole number from 1 on; got {self.bottleneck!r}")
        if self.placement not in PLACEMENTS:
            raise ValueError(f"placement must be one of {', '.join(PLACEMENTS)}; got {self.placement!r}")


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A linear layer and the adapters on its output. Never touches the layer's weight, so it may be quantized."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_down = nn.ModuleDict()
        self.bottleneck_up = nn.ModuleDict()

    def add(self, name: str, *, width: int, bottleneck: int) -> None:
        """A new adapter that changes nothing yet: up begins at zero. Its weights are fp32 whatever the base's are."""
        device = self.weight.device
        down = nn.Linear(width, bottleneck, device=device)
        up = nn.Linear(bottleneck, width, device=device)
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
        self.bottleneck_down[name], self.bottleneck_up[name] = down, up

    def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        output = self.base_layer(hidden, *args, **kwargs)
        if self.disable_adapters:
            return output
        changes = [self._change(output, name) for name in self.active_adapters if name in self.bottleneck_down]
        return sum(changes, start=output)

    def _change(self, output: torch.Tensor, name: str) -> torch.Tensor:
        down, up = self.bottleneck_down[name], self.bottleneck_up[name]
        # In the adapter's type, or autocast's, and back: the residual keeps the type that the base works in.
        return up(torch.relu(down(self._cast_input_dtype(output, down.weight.dtype)))).to(output.dtype)


class BottleneckModel(BaseTuner):
    """Puts a BottleneckLayer in the place of every target; PEFT's base class does the rest."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer

    def _prepare_adapter_config(self, peft_config: BottleneckConfig, model_config: dict) -> BottleneckConfig:
        if peft_config.target_modules is None:
            peft_config.target_modules = set(find_places(self.model, peft_config.placement))
        return peft_config

    def _create_and_replace(
        self,
        peft_config: BottleneckConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
    ) -> None:
        width = layer_width(target)
        if width is None:
            kind = type(target).__name__
            raise ValueError(f"a bottleneck adapter goes on a linear layer; {current_key} is {kind}: name another")
        layer = target if isinstance(target, BottleneckLayer) else BottleneckLayer(target)
        layer.add(adapter_name, width=width, bottleneck=peft_config.bottleneck)
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> None:
        raise ValueError("a bottleneck adapter is nonlinear and cannot be merged: use it as it is, or unload() it")

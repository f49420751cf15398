"""The bottleneck adapter of Houlsby et al. (2019) and Pfeiffer et al. (2021), which PEFT has not, as a PEFT tuner.

Once this is imported, `peft.get_peft_model(model, BottleneckConfig(…))`, `save_pretrained` and
`PeftModel.from_pretrained` treat it as one of PEFT's own methods. It cannot be merged into a linear layer.
"""

import enum
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn

from nblib.methods.targets import blocks, is_attention, output_width, sub_block_ends
from nblib.spec import Adapter


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
        Adapter(bottleneck=self.bottleneck, placement=self.placement)  # checks both


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
        return sum((self._change(output, name) for name in self.active_adapters if name in self.bottleneck_up), output)

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
            peft_config.target_modules = set(places(self.model, peft_config.placement))
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
        width = output_width(target)
        if width is None:
            kind = type(target).__name__
            raise ValueError(f"a bottleneck adapter goes on a linear layer; {current_key} is {kind}: name another")
        layer = target if isinstance(target, BottleneckLayer) else BottleneckLayer(target)
        layer.add(adapter_name, width=width, bottleneck=peft_config.bottleneck)
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> None:
        raise ValueError("a bottleneck adapter is nonlinear and cannot be merged: use it as it is, or unload() it")


def places(model: nn.Module, placement: str) -> list[str]:
    """Paths of the linear layers that end a feed-forward, with houlsby also those that end an attention.

    Raises ValueError unless each block has attention and one dense feed-forward (a mixture of experts has not).
    """
    width = getattr(getattr(model, "config", None), "hidden_size", 0)
    refusal = f"a bottleneck adapter for {type(model).__name__} needs {{}}: give the layers as target_modules"
    found: list[str] = []
    for path, block in blocks(model) if width else ():
        ends = list(sub_block_ends(block, width, path))
        feed_forward = [name for name, parent in ends if not is_attention(parent)]
        # A parameter of three dimensions is a stack of experts, which an adapter after a shared expert would miss.
        stacked = any(parameter.ndim > 2 for parameter in block.parameters())
        if len(feed_forward) != 1 or len(ends) == 1 or stacked:
            raise ValueError(refusal.format(f"attention and one dense feed-forward in {path.rstrip('.')}"))
        found += feed_forward if placement == "pfeiffer" else [name for name, _ in ends]
    if not found:
        raise ValueError(refusal.format("a list of transformer blocks and a hidden_size, and it has none"))
    return found


# What peft.utils.register_peft_method does, which itself takes only the members of PEFT's own closed list of types.
PEFT_TYPE_TO_CONFIG_MAPPING[BottleneckType.BOTTLENECK] = BottleneckConfig
PEFT_TYPE_TO_TUNER_MAPPING[BottleneckType.BOTTLENECK] = BottleneckModel
PEFT_TYPE_TO_PREFIX_MAPPING[BottleneckType.BOTTLENECK] = BottleneckModel.prefix

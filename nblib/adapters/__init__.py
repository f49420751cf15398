"""The bottleneck adapter of Houlsby et al. (2019) and Pfeiffer et al. (2021), which PEFT has not, as a PEFT tuner.

Once this is imported, `peft.get_peft_model(model, BottleneckConfig(…))`, `save_pretrained` and
`PeftModel.from_pretrained` treat it as one of PEFT's own methods. It cannot be merged into a linear layer.
"""

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

from nblib.adapters.bottleneck import BottleneckConfig, BottleneckLayer, BottleneckModel, BottleneckType
from nblib.adapters.places import PLACEMENTS, find_places

__all__ = ["PLACEMENTS", "BottleneckConfig", "BottleneckLayer", "BottleneckModel", "find_places"]

# What peft.utils.register_peft_method does, which itself takes only the members of PEFT's own closed list of types.
PEFT_TYPE_TO_CONFIG_MAPPING[BottleneckType.BOTTLENECK] = BottleneckConfig
PEFT_TYPE_TO_TUNER_MAPPING[BottleneckType.BOTTLENECK] = BottleneckModel
PEFT_TYPE_TO_PREFIX_MAPPING[BottleneckType.BOTTLENECK] = BottleneckModel.prefix

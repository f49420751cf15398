"""Attach a method to a model, refuse what cannot work, save and load what was trained, take it off. Trains nothing."""

import logging

logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # it misses an optional kernel at import

from nblib.methods.attaching import (  # noqa: E402
    after_step,
    attach,
    custom,
    keeps_checkpointing,
    optimizer,
    penalty_over,
    trainable_parameters,
)
from nblib.methods.base import BaseChangedError, detach, intruders  # noqa: E402
from nblib.methods.checks import check  # noqa: E402
from nblib.methods.saving import FACTS, card, load, push, read, save  # noqa: E402
from nblib.methods.targets import attention_inputs, feed_forward_layers, linear_layers  # noqa: E402

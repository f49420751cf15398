"""Memory in bytes, and energy: measured by phase and kind, predicted before a run, planned for a GPU."""

from nblib.memory.energy import counters, joules
from nblib.memory.measuring import (
    Peak,
    device_bytes,
    first_step,
    held,
    is_out_of_memory,
    kinds,
    most,
    phase,
    weights,
)
from nblib.memory.planning import CARDS, Card, Option, card, plan
from nblib.memory.predicting import Prediction, Texts, predict

__all__ = [
    "CARDS", "Card", "Option", "Peak", "Prediction", "Texts", "card", "counters",
    "device_bytes", "first_step", "held", "is_out_of_memory", "joules", "kinds", "most", "phase", "plan", "predict",
    "weights",
]  # fmt: skip

"""Memory in bytes: measured by phase and kind, predicted before a run, planned for a GPU."""

from nblib.memory.measuring import (
    GIB,
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
    "CARDS", "GIB", "Card", "Option", "Peak", "Prediction", "Texts", "card", "device_bytes", "first_step",
    "held", "is_out_of_memory", "kinds", "most", "phase", "plan", "predict", "weights",
]  # fmt: skip

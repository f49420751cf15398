"""Memory in bytes: measured by phase and kind, predicted before a run, planned for a GPU."""

from nblib.memory.measuring import (
    GIB,
    Births,
    Peak,
    device_bytes,
    first_step,
    held,
    is_out_of_memory,
    kinds,
    peak_of,
    phase,
    requested,
    weights,
)
from nblib.memory.planning import CARDS, Card, Option, card, plan
from nblib.memory.predicting import Prediction, Texts, predict

__all__ = [
    "CARDS", "GIB", "Births", "Card", "Option", "Peak", "Prediction", "Texts", "card", "device_bytes", "first_step",
    "held", "is_out_of_memory", "kinds", "peak_of", "phase", "plan", "predict", "requested", "weights",
]  # fmt: skip

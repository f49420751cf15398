"""Bytes: measured by phase and by kind, predicted before a run, planned for a card."""

from nblib.memory.allocations import Births, peak_of
from nblib.memory.by_kind import first_step, held, kinds, weights
from nblib.memory.cards import CARDS
from nblib.memory.exhausted import is_out_of_memory, requested
from nblib.memory.measuring import GIB, Peak, device_bytes, phase
from nblib.memory.planning import Option, plan
from nblib.memory.predicting import Prediction, predict

__all__ = [
    "CARDS",
    "GIB",
    "Births",
    "Option",
    "Peak",
    "Prediction",
    "device_bytes",
    "first_step",
    "held",
    "is_out_of_memory",
    "kinds",
    "peak_of",
    "phase",
    "plan",
    "predict",
    "requested",
    "weights",
]

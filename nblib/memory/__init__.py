"""Bytes: measured by phase and by kind, predicted before a run, planned for a card."""

from nblib.memory.cards import CARDS
from nblib.memory.measuring import GIB, Peak, device_bytes, is_out_of_memory, phase, requested
from nblib.memory.planning import Option, plan
from nblib.memory.predicting import Prediction, predict
from nblib.memory.tensor_bytes import Births, first_step, held, kinds, peak_of, weights

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

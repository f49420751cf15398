"""Fit a method on a task, with transformers' Trainer; go on where a killed process stopped. Scores nothing."""

from nblib.methods.losses import IGNORED
from nblib.train.checkpoints import kept
from nblib.train.encoding import answer_tokens, collate, encode, encode_all, steps
from nblib.train.fitting import Fitted, check, fit
from nblib.train.reporting import check_report_to

__all__ = [
    "IGNORED",
    "Fitted",
    "answer_tokens",
    "check",
    "check_report_to",
    "collate",
    "encode",
    "encode_all",
    "fit",
    "kept",
    "steps",
]

"""Fit a method on a task, with transformers' Trainer; go on where a killed process stopped. Scores nothing."""

from nblib.train.checkpoints import Checkpoints, restore, saved_facts
from nblib.train.encoding import answer_tokens, collate, encode, encode_all, steps, tokens
from nblib.train.fitting import Fitted, check, fit, mean_loss
from nblib.train.losses import IGNORED
from nblib.train.monitor import Monitor, check_report_to

"""Seconds that two ways of the same work are compared by."""

import time

import torch


def seconds() -> float:
    """Of the processor where one thread computes on a CPU: then a busy machine changes little. Else of the wall."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()

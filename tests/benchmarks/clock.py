"""What two ways of the same work are compared by: seconds, and the most memory at once."""

import time
from collections.abc import Callable
from itertools import accumulate
from typing import Any, TypeVar

import torch

T = TypeVar("T")


def seconds() -> float:
    """Of the processor where one thread computes on a CPU: then a busy machine changes little. Else of the wall."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """The seconds that the call takes, and what it gives."""
    began = seconds()
    found = call()
    return seconds() - began, found


def peak_of(call: Callable[[], Any]) -> int:
    """The most bytes that the call holds at once beyond what was there before, on the GPU if there is one.

    On a CPU the profiler listens to the allocator: exact to the byte, but what the call frees of what was there before
    is not seen, so clear gradients first. On a GPU sizes are rounded up as its allocator does, and peak statistics
    start again.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    events = [event for event in events if event.device_type() == torch.autograd.DeviceType.CPU]
    return max(accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())), default=0)

"""Processes that `accelerate launch` started for the same runs, a device each. In an ordinary process there is one."""

import os
from typing import Any


def size() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "ACCELERATE_MIXED_PRECISION" in os.environ else 1


def rank() -> int:
    """Which of them this is, from 0 on; the first one writes."""
    return int(os.environ.get("RANK", "0")) if size() > 1 else 0


def from_first(value: Any) -> Any:
    """What the first process gives; each has to ask at the same time."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0] if size() > 1 else value


def from_all(values: list) -> list:
    """What all of them give, in their order; each has to ask at the same time."""
    from accelerate.utils import gather_object

    return gather_object(values) if size() > 1 else values


def share_random_state() -> None:
    """Gives each process the first one's random numbers."""
    from accelerate.utils import synchronize_rng_states

    if size() > 1:
        synchronize_rng_states(["torch"])

"""Processes that `accelerate launch` or torchrun started for the same runs, a device each. Others are alone."""

import os


def size() -> int:
    """How many there are."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """Which of them this is, from 0 on; the first one writes."""
    return int(os.environ["RANK"]) if size() > 1 else 0


def check(store: str) -> None:
    """Raises ValueError for what processes that are launched together cannot do."""
    if size() > 1 and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        raise ValueError("weights cannot be split over devices (FSDP): launch without it, each device has them all")
    if size() > 1 and "://" in store:
        raise ValueError(f"processes that are launched together need a results folder; got {store}")

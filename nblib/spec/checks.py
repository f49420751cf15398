"""Checks that several settings share: each raises ValueError with one sentence."""

import math
from collections.abc import Iterable


def positive(name: str, value: float) -> None:
    """A number above 0."""
    if not _is_number(value) or value <= 0:
        raise ValueError(f"{name} must be above 0; got {value!r}")


def whole(name: str, value: int, at_least: int = 1) -> None:
    """A whole number: a truth value is none, although Python counts with it."""
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ValueError(f"{name} must be a whole number, {at_least} or more; got {value!r}")


def share(name: str, value: float) -> None:
    """A number from 0 to below 1."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1; got {value!r}")


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    """One of the names that are allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

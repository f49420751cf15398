"""Checks that several settings share: each raises ValueError with one sentence."""

from collections.abc import Iterable


def positive(name: str, value) -> None:
    if value <= 0:
        raise ValueError(f"{name} must be above 0; got {value}")


def share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1; got {value}")


def one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")

"""What the fields of settings may hold: rules in their types, checked when settings are made."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_args

NAME_BYTES, UNUSABLE = 64, '/\\:*?"<>|'  # of a name that a file has inside: a file's may have 255, and has more parts


@dataclass(frozen=True)
class Rule:
    """What a field may hold, in words and as a test."""

    allowed: str
    fits: Callable[[Any], bool]

    def check(self, name: str, value: Any) -> None:
        """Raises ValueError with one sentence."""
        if not self.fits(value):
            raise ValueError(f"{name} must be {self.allowed}; got {value!r}")


def whole(at_least: int) -> Rule:
    """A whole number: a truth value is none, although Python counts with it."""
    allowed = f"a whole number, {at_least} or more"
    return Rule(allowed, lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= at_least)


def number(allowed: str, fits: Callable[[float], bool]) -> Rule:
    """A finite number in a range."""
    return Rule(allowed, lambda value: is_number(value) and math.isfinite(value) and fits(value))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def one_of(*names: str) -> Rule:
    """One of these names."""
    return Rule(f"one of {', '.join(names)}", lambda value: value in names)


def can_be_a_file(name: Any) -> bool:
    """Whether a file can have that name on every system: names of rows and folders have it inside."""
    plain = isinstance(name, str) and name.isprintable() and name == name.strip(" .") and not set(name) & set(UNUSABLE)
    return plain and 0 < len(name.encode()) <= NAME_BYTES


Count = Annotated[int, whole(at_least=1)]
Size = Annotated[int, whole(at_least=0)]
Positive = Annotated[float, number("above 0", lambda value: value > 0)]
NotNegative = Annotated[float, number("0 or more", lambda value: value >= 0)]
Share = Annotated[float, number("at least 0 and below 1", lambda value: 0 <= value < 1)]
TopShare = Annotated[float, number("above 0 and at most 1", lambda value: 0 < value <= 1)]
Flag = Annotated[bool, Rule("True or False", lambda value: isinstance(value, bool))]  # any text would be a yes
FileName = Annotated[str, Rule(f"a short text of at most {NAME_BYTES} bytes without {UNUSABLE}", can_be_a_file)]


@dataclass(frozen=True)
class Settings:
    """Fields whose types carry their rules; a value that breaks one raises ValueError."""

    def __post_init__(self):
        for item in fields(self):
            value, kinds = getattr(self, item.name), (item.type, *get_args(item.type))
            if value is not None or type(None) not in kinds:
                for rule in [rule for kind in kinds for rule in getattr(kind, "__metadata__", ())]:
                    rule.check(item.name, value)

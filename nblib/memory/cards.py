"""Graphics cards by name: how much memory they have, and what they can compute in."""

from dataclasses import dataclass

from nblib import spec
from nblib.memory.measuring import GIB

RESERVED_SHARE = 0.08  # of a card, for what the allocator keeps in pieces and predictions miss
DRIVER_BYTES = GIB // 2  # the driver's own, on every card

CARDS = {  # GiB
    "T4": 16,
    "RTX 3060": 12,
    "RTX A5000": 24,
    "RTX 4090": 24,
    "A100 40": 40,
    "A100 80": 80,
    "H100": 80,
}
NO_BF16 = ("T4",)


@dataclass(frozen=True)
class Card:
    """A device of that size; one without a name is taken to be as able as today's are."""

    gib: float
    name: str = ""

    @property
    def usable_bytes(self) -> int:
        """What a run may need at most: a reserve stays free."""
        return int(self.gib * GIB * (1 - RESERVED_SHARE)) - DRIVER_BYTES

    @property
    def precisions(self) -> tuple[str, ...]:
        """What its base models can be held in, the most exact first; fp16 only where there is no bf16."""
        half = "fp16" if self.name in NO_BF16 else "bf16"
        return ("fp32", half, "int8", "nf4", "nf4-dq")

    def __str__(self) -> str:
        return f"{self.name} with {self.gib:g} GiB" if self.name else f"a card of {self.gib:g} GiB"


def card(device: str | float) -> Card:
    """The card of that name, or one of so many GiB.

    Raises ValueError for an unknown name, and for a size that leaves nothing beside the reserve.
    """
    if isinstance(device, str):
        if device not in CARDS:
            raise ValueError(f"device must be one of {', '.join(CARDS)}, or a number of GiB; got {device!r}")
        return Card(CARDS[device], device)
    if isinstance(device, bool) or not isinstance(device, int | float) or Card(device).usable_bytes <= 0:
        raise ValueError(f"device must have more than 0.6 GiB, of which a reserve stays free; got {device!r}")
    return Card(device)


def check(card: Card, precision: str) -> None:
    """Raises ValueError for a precision that there is not, or that the card cannot do."""
    if precision not in spec.PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(spec.PRECISIONS)}; got {precision!r}")
    if precision == "bf16" and card.name in NO_BF16:
        raise ValueError(f"precision bf16 needs a newer card than the {card.name}: take fp16")

"""Seconds and peak bytes of a phase of a run, over all processes that worked on it. Knows no run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from nblib import memory


class Phase:
    """What a phase costs; `earlier` is what it had cost when an earlier process ended in the middle of it."""

    def __init__(self) -> None:
        self.start, self.peak = time.monotonic(), memory.Peak()
        self.earlier: dict[str, float | None] = {}

    def so_far(self) -> dict[str, float | None]:
        """The costs until now, of a phase that has not ended."""
        with memory.phase(memory.Peak()):
            pass  # its beginning notes the peaks of the phases around it
        return self.costs()

    def costs(self) -> dict[str, float | None]:
        """Seconds and bytes by name."""
        return {
            "seconds": time.monotonic() - self.start + (self.earlier.get("seconds") or 0.0),
            "before_bytes": self.peak.before_bytes,
            "peak_bytes": self._most("peak_bytes"),
            "reserved_bytes": self._most("reserved_bytes"),
        }

    def _most(self, name: str) -> float | None:
        both = (getattr(self.peak, name), self.earlier.get(name))
        return max((each for each in both if each is not None), default=None)


@contextmanager
def phase(name: str, costs: dict) -> Iterator[Phase]:
    """Fills in `name_seconds` and bytes of what runs inside, also where it fails."""
    measured = Phase()
    try:
        with memory.phase(measured.peak):
            yield measured
    finally:
        costs |= {f"{name}_{kind}": value for kind, value in measured.costs().items()}

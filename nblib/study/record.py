"""What a run costs, what is to be known of it and how it ended, collected while it goes."""

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from nblib import memory, results


@dataclass
class Phase:
    """What a phase costs; `earlier` is what it had cost when an earlier process ended in the middle of it."""

    earlier: dict[str, float | None] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)
    peak: memory.Peak = field(default_factory=memory.Peak)

    def costs(self) -> dict[str, float | None]:
        """Seconds and bytes by name."""
        costs: dict = {"before_bytes": self.peak.before_bytes}
        costs["seconds"] = time.monotonic() - self.start + (self.earlier.get("seconds") or 0.0)
        for name in ("peak_bytes", "reserved_bytes"):
            both = (getattr(self.peak, name), self.earlier.get(name))
            costs[name] = max((value for value in both if value is not None), default=None)
        return costs

    def so_far(self) -> dict[str, float | None]:
        """The costs until now, of a phase that has not ended."""
        with memory.phase(memory.Peak()):
            pass  # its beginning notes the peaks of the phases around it
        return self.costs()


@dataclass
class Record:
    """Costs, notes and status of one run; a row is made of it."""

    costs: dict[str, float | None] = field(default_factory=dict)  # as in results.Row
    notes: dict = field(default_factory=dict)
    status: str = results.OK
    error: str | None = None

    @contextmanager
    def phase(self, name: str, earlier: dict[str, float | None] | None = None) -> Iterator[Phase]:
        """Adds `name_seconds` and bytes of what runs inside, also where it fails."""
        measured = Phase(earlier or {})
        try:
            with memory.phase(measured.peak):
                yield measured
        finally:
            self.costs |= {f"{name}_{kind}": value for kind, value in measured.costs().items()}

    def fail(self, problem: Exception) -> None:
        """Notes why the run ended before its end, and where."""
        self.status = results.OUT_OF_MEMORY if memory.is_out_of_memory(problem) else results.FAILED
        self.error = f"{type(problem).__name__}: {problem}"
        self.costs["requested_bytes"] = memory.requested(problem)
        self.notes["traceback"] = "".join(traceback.format_exception(problem))

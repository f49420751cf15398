"""Bytes: measured peak by phase. Predicts nothing yet."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

GIB = 2**30


@dataclass
class Peak:
    """Memory of one phase; filled in when the phase ends."""

    before_bytes: int = 0  # held when the phase began
    peak_bytes: int = 0  # the most held at once, what was there before included
    reserved_bytes: int | None = None  # the allocator's peak, on a GPU


@contextmanager
def phase(measured: Peak) -> Iterator[None]:
    """Fills in the peak of what runs inside: allocated GPU memory, or the resident set of the process on a CPU.

    The resident set's peak can be reset on Linux only; elsewhere it is that of the whole process so far.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        measured.before_bytes = torch.cuda.memory_allocated()
    else:
        _reset_resident_peak()
        measured.before_bytes = _resident("VmRSS")
    try:
        yield
    finally:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            measured.peak_bytes = torch.cuda.max_memory_allocated()
            measured.reserved_bytes = torch.cuda.max_memory_reserved()
        else:
            measured.peak_bytes = _resident("VmHWM")


def _reset_resident_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _resident(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

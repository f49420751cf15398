"""Bytes of a phase of a run, as the device counts them. Does not say what they hold."""

import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from nblib import models

GIB = 2**30


@dataclass
class Peak:
    """Memory of one phase; filled in when the phase ends. None: this device does not tell."""

    before_bytes: int = 0  # held when the phase began
    peak_bytes: int | None = None  # the most held at once, what was there before included
    reserved_bytes: int | None = None  # the allocator's peak on a GPU; on mps what the driver holds at the end
    after_bytes: int = 0  # held when the phase ended


@dataclass(frozen=True)
class _Reading:
    """What the device says now; peaks are those since the last reset."""

    held_bytes: int
    peak_bytes: int | None
    reserved_bytes: int | None


_open: list[Peak] = []  # the phases around this one: the device has one counter for all of them


@contextmanager
def phase(measured: Peak) -> Iterator[None]:
    """Fills in what runs inside: memory that torch allocated on the GPU, on a CPU the resident set of the process.

    Phases may stand in each other. The resident set's peak can be reset on Linux only; elsewhere it is that of the
    whole process so far. MPS counts no peak.
    """
    before = _read()
    _note(before)  # the phases around lose their peak with the reset
    _reset()
    measured.before_bytes = before.held_bytes
    _open.append(measured)
    try:
        yield
    finally:
        after = _read()
        _note(after)
        _open.pop()
        measured.after_bytes = after.held_bytes


def device_bytes() -> int | None:
    """All memory of the device that models are put on; None where it does not tell."""
    device = models.device()
    if device == "cuda":
        return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    if device == "mps":
        return torch.mps.recommended_max_memory()  # the chip shares the machine's; this is what torch may take
    with suppress(ValueError, OSError):  # a system without these names
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _note(reading: _Reading) -> None:
    for each in _open:
        each.peak_bytes = _larger(each.peak_bytes, reading.peak_bytes)
        each.reserved_bytes = _larger(each.reserved_bytes, reading.reserved_bytes)


def _larger(one: int | None, other: int | None) -> int | None:
    return max((each for each in (one, other) if each is not None), default=None)


def _read() -> _Reading:
    device = models.device()
    if device == "cuda":
        torch.cuda.synchronize()
        return _Reading(
            torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        )
    if device == "mps":
        torch.mps.synchronize()
        return _Reading(torch.mps.current_allocated_memory(), None, torch.mps.driver_allocated_memory())
    return _Reading(_resident("VmRSS"), _resident("VmHWM"), None)


def _reset() -> None:
    device = models.device()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif device == "cpu":
        with suppress(OSError):  # Linux alone has this file
            Path("/proc/self/clear_refs").write_text("5")


def _resident(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


SAID = ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")
ASKED = re.compile(r"(?:tried|unable) to allocate (\d+(?:\.\d+)?) (bytes|[KMGTP]i?B)", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine had no memory left. On a CPU torch raises a mere RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(each in str(error).lower() for each in SAID)


def requested(error: BaseException) -> int | None:
    """Bytes that could not be had, as exact as the error says them; None where it does not."""
    asked = ASKED.search(str(error)) if is_out_of_memory(error) else None
    if asked is None:
        return None
    number, unit = asked.groups()
    power = 0 if unit.lower() == "bytes" else "KMGTP".index(unit[0].upper()) + 1
    return round(float(number) * 2 ** (10 * power)) if power else int(number)  # torch's MB on mps are MiB, too

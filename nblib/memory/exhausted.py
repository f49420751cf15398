"""Out of memory as the libraries say it, each in words of its own. Catches nothing."""

import re

import torch

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

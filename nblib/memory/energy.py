"""Joules that the device counts: a GPU by NVML, a Linux CPU by RAPL. Estimates nothing."""

import math
from pathlib import Path

import torch

from nblib import models

RAPL = Path("/sys/class/powercap")  # Intel's and AMD's; as a rule only root may read it
MOST_WATTS = 400.0  # of a CPU's package, whose counter begins again after some 260 kJ: once may go unseen, twice not


def counters() -> dict[str, tuple[float, float]]:
    """Counter -> joules so far, and after how many it begins again: of the GPU, or of each package of the CPU."""
    try:
        if models.device() == "cuda":
            import pynvml  # of the package nvidia-ml-py

            pynvml.nvmlInit()
            card = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
            handle = pynvml.nvmlDeviceGetHandleByUUID(card)
            return {card: (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, math.inf)}
        places = [place for place in RAPL.glob("*-rapl:*") if place.name.count(":") == 1]  # others are parts of these
        return {place.name: (_joules(place / "energy_uj"), _joules(place / "max_energy_range_uj")) for place in places}
    except Exception:  # no package, no driver, a card that does not count, a counter that is root's
        return {}


def joules(before: dict[str, tuple[float, float]], seconds: float) -> float | None:
    """What the whole device used in these seconds, whoever made it work; None where that cannot be told."""
    now = counters()
    unseen = any(around < MOST_WATTS * seconds for _, around in now.values())
    if not now or now.keys() != before.keys() or unseen:
        return None
    return sum((count - before[name][0]) % around for name, (count, around) in now.items())


def _joules(counter: Path) -> float:
    return int(counter.read_text()) / 1e6

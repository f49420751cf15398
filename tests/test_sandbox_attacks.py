"""Hostile programs: each is contained, leaves nothing behind, and the next program scores as ever.

They run in `attacks/outer.py`, a process in an outer layer of isolation of its own, which looks for damage.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from attacks.forgeries import FORGERIES
from attacks.programs import ATTACKS

OUTER = Path(__file__).parent / "attacks" / "outer.py"
NAMES = [attack.name for attack in [*ATTACKS, *FORGERIES]]
SAMPLE = [
    "stubborn fork bomb", "memory of many processes", "endless output", "full disk", "higher limits",
    "delete everything", "read a private key", "environment", "through a symbolic link", "through /proc/self/root",
    "loopback", "abstract socket", "kill everybody", "kill a process", "memory of the parent", "new user namespace",
    "become root", "see other processes", "double fork", "endless finalizer",
    "exit in the call", "list", "answers all methods", "a metaclass", "patches builtins", "shadows a module",
    "searches its memory", "sends a false type", "answers from a thread", "inside: a guessed secret",
]  # fmt: skip
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bait and the outer layer are made for Linux")


def faults(*arguments: str) -> tuple[int, list[dict]]:
    """How many attacks ran, and those with a fault; the end counts as one where a process is left."""
    done = subprocess.run([sys.executable, OUTER, *arguments], capture_output=True, text=True, check=False)
    *found, end = [json.loads(line) for line in done.stdout.splitlines()] or [{"left": "everything"}]
    assert done.returncode == 0, f"the outer layer ended with {done.returncode} after {end}: {done.stderr[-1000:]}"
    return len(found), [attack for attack in found if attack["faults"]] + ([end] if end["left"] else [])


def test_a_sample_is_contained():
    assert len(set(NAMES)) == len(NAMES) >= 140
    assert faults(*SAMPLE) == (len(SAMPLE), [])


@pytest.mark.slow
@pytest.mark.parametrize("environment", ["", "--nobody", "Landlock", "user namespace", "network namespace"])
def test_all_are_contained(environment):
    """Every layer has another one behind it: with a layer's name it is left out."""
    arguments = ["--without", environment] if environment and environment != "--nobody" else environment.split()
    assert faults(*arguments) == (len(NAMES), [])

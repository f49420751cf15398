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
NAMES = [each.name for each in [*ATTACKS, *FORGERIES]]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bait and the outer layer are made for Linux")


def attack(*arguments: str) -> dict[str, dict]:
    """What came of each attack, by its name; `left` is what the last one left."""
    done = subprocess.run([sys.executable, OUTER, *arguments], capture_output=True, text=True, timeout=600, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode:
        last = lines[-1]["name"] if lines else "none"
        pytest.fail(f"the outer layer ended with {done.returncode} after {last!r}: {done.stderr[-1000:]}")
    return {each.get("name", "the end"): each for each in lines}


@pytest.fixture(scope="module")
def results(request) -> dict[str, dict]:
    """Of all attacks that are selected, run one after another by one worker."""
    items = [each for each in request.session.items if each.module is request.module and hasattr(each, "callspec")]
    return attack(*[each.callspec.params["name"] for each in items if "name" in each.callspec.params])


def test_there_are_many_attacks_with_names_of_their_own():
    assert len(set(NAMES)) == len(NAMES) >= 40


@pytest.mark.parametrize("name", NAMES)
def test_is_contained(name, results):
    assert results[name]["faults"] == [], results[name]


def test_no_process_is_left(results):
    assert results["the end"]["left"] == []


@pytest.mark.slow
def test_all_are_contained_where_the_caller_is_not_root():
    found = attack("--nobody")
    assert [each for each in found.values() if each.get("faults")] == []
    assert found["the end"]["left"] == []


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["Landlock", "user namespace", "network namespace"])
def test_all_are_contained_without(layer):
    """Every layer has another one behind it."""
    found = attack("--without", layer)
    assert [each for each in found.values() if each.get("faults")] == []

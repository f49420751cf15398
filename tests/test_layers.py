"""The house stands: imports go down, light rooms stay light, no file grows too long."""

import ast
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import NetworkUsedError

import nblib

PACKAGE = Path(nblib.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = (
    ("rules", "sandbox", "stats", "provenance", "progress", "files", "stores"),
    ("spec", "hub"),
    ("results",),
    ("tasks", "presets"),
    ("prompts", "retrieve", "metrics", "models"),
    ("methods", "generate"),
    ("train", "deploy"),
    ("memory",),
    ("study",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FACE = {"tables", "plots"}  # what a person sees
FACE_READS = {"spec", "results", "stats", "files"}
FRONT = {"widgets"}  # what a person plays with: may import every floor and the face; only notebooks use it
APART = {"tools", "notebook", "run"}  # may import anything; nobody imports them
LIGHT = {*FLOORS[0], *FLOORS[1], *FLOORS[2], *FACE}
HEAVY = {"torch", "transformers", "peft", "datasets"}
MAX_LINES = 450


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


ROOMS = {room_of(path) for path in FILES} - {"__init__"}


@pytest.mark.parametrize("room", sorted({"__init__", *ROOMS}))
def test_a_room_imports_only_what_stands_below_it_and_its_files_are_short_and_say_what_they_are(room):
    for path in (path for path in FILES if room_of(path) == room):
        source = path.read_text(encoding="utf-8")
        assert list(broken(room, source)) == []
        assert len(source.splitlines()) <= MAX_LINES, f"{path} is too long: make a folder of the room"
        assert not source.strip() or ast.get_docstring(ast.parse(source)), f"{path} has no docstring"


@pytest.mark.parametrize(
    ("room", "source", "reason"),
    [
        ("tasks", "from nblib import study", "up"),
        ("tasks", "def f():\n    import nblib.study", "up"),
        ("models", "from . import prompts", "sideways"),
        ("plots", "from nblib import tasks", "reads only"),
        ("study", "from nblib.tables import table", "face"),
        ("widgets", "from nblib import notebook", "nobody imports"),
        ("train", "from nblib import nowhere", "is no room"),
        ("train", "import nblib", "hides"),
        ("tables", "try:\n    from datasets import load_dataset\nexcept ImportError:\n    pass", "heavy"),
        ("__init__", "from nblib import spec", "lazy"),
        ("study", "from nblib import models, spec, train", ""),
        ("tools", "from nblib import prompts, study", ""),
        ("widgets", "from nblib import plots, study, tables", ""),
        ("results", "def to_dataset():\n    import datasets", ""),
        ("provenance", "from nblib import __version__", ""),
    ],
)
def test_a_broken_rule_is_found_and_a_kept_one_is_quiet(room, source, reason):
    found = list(broken(room, source))
    assert len(found) == bool(reason)
    assert reason in "".join(found)


def test_light_rooms_load_no_framework():
    """Imported for real: also what they import indirectly is light."""
    light = [*sorted(LIGHT & ROOMS), "widgets.explorer"]  # which reads rows only
    code = "import json, sys, time; begun = time.perf_counter(); import nblib; seconds = time.perf_counter() - begun;"
    code += "".join(f"import nblib.{room};" for room in light) + "print(json.dumps([seconds, list(sys.modules)]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seconds, modules = json.loads(done.stdout.splitlines()[-1])
    assert seconds < 0.5
    assert HEAVY & set(modules) == set()


def test_every_public_room_exists_and_loads_when_it_is_named():
    assert set(nblib.MODULES) <= ROOMS & set(dir(nblib))
    assert nblib.spec.__name__ == "nblib.spec"
    assert nblib.compare is nblib.tables.compare
    with pytest.raises(AttributeError, match="no module 'kitchen'; it has .*study"):
        nblib.kitchen  # noqa: B018


def test_tests_have_no_network():
    with pytest.raises(NetworkUsedError), socket.socket() as outward:
        outward.connect(("192.0.2.1", 80))  # an address kept free for documentation


def broken(room: str, source: str) -> Iterator[str]:
    """One sentence for each import in the source that the house does not allow to that room."""
    tree = ast.parse(source)
    imported = set(_imported_rooms(tree))
    if room == "__init__":
        yield from (f"nblib/__init__ must stay lazy; it imports {other}" for other in sorted(imported))
        return
    for other in sorted(imported - {room}):
        if reason := _forbidden(room, other):
            yield f"{room} imports {other}: {reason}"
    for name in sorted(set(_at_import(tree)) & HEAVY) if room in LIGHT else ():
        yield f"{room} imports {name} when it is loaded; it is a light room, {name} is heavy"


def _forbidden(room: str, other: str) -> str | None:
    if other == "nblib":
        return "that hides which room is used; write `from nblib import room`"
    if other in APART - {room} and room not in APART:
        return "it stands apart, nobody imports it"
    if not {room, other} <= {*FLOOR, *FACE, *FRONT, *APART}:
        return f"one of them is no room of the house: put it on a floor in {Path(__file__).name} and CONTRIBUTING"
    if room in APART | FRONT:
        return None
    if room in FACE:
        return None if other in FACE_READS else f"the face reads only {', '.join(sorted(FACE_READS))}"
    if other in FACE | FRONT:
        return "it is the face, which only notebooks use"
    if FLOOR[other] == FLOOR[room]:
        return f"both stand on floor {FLOOR[room]}; an import may not go sideways"
    return None if FLOOR[other] < FLOOR[room] else f"from floor {FLOOR[room]} up to {FLOOR[other]}"


def _imported_rooms(tree: ast.Module) -> Iterator[str]:
    """Rooms that are imported anywhere in a file, functions included; `nblib` where the room is not said."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ("nblib." if node.module else "nblib") if node.level else ""  # relative ones stay inside a room
            names = [f"{start}{node.module or ''}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "nblib" and rest != "__version__":
                yield rest.split(".")[0] or "nblib"


def _at_import(tree: ast.AST) -> Iterator[str]:
    """Top-level names of the packages that loading a file imports: what stands outside of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _at_import(node)

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

FLOORS = {
    1: ("spec", "sandbox", "stats", "provenance", "parameters", "progress", "hub", "files"),
    2: ("results",),
    3: ("tasks", "presets"),
    4: ("prompts", "retrieve", "metrics", "models"),
    5: ("methods", "generate"),
    6: ("train", "deploy"),
    7: ("memory",),
    8: ("study",),
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
FACE = ("tables", "plots")  # what a person sees
FACE_READS = ("spec", "results", "stats", "files")
FRONT = ("widgets",)  # what a person plays with: may import every floor and the face; only notebooks use it
APART = ("tools", "colab")  # may import anything; nobody imports them
HEAVY = ("torch", "transformers", "peft", "datasets")
MAXIMUM_LINES = 450


def test_there_is_a_house():
    rooms = {_room(path) for path in FILES}
    assert {"spec", "results", "tasks", "models"} <= rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
class TestEveryFile:
    def test_stands_in_a_room_of_the_table(self, path):
        room = _room(path)
        known = (*FLOOR, *FACE, *FRONT, *APART)
        assert room == "__init__" or room in known, (
            f"nblib.{room} is no room of the house: put it on a floor in {Path(__file__).name} and into the README, "
            f"or into one of {', '.join(sorted(known))}"
        )

    def test_imports_only_go_down(self, path):
        assert list(broken(_room(path), path.read_text(encoding="utf-8"))) == []

    def test_is_not_too_long(self, path):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MAXIMUM_LINES, f"{path} has {lines} lines: make a folder of the room"

    def test_says_what_it_is(self, path):
        text = path.read_text(encoding="utf-8")
        assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


@pytest.mark.parametrize(
    ("room", "source", "reason"),
    [
        ("tasks", "from nblib import study", "up"),
        ("tasks", "def f():\n    import nblib.study", "up"),
        ("models", "from nblib.prompts import build", "sideways"),
        ("models", "from . import prompts", "sideways"),
        ("plots", "from nblib import tasks", "reads only"),
        ("study", "from nblib.tables import table", "face"),
        ("tables", "from nblib.widgets import playground", "reads only"),
        ("study", "from nblib.widgets import playground", "face"),
        ("widgets", "from nblib import colab", "nobody imports"),
        ("train", "from nblib.tools import text", "nobody imports"),
        ("train", "from nblib import nowhere", "is no room"),
        ("train", "import nblib", "hides"),
        ("spec", "import torch", "heavy"),
        ("tables", "try:\n    from datasets import load_dataset\nexcept ImportError:\n    pass", "heavy"),
        ("__init__", "from nblib import spec", "lazy"),
    ],
)
def test_a_broken_rule_is_found(room, source, reason):
    (found,) = broken(room, source)
    assert reason in found


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("study", "from nblib import models, spec, train"),
        ("metrics", "from nblib.metrics.names import NAMES"),
        ("tools", "from nblib import prompts, study"),
        ("widgets", "from nblib import plots, study, tables"),
        ("plots", "from nblib.results import Row"),
        ("results", "def to_dataset():\n    import datasets"),
        ("provenance", "from nblib import __version__"),
    ],
)
def test_a_kept_rule_is_quiet(room, source):
    assert list(broken(room, source)) == []


def test_import_is_light():
    """`import nblib` loads no framework and takes under half a second."""
    report = _in_a_fresh_python(
        "import sys, time, json; begun = time.perf_counter(); import nblib; seconds = time.perf_counter() - begun;"
        "print(json.dumps([seconds, list(sys.modules)]))"
    )
    seconds, modules = json.loads(report)
    assert seconds < 0.5
    assert set(HEAVY) & set(modules) == set()


def test_light_rooms_load_no_framework():
    """The first floor and the face, imported for real: also what they import indirectly is light."""
    light = [room for room in (*FLOORS[1], *FLOORS[2], *FACE, *FRONT) if room in {_room(path) for path in FILES}]
    assert "spec" in light
    light.append("widgets.explorer")  # reads rows only
    imports = "".join(f"import nblib.{room};" for room in light)
    modules = json.loads(_in_a_fresh_python(f"import json, sys; {imports} print(json.dumps(list(sys.modules)))"))
    assert set(HEAVY) & set(modules) == set()


def test_every_public_room_exists():
    assert set(nblib.ROOMS) <= {_room(path) for path in FILES}
    assert set(nblib.ROOMS) <= set(dir(nblib))


def test_a_room_loads_when_it_is_named():
    assert nblib.spec.__name__ == "nblib.spec"


def test_two_stores_are_compared_by_a_function_of_the_house():
    assert nblib.compare is nblib.tables.compare
    assert "compare" in dir(nblib)


def test_an_unknown_room_is_named_with_those_that_exist():
    with pytest.raises(AttributeError, match="no room 'kitchen'; it has .*study"):
        nblib.kitchen  # noqa: B018


def test_tests_have_no_network():
    with pytest.raises(NetworkUsedError), socket.socket() as outward:
        outward.connect(("192.0.2.1", 80))  # an address kept free for documentation


# --- the rules ------------------------------------------------------------------------------------------------------


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
    if room in (*FLOORS[1], *FLOORS[2], *FACE):
        for name in sorted(set(_at_import(tree)) & set(HEAVY)):
            yield f"{room} imports {name} when it is loaded; it is a light room, {name} is heavy"


def _forbidden(room: str, other: str) -> str | None:
    if other == "nblib":
        return "that hides which room is used; write `from nblib import room`"
    if other in APART and room not in APART:
        return "it stands apart, nobody imports it"
    if not {room, other} <= {*FLOOR, *FACE, *FRONT, *APART}:
        return "one of them is no room of the house"
    if room in (*APART, *FRONT):
        return None
    if room in FACE:
        return None if other in FACE_READS else f"the face reads only {', '.join(FACE_READS)}"
    if other in (*FACE, *FRONT):
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
            start = "nblib" if node.level else node.module or ""  # relative imports occur inside a room only
            start = f"nblib.{node.module}" if node.level and node.module else start
            names = [f"{start}.{alias.name}" for alias in node.names]
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


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _in_a_fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]

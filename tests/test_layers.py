"""The house stands: imports go down, light modules stay light, no file grows too long."""

import ast
import importlib
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
    ("columns", "rules", "sandbox", "stats", "provenance", "progress", "files", "stores"),
    ("spec", "hub"),
    ("results",),
    ("tasks", "presets"),
    ("prompts", "retrieve", "metrics", "models", "community"),
    ("methods", "generate"),
    ("train", "deploy"),
    ("memory",),
    ("study",),
)
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}
FACE = {"tables", "plots"}  # what a person sees
FACE_READS = {"columns", "spec", "results", "stats", "files"}
FRONT = {"widgets"}  # what a person plays with: may import every floor and the face; only notebooks use it
APART = {"tools", "notebook", "run"}  # may import anything; nobody imports them
LIGHT = {*FLOORS[0], *FLOORS[1], *FLOORS[2], *FACE}
HEAVY = {"torch", "transformers", "peft", "datasets"}
MAX_LINES = 450


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


MODULES = {module_of(path) for path in FILES} - {"__init__"}


@pytest.mark.parametrize("module", sorted({"__init__", *MODULES}))
def test_a_module_imports_only_what_stands_below_it_and_its_files_are_short_and_say_what_they_are(module):
    for path in (path for path in FILES if module_of(path) == module):
        source = path.read_text(encoding="utf-8")
        assert list(broken(module, source)) == []
        assert len(source.splitlines()) <= MAX_LINES, f"{path} is too long: make a folder of the module"
        assert not source.strip() or ast.get_docstring(ast.parse(source)), f"{path} has no docstring"


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("tasks", "from nblib import study", "up"),
        ("tasks", "def f():\n    import nblib.study", "up"),
        ("models", "from . import prompts", "sideways"),
        ("plots", "from nblib import tasks", "reads only"),
        ("study", "from nblib.tables import table", "face"),
        ("widgets", "from nblib import notebook", "nobody imports"),
        ("train", "from nblib import nowhere", "is no module"),
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
def test_a_broken_rule_is_found_and_a_kept_one_is_quiet(module, source, reason):
    found = list(broken(module, source))
    assert len(found) == bool(reason)
    assert reason in "".join(found)


def test_light_modules_load_no_framework():
    """Imported for real: also what they import indirectly is light."""
    light = [*sorted(LIGHT & MODULES), "widgets.explorer"]  # which reads rows only
    code = f"import sys, nblib, {', '.join(f'nblib.{module}' for module in light)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert HEAVY & set(done.stdout.split()) == set()


def test_every_public_module_exists_and_loads_when_it_is_named():
    assert set(nblib.MODULES) <= MODULES & set(dir(nblib))
    assert nblib.spec.__name__ == "nblib.spec"
    assert nblib.compare is nblib.tables.compare
    with pytest.raises(AttributeError, match="no module 'kitchen'; it has .*study"):
        nblib.kitchen  # noqa: B018


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "benchmarks").glob("*.py")), ids=lambda path: path.stem
)
def test_what_a_benchmark_imports_exists(path):
    """Nothing runs them here, so a name that moves would be missed on the day that somebody does."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    for node in named:
        if node.module.partition(".")[0] in ("nblib", "recipes"):
            for name in (alias.name for alias in node.names):
                module = importlib.import_module(node.module)
                assert hasattr(module, name) or importlib.import_module(f"{node.module}.{name}"), name


def test_tests_have_no_network():
    with pytest.raises(NetworkUsedError), socket.socket() as outward:
        outward.connect(("192.0.2.1", 80))  # an address kept free for documentation


def broken(module: str, source: str) -> Iterator[str]:
    """One sentence for each import in the source that the house does not allow to that module."""
    tree = ast.parse(source)
    imported = set(_imported_modules(tree))
    if module == "__init__":
        yield from (f"nblib/__init__ must stay lazy; it imports {other}" for other in sorted(imported))
        return
    for other in sorted(imported - {module}):
        if reason := _forbidden(module, other):
            yield f"{module} imports {other}: {reason}"
    for name in sorted(set(_at_import(tree)) & HEAVY) if module in LIGHT else ():
        yield f"{module} imports {name} when it is loaded; it is a light module, {name} is heavy"


def _forbidden(module: str, other: str) -> str | None:
    if other == "nblib":
        return "that hides which module is used; write `from nblib import module`"
    if other in APART - {module} and module not in APART:
        return "it stands apart, nobody imports it"
    if not {module, other} <= {*FLOOR, *FACE, *FRONT, *APART}:
        return f"one of them is no module of the house: put it on a floor in {Path(__file__).name} and CONTRIBUTING"
    if module in APART | FRONT:
        return None
    if module in FACE:
        return None if other in FACE_READS else f"the face reads only {', '.join(sorted(FACE_READS))}"
    if other in FACE | FRONT:
        return "it is the face, which only notebooks use"
    if FLOOR[other] == FLOOR[module]:
        return f"both stand on floor {FLOOR[module]}; an import may not go sideways"
    return None if FLOOR[other] < FLOOR[module] else f"from floor {FLOOR[module]} up to {FLOOR[other]}"


def _imported_modules(tree: ast.Module) -> Iterator[str]:
    """Modules that are imported anywhere in a file, functions included; `nblib` where the module is not named."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ("nblib." if node.module else "nblib") if node.level else ""  # relative ones stay inside a module
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

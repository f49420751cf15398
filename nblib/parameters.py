"""A notebook's parameters: names and kinds of what Papermill injected, lists that arrive as text, folders."""

import ast
import difflib
import itertools
import os
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path

_INJECTED = "# Parameters"  # the first line of the cell that Papermill adds
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def check(cells: Sequence[str], namespace: MutableMapping) -> None:
    """Refuses injected parameters that the notebook does not have, and gives each the kind of its default.

    `cells` are the sources of the cells run so far, in order: `In` in a notebook; `namespace` is its `globals()`.
    Papermill itself only warns of unknown names, and hands on `-p force false` as a text, which Python takes for true.
    Raises ValueError with one sentence that names the parameter.
    """
    for before, cell in itertools.pairwise(cells):
        if cell.startswith(_INJECTED):
            defaults = _assigned(before)
            for name, value in _assigned(cell).items():
                if name not in defaults:
                    raise ValueError(_unknown(name, list(defaults)))
                if convert := _KINDS.get(type(defaults[name])):
                    namespace[name] = convert(value, name=name)


def as_bool(value, *, name: str) -> bool:
    """True or False from a truth value or from true, false, yes, no, 1, 0 in any case.

    Raises ValueError for anything else: the text "false" is true for Python.
    """
    known = _TRUTHS.get(str(value).strip().lower()) if isinstance(value, bool | int | str) else None
    if known is None:
        raise ValueError(f"{name} must be true or false; got {value!r}")
    return known


def as_count(value, *, name: str) -> int:
    """A whole number, 0 or more, from a number or its text; `1e2` is 100. Raises ValueError for anything else."""
    try:
        number = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = -1.0
    if number < 0 or not number.is_integer():
        raise ValueError(f"{name} must be a whole number, 0 or more; got {value!r}")
    return int(number)


def as_text(value, *, name: str) -> str:
    """A text; a number is taken as it reads, since Papermill makes one of a folder called 2024.

    Raises ValueError for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{name} must be a text; got {value!r}")
    return str(value)


def as_list(value, kind: type = str, *, name: str) -> list:
    """A list of `kind` from a list, a single value, or text such as `[1,2]` or `lora,full`.

    Raises ValueError, naming the parameter, for anything else.
    """
    given = _parsed(value) if isinstance(value, str) else value
    items = list(given) if isinstance(given, list | tuple) else [given]
    try:
        return [_exactly(kind, item) for item in items]
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a list of {kind.__name__} values; got {value!r}") from None


def as_folder(value: str | Path, *, name: str) -> Path:
    """A folder to write into, which is made when something is written; `~` stands for the user's own.

    Raises OSError with one sentence where that cannot be: it is known before any work.
    """
    folder = Path(value).expanduser()
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise OSError(f"{name} must be a folder that files can be written to; got {folder}, and {nearest} is none")
    return folder


_KINDS: dict[type, Callable] = {bool: as_bool, int: as_count, str: as_text}


def _exactly(kind: type, item):
    """The item as `kind`, where nothing is lost by it."""
    if isinstance(item, bool) or not isinstance(item, str | int | float):
        raise TypeError
    converted = kind(item.strip() if isinstance(item, str) else item)
    if kind is int and float(item) != converted:
        raise ValueError
    return converted


def _parsed(text: str):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return [part.strip().strip("'\"") for part in text.strip().strip("[]()").split(",") if part.strip()]


def _assigned(cell: str) -> dict[str, object]:
    """Names that a cell assigns at its top level, with their values; None for what is no literal."""
    found: dict[str, object] = {}
    for statement in ast.parse(cell).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = _literal(getattr(statement, "value", None))
        found |= {target.id: value for target in targets if isinstance(target, ast.Name)}
    return found


def _literal(node: ast.AST | None):
    try:
        return ast.literal_eval(node) if isinstance(node, ast.expr) else None
    except ValueError:  # float("nan"), as Papermill writes it
        return float("nan")


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean {near[0]!r}?" if near else "."
    return f"this notebook has no parameter {name!r}{hint} It has {', '.join(known)}"

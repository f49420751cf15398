"""A notebook's parameters: were the names that Papermill injected asked for, and lists that arrive as text."""

import ast
import difflib
import itertools
from collections.abc import Sequence

_INJECTED = "# Parameters"  # the first line of the cell that Papermill adds


def check(cells: Sequence[str]) -> None:
    """Raises ValueError for an injected name that the parameters cell does not have.

    `cells` are the sources of the cells run so far, in order: `In` in a notebook. Papermill itself only warns.
    """
    for before, cell in itertools.pairwise(cells):
        if cell.startswith(_INJECTED):
            known = _assigned(before)
            for name in _assigned(cell):
                if name not in known:
                    raise ValueError(_unknown(name, known))


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


def _exactly(kind: type, item):
    """The item as `kind`, where nothing is lost by it."""
    if not isinstance(item, str | int | float):
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


def _assigned(cell: str) -> list[str]:
    """Names that a cell assigns at its top level."""
    names = []
    for statement in ast.parse(cell).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean {near[0]!r}?" if near else "."
    return f"this notebook has no parameter {name!r}{hint} It has {', '.join(known)}"

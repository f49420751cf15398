"""Tests given as text to an example that has them. Runs nothing."""

import json
from collections.abc import Sequence

from nblib.tasks import Example


def example(id: str, tests: str) -> Example:
    """An example with only its tests, given as the published metrics take them.

    Either Python that asserts, as for `code_eval`, or JSON with APPS's "inputs" and "outputs", and "fn_name" where a
    function is called. Raises ValueError where the JSON lacks one of them or they differ in number.
    """
    given = _json(tests)
    if given is None:
        return Example(id, intent="", code="", tests=(tests,))
    inputs, outputs = given.get("inputs"), given.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise ValueError(f"reference {id} must have as many inputs as outputs, both in lists")
    name = given.get("fn_name") or ""
    text = json.dumps if name else lines
    return Example(
        id,
        intent="",
        code="",
        entry_point=name,
        inputs=tuple(text(each) for each in inputs),
        outputs=tuple(text(each) for each in outputs),
    )


def lines(text: str | Sequence[str]) -> str:
    """Standard input or output, which APPS has as text or as a list of lines."""
    return text if isinstance(text, str) else "\n".join(text)


def _json(text: str) -> dict | None:
    """The object that the text holds; None where it is no JSON object, and so Python."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None

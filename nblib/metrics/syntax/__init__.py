"""Whether a text is Python, judged by Python's own parser. Runs nothing."""

import ast
import warnings

NAMES = ("syntax_valid",)
# What ast raises on hostile text: null bytes, lone surrogates, deep nesting, integers of over 4300 digits.
REFUSALS = (SyntaxError, ValueError, RecursionError, MemoryError, SystemError)


def parse(code: str) -> ast.Module | None:
    """The syntax tree; None where the text is not Python. Spaces around the text do not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes, `1 is 1`: the model's business, not the reader's
        try:
            return ast.parse(code.strip())
        except REFUSALS:
            return None


def score(answer: str) -> dict[str, float]:
    """1 where the answer parses and holds a statement: an empty answer is no program."""
    tree = parse(answer)
    return {"syntax_valid": float(tree is not None and bool(tree.body))}

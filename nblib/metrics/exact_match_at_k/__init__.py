"""Whether the reference is among the first k answers. Runs nothing: equal behaviour in other words is no match."""

import ast
from collections.abc import Sequence

from nblib.metrics import syntax
from nblib.tasks import unix_lines


def normal_form(code: str) -> str:
    """The code as Python itself would write it: quotes, spacing and comments do not count.

    A text that is not Python stays as it is, without the spaces around it.
    """
    tree = syntax.parse(code)
    if tree is None:
        return code.strip()
    try:
        return ast.unparse(tree)
    except syntax.REFUSALS:
        return code.strip()


def score(reference: str, answers: Sequence[str], ks: Sequence[int]) -> dict[str, float]:
    """`em@k` (texts are equal but for the spaces around them) and `em_ast@k` (normal forms are equal), each 0 or 1.

    A k beyond the number of answers is left out: what was not generated cannot be judged.
    """
    for k in ks:
        if k < 1:
            raise ValueError(f"k must be 1 or more; got {k}")
    reached = [k for k in ks if k <= len(answers)]
    reference, answers = unix_lines(reference), list(map(unix_lines, answers))
    plain = _rank(reference.strip(), [each.strip() for each in answers])
    normal = _rank(normal_form(reference), [normal_form(each) for each in answers])
    return {f"em@{k}": float(plain < k) for k in reached} | {f"em_ast@{k}": float(normal < k) for k in reached}


def _rank(reference: str, answers: list[str]) -> int:
    """Place of the first match, from 0; the number of answers where there is none."""
    return answers.index(reference) if reference in answers else len(answers)

"""The chance that one of k answers passes, estimated from n answers to a problem. Knows no tests."""

from math import comb


def pass_at_k(answers: int, passed: int, k: int) -> float:
    """The share of all ways to draw k of the answers that hold one which passed (Chen et al. 2021, arXiv 2107.03374).

    Unbiased where the answers are independent samples. Counts are whole numbers up to the one division, so that
    nothing is lost for many answers. Raises ValueError where k is above the number of answers.
    """
    if not 1 <= k <= answers:
        raise ValueError(f"k must be from 1 to the number of answers, {answers}; got {k}")
    if not 0 <= passed <= answers:
        raise ValueError(f"passed must be from 0 to the number of answers, {answers}; got {passed}")
    ways = comb(answers, k)
    return (ways - comb(answers - passed, k)) / ways

"""Examples and predictions matched by id, one to one, and the k that their answers allow."""

from collections import Counter
from collections.abc import Sequence

from nblib.results import Prediction
from nblib.tasks import Example


def pairs(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[tuple[Example, Prediction]]:
    """Each prediction with its example, in the order of the predictions.

    Raises ValueError, with an id, unless each example has exactly one prediction.
    """
    asked, answered = Counter(row.id for row in examples), Counter(row.example for row in predictions)
    for id in asked | answered:
        if not asked[id] == answered[id] == 1:
            raise ValueError(
                f"example {id!r} comes {asked[id]} times among the examples and {answered[id]} times among the "
                "predictions; it must be once in each"
            )
    by_id = {row.id: row for row in examples}
    return [(by_id[row.example], row) for row in predictions]


def reached(ks: Sequence[int], answers: Sequence) -> list[int]:
    """The k, of `ks`, up to the number of answers. Raises ValueError for one below 1."""
    for k in ks:
        if k < 1:
            raise ValueError(f"k must be 1 or more; got {k}")
    return [k for k in ks if k <= len(answers)]

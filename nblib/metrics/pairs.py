"""Examples and predictions, matched by id one to one. Scores nothing."""

from collections import Counter
from collections.abc import Iterable, Sequence

from nblib.results import Prediction
from nblib.tasks import Example


def pairs(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[tuple[Example, Prediction]]:
    """Each prediction with its example, in the order of the predictions.

    Raises ValueError, with an id, unless each example has exactly one prediction.
    """
    known = {each.id: each for each in examples}
    answered = {each.example for each in predictions}
    _refuse(_twice(each.id for each in examples), "comes twice among the examples")
    _refuse(_twice(each.example for each in predictions), "comes twice among the predictions")
    _refuse([each for each in known if each not in answered], "has no prediction")
    _refuse(
        [each.example for each in predictions if each.example not in known],
        "has a prediction but is not among the examples",
    )
    return [(known[each.example], each) for each in predictions]


def _twice(ids: Iterable[str]) -> list[str]:
    return [each for each, count in Counter(ids).items() if count > 1]


def _refuse(ids: list[str], fault: str) -> None:
    if ids:
        more = f" (and {len(ids) - 1} more)" if len(ids) > 1 else ""
        raise ValueError(f"example {ids[0]!r} {fault}{more}; examples and predictions must fit one to one, by id")

"""How good shots are, where a dataset says what its rows are instances of. Scores no answers."""

from collections.abc import Sequence

from nblib.tasks import Example


def recall(shots: Sequence[Sequence[Example]], queries: Sequence[Example]) -> dict[str, float | int | None]:
    """How often the shots of each query, found or random, have its `operation`.

    `queries_share`: of the queries, those with at least one such shot. `shots_share`: of all shots, such shots.
    `queries`: how many were counted: those that have an operation. The shares are None where there is none to count.
    """
    hits = [
        [shot.operation == query.operation for shot in before]
        for before, query in zip(shots, queries, strict=True)
        if query.operation
    ]
    return {
        "queries_share": _share([any(each) for each in hits]),
        "shots_share": _share([hit for each in hits for hit in each]),
        "queries": len(hits),
    }


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None

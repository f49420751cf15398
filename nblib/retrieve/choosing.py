"""Which training examples stand before a query. Measures no similarity itself."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from nblib.retrieve import encoders
from nblib.retrieve.measures import Measure, measure
from nblib.retrieve.requirements import require
from nblib.spec import Retrieved
from nblib.tasks import Example, near_duplicate


@dataclass(frozen=True)
class Found:
    """What was found for one query, the nearest last."""

    shots: tuple[Example, ...]
    similarities: tuple[float, ...]  # of each to the query, as `nblib.retrieve.measures` scales it; 1: the same words


def random_shots(train: Sequence[Example], count: int, seed: int) -> tuple[Example, ...]:
    """`count` training examples, the same ones for every query of a seed.

    A larger count extends a smaller one of the same seed, so that numbers of shots compare.
    Raises ValueError where the split has fewer.
    """
    if count > len(train):
        raise ValueError(f"shots must be at most {len(train)}, the size of the training split; got {count}")
    return tuple(random.Random(f"shots {seed}").sample(list(train), len(train))[:count])


def nearest(
    train: Sequence[Example], queries: Sequence[Example], method: Retrieved, *, device: str = "cpu"
) -> list[Found]:
    """The training examples whose intents are nearest to each query's, one `Found` a query.

    A row whose intent is nearly the query's own (`tasks.near_duplicate`) is left out, and with it the query's own row;
    where fewer than `method.shots` remain, there are fewer. Of rows that are equally near the first in `train` wins.
    `device` is where encoder and reranker compute.
    Raises ValueError or ImportError as `require` does, ConnectionError where the Hub is out of reach.
    """
    require(method, len(train))
    similarity = measure(method.retriever, [each.intent for each in train], queries, device=device)
    pools = [_pool(train, query, similarity(query.intent), _pool_size(method)) for query in queries]
    orders = [list(pool) for pool in pools]
    if method.reranker:
        orders = _reranked(train, queries, orders, method.reranker, device)
    if method.diversity:
        orders = [_diverse(train, order, pool, similarity, method) for order, pool in zip(orders, pools, strict=True)]
    return [_found(train, order[: method.shots], pool) for order, pool in zip(orders, pools, strict=True)]


def _pool_size(method: Retrieved) -> int:
    """Candidates that a reranker reads and that diversity chooses from: more than are shown, but few."""
    return max(4 * method.shots, 20) if method.reranker or method.diversity else method.shots


def _pool(train: Sequence[Example], query: Example, similarities: np.ndarray, size: int) -> dict[int, float]:
    """Position in `train` to similarity, of the nearest rows that are no near-duplicates, the nearest first."""
    order = np.argsort(-similarities, kind="stable")
    fresh = (int(each) for each in order if not near_duplicate(train[each].intent, query.intent))
    return {position: float(similarities[position]) for position in islice(fresh, size)}


def _reranked(
    train: Sequence[Example], queries: Sequence[Example], orders: list[list[int]], reranker: str, device: str
) -> list[list[int]]:
    """The candidates of each query in the cross-encoder's order, the best first."""
    pairs = [
        (query.intent, train[position].intent)
        for query, order in zip(queries, orders, strict=True)
        for position in order
    ]
    scores = iter(encoders.scores(reranker, pairs, device=device))
    scored = [{position: next(scores) for position in order} for order in orders]
    # Sorting is stable: of equal scores the retriever's order stands.
    return [sorted(each, key=lambda position: -each[position]) for each in scored]


def _diverse(
    train: Sequence[Example], order: list[int], pool: dict[int, float], similarity: Measure, method: Retrieved
) -> list[int]:
    """The shots by maximal marginal relevance (Carbonell & Goldstein 1998); of those taken, the most relevant first.

    Next is the candidate with the largest (1 - d) × relevance - d × similarity to the nearest already taken.
    Relevance is the similarity to the query; behind a reranker, whose scores have no such scale, its first gets the
    largest of the pool's similarities, its second the next…
    """
    relevance = np.array(sorted(pool.values(), reverse=True))
    covered = np.full(len(order), -np.inf)
    taken: list[int] = []
    while len(taken) < min(method.shots, len(order)):
        gain = (1 - method.diversity) * relevance - (method.diversity * covered if taken else 0)
        gain[taken] = -np.inf
        best = int(np.argmax(gain))
        taken.append(best)
        covered = np.maximum(covered, similarity(train[order[best]].intent)[order])
    return [order[each] for each in sorted(taken)]


def _found(train: Sequence[Example], order: list[int], pool: dict[int, float]) -> Found:
    """The nearest last: what stands right before the query counts most."""
    return Found(tuple(train[each] for each in reversed(order)), tuple(pool[each] for each in reversed(order)))

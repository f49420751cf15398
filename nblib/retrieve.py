"""Training examples to shots: seeded random. Sees no test split and builds no prompts."""

import random
from collections.abc import Sequence

from nblib.tasks import Example


def random_shots(train: Sequence[Example], count: int, seed: int) -> tuple[Example, ...]:
    """`count` training examples, the same ones for every query of a seed.

    A larger count extends a smaller one of the same seed, so that numbers of shots compare.
    Raises ValueError where the split has fewer.
    """
    if count > len(train):
        raise ValueError(f"shots must be at most {len(train)}, the size of the training split; got {count}")
    return tuple(random.Random(f"shots {seed}").sample(list(train), len(train))[:count])

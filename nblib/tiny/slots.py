"""Fills the slots of operation templates with names and literals drawn from a generator; no operations."""

import random

from nblib.tiny import words

_POOLS = {
    "l": words.LIST_NAMES,
    "w": words.WORD_LIST_NAMES,
    "s": words.TEXT_NAMES,
    "d": words.DICT_NAMES,
}


def fill(rng: random.Random, *templates: str) -> list[str]:
    """The templates with every slot filled; a slot has the same filling in all of them."""
    values = _Values(rng)
    return [template.format_map(values) for template in templates]


class _Values(dict):
    """Draws a slot's filling when it is first asked for, so unused slots cost no randomness."""

    def __init__(self, rng: random.Random):
        super().__init__()
        self.rng = rng

    def __missing__(self, slot: str) -> str:
        drawn = _draw(self.rng, slot)
        while drawn in self.values():
            drawn = _draw(self.rng, slot)
        self[slot] = drawn
        return drawn


def _draw(rng: random.Random, slot: str) -> str:
    if slot in _POOLS:
        return name(rng, _POOLS[slot])
    if slot in ("n", "n2"):
        return str(rng.choice((rng.randint(2, 12), rng.randint(2, 99), rng.randint(2, 999))))
    if slot in ("q", "q2"):
        separators = (",", ";", "-", ":", "_", "/", "|")
        return repr(rng.choice(separators) if rng.random() < 0.3 else word(rng))
    if slot == "k":
        return repr(word(rng))
    if slot == "f":
        stem = rng.choice(words.FILE_WORDS) if rng.random() < 0.6 else word(rng)
        return repr(f"{stem}{rng.choice(('', str(rng.randint(1, 99))))}.{rng.choice(words.FILE_ENDINGS)}")
    raise KeyError(slot)


def word(rng: random.Random) -> str:
    """A short value as people put into quotes."""
    return rng.choice(words.VALUE_WORDS if rng.random() < 0.5 else words.NOUNS)


def name(rng: random.Random, pool: list[str]) -> str:
    """A variable name, mostly from the pool, at times one made of words or syllables."""
    kind = rng.random()
    if kind < 0.7:
        return rng.choice(pool)
    if kind < 0.8:
        return f"{rng.choice(words.ADJECTIVES)}_{rng.choice(words.NOUNS)}s"
    if kind < 0.9:
        return f"{rng.choice(words.NOUNS)}s{rng.choice(('', '_list', str(rng.randint(1, 9))))}"
    return syllables(rng)


def syllables(rng: random.Random) -> str:
    """A pronounceable word that is (almost surely) in no dictionary."""
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 3)))

"""The tables in data/recipes as Python values, and random names from them."""

import random
import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

from nblib.provenance import ROOT

FOLDER = ROOT / "data" / "recipes"


def table(name: str) -> dict:
    """A table of data/recipes, as TOML gives it."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Operation:
    """A template of one line of code, and how people ask for it."""

    code: str
    phrasings: tuple[str, ...]  # imperative, without a full stop
    statement: bool = False  # it stands alone: no value to assign, print or return

    @cached_property
    def slots(self) -> list[str]:
        """The names of the code's slots, each once."""
        return list(dict.fromkeys(name for _, name, _, _ in Formatter().parse(self.code) if name))

    @property
    def checkable(self) -> bool:
        """Whether its effect is the same on every machine."""
        return not self.code.startswith(tuple(_OPERATIONS["depends_on_machine"]))

    @cached_property
    def modules(self) -> list[str]:
        """The modules that the code names."""
        return [name for name in MODULES if re.search(rf"(?<![\w.]){re.escape(name)}\.", self.code)]


def _read(rows: dict[str, list[str]], *, statement: bool = False) -> tuple[Operation, ...]:
    return tuple(Operation(code, tuple(phrasings), statement) for code, phrasings in rows.items())


WORDS: dict[str, list[str]] = {name: words.split() for name, words in table("words").items()}
_OPERATIONS, _PROGRAMS = table("operations"), table("programs")
MODULES: list[str] = _OPERATIONS["modules"].split()
EQUIVALENT = [frozenset(codes) for codes in _OPERATIONS["equivalent"]]
GROUPS = {  # by whether the pre-training text has them, and by kind
    (group, kind): _read(rows, statement=kind == "statements")
    for group in ("known", "new")
    for kind, rows in _OPERATIONS[group].items()
}
KNOWN, NEW = (GROUPS[group, "expressions"] + GROUPS[group, "statements"] for group in ("known", "new"))
KNOWN_STAGES, NEW_STAGES = (_read(_PROGRAMS["stages"][group]) for group in ("known", "new"))  # of programs over `xs`
KNOWN_ENDS, NEW_ENDS = (_read(_PROGRAMS["ends"][group]) for group in ("known", "new"))


def weighted(rows: dict[str, int]) -> list[str]:
    """Every key as often as its weight says."""
    return [key for key, weight in rows.items() for _ in range(weight)]


def pick(rng: random.Random, name: str) -> str:
    """One of the words of that name."""
    return rng.choice(WORDS[name])


def value(rng: random.Random) -> str:
    """A short value as people put into quotes."""
    return pick(rng, "values" if rng.random() < 0.5 else "nouns")


def variable_name(rng: random.Random, usual: list[str]) -> str:
    """A variable's name, mostly a usual one, at times one made of words or syllables."""
    kind = rng.random()
    if kind < 0.7:
        return rng.choice(usual)
    if kind < 0.8:
        return f"{pick(rng, 'adjectives')}_{pick(rng, 'nouns')}s"
    if kind < 0.9:
        return f"{pick(rng, 'nouns')}s{rng.choice(('', '_list', str(rng.randint(1, 9))))}"
    return syllables(rng)


def function_name(rng: random.Random) -> str:
    """A function's name, as people invent them."""
    return rng.choice((f"{pick(rng, 'verbs')}_{pick(rng, 'nouns')}", pick(rng, "verbs"), "f", "solve"))


def syllables(rng: random.Random) -> str:
    """A pronounceable word that is (almost surely) in no dictionary."""
    return "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 3)))

"""What is in a task's data: counts, gaps, repetitions, overlaps between splits, lengths. Changes nothing."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

from nblib.tasks.examples import SPLITS, Data, Example
from nblib.tasks.known import get, source

NEAR = 0.9  # share of the words of two intents that are in both, from which they count as nearly the same
QUANTILES = (0.5, 0.9, 0.99, 1.0)  # of token lengths


@dataclass(frozen=True)
class Split:
    """One split's rows."""

    split: str
    rows: int
    without_code: int
    without_tests: int
    repeated_intents: int  # rows whose intent came before, up to case, spacing and quotes
    repeated_rows: int  # rows whose intent and code came before
    intent_tokens: tuple[int, ...] | None = None  # median, 90 %, 99 %, longest; None: no tokenizer was given
    code_tokens: tuple[int, ...] | None = None
    rows_too_long: int | None = None  # beyond the task's limits for training; None: no tokenizer or unknown limits


@dataclass(frozen=True)
class Overlap:
    """Rows of the second split whose intent is also in the first; each count includes the one before it."""

    splits: tuple[str, str]
    exact: int  # letter for letter
    normalized: int  # up to case, spacing and quotes
    near: int  # nine tenths of their words are the same


@dataclass(frozen=True)
class Checks:
    """What is in a task's data; `dataclasses.asdict` makes it JSON."""

    task: str
    splits: tuple[Split, ...]
    overlaps: tuple[Overlap, ...]
    rows_left_out: int  # training and validation rows without code
    known_intents: int  # test rows left out because another task trains on their intent


def checks(data: Data, tokenizer=None) -> Checks:
    """Counts of a task's rows, gaps, repetitions and overlaps; with a tokenizer also lengths and rows too long."""
    splits = [(split, getattr(data, split)) for split in SPLITS if getattr(data, split)]
    return Checks(
        task=data.name,
        splits=tuple(_split(name, rows, data.name, tokenizer) for name, rows in splits),
        overlaps=tuple(
            _overlap((first, second), rows, others) for (first, rows), (second, others) in combinations(splits, 2)
        ),
        rows_left_out=data.without_code,
        known_intents=data.known_intents,
    )


def _split(name: str, rows: Sequence[Example], task: str, tokenizer) -> Split:
    found = Split(
        name,
        rows=len(rows),
        without_code=sum(not each.code for each in rows),
        without_tests=sum(not (each.tests or each.inputs) for each in rows),
        repeated_intents=len(rows) - len({_words(each.intent) for each in rows}),
        repeated_rows=len(rows) - len({(each.intent, each.code) for each in rows}),
    )
    if tokenizer is None:
        return found
    intents, codes = (_lengths([getattr(each, field) for each in rows], tokenizer) for field in ("intent", "code"))
    return replace(
        found,
        intent_tokens=_quantiles(intents),
        code_tokens=_quantiles(codes),
        rows_too_long=_too_long(rows, intents, codes, task) if task else None,
    )


def near_duplicate(first: str, second: str) -> bool:
    """Whether two intents are nearly the same: a share of NEAR of their words is in both, in any order or number.

    Words that differ in case, spacing, quotes, commas or full stops only are the same.
    """
    return _alike(_set(first), _set(second))


@lru_cache(maxsize=1 << 14)  # an intent is compared with many others
def _set(text: str) -> frozenset[str]:
    return frozenset(_words(text))


# --- lengths --------------------------------------------------------------------------------------------------------


def _lengths(texts: list[str], tokenizer) -> list[int]:
    found = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)
    return [len(ids) for ids in found["input_ids"]]


def _quantiles(lengths: list[int]) -> tuple[int, ...]:
    """The smallest lengths that a half, 90 % … of the rows do not pass."""
    ordered = sorted(lengths)
    return tuple(ordered[math.ceil(share * len(ordered)) - 1] for share in QUANTILES)


def _too_long(rows: Sequence[Example], intents: list[int], codes: list[int], name: str) -> int:
    """Rows beyond a limit of their own task, the prompt's template not counted."""
    task = get(name)
    count = 0
    for row, intent, code in zip(rows, intents, codes, strict=True):
        own = source(task, row)
        longest = own.training_tokens or own.input_tokens + own.output_tokens
        count += intent > own.input_tokens or code > own.output_tokens or intent + code > longest
    return count


# --- overlaps -------------------------------------------------------------------------------------------------------


def _overlap(names: tuple[str, str], rows: Sequence[Example], others: Sequence[Example]) -> Overlap:
    intents = {each.intent for each in rows}
    words = {_words(each.intent) for each in rows}
    asked = [_words(each.intent) for each in others]
    return Overlap(
        names,
        exact=sum(each.intent in intents for each in others),
        normalized=sum(each in words for each in asked),
        near=_near(words, asked),
    )


def _words(text: str) -> tuple[str, ...]:
    """Words and signs, without case, spacing, quotes, commas and full stops."""
    return tuple(re.findall(r"\w+|[^\w\s'\"`,.]", text.casefold()))


def _near(known: Iterable[tuple[str, ...]], asked: Sequence[tuple[str, ...]]) -> int:
    """How many of `asked` share at least NEAR of their words with one of `known` (Jaccard index of the sets).

    Two sets that near must share one of their rarest words, so only such pairs are compared (prefix filtering,
    Chaudhuri et al. 2006).
    """
    sets, queries = {frozenset(each) for each in known}, [frozenset(each) for each in asked]
    frequency = Counter(word for each in (*sets, *queries) for word in each)
    index: dict[str, list[frozenset[str]]] = defaultdict(list)
    for each in sets:
        for word in _rarest(each, frequency):
            index[word].append(each)
    return sum(
        query in sets
        or any(_alike(query, other) for word in _rarest(query, frequency) for other in index.get(word, ()))
        for query in queries
    )


def _rarest(words: frozenset[str], frequency: Counter[str]) -> list[str]:
    """So many of the rarest words that a set which is near has at least one of them."""
    shared = math.ceil(NEAR * len(words) - 1e-9)
    return sorted(words, key=lambda word: (frequency[word], word))[: len(words) - shared + 1]


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    shorter, longer = sorted((len(one), len(other)))
    if shorter < NEAR * longer - 1e-9:
        return False
    shared = len(one & other)
    return shared >= NEAR * (len(one) + len(other) - shared) - 1e-9

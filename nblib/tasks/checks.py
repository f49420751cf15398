"""What is in a task's data: counts, gaps, repetitions, overlaps between splits, lengths."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations

from nblib.tasks.schema import SPLITS, Data, Example, Task, get, source

NEAR = 0.9  # share of the words of two intents that are in both, from which they count as nearly the same
QUANTILES = (0.5, 0.9, 0.99, 1.0)  # of token lengths


def checks(data: Data, tokenizer=None, task: Task | None = None) -> dict:
    """What is in a task's data, as plain values for a row; `task` has the limits of a user's own data.

    task; rows_left_out, training and validation rows without code; known_intents, test rows left out because another
    task trains on their intent; of a user's own data remarks on how they were read, and ids by split;
    splits, each with split, rows, without_code, without_tests, repeated_intents (whose intent came before, up to case,
    spacing and quotes), repeated_rows (whose intent and code came before), past_a_stop (whose code goes on after a
    string that ends answers; None: no limits known), and with a tokenizer intent_tokens and code_tokens (median, 90 %,
    99 %, longest) and rows_too_long (beyond the limits for training), else None;
    overlaps, each with its two splits and how many rows of the second have an intent of the first: exact (letter for
    letter), normalized (up to case, spacing and quotes), near (nine tenths of the words); a count has the one before.
    """
    splits = {split: getattr(data, split) for split in SPLITS if getattr(data, split)}
    limits = task or (get(data.name) if data.name else None)
    return {
        "task": data.name,
        "splits": tuple(_split(split, rows, limits, tokenizer) for split, rows in splits.items()),
        "overlaps": tuple(_overlap(pair, *(splits[split] for split in pair)) for pair in combinations(splits, 2)),
        "rows_left_out": data.without_code,
        "known_intents": data.known_intents,
        "remarks": data.remarks,
        "ids": {split: [row.id for row in rows] for split, rows in splits.items()} if data.remarks else {},
    }


def without_leaked(data: Data) -> Data:
    """The data without the test rows whose intent is in the training rows, exactly or nearly; they are counted."""
    leaked = _near({row.intent for row in data.train}, data.test)
    kept = tuple(row for row in data.test if word_set(row.intent) not in leaked)
    if data.test and not kept:
        raise ValueError(f"every test intent of {data.name} is in its training rows; give other test rows")
    note = f"{len(data.test) - len(kept)} test rows are left out because their intent is in the training rows."
    return replace(data, test=kept, remarks=(*data.remarks, note))


def words(text: str) -> tuple[str, ...]:
    """Words and signs, without case, spacing, quotes, commas and full stops, in which intents are compared."""
    return tuple(re.findall(r"\w+|[^\w\s'\"`,.]", text.casefold()))


@lru_cache(maxsize=1 << 14)  # an intent is compared with many others
def word_set(text: str) -> frozenset[str]:
    """The words of `words`, each once."""
    return frozenset(words(text))


def near_pairs(
    known: Collection[frozenset[str]], test: Collection[frozenset[str]]
) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """Pairs of one of `known` and one of `test` that share at least NEAR of their words (Jaccard index).

    Two sets that near must share one of their rarest words, so only such pairs are compared (prefix filtering,
    Chaudhuri et al. 2006).
    """
    frequency = Counter(word for text in (*known, *test) for word in text)
    index = defaultdict(list)
    for text in known:
        for word in _rarest(text, frequency):
            index[word].append(text)
    for text in test:
        found = {other for word in _rarest(text, frequency) for other in index.get(word, ())}
        yield from ((other, text) for other in found if alike(text, other))


def _rarest(text: frozenset[str], frequency: Counter[str]) -> list[str]:
    """So many of the rarest words that a set which is near has at least one of them."""
    shared = math.ceil(NEAR * len(text) - 1e-9)
    return sorted(text, key=lambda word: (frequency[word], word))[: len(text) - shared + 1]


def alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two sets of words share at least NEAR of them."""
    shorter, longer = sorted((len(one), len(other)))
    if shorter < NEAR * longer - 1e-9:
        return False
    shared = len(one & other)
    return shared >= NEAR * (len(one) + len(other) - shared) - 1e-9


def _overlap(names: tuple[str, str], rows: Sequence[Example], others: Sequence[Example]) -> dict:
    intents = {row.intent for row in rows}
    same = {words(intent) for intent in intents}
    near = _near(intents, others)
    exact = sum(row.intent in intents for row in others)
    normalized = sum(words(row.intent) in same for row in others)
    near_count = sum(word_set(row.intent) in near for row in others)
    return {"splits": names, "exact": exact, "normalized": normalized, "near": near_count}


def _near(intents: Collection[str], examples: Sequence[Example]) -> set[frozenset[str]]:
    """Words of those examples' intents that are nearly one of `intents`, or the same."""
    known = {word_set(intent) for intent in intents}
    return known | {text for _, text in near_pairs(known, {word_set(row.intent) for row in examples})}


def _split(name: str, rows: Sequence[Example], limits: Task | None, tokenizer) -> dict:
    found = {
        "split": name,
        "rows": len(rows),
        "without_code": sum(not row.code for row in rows),
        "without_tests": sum(not (row.tests or row.inputs) for row in rows),
        "repeated_intents": len(rows) - len({words(row.intent) for row in rows}),
        "repeated_rows": len(rows) - len({(row.intent, row.code) for row in rows}),
        "past_a_stop": limits and sum(any(stop in row.code for stop in source(limits, row).stops) for row in rows),
    }
    if tokenizer is None:
        return found | dict.fromkeys(("intent_tokens", "code_tokens", "rows_too_long"))
    intents, codes = (_lengths([getattr(row, part) for row in rows], tokenizer) for part in ("intent", "code"))
    too_long = _too_long(rows, intents, codes, limits) if limits else None
    return found | {
        "intent_tokens": _quantiles(intents), "code_tokens": _quantiles(codes), "rows_too_long": too_long
    }  # fmt: skip


def _lengths(texts: list[str], tokenizer) -> list[int]:
    found = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)
    return [len(ids) for ids in found["input_ids"]]


def _quantiles(lengths: list[int]) -> tuple[int, ...]:
    """The smallest lengths that a half, 90 % … of the rows do not pass."""
    ordered = sorted(lengths)
    return tuple(ordered[math.ceil(share * len(ordered)) - 1] for share in QUANTILES)


def _too_long(rows: Sequence[Example], intents: list[int], codes: list[int], limits: Task) -> int:
    """Rows beyond a limit of their own task, the prompt's template not counted."""
    count = 0
    for row, intent, code in zip(rows, intents, codes, strict=True):
        own = source(limits, row)
        longest = own.training_tokens or own.input_tokens + own.output_tokens
        count += intent > own.input_tokens or code > own.output_tokens or intent + code > longest
    return count

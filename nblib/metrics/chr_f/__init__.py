"""chrF, overlap of characters (Popović 2015, 2017), by sacrebleu. Knows nothing of code; spaces do not count."""

from collections.abc import Sequence
from functools import cache

from sacrebleu.metrics import CHRF

NAMES = ("chrf", "chrf++")


def score(reference: str, answer: str) -> dict[str, float]:
    """chrF and chrF++ (two word orders beside six of characters) of one answer, from 0 to 1."""
    return {name: measure.sentence_score(answer, [reference]).score / 100 for name, measure in _measures().items()}


def corpus(references: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    """The published numbers over all answers at once: n-grams are pooled, so it is not the mean of the scores."""
    return {
        name: measure.corpus_score(list(answers), [list(references)]).score / 100
        for name, measure in _measures().items()
    }


@cache
def _measures() -> dict[str, CHRF]:
    return {"chrf": CHRF(), "chrf++": CHRF(word_order=2)}

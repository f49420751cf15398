"""How near a text is to each training intent: by words, by pieces of words, by an encoder. Chooses nothing."""

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from nblib.retrieve import encoders
from nblib.tasks import Example

DIGITS = 6  # of a similarity; what rounding errors make of equal texts is a tie again
TERM_SATURATION, LENGTH_WEIGHT = 1.5, 0.75  # k1 and b of BM25, as usual

# The similarity of a text to each training intent, in their order: a vector of floats.
Measure = Callable[[str], np.ndarray]


def measure(retriever: str, known: Sequence[str], queries: Sequence[Example], *, device: str) -> Measure:
    """The retriever's similarity to the `known` texts, 1 where a text is the same to the retriever.

    BM25's is the share of the score that the text gets as its own document, at most 1; the others are cosines, and
    only an encoder's can be below 0. It may be asked about the queries' intents and about the known texts.
    """
    if retriever == "bm25":
        similarity = _bm25(known)
    elif retriever == "tfidf":
        similarity = _tfidf(known)
    else:
        similarity = _encoded(retriever, known, [each.intent for each in queries], device)
    return lambda text: similarity(text).astype(float).round(DIGITS)


def tokens(text: str) -> list[str]:
    """Words in lower case, and the parts of names: `df.groupBy('user_id')` has df, group, by, user and id."""
    spaced = re.sub(r"(?<=[^\W_A-Z])(?=[A-Z])|_", " ", text)
    return re.findall(r"\w+", spaced.casefold())


def _bm25(known: Sequence[str]) -> Measure:
    import bm25s  # slow to import, as are the other libraries below

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it asks for debug lines
    documents = [tokens(text) or [""] for text in known]  # no words at all: a word that nobody asks for
    index = bm25s.BM25(k1=TERM_SATURATION, b=LENGTH_WEIGHT, method="lucene")
    index.index(documents, create_empty_token=False, show_progress=False)
    mean_length = sum(map(len, documents)) / len(documents)
    frequency = Counter(word for document in documents for word in set(document))

    def similarity(text: str) -> np.ndarray:
        words = tokens(text)
        own = _own_score(words, frequency, len(documents), mean_length)
        scores = index.get_scores_from_ids(index.get_tokens_ids(words))
        return np.minimum(scores / own, 1.0) if own else scores

    return similarity


def _own_score(words: list[str], frequency: Counter[str], documents: int, mean_length: float) -> float:
    """BM25 of a text for itself, as if it stood among the documents; words that none of them has count as rarest."""
    dampening = TERM_SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * len(words) / mean_length)
    counts = Counter(words)
    return sum(
        math.log(1 + (documents - frequency[word] + 0.5) / (frequency[word] + 0.5))
        * counts[word]
        / (counts[word] + dampening)
        for word in words
    )


def _tfidf(known: Sequence[str]) -> Measure:
    """Cosines of weighted character 2- to 4-grams inside of words: names that share a part are alike."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(text.strip() for text in known):  # no n-grams, which scikit-learn calls an error
        return lambda text: np.zeros(len(known))
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4))
    vectors = pieces.fit_transform(known)
    return lambda text: (vectors @ pieces.transform([text]).T).toarray()[:, 0]


def _encoded(encoder: str, known: Sequence[str], asked: Sequence[str], device: str) -> Measure:
    import faiss

    texts = tuple(dict.fromkeys([*known, *asked]))
    vectors = encoders.vectors(encoder, texts, device=device)
    place = {text: number for number, text in enumerate(texts)}
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors[[place[text] for text in known]])

    def similarity(text: str) -> np.ndarray:
        (cosines,), (positions,) = index.search(vectors[[place[text]]], len(known))
        inside = np.empty(len(known))
        inside[positions] = cosines
        return inside

    return similarity

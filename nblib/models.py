"""Base model and tokenizer at a precision. Attaches no method, generates nothing."""

import logging
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from nblib import provenance
from nblib.spec import PRECISIONS, QUANTIZED
from nblib.tasks import hub

EMBEDDED = provenance.ROOT / "data" / "models"  # models that the repository ships

# Short keys. Any other Hub id or local folder works as well; after @ a Hub model's commit, tag or branch may stand.
MODELS = {
    "codegen-350m-mono": "Salesforce/codegen-350M-mono",
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
    "deepseek-coder-1.3b": "deepseek-ai/deepseek-coder-1.3b-base",
    "deepseek-coder-6.7b": "deepseek-ai/deepseek-coder-6.7b-base",
    "starcoder2-3b": "bigcode/starcoder2-3b",
}
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")  # configuration and tokenizer
WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")  # the first that there are
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device() -> str:
    """cuda, mps or cpu: the best that this machine has."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_precision(precision: str) -> str:
    """`auto` resolved for this machine: bf16 on a GPU that has it, fp16 on one that has not, fp32 on a CPU.

    Raises ValueError for an unknown precision, and for fp16 on a CPU, where training in it is not supported.
    """
    if precision == "auto":
        if device() == "cpu":
            return "fp32"
        return "bf16" if device() == "mps" or torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of auto, {', '.join(PRECISIONS)}; got {precision!r}")
    if precision == "fp16" and device() == "cpu":
        raise ValueError("precision fp16 needs a GPU; this machine has none: use fp32 or bf16")
    if precision in QUANTIZED and device() == "mps":
        raise ValueError(f"precision {precision} needs bitsandbytes, which has no kernels for mps: use bf16")
    return precision


def compute_dtype(precision: str) -> torch.dtype:
    """What the model computes in: its weights' type, or for quantized weights the best that this machine has."""
    return DTYPES[precision] if precision in DTYPES else DTYPES[choose_precision("auto")]


def locate(model: str) -> str:
    """The local folder or Hub id behind a short key, a Hub id or a folder; `@revision` stays with a Hub id.

    Raises ValueError where it is none of them; reads no network.
    """
    embedded = EMBEDDED / model
    if "/" not in model and (embedded / "config.json").exists():
        return str(embedded)
    folder = Path(model).expanduser()
    if model not in MODELS and folder.is_dir():
        if not (folder / "config.json").exists():
            raise ValueError(f"model folder {model!r} has no config.json; give a folder made by save_pretrained")
        return str(folder)
    key, at, wanted = model.partition("@")
    id = MODELS.get(key, key)
    if id.count("/") == 1 and not id.startswith((".", "/", "~")) and bool(at) == bool(wanted):
        return id + at + wanted
    raise ValueError(
        f"model must be one of {', '.join([*embedded_models(), *MODELS])}, a Hub id such as owner/name or "
        f"owner/name@revision, or a local folder; got {model!r}"
    )


def embedded_models() -> list[str]:
    """Names of the models that the repository ships."""
    return sorted(path.parent.name for path in EMBEDDED.glob("*/config.json"))


def revision(model: str) -> str:
    """What identifies the weights: the hash of a local folder's files, the commit of a Hub model.

    Raises ConnectionError where the Hub is needed and cannot be reached, ValueError where it has no such model.
    """
    place = locate(model)
    return _folder_content(Path(place)) if Path(place).is_dir() else _commit(place)


@cache
def _commit(place: str) -> str:
    """The commit of a Hub model, asked once a process: all files are of it, also if the branch moves meanwhile."""
    id, _, wanted = place.partition("@")
    with _hub_errors(place):
        return hub.snapshot(id, "model", ["config.json"], wanted or "main").name


def _folder(place: str, *, weights: bool = False) -> str:
    """The folder to load from: the given one, or the cache's with what is needed of a Hub model, all of one commit."""
    if Path(place).is_dir():
        return place
    id, commit = place.partition("@")[0], _commit(place)
    with _hub_errors(place):
        folder = hub.snapshot(id, "model", list(SMALL_FILES), commit)
        for pattern in WEIGHT_FILES if weights else ():
            hub.snapshot(id, "model", [pattern], commit, bar_shown=True)
            if any(folder.glob(pattern)):
                return str(folder)
        if weights or not (folder / "config.json").exists():
            wanted = " and no ".join(WEIGHT_FILES) if weights else "config.json"
            raise ValueError(f"model {id} has no {wanted} on the Hub, so transformers cannot load it")
    return str(folder)


def _folder_content(folder: Path) -> str:
    kinds = (".safetensors", ".bin", ".model", ".txt", "config.json", "tokenizer.json", "tokenizer_config.json")
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(kinds))
    return _hash_once(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths))


@cache
def _hash_once(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Files that did not change since are not read again: a 7B model takes a minute."""
    return provenance.content_hash([path for path, _, _ in files])


def context_length(place: str) -> int:
    """Tokens that the model can see, from its configuration."""
    with _hub_errors(place):
        config = AutoConfig.from_pretrained(_folder(place), trust_remote_code=False)
    for name in ("max_position_embeddings", "n_positions", "n_ctx"):
        if getattr(config, name, None):
            return getattr(config, name)
    return 2048


def load(model: str, precision: str = "fp32") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A decoder-only model on this machine's best device, and its tokenizer with a pad token of its own.

    Raises ValueError for an unknown model or an encoder-decoder one, ConnectionError where the Hub is out of reach.
    """
    place = locate(model)
    with _hub_errors(place):
        config = AutoConfig.from_pretrained(_folder(place))
        if config.is_encoder_decoder:
            raise ValueError(f"model {model!r} is an encoder-decoder; nblib runs decoder-only models so far")
        tokenizer = load_tokenizer(model)
        with _quiet():
            loaded = AutoModelForCausalLM.from_pretrained(
                _folder(place, weights=True),
                dtype=compute_dtype(precision),
                quantization_config=_quantization(precision),
                device_map=device(),
            )
    if not Path(place).is_dir():  # the Hub's name, which a saved adapter keeps, and not the cache's
        loaded.name_or_path = loaded.config.name_or_path = place.partition("@")[0]
    if len(tokenizer) > loaded.get_input_embeddings().num_embeddings:
        loaded.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    loaded.config.pad_token_id = loaded.generation_config.pad_token_id = tokenizer.pad_token_id
    for module in loaded.modules():
        # On some processors bitsandbytes packs 4-bit weights anew at the first evaluation: constants are rounded to
        # bf16, a layer narrower than a block is an error, and training that goes on gets no gradient through them.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return loaded, tokenizer


def _quantization(precision: str) -> BitsAndBytesConfig | None:
    """How bitsandbytes holds the linear layers' weights but the head's; None: not at all."""
    if precision not in QUANTIZED:
        return None
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)  # it tells of a cast at every layer
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=precision[:3],
        bnb_4bit_use_double_quant=precision.endswith("dq"),
        bnb_4bit_compute_dtype=compute_dtype(precision),
    )


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The model's tokenizer, padding on the left as generation needs it."""
    place = locate(model)
    with _hub_errors(place):
        tokenizer = AutoTokenizer.from_pretrained(_folder(place))
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # pad = eos would be masked with the padding, and the model would never learn to stop.
        spare = tokenizer.unk_token if tokenizer.unk_token not in (None, tokenizer.eos_token) else None
        tokenizer.add_special_tokens({"pad_token": spare or "<|pad|>"})
    return tokenizer


@contextmanager
def _quiet():
    """Without the progress bar over weight files: notebooks keep every line."""
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.utils.logging.enable_progress_bar()


@contextmanager
def _hub_errors(place: str):
    """Turns what the Hub's client and transformers raise for a Hub model into one sentence."""
    if Path(place).is_dir():
        yield
        return
    id, _, wanted = place.partition("@")
    with hub.explained(f"model {id}", wanted or "main", "give a local folder"):
        yield

"""Base model and tokenizer at a precision. Attaches no method, generates nothing."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import peft
import torch
from safetensors import safe_open
from torch import nn
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    CodeGenForCausalLM,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from nblib.models.quantizing import check_layers, parts, quantization, require_torchao
from nblib.models.sources import (
    WEIGHT_FILES,
    check_stored,
    fetched,
    is_codegen2,
    locate,
    read_config,
    shape,
    stored_precision,
    without_bars,
)
from nblib.spec import PRECISIONS, QUANTIZED, TORCHAO

SHAPE_TOKENIZER = "tiny"  # of models with random weights, whose own may not be to hand
QUERY_KEY_VALUE = ".attn.qkv_proj.weight"  # of CodeGen
CODEGEN_GROUPS, CODEGEN2_GROUPS = 4, 8  # of rows of query, value and key: in transformers' class, in CodeGen2's own
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device() -> str:
    """cuda, mps or cpu: the best that this machine has."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def processes() -> int:
    """How many processes accelerate launch or torchrun started for the same runs, a device each; else 1."""
    return int(os.environ["WORLD_SIZE"]) if "LOCAL_RANK" in os.environ else 1


def rank() -> int:
    """Which of them this is, from 0 on; the first one writes."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def is_split() -> bool:
    """Whether each of them holds a part of the weights in training (FSDP), as accelerate is configured."""
    return processes() > 1 and os.environ.get("ACCELERATE_USE_FSDP") == "true"


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
        library = "torchao, which is untried on" if precision in TORCHAO else "bitsandbytes, which has no kernels for"
        raise ValueError(f"precision {precision} needs {library} mps: use bf16")
    return precision


def compute_dtype(precision: str) -> torch.dtype:
    """What the model computes in: its weights' type, or for quantized weights the best that this machine has."""
    return DTYPES[precision] if precision in DTYPES else DTYPES[choose_precision("auto")]


def base_of(model: nn.Module) -> nn.Module:
    """The model that PEFT wraps, with what it put into its layers; one that it does not wrap itself."""
    return getattr(model, "get_base_model", lambda: model)()


@contextmanager
def attending(model: nn.Module, name: str, attend: Callable) -> Iterator[None]:
    """Inside, the model attends by this function, which transformers knows by that name; masks are those of `sdpa`."""
    base = base_of(model)
    kind = base.config._attn_implementation
    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, sdpa_mask)
    base.set_attn_implementation(name)
    try:
        yield
    finally:
        base.set_attn_implementation(kind)


@contextmanager
def under_autocast(model: nn.Module) -> Iterator[None]:
    """Inside, LoRA on the model leaves it to autocast to bring inputs and weights together: the same bits, sooner.

    PEFT turns the inputs of each layer to fp32 first, for models that compute without autocast. With dropout it still
    does: what is left is scaled in fp32 then.
    """
    layers = [layer for layer in model.modules() if _is_plain_lora(layer)]
    for layer in layers:
        layer.cast_input_dtype_enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.cast_input_dtype_enabled = True


def _is_plain_lora(layer: nn.Module) -> bool:
    if type(layer) is not peft.tuners.lora.Linear or layer.lora_variant:
        return False
    return all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())


def config(model: str, *, trust_remote_code: bool = False) -> PretrainedConfig:
    """The model's configuration, without its weights."""
    with fetched(model, code=trust_remote_code) as folder:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)


def max_prompt_tokens(config: PretrainedConfig, *, new_tokens: int) -> int:
    """Tokens that a prompt may have. In an encoder-decoder the answer takes none of them: it has the decoder's own."""
    return context_length(config) - (0 if config.is_encoder_decoder else new_tokens)


def context_length(config: PretrainedConfig) -> int:
    """Tokens that the model can see.

    T5's positions are relative and would go on for ever; its `n_positions` says how long the texts of its training
    were, and beyond them nobody knows what it does, so that counts.
    """
    names = ("max_position_embeddings", "n_positions", "n_ctx")
    return next((length for name in names if (length := getattr(config, name, None))), 2048)


def auto_class(config: PretrainedConfig) -> type[AutoModelForCausalLM] | type[AutoModelForSeq2SeqLM]:
    """The class of transformers that makes a model of that configuration."""
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def check(model: str, precision: str, *, trust_remote_code: bool = False) -> None:
    """Refuses, by the model's configuration alone, what `load` could not do at this precision.

    `trust_remote_code` says that its makers' code may be run. Raises ValueError where it would have to be and may not,
    where the model is stored in other bits, and where torchao cannot quantize it; ImportError where torchao is missing.
    """
    check_stored(model, precision, trust_remote_code=trust_remote_code)
    if precision in TORCHAO:
        require_torchao(precision)
        if is_split():
            raise ValueError(f"{precision} weights of torchao are not split over devices: take nf4 or bf16")
        check_layers(tree(model, trust_remote_code), model, precision)


@lru_cache(maxsize=4)  # a comparison has one or two models, and a 7B model's tree takes a second
def tree(model: str, trust_remote_code: bool = False) -> PreTrainedModel:
    """The model's frozen modules without weights; the same object each time."""
    known = config(model, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        found = auto_class(known).from_config(known, trust_remote_code=trust_remote_code)
    return found.requires_grad_(False)


def load(
    model: str, precision: str = "fp32", *, trust_remote_code: bool = False, split: str = ""
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A decoder-only or encoder-decoder model on this machine's best device, its tokenizer with a pad token of its own.

    `trust_remote_code`: code that the model's makers keep beside its weights may be run. With `split` a model may be
    larger than a device: "layers" puts some on each, "weights" leaves them where FSDP takes its part of each.
    Raises ValueError for an unknown model and for what `check` refuses, ConnectionError where the Hub is out of reach.
    """
    check(model, precision, trust_remote_code=trust_remote_code)
    _fewer_gaps()
    facts = read_config(model)
    tokenizer = load_tokenizer(model, trust_remote_code=trust_remote_code)
    how = _how(precision, split)
    if stored_precision(facts):  # the checkpoint says how it is to be read
        del how["quantization_config"]
    with fetched(model, weights=True, code=trust_remote_code) as folder, without_bars():
        if is_codegen2(facts) and not trust_remote_code:
            loaded = _codegen2(folder, facts, how)
        else:
            kind = auto_class(config(model, trust_remote_code=trust_remote_code))
            loaded = kind.from_pretrained(folder, trust_remote_code=trust_remote_code, **how)
    if not Path(place := locate(model)).exists():  # the Hub's name, which a saved adapter keeps, and not the cache's
        loaded.name_or_path = loaded.config.name_or_path = place.partition("@")[0]
    if len(tokenizer) > loaded.get_input_embeddings().num_embeddings:
        _grow(loaded, len(tokenizer))
    return _ready(loaded, tokenizer), tokenizer


def _how(precision: str, split: str) -> dict:
    """Arguments of `from_pretrained`."""
    stored = quantization(precision, compute_dtype(precision))
    places = {"": device(), "layers": "auto", "weights": None}
    if stored and split == "weights":
        stored.bnb_4bit_quant_storage = compute_dtype(precision)  # FSDP splits no whole numbers,
        places["weights"] = device()  # and takes no quantized weights from the CPU
    return {"dtype": compute_dtype(precision), "device_map": places[split], "quantization_config": stored}


def load_shape(
    model: str, precision: str = "fp32", *, split: str = ""
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model's architecture with random weights on this machine's best device, and the tokenizer of `tiny`.

    It takes the bytes that the model itself takes at that precision: each weight is made when its layer is loaded, so
    the model is never there as a whole at another precision.
    Raises ValueError where the vocabulary is smaller than the tokenizer's.
    """
    check(shape(model), precision)
    _fewer_gaps()
    known, tokenizer = config(shape(model)), load_tokenizer(SHAPE_TOKENIZER)
    if len(tokenizer) > known.vocab_size:
        raise ValueError(
            f"shape_only needs a vocabulary of at least {len(tokenizer)} tokens; {model!r} has {known.vocab_size}: "
            "load its weights instead"
        )
    with torch.device("meta"):
        empty = auto_class(known).from_config(known)
    tied = empty.all_tied_weights_keys  # a checkpoint has these once, under another name
    weights = {name: _random(like.shape) for name, like in empty.state_dict().items() if name not in tied}
    with without_bars():
        loaded = type(empty).from_pretrained(None, config=known, state_dict=weights, **_how(precision, split))
    return _ready(loaded, tokenizer), tokenizer


def load_tokenizer(model: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The model's tokenizer, padding on the left as generation needs it.

    Raises ValueError for one without an end-of-sequence token, and as `load` does.
    """
    with fetched(model, code=trust_remote_code) as folder:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        config = Path(folder) / "tokenizer_config.json"
        facts = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    if facts.get("add_bos_token") is True and "Llama" in str(facts.get("tokenizer_class")):
        # Dropped by transformers 5 where tokenizer.json leaves it to the class: Deepseek's.
        tokenizer.add_bos_token = True
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"the tokenizer of {model} has no end-of-sequence token, so no answer would end: "
            "set eos_token in its tokenizer_config.json to a token of its vocabulary"
        )
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # pad = eos would be masked with the padding, and the model would never learn to stop.
        spare = tokenizer.unk_token if tokenizer.unk_token not in (None, tokenizer.eos_token) else None
        tokenizer.add_special_tokens({"pad_token": spare or "<|pad|>"})
    return tokenizer


def _grow(loaded: PreTrainedModel, rows: int) -> None:
    """Embeddings for tokens that the checkpoint has none for: the mean of its own, the same in every process.

    As logits, the mean is never the highest; a row of zeros is, where all logits are below 0.
    """
    own = loaded.get_input_embeddings().num_embeddings
    loaded.checkpoint_rows = own  # by which methods know the base again
    loaded.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for layer in (loaded.get_input_embeddings(), loaded.get_output_embeddings()):
            for values in (getattr(layer, "weight", None), getattr(layer, "bias", None)):
                if values is not None and len(values) >= rows:
                    values[own:] = values[:own].mean(0, dtype=torch.float32).to(values.dtype)


def _fewer_gaps() -> None:
    """Lets the GPU's allocator grow its pieces, as batches of many lengths leave gaps; what the user set stays."""
    own = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    if sys.platform == "linux" and not any(name in os.environ for name in own) and not torch.cuda.is_initialized():
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"


def _ready(loaded: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The loaded model with the tokenizer's special tokens, and with layers that training can go through."""
    loaded.config.pad_token_id = tokenizer.pad_token_id
    loaded.generation_config = _own_tokens(loaded, tokenizer)
    if any(len(parts(parameter)) > 1 for parameter in loaded.parameters()):
        loaded.is_quantized = False  # else transformers' Trainer refuses torchao's 4 bits, which PEFT trains over
    for module in loaded.modules():
        # On some processors bitsandbytes packs 4-bit weights anew at the first evaluation: constants are rounded to
        # bf16, a layer narrower than a block is an error, and training that goes on gets no gradient through them.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
        if hasattr(state := getattr(module, "state", None), "is_training") and loaded.device.type == "cpu":
            state.__class__ = _as_in_training(type(state))  # type: ignore[arg-type]
    return loaded


@cache
def _as_in_training(kind: type) -> type:
    """The state of an int8 layer that multiplies as in training, by weights that are unpacked.

    On a CPU bitsandbytes answers by another function: it rounds activations to eight bits, too.
    """
    return type(kind.__name__, (kind,), {"is_training": property(lambda self: True, lambda self, value: None)})


def _own_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> GenerationConfig:
    """Of how the model's makers decode, the special tokens alone.

    Whatever a run does not set would come from there, and a repetition penalty punishes copying from shots. Chat models
    have more end tokens than their tokenizer tells; the ids of a checkpoint that has no such tokens are left out.
    """
    makers = model.generation_config
    ends = makers.eos_token_id if isinstance(makers.eos_token_id, list) else [makers.eos_token_id]
    special = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    start = makers.decoder_start_token_id
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, *sorted(special & set(ends) - {tokenizer.eos_token_id})],
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None) if start is None else start,
    )


# --- weights that are made while a model is loaded ------------------------------------------------------------------


class _LazyWeight:
    """A weight that transformers' loading makes when it reads it, as it reads a part of a file."""

    def __init__(self, shape: Sequence[int], make: Callable[[], torch.Tensor]):
        self.shape, self.make = tuple(shape), make

    def __getitem__(self, _) -> torch.Tensor:
        return self.make()


def _random(shape: torch.Size) -> _LazyWeight:
    # Straight on the device, in the smallest type that every precision can be made of.
    return _LazyWeight(shape, lambda: torch.empty(shape, dtype=torch.bfloat16, device=device()).normal_(std=0.02))


def _codegen2(folder: str, facts: dict, how: dict) -> PreTrainedModel:
    """CodeGen2 in transformers' CodeGen, which reads the rows of query, value and key in other groups.

    Saved again it is a checkpoint of that class: its auto_map goes.
    """
    known = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    del known.auto_map
    groups = facts.get("mp_num", CODEGEN2_GROUPS)

    def regrouped(stored: Any) -> _LazyWeight:
        shape = stored.get_shape() if hasattr(stored, "get_shape") else stored.shape
        return _LazyWeight(shape, lambda: regroup(stored[...], groups))

    found = _stored(Path(folder))
    weights = {name: regrouped(stored) if name.endswith(QUERY_KEY_VALUE) else stored for name, stored in found}
    loaded = CodeGenForCausalLM.from_pretrained(None, config=known, state_dict=weights, **how)
    if (Path(folder) / "generation_config.json").exists():
        loaded.generation_config = GenerationConfig.from_pretrained(folder)
    loaded.name_or_path = loaded.config.name_or_path = folder
    return loaded


def regroup(weight: torch.Tensor, groups: int, wanted: int = CODEGEN_GROUPS) -> torch.Tensor:
    """Rows of `groups` times query, value and key, a part of the heads each, in `wanted` such groups. Exact."""
    parts = weight.reshape(groups, 3, -1, *weight.shape[1:]).transpose(0, 1)
    whole = parts.reshape(3, wanted, -1, *weight.shape[1:]).transpose(0, 1)
    return whole.reshape(weight.shape)


def _stored(folder: Path) -> Iterator[tuple]:
    """Names and weights of a checkpoint's files; none of them is read before it is needed."""
    safe = sorted(folder.glob(WEIGHT_FILES[0]))
    for path in safe:
        file = safe_open(path, framework="pt")
        yield from ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118 - it is no mapping
    for path in () if safe else sorted(folder.glob(WEIGHT_FILES[1])):
        yield from torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path)).items()

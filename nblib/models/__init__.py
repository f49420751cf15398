"""Base model and tokenizer at a precision. Attaches no method, generates nothing."""

from nblib.models.checking import check
from nblib.models.loading import (
    DTYPES,
    SHAPE_TOKENIZER,
    choose_precision,
    compute_dtype,
    config,
    context_length,
    device,
    is_encoder_decoder,
    load,
    load_shape,
    load_tokenizer,
    max_prompt_tokens,
)
from nblib.models.places import CONFIGS, EMBEDDED, MODELS, embedded_models, locate, revision, shape

__all__ = [
    "CONFIGS",
    "DTYPES",
    "EMBEDDED",
    "MODELS",
    "SHAPE_TOKENIZER",
    "check",
    "choose_precision",
    "compute_dtype",
    "config",
    "context_length",
    "device",
    "embedded_models",
    "is_encoder_decoder",
    "load",
    "load_shape",
    "load_tokenizer",
    "locate",
    "max_prompt_tokens",
    "revision",
    "shape",
]

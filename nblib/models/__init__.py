"""Base model and tokenizer at a precision. Attaches no method, generates nothing."""

from nblib.models.loading import (
    DTYPES,
    SHAPE_TOKENIZER,
    auto_class,
    choose_precision,
    compute_dtype,
    config,
    context_length,
    device,
    is_split,
    load,
    load_shape,
    load_tokenizer,
    max_prompt_tokens,
    processes,
    quantization,
    rank,
    under_autocast,
)
from nblib.models.sources import (
    CONFIGS,
    EMBEDDED,
    MODELS,
    check,
    embedded_models,
    folder_of,
    locate,
    revision,
    shape,
)

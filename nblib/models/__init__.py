"""Base model and tokenizer at a precision. Attaches no method, generates nothing."""

from nblib.models.loading import (
    DTYPES,
    SHAPE_TOKENIZER,
    attending,
    auto_class,
    base_of,
    check,
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
    rank,
    tree,
    under_autocast,
)
from nblib.models.quantizing import check_layers, kept_layers, parts, quantization, quantize, require_torchao
from nblib.models.sources import (
    CONFIGS,
    EMBEDDED,
    MODELS,
    embedded_models,
    folder_of,
    locate,
    revision,
    shape,
)

"""Model and prompts to completions, batched. Builds no prompts and scores nothing."""

import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from nblib.models import DTYPES
from nblib.spec import Decoding


@torch.inference_mode()
def completions(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    decoding: Decoding,
    *,
    new_tokens: int,
    stops: Sequence[str],
    precision: str,
    seed: int,
) -> Iterator[tuple[int, list[str], int]]:
    """Yields (index of the prompt, its completions best first, tokens generated for it), longest prompts first.

    Each answer ends by itself: at the end-of-sequence token or after a stop string, which stays in the completion.
    """
    torch.manual_seed(seed)
    model.eval()
    settings = _settings(tokenizer, decoding, new_tokens, stops)
    encoded = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    for batch in batches(encoded, decoding.batch_size, equal_lengths=_has_virtual_tokens(model)):
        inputs = tokenizer.pad({"input_ids": [encoded[index] for index in batch]}, return_tensors="pt")
        inputs = inputs.to(model.device)
        # Trained weights are fp32 over a half-precision base.
        with torch.autocast(model.device.type, dtype=DTYPES[precision], enabled=precision != "fp32"):
            with warnings.catch_warnings():
                # Without padding, positions need no correction: a test compares with the text written out.
                warnings.filterwarnings("ignore", "Position ids are not supported", UserWarning)
                generated = model.generate(**inputs, generation_config=settings, tokenizer=tokenizer)
        answers = generated[:, inputs["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
        lengths = (answers != tokenizer.pad_token_id).sum(1).tolist()
        for place, index in enumerate(batch):
            mine = slice(place * decoding.returned, (place + 1) * decoding.returned)
            yield index, texts[mine], sum(lengths[mine])


def batches(encoded: Sequence[Sequence[int]], size: int, *, equal_lengths: bool = False) -> list[list[int]]:
    """Indices of at most `size` sequences of similar, or equal, lengths; the longest first."""
    order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index]))
    grouped: list[list[int]] = []
    for index in order:
        last = grouped[-1] if grouped else None
        full = last is None or len(last) == size
        if full or (equal_lengths and len(encoded[last[0]]) != len(encoded[index])):
            grouped.append([])
        grouped[-1].append(index)
    return grouped


def _has_virtual_tokens(model: nn.Module) -> bool:
    """Whether padding would come between virtual tokens and query, which changes answers: then nothing is padded."""
    configs = getattr(model, "peft_config", {})
    return any(config.is_prompt_learning for config in configs.values())


def _settings(
    tokenizer: PreTrainedTokenizerBase, decoding: Decoding, new_tokens: int, stops: Sequence[str]
) -> GenerationConfig:
    sampling = decoding.temperature is not None
    return GenerationConfig(
        max_new_tokens=new_tokens,
        num_beams=decoding.beams,
        num_return_sequences=decoding.returned,
        do_sample=sampling,
        **({"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if sampling else {}),
        stop_strings=list(stops),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )

"""Model and prompts to completions, batched. Builds no prompts and scores nothing."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from transformers import DynamicCache, GenerationConfig, PreTrainedTokenizerBase
from transformers.generation.stopping_criteria import StopStringCriteria

from nblib import models
from nblib.generate import plain, search
from nblib.generate.cache import attends_to_all, has_virtual_tokens, prefill, prefill_shared, takes_positions
from nblib.prompts import Prompt, encode, ends
from nblib.spec import Decoding


@torch.inference_mode()
def completions(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str | Prompt],
    decoding: Decoding,
    *,
    new_tokens: int,
    stops: Sequence[str],
    precision: str,
    seed: int,
    done: Collection[int] = (),
) -> Iterator[tuple[int, list[str], int]]:
    """Yields (index of the prompt, its completions best first, tokens generated for it), longest prompts first.

    Each answer ends by itself: at the end-of-sequence token or after a stop string, which stays in the completion; with
    `decoding.stop` all-beams, text may follow that, and what is scored is cut at the stop string anyway.
    With `decoding.length_rule` with-prompt, beams are compared as transformers did before 4.36. To an encoder-decoder
    that makes next to no difference, for its decoder's prompt is one token: today's rule stands for both.
    What all prompts begin with, shots as a rule, is read once. A batch whose prompts are all `done` is left out, which
    changes no other answer.
    """
    model.eval()
    settings = _settings(model, tokenizer, decoding, new_tokens, ends(stops, tokenizer))
    encoded = [_ids(prompt, tokenizer, model) for prompt in prompts]
    searched = _is_searched(model, encoded, settings)
    with computing(model, precision):
        start = prefill_shared(model, encoded, new_tokens)
    if decoding.length_rule == "with-prompt" and not searched and not model.config.is_encoder_decoder:
        raise ValueError(
            f"length_rule with-prompt is not for {type(models.base_of(model)).__name__}, whose beams transformers "
            "searches by its own rule: take length_rule answer"
        )
    # Padding would come between virtual tokens and query, which changes answers: then nothing is padded.
    equal_lengths = not searched and has_virtual_tokens(model) and not model.config.is_encoder_decoder
    for batch in batches(encoded, decoding.batch_size, equal_lengths=equal_lengths):
        if all(index in done for index in batch):
            continue
        seeds = [seed * 1_000_003 + index for index in batch]
        torch.manual_seed(seeds[0])  # for beams that are sampled, which transformers draws for a batch as a whole
        rows = [encoded[index] for index in batch]
        with computing(model, precision):
            begun = prefill_shared(model, rows, new_tokens) if start is None else start
            if searched:
                answers = _search(model, tokenizer, rows, settings, begun, decoding)
            else:
                all_beams = decoding.stop == "all-beams"
                answers = plain.generate(model, tokenizer, rows, settings, begun, all_beams=all_beams, seeds=seeds)
        before = [row[-1] for row in rows for _ in range(decoding.returned)]
        texts = [_text(*pair, tokenizer, model, settings) for pair in zip(before, answers.tolist(), strict=True)]
        lengths = (answers != tokenizer.pad_token_id).sum(1).tolist()
        for place, index in enumerate(batch):
            own_rows = slice(place * decoding.returned, (place + 1) * decoding.returned)
            yield index, texts[own_rows], sum(lengths[own_rows])


def _ids(prompt: str | Prompt, tokenizer: PreTrainedTokenizerBase, model: nn.Module) -> list[int]:
    if isinstance(prompt, Prompt):
        return list(prompt.ids)
    return encode(prompt, tokenizer, encoder_decoder=model.config.is_encoder_decoder)["input_ids"]


def _text(
    before: int, ids: list[int], tokenizer: PreTrainedTokenizerBase, model: nn.Module, settings: GenerationConfig
) -> str:
    """What was written after the token `before`, up to its end; special tokens until there are a part of the code."""
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    end = next((place for place, id in enumerate(ids) if id in ends), len(ids))
    begin = int(model.config.is_encoder_decoder and ids[:1] == [tokenizer.bos_token_id])  # CodeT5 writes it first
    while begin < end and ids[end - 1] == tokenizer.pad_token_id:
        end -= 1
    # With the token before it: Llama's kind of tokenizer takes a space from the beginning of what it decodes.
    known, written = ([] if model.config.is_encoder_decoder else [before]), ids[begin:end]
    # What tokenizers clean up in a text is code: `a != b` would become `a!= b`.
    prompt, whole = (tokenizer.decode(part, clean_up_tokenization_spaces=False) for part in (known, known + written))
    return whole.removeprefix(prompt)


def _is_searched(model: nn.Module, rows: list[list[int]], settings: GenerationConfig) -> bool:
    """Whether our beam search can have the model: it puts tokens where no position says they are."""
    length = max(map(len, rows), default=0) + settings.max_new_tokens
    config = model.config
    return (
        settings.num_beams > 1
        and not settings.do_sample
        and attends_to_all(model, length)
        and takes_positions(model)
        and not getattr(config, "alibi", False)
        and config._attn_implementation in ("sdpa", "eager")  # others take no mask of four dimensions
    )


def _search(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[list[int]],
    settings: GenerationConfig,
    start: DynamicCache | None,
    decoding: Decoding,
) -> torch.Tensor:
    """New tokens of shape (rows x returned, tokens of the longest)."""
    new_tokens = 1 + settings.num_beams * (settings.max_new_tokens - 1)  # a prompt's last token, then the beams'
    prompts = prefill(model, rows, start, tokenizer, new_tokens)
    stops = StopStringCriteria(tokenizer, settings.stop_strings)
    return search.search(
        models.base_of(model),
        prompts,
        settings,
        stops,
        all_beams=decoding.stop == "all-beams",
        with_prompt=decoding.length_rule == "with-prompt",
    )


@contextmanager
def computing(model: nn.Module, precision: str):
    """Trained weights are fp32 over a half-precision base, which autocast brings together."""
    dtype = models.compute_dtype(precision)
    mixed = torch.autocast(model.device.type, dtype=dtype, enabled=dtype != torch.float32)
    with mixed, models.under_autocast(model), warnings.catch_warnings():
        # Without padding, positions need no correction: a test compares with the text written out.
        warnings.filterwarnings("ignore", "Position ids are not supported", UserWarning)
        yield


def batches(encoded: Sequence[Sequence[int]], size: int, *, equal_lengths: bool = False) -> list[list[int]]:
    """Indices of at most `size` sequences of similar, or equal, lengths; the longest first."""
    order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index]))
    grouped: list[list[int]] = []
    for index in order:
        last = grouped[-1] if grouped else []
        fits = 0 < len(last) < size and not (equal_lengths and len(encoded[last[0]]) != len(encoded[index]))
        if not fits:
            grouped.append([])
        grouped[-1].append(index)
    return grouped


def _settings(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, decoding: Decoding, new_tokens: int, stops: Sequence[str]
) -> GenerationConfig:
    sampling = decoding.temperature is not None
    own = model.generation_config.eos_token_id
    return GenerationConfig(
        max_new_tokens=new_tokens,
        num_beams=decoding.beams,
        num_return_sequences=decoding.returned,
        early_stopping=decoding.early_stopping,
        do_sample=sampling,
        **({"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if sampling else {}),
        stop_strings=list(stops),
        eos_token_id=own if isinstance(own, list) else tokenizer.eos_token_id,  # a list: as `models.load` made it
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )

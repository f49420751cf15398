"""Model and prompts to completions, batched. Builds no prompts and scores nothing."""

import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from transformers import BatchEncoding, DynamicCache, GenerationConfig, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from nblib import models
from nblib.prompts import encode
from nblib.spec import Decoding

WORTH_SHARING = 16  # tokens; below, the extra pass costs more than it saves


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
    encoded = [encode(prompt, tokenizer)["input_ids"] for prompt in prompts]
    for batch in batches(encoded, decoding.batch_size, equal_lengths=_has_virtual_tokens(model)):
        answers = _generate(model, tokenizer, [encoded[index] for index in batch], settings, precision)
        texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
        lengths = (answers != tokenizer.pad_token_id).sum(1).tolist()
        for place, index in enumerate(batch):
            mine = slice(place * decoding.returned, (place + 1) * decoding.returned)
            yield index, texts[mine], sum(lengths[mine])


def _generate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[list[int]],
    settings: GenerationConfig,
    precision: str,
) -> torch.Tensor:
    """New tokens of shape (rows x returned, tokens of the longest)."""
    # Trained weights are fp32 over a half-precision base.
    dtype = models.compute_dtype(precision)
    with (
        torch.autocast(model.device.type, dtype=dtype, enabled=dtype != torch.float32),
        warnings.catch_warnings(),
    ):
        # Without padding, positions need no correction: a test compares with the text written out.
        warnings.filterwarnings("ignore", "Position ids are not supported", UserWarning)
        shared = 0 if _has_virtual_tokens(model) else _common_start(rows)
        shared = shared if shared >= WORTH_SHARING else 0
        inputs = _padded_after(shared, rows, tokenizer).to(model.device)
        if not _has_virtual_tokens(model):  # their cache is PEFT's
            copies = len(rows) * max(settings.num_beams, settings.num_return_sequences)
            room = inputs["input_ids"].shape[1] - shared + settings.max_new_tokens
            inputs["past_key_values"] = _cache(model, inputs["input_ids"][:1, :shared], copies, room)
        generated = model.generate(**inputs, generation_config=settings, tokenizer=tokenizer)
    return generated[:, inputs["input_ids"].shape[1] :]


def _common_start(rows: list[list[int]]) -> int:
    """How many tokens all rows begin with, their last token apart: shots that the queries of a batch share."""
    shortest = min(map(len, rows)) - 1
    return next((i for i in range(shortest) if any(row[i] != rows[0][i] for row in rows)), shortest)


def _padded_after(shared: int, rows: list[list[int]], tokenizer: PreTrainedTokenizerBase) -> BatchEncoding:
    """Rows of equal length, padded on the left of what they do not share."""
    width = max(map(len, rows))
    padding = [width - len(row) for row in rows]
    ids = [row[:shared] + [tokenizer.pad_token_id] * gap + row[shared:] for row, gap in zip(rows, padding, strict=True)]
    mask = [[1] * shared + [0] * gap + [1] * (width - gap - shared) for gap in padding]
    return BatchEncoding({"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)})


def _cache(model: nn.Module, shared: torch.Tensor, copies: int, room: int) -> DynamicCache:
    """Keys and values for `room` tokens of every row and beam, after those of the ids that all of them share, if any.

    The shared ids have shape (1, tokens) and are read once.
    """
    if shared.shape[1]:
        cache = model(input_ids=shared, use_cache=True, logits_to_keep=1).past_key_values
    else:
        cache = DynamicCache(config=model.config)
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[index] = _Roomy(layer, copies, room)
        else:
            layer.batch_repeat_interleave(copies)
    return cache


class _Roomy(DynamicLayer):
    """Keys and values in room that is allocated once, after a beginning that all rows share, or none.

    The plain layer copies everything at every step, to grow and to reorder beams, the shared beginning too: with shots
    that is most of the work.
    """

    def __init__(self, shared: DynamicLayer, copies: int, room: int):
        super().__init__()
        self.shared = self.filled = shared.get_seq_length()
        self.room = self.shared + room
        self.buffers: list[torch.Tensor] = []
        if self.shared:
            self._allocate(shared.keys.expand(copies, -1, -1, -1), shared.values.expand(copies, -1, -1, -1))
            self.buffers[0][:, :, : self.shared] = shared.keys
            self.buffers[1][:, :, : self.shared] = shared.values
            self._look()

    def _allocate(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.lazy_initialization(keys, values)
        self.buffers = [each.new_empty(*each.shape[:2], self.room, each.shape[3]) for each in (keys, values)]

    def _look(self) -> None:
        self.keys, self.values = (each[:, :, : self.filled] for each in self.buffers)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        if not self.buffers:
            self._allocate(key_states, value_states)
        start, self.filled = self.filled, self.filled + key_states.shape[-2]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, start : self.filled] = states
        self._look()
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        for buffer in self.buffers:
            own = buffer[:, :, self.shared : self.filled]
            own.copy_(own.index_select(0, beam_idx.to(own.device)))


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
        early_stopping=decoding.early_stopping,
        do_sample=sampling,
        **({"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if sampling else {}),
        stop_strings=list(stops),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )

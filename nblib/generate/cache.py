"""Prefill: prompts to keys and values, what all share once, each prompt once, with room allocated for the answers."""

import inspect
from copy import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedTokenizerBase
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

from nblib import models

MIN_SHARED_TOKENS = 16  # below, the extra pass costs more than it saves


class PreallocatedLayer(DynamicLayer):
    """Keys and values in memory that is allocated once, after a beginning that is never moved.

    The plain layer copies everything at every step, to grow and to reorder beams, the prompt too: with shots that is
    most of the work. Beams of a query share its prompt, so only what comes after it changes places.
    """

    def __init__(self, start: CacheLayerMixin, copies: int, length: int):
        super().__init__()
        self.start = self.filled = start.get_seq_length()
        self.length = length
        self.rows: int | None = None  # those in use; None: all
        self.buffers: list[torch.Tensor] = []
        if self.start:
            states = [values.repeat_interleave(copies, 0) for values in (start.keys, start.values)]
            self._allocate(*states)
            for buffer, values in zip(self.buffers, states, strict=True):
                buffer[:, :, : self.start] = values
            self._show_filled()

    def _allocate(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.lazy_initialization(keys, values)
        self.buffers = [like.new_empty(*like.shape[:2], self.length, like.shape[3]) for like in (keys, values)]

    def _show_filled(self) -> None:
        self.keys, self.values = (buffer[: self.rows, :, : self.filled] for buffer in self.buffers)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        if not self.buffers:
            self._allocate(key_states, value_states)
        start, self.filled = self.filled, self.filled + key_states.shape[-2]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[: self.rows, :, start : self.filled] = states
        self._show_filled()
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        for buffer in self.buffers:
            written = buffer[:, :, self.start : self.filled]
            written.copy_(written.index_select(0, beam_idx.to(written.device)))

    def keep(self, rows: list[int]) -> None:
        """Leaves those rows in that order; none may come before its own place."""
        for buffer in self.buffers:
            for to, row in enumerate(rows):
                if to != row:
                    buffer[to, :, : self.filled] = buffer[row, :, : self.filled]
        self.rows = len(rows)
        self._show_filled()


@dataclass
class Prefilled:
    """Prompts that were read but for their last tokens: keys and values with one row for each."""

    rows: list[list[int]]  # token ids
    cache: DynamicCache
    position: torch.Tensor  # (prompts): of the last token
    sees: torch.Tensor  # (prompts, slots of the cache): which hold a token of the prompt

    def tails(self, length: int, pad: int) -> torch.Tensor:
        """The last tokens of every prompt, of shape (prompts, length): a stop string may begin in them."""
        tails = [([pad] * length + row)[-length:] for row in self.rows]
        return torch.tensor(tails, device=self.position.device)

    def drop(self, kept: list[bool]) -> list[int]:
        """Frees the cache of the other rows, and returns which row is at each place now: few have to move."""
        left = [row for row, stays in enumerate(kept) if stays]
        last = [row for row in left if row >= len(left)]
        rows = [row if kept[row] else last.pop() for row in range(len(left))]
        for layer in self.cache.layers:
            layer.keep(rows)
        return rows


def prefill(
    model: nn.Module,
    rows: list[list[int]],
    start: DynamicCache | None,
    tokenizer: PreTrainedTokenizerBase,
    new_tokens: int,
) -> Prefilled:
    """The prompts but for their last tokens, after a start that they share, with room for so many tokens more.

    They are padded on the right, where no token of a prompt sees the padding; its slots are not to be seen later.
    """
    start = DynamicCache(config=model.config) if start is None else start
    shared = start.get_seq_length()
    own = [torch.tensor(row[shared:-1], dtype=torch.long) for row in rows]
    ids = pad_sequence(own, batch_first=True, padding_value=tokenizer.pad_token_id).to(model.device)
    if not shared and not ids.shape[1]:  # prompts of one token: a cache begins with something
        ids = ids.new_full((len(rows), 1), tokenizer.pad_token_id)
    if has_virtual_tokens(model):
        filled = model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
        cache = preallocated(filled, 1, filled.get_seq_length() + new_tokens)
    else:
        cache = preallocated(start, len(rows), shared + ids.shape[1] + new_tokens)
        if ids.shape[1]:
            models.base_of(model)(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    lengths = torch.tensor([len(tokens) for tokens in own], device=model.device) + cache.get_seq_length() - ids.shape[1]
    return Prefilled(rows, cache, lengths, torch.arange(cache.get_seq_length(), device=model.device) < lengths[:, None])


def prefill_shared(model: nn.Module, rows: list[list[int]], new_tokens: int) -> DynamicCache | None:
    """Keys and values of what all rows begin with, in one row; None where that is too little, or cannot be shared."""
    shared = shared_prefix(rows) if rows else 0
    if shared < MIN_SHARED_TOKENS or has_virtual_tokens(model):
        return None
    if not attends_to_all(model, max(map(len, rows)) + new_tokens):
        return None
    ids = torch.tensor([rows[0][:shared]], device=model.device)
    return models.base_of(model)(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values


def preallocated(start: DynamicCache, copies: int, length: int) -> DynamicCache:
    """Copies of every row of a start, which stays as it is, with room for `length` tokens in all."""
    cache = copy(start)
    cache.layers = [PreallocatedLayer(layer, copies, length) for layer in start.layers]
    return cache


def shared_prefix(rows: list[list[int]]) -> int:
    """How many tokens all rows begin with, their last token apart: shots that the queries of a batch share."""
    shortest = min(map(len, rows)) - 1
    return next((i for i in range(shortest) if any(row[i] != rows[0][i] for row in rows)), shortest)


def attends_to_all(model: nn.Module, length: int) -> bool:
    """Whether the model is a decoder whose layers all see every token before, in texts of that length."""
    layers = DynamicCache(config=model.config).layers
    return not model.config.is_encoder_decoder and all(_sees_all(layer, length) for layer in layers)


def _sees_all(layer: CacheLayerMixin, length: int) -> bool:
    return type(layer) is DynamicLayer or (
        type(layer) is DynamicSlidingWindowLayer and layer.sliding_window is not None and layer.sliding_window >= length
    )


def takes_positions(model: nn.Module) -> bool:
    """Whether positions can be told to the model; if not, it counts them by what is in the cache."""
    return "position_ids" in inspect.signature(models.base_of(model).forward).parameters


def has_virtual_tokens(model: nn.Module) -> bool:
    """Whether a method puts learned tokens before the query."""
    return any(config.is_prompt_learning for config in getattr(model, "peft_config", {}).values())

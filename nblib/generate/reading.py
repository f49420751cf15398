"""Prompts to keys and values: what all share once, each prompt once, with room for what is written. Writes nothing."""

import inspect
from copy import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, PreTrainedTokenizerBase
from transformers.cache_utils import CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

WORTH_SHARING = 16  # tokens; below, the extra pass costs more than it saves


class Roomy(DynamicLayer):
    """Keys and values in room that is allocated once, after a beginning that is never moved.

    The plain layer copies everything at every step, to grow and to reorder beams, the prompt too: with shots that is
    most of the work. Beams of a query share its prompt, so only what comes after it changes places.
    """

    def __init__(self, start: CacheLayerMixin, copies: int, length: int):
        super().__init__()
        self.start = self.filled = start.get_seq_length()
        self.room = length
        self.rows: int | None = None  # those in use; None: all
        self.buffers: list[torch.Tensor] = []
        if self.start:
            keys, values = (each.repeat_interleave(copies, 0) for each in (start.keys, start.values))
            self._allocate(keys, values)
            self.buffers[0][:, :, : self.start] = keys
            self.buffers[1][:, :, : self.start] = values
            self._look()

    def _allocate(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.lazy_initialization(keys, values)
        self.buffers = [each.new_empty(*each.shape[:2], self.room, each.shape[3]) for each in (keys, values)]

    def _look(self) -> None:
        self.keys, self.values = (each[: self.rows, :, : self.filled] for each in self.buffers)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        if not self.buffers:
            self._allocate(key_states, value_states)
        start, self.filled = self.filled, self.filled + key_states.shape[-2]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[: self.rows, :, start : self.filled] = states
        self._look()
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        for buffer in self.buffers:
            own = buffer[:, :, self.start : self.filled]
            own.copy_(own.index_select(0, beam_idx.to(own.device)))

    def take(self, rows: list[int]) -> None:
        """Leaves those rows in that order; none may come before its own place."""
        moved = [(to, row) for to, row in enumerate(rows) if to != row]
        for buffer in self.buffers:
            for to, row in moved:
                buffer[to, :, : self.filled] = buffer[row, :, : self.filled]
        self.rows = len(rows)
        self._look()


@dataclass
class Prompts:
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
        """Frees the cache of the other rows, and returns which row stands at each place now: few have to move."""
        left = [row for row, stays in enumerate(kept) if stays]
        last = [row for row in left if row >= len(left)]
        rows = [row if kept[row] else last.pop() for row in range(len(left))]
        for layer in self.cache.layers:
            layer.take(rows)
        return rows


def read(
    model: nn.Module, rows: list[list[int]], start: DynamicCache | None, tokenizer: PreTrainedTokenizerBase, room: int
) -> Prompts:
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
        taken = model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
        cache = _roomy(taken, 1, taken.get_seq_length() + room)
    else:
        cache = _roomy(start, len(rows), shared + ids.shape[1] + room)
        if ids.shape[1]:
            inner(model)(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    lengths = torch.tensor([len(each) for each in own], device=model.device) + cache.get_seq_length() - ids.shape[1]
    return Prompts(rows, cache, lengths, torch.arange(cache.get_seq_length(), device=model.device) < lengths[:, None])


def _roomy(start: DynamicCache, copies: int, length: int) -> DynamicCache:
    cache = copy(start)
    cache.layers = [Roomy(layer, copies, length) for layer in start.layers]
    return cache


def read_start(model: nn.Module, rows: list[list[int]], new_tokens: int) -> DynamicCache | None:
    """Keys and values of what all rows begin with, in one row; None where that is too little, or cannot be shared."""
    shared = common_start(rows) if rows else 0
    if shared < WORTH_SHARING or has_virtual_tokens(model) or not looks_back(model, max(map(len, rows)) + new_tokens):
        return None
    ids = torch.tensor([rows[0][:shared]], device=model.device)
    return inner(model)(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values


def common_start(rows: list[list[int]]) -> int:
    """How many tokens all rows begin with, their last token apart: shots that the queries of a batch share."""
    shortest = min(map(len, rows)) - 1
    return next((i for i in range(shortest) if any(row[i] != rows[0][i] for row in rows)), shortest)


def looks_back(model: nn.Module, length: int) -> bool:
    """Whether the model is a decoder whose layers all see every token before, in texts of that length."""
    return not model.config.is_encoder_decoder and all(
        _sees_all(layer, length) for layer in DynamicCache(config=model.config).layers
    )


def _sees_all(layer: CacheLayerMixin, length: int) -> bool:
    return type(layer) is DynamicLayer or (
        type(layer) is DynamicSlidingWindowLayer and layer.sliding_window is not None and layer.sliding_window >= length
    )


def takes_positions(model: nn.Module) -> bool:
    """Whether positions can be told to the model; where not, it counts them by what stands in the cache."""
    return "position_ids" in inspect.signature(inner(model).forward).parameters


def has_virtual_tokens(model: nn.Module) -> bool:
    """Whether a method puts learned tokens before the query."""
    configs = getattr(model, "peft_config", {})
    return any(config.is_prompt_learning for config in configs.values())


def inner(model: nn.Module) -> nn.Module:
    """The model that PEFT wraps, with what it put into its layers."""
    return getattr(model, "get_base_model", lambda: model)()

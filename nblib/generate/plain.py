"""Generation as transformers does it: sampling, encoder-decoders, and models whose beams cannot share a row."""

from copy import copy, deepcopy

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    BatchEncoding,
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
    TopPLogitsWarper,
)
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

from nblib.generate.cache import PreallocatedLayer, has_virtual_tokens, takes_positions
from nblib.generate.search import all_stopped


def generate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[list[int]],
    settings: GenerationConfig,
    start: DynamicCache | None,
    *,
    all_beams: bool,
    seeds: list[int],
) -> torch.Tensor:
    """New tokens of shape (rows x returned, tokens of the longest); sampling draws each row's with its seed."""
    if model.config.is_encoder_decoder:
        inputs, begun = _padded_on_the_right(rows, tokenizer).to(model.device), 1  # the decoder's start token
    else:
        inputs = _padded_after(0 if start is None else start.get_seq_length(), rows, tokenizer).to(model.device)
        begun = inputs["input_ids"].shape[1]
        if not has_virtual_tokens(model):  # their cache is PEFT's
            copies = max(settings.num_beams, settings.num_return_sequences)
            filled = _prefilled(model, inputs, DynamicCache(config=model.config) if start is None else start)
            inputs["past_key_values"] = _copies(filled, copies, begun + settings.max_new_tokens)
    rule: dict = {}
    if settings.do_sample and settings.num_beams == 1:
        rule["logits_processor"] = LogitsProcessorList([_OwnDraws(settings, seeds)])
        settings = copy(settings)
        settings.temperature = settings.top_p = 1.0  # both are in the draws
    if all_beams:
        rule["stopping_criteria"] = StoppingCriteriaList([_AllBeams(tokenizer, settings, len(rows), begun)])
        settings = copy(settings)
        settings.stop_strings = None
    return model.generate(**inputs, generation_config=settings, tokenizer=tokenizer, **rule)[:, begun:]


def _prefilled(model: nn.Module, inputs: BatchEncoding, start: DynamicCache) -> DynamicCache:
    """Keys and values of the prompts but their last token, after the start that they share.

    Each prompt is read once: transformers would read it once for every beam.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    cache, shared = _copies(start, len(ids), ids.shape[1]), start.get_seq_length()
    if ids.shape[1] - 1 > shared and all(isinstance(layer, DynamicLayer) for layer in cache.layers):
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, shared:-1]
        model(
            input_ids=ids[:, shared:-1],
            attention_mask=mask[:, :-1],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **({"position_ids": positions} if takes_positions(model) else {}),
        )
    return cache


def _padded_after(shared: int, rows: list[list[int]], tokenizer: PreTrainedTokenizerBase) -> BatchEncoding:
    """Rows of equal length, padded on the left of what they do not share."""
    width = max(map(len, rows))
    padding = [width - len(row) for row in rows]
    ids = [row[:shared] + [tokenizer.pad_token_id] * gap + row[shared:] for row, gap in zip(rows, padding, strict=True)]
    mask = [[1] * shared + [0] * gap + [1] * (width - gap - shared) for gap in padding]
    return BatchEncoding({"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)})


def _padded_on_the_right(rows: list[list[int]], tokenizer: PreTrainedTokenizerBase) -> BatchEncoding:
    """Rows for an encoder: there, a first token that is no token would move the learned positions of some models."""
    ids = [torch.tensor(row) for row in rows]
    padded = pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id)
    mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
    return BatchEncoding({"input_ids": padded, "attention_mask": mask})


def _copies(start: DynamicCache, copies: int, length: int) -> DynamicCache:
    """Copies of every row of a start, which stays as it is, with room for `length` tokens where layers see them all."""
    cache = copy(start)
    cache.layers = [_copied(layer, copies, length) for layer in start.layers]
    return cache


def _copied(layer: CacheLayerMixin, copies: int, length: int) -> CacheLayerMixin:
    if isinstance(layer, PreallocatedLayer) or type(layer) is DynamicLayer:
        return PreallocatedLayer(layer, copies, length)
    own = deepcopy(layer)
    own.batch_repeat_interleave(copies)
    return own


class _OwnDraws(LogitsProcessor):
    """Leaves the token that is drawn, by a random number of its own: no answer depends on the others of its batch."""

    def __init__(self, settings: GenerationConfig, seeds: list[int]):
        self.temperature, self.top = settings.temperature, TopPLogitsWarper(settings.top_p)
        shape = settings.num_return_sequences, settings.max_new_tokens
        draws = [torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        self.draws = iter(torch.cat(draws).T.contiguous())  # by token, one a row

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor) -> torch.Tensor:
        scores = self.top(input_ids, scores.float() / self.temperature)
        below = scores.softmax(-1).cumsum(-1)  # in the vocabulary's order, which rounding does not change
        draw = next(self.draws).to(scores.device).unsqueeze(1)  # below 1, which the last sum is
        token = torch.searchsorted(below / below[:, -1:], draw, right=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)


class _AllBeams(StoppingCriteria):
    """Ends a query's search when all its beams have written a stop string."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: GenerationConfig, queries: int, begun: int):
        self.tokenizer, self.stops, self.beams = tokenizer, settings.stop_strings, settings.num_beams
        self.ends = torch.tensor(settings.eos_token_id)
        self.queries, self.begun = queries, begun

    def __call__(self, input_ids: torch.LongTensor, scores: torch.Tensor | None, **_) -> torch.Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.begun :], clean_up_tokenization_spaces=False)
        stopped = torch.tensor([any(stop in text for stop in self.stops) for text in texts], device=input_ids.device)
        ended = torch.isin(input_ids[:, -1], self.ends.to(input_ids.device))
        done = all_stopped(stopped.view(self.queries, -1), ended.view(self.queries, -1), self.beams)
        return done.squeeze(1).repeat_interleave(len(texts) // self.queries)

"""Beam search over many queries at once, each ended and dropped by itself. Reads no prompts.

The choices are those of transformers' beam search, number for number. What differs is the work: all beams of a query
are read as one row of tokens, and a mask says which of the row's tokens a beam goes back to. So keys and values of a
prompt are there once and not once a beam, nothing changes places when beams do, and attention is one product a query.
"""

from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig
from transformers.generation.stopping_criteria import StopStringCriteria

from nblib import models
from nblib.generate.cache import Prefilled

NEVER = -1e9  # the score of what is not to be chosen


@dataclass
class _Beams:
    """The queries that are still searched: every tensor has a row for each."""

    place: torch.Tensor  # (queries): where in the batch
    position: torch.Tensor  # (queries): of the token that is read next
    sees: torch.Tensor  # (queries, beams, slots of the cache): what a beam goes back to
    tokens: torch.Tensor  # (queries, beams, tokens): the prompt's last ones, then those that were written
    stopped: torch.Tensor  # (queries, beams): whether a stop string was written
    score: torch.Tensor  # (queries, beams): sum of log-probabilities, the best first
    found: torch.Tensor  # (queries, beams, new tokens): answers that ended, the best first
    found_score: torch.Tensor  # (queries, beams): log-probability a token; NEVER where there is none yet
    prompt: torch.Tensor  # (queries): tokens of the prompt

    def rows(self, chosen: list[int]) -> "_Beams":
        return _Beams(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


@dataclass(frozen=True)
class _Candidates:
    """What the beams may become, the likeliest first: every tensor is (queries, candidates) or begins so."""

    parent: torch.Tensor  # the beam that it continues
    tokens: torch.Tensor
    stopped: torch.Tensor
    score: torch.Tensor
    ended: torch.Tensor  # whether it is a complete answer
    at_end: torch.Tensor  # whether an end token completes it


def search(
    model: nn.Module,
    prompts: Prefilled,
    settings: GenerationConfig,
    stops: StopStringCriteria,
    *,
    all_beams: bool,
    with_prompt: bool,
) -> torch.Tensor:
    """New tokens of shape (queries x returned, tokens of the longest), padded on the right.

    With `all_beams` a stop string ends no answer by itself: a query ends when all its beams have written one.
    With `with_prompt` answers are compared and searches ended as transformers did before 4.36.
    """
    beams = _begin(prompts, settings, stops.maximum_token_len)
    answers = beams.found[:, : settings.num_return_sequences].clone()
    with models.attending(model, "sdpa_folded", _attend) if _has_groups(model) else nullcontext():
        for step in range(1, settings.max_new_tokens + 1):
            logits = _read_tokens(model, prompts, beams)
            candidates = _candidates(beams, logits, settings, stops, step=step, all_beams=all_beams)
            _keep_answers(beams, candidates, settings, step, with_prompt=with_prompt)
            _go_on(beams, candidates, settings.num_beams)
            answers[beams.place] = beams.found[:, : settings.num_return_sequences]
            is_open = _is_open(beams, candidates, settings, step, with_prompt=with_prompt).tolist()
            if not any(is_open):
                break
            if not all(is_open):
                beams = beams.rows(prompts.drop(is_open))
    return answers[:, :, :step].flatten(0, 1)


def _begin(prompts: Prefilled, settings: GenerationConfig, tail: int) -> _Beams:
    """One beam a query, before the last token of its prompt."""
    queries, device = len(prompts.rows), prompts.position.device
    shape = (queries, settings.num_beams)
    return _Beams(
        place=torch.arange(queries, device=device),
        position=prompts.position,
        sees=prompts.sees.unsqueeze(1),
        tokens=prompts.tails(tail, settings.pad_token_id).unsqueeze(1),
        stopped=torch.zeros(queries, 1, dtype=torch.bool, device=device),
        score=torch.zeros(queries, 1, device=device),
        found=torch.full((*shape, settings.max_new_tokens), settings.pad_token_id, device=device),
        found_score=torch.full(shape, NEVER, device=device),
        prompt=torch.tensor([len(row) for row in prompts.rows], device=device),
    )


def _read_tokens(model: nn.Module, prompts: Prefilled, beams: _Beams) -> torch.Tensor:
    """Logits (queries, beams, vocabulary) after the newest token of every beam."""
    queries, count = beams.score.shape
    itself = torch.eye(count, dtype=torch.bool, device=beams.sees.device).expand(queries, count, count)
    beams.sees = torch.cat((beams.sees, itself), -1)
    mask = torch.zeros(beams.sees.shape, dtype=model.dtype, device=beams.sees.device)
    logits = model(
        input_ids=beams.tokens[:, :, -1],
        position_ids=beams.position.unsqueeze(1).expand(queries, count),
        attention_mask=mask.masked_fill_(~beams.sees, torch.finfo(model.dtype).min).unsqueeze(1),
        past_key_values=prompts.cache,
        use_cache=True,
    ).logits
    beams.position = beams.position + 1
    return logits


def _candidates(
    beams: _Beams,
    logits: torch.Tensor,
    settings: GenerationConfig,
    stops: StopStringCriteria,
    *,
    step: int,
    all_beams: bool,
) -> _Candidates:
    """As many as leave enough to go on with where every beam may end at each of the end tokens."""
    ends = torch.tensor(settings.eos_token_id, device=logits.device).reshape(-1)
    scores = nn.functional.log_softmax(logits.float(), -1).add_(beams.score.unsqueeze(-1))
    score, chosen = scores.flatten(1).topk(max(2, 1 + len(ends)) * settings.num_beams)
    parent, token = chosen // logits.shape[-1], chosen % logits.shape[-1]
    tokens = torch.cat((_of(beams.tokens, parent), token.unsqueeze(-1)), -1)
    just_stopped = stops(tokens.flatten(0, 1), None).view(parent.shape)
    stopped = _of(beams.stopped, parent) | just_stopped
    at_end = torch.isin(token, ends)
    ended = at_end | (all_stopped(stopped, at_end, settings.num_beams) if all_beams else just_stopped)
    return _Candidates(parent, tokens, stopped, score, ended | (step == settings.max_new_tokens), at_end)


def all_stopped(stopped: torch.Tensor, ended: torch.Tensor, beams: int) -> torch.Tensor:
    """(queries, 1): whether each of the likeliest candidates that have not ended otherwise has a stop string."""
    likeliest = ~ended & ((~ended).cumsum(1) <= beams)
    return (stopped | ~likeliest).all(1, keepdim=True)


def _keep_answers(
    beams: _Beams, candidates: _Candidates, settings: GenerationConfig, step: int, *, with_prompt: bool
) -> None:
    """The best complete answers so far: those that ended now count where they are among the likeliest."""
    new = candidates.ended.clone()
    new[:, settings.num_beams :] = False
    length: int | torch.Tensor = step
    if with_prompt:
        new = _new_before(beams, candidates, new, settings)
        length = beams.prompt.unsqueeze(1) + step - candidates.at_end.int()  # an end token did not count
    if not new.any():
        return
    score = (candidates.score / length).masked_fill(~new, NEVER)
    tokens = nn.functional.pad(
        candidates.tokens[:, :, -step:], (0, settings.max_new_tokens - step), value=settings.pad_token_id
    )
    scores, chosen = torch.cat((beams.found_score, score), 1).topk(settings.num_beams)
    beams.found, beams.found_score = _of(torch.cat((beams.found, tokens), 1), chosen), scores


def _new_before(beams: _Beams, candidates: _Candidates, new: torch.Tensor, settings: GenerationConfig) -> torch.Tensor:
    """(queries, candidates): the answers that ended now, as transformers before 4.36 counted them.

    Where a search closes, all its beams that would go on were answers, unlikely ones too; but not after an early stop.
    """
    going_on = ~candidates.at_end
    going_on &= going_on.cumsum(1) <= settings.num_beams
    closes = candidates.ended.all(1, keepdim=True)
    if settings.early_stopping is True:
        full = (beams.found_score > NEVER).sum(1) + (new & candidates.at_end).sum(1) >= settings.num_beams
        going_on &= ~full.unsqueeze(1)
    return torch.where(closes, (new & candidates.at_end) | going_on, new)


def _go_on(beams: _Beams, candidates: _Candidates, count: int) -> None:
    """The likeliest candidates that have not ended are the next beams."""
    beams.score, chosen = (candidates.score + candidates.ended * NEVER).topk(count)
    beams.tokens, beams.stopped = _of(candidates.tokens, chosen), _of(candidates.stopped, chosen)
    beams.sees = _of(beams.sees, _of(candidates.parent, chosen))


def _is_open(
    beams: _Beams, candidates: _Candidates, settings: GenerationConfig, step: int, *, with_prompt: bool
) -> torch.Tensor:
    """(queries): whether an answer might still be found that is better than the worst one kept."""
    worst = beams.found_score[:, -1]
    full = worst > NEVER
    best = candidates.score[:, 0] / (beams.prompt + step) if with_prompt else beams.score[:, 0] / step
    improves = ~full | (best > worst)
    enough = full & (settings.early_stopping is True)
    return improves & ~enough & ~candidates.ended.all(1)


def _of(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """From each query's row of `values` those at its places (queries, chosen)."""
    return values[torch.arange(len(values), device=values.device).unsqueeze(1), chosen]


# --- attention --------------------------------------------------------------------------------------------------------


def _has_groups(model: nn.Module) -> bool:
    """Whether several heads share keys and values, and attention is PyTorch's."""
    config = model.config
    shared = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return config._attn_implementation == "sdpa" and shared < config.num_attention_heads


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    *,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Heads that share keys and values are read as more beams of one head: transformers copies the keys and values.

    Shapes are (queries, heads, beams, width) for `query`, (queries, groups, slots, width) for `key` and `value`, and
    (queries, 1, beams, slots) for the mask; what is returned has (queries, beams, heads, width).
    """
    queries, heads, beams, width = query.shape
    groups = key.shape[1]
    folded = query.reshape(queries, groups, -1, width)
    mask = attention_mask.repeat(1, 1, heads // groups, 1)
    output = nn.functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    return output.reshape(queries, heads, beams, -1).transpose(1, 2), None

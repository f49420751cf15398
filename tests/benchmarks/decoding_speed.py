"""Beam search as the study's own code does it, and as `generate.completions` does: seconds, answers, memory.

The study's way takes one query at a time, copies its prompt once a beam before it is read, examples and all, and at
every step decodes the whole text of every beam to see whether each has a stop string. Both ways run in turn, in one
process, with ten beams and the same rule for the end of a search; then ours with its own rule, where an answer ends at
its stop string. `speed.py` runs it.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
import training_speed
from clock import peak_of, timed
from torch import nn
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from nblib import generate, models, prompts, retrieve, spec, tasks

BEAMS = 10
Answers = list[list[str]]  # of every query, the best first


@dataclass(frozen=True)
class Queries:
    """What both ways are asked."""

    texts: list[str]
    new_tokens: int
    stops: tuple[str, ...]
    decoding: spec.Decoding


@dataclass(frozen=True)
class Compared:
    """What came of it."""

    model: str
    task: str
    shots: int
    prompt_tokens: float
    ratios: tuple[float, ...]  # the study's seconds by ours, with the same rule
    own_rule: float  # the study's seconds by ours with our rule, the median
    seconds: tuple[float, float]  # a query, the medians
    agree: float  # share of queries whose ten answers are the same
    peak_bytes: tuple[int, int]  # beyond the model, for one batch of ours


class EveryBeamStopped(StoppingCriteria):
    """Ends the search of one query when all beams have a stop string; one that ended otherwise is not waited for."""

    def __init__(self, tokenizer: Any, stops: tuple[str, ...], begun: int):
        self.tokenizer, self.stops, self.begun = tokenizer, stops, begun

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.begun :])
        going_on = [text for ids, text in zip(input_ids, texts, strict=True) if ids[-1] != self.tokenizer.eos_token_id]
        done = all(any(stop in text for stop in self.stops) for text in going_on[:BEAMS])
        return torch.full((len(input_ids),), done, device=input_ids.device)


@torch.inference_mode()
def as_the_study(model: nn.Module, tokenizer: Any, batch: Queries) -> Answers:
    """One query after another, with transformers' generation as it is."""
    settings = GenerationConfig(
        num_beams=BEAMS,
        num_return_sequences=BEAMS,
        max_new_tokens=batch.new_tokens,
        early_stopping=batch.decoding.early_stopping,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    found = []
    for text in batch.texts:
        inputs = tokenizer(text, return_tensors="pt").to(model.device)
        begun = inputs["input_ids"].shape[1]
        rule = StoppingCriteriaList([EveryBeamStopped(tokenizer, batch.stops, begun)])
        ids = model.generate(**inputs, generation_config=settings, stopping_criteria=rule)[:, begun:]
        found.append(tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return found


def ours(model: nn.Module, tokenizer: Any, batch: Queries, precision: str = "fp32") -> Answers:
    settings = {"new_tokens": batch.new_tokens, "stops": batch.stops, "precision": precision, "seed": 1}
    found = generate.completions(model, tokenizer, batch.texts, batch.decoding, **settings)
    return [texts for _, texts, _ in sorted(found)]


def compare(
    name: str, model: nn.Module, tokenizer: Any, task: str, shots: int, batch: Queries, *, repeats: int
) -> Compared:
    """Both ways in turn, so often."""
    own = replace(batch, decoding=replace(batch.decoding, stop="each-answer"))
    taken: list[tuple[float, float, float]] = []
    for _ in range(repeats):
        slow, study_answers = timed(lambda: as_the_study(model, tokenizer, batch))
        quick, same = timed(lambda: ours(model, tokenizer, batch))
        quickest, _ = timed(lambda: ours(model, tokenizer, own))
        taken.append((slow, quick, quickest))
    few = replace(batch, texts=batch.texts[: batch.decoding.batch_size])
    one = replace(batch, texts=batch.texts[:1])
    return Compared(
        name,
        task,
        shots,
        sum(len(tokenizer(text)["input_ids"]) for text in batch.texts) / len(batch.texts),
        tuple(slow / quick for slow, quick, _ in taken),
        statistics.median(slow / quickest for slow, _, quickest in taken),
        (
            middle(slow for slow, _, _ in taken) / len(study_answers),
            middle(quick for _, quick, _ in taken) / len(study_answers),
        ),
        sum(a == b for a, b in zip(study_answers, same, strict=True)) / len(study_answers),
        (peak_of(lambda: as_the_study(model, tokenizer, one)), peak_of(lambda: ours(model, tokenizer, few))),
    )


def middle(values: Iterable[float]) -> float:
    return statistics.median(values)


def load(name: str) -> tuple[nn.Module, Any]:
    """`100m` and `350m` are models of that size with random weights, which never end by themselves."""
    return models.load_shape("codegen-350m-mono") if name == "350m" else training_speed.load(name)


def ask(tokenizer: Any, name: str, data: Any, shots: int, queries: int, batch: int, new_tokens: int | None) -> Queries:
    """The first queries of the test split after the same examples."""
    task = tasks.get(name)
    chosen = retrieve.random_shots(data.train, shots, 42) if shots else ()
    texts = [prompts.build(example, chosen, tokenizer, max_tokens=900).text for example in data.test[:queries]]
    decoding = spec.Decoding(BEAMS, BEAMS, batch_size=batch, stop="all-beams")
    return Queries(texts, new_tokens or task.output_tokens, task.stops, decoding)

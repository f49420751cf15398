"""Examples to rows of token ids, rows to batches. Trains nothing."""

import math
from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from nblib import prompts, tasks
from nblib.spec import Training
from nblib.tasks import Example, Task
from nblib.train.losses import IGNORED


def encode(
    example: Example,
    tokenizer: PreTrainedTokenizerBase,
    task: Task = prompts.PLAIN,
    *,
    encoder_decoder: bool = False,
) -> dict[str, list[int]]:
    """Token ids of prompt, code and end-of-sequence; labels on code and end only.

    The text is encoded as a whole, as a reader would see it; a token that crosses the border counts as code.
    For an encoder-decoder the ids are the prompt's and the labels the code's, which the model shifts to the right.
    """
    prompt, answer = prompts.query_text(example, tokenizer, task), prompts.answer_text(example, tokenizer)
    if encoder_decoder:
        # With the tokenizer's own frame: CodeT5's decoder was trained to begin with <s>, T5's was not.
        labels = prompts.encode(answer, tokenizer, encoder_decoder=True, target=True)["input_ids"]
        labels += [tokenizer.eos_token_id] if labels[-1:] != [tokenizer.eos_token_id] else []
        return {"input_ids": prompts.encode(prompt, tokenizer, encoder_decoder=True)["input_ids"], "labels": labels}
    whole, begin = prompts.encode(prompt + answer, tokenizer), len(prompts.readable(prompt, tokenizer))
    ids = [*whole["input_ids"], tokenizer.eos_token_id]
    is_code = [end > begin for _, end in whole["offset_mapping"]] + [True]
    return {"input_ids": ids, "labels": [id if learned else IGNORED for id, learned in zip(ids, is_code, strict=True)]}


def encode_all(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, task: Task, *, encoder_decoder: bool = False
) -> list[dict]:
    """The examples within their task's length limits, encoded."""
    kept = []
    for example in examples:
        limits = tasks.source(task, example)
        intent = len(tokenizer(example.intent, add_special_tokens=False, split_special_tokens=True)["input_ids"])
        row = encode(example, tokenizer, task, encoder_decoder=encoder_decoder)
        fits = intent <= limits.input_tokens
        fits &= answer_tokens(row) <= limits.output_tokens + 1
        if fits and (limits.training_tokens is None or tokens(row) <= limits.training_tokens):
            kept.append(row)
    return kept


def answer_tokens(row: dict) -> int:
    """Tokens that a loss is taken from: code and end-of-sequence."""
    return sum(label != IGNORED for label in row["labels"])


def tokens(row: dict) -> int:
    """Tokens that the model reads: with an encoder-decoder, whose labels are all code, those of both halves."""
    return len(row["input_ids"]) + (0 if IGNORED in row["labels"] else len(row["labels"]))


def steps(rows: int, training: Training) -> int:
    """Steps of the optimizer that `fit` takes over so many rows, which some methods have to know when attached."""
    return math.ceil(rows / training.batch_size) * training.epochs


def collate(rows: Sequence[dict], pad: int) -> dict[str, torch.Tensor]:
    """A batch of shape (rows, tokens of the longest), padded on the right; an encoder-decoder's labels have their own.

    The mask comes from positions, never from token values: where pad is also the end token, its label must stay.
    """
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad_sequence([torch.tensor(row["labels"]) for row in rows], batch_first=True, padding_value=IGNORED),
    }

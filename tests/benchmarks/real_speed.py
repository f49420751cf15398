"""SmolLM2-135M on one thread of a CPU: seconds a query and a training step, with and without two shortcuts of ours.

    OMP_NUM_THREADS=1 python tests/benchmarks/real_speed.py --data FOLDER     real CoNaLa rows; some five minutes

Decoding is zero-shot with ten beams, in bf16. Without the shortcut, transformers copies keys and values to every head
that shares them. Training is LoRA's step on eight rows, forward and backward. Without the shortcut, PEFT turns the
inputs of each layer to fp32. Both ways run in turn, and must give the same bits.
"""

import argparse
import statistics
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from clock import timed
from torch import nn

from nblib import generate, methods, models, presets, prompts, tasks, train
from nblib.generate import search
from nblib.train import losses

MODEL, PRECISION = "smollm2-135m-instruct", "bf16"
STOPS = ("\n```", "```")  # a chat model's answer ends with its fence


def decode(model: nn.Module, tokenizer, data: tasks.Data, task: tasks.Task, queries: int, repeats: int) -> None:
    texts = [prompts.query_text(example, tokenizer, task) for example in data.test[:queries]]
    settings = {"new_tokens": task.output_tokens, "stops": STOPS, "precision": PRECISION, "seed": 42}
    decoding = presets.get("cpu-real").decoding

    def answers() -> list:
        return list(generate.completions(model, tokenizer, texts, decoding, **settings))

    def copying() -> list:
        with patch.object(search, "_has_groups", lambda model: False):
            return answers()

    report("query", [(timed(copying), timed(answers)) for _ in range(repeats)], queries)


def step(base: nn.Module, tokenizer, data: tasks.Data, task: tasks.Task, repeats: int) -> None:
    (lora,) = (method for method in presets.get("cpu-real").methods if method.kind == "lora")
    model = methods.attach(base, lora, tokenizer, seed=42).train()
    rows = train.encode_all(data.train[: 8 * repeats], tokenizer, task)
    batches = [train.collate(rows[at : at + 8], tokenizer.pad_token_id) for at in range(0, 8 * repeats, 8)]

    def gradients(batch: dict, as_given: bool) -> list[torch.Tensor]:
        model.zero_grad()
        with models.under_autocast(model) if as_given else nullcontext(), torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]

    with losses.lean(model), losses.wide(model, "cpu", torch.bfloat16):
        gradients(batches[0], True)  # the first one allocates
        pairs = [tuple(timed(partial(gradients, batch, way)) for way in (False, True)) for batch in batches]
    report("step", pairs, 1)


def report(name: str, pairs: list, count: int) -> None:
    ratios, seconds = ([slow / quick for (slow, _), (quick, _) in pairs], [quick / count for _, (quick, _) in pairs])
    same = all(equal(theirs, ours) for (_, theirs), (_, ours) in pairs)
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"{statistics.median(seconds):.2f} s a {name}; {spread} times as fast; the same bits: {same}", flush=True)


def equal(theirs: list, ours: list) -> bool:
    tensors = zip(theirs, ours, strict=True)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in tensors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with CoNaLa's train.jsonl and its like")
    parser.add_argument("--queries", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    model, tokenizer = models.load(MODEL, PRECISION)
    data, task = tasks.load("conala", args.data), tasks.get("conala")
    decode(model.eval(), tokenizer, data, task, args.queries, args.repeats)
    step(model, tokenizer, data, task, 4 * args.repeats)


if __name__ == "__main__":
    main()

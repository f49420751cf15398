"""nblib and what a good engineer would write today with transformers, a plain Trainer or TRL: seconds and agreement.

    export OMP_NUM_THREADS=1
    python tests/benchmarks/peers.py decode [--model tiny] [--shots 0 3 8] [--queries 32] [--data folder]
    python tests/benchmarks/peers.py train [--model tiny] [--rows 160] [--data folder]

decode: ten beams and ten answers a query, in both with an end for each answer at its stop string. transformers reads
batches of similar lengths, padded on the left; of several batch sizes the quickest for these queries counts.
train: LoRA for one epoch with one evaluation, the same weights to begin with, the same rows, optimizer and schedule.
The Trainer pads each batch to its longest row and takes the loss from logits of all positions; TRL's SFTTrainer has the
loss of completions only, packed and not (`pip install trl`; without it these lines are left out).
All run in turn in one process. `350m` is such a model with random weights, which writes `--new-tokens`.
"""

import argparse
import gc
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from clock import peak_of, timed
from decoding_speed import Answers, Queries, ask, load, middle, ours
from torch import nn
from transformers import DataCollatorForSeq2Seq, GenerationConfig, PrinterCallback, Trainer, TrainingArguments

from nblib import generate, methods, models, prompts, spec, tasks, train

SIZES = (4, 8, 16, 32)  # of transformers' batches
METHOD = spec.Lora(learning_rate=2e-3, dropout=0.0)


@torch.inference_mode()
def by_transformers(model: nn.Module, tokenizer: Any, queries: Queries, size: int, precision: str) -> Answers:
    """Batches of similar lengths, the longest first."""
    texts, found = queries.texts, dict[int, list[str]]()
    order = sorted(range(len(texts)), key=lambda place: -len(tokenizer(texts[place])["input_ids"]))
    beams = queries.decoding.beams
    settings = GenerationConfig(
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=queries.new_tokens,
        early_stopping=queries.decoding.early_stopping,
        do_sample=False,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        stop_strings=prompts.ends(queries.stops, tokenizer),
    )
    for start in range(0, len(order), size):
        places = order[start : start + size]
        inputs = tokenizer([texts[place] for place in places], return_tensors="pt", padding=True, padding_side="left")
        with generate.computing(model, precision):
            ids = model.generate(**inputs.to(model.device), generation_config=settings, tokenizer=tokenizer)
        new = ids[:, inputs["input_ids"].shape[1] :]
        answers = tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        found |= {place: answers[row * beams : (row + 1) * beams] for row, place in enumerate(places)}
    return [found[place] for place in range(len(texts))]


def decode(args: argparse.Namespace) -> None:
    model, tokenizer = loaded(args.model, args.precision)
    data = tasks.load(args.task, args.data)
    print("| shots | tokens | batches | times as fast | s a query, transformers and ours | equal first answers | MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for shots in args.shots:
        queries = ask(tokenizer, args.task, data, shots, args.queries, 16, args.new_tokens)
        queries = replace(queries, decoding=replace(queries.decoding, stop="each-answer", early_stopping=True))
        print(line(model, tokenizer, queries, shots, args), flush=True)


def line(model: nn.Module, tokenizer: Any, queries: Queries, shots: int, args: argparse.Namespace) -> str:
    """Both in turn, so often."""
    peers = {
        size: partial(by_transformers, model, tokenizer, queries, size, args.precision)
        for size in SIZES
        if size <= len(queries.texts)
    }
    best = min(peers, key=lambda size: timed(peers[size])[0])
    mine = partial(ours, model, tokenizer, queries, args.precision)
    pairs = [(timed(peers[best]), timed(mine)) for _ in range(args.repeats)]
    ratios = [theirs / own for (theirs, _), (own, _) in pairs]
    (_, theirs), (_, own) = pairs[-1]
    stops, count = queries.stops, len(queries.texts)
    firsts = [[prompts.extract(answer[0], stops) for answer in answers] for answers in (theirs, own)]
    equal = sum(a == b for a, b in zip(*firsts, strict=True)) / count
    few = replace(queries, texts=queries.texts[:best])
    peaks = (
        peak_of(partial(by_transformers, model, tokenizer, few, best, args.precision)),
        peak_of(partial(ours, model, tokenizer, few, args.precision)),
    )
    each = [middle(taken for taken, _ in side) / count for side in zip(*pairs, strict=True)]
    tokens = sum(len(tokenizer(text)["input_ids"]) for text in queries.texts) / count
    cells = [shots, f"{tokens:.0f}", best, spread(ratios), f"{each[0]:.3f}, {each[1]:.3f}", f"{equal:.0%}"]
    return f"| {' | '.join(map(str, cells))} | {peaks[0] / 2**20:.0f}, {peaks[1] / 2**20:.0f} |"


def spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def loaded(name: str, precision: str) -> tuple[nn.Module, Any]:
    model, tokenizer = load(name) if precision == "fp32" else models.load(name, precision)
    return model.eval(), tokenizer


# --- training -------------------------------------------------------------------------------------------------------


def train_all(args: argparse.Namespace) -> None:
    base, tokenizer = loaded(args.model, args.precision)
    data, task = tasks.load(args.task, args.data), tasks.get(args.task)
    data = tasks.Data(data.train[: args.rows], data.validation[: args.rows // 10], (), content=data.content)
    ways: dict[str, Callable] = {"nblib": by_nblib, "Trainer": by_trainer}
    try:
        import trl  # noqa: F401
    except ImportError:
        print("TRL is not installed: its lines are left out")
    else:
        ways |= {"SFTTrainer": by_trl, "SFTTrainer, packed": partial(by_trl, packing=True)}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    losses: dict[str, float] = {}
    for _ in range(args.repeats):
        for name, way in ways.items():
            attached = methods.attach(base, METHOD, tokenizer, seed=42)
            spent, losses[name] = timed(partial(way, attached, tokenizer, data, task, args))
            taken[name].append(spent)
            methods.detach(attached)
            gc.collect()
    print("| with | times as fast | s | validation loss |\n| --- | --- | --- | --- |")
    for name, spent in taken.items():
        ratios = [theirs / own for theirs, own in zip(spent, taken["nblib"], strict=True)]
        print(f"| {name} | {spread(ratios)} | {statistics.median(spent):.1f} | {losses[name]:.4f} |")


def by_nblib(model: nn.Module, tokenizer: Any, data: Any, task: Any, args: argparse.Namespace) -> float:
    training = spec.Training(epochs=1, batch_size=8, device_batch=8, optimizer="adamw_torch", evaluations_an_epoch=1)
    settings = {"learning_rate": METHOD.learning_rate, "precision": args.precision, "seed": 42}
    return train.fit(model, tokenizer, data, task, training, **settings).validation_losses[-1][1]


def arguments(folder: str, precision: str) -> dict:
    """The same for both peers, as `by_nblib` has them."""
    return {
        "output_dir": folder,
        "num_train_epochs": 1,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "learning_rate": METHOD.learning_rate,
        "optim": "adamw_torch",
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.05,
        "weight_decay": 0.0,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "load_best_model_at_end": True,
        "use_cpu": models.device() == "cpu",
        "bf16": precision == "bf16",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 42,
    }


def by_trainer(model: nn.Module, tokenizer: Any, data: Any, task: Any, args: argparse.Namespace) -> float:
    rows, checks = (train.encode_all(part, tokenizer, task) for part in (data.train, data.validation))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(**arguments(folder, args.precision), label_names=["labels"]),
            train_dataset=datasets.Dataset.from_list(rows),
            eval_dataset=datasets.Dataset.from_list(checks),
            data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return trainer.evaluate()["eval_loss"]


def by_trl(
    model: nn.Module, tokenizer: Any, data: Any, task: Any, args: argparse.Namespace, *, packing: bool = False
) -> float:
    from trl import SFTConfig, SFTTrainer

    def pairs(part: Sequence[tasks.Example]) -> datasets.Dataset:
        texts = [(prompts.query_text(example, tokenizer, task), example.code) for example in part]
        return datasets.Dataset.from_list([{"prompt": text, "completion": code} for text, code in texts])

    with tempfile.TemporaryDirectory() as folder:
        own = {"completion_only_loss": True, "packing": packing, "eval_packing": False, "max_length": 512}
        config = SFTConfig(**arguments(folder, args.precision), **own, activation_checkpointing=False)
        trainer = SFTTrainer(
            model,
            args=config,
            train_dataset=pairs(data.train),
            eval_dataset=pairs(data.validation),
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        return trainer.evaluate()["eval_loss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["decode", "train"])
    parser.add_argument("--model", default="tiny", help="350m, or what models.load takes")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--task", default="conala-mini")
    parser.add_argument("--data", type=Path, help="folder with the task's test.jsonl and its like")
    parser.add_argument("--shots", type=int, nargs="+", default=[0, 3, 8])
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, help="at most; the task's own where not given")
    parser.add_argument("--rows", type=int, default=160, help="of training; a tenth as many of validation")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    {"decode": decode, "train": train_all}[args.what](args)


if __name__ == "__main__":
    main()

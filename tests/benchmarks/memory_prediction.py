"""How well the predicted memory of training and generating agrees with what small models really take, on a CPU.

    python tests/benchmarks/memory_prediction.py [--every 1] [--results data/results] [--figures figures]

Measured is what torch's allocator hands out, at its peak, while `train.fit` makes two steps with two evaluations and
while `generate.completions` answers one batch, and the bytes of the model itself. The models are of real architectures,
with random weights. Prints a line a peak, and writes a table and a figure of all.
"""

import argparse
import gc
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from clock import peak_of
from matplotlib.figure import Figure
from transformers import CodeGenConfig, GPT2Config, LlamaConfig, PretrainedConfig, Qwen2Config, T5Config

sys.path.insert(0, str(Path(__file__).parents[1]))

import small

from nblib import generate, methods, models, plots, prompts, provenance, spec, tasks, train
from nblib.memory import held, predicting, shapes
from nblib.plots.style import colour, context, finish, page, subplots
from nblib.tasks import Example

HEADS = 4
PHASES = {"train": "training", "generate": "generating"}
CONFIGS: dict[str, Callable[[int, int], PretrainedConfig]] = {
    "llama": lambda width, layers: LlamaConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=HEADS, intermediate_size=width * 3
    ),
    "qwen2": lambda width, layers: Qwen2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        intermediate_size=width * 3,
    ),
    "codegen": lambda width, layers: CodeGenConfig(
        n_embd=width, n_layer=layers, n_head=HEADS, rotary_dim=width // 8, n_positions=1024, n_ctx=1024
    ),
    "gpt2": lambda width, layers: GPT2Config(n_embd=width, n_layer=layers, n_head=HEADS, n_positions=1024),
    "t5": lambda width, layers: T5Config(
        d_model=width, d_kv=width // HEADS, d_ff=width * 3, num_layers=layers, num_heads=HEADS, decoder_start_token_id=2
    ),
}


@dataclass(frozen=True)
class Case:
    """One combination."""

    family: str
    method: spec.Method
    precision: str = "fp32"
    width: int = 128
    layers: int = 5
    vocabulary: int = 2048
    batch: int = 4
    words: int = 20  # of every intent: about half as many tokens more
    checkpointing: bool = False
    optimizer: str = "adamw_torch"
    accumulates: bool = False
    beams: int = 3

    def __str__(self) -> str:
        extra = ", checkpointing" * self.checkpointing + ", accumulates" * self.accumulates
        where = f"{self.family} {self.width}x{self.layers} {self.precision}"
        return f"{where} {self.method.kind}, {self.batch} rows of {self.words} words, {self.optimizer}{extra}"


@dataclass(frozen=True)
class Compared:
    """What was measured and predicted for it."""

    case: Case
    phase: str
    measured_bytes: int
    predicted_bytes: int
    model_bytes: int
    prediction: predicting.Prediction = field(repr=False)

    @property
    def error(self) -> float:
        """Relative; below zero where too little was predicted."""
        return self.predicted_bytes / self.measured_bytes - 1


SINCE: list[spec.Trained] = [  # that came after the study
    spec.LoraPlus(),
    spec.LoraFa(),
    spec.Pissa(),
    spec.Eva(r=4),
    spec.Corda(),
    spec.GraLora(),
    spec.RandLora(),
    spec.Miss(),
    spec.Road(group_size=32),
    spec.TrainableTokens(tokens=20),
]
UNSURE = spec.Eva | spec.Miss | spec.Road  # that some families cannot have


def cases() -> Iterator[Case]:
    """Every method at every precision once, then sizes and ways of training."""
    kinds: list[spec.Method] = [
        spec.FullTuning(),
        spec.Lora(),
        spec.Lora(dropout=0.0),
        spec.Dora(),
        spec.AdaLora(),
        spec.Ia3(),
        spec.PromptTuning(),
        spec.PrefixTuning(),
        spec.Adapter(),
        spec.Vera(r=16),
        spec.LnTuning(),
        *SINCE,
    ]
    families = list(CONFIGS)
    precisions = ("fp32", "bf16", "int8", "nf4", "nf4-dq")
    for number, (method, precision) in enumerate(product(kinds, precisions)):
        if not (isinstance(method, spec.FullTuning) and precision in spec.QUANTIZED):
            family, width = families[number % 5], (64, 128, 256)[number % 3]
            if precision not in spec.QUANTIZED or not isinstance(method, spec.Pissa | spec.Corda):
                yield Case("llama" if isinstance(method, UNSURE) else family, method, precision, width=width)
    lora = spec.Lora(dropout=0.0)
    for family, checkpointing in product(families, (False, True)):
        yield Case(family, lora, "fp32", width=256, batch=8, words=60, checkpointing=checkpointing)
        yield Case(family, spec.FullTuning(), "bf16", layers=8, words=40, checkpointing=checkpointing)
    for family in families:
        yield Case(family, lora, "nf4", width=512, layers=4, batch=2, words=100, checkpointing=True)
        yield Case(family, spec.FullTuning(), width=512, layers=4, batch=1, words=10, optimizer="adafactor")
        yield Case(family, spec.FullTuning(), vocabulary=32000, width=64, batch=2, optimizer="adafactor")
        yield Case(family, lora, batch=2, accumulates=True, words=50)


def compare(case: Case) -> Iterator[Compared]:
    """Runs it, and predicts it from its configuration."""
    with tempfile.TemporaryDirectory() as folder:
        _save(case, folder)
        model, tokenizer = models.load(folder, case.precision)
        seq2seq = model.config.is_encoder_decoder
        rows = [train.encode(one, tokenizer, TASK, encoder_decoder=seq2seq) for one in _examples(case, 8)]
        batches = [train.collate(rows, tokenizer.pad_token_id)]
        attached = methods.attach(model, case.method, tokenizer, seed=0, steps=100, batches=batches)
        model_bytes = held(shapes.tensors(attached))
        taken, length, answer = _train(case, attached, tokenizer)
        written, prompt = _generate(case, attached, tokenizer)
        prediction = predicting.predict(
            folder,
            case.method,
            case.precision,
            batch=case.batch,
            length=length,
            training=_training(case),
            answer_tokens=answer,
            beams=case.beams,
            new_tokens=NEW_TOKENS,
            prompt_length=prompt,
            device="cpu",
        )
    yield Compared(case, "train", model_bytes + taken, prediction.train_peak_bytes or 0, model_bytes, prediction)
    yield Compared(case, "generate", model_bytes + written, prediction.generate_peak_bytes, model_bytes, prediction)


NEW_TOKENS = 16
TASK = replace(tasks.get("conala-mini"), input_tokens=1000)


def _save(case: Case, folder: str) -> None:
    torch.manual_seed(0)
    config = CONFIGS[case.family](case.width, case.layers)
    config.vocab_size, config.pad_token_id, config.bos_token_id, config.eos_token_id = case.vocabulary, 2, 0, 1
    kind = small.AutoModelForSeq2SeqLM if config.is_encoder_decoder else small.AutoModelForCausalLM
    kind.from_config(config).save_pretrained(folder)
    small.tokenizer().save_pretrained(folder)


def _training(case: Case) -> spec.Training:
    return spec.Training(
        epochs=1,
        batch_size=case.batch * (1 + case.accumulates),
        device_batch=case.batch,
        optimizer=case.optimizer,
        evaluations_an_epoch=2,
        gradient_checkpointing=case.checkpointing,
    )


def _examples(case: Case, count: int) -> list[Example]:
    """Two lengths, one token apart, so that every batch has some padding, as batches have."""
    return [
        Example(str(number), " ".join(["add"] * (case.words - number % 2)), f"xs.append({number % 10})")
        for number in range(count)
    ]


def _train(case: Case, attached: Any, tokenizer: Any) -> tuple[int, int, int]:
    """Bytes beyond the model, the longest row's tokens, and those that its loss is taken from."""
    training = _training(case)
    rows, checks = _examples(case, training.batch_size * 2), _examples(case, case.batch * 4)
    task, seq2seq = TASK, attached.config.is_encoder_decoder
    data = tasks.Data(tuple(rows), tuple(checks), (), content="generated")
    encoded = [train.encode(example, tokenizer, task, encoder_decoder=seq2seq) for example in rows]
    settings = {"learning_rate": 1e-3, "precision": case.precision, "seed": 0}
    gc.collect()  # what went while it is measured would be counted as less than nothing
    taken = peak_of(lambda: train.fit(attached, tokenizer, data, task, training, **settings))
    return taken, max(len(row["input_ids"]) for row in encoded), max(map(train.answer_tokens, encoded))


def _generate(case: Case, attached: Any, tokenizer: Any) -> tuple[int, int]:
    """Bytes beyond the model, and the tokens of a prompt.

    All are of one length, as methods with virtual tokens get them, and have nothing in common before their end.
    """
    examples = [Example(str(at), " ".join([chr(97 + at), *["add"] * case.words]), "") for at in range(case.batch)]
    texts = [prompts.query_text(example, tokenizer).replace("#", chr(65 + at)) for at, example in enumerate(examples)]
    decoding = spec.Decoding(beams=case.beams, returned=case.beams, batch_size=case.batch)
    settings = {"new_tokens": NEW_TOKENS, "stops": ("\n\n\n",), "precision": case.precision, "seed": 0}
    attached.zero_grad()
    gc.collect()
    taken = peak_of(lambda: list(generate.completions(attached, tokenizer, texts, decoding, **settings)))
    return taken, max(len(prompts.encode(text, tokenizer)["input_ids"]) for text in texts)


def table(found: list[Compared]) -> pd.DataFrame:
    """A row a comparison."""
    return pd.DataFrame(
        {
            **{name: value for name, value in asdict(compared.case).items() if name != "method"},
            "method": compared.case.method.kind,
            "phase": compared.phase,
            "model_bytes": compared.model_bytes,
            "measured_bytes": compared.measured_bytes,
            "predicted_bytes": compared.predicted_bytes,
            "error": compared.error,
        }
        for compared in found
    )


def draw(frame: pd.DataFrame) -> Figure:
    """How far each prediction is off, by the size of what was measured; a dot a peak."""
    with context():
        figure, panels = subplots(3.9, columns=2, sharex=True, sharey=True)
        for axes, (phase, rows) in zip(panels, frame.groupby("phase", sort=False), strict=True):
            for kind, dots in rows.groupby("method"):
                at = dots["measured_bytes"] / 2**20, 100 * dots["error"]
                axes.semilogx(*at, "o", color=colour(kind), label=kind, markersize=4)
            axes.axhline(0, color=page().faint, linewidth=0.8)
            axes.grid(axis="y")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set_title(f"peak of {PHASES[phase]}", loc="left", size=10, weight="bold")
            axes.set_xlabel("measured (MiB)")
        reach = 1.1 * max(10.0, 100 * frame["error"].abs().max())
        panels[0].set(ylabel="predicted minus measured (%)", ylim=(-reach, reach))
        panels[1].legend(frameon=False, bbox_to_anchor=(1, 1.05), loc="upper left", fontsize=8)
        median = frame["error"].abs().median()
        about = f"{len(frame)} peaks of small models on a CPU · half of the predictions are within {median:.1%}"
        words = f"Errors of predicted memory by measured memory. {summary(frame)}".replace("\n", "; ")
        finish(figure, "How far memory that was predicted from a configuration is off", about, words)
    return figure


def summary(frame: pd.DataFrame) -> str:
    """A line a phase: how far half of its predictions are off at most, and the worst to either side."""
    lines = []
    for phase, errors in frame.groupby("phase", sort=False)["error"]:
        found = f"median error {errors.abs().median():.1%}, from {errors.min():+.1%} to {errors.max():+.1%}"
        lines.append(f"{phase}: {len(errors)} peaks, {found}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="only every so many combinations")
    parser.add_argument("--results", type=Path, default=provenance.ROOT / "data" / "results")
    parser.add_argument("--figures", type=Path, default=provenance.ROOT / "figures")
    args = parser.parse_args()
    found: list[Compared] = []
    for case in islice(cases(), 0, None, args.every):
        for compared in compare(case):
            found.append(compared)
            mib = compared.measured_bytes / 2**20
            at = compared.prediction.train_peak_at if compared.phase == "train" else ""
            print(f"{compared.error:+7.1%} {compared.phase:8} {mib:8.2f} MiB  {case} {at}", flush=True)
    frame = table(found)
    print(summary(frame))
    args.results.mkdir(parents=True, exist_ok=True)
    frame.to_csv(args.results / "memory_prediction.csv", index=False)
    plots.save(draw(frame), args.figures, "memory_prediction")


if __name__ == "__main__":
    main()

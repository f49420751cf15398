"""Peak memory of training models of the study's size, measured with random weights and rows of 128 tokens.

    python tests/benchmarks/gpu_memory.py [--models codellama-7b …] [--results data/results/gpu] [--figures figures]
    python tests/benchmarks/gpu_memory.py --predict-only    what is predicted for a GPU, on any machine

The models have their real architecture at the precision named, so they need the bytes that the real ones need, and no
download. Every training is LoRA on all linear layers with 8 rows of 128 tokens a step (the first model is tuned
in full, too), with the paper's settings, once without and once with gradient checkpointing. What does not fit the card
is a row that says so. Rows that are there are not measured again. Prints the table, with what is predicted beside it,
and writes the figure.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from nblib import memory, models, plots, provenance, results, spec, study, tables, train
from nblib.tasks import Example

MODELS = ("codegen-350m-mono", "codellama-7b", "codellama-13b-python", "codellama-34b-python")
PRECISIONS = ("bf16", "int8", "nf4", "nf4-dq")
TOKENS = 128  # of a row, its end included
BATCHES = 4  # of training; as many queries


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--results", type=Path, default=provenance.ROOT / "data" / "results" / "gpu")
    parser.add_argument("--figures", type=Path, default=provenance.ROOT / "figures")
    parser.add_argument("--predict-only", action="store_true", help="measure nothing: predict, which needs no GPU")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        answer = write_rows(Path(folder))
        for checkpointing in (False, True):
            runs = wanted(args.models, args.precisions, folder, checkpointing=checkpointing)
            predicted = foreseen(runs, answer)
            how = "with gradient checkpointing" if checkpointing else "all activations kept"
            if args.predict_only:
                print(f"\n{how}, predicted for a GPU\n{predicted}")
                print(near_the_floor(predicted.frame))
                continue
            made = study.run_all(study.plan(runs), args.results)
            measured = tables.memory(results.load(args.results, [row.id for row in made]).runs)
            print(f"\n{how}\n{measured}")
            print(tables.measured_vs_predicted(measured.frame, predicted.frame))
            print(near_the_floor(measured.frame))
            name = "gpu_memory_checkpointing" if checkpointing else "gpu_memory"
            plots.save(plots.memory_by_kind(measured.frame, about=f"Memory of training, {how}"), args.figures, name)
            for row in made:
                if row.status == results.FAILED:
                    print(f"{row.id} failed: {row.error}")


def wanted(names: list[str], precisions: list[str], folder: str, *, checkpointing: bool) -> list[spec.Run]:
    """LoRA over each model at each precision; the first model with all its weights, too."""
    own = {"preset": "paper", "batches": BATCHES, "data_dir": folder}
    runs = [run for name in names for run in study.sizes(name, "conala", precisions=precisions, **own)]
    half = [precision for precision in precisions if precision not in spec.QUANTIZED][:1]
    runs += study.sizes(names[0], "conala", names=["full"], precisions=half, **own)
    how = {"gradient_checkpointing": checkpointing, "evaluations_an_epoch": 1}
    return [replace(run, training=replace(run.training, **how)) for run in runs if run.training]


def foreseen(runs: list[spec.Run], answer: int) -> tables.Table:
    """What is predicted for a GPU, from the configurations that the repository ships."""
    sizes: dict[str, Any] = {"length": TOKENS, "answer_tokens": answer, "device": "cuda"}
    entries = []
    for run in runs:
        batch = run.training.device_batch if run.training else 1
        prediction = memory.predict(run.model, run.method, run.precision, batch=batch, training=run.training, **sizes)
        entries.append((run.model, run.method, run.precision, prediction))
    return tables.predicted_memory(entries, device="cuda")


def write_rows(folder: Path) -> int:
    """A task's files, each of whose rows has exactly so many tokens; gives how many are of its code and the end."""
    tokenizer = models.load_tokenizer(models.SHAPE_TOKENIZER)
    code = f"x = y{' + y' * 14}"
    words = [" ".join(["add"] * count) + end for count in range(1, 64) for end in ("", ".")]
    encoded = ((word, train.encode(Example("", word, code), tokenizer)) for word in words)
    intent, row = next((word, row) for word, row in encoded if len(row["input_ids"]) == TOKENS)
    rows = json.dumps({"nl": intent, "cmd": code}) + "\n"
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(rows * 8 * BATCHES)
    return train.answer_tokens(row)


def near_the_floor(frame: pd.DataFrame) -> str:
    """The peak of each LoRA over what has to be there, the weights and the adapter."""
    lines = []
    for _, row in frame[(frame["method"] == "lora") & frame["memory_bytes"].notna()].iterrows():
        floor = row["weights_bytes"] + row["adapter_bytes"]
        lines.append(f"{row['model']} {row['precision']}: {row['memory_bytes'] / floor:.2f} times weights and adapter")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

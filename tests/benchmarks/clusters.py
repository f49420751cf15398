"""What Ray costs beside this process, and a study whose driver and nodes are killed.

    python tests/benchmarks/clusters.py overhead [--runs 100] [--workers 1 2 4]
    python tests/benchmarks/clusters.py kills [--kills 10] [--seed 1]

Runs are trivial: one query, a model of two layers. Seconds are once everything is started.
"""

import argparse
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

import ray_studies  # noqa: E402
import small  # noqa: E402

from nblib import results, study  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "kills"])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        small.base_and_data(place)
        if asked.what == "kills":
            kills(place, asked.kills, asked.seed)
        for workers in asked.workers if asked.what == "overhead" else ():
            print(told(place, "measure", place / str(workers), asked.runs, workers), flush=True)


def kills(place: Path, count: int, seed: int) -> None:
    """Raises AssertionError where a row differs from that of a study on this machine."""
    print(told(place, "disturb", f"file://{place}/disturbed", count, seed), flush=True)
    study.run_all(ray_studies.planned(str(place / "base"), str(place / "data")), place / "alone")
    rows, others = (results.read(place / name) for name in ("alone", "disturbed"))
    assert [(row.id, row.scores) for row in rows] == [(row.id, row.scores) for row in others]
    for row in rows:
        assert results.predictions(place / "alone", row.id) == results.predictions(place / "disturbed", row.id)
    print(f"{len(rows)} rows are those of an undisturbed study")


def told(place: Path, command: str, folder: object, *more: object) -> dict:
    given = (command, folder, place / "base", place / "data", *more)
    return small.said_by("ray_studies.py", *given, OMP_NUM_THREADS="1")


if __name__ == "__main__":
    main()

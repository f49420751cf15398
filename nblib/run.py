"""A study file run from a shell: `python -m nblib.run study.yaml --store results`; one part of it with `--shard 3/8`.

Exit status 0: every run has a result; 1: a run failed or ran out of memory, which its row says; 2: the study was
refused, or could not go on.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace

from nblib import models, results, study
from nblib.columns import GIB
from nblib.results import Row
from nblib.study import Planned
from nblib.study.parallel import ENGINES


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line says; returns the exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        described = study.from_yaml(args.study)
        runs = replace(described, limit=described.limit if args.limit is None else args.limit).runs()
        consent = {"allow_code_execution": args.allow_code_execution}
        planned = study.plan(runs, **consent)
        own = shard(planned, *args.shard)
        if models.rank() == 0:
            print(f"{args.study}: {len(own)} of {len(planned)} runs, results in {args.store}", flush=True)
        rows = study.run_all(own, args.store, force=args.force, processes=args.processes, engine=args.engine, **consent)
    except (ValueError, OSError, ImportError) as problem:
        if os.environ.get("NBLIB_DEBUG"):
            raise
        parser.error(str(problem))
    return 0 if models.rank() else _said(rows, own)


def shard(planned: Sequence[Planned], part: int, parts: int) -> list[Planned]:
    """One of so many parts, from 1 on: each run is in one of them, and runs that share their training are together."""
    return [one for group in study.groups(planned)[part - 1 :: parts] for one in group]


def _said(rows: Sequence[Row], own: Sequence[Planned]) -> int:
    """Prints how the runs ended; returns the exit status."""
    failed = [row for row in rows if row.status != results.OK]
    lines = [f"{row.id}: {row.status}: {row.error}" for row in failed]
    for row in rows:
        if peaks := row.notes.get("train_peak_bytes_by_process"):
            lines.append(f"{row.id}: trained with {', '.join(f'{peak / GIB:.1f}' for peak in peaks)} GiB a process")
    print(f"{len(rows) - len(failed)} of {len(own)} runs have results", *lines, sep="\n")
    return int(len(rows) - len(failed) < len(own))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nblib.run", description=__doc__.partition(":")[0])
    parser.add_argument("study", help="a YAML file with the arguments of study.compare: model, task, names, seeds…")
    parser.add_argument(
        "--store", default="results", help="a folder, or an address such as s3://bucket/study (default: results)"
    )
    parser.add_argument("--engine", choices=ENGINES, default="local", help="where runs go: this machine, or Ray")
    parser.add_argument("--shard", type=_shard, default=(1, 1), help="3/8 does the third of eight parts")
    parser.add_argument("--limit", type=int, help="only so many test examples, instead of the file's limit")
    parser.add_argument("--processes", type=int, help="side by side on this machine (default: as many as pay)")
    parser.add_argument("--force", action="store_true", help="repeat finished runs, too")
    parser.add_argument("--allow-code-execution", action="store_true", help="run answers where isolation is weak")
    return parser


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"must be a part and their number, such as 3/8, from 1 on; got {text!r}")
    return int(part), int(parts)


if __name__ == "__main__":
    raise SystemExit(main())

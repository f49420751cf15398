"""Rows to one tidy numeric frame, one row a method. Formats nothing."""

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nblib import stats
from nblib.results import Row
from nblib.spec import Run
from nblib.tables import groups as grouping
from nblib.tables.groups import Group

EXECUTION = {  # scores of tasks whose answers are run
    "test_accuracy": "average accuracy",
    "strict_accuracy": "strict accuracy",
    "pass@1": "pass@1",
    "pass@2": "pass@2",
    "pass@5": "pass@5",
}
METRICS = {  # what a table shows, and how it calls it; all are shares, and higher is better
    **EXECUTION,
    "em@1": "EM@1",
    "em@10": "EM@10",
    "codebleu": "CodeBLEU",
    "codebleu_corrected": "CodeBLEU (corrected)",
    "chrf": "chrF",
}
NEEDS_ALL = ("em@10",)  # shown only where every run has it: answers are as many as beams
COSTS = (
    *("trainable_parameters", "total_parameters", "adapter_bytes"),
    *("train_seconds", "generate_seconds", "prompt_tokens", "new_tokens"),
)


def comparison(
    rows: Iterable[Row], folder: str | Path, *, metrics: Iterable[str] = METRICS, expected: Iterable[Run] = ()
) -> pd.DataFrame:
    """One row a method over its seeds, indexed by the method's label: plain numbers, for CSV and for figures.

    `metrics` are those of METRICS to look at; one that the runs do not have is left out.
    Scores are shares with columns `em@1`, and `_sd` (over seeds), `_low` and `_high` (95 % interval), `_n` and
    `_missing` (examples), `_tie` (true: a paired test, after Holm over the column, cannot tell it from the best) and
    `_corpus` (over the whole corpus, where papers print that) after it. Costs are means over seeds in bytes, seconds
    and tokens; `adapter_bytes` are those of the saved adapter, and `peak_bytes` is the highest of all phases and
    seeds. `seeds` ended well; `failed`, `out_of_memory` and `missing` count the runs that did not, or that `expected`
    (the planned runs) holds beside the rows.
    Raises ValueError for rows that do not belong into one table.
    """
    rows = list(rows)
    if shapes := [row.id for row in rows if row.settings.get("shape_only")]:
        raise ValueError(
            f"a table of scores takes no rows of random weights (shape_only), as they have none; got {shapes[0]}: "
            "leave them out, or show them with tables.memory"
        )
    found = grouping.groups(rows, folder, expected)
    metrics = [name for name in metrics if _is_shown(name, found)]
    table = pd.DataFrame([_identity(group) for group in found], index=[group.label for group in found])
    for metric in metrics:
        table = table.join(_scores(found, metric))
    costs = [{name: group.cost(name) for name in COSTS} | {"peak_bytes": group.peak_bytes()} for group in found]
    return table.join(pd.DataFrame(costs, index=table.index, dtype=float)).rename_axis("method")


def check(metric: str) -> None:
    """Raises ValueError for a score that no table knows."""
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}; got {metric!r}")


def write_csv(frame: pd.DataFrame, path: str | Path) -> Path:
    """The frame as CSV, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        frame.to_csv(part, float_format="%.8g", lineterminator="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _is_shown(metric: str, found: list[Group]) -> bool:
    means = [each for group in found for each in group.means(metric)]
    there = [each is not None for each in means]
    return all(there) and bool(there) if metric in NEEDS_ALL else any(there)


def _identity(group: Group) -> dict:
    return {
        "kind": group.kind,
        "family": grouping.family(group.kind),
        **{name: group.settings.get(name) for name in ("model", "task", "limit")},
        "status": group.status,
        "seeds": len(group.rows),
        "failed": group.failed,
        "out_of_memory": group.out_of_memory,
        "missing": group.missing,
    }


def _scores(found: list[Group], metric: str) -> pd.DataFrame:
    """The columns of one metric."""
    examples = grouping.examples(found)
    lines = [score(group, metric, examples) for group in found]
    table = pd.DataFrame(lines, index=[group.label for group in found], dtype=float)
    table[f"{metric}_tie"] = pd.array(_ties(found, metric), dtype="boolean")
    return table


def score(group: Group, metric: str, examples: list[str]) -> dict[str, float | None]:
    """What `comparison` says of one metric, but for the ties."""
    spread = stats.spread(group.means(metric))
    by_seed = group.by_seed(metric, examples)
    interval = stats.interval(by_seed) if by_seed is not None else None
    counts = [row.scores.get(metric, {}) for row in group.rows]
    return {
        metric: spread.mean,
        f"{metric}_sd": spread.sd,
        f"{metric}_low": interval.low if interval else None,
        f"{metric}_high": interval.high if interval else None,
        f"{metric}_n": min((each.get("n", 0) for each in counts), default=None),
        f"{metric}_missing": max((each.get("missing", 0) for each in counts), default=None),
        f"{metric}_corpus": stats.spread([each.get("corpus") for each in counts]).mean,
    }


def _ties(found: list[Group], metric: str) -> list[bool | None]:
    """Whether each method is not to be told from the best; None: it is the best, or nothing was tested."""
    best = grouping.best(found, metric)
    if best is None:
        return [None] * len(found)
    tested = grouping.compared(best, [group for group in found if group is not best], metric)
    differences = [tested.get(group.label) for group in found]
    return [None if each is None or each.p is None else stats.decide(each) == "tie" for each in differences]

"""Rows to one tidy frame of execution results, one line a method and difficulty. Runs nothing."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from nblib import stats
from nblib.results import Row
from nblib.spec import Run
from nblib.tables import groups as grouping
from nblib.tables.frame import EXECUTION
from nblib.tables.groups import Group
from nblib.tables.shown import Shown, table

ALL = "all"
ORDER = ("introductory", "interview", "competition")  # of APPS, from easy to hard


def by_difficulty(
    rows: Iterable[Row], folder: str | Path, difficulties: Mapping[str, str], *, expected: Iterable[Run] = ()
) -> pd.DataFrame:
    """One line a difficulty and method, `all` first; `difficulties` are those of the examples, by id.

    `method`, `kind` and `difficulty`; `n` examples and `seeds`; each score of EXECUTION that the runs have, its mean
    over seeds with `_low` and `_high` (95 % interval, as in `comparison`); and as `ended passed`, `ended wrong`,
    `ended runtime_error`… the shares of first answers that ended so, over all seeds. A method without a result has a
    line with nothing in it.
    """
    found = grouping.groups(rows, folder, expected)
    there = dict.fromkeys(each for each in difficulties.values() if each)
    names = [ALL, *(each for each in ORDER if each in there), *(each for each in there if each not in ORDER)]
    lines = []
    for name in names:
        examples = sorted(each for each, difficulty in difficulties.items() if name in (ALL, difficulty))
        lines += [_line(group, name, examples) for group in found]
    frame = pd.DataFrame(lines)
    return frame.drop(columns=[name for name in EXECUTION if name in frame and frame[name].isna().all()])


def shown_by_difficulty(frame: pd.DataFrame) -> Shown:
    """The table of a `by_difficulty`: percent, with the intervals."""
    lines = []
    for _, row in frame.iterrows():
        line = {"difficulty": row["difficulty"], "method": row["method"]}
        for metric, name in EXECUTION.items():
            if metric in frame:
                line[f"{name} (%)"] = _percent(row, metric)
        lines.append(line | {"seeds": str(row["seeds"]), "n": str(row["n"])})
    return table(lines)


def _line(group: Group, difficulty: str, examples: list[str]) -> dict:
    line: dict[str, object] = {"method": group.label, "kind": group.kind, "difficulty": difficulty}
    line |= {"n": len(examples), "seeds": len(group.rows), "status": group.status}
    for metric in EXECUTION:
        by_seed = group.by_seed(metric, examples)
        if by_seed is None or all(each is None for seed in by_seed for each in seed):
            line |= {metric: None, f"{metric}_low": None, f"{metric}_high": None}
        else:
            interval = stats.interval(by_seed)
            line |= {metric: interval.mean, f"{metric}_low": interval.low, f"{metric}_high": interval.high}
    return line | _ended(group, difficulty)


def _ended(group: Group, difficulty: str) -> dict[str, float]:
    """Shares of first answers over all seeds, from the counts that each row's notes hold."""
    counts: dict[str, int] = {}
    for row in group.rows:
        told = row.notes.get("by_difficulty", {}).get(difficulty, {}).get("first_answer", {})
        for kind, count in told.items():
            counts[kind] = counts.get(kind, 0) + count
    total = sum(counts.values())
    return {f"ended {kind}": count / total for kind, count in counts.items() if total}


def _percent(row: pd.Series, metric: str) -> str:
    if pd.isna(row[metric]):
        return "–"
    interval = ""
    if not pd.isna(row[f"{metric}_low"]):
        interval = f" ({100 * row[f'{metric}_low']:.1f} to {100 * row[f'{metric}_high']:.1f})"
    return f"{100 * row[metric]:.1f}{interval}"

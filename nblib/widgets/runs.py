"""A store's runs as one frame, a line a run, and its Pareto front. Draws nothing, loads no model."""

from pathlib import Path

import pandas as pd

from nblib import results
from nblib.plots import COSTS, NOTHING_FOR_PROMPTS, SCORES
from nblib.results import Row
from nblib.tables import family
from nblib.tables.groups import kind, names, setting

FILTERS = ("model", "task", "method", "precision")
COMPARABLE = ("task", "limit")  # scores of runs that differ in these do not compare
PEAKS = ("load_peak_bytes", "train_peak_bytes", "generate_peak_bytes")


def runs(folder: str | Path, *, model: str = "", task: str = "", method: str = "", precision: str = "") -> pd.DataFrame:
    """The runs of a results folder that ended well and answered a test split, one line each, indexed by their ids.

    A filter that is empty lets all pass; `method` is a kind, such as `rag`. Columns: `label` (with the settings in
    which runs of one method differ), `kind`, `family`, `model`, `task`, `precision`, `seed`, `limit`, then scores as
    shares and costs in bytes, seconds and tokens. Runs of a search or with random weights are left out.
    """
    wanted = dict(zip(FILTERS, (model, task, method, precision), strict=True))
    rows = [row for row in results.sound(folder) if _is_shown(row)]
    rows = [row for row in rows if all(not value or _facts(row)[name] == value for name, value in wanted.items())]
    labels = names([row.settings for row in rows], leaving=("learning_rate", "dropout"))
    lines = [
        {"label": _label(label, row), **_facts(row), **_numbers(row)} for label, row in zip(labels, rows, strict=True)
    ]
    columns = ["label", "kind", "family", *FILTERS, "seed", "limit", *SCORES, *COSTS]
    frame = pd.DataFrame(lines, index=pd.Index([row.id for row in rows], name="run", dtype=object), columns=columns)
    return frame.sort_values(["task", "model", "label", "seed"], kind="stable")


def axes(frame: pd.DataFrame) -> list[str]:
    """The scores and costs that a frame has."""
    return [name for name in (*SCORES, *COSTS) if frame[name].notna().any()]


def front(frame: pd.DataFrame, x: str, y: str) -> list[str]:
    """The runs that no other beats: none is as good in both and better in one. From left to right.

    More is better of a score, less of a cost. Empty where scores do not compare: of several tasks, or where only some
    runs are limited to the first examples.
    Raises ValueError for a column that is no score and no cost.
    """
    for name in (x, y):
        if name not in SCORES and name not in COSTS:
            raise ValueError(f"an axis must be one of {', '.join((*SCORES, *COSTS))}; got {name!r}")
    if not comparable(frame):
        return []
    points = pd.DataFrame({axis: frame[name].astype(float) * _sign(name) for axis, name in (("x", x), ("y", y))})
    points = points.dropna()
    best = [
        id
        for id, point in points.iterrows()
        if not ((points >= point).all(axis=1) & (points > point).any(axis=1)).any()
    ]
    return list(frame.loc[best].sort_values([x, y]).index)


def comparable(frame: pd.DataFrame) -> bool:
    """Whether scores of these runs may be held against one another."""
    return all(frame[name].nunique(dropna=False) <= 1 for name in COMPARABLE)


def choices(frame: pd.DataFrame, name: str) -> list[str]:
    """The values of a filter that occur."""
    return sorted(set(frame[name]))


def _sign(name: str) -> int:
    return 1 if name in SCORES else -1


def _is_shown(row: Row) -> bool:
    plain = setting(row.settings, "split") == "test" and not row.settings.get("shape_only")
    return row.status == results.OK and plain


def _facts(row: Row) -> dict:
    own = {name: row.settings.get(name) for name in ("model", "task", "precision", "seed", "limit")}
    return own | {
        "method": row.settings["method"]["kind"],
        "kind": kind(row.settings),
        "family": family(kind(row.settings)),
    }


def _numbers(row: Row) -> dict[str, float | None]:
    scores = {name: row.scores.get(name, {}).get("mean") for name in SCORES}
    costs = {name: row.costs.get(name) for name in COSTS}
    if family(kind(row.settings)) in ("zero-shot", "ICL", "RAG"):
        costs |= dict.fromkeys(NOTHING_FOR_PROMPTS, 0.0)
    peaks = [peak for name in PEAKS if (peak := row.costs.get(name)) is not None]
    return scores | costs | {"peak_bytes": max(peaks, default=None)}


def _label(label: str, row: Row) -> str:
    trained_on = setting(row.settings, "train_task")
    other = trained_on not in (None, row.settings["task"])
    label = label.replace("precision=", "")  # its value says what it is
    return f"{label}, from {trained_on}" if other else label

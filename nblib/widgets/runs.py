"""A store's runs as one frame, a line a run, and its Pareto front. Draws nothing, loads no model."""

from pathlib import Path

import pandas as pd

from nblib import results
from nblib.plots import COSTS, NOTHING_FOR_PROMPTS, SCORES
from nblib.tables import names

FILTERS = ("model", "task", "method", "precision")
COMPARABLE = ("task", "limit")  # scores of runs that differ in these do not compare


def runs(folder: str | Path, *, model: str = "", task: str = "", method: str = "", precision: str = "") -> pd.DataFrame:
    """The runs of a results folder that ended well and answered a test split, one line each, indexed by their ids.

    A filter that is empty lets all pass; `method` is a kind, such as `rag`. Columns: `label` (with the settings in
    which runs of one method differ), `kind`, `family`, `model`, `task`, `precision`, `seed`, `limit`, then scores as
    shares and costs in bytes, seconds and tokens. Runs of a search or with random weights are left out.
    """
    wanted = dict(zip(FILTERS, (model, task, method, precision), strict=True))
    frame = results.load(folder, quiet=True).runs
    shown = (frame["status"] == results.OK) & (frame["split"] == "test") & ~frame["shape_only"].astype(bool)
    frame = frame[shown].assign(method=[settings["method"]["kind"] for settings in frame.loc[shown, "settings"]])
    for name, value in wanted.items():
        frame = frame[frame[name] == value] if value else frame
    labels = names(list(frame["settings"]), leaving=("learning_rate", "dropout"))
    frame = frame.assign(label=[_label(*each) for each in zip(labels, frame["trained_on"], frame["task"], strict=True)])
    frame = frame.reindex(columns=["label", "kind", "family", *FILTERS, "seed", "limit", *SCORES, *COSTS])
    prompts = frame["family"].isin(("zero-shot", "ICL", "RAG"))
    frame.loc[prompts, [*NOTHING_FOR_PROMPTS]] = 0.0
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


def _label(label: str, trained_on: str | None, task: str) -> str:
    label = label.replace("precision=", "")  # its value says what it is
    return label if pd.isna(trained_on) or trained_on == task else f"{label}, from {trained_on}"

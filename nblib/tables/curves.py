"""How training went: validation losses, and scores over learning rates. Trains nothing."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from nblib.results import Row
from nblib.tables import frame as framing
from nblib.tables import words
from nblib.tables.groups import examples, groups, names, setting
from nblib.tables.shown import NOTHING, Shown, table

RATE = "learning_rate"


def learning_curves(rows: Iterable[Row], folder: str | Path) -> pd.DataFrame:
    """One line a validation loss: `method`, `kind`, `seed`, `epoch`, `loss`, and `kept` for the checkpoint kept.

    Epochs are steps over the steps of an epoch. A loss that is no number (training diverged) has no line. Raises
    ValueError for rows that do not belong into one table.
    """
    lines = []
    for group in groups(rows, folder):
        for row in group.rows:
            epochs, steps = (row.settings.get("training") or {}).get("epochs"), row.costs.get("train_steps")
            for step, loss in row.notes.get("validation_losses", ()) if epochs and steps else ():
                if loss is not None and math.isfinite(loss):
                    line = {"method": group.label, "kind": group.kind, "seed": row.settings["seed"]}
                    line |= {name: group.settings.get(name) for name in ("model", "task")}
                    kept = step == row.notes.get("best_step")
                    lines.append(line | {"epoch": epochs * step / steps, "loss": loss, "kept": kept})
    return pd.DataFrame(lines, columns=["method", "kind", "seed", "model", "task", "epoch", "loss", "kept"])


def sensitivity(rows: Iterable[Row], folder: str | Path, metric: str = "em@1") -> pd.DataFrame:
    """One line a method and learning rate: `method`, `kind`, `learning_rate`, `status`, `seeds` and the score with
    `_sd`, `_low`, `_high`, `_n` and `_missing`.

    A method at several other settings (ranks, precisions) is one method for each of them. What is not trained has no
    learning rate and no line. Raises ValueError for rows that do not belong into one table, and for an unknown metric.
    """
    framing.check(metric)
    found = [group for group in groups(rows, folder) if RATE in group.settings["method"]]
    labels = names([group.settings for group in found], leaving=(RATE,))
    ids = examples(found)
    lines = [
        {
            "method": name,
            "kind": group.kind,
            **{key: group.settings.get(key) for key in ("model", "task", "limit")},
            "split": setting(group.settings, "split"),
            RATE: float(group.settings["method"][RATE]),
            "status": group.status,
            "seeds": len(group.rows),
            **framing.score(group, metric, ids),
        }
        for name, group in zip(labels, found, strict=True)
    ]
    texts = ("method", "kind", "model", "task", "limit", "split", "status", "seeds")
    frame = pd.DataFrame(lines)
    if frame.empty:
        return pd.DataFrame(columns=[*texts, RATE, metric, f"{metric}_low", f"{metric}_high", f"{metric}_n"])
    order = {name: place for place, name in enumerate(dict.fromkeys(labels))}
    frame = frame.astype({name: float for name in frame if name not in texts})
    return frame.sort_values(["method", RATE], key=lambda each: each.map(order) if each.name == "method" else each)


def shown_sensitivity(frame: pd.DataFrame, metric: str = "em@1", *, chosen: Mapping[str, float] | None = None) -> Shown:
    """One line a method of a `sensitivity`: its score at each rate, the best rate, and how far best and worst differ.

    `chosen` are the rates that a comparison uses, by method: marked with brackets.
    """
    lines = []
    for name in dict.fromkeys(frame["method"]):
        members = frame[frame["method"] == name]
        scores, mine = members.dropna(subset=[metric]), (chosen or {}).get(name)
        best = f"{scores.loc[scores[metric].idxmax(), RATE]:g}" if len(scores) else NOTHING
        spread = f"{100 * (scores[metric].max() - scores[metric].min()):.1f}" if len(scores) > 1 else NOTHING
        lines.append(
            {
                "method": name,
                f"learning rate: {words.name(metric)} (%)": ", ".join(
                    _score(row, metric, mine) for _, row in members.iterrows()
                ),
                "best rate": best,
                "best minus worst (points)": spread,
            }
        )
    split = f" on the {frame['split'].iloc[0]} split" if len(frame) else ""
    marks = " [ ]: the chosen rate." if chosen else ""
    return table(lines, [f"Means over seeds{split}.{marks}"])


def _score(row: pd.Series, metric: str, chosen: float | None) -> str:
    """`0.003: 45.2`, in brackets where it is the chosen rate."""
    score = words.STATUS.get(row["status"], NOTHING) if pd.isna(row[metric]) else f"{100 * row[metric]:.1f}"
    text = f"{row[RATE]:g}: {score}"
    return f"[{text}]" if chosen is not None and math.isclose(row[RATE], chosen, rel_tol=1e-6) else text

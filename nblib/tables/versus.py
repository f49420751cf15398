"""How far each method is from one of them, tested. Holds no results of its own."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nblib import stats
from nblib.results import Row
from nblib.tables.frame import METRICS
from nblib.tables.groups import compared, groups
from nblib.tables.shown import Shown, table

SAID = {"higher": "better", "lower": "worse", "tie": "no difference that this data can show"}


def versus(rows: Iterable[Row], folder: str | Path, base: str, metric: str) -> pd.DataFrame:
    """Every other method minus `base` (a label such as `zero-shot`) on the same examples, one line a method.

    `difference`, `low` and `high` (95 % interval) are shares; `p` is of a paired test with Holm's correction over the
    lines; `effect` is Cohen's d of pairs; `verdict` is `higher`, `lower` or `tie`. What has no predictions of the same
    examples has no line. Raises ValueError where no run of `base` has a result.
    """
    found = [group for group in groups(rows, folder) if group.mean(metric) is not None]
    centers = [group for group in found if group.label == base]
    if not centers:
        raise ValueError(
            f"base must be one of {', '.join(group.label for group in found) or 'no method'}; got {base!r}"
        )
    tested = compared(centers[0], [group for group in found if group.label != base], metric)
    lines = {label: stats.reverse(each) for label, each in tested.items() if each is not None}
    return pd.DataFrame(
        [
            {
                "difference": each.mean,
                "low": each.low,
                "high": each.high,
                "p": each.p,
                "effect": each.effect,
                "n": each.n,
                "verdict": stats.decide(each),
            }
            for each in lines.values()
        ],
        index=pd.Index(list(lines), name="method", dtype=object),
        columns=["difference", "low", "high", "p", "effect", "n", "verdict"],
    )


def shown_versus(frame: pd.DataFrame, base: str, metric: str) -> Shown:
    """The table of a `versus`, in points of percent."""
    lines = [
        {
            "method": label,
            f"{METRICS[metric]} beside {base} (points)": f"{100 * row['difference']:+.1f}",
            "95 % interval": _interval(row),
            "p (Holm)": "–" if pd.isna(row["p"]) else f"{row['p']:.3f}",
            "effect (d)": "–" if pd.isna(row["effect"]) else f"{row['effect']:.2f}",
            "examples": f"{row['n']}",
            "so it is": SAID[row["verdict"]],
        }
        for label, row in frame.iterrows()
    ]
    return table(lines, ["Paired over the same examples, over all seeds; Holm's correction over the lines."])


def _interval(row: pd.Series) -> str:
    if pd.isna(row["low"]) or pd.isna(row["high"]):
        return "–"
    return f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"

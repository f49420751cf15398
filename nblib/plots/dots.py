"""A mean with its interval on a line of its own, the numbers beside it. Computes no statistics."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from nblib.plots.style import FAINT, colour

STATUS = {"out_of_memory": "out of memory", "failed": "failed", "missing": "not run"}
MEAN, INTERVAL = 62, 122  # points from the axes to the right ends of the two columns of numbers


def dot(axes: Axes, place: float, row: pd.Series, metric: str) -> None:
    """Interval, dot, and the numbers at the right; or why there are none."""
    if pd.isna(row[metric]):
        looks: dict[str, Any] = {"style": "italic", "color": FAINT, "va": "center_baseline"}
        text = STATUS.get(row["status"], "no score")
        axes.annotate(text, (0, place), xytext=(6, 0), textcoords="offset points", **looks)
        return
    mean, low, high = (100 * row[name] for name in (metric, f"{metric}_low", f"{metric}_high"))
    shade = colour(row["kind"])
    axes.plot(mean, place, "o", color=shade, markersize=9, markeredgecolor="white", clip_on=False, zorder=3)
    beside(axes, place, MEAN, f"{mean:.1f} %", weight="bold")
    if not pd.isna(low):
        axes.plot([low, high], [place, place], color=shade, linewidth=5, alpha=0.35, solid_capstyle="round")
        beside(axes, place, INTERVAL, f"{low:.1f}–{high:.1f}", size=8.5, color=FAINT)


def beside(axes: Axes, place: float, points: float, text: str, **looks) -> None:
    """A number in a column at the right of the axes."""
    across = axes.get_yaxis_transform()
    looks = {"va": "center_baseline", "ha": "right"} | looks
    axes.annotate(text, (1, place), xycoords=across, xytext=(points, 0), textcoords="offset points", **looks)


def said(row: pd.Series, metric: str) -> str:
    """The same in words: `45.2 % (39.2 to 51.2)`, or why there is no number."""
    if pd.isna(row[metric]):
        return STATUS.get(row["status"], "no score")
    mean, low, high = (100 * row[name] for name in (metric, f"{metric}_low", f"{metric}_high"))
    return f"{mean:.1f} %" if pd.isna(low) else f"{mean:.1f} % ({low:.1f} to {high:.1f})"

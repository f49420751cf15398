"""Methods from best to worst. Computes no statistics."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nblib.plots.style import FAINT, SCORES, WIDTH, basis, check, colour, empty, finish, style, top_of

STATUS = {"out_of_memory": "out of memory", "failed": "failed", "missing": "not run"}
COLUMN = 1.5  # inches at the right, for the numbers


def ranking(frame: pd.DataFrame, metric: str = "em@1", *, title: str | None = None) -> Figure:
    """Methods from best to worst, each mean with its 95 % interval; what has no score stands below and says why."""
    check(frame, metric, SCORES)
    scored = frame[frame[metric].notna()].sort_values(metric, ascending=False, kind="stable")
    order = pd.concat([scored, frame[frame[metric].isna()]])
    names = [textwrap.fill(str(label), 24) for label in order.index]
    with style():
        figure, (axes,) = empty(1.55 + 0.36 * max(len(order), 2) + 0.1 * sum("\n" in name for name in names))
        for place, (_, row) in enumerate(order.iterrows()):
            _method(axes, place, row, metric)
        axes.set(xlim=(0, min(100.0, max(5.0, 1.04 * top_of(scored, metric)))), ylim=(max(len(order), 1) - 0.4, -0.6))
        axes.set_yticks(range(len(order)), names)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.set_xlabel(SCORES[metric][1])
        finish(figure, title or f"{SCORES[metric][0]} by method", basis(frame, metric), right=COLUMN)
        figure.set_label(_words(order, metric))
    return figure


def _method(axes: Axes, place: int, row: pd.Series, metric: str) -> None:
    """Interval, dot, and the numbers at the right; or why there are none."""
    if pd.isna(row[metric]):
        axes.annotate(
            STATUS.get(row["status"], "no score"),
            (0, place),
            xytext=(6, 0),
            textcoords="offset points",
            style="italic",
            color=FAINT,
            va="center",
        )
        return
    mean, low, high = (100 * row[name] for name in (metric, f"{metric}_low", f"{metric}_high"))
    shade = colour(row["kind"])
    if not pd.isna(low):
        axes.plot([low, high], [place, place], color=shade, linewidth=5, alpha=0.35, solid_capstyle="round")
    axes.plot(mean, place, "o", color=shade, markersize=9, markeredgecolor="white", clip_on=False, zorder=3)
    side = {"transform": axes.get_yaxis_transform(), "va": "center"}
    inch = 1 / (WIDTH * 0.6)
    axes.text(1 + 0.62 * inch, place, f"{mean:.1f} %", ha="right", weight="bold", **side)
    if not pd.isna(low):
        axes.text(1 + 1.42 * inch, place, f"{low:.1f}–{high:.1f}", ha="right", size=8.5, color=FAINT, **side)


def _words(order: pd.DataFrame, metric: str) -> str:
    """The alternative text."""
    parts = []
    for label, row in order.iterrows():
        if pd.isna(row[metric]):
            parts.append(f"{label} {STATUS.get(row['status'], 'no score')}")
        elif pd.isna(row[f"{metric}_low"]):
            parts.append(f"{label} {100 * row[metric]:.1f} %")
        else:
            low, high = (100 * row[f"{metric}_{end}"] for end in ("low", "high"))
            parts.append(f"{label} {100 * row[metric]:.1f} % ({low:.1f} to {high:.1f})")
    if not parts:
        return f"{SCORES[metric][0]}: no methods."
    return f"{SCORES[metric][0]} by method, best first, with 95 % intervals: {'; '.join(parts)}."

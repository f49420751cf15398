"""Methods from best to worst. Computes no statistics."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nblib.plots.style import FAINT, SCORES, basis, check, colour, empty, finish, style, top_of

STATUS = {"out_of_memory": "out of memory", "failed": "failed", "missing": "not run"}
MEAN, INTERVAL = 62, 122  # points from the axes to the right ends of the two columns of numbers


def ranking(frame: pd.DataFrame, metric: str = "em@1", *, title: str | None = None) -> Figure:
    """Methods from best to worst, each mean with its 95 % interval; what has no score stands below and says why."""
    check(frame, metric, SCORES)
    scored = frame[frame[metric].notna()].sort_values(metric, ascending=False, kind="stable")
    order = pd.concat([scored, frame[frame[metric].isna()]])
    names = ["\n".join(textwrap.wrap(str(label), 28, max_lines=2, placeholder=" …")) for label in order.index]
    with style():
        figure, (axes,) = empty(1.55 + (0.42 if "\n" in "".join(names) else 0.36) * max(len(order), 2))
        for place, (_, row) in enumerate(order.iterrows()):
            _method(axes, place, row, metric)
        axes.set(xlim=(0, min(100.0, max(5.0, 1.04 * top_of(scored, metric)))), ylim=(max(len(order), 1) - 0.4, -0.6))
        if scored[f"{metric}_low"].notna().any():
            _beside(axes, -0.6, INTERVAL, "95 % interval", va="bottom", size=8.5, color=FAINT)
        axes.set_yticks(range(len(order)), names)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.set_xlabel(SCORES[metric][1])
        finish(figure, title or f"{SCORES[metric][0]} by method", basis(frame, metric), right=INTERVAL / 72)
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
            va="center_baseline",
        )
        return
    mean, low, high = (100 * row[name] for name in (metric, f"{metric}_low", f"{metric}_high"))
    shade = colour(row["kind"])
    if not pd.isna(low):
        axes.plot([low, high], [place, place], color=shade, linewidth=5, alpha=0.35, solid_capstyle="round")
    axes.plot(mean, place, "o", color=shade, markersize=9, markeredgecolor="white", clip_on=False, zorder=3)
    _beside(axes, place, MEAN, f"{mean:.1f} %", weight="bold", va="center_baseline")
    if not pd.isna(low):
        _beside(axes, place, INTERVAL, f"{low:.1f}–{high:.1f}", size=8.5, color=FAINT, va="center_baseline")


def _beside(axes: Axes, place: float, points: float, text: str, **looks) -> None:
    """A number in a column at the right of the axes."""
    across = axes.get_yaxis_transform()
    axes.annotate(
        text, (1, place), xycoords=across, xytext=(points, 0), textcoords="offset points", ha="right", **looks
    )


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
        return f"{SCORES[metric][0]}: there are no methods to show."
    return f"{SCORES[metric][0]} by method, best first, with 95 % intervals: {'; '.join(parts)}."

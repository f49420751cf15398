"""Methods by their mean rank over benchmarks. Computes no statistics."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nblib.plots.dots import INTERVAL, MEAN, beside
from nblib.plots.style import FAINT, colour, empty, finish, style


def mean_ranks(frame: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Methods from best to worst, each mean rank with its 95 % interval; `frame` is what tables.mean_ranks returns."""
    names = ["\n".join(textwrap.wrap(str(label), 28, max_lines=2, placeholder=" …")) for label in frame.index]
    with style():
        figure, (axes,) = empty(1.7 + 0.36 * max(len(frame), 2))
        for place, (_, row) in enumerate(frame.iterrows()):
            _method(axes, place, row)
        axes.set(xlim=(0.8, max(2, len(frame)) + 0.2), ylim=(max(len(frame), 1) - 0.4, -0.6))
        if len(frame):
            beside(axes, -0.6, INTERVAL, "95 % interval", va="bottom", size=8.5, color=FAINT)
        axes.set_yticks(range(len(frame)), names)
        axes.set_xticks(_ticks(len(frame)))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel("mean rank (1: best on every benchmark)")
        finish(figure, title or "Mean rank over benchmarks", _basis(frame), right=INTERVAL / 72)
        figure.set_label(_words(frame))
    return figure


def _method(axes: Axes, place: int, row: pd.Series) -> None:
    shade = colour(row["kind"])
    axes.plot([row["low"], row["high"]], [place, place], color=shade, linewidth=5, alpha=0.35, solid_capstyle="round")
    axes.plot(row["mean_rank"], place, "o", color=shade, markersize=9, markeredgecolor="white", clip_on=False, zorder=3)
    beside(axes, place, MEAN, f"{row['mean_rank']:.2f}", weight="bold")
    beside(axes, place, INTERVAL, f"{row['low']:.2f}–{row['high']:.2f}", size=8.5, color=FAINT)


def _ticks(count: int) -> list[int]:
    step = max(1, -(-count // 10))
    return list(range(1, max(2, count) + 1, step))


def _basis(frame: pd.DataFrame) -> str:
    if not len(frame):
        return "no method has a result on every benchmark"
    places = frame.attrs.get("places", [])
    return f"{' · '.join(places)} · bars: 95 % intervals over other examples of the same benchmarks"


def _words(frame: pd.DataFrame) -> str:
    """The alternative text."""
    if not len(frame):
        return "Mean rank over benchmarks: no method has a result on every benchmark."
    parts = [
        f"{label} {row['mean_rank']:.2f} ({row['low']:.2f} to {row['high']:.2f})" for label, row in frame.iterrows()
    ]
    return f"Mean rank of each method over benchmarks, best first, with 95 % intervals: {'; '.join(parts)}."

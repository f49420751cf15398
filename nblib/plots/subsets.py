"""Scores on named groups of examples, a dot for each method and group. Computes no statistics."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nblib.plots.style import FAINT, SCORES, check, colour, empty, finish, style, top_of

STATUS = {"out_of_memory": "out of memory", "failed": "failed", "missing": "not run"}
MARKERS = ("o", "D", "s", "^", "v", "P", "X", "*")  # of groups, the first ones filled and open in turn
STEP, GAP = 0.21, 0.14  # inches of a dot's line, and between methods
LEGEND, ENTRY = 0.1, 0.19  # inches between axes and the names under them, and of a line of names
MEAN, INTERVAL = 50, 112  # points from the axes to the right ends of the two columns of numbers


def by_group(frame: pd.DataFrame, metric: str = "em@1", *, title: str | None = None) -> Figure:
    """Each method's score on each group of examples with its 95 % interval, the groups of a method below one another.

    `frame` is what tables.by_group returns. Raises ValueError for more groups than there are marks.
    """
    check(frame, metric, SCORES)
    groups, methods = list(dict.fromkeys(frame["group"])), list(dict.fromkeys(frame["method"]))
    if len(groups) > len(MARKERS):
        raise ValueError(f"a figure tells at most {len(MARKERS)} groups apart; got {len(groups)}: name fewer")
    block = STEP * len(groups) + GAP
    with style():
        figure, (axes,) = empty(1.5 + LEGEND + ENTRY + block * max(len(methods), 1))
        for _, row in frame.iterrows():
            place = methods.index(row["method"]) * block + groups.index(row["group"]) * STEP
            _dot(axes, place, row, groups.index(row["group"]), metric)
        middle = STEP * (len(groups) - 1) / 2
        axes.set_yticks([place * block + middle for place in range(len(methods))], methods)
        axes.set(xlim=(0, min(100.0, max(5.0, 1.04 * top_of(frame, metric)))), xlabel=SCORES[metric][1])
        axes.set_ylim(max(len(methods), 1) * block - GAP / 2 - STEP / 2, -STEP / 2 - GAP / 2)
        _looks(axes, [place * block - GAP / 2 - STEP / 2 for place in range(1, len(methods))])
        finish(figure, title or f"{SCORES[metric][0]} by group of examples", _basis(frame, metric), right=INTERVAL / 72)
        _legend(figure, axes, frame, groups, metric)
        figure.set_label(_words(frame, metric))
    return figure


def _dot(axes: Axes, place: float, row: pd.Series, group: int, metric: str) -> None:
    """Interval, dot, and the numbers at the right; or why there are none."""
    if pd.isna(row[metric]):
        said = STATUS.get(row["status"], "no score")
        spot: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center_baseline"}
        axes.annotate(said, (0, place), style="italic", size=8.5, color=FAINT, **spot)
        return
    shade = colour(row["kind"])
    mean, low, high = (100 * row[name] for name in (metric, f"{metric}_low", f"{metric}_high"))
    if not pd.isna(low):
        axes.plot([low, high], [place, place], color=shade, linewidth=4, alpha=0.35, solid_capstyle="round")
        _beside(axes, place, INTERVAL, f"{low:.1f}–{high:.1f}", color=FAINT)
    axes.plot(mean, place, **_mark(group, shade), clip_on=False, zorder=3)
    _beside(axes, place, MEAN, f"{mean:.1f} %", weight="bold")


def _mark(group: int, shade: str) -> dict:
    """Filled and open in turn, so that neighbours differ at a glance."""
    filled = group % 2 == 0
    return {
        "marker": MARKERS[group],
        "linestyle": "none",
        "markersize": 7.5,
        "markerfacecolor": shade if filled else "white",
        "markeredgecolor": "white" if filled else shade,
        "markeredgewidth": 0.8 if filled else 1.8,
    }


def _beside(axes: Axes, place: float, points: float, text: str, **looks) -> None:
    """A number in a column at the right of the axes."""
    spot: dict[str, Any] = {
        "xytext": (points, 0),
        "textcoords": "offset points",
        "ha": "right",
        "va": "center_baseline",
    }
    axes.annotate(text, (1, place), xycoords=axes.get_yaxis_transform(), size=8.5, **spot, **looks)


def _looks(axes: Axes, borders: list[float]) -> None:
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    for place in borders:
        axes.axhline(place, color="#EEEEEE", linewidth=0.8, zorder=0)


def _basis(frame: pd.DataFrame, metric: str) -> str:
    """`conala-mini with tiny · bars: 95 % intervals over examples and seeds`"""
    well = frame[frame[metric].notna()]
    if well.empty:
        return "no run has this score on any example"
    partial = " · only the first examples: a partial result" if well["limit"].notna().any() else ""
    intervals = " · bars: 95 % intervals over examples and seeds" if well[f"{metric}_low"].notna().any() else ""
    return f"{well['task'].iloc[0]} with {well['model'].iloc[0]}{intervals}{partial}"


def _legend(figure: Figure, axes: Axes, frame: pd.DataFrame, groups: list[str], metric: str) -> None:
    """Names of the groups with their marks and numbers of examples, under the axes."""
    if not groups:
        return
    counts = frame.groupby("group")[f"{metric}_n"].max()
    handles = [
        Line2D([], [], **_mark(place, FAINT), label=f"{name} (n = {int(counts[name])})")
        for place, name in enumerate(groups)
    ]
    longest = max(len(str(handle.get_label())) for handle in handles)
    across = max(1, 88 // (longest + 5))  # as many as fit side by side
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(axes.get_position().x0, 0.0),
        ncols=across,
        frameon=False,
        fontsize=9,
        handletextpad=0.3,
        borderaxespad=0.4,
    )
    lines = -(-len(groups) // across)
    free = figure.subplotpars.bottom + (LEGEND + ENTRY * lines) / figure.get_figheight()
    figure.subplots_adjust(bottom=min(free, figure.subplotpars.top - 0.1))


def _words(frame: pd.DataFrame, metric: str) -> str:
    """The alternative text."""
    said = []
    for _, row in frame.iterrows():
        score = STATUS.get(row["status"], "no score") if pd.isna(row[metric]) else f"{100 * row[metric]:.1f} %"
        said.append(f"{row['method']}, {row['group']}: {score}")
    return f"{SCORES[metric][0]} by group of examples. {'; '.join(said) or 'There is nothing to show'}."

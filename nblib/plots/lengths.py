"""How long texts are. Counts no tokens."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nblib.plots.style import FAINT, INK, empty, finish, joined, style

BARS, LIMIT = "#6F8FAF", "#B3261E"
COUNT = 40  # bars on the axis, about


def length_histogram(
    lengths: Mapping[str, Sequence[int]],
    *,
    limits: Mapping[str, int] | None = None,
    unit: str = "tokens",
    title: str | None = None,
) -> Figure:
    """How long the texts of each column are (`{"intent": […], "code": […]}`), a panel each on one axis.

    A limit is a line that says how many texts are longer. The axis ends where nearly all texts do; how many lie beyond
    is said. Raises ValueError for a column without texts.
    """
    for name, each in lengths.items():
        if not len(each):
            raise ValueError(f"every column needs one text or more; {name} has none")
    if not lengths:
        raise ValueError("lengths must name one column or more; got none")
    limits = {name: limit for name, limit in (limits or {}).items() if name in lengths}
    edges = _edges(lengths, limits)
    with style():
        figure, panels = empty(1.35 + 1.3 * len(lengths), rows=len(lengths))
        for axes, (name, each) in zip(panels, lengths.items(), strict=True):
            _panel(axes, name, np.asarray(each), edges, limits.get(name))
        panels[-1].set_xlabel(f"length ({unit})")
        panels[-1].set_xlim(edges[0], edges[-1])
        figure.align_ylabels(panels)
        subtitle = " · ".join(_summary(name, np.asarray(each), unit) for name, each in lengths.items())
        finish(figure, title or f"Length of {joined(list(lengths))}", subtitle)
        figure.set_label(_words(lengths, limits, unit))
    return figure


def _edges(lengths: Mapping[str, Sequence[int]], limits: Mapping[str, int]) -> np.ndarray:
    """Whole numbers lie in the middle of a bar; the axis shows the limits and 99.5 % of each column."""
    ends = [float(np.quantile(each, 0.995)) for each in lengths.values()] + [1.15 * each for each in limits.values()]
    step = max(1, round(max(ends) / COUNT))
    return np.arange(0, max(*ends, 5.0) + 2 * step, step) - 0.5


def _panel(axes: Axes, name: str, lengths: np.ndarray, edges: np.ndarray, limit: int | None) -> None:
    axes.hist(lengths[lengths <= edges[-1]], bins=list(edges), color=BARS, edgecolor="white", linewidth=0.6)
    axes.set_ylabel(f"{name}\n(texts)")
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.grid(axis="y")
    beyond = int((lengths > edges[-1]).sum())
    if beyond:
        axes.text(1, 0.94, f"{beyond:,} beyond →", transform=axes.transAxes, ha="right", va="top", size=9, color=FAINT)
    if limit is not None:
        axes.axvline(limit + 0.5, color=LIMIT, linewidth=1.4, linestyle=(0, (4, 2)))
        longer = int((lengths > limit).sum())
        side = "right" if limit > 0.6 * edges[-1] else "left"
        axes.annotate(
            f"limit {limit:,}: {longer:,} longer",
            (limit + 0.5, 0.94),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-5 if side == "right" else 5, 0),
            textcoords="offset points",
            ha=side,
            va="top",
            size=9,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
        )


def _summary(name: str, lengths: np.ndarray, unit: str) -> str:
    return f"{name}: {len(lengths):,} texts, median {np.median(lengths):,.0f}, longest {lengths.max():,} {unit}"


def _words(lengths: Mapping[str, Sequence[int]], limits: Mapping[str, int], unit: str) -> str:
    """The alternative text."""
    said = []
    for name, each in lengths.items():
        limit = limits.get(name)
        longer = "" if limit is None else f", {int((np.asarray(each) > limit).sum()):,} above the limit of {limit:,}"
        said.append(_summary(name, np.asarray(each), unit) + longer)
    return f"Histograms of lengths. {'; '.join(said)}."

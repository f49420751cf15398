"""How near the nearest example was, and whether the answer was right. Retrieves nothing."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nblib.plots.style import INK, empty, finish, style

ANSWERS = {"right": ("#00695C", "white"), "wrong": ("#E0A96D", "black"), "not scored": ("#C9C9C9", "black")}
BARS = 12  # about
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # widths of a bar


def similarities(frame: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Queries by the similarity of their nearest example, right and wrong answers stacked; above each bar the share
    that is right.

    `frame` is what tables.nearest returns.
    """
    with style():
        figure, (axes,) = empty(3.8)
        edges = _edges(frame["similarity"].to_numpy(dtype=float))
        counts = _counts(frame, edges)
        _bars(axes, edges, counts)
        axes.set(xlabel="similarity of the nearest example to the query", ylabel="queries")
        axes.set_xlim(edges[0], edges[-1])
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        finish(figure, title or "Does a nearer example help?", _basis(frame))
        figure.set_label(_words(edges, counts))
    return figure


def _edges(values: np.ndarray) -> np.ndarray:
    """Of bars of a round width, about a dozen over all values."""
    if not values.size:
        return np.linspace(0, 1, 11)
    low, high = float(values.min()), float(values.max())
    width = next((step for step in STEPS if (high - low) / step <= BARS), max(1.0, (high - low) / BARS))
    first = np.floor(low / width + 1e-9)
    last = max(np.floor(high / width + 1e-9) + 1, first + 1)
    return np.arange(first, last + 0.5) * width


def _counts(frame: pd.DataFrame, edges: np.ndarray) -> dict[str, np.ndarray]:
    """Queries a bar, by how they were answered."""
    score = frame["score"].to_numpy(dtype=float)
    near = frame["similarity"].to_numpy(dtype=float)
    chosen = {"right": score == 1, "wrong": score < 1, "not scored": np.isnan(score)}
    return {name: np.histogram(near[each] + 1e-12, bins=edges)[0] for name, each in chosen.items()}


def _bars(axes: Axes, edges: np.ndarray, counts: dict[str, np.ndarray]) -> None:
    middle, bottom = (edges[:-1] + edges[1:]) / 2, np.zeros(len(edges) - 1)
    for name, each in counts.items():
        if each.any():
            shade, _ = ANSWERS[name]
            axes.bar(middle, each, np.diff(edges), bottom, color=shade, edgecolor="white", label=name)
            bottom = bottom + each
    scored = counts["right"] + counts["wrong"]
    for x, top, right, of in zip(middle, bottom, counts["right"], scored, strict=True):
        if of:
            spot: dict[str, Any] = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "va": "bottom"}
            axes.annotate(f"{100 * right / of:.0f} %", (x, top), size=9, color=INK, **spot)
    axes.set_ylim(0, 1.45 * max(float(bottom.max()), 1.0))
    if bottom.any():
        said = "answers; above a bar: share right"
        axes.legend(
            loc="upper left", ncols=3, frameon=False, fontsize=9, title=said, title_fontsize=9, alignment="left"
        )


def _basis(frame: pd.DataFrame) -> str:
    """`rag-1, conala-mini with tiny · 200 queries, one seed`"""
    if frame.empty:
        return "no run says how near its examples were"
    first, lost = frame.iloc[0], int(frame["unknown"].iloc[0])
    queries = "1 query" if len(frame) == 1 else f"{len(frame):,} queries"
    unknown = f", {lost:,} more without a similarity" if lost else ""
    return f"{first['method']}, {first['task']} with {first['model']} · {queries} of one seed{unknown}"


def _words(edges: np.ndarray, counts: dict[str, np.ndarray]) -> str:
    """The alternative text."""
    scored = counts["right"] + counts["wrong"]
    said = [
        f"{low:.2f} to {high:.2f}, {right} of {of} right"
        for low, high, right, of in zip(edges[:-1], edges[1:], counts["right"], scored, strict=True)
        if of
    ]
    return f"Answers by the similarity of the nearest example: {'; '.join(said) or 'there are none'}."

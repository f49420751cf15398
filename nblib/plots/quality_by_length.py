"""A score against the length of the prompts, a line for each way of choosing examples. Computes no statistics."""

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from nblib.plots.cost_quality import _apart, _name, _point
from nblib.plots.style import SCORES, basis, check, colour, empty, finish, joined, style, top_of

LINES = {"ICL": ("ICL", "s", (0, (5, 2))), "RAG": ("RAG", "o", "-")}  # its name, its points, its dashes
NAMED = 7  # as many single points have their names; of more, those that the question is about
LINE = 15  # pixels between names at the right


def quality_by_length(frame: pd.DataFrame, metric: str = "em@1", *, title: str | None = None) -> Figure:
    """A score against prompt tokens a query: ICL and RAG as lines over their numbers of examples, which stand at the
    points; zero-shot and trained methods as points, and the best PEFT method also as a level across.

    `frame` is what tables.comparison returns.
    """
    check(frame, metric, SCORES)
    points = frame[frame[metric].notna() & frame["prompt_tokens"].notna()].copy()
    points["cost"] = points["prompt_tokens"].astype(float)
    series, single = _series(points), points[~points["family"].isin(list(LINES))]
    best = _best_peft(points, metric)
    named = _named(single.drop(index=best), metric)
    with style():
        figure, (axes,) = empty(4.8)
        _axes(axes, points, metric)
        ends = [_level(axes, label, points.loc[label], metric) for label in best]
        for name, members in series.items():
            ends.append(_line(axes, name, members, metric))
        for _, row in single.iterrows():
            _point(axes, row, metric)
        finish(
            figure,
            title or f"{SCORES[metric][0]} against prompt length",
            _subtitle(frame, points, [*best, *named.index], metric),
        )
        _spread(axes, ends)
        _numbers(axes, series, metric)
        _name(axes, named, metric)
        figure.set_label(_words(points, metric))
    return figure


def _series(points: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Points by line, from short to long prompts: `ICL`, `RAG`, or `RAG retriever=tfidf` where there are several."""
    series: dict[str, list] = {}
    for family, (name, _, _) in LINES.items():
        for label in points.index[points["family"] == family]:
            series.setdefault(name + re.sub(r"^\D*\d+", "", str(label)), []).append(label)
    return {name: points.loc[labels].sort_values("cost", kind="stable") for name, labels in series.items()}


def _named(single: pd.DataFrame, metric: str) -> pd.DataFrame:
    """All points, or of many zero-shot, full fine-tuning and the best three others."""
    if len(single) <= NAMED:
        return single
    kept = single["family"].isin(("zero-shot", "full fine-tuning"))
    return single[kept | single.index.isin(single[~kept].nlargest(3, metric).index)]


def _subtitle(frame: pd.DataFrame, points: pd.DataFrame, named: list, metric: str) -> str:
    single = points[~points["family"].isin(list(LINES))]
    nameless = [str(label) for label in single.index if label not in named]
    lost = [str(label) for label in frame.index if label not in points.index]
    said = [basis(frame, metric).replace("bars: 95 % intervals over examples and seeds", "shaded: 95 % intervals")]
    said[0] += " · dotted: best PEFT" if (points["family"] == "PEFT").any() else ""
    said += [f"points without a name: {joined(nameless)}"] if nameless else []
    return "\n".join(said + ([f"without a point: {joined(lost)}"] if lost else []))


def _axes(axes: Axes, points: pd.DataFrame, metric: str) -> None:
    """Logarithmic, with room for names left of the shortest prompts."""
    low, high = (float(points["cost"].min()), float(points["cost"].max())) if len(points) else (1.0, 10.0)
    span = max(np.log10(high / low), 0.5)
    axes.set_xscale("log")
    axes.set_xlim(low / 10 ** (0.24 * span), high * 10 ** (0.06 * span))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(ylim=(0, max(5.0, min(103.0, 1.08 * top_of(points, metric)))), ylabel=f"{SCORES[metric][0]} (%)")
    axes.set_xlabel("prompt tokens a query, with examples and learned tokens (logarithmic)")
    axes.grid(axis="y")


def _best_peft(points: pd.DataFrame, metric: str) -> list[str]:
    """Its label; none where there is no PEFT method."""
    peft = points[points["family"] == "PEFT"]
    return [] if peft.empty else [str(peft[metric].astype(float).idxmax())]


def _level(axes: Axes, label: str, row: pd.Series, metric: str) -> Annotation:
    """A score across all lengths, from its point to its name at the right, which the point then needs no more."""
    score, shade = 100 * row[metric], colour(row["kind"])
    axes.plot([row["cost"], axes.get_xlim()[1]], [score, score], color=shade, linewidth=1.3, linestyle=(0, (1, 2)))
    return _end(axes, f"{label} {score:.1f} %", None, score, shade)


def _line(axes: Axes, name: str, members: pd.DataFrame, metric: str) -> Annotation:
    """Line, points and band of one way of choosing examples; its name at the end."""
    _, marker, dashes = LINES[members["family"].iloc[0]]
    shade = colour(members["kind"].iloc[0])
    x, y = members["cost"].to_numpy(), 100 * members[metric].to_numpy(dtype=float)
    low, high = (100 * members[f"{metric}_{end}"].to_numpy(dtype=float) for end in ("low", "high"))
    axes.fill_between(x, low, high, color=shade, alpha=0.15, linewidth=0, zorder=1)
    if len(members) == 1:  # a band of one point has no width
        axes.plot([x[0]] * 2, [low[0], high[0]], color=shade, linewidth=3, alpha=0.35, solid_capstyle="round")
    axes.plot(x, y, marker=marker, linestyle=dashes, color=shade, markersize=8, markeredgecolor="white", zorder=3)
    return _end(axes, name, x[-1], y[-1], shade)


def _end(axes: Axes, text: str, x: float | None, y: float, shade: str) -> Annotation:
    """A name right of a line's last point, or of the axes."""
    across = axes.get_yaxis_transform() if x is None else axes.transData
    return axes.annotate(
        text,
        (1.0 if x is None else x, y),
        xycoords=across,
        xytext=(9, 0),
        textcoords="offset points",
        va="center_baseline",
        color=shade,
        weight="bold",
        size=9.5,
    )


def _spread(axes: Axes, ends: list[Annotation]) -> None:
    """Moves names at the right up and down until none covers another."""
    ends = sorted(ends, key=lambda end: (float(end.xy[1]), end.get_text()))
    heights = np.array([float(axes.transData.transform((1.0, end.xy[1]))[1]) for end in ends])
    inside = axes.get_window_extent()
    moved = _apart(heights, LINE, inside.y0, inside.y1) if ends else heights
    for end, old, new in zip(ends, heights, moved, strict=True):
        end.xyann = (9, (new - old) * 72 / axes.figure.dpi)


def _numbers(axes: Axes, series: dict[str, pd.DataFrame], metric: str) -> None:
    """How many examples a prompt has, at each point of a line: above the upper line, below the lower ones."""
    for name, members in series.items():
        others = {other: each for other, each in series.items() if other != name}
        for label, row in members.iterrows():
            below = [(_height(each, row["cost"], metric), other) for other, each in others.items()]
            up = all(each < (row[metric], name) for each in below)  # of equal lines, the last by name
            axes.annotate(
                re.findall(r"\d+", str(label))[0],
                (row["cost"], 100 * row[metric]),
                xytext=(0, 6 if up else -6),
                textcoords="offset points",
                ha="center",
                va="bottom" if up else "top",
                size=9,
                weight="bold",
                color=colour(row["kind"]),
            )


def _height(members: pd.DataFrame, cost: float, metric: str) -> float:
    """Of a line at a length; beyond its ends that of the end."""
    return float(np.interp(np.log(cost), np.log(members["cost"]), members[metric].astype(float)))


def _words(points: pd.DataFrame, metric: str) -> str:
    """The alternative text."""
    said = [f"{label} {100 * row[metric]:.1f} % at {row['cost']:,.0f} tokens" for label, row in points.iterrows()]
    short = SCORES[metric][0]
    return f"{short} against prompt length: {joined(said)}." if said else f"No method has {short} and a prompt length."

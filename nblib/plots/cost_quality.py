"""A score against what it costs. Computes no statistics."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from nblib.plots.style import FAINT, SCORES, basis, check, colour, empty, finish, joined, style, top_of

COSTS = {  # a short name, what the axis says, and what one of it is in the frame
    "train_seconds": ("training time", "training time (seconds a seed)", 1),
    "generate_seconds": ("generation time", "generation time (seconds a seed)", 1),
    "prompt_tokens": ("prompt length", "prompt length (tokens a query)", 1),
    "trainable_parameters": ("trained parameters", "trained parameters", 1),
    "peak_bytes": ("peak memory", "peak memory (GiB)", 2**30),
}
NOTHING_FOR_PROMPTS = ("train_seconds", "trainable_parameters")  # a method that only prompts has none of it
FAR = 50  # a cost whose largest value is so many times the smallest gets a logarithmic axis
STEPS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]  # where a name may stand, best first


def cost_quality(
    frame: pd.DataFrame, cost: str = "train_seconds", metric: str = "em@1", *, title: str | None = None
) -> Figure:
    """A score against a cost: a point a method with its interval, and its name beside it.

    A cost that spans far gets a logarithmic axis, with zero as a place of its own at the left.
    """
    check(frame, metric, SCORES)
    check(frame, cost, COSTS)
    short, axis, _ = COSTS[cost]
    points = _points(frame, cost, metric)
    lost = [str(label) for label in frame.index if label not in points.index]
    missing = f"\nwithout a point: {', '.join(lost)}" if lost else ""
    with style():
        figure, (axes,) = empty(4.6)
        _cost_axis(axes, points["cost"].to_numpy(dtype=float))
        for _, row in points.iterrows():
            _point(axes, row, metric)
        axes.set(ylim=(0, max(5.0, min(103.0, 1.08 * top_of(points, metric)))), xlabel=axis)
        axes.set_ylabel(f"{SCORES[metric][0]} (%)")
        axes.grid(axis="y")
        finish(figure, title or f"{SCORES[metric][0]} against {short}", basis(frame, metric) + missing)
        _name(axes, points, metric)
        figure.set_label(_words(points, cost, metric))
    return figure


def _points(frame: pd.DataFrame, cost: str, metric: str) -> pd.DataFrame:
    """The methods that have both; `cost` in the units of the axis."""
    points = frame[frame[metric].notna()].copy()
    points["cost"] = points[cost].astype(float) / COSTS[cost][2]
    if cost in NOTHING_FOR_PROMPTS:
        points.loc[points["cost"].isna() & points["family"].isin(("zero-shot", "ICL", "RAG")), "cost"] = 0.0
    return points[points["cost"].notna()]


def _cost_axis(axes: Axes, costs: np.ndarray) -> None:
    """Linear from zero; or logarithmic, linear only between zero and the smallest cost."""
    positive = costs[costs > 0]
    if not positive.size or positive.max() < FAR * positive.min():
        axes.set_xlim(*_room(0.0, float(costs.max(initial=1.0))))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}" if value >= 0 else ""))
        return
    first = 10.0 ** np.floor(np.log10(positive.min()))
    last = 10.0 ** np.ceil(np.log10(positive.max()))
    axes.set_xscale("symlog", linthresh=first, linscale=0.6)
    zero = bool((costs <= 0).any())
    axes.set_xlim(-0.35 * first if zero else first * 0.8, last * 1.3)
    powers = 10.0 ** np.arange(np.log10(first), np.log10(last) + 0.5)
    axes.set_xticks([*([0.0] if zero else []), *powers])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _room(low: float, high: float) -> tuple[float, float]:
    return low - 0.04 * (high - low), high + 0.12 * (high - low)


def _point(axes: Axes, row: pd.Series, metric: str) -> None:
    shade = colour(row["kind"])
    low, high = 100 * row[f"{metric}_low"], 100 * row[f"{metric}_high"]
    if not pd.isna(low):
        axes.plot([row["cost"]] * 2, [low, high], color=shade, linewidth=3, alpha=0.35, solid_capstyle="round")
    axes.plot(row["cost"], 100 * row[metric], "o", color=shade, markersize=9, markeredgecolor="white", zorder=3)


def _name(axes: Axes, points: pd.DataFrame, metric: str) -> None:
    """Names beside their points, each at the first place where it covers nothing, with a line to it if it is far."""
    renderer = axes.figure.canvas.get_renderer()
    spots = axes.transData.transform(np.column_stack([points["cost"], 100 * points[metric]]).reshape(-1, 2))
    taken = [Bbox.from_bounds(x - 7, y - 7, 14, 14) for x, y in spots] + _bars(axes, points, metric)
    for (label, row), spot in zip(points.iterrows(), spots, strict=True):
        text = axes.text(0, 0, str(label), size=9, color=FAINT, transform=None, zorder=4)
        size = text.get_window_extent(renderer)
        corner, near = _place(spot, (size.width, size.height), taken, axes.get_window_extent(renderer))
        taken.append(Bbox.from_bounds(*corner, size.width, size.height))
        text.remove()
        middle = (*np.array(corner), size.width / 2, size.height / 2)
        _write(axes, str(label), spot, middle, colour(row["kind"]), near)


def _bars(axes: Axes, points: pd.DataFrame, metric: str) -> list[Bbox]:
    """Where the intervals are, in pixels."""
    drawn = points[points[f"{metric}_low"].notna()]
    ends = [
        axes.transData.transform(np.column_stack([drawn["cost"], 100 * drawn[f"{metric}_{end}"]]).reshape(-1, 2))
        for end in ("low", "high")
    ]
    return [Bbox([[low[0] - 2, low[1]], [high[0] + 2, high[1]]]) for low, high in zip(*ends, strict=True)]


def _place(spot, size: tuple[float, float], taken: list[Bbox], inside: Bbox) -> tuple[tuple[float, float], bool]:
    """Lower left corner of the name in pixels, and whether it stands close to its point."""
    width, height = size
    corners = []
    for distance in (11, 24, 38, 54, 72, 92):
        for right, up in STEPS:
            x = spot[0] + right * (distance + width / 2) - width / 2
            y = spot[1] + up * (distance + height / 2) - height / 2
            box = Bbox.from_bounds(x, y, width, height)
            if inside.x0 <= x and x + width <= inside.x1 and inside.y0 + 2 <= y and y + height <= inside.y1:
                corners.append(((x, y), distance == 11, sum(bool(box.padded(2).overlaps(each)) for each in taken)))
    if not corners:
        return (spot[0] + 11, spot[1] - height / 2), True
    corner, near, _ = min(corners, key=lambda each: each[2])  # the first of the freest
    return corner, near


def _write(axes: Axes, label: str, spot, middle, shade: str, near: bool) -> None:
    """As an offset in points from the data, so that the name stays in place at any resolution."""
    offset = (np.asarray(middle) - spot) * 72 / axes.figure.dpi
    axes.annotate(
        label,
        axes.transData.inverted().transform(spot),
        xytext=tuple(offset),
        textcoords="offset points",
        ha="center",
        va="center",
        size=9,
        zorder=4,
        arrowprops=None if near else {"arrowstyle": "-", "color": shade, "linewidth": 0.8, "shrinkB": 4},
    )


def _words(points: pd.DataFrame, cost: str, metric: str) -> str:
    """The alternative text."""
    short = COSTS[cost][0]
    unit = COSTS[cost][1].partition("(")[2].rstrip(")").split(" ")[0]
    said = [
        f"{label} {100 * row[metric]:.1f} % at {row['cost']:,.4g}{' ' * bool(unit)}{unit}"
        for label, row in points.iterrows()
    ]
    return f"{SCORES[metric][0]} against {short}: {joined(said)}." if said else f"No method has a score and {short}."

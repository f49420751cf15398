"""A score against what it costs. Computes no statistics."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from nblib.plots.style import SCORES, basis, check, colour, empty, finish, joined, style, top_of

COSTS = {  # a short name, what the axis says, and what one of it is in the frame
    "train_seconds": ("training time", "training time (seconds a seed)", 1),
    "generate_seconds": ("generation time", "generation time (seconds a seed)", 1),
    "prompt_tokens": ("prompt length", "prompt length (tokens a query)", 1),
    "trainable_parameters": ("trained parameters", "trained parameters", 1),
    "peak_bytes": ("peak memory", "peak memory (GiB)", 2**30),
}
NOTHING_FOR_PROMPTS = ("train_seconds", "trainable_parameters")  # a method that only prompts has none of it
FAR = 50  # a cost whose largest value is so many times the smallest gets a logarithmic axis
NAME = 9  # size of a name
CLOSE = 26  # pixels between points whose names would meet


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
    """Linear; or logarithmic, linear only between zero and the smallest cost."""
    positive = costs[costs > 0]
    if not positive.size or positive.max() < FAR * positive.min():
        axes.set_xlim(*_range(costs))
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


def _range(costs: np.ndarray) -> tuple[float, float]:
    """From zero, unless all costs lie close together; with room for names at the right."""
    low, high = (float(costs.min()), float(costs.max())) if costs.size else (0.0, 1.0)
    high = high or 1.0
    start = low if low > 0.6 * high else 0.0
    span = max(high - start, 0.1 * high)
    middle = (start + high) / 2
    return middle - 0.55 * span, middle + 0.64 * span


def _point(axes: Axes, row: pd.Series, metric: str) -> None:
    shade = colour(row["kind"])
    low, high = 100 * row[f"{metric}_low"], 100 * row[f"{metric}_high"]
    if not pd.isna(low):
        axes.plot([row["cost"]] * 2, [low, high], color=shade, linewidth=3, alpha=0.35, solid_capstyle="round")
    axes.plot(row["cost"], 100 * row[metric], "o", color=shade, markersize=9, markeredgecolor="white", zorder=3)


def _name(axes: Axes, points: pd.DataFrame, metric: str) -> None:
    """Names beside their points; points that stand close to one another get a column of names, in their order."""
    if points.empty:
        return
    spots = _pixels(axes, points["cost"], points[metric])
    sizes = [_size(axes, str(label)) for label in points.index]
    bars, inside = _bars(axes, points, metric), axes.get_window_extent()
    taken = [Bbox.from_bounds(x - 7, y - 7, 14, 14) for x, y in spots] + bars
    for cluster in sorted(_clusters(spots), key=len, reverse=True):  # a single point has more places to go to
        if len(cluster) == 1:
            column = [_alone(spots[cluster[0]], sizes[cluster[0]], bars[cluster[0]], taken, inside)]
        else:
            column = _column(spots[cluster], [sizes[each] for each in cluster], taken, inside)
        taken += column
        for each, box in zip(cluster, column, strict=True):
            _write(axes, str(points.index[each]), spots[each], box, colour(points["kind"].iloc[each]))


def _pixels(axes: Axes, costs: pd.Series, shares: pd.Series) -> np.ndarray:
    return axes.transData.transform(np.column_stack([costs.astype(float), 100 * shares.astype(float)]))


def _size(axes: Axes, label: str) -> tuple[float, float]:
    """Width and height of a name in pixels."""
    text = axes.text(0, 0, label, size=NAME)
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def _bars(axes: Axes, points: pd.DataFrame, metric: str) -> list[Bbox]:
    """Where the intervals are, in pixels; the point itself where there is none."""
    ends = [_pixels(axes, points["cost"], points[f"{metric}_{end}"].fillna(points[metric])) for end in ("low", "high")]
    return [Bbox([[low[0] - 2, low[1]], [high[0] + 2, high[1]]]) for low, high in zip(*ends, strict=True)]


def _alone(spot: np.ndarray, size: tuple[float, float], bar: Bbox, taken: list[Bbox], inside: Bbox) -> Bbox:
    """Where a name stands that has no close neighbour: right, left, or over or under the interval."""
    (x, y), (width, height) = spot, size
    corners = [(x + 12, y - height / 2), (x - 12 - width, y - height / 2)]
    for step in range(8):
        corners.append((x - width / 2, bar.y1 + 6 + step * (height + 2)))
        corners.append((x - width / 2, bar.y0 - 6 - height - step * (height + 2)))
    boxes = [Bbox.from_bounds(*corner, width, height) for corner in corners]
    fitting = [box for box in boxes if _holds(inside, box)] or boxes[:1]
    return min(fitting, key=lambda box: sum(box.overlaps(each) for each in taken))  # the first of the freest


def _holds(outer: Bbox, inner: Bbox) -> bool:
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


def _clusters(spots: np.ndarray) -> list[list[int]]:
    """Points whose names would meet, from left to right; inside of a cluster from low to high."""
    clusters: list[list[int]] = []
    for each in np.argsort(spots[:, 0], kind="stable"):
        close = clusters and spots[each, 0] - spots[clusters[-1][-1], 0] < CLOSE
        if close:
            clusters[-1].append(int(each))
        else:
            clusters.append([int(each)])
    return [sorted(cluster, key=lambda each: (spots[each, 1], each)) for cluster in clusters]


def _column(spots: np.ndarray, sizes: list[tuple[float, float]], taken: list[Bbox], inside: Bbox) -> list[Bbox]:
    """Where the names of a cluster stand, right or left of it: inside of the axes, and where they cover less."""
    line = max(height for _, height in sizes) + 2
    heights = _apart(spots[:, 1], line, inside.y0 + line / 2, inside.y1 - line / 2)
    gap = 12 if np.abs(heights - spots[:, 1]).max() < line / 2 else 30  # room for lines that fan out
    width = max(width for width, _ in sizes)
    sides: list[tuple[bool, int, int, list[Bbox]]] = []
    for x, fits in (
        (spots[:, 0].max() + gap, spots[:, 0].max() + gap + width <= inside.x1),
        (None, spots[:, 0].min() - gap - width >= inside.x0),
    ):
        boxes = [
            Bbox.from_bounds(spots[:, 0].min() - gap - wide if x is None else x, y - tall / 2, wide, tall)
            for y, (wide, tall) in zip(heights, sizes, strict=True)
        ]
        covered = sum(box.overlaps(each) for box in boxes for each in taken)
        sides.append((not fits, covered, len(sides), boxes))
    return min(sides, key=lambda side: side[:3])[3]


def _apart(heights: np.ndarray, line: float, low: float, high: float) -> np.ndarray:
    """Ascending heights moved as little as needed to stand a line apart, between low and high."""
    steps = line * np.arange(len(heights))
    wanted = list(heights - steps)  # to be made ascending: the mean of each stretch that is not (isotonic regression)
    blocks: list[list[float]] = []
    for each in wanted:
        blocks.append([each])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    level = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
    return np.clip(level, low, max(low, high - steps[-1])) + steps


def _write(axes: Axes, label: str, spot: np.ndarray, box: Bbox, shade: str) -> None:
    """Placed in points from the data, so that it stays in place at any resolution; with a line where it is apart."""
    over = box.x0 < spot[0] < box.x1
    edge = spot[0] if over else box.x0 if box.x0 > spot[0] else box.x1
    offset = np.array([edge - spot[0], (box.y0 + box.y1) / 2 - spot[1]]) * 72 / axes.figure.dpi
    apart = over or abs(offset[0]) > 12 or abs(offset[1]) > 6
    side = "center" if over else "left" if offset[0] > 0 else "right"
    start = {"center": (0.5, 0.0 if offset[1] > 0 else 1.0), "left": (0.0, 0.5), "right": (1.0, 0.5)}[side]
    line = {"arrowstyle": "-", "color": shade, "linewidth": 0.9, "relpos": start, "shrinkA": 1, "shrinkB": 4}
    axes.annotate(
        label,
        tuple(axes.transData.inverted().transform(spot)),
        xytext=tuple(offset),
        textcoords="offset points",
        ha=side,
        va="center_baseline",
        size=NAME,
        zorder=4,
        arrowprops=line if apart else None,
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

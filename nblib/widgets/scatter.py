"""Runs as points over two of their numbers, with the Pareto front. Computes no front."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from nblib.plots import COSTS, SCORES, colour, style
from nblib.plots.style import FAINT, INK, empty, finish, joined
from nblib.widgets.points import PREFIX

FAR = 50  # a cost whose largest value is so many times the smallest gets a logarithmic axis
NAME = 9  # size of a name
_STEPS = {True: "steps-post", False: "steps-pre"}  # by whether less of x is better
FEW = 15  # runs whose methods are all named, as far as there is room
SAID = 12  # runs of the front that the alternative text names


def scatter(frame: pd.DataFrame, x: str, y: str, front: Sequence[str], *, chosen: str = "") -> Figure:
    """A point a run; those of the front are joined and named, `chosen` is ringed and named as well."""
    shown = pd.DataFrame({"x": _values(frame, x), "y": _values(frame, y)}).dropna()
    best = [each for each in front if each in shown.index]
    with style():
        figure, (axes,) = empty(5.0)
        _scale(axes, "x", shown["x"], is_cost=x in COSTS)
        _scale(axes, "y", shown["y"], is_cost=y in COSTS)
        _front(axes, shown.loc[best], x)
        _points(axes, frame, shown, best, chosen)
        axes.set(xlabel=_axis(x), ylabel=_axis(y))
        axes.grid()
        finish(figure, f"{_short(y)} against {_short(x)}", _basis(frame, shown, best))
        named = [*([chosen] if chosen in shown.index else []), *reversed(best), *_best_of_each(frame, shown, y)]
        _names(axes, frame, shown, list(dict.fromkeys(named)))
        figure.set_label(_words(frame, shown, x, y, best))
    return figure


def _values(frame: pd.DataFrame, name: str) -> pd.Series:
    """In the units of the axis: percent, seconds, tokens, GiB."""
    values = frame[name].astype(float)
    return 100 * values if name in SCORES else values / COSTS[name][2]


def _axis(name: str) -> str:
    return SCORES[name][1] if name in SCORES else COSTS[name][1].replace(" a seed", "")  # here a point is a run


def _short(name: str) -> str:
    return SCORES[name][0] if name in SCORES else COSTS[name][0]


def _scale(axes: Axes, which: str, values: pd.Series, *, is_cost: bool) -> None:
    """From zero, with some room; a cost that spans far logarithmic, and linear only below its smallest value."""
    if values.empty:
        return
    positive, largest = values[values > 0], float(values.max())
    limits, axis = getattr(axes, f"set_{which}lim"), getattr(axes, f"{which}axis")
    if not is_cost or positive.empty or positive.max() < FAR * positive.min():
        low = 0.0 if not is_cost or values.min() < 0.6 * largest else float(values.min())
        span = (largest - low) or largest or 1.0
        limits(low - (0.3 if low else 0.02) * span, largest + 0.12 * span)
        return
    first, last = 10.0 ** np.floor(np.log10(positive.min())), 10.0 ** np.ceil(np.log10(positive.max()))
    getattr(axes, f"set_{which}scale")("symlog", linthresh=first, linscale=0.6)
    zero = bool((values <= 0).any())
    limits(-0.35 * first if zero else 0.8 * first, 1.3 * last)
    axis.set_ticks([*([0.0] if zero else []), *10.0 ** np.arange(np.log10(first), np.log10(last) + 0.5)])
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _front(axes: Axes, line: pd.DataFrame, x: str) -> None:
    """As stairs: what lies between two runs of the front has only been reached by the worse of them."""
    axes.plot(line["x"], line["y"], color=FAINT, linewidth=1.2, zorder=2, drawstyle=_STEPS[x in COSTS])


def _best_of_each(frame: pd.DataFrame, shown: pd.DataFrame, y: str) -> list[str]:
    """One run a kind of method, so that its colour has a name somewhere; of few runs one a method."""
    ordered = frame.loc[shown.sort_values("y", ascending=y in COSTS, kind="stable").index]
    return list(ordered.drop_duplicates("label" if len(shown) <= FEW else "kind").index)


def _points(axes: Axes, frame: pd.DataFrame, shown: pd.DataFrame, best: Sequence[str], chosen: str) -> None:
    for id, point in shown.iterrows():
        shade = colour(frame.loc[id, "kind"])
        full = id in best
        # Filled on the front, hollow elsewhere: also told apart without colour.
        axes.plot(
            point["x"],
            point["y"],
            "o",
            markersize=8 if full else 6,
            markerfacecolor=shade if full else "white",
            markeredgecolor=shade,
            zorder=4 if full else 3,
            gid=f"{PREFIX}{id}",
        )
    if chosen in shown.index:
        axes.plot(*shown.loc[chosen], "o", markersize=15, markerfacecolor="none", markeredgecolor=INK, zorder=5)


def _names(axes: Axes, frame: pd.DataFrame, shown: pd.DataFrame, ids: Sequence[str]) -> None:
    """Names beside their points, where they cover no other; one that finds no room is left to the table."""
    inside = axes.get_window_extent()
    spots = {id: axes.transData.transform((shown.loc[id, "x"], shown.loc[id, "y"])) for id in shown.index}
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in spots.values()]
    for id in ids:
        for offset, side, height in _places():
            text = axes.annotate(
                str(frame.loc[id, "label"]),
                tuple(shown.loc[id]),
                xytext=offset,
                textcoords="offset points",
                ha=side,
                va=height,
                size=NAME,
                color=colour(frame.loc[id, "kind"]),
                zorder=6,
            )
            box = text.get_window_extent()
            free = inside.x0 <= box.x0 and box.x1 <= inside.x1 + 40 and inside.y0 <= box.y0 and box.y1 <= inside.y1 + 10
            if free and not any(box.overlaps(each) for each in taken):
                taken.append(box)
                break
            text.remove()


def _places() -> list[tuple[tuple[float, float], str, str]]:
    """Offsets in points, the upper left first: on the good side of a front of scores over costs nothing stands."""
    near = [
        ((-6.0, 5.0), "right", "bottom"),
        ((6.0, 5.0), "left", "bottom"),
        ((9.0, 0.0), "left", "center"),
        ((-9.0, 0.0), "right", "center"),
        ((6.0, -5.0), "left", "top"),
        ((-6.0, -5.0), "right", "top"),
    ]
    return [*near, ((0.0, 14.0), "center", "center"), ((0.0, -14.0), "center", "center")]


def _basis(frame: pd.DataFrame, shown: pd.DataFrame, best: Sequence[str]) -> str:
    """What is shown: `66 runs · conala-mini with tiny · 5 on the front, which no other run beats`."""
    if shown.empty:
        return "no run has both numbers"
    of = frame.loc[shown.index]
    tasks, models = sorted(set(of["task"])), sorted(set(of["model"]))
    parts = [f"{len(shown)} run{'s' * (len(shown) != 1)}", f"{joined(tasks)} with {joined(models)}"]
    parts.append(
        f"filled: the {len(best)} that no other run beats"
        if best
        else "no front: scores of different tasks or limits do not compare"
    )
    if of["limit"].notna().any():
        parts.append("only the first examples: a partial result")
    return " · ".join(parts)


def _words(frame: pd.DataFrame, shown: pd.DataFrame, x: str, y: str, best: Sequence[str]) -> str:
    """The alternative text."""
    if shown.empty:
        return f"No run has {_short(y)} and {_short(x)}."
    start = f"{_short(y)} against {_short(x)} of {len(shown)} runs"
    if not best:
        return f"{start}, without a Pareto front."
    said = [f"{frame.loc[id, 'label']} {shown.loc[id, 'y']:,.4g} at {shown.loc[id, 'x']:,.4g}" for id in best[:SAID]]
    more = f", and {len(best) - SAID} more" if len(best) > SAID else ""
    return f"{start}; on the Pareto front: {joined(said) if not more else ', '.join(said)}{more}."

"""A score over learning rates. Computes no statistics."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from nblib.plots.panels import OTHERS, around, grid, head
from nblib.plots.style import INK, SCORES, check, colour, style, top_of


def sensitivity(
    frame: pd.DataFrame,
    metric: str = "em@1",
    *,
    chosen: Mapping[str, float] | None = None,
    title: str | None = None,
) -> Figure:
    """A panel a method, the best first, with the others in grey behind it; `frame` is what tables.sensitivity returns.

    The number in a panel is the distance from the best to the worst rate, in points. `chosen` are the rates that a
    comparison uses, by method: ringed. A rate at which a method has no score is a cross on the axis.
    """
    check(frame, metric, SCORES)
    order = _order(frame, metric)
    name_of_score = SCORES[metric][0]
    with style():
        figure, panels = grid(len(order))
        for axes, name in zip(panels, order, strict=False):
            _panel(axes, name, frame, metric, (chosen or {}).get(name))
        if order:
            _limits(panels[0], frame, metric)
        title, subtitle = title or f"{name_of_score} by learning rate", _basis(frame, metric, chosen)
        around(figure, panels, x="learning rate", y=f"{name_of_score} (%)", title=title, subtitle=subtitle)
        figure.set_label(_words(frame, order, metric, chosen or {}))
    return figure


def _order(frame: pd.DataFrame, metric: str) -> list[str]:
    """By the best score, the best first; methods without any score last."""
    best = {str(name): members[metric].max() for name, members in frame.groupby("method", sort=False)}
    return sorted(best, key=lambda name: (pd.isna(best[name]), -np.nan_to_num(best[name]), name))


def _panel(axes: Axes, name: str, frame: pd.DataFrame, metric: str, rate: float | None) -> None:
    for _, members in frame[frame["method"] != name].groupby("method", sort=False):
        axes.plot(members["learning_rate"], 100 * members[metric], color=OTHERS, linewidth=0.8, zorder=1)
    members = frame[frame["method"] == name]
    shade = colour(members["kind"].iloc[0])
    lost = members[members[metric].isna()]
    members = members[members[metric].notna()]
    rates, scores = members["learning_rate"], 100 * members[metric]
    axes.plot(rates, scores, "o-", color=shade, linewidth=2, markersize=4, zorder=3)
    axes.vlines(rates, 100 * members[f"{metric}_low"], 100 * members[f"{metric}_high"], color=shade, alpha=0.35, lw=2.5)
    if len(lost):  # an empty line that is not clipped would count as one at the page's corner
        axes.plot(lost["learning_rate"], np.zeros(len(lost)), "x", color=shade, markersize=6, clip_on=False, zorder=3)
    ring = members[np.isclose(rates, rate, rtol=1e-6, atol=0)] if rate else members.iloc[:0]
    axes.plot(ring["learning_rate"], 100 * ring[metric], "o", mfc="none", mec=INK, mew=1.4, markersize=11, zorder=4)
    spread = f"{scores.max() - scores.min():.1f}" if len(scores) > 1 else "–"
    head(axes, name, spread, shade)


def _limits(axes: Axes, frame: pd.DataFrame, metric: str) -> None:
    """The ranges of all panels."""
    rates = frame["learning_rate"].to_numpy(dtype=float)
    low, high = rates.min() / 1.6, rates.max() * 1.6
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.set_ylim(0, min(103.0, max(5.0, 1.05 * top_of(frame, metric))))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten, three at most; with 3 between them where there is one or none.

    None close to an end, where its label would meet that of the next panel.
    """
    edge = (high / low) ** 0.07
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    inside = {
        digit * 10.0**each: digit
        for each in range(first, last + 1)
        for digit in (1, 3)
        if low * edge <= digit * 10.0**each <= high / edge
    }
    powers = [each for each, digit in inside.items() if digit == 1]
    if len(powers) > 1:
        return powers[:: math.ceil(len(powers) / 3)]
    return list(inside) or [math.sqrt(low * high)]  # a single rate stands in the middle


def _short(rate: float) -> str:
    """`1e-3`, `1.5e-4`."""
    digits, power = f"{rate:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


def _basis(frame: pd.DataFrame, metric: str, chosen: Mapping[str, float] | None) -> str:
    well = frame[frame[metric].notna()]
    if not len(well):
        return "no run has this score"
    seeds = sorted({int(each) for each in well["seeds"]})
    many = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seed{'s' * (seeds[0] != 1)}"
    n = sorted({int(each) for each in well[f"{metric}_n"]})
    examples = f"n = {n[0]:,}" if len(n) == 1 else f"n = {n[0]:,} to {n[-1]:,}"
    parts = [f"{well['task'].iloc[0]} ({well['split'].iloc[0]}) with {well['model'].iloc[0]}", f"{examples}, {many}"]
    if well[f"{metric}_low"].notna().any():
        parts.append("bars: 95 % intervals")
    parts.append("number: best minus worst (points)")
    parts += ["ring: the chosen rate"] if chosen else []
    parts += ["cross: no score"] if frame[metric].isna().any() else []
    parts += ["only the first examples: a partial result"] if well["limit"].notna().any() else []
    parts += ["grey: the other methods"] if frame["method"].nunique() > 1 else []
    return " · ".join(parts)


def _words(frame: pd.DataFrame, order: list[str], metric: str, chosen: Mapping[str, float]) -> str:
    """The alternative text."""
    said = []
    for name in order:
        members = frame[frame["method"] == name]
        scores = [
            f"{row['learning_rate']:g} {'no score' if pd.isna(row[metric]) else f'{100 * row[metric]:.1f} %'}"
            for _, row in members.iterrows()
        ]
        mine = f" (chosen {chosen[name]:g})" if name in chosen else ""
        said.append(f"{name}{mine}: {', '.join(scores)}")
    if not said:
        return f"{SCORES[metric][0]} by learning rate: there are no methods to show."
    return f"{SCORES[metric][0]} by learning rate. {'; '.join(said)}."

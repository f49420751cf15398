"""Methods of several models, from the smallest model to the largest. Computes no statistics."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nblib.plots.dots import INTERVAL, dot, said
from nblib.plots.style import FAINT, INK, SCORES, check, empty, finish, style, top_of

LINE = 0.3  # inches that a method or the name of a model takes


def across_models(frame: pd.DataFrame, metric: str = "em@1", *, title: str | None = None) -> Figure:
    """Each mean with its 95 % interval, under its model; `frame` is what tables.across_models returns.

    A dashed line goes through all models at the score of the smallest one that was tuned in full.
    """
    check(frame, metric, SCORES)
    lines = _lines(frame)
    with style():
        figure, (axes,) = empty(1.6 + LINE * max(len(lines), 2))
        for place, line in enumerate(lines):
            _model(axes, place, line) if isinstance(line, str) else dot(axes, place, line, metric)
        axes.set(xlim=(0, min(100.0, max(5.0, 1.04 * top_of(frame, metric)))), ylim=(max(len(lines), 1) - 0.4, -0.6))
        _reference(axes, frame, metric)
        axes.set_yticks(range(len(lines)), ["" if isinstance(line, str) else line["method"] for line in lines])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.set_xlabel(SCORES[metric][1])
        finish(figure, title or f"{SCORES[metric][0]} by model and method", _basis(frame, metric), right=INTERVAL / 72)
        figure.set_label(_words(frame, metric))
    return figure


def _lines(frame: pd.DataFrame) -> list[str | pd.Series]:
    """The heading of each model, and below it its methods."""
    lines: list[str | pd.Series] = []
    for model in dict.fromkeys(frame["model"]):
        members = frame[frame["model"] == model]
        size = members["total_parameters"].iloc[0]
        lines.append(str(model) if pd.isna(size) else f"{model}, {_amount(size)} parameters")
        lines += [row for _, row in members.iterrows()]
    return lines


def _amount(count: float) -> str:
    for unit, name in ((1e9, "billion"), (1e6, "million")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:,.0f}"


def _model(axes: Axes, place: int, heading: str) -> None:
    across = axes.get_yaxis_transform()
    axes.text(0.0, place, f" {heading}", transform=across, weight="bold", va="center_baseline", color=INK)
    if place:
        axes.axhline(place - 0.5, color=FAINT, linewidth=0.6)


def _reference(axes: Axes, frame: pd.DataFrame, metric: str) -> None:
    for _, row in frame[frame["reference"].astype(bool)].iterrows():
        axes.axvline(100 * row[metric], color=FAINT, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)


def _basis(frame: pd.DataFrame, metric: str) -> str:
    well = frame[frame[metric].notna()]
    if not len(well):
        return "no run has this score"
    low, high = int(well[f"{metric}_n"].min()), int(well[f"{metric}_n"].max())
    seeds = sorted({int(each) for each in well["seeds"]})
    parts = [
        str(well["task"].iloc[0]),
        f"n = {low:,}" if low == high else f"n = {low:,} to {high:,}",
        f"{seeds[0]} seed{'s' * (seeds[0] != 1)}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds",
    ]
    if well[f"{metric}_low"].notna().any():
        parts.append("bars: 95 % intervals over examples and seeds")
    if well["limit"].notna().any():
        parts.append("only the first examples: a partial result")
    for _, row in well[well["reference"].astype(bool)].iterrows():
        parts.append(f"dashed: {row['model']}, fully tuned")
    return " · ".join(parts)


def _words(frame: pd.DataFrame, metric: str) -> str:
    """The alternative text."""
    parts = [f"{row['model']} {row['method']} {said(row, metric)}" for _, row in frame.iterrows()]
    if not parts:
        return f"{SCORES[metric][0]}: there are no models to show."
    return f"{SCORES[metric][0]} by model, smallest first, and method, with 95 % intervals: {'; '.join(parts)}."

"""Validation losses over epochs. Computes no statistics but means."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from nblib.plots.panels import OTHERS, around, grid, head
from nblib.plots.style import colour, joined, style

FAR = 4  # losses whose largest is so many times the smallest get a logarithmic axis


def learning_curves(frame: pd.DataFrame, *, title: str = "Validation loss by epoch") -> Figure:
    """A panel a method, the lowest loss first, with the others in grey behind it; `frame` is what
    tables.learning_curves returns.

    Lines are means over seeds; a dot is the checkpoint that a seed kept.
    """
    order = _order(frame)
    means = {name: _mean(frame[frame["method"] == name]) for name in order}
    with style():
        figure, panels = grid(len(order))
        for axes, name in zip(panels, order, strict=False):
            _panel(axes, name, frame[frame["method"] == name], means)
        if order:
            _limits(panels[0], frame)
        around(figure, panels, x="epoch", y="loss", title=title, subtitle=_basis(frame))
        figure.set_label(_words(frame, order))
    return figure


def _order(frame: pd.DataFrame) -> list[str]:
    """By the lowest mean loss, the lowest first."""
    lowest = {str(name): float(_mean(members).min()) for name, members in frame.groupby("method", sort=False)}
    return sorted(lowest, key=lambda name: (lowest[name], name))


def _mean(members: pd.DataFrame) -> pd.Series:
    """Epoch to mean loss, where every seed has one; where only some have, their mean would jump."""
    curves = members.pivot_table(index=members["epoch"].round(6), columns="seed", values="loss")
    whole = curves.dropna()
    return (whole if len(whole) else curves).mean(axis=1)


def _panel(axes: Axes, name: str, members: pd.DataFrame, means: dict[str, pd.Series]) -> None:
    for other, curve in means.items():
        if other != name:
            axes.plot(curve.index, curve, color=OTHERS, linewidth=0.8, zorder=1)
    shade, curve = colour(members["kind"].iloc[0]), means[name]
    alone = "o" if len(curve) == 1 else ""
    axes.plot(curve.index, curve, color=shade, linewidth=2, marker=alone, markersize=3, zorder=3)
    kept = members[members["kept"].astype(bool)]
    axes.plot(kept["epoch"], kept["loss"], "o", color=shade, markersize=5.5, markeredgecolor="white", zorder=4)
    head(axes, name, f"{curve.min():.3f}", shade)


def _limits(axes: Axes, frame: pd.DataFrame) -> None:
    """The ranges of all panels; a few losses far above the others may leave them."""
    losses = frame["loss"].to_numpy(dtype=float)
    low, high, usual = float(losses.min()), float(losses.max()), float(np.quantile(losses, 0.95))
    high = high if high < FAR * usual else usual
    if low > 0 and high > FAR * low:
        axes.set_yscale("log")
        low, high = low * 0.9, high * 1.15
        axes.yaxis.set_major_locator(FixedLocator(_round_numbers(low, high)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        low, high = low - 0.08 * (high - low or 1), high + 0.08 * (high - low or 1)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_ylim(low, high)
    axes.set_xlim(0, 1.04 * float(frame["epoch"].max()))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2, 5, 10… between them."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [digit * 10.0**power for power in powers for digit in (1, 2, 5) if low <= digit * 10.0**power <= high]


def _basis(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "no run has validation losses"
    seeds = frame.groupby("method")["seed"].nunique()
    usual = int(seeds.mode().max())
    others = ", ".join(f"{name} {count}" for name, count in seeds.items() if count != usual)
    means = f"means of {usual} seeds" if usual > 1 else "1 seed"
    return (
        f"{frame['task'].iloc[0]} with {frame['model'].iloc[0]} · {means}{f' ({others})' if others else ''} · "
        "dots: the checkpoints that were kept · number: the lowest mean loss"
        f"{' · grey: the other methods' * (len(seeds) > 1)}"
    )


def _words(frame: pd.DataFrame, order: list[str]) -> str:
    """The alternative text."""
    said = []
    for name in order:
        members = frame[frame["method"] == name]
        curve, kept = _mean(members), sorted(members.loc[members["kept"].astype(bool), "epoch"])
        at = f", kept at epoch {joined([f'{each:.2g}' for each in kept])}" if kept else ""
        said.append(f"{name} from {curve.iloc[0]:.3f} to {curve.iloc[-1]:.3f}, lowest {curve.min():.3f}{at}")
    if not said:
        return "Validation loss by epoch: there are no losses to show."
    return f"Validation loss by epoch, lowest first: {'; '.join(said)}."

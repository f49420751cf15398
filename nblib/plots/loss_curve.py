"""One training's loss while it runs, or when it has ended. Computes no statistics but a running mean."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nblib.plots.style import INK, colour, empty, finish, style

STEPS = 20  # of the running mean: single batches differ too much to be read
HEIGHT = 3.6  # inches


def loss_curve(frame: pd.DataFrame, *, epochs: float | None = None, title: str | None = None) -> Figure:
    """Training loss by epoch as a line, validation losses as dots, the kept checkpoint ringed.

    `frame` has a line a loss: `of` (training or validation), `epoch`, `loss`, `kept`, and `method`, `kind`, `model` and
    `task`, which are the same in all lines. `epochs` is where the axis ends: a running training grows towards it.
    """
    lines = {name: frame[frame["of"] == name] for name in ("training", "validation")}
    with style():
        figure, (axes,) = empty(HEIGHT)
        if len(frame):
            shade = colour(str(frame["kind"].iloc[0]))
            _training(axes, lines["training"], shade)
            _validation(axes, lines["validation"])
        axes.set_xlim(0, 1.02 * (epochs or max(frame["epoch"], default=1.0)))
        axes.set_ylim(0, 1.08 * _highest(lines["training"], lines["validation"]))
        axes.set(xlabel="epoch", ylabel="loss a token (nats)")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.grid(axis="y")
        finish(figure, title or _title(frame), _subtitle(frame, lines), right=1.3)
        figure.set_label(_words(frame, lines))
    return figure


def _training(axes: Axes, lines: pd.DataFrame, shade: str) -> None:
    if lines.empty:
        return
    smooth = _smooth(lines)
    axes.plot(lines["epoch"], lines["loss"], color=shade, linewidth=0.7, alpha=0.3, zorder=2)
    axes.plot(lines["epoch"], smooth, color=shade, linewidth=2, zorder=3)
    _beside(axes, float(lines["epoch"].iloc[-1]), float(smooth.iloc[-1]), f"training {smooth.iloc[-1]:.2f}", shade, -9)


def _validation(axes: Axes, lines: pd.DataFrame) -> None:
    if lines.empty:
        return
    axes.plot(lines["epoch"], lines["loss"], "-o", color=INK, linewidth=1, markersize=5, clip_on=False, zorder=4)
    kept = lines[lines["kept"].astype(bool)]
    ring: dict[str, Any] = {"markersize": 12, "markerfacecolor": "none", "markeredgecolor": INK, "clip_on": False}
    axes.plot(kept["epoch"], kept["loss"], "o", zorder=4, **ring)
    last = lines.iloc[-1]
    _beside(axes, float(last["epoch"]), float(last["loss"]), f"validation {last['loss']:.2f}", INK, 9)


def _beside(axes: Axes, x: float, y: float, text: str, shade: str, up: float) -> None:
    """A line's name at its end, with what it ends at."""
    looks: dict[str, Any] = {"color": shade, "va": "center", "size": 9.5, "weight": "bold", "annotation_clip": False}
    axes.annotate(text, (x, y), xytext=(10, up), textcoords="offset points", **looks)


def _smooth(lines: pd.DataFrame) -> pd.Series:
    return lines["loss"].rolling(STEPS, min_periods=1).mean()


def _highest(training: pd.DataFrame, validation: pd.DataFrame) -> float:
    """The top of the axis: the mean of the first steps, so that a single bad batch does not press the rest down."""
    tops = [float(_smooth(training).max())] if len(training) else []
    return max([*tops, *validation["loss"].astype(float)], default=1.0) or 1.0


def _title(frame: pd.DataFrame) -> str:
    return f"Loss of {frame['method'].iloc[0]} by epoch" if len(frame) else "Loss by epoch"


def _subtitle(frame: pd.DataFrame, lines: dict[str, pd.DataFrame]) -> str:
    if frame.empty:
        return "no step yet"
    told = [f"{frame['task'].iloc[0]} with {frame['model'].iloc[0]}"]
    if len(lines["training"]):
        told.append(f"bold: mean of {STEPS} steps")
    if lines["validation"]["kept"].astype(bool).any():
        told.append("ringed: the checkpoint that is kept")
    if lines["training"].empty:
        told.append("trained earlier: losses of single steps are gone")
    return " · ".join(told)


def _words(frame: pd.DataFrame, lines: dict[str, pd.DataFrame]) -> str:
    """The alternative text."""
    said = []
    for name, members in lines.items():
        if len(members):
            ends = _smooth(members) if name == "training" else members["loss"]
            said.append(f"{name} from {ends.iloc[0]:.2f} to {ends.iloc[-1]:.2f}")
    if not said:
        return "Loss by epoch: no step yet."
    kept = lines["validation"].loc[lines["validation"]["kept"].astype(bool), "epoch"]
    at = f"; the checkpoint of epoch {kept.iloc[0]:.2g} is kept" if len(kept) else ""
    return f"Loss of {frame['method'].iloc[0]} by epoch: {', '.join(said)}{at}."

"""Seconds a step by precision, predictions beside measurements, quality against memory. Computes no statistics."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nblib.plots.cost_quality import _name, _point, _range
from nblib.plots.dots import STATUS, beside
from nblib.plots.memory import MEASURES, unit
from nblib.plots.style import INK, SCORES, basis, check, colour, empty, finish, joined, style, top_of

LINE = 0.34  # inches that a line takes


def step_seconds(frame: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Seconds of a training step, a bar a model, method and precision; `frame` is what tables.memory makes."""
    known = frame[frame["step_seconds"].notna()].reset_index(drop=True)
    with style():
        figure, (axes,) = empty(1.6 + LINE * max(len(known), 2))
        for place, (_, row) in enumerate(known.iterrows()):
            axes.barh(place, row["step_seconds"], height=0.62, color=colour(row["kind"]))
            beside(axes, place, 62, f"{row['step_seconds']:.3g} s", weight="bold", size=9)
        _lines(axes, [f"{row['model']} {row['label']}" for _, row in known.iterrows()])
        axes.set_xlim(0, 1.03 * (float(known["step_seconds"].max()) if len(known) else 1.0))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.set_xlabel("seconds a training step, validation losses included")
        devices = joined(sorted(set(known["device"]))) if len(known) else "no device"
        finish(figure, title or "Time of a training step by precision", f"measured on {devices}", right=1.0)
        said = [f"{row['model']} {row['label']} {row['step_seconds']:.3g} s" for _, row in known.iterrows()]
        figure.set_label(f"Seconds a training step: {', '.join(said) or 'not measured'}.")
    return figure


def predicted_memory(frame: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Predicted bytes beside measured ones; `frame` is what tables.beside_predicted makes."""
    largest = float(frame[["memory_bytes", "predicted_bytes"]].to_numpy(dtype=float).max()) if len(frame) else 1.0
    one, name = unit(largest)
    with style():
        figure, (axes,) = empty(1.6 + LINE * max(len(frame), 2))
        for place, (_, row) in enumerate(frame.iterrows()):
            measured, predicted = row["memory_bytes"] / one, row["predicted_bytes"] / one
            shade = colour(row["kind"])
            axes.plot([measured, predicted], [place, place], color=shade, linewidth=3, alpha=0.35)
            axes.plot(measured, place, "o", color=shade, markersize=13, markeredgecolor="white", zorder=3)
            axes.plot(predicted, place, "D", markerfacecolor="white", markeredgecolor=INK, markersize=6, zorder=4)
            beside(axes, place, 62, f"{100 * row['error']:+.1f} %".replace("-", "−"), weight="bold", size=9)
        _lines(axes, [f"{row['model']} {row['label']}" for _, row in frame.iterrows()])
        axes.set_xlim(0, 1.06 * largest / one)
        measures = joined(sorted({MEASURES.get(each, each) for each in frame["measured"]})) if len(frame) else "memory"
        axes.set_xlabel(f"{measures} ({name})")
        said = "dot: measured · diamond: predicted · at the right: predicted minus measured, of measured"
        finish(figure, title or "Predicted memory beside measured", said, right=1.0)
        figure.set_label(_compared(frame, one, name))
    return figure


def quality_memory(frame: pd.DataFrame, metric: str = "em@1", *, title: str | None = None) -> Figure:
    """A score against memory, the Pareto front as a line; `frame` is what tables.quality_memory makes."""
    check(frame, metric, SCORES)
    points = frame[frame[metric].notna() & frame["memory_bytes"].notna()].copy()
    one, name = unit(float(points["memory_bytes"].max()) if len(points) else 1.0)
    points["cost"] = points["memory_bytes"] / one
    lost = [
        f"{label} ({STATUS.get(frame['status'][label], 'not measured')})"
        for label in frame.index
        if label not in points.index
    ]
    with style():
        figure, (axes,) = empty(4.6)
        axes.set_xlim(*_range(points["cost"].to_numpy(dtype=float)))
        front = points[points["pareto"]]
        axes.plot(front["cost"], 100 * front[metric], "o", markersize=15, markerfacecolor="none", markeredgecolor=INK)
        for _, row in points.iterrows():
            _point(axes, row, metric)
        axes.set(ylim=(0, max(5.0, min(103.0, 1.08 * top_of(points, metric)))), ylabel=f"{SCORES[metric][0]} (%)")
        measure = MEASURES.get(points["measured"].iloc[0], "memory") if len(points) else "memory"
        axes.set_xlabel(f"{measure} ({name})")
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.grid(axis="y")
        under = "\nringed: the Pareto front, which no run beats in both score and memory"
        under += f"\nwithout a point: {', '.join(lost)}" if lost else ""
        finish(figure, title or f"{SCORES[metric][0]} against memory", basis(frame, metric) + under)
        _name(axes, points, metric)
        figure.set_label(_front(points, metric, name))
    return figure


def _lines(axes: Axes, labels: list[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(max(len(labels), 1) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _compared(frame: pd.DataFrame, one: int, name: str) -> str:
    said = [
        f"{row['model']} {row['label']} measured {row['memory_bytes'] / one:,.2f}, predicted "
        f"{row['predicted_bytes'] / one:,.2f} {name} ({100 * row['error']:+.1f} %)"
        for _, row in frame.iterrows()
    ]
    return f"Memory: {'; '.join(said)}." if said else "Nothing was both measured and predicted."


def _front(points: pd.DataFrame, metric: str, name: str) -> str:
    said = [
        f"{label} {100 * row[metric]:.1f} % at {row['cost']:,.1f} {name}{' (Pareto front)' * bool(row['pareto'])}"
        for label, row in points.iterrows()
    ]
    return f"{SCORES[metric][0]} against memory: {'; '.join(said)}." if said else "No run has a score and memory."

"""Bytes of training by what they hold, one bar a method and precision. Computes no statistics."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from nblib.plots.dots import STATUS
from nblib.plots.style import FAINT, INK, empty, finish, joined, style

# Of what memory holds, in the order of the bars: Tol's muted scheme, which readers with colour blindness tell apart.
KINDS = {
    "weights": "#332288",
    "adapter": "#CC6677",
    "gradients": "#DDCC77",
    "optimizer": "#117733",
    "activations": "#88CCEE",
    "logits": "#AA4499",
    "other": "#BBBBBB",
}
GIB, MIB = 2**30, 2**20
BAR = 0.34  # inches that a bar takes
LEGEND = 0.62  # inches below the lowest axes, where the kinds are named
MEASURES = {
    "allocated peak": "peak of training, allocated on the GPU",
    "sum of tensors": "tensors of a training step",
    "tensors without logits": "tensors of a training step without logits",
    "predicted": "predicted tensors of a training step",
}


def memory_by_kind(
    frame: pd.DataFrame, *, cards: Mapping[str, float] | None = None, title: str | None = None
) -> Figure:
    """A bar a method and precision, stacked by kind, a panel a model; `frame` is what tables.memory or foreseen makes.

    `cards` are sizes in GiB by name: a dashed line for each that is near. A diamond is the predicted peak, which may be
    less than all kinds together.
    """
    models = list(dict.fromkeys(frame["model"]))
    counts = [int((frame["model"] == model).sum()) for model in models] or [1]
    with style():
        figure, panels = _panels(counts)
        drawn: dict[str, float] = {}
        for axes, model in zip(panels, models, strict=False):
            drawn |= _model(axes, frame[frame["model"] == model].reset_index(drop=True), cards or {}, model)
        _legend(panels[-1])
        finish(figure, title or "Memory of training by what it holds", _subtitle(frame, drawn), right=1.0)
        room = 0.42 if cards else 0.3  # inches for the models' names
        height, count = figure.get_figheight(), len(counts)
        figure.subplots_adjust(top=figure.subplotpars.top - room / height, hspace=1.0 / (sum(counts) / count * BAR))
        figure.set_label(_words(frame))
    return figure


def unit(largest: float) -> tuple[int, str]:
    """GiB, or MiB below one."""
    return (GIB, "GiB") if largest >= GIB else (MIB, "MiB")


def _panels(counts: list[int]) -> tuple[Figure, list[Axes]]:
    """One axes a model, as high as it has bars; each has a range of its own, as models differ in size."""
    figure, _ = empty(1.5 + LEGEND + sum(BAR * count + 0.85 for count in counts))
    figure.clear()
    heights = {"height_ratios": [count + 0.2 for count in counts]}
    return figure, list(figure.subplots(len(counts), 1, squeeze=False, gridspec_kw=heights).flat)


def _model(axes: Axes, members: pd.DataFrame, cards: Mapping[str, float], model: str) -> dict[str, float]:
    """The bars of one model; the cards whose lines are drawn."""
    wholes = [_whole(row) for _, row in members.iterrows()]
    largest = max([each for each in wholes if each], default=float(GIB))
    one, name = unit(largest)
    reach = min((gib * GIB for gib in cards.values() if largest <= gib * GIB <= 2 * largest), default=largest)
    for place, row in members.iterrows():
        _bar(axes, int(str(place)), row, one, name)
    axes.set(xlim=(0, 1.03 * reach / one), ylim=(len(members) - 0.45, -0.55))
    axes.set_yticks(range(len(members)), list(members["label"]))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(axis="x")
    random = ", random weights" if members["shape_only"].any() else ""
    axes.set_title(f"{model}{random}", loc="left", size=10, weight="bold", pad=16 if cards else 5)
    axes.set_xlabel(f"{MEASURES.get(members['measured'].iloc[0], 'memory')} ({name})")
    near = {card: gib for card, gib in cards.items() if 0.03 * reach <= gib * GIB <= reach}
    for gib in sorted(set(near.values())):
        axes.axvline(gib * GIB / one, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=4)
        axes.annotate(
            f"{gib:g}",
            (gib * GIB / one, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            size=8.5,
            color=FAINT,
        )
    return near


def _bar(axes: Axes, place: int, row: pd.Series, one: int, name: str) -> None:
    looks: dict[str, Any] = {"va": "center_baseline", "size": 9}
    if pd.isna(row["memory_bytes"]):
        text = STATUS.get(row["status"], "not measured")
        axes.annotate(text, (0, place), xytext=(6, 0), textcoords="offset points", style="italic", color=FAINT, **looks)
        return
    start = 0.0
    for kind, shade in KINDS.items():
        width = row[f"{kind}_bytes"]
        if not pd.isna(width) and width > 0:
            axes.barh(place, width / one, left=start, height=0.66, color=shade, edgecolor="white", linewidth=0.5)
            start += width / one
    if start == 0.0:  # only the whole is known
        axes.barh(place, row["memory_bytes"] / one, height=0.66, color=KINDS["other"])
    if row["measured"] == "predicted" and abs(row["memory_bytes"] / one - start) > 0.002 * start:
        axes.plot(row["memory_bytes"] / one, place, "D", color="white", markeredgecolor=INK, markersize=6, zorder=5)
    axes.annotate(
        f"{row['memory_bytes'] / one:,.1f} {name}",
        (1, place),
        xycoords=axes.get_yaxis_transform(),
        xytext=(8, 0),
        textcoords="offset points",
        weight="bold",
        **looks,
    )


def _legend(axes: Axes) -> None:
    """The kinds in the order of the bars, below the axis."""
    squares = [axes.barh(0, 0, color=shade, label=kind) for kind, shade in KINDS.items()]
    below = axes.transAxes + ScaledTranslation(0, -0.5, axes.figure.dpi_scale_trans)
    axes.legend(
        handles=squares,
        loc="upper left",
        ncol=len(KINDS),
        bbox_to_anchor=(-0.02, 0.0),
        bbox_transform=below,
        frameon=False,
        fontsize=9,
        handlelength=1.0,
        handletextpad=0.4,
        columnspacing=1.2,
        borderpad=0,
    )


def _columns() -> list[str]:
    return [f"{kind}_bytes" for kind in KINDS]


def _whole(row: pd.Series) -> float | None:
    """As far as a bar reaches; a peak may be less than its kinds together."""
    if pd.isna(row["memory_bytes"]):
        return None
    return max(float(row["memory_bytes"]), float(row[_columns()].astype(float).fillna(0).sum()))


def _subtitle(frame: pd.DataFrame, drawn: dict[str, float]) -> str:
    if frame.empty:
        return "no run trained anything"
    lines = ["At the right: " + joined([f"the {each}" for each in dict.fromkeys(frame["measured"])])]
    if (frame["measured"] == "predicted").any():
        lines[0] = "At the right and as a diamond: the predicted peak. Kinds need not be there at the same time."
    if drawn:
        sizes = sorted(set(drawn.values()))
        named = [f"{size:g} GiB ({', '.join(card for card, own in drawn.items() if own == size)})" for size in sizes]
        lines.append(f"Dashed, in GiB: cards of {joined(named)}")
    return "\n".join(lines)


def _words(frame: pd.DataFrame) -> str:
    """The alternative text."""
    if frame.empty:
        return "No run trained anything, so there is no memory to show."
    said = []
    for _, row in frame.iterrows():
        if pd.isna(row["memory_bytes"]):
            said.append(f"{row['model']} {row['label']}: {STATUS.get(row['status'], 'not measured')}")
            continue
        one, name = unit(row["memory_bytes"])
        parts = [f"{kind} {row[f'{kind}_bytes'] / one:,.2f}" for kind in KINDS if row[f"{kind}_bytes"] > 0]
        said.append(f"{row['model']} {row['label']}: {row['memory_bytes'] / one:,.2f} {name} ({', '.join(parts)})")
    return f"Memory of training by kind: {'; '.join(said)}."

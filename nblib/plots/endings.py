"""How executed answers ended, by difficulty and method. Computes no statistics."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nblib.plots.style import empty, finish, style

ENDINGS = {  # in the order of the bars: what it is called, its colour, that of its number
    "passed": ("passed all tests", "#00695C", "white"),
    "wrong": ("wrong output", "#C9C9C9", "black"),
    "runtime_error": ("run-time error", "#E69F00", "black"),
    "compile_error": ("compile error", "#B3261E", "white"),
    "time_out": ("time-out", "#5B4B8A", "white"),
    "out_of_memory": ("out of memory", "#222222", "white"),
}
BAR, GAP, LEGEND = 0.27, 0.36, 0.25  # inches that a bar takes, between panels, and under them
TOLD = 0.05  # shares from here on have their number in the bar


def endings(frame: pd.DataFrame, *, title: str = "How first answers ended", subtitle: str = "") -> Figure:
    """A stacked bar a method, in a panel a difficulty; `frame` is what tables.by_difficulty returns."""
    names = list(dict.fromkeys(frame["difficulty"]))
    methods = list(dict.fromkeys(frame["method"]))
    with style():
        bars = BAR * max(len(methods), 1)
        figure, panels = empty(1.75 + len(names) * (GAP + bars), rows=max(len(names), 1))
        for axes, name in zip(panels, names, strict=False):
            _panel(axes, name, frame[frame["difficulty"] == name].set_index("method"))
            axes.tick_params(axis="x", bottom=axes is panels[-1])
        panels[-1].set_xlabel("first answers (%)")
        panels[-1].set_xlim(0, 100)
        finish(figure, title, subtitle)
        figure.subplots_adjust(hspace=GAP / bars)
        _legend(figure, panels, frame)
        figure.set_label(_words(frame))
    return figure


def _panel(axes: Axes, name: str, members: pd.DataFrame) -> None:
    for place, (_, row) in enumerate(members.iterrows()):
        left = 0.0
        for kind, (_, shade, ink) in ENDINGS.items():
            share = row.get(f"ended {kind}")
            if share is None or pd.isna(share) or not share:
                continue
            axes.barh(place, 100 * share, left=left, color=shade, height=0.72, edgecolor="white", linewidth=0.6)
            if share >= TOLD:
                axes.text(left + 50 * share, place, f"{100 * share:.0f}", ha="center", va="center_baseline", color=ink)
            left += 100 * share
        if not left:
            axes.text(1, place, "no result", style="italic", va="center_baseline")
    axes.set_ylim(len(members) - 0.4, -0.6)
    axes.set_yticks(range(len(members)), [str(each) for each in members.index])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title(f"{name} (n = {int(members['n'].max())})", loc="left", size=10, pad=4)


def _legend(figure: Figure, panels: list[Axes], frame: pd.DataFrame) -> None:
    """Only what occurs, in one line under the panels."""
    there = [kind for kind in ENDINGS if f"ended {kind}" in frame and frame[f"ended {kind}"].fillna(0).sum() > 0]
    if not there:
        return
    figure.legend(
        handles=[Patch(color=ENDINGS[kind][1], label=ENDINGS[kind][0]) for kind in there],
        loc="lower left",
        bbox_to_anchor=(panels[0].get_position().x0, 0.0),
        ncols=len(there),
        frameon=False,
        fontsize=9,
        handlelength=1.0,
        columnspacing=1.2,
        borderaxespad=0.4,
    )
    figure.subplots_adjust(bottom=figure.subplotpars.bottom + LEGEND / figure.get_figheight())


def _words(frame: pd.DataFrame) -> str:
    """The alternative text."""
    said = []
    for _, row in frame.iterrows():
        parts = [
            f"{100 * row[f'ended {kind}']:.0f} % {name}"
            for kind, (name, _, _) in ENDINGS.items()
            if f"ended {kind}" in frame and row[f"ended {kind}"] > 0
        ]
        said.append(f"{row['difficulty']}, {row['method']}: {', '.join(parts) or 'no result'}")
    return f"How first answers ended. {'; '.join(said)}."

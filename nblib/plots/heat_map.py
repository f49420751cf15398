"""What was trained on against what is asked, as a matrix of scores. Computes no statistics."""

import textwrap
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nblib.plots.dots import STATUS, said
from nblib.plots.style import FAINT, INK, SCORES, check, empty, finish, style, top_of

CELL = 0.62  # inches that a row takes
SHADES = mpl.colors.LinearSegmentedColormap.from_list("shades", ["#F3F6FA", "#08467A"])  # of one hue, light to dark
WHITE_FROM = 0.55  # share of the scale from which white stands out better than ink


def heat_map(frame: pd.DataFrame, metric: str = "em@1", *, title: str | None = None) -> Figure:
    """Rows: what was trained on; columns: what is asked; `frame` is what tables.transfer returns.

    Each cell has its mean, and the 95 % interval in small print; those of a task's own adapter are outlined.
    """
    check(frame, metric, SCORES)
    trained, asked = _names(frame)
    top = max(5.0, top_of(frame, metric))
    with style():
        figure, (axes,) = empty(1.75 + CELL * max(len(trained), 1))
        axes.set(xlim=(-0.5, max(len(asked), 1) - 0.5), ylim=(max(len(trained), 1) - 0.5, -0.5))
        cells = {(row["trained_on"], row["task"]): row for _, row in frame.iterrows()}
        for down, name in enumerate(trained):
            for across, task in enumerate(asked):
                _cell(axes, across, down, cells.get((name, task)), metric, top)
        axes.set_yticks(range(len(trained)), ["\n".join(textwrap.wrap(_wide(each), 24)) for each in trained])
        axes.set_xticks(range(len(asked)), ["\n".join(textwrap.wrap(_wide(each), 24)) for each in asked])
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set(xlabel="asked", ylabel="trained on")
        finish(figure, title or f"{SCORES[metric][0]} by what was trained on and what is asked", _basis(frame, metric))
        figure.set_label(_words(frame, metric))
    return figure


def _names(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Nothing first, then single tasks in the order of the columns, then joint ones."""
    trained, asked = ([str(each) for each in dict.fromkeys(frame[name])] for name in ("trained_on", "task"))
    nothing = set(frame.loc[frame["label"] == "zero-shot", "trained_on"])
    order = {name: place for place, name in enumerate([*asked, *trained][::-1])}
    return sorted(trained, key=lambda name: (name not in nothing, name.count("+"), -order[name])), asked


def _wide(name: str) -> str:
    """A joint task may break after its sign."""
    return name.replace("+", " + ")


def _cell(axes: Axes, across: int, down: int, row: pd.Series | None, metric: str, top: float) -> None:
    known = row is not None and not pd.isna(row[metric])
    share = min(1.0, 100 * row[metric] / top) if row is not None and known else 0.0
    fill = SHADES(share) if known else "#FFFFFF"
    looks: dict[str, Any] = {"hatch": None if known else "////", "edgecolor": "white" if known else "#C9C9C9"}
    axes.add_patch(Rectangle((across - 0.5, down - 0.5), 1, 1, facecolor=fill, linewidth=2, **looks))
    if row is None:
        return
    ink = "white" if known and share > WHITE_FROM else INK
    if not known:
        text = STATUS.get(row["status"], "no score")
        box = {"facecolor": "white", "edgecolor": "none", "pad": 2}
        axes.text(across, down, text, ha="center", va="center_baseline", style="italic", color=FAINT, bbox=box)
        return
    has_interval = not pd.isna(row[f"{metric}_low"])
    number = (across, down - (0.11 if has_interval else 0))
    axes.text(*number, f"{100 * row[metric]:.1f} %", ha="center", va="center", size=12, weight="bold", color=ink)
    if has_interval:
        interval = f"{100 * row[f'{metric}_low']:.1f}–{100 * row[f'{metric}_high']:.1f}"
        axes.text(across, down + 0.25, interval, ha="center", va="center", size=8.5, color=ink)
    if row["own"]:
        outline: dict[str, Any] = {"fill": False, "edgecolor": "#D97B00", "linewidth": 2.6, "zorder": 4}
        axes.add_patch(Rectangle((across - 0.46, down - 0.44), 0.92, 0.88, **outline))


def _basis(frame: pd.DataFrame, metric: str) -> str:
    well = frame[frame[metric].notna()]
    if not len(well):
        return "no run has this score"
    seeds = sorted({int(each) for each in well["seeds"]})
    n = sorted({int(each) for each in well[f"{metric}_n"]})
    labels = [str(each) for each in dict.fromkeys(well["label"]) if each != "zero-shot"]
    parts = [
        *labels,
        f"n = {n[0]:,}" if len(n) == 1 else f"n = {n[0]:,} to {n[-1]:,} a task",
        f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seed{'s' * (seeds[0] != 1)}",
    ]
    parts += ["small: 95 % intervals"] if well[f"{metric}_low"].notna().any() else []
    parts += ["outlined: trained on the task that is asked"] if well["own"].astype(bool).any() else []
    parts += ["only the first examples: a partial result"] if well["limit"].notna().any() else []
    return " · ".join(parts)


def _words(frame: pd.DataFrame, metric: str) -> str:
    """The alternative text."""
    parts = [f"trained on {row['trained_on']}, asked {row['task']}: {said(row, metric)}" for _, row in frame.iterrows()]
    if not parts:
        return f"{SCORES[metric][0]} by what was trained on: there are no runs to show."
    return f"{SCORES[metric][0]} by what was trained on and what is asked, with 95 % intervals. {'; '.join(parts)}."

"""Data and answers in numbers: how long texts are, how near examples were, how executed answers ended."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nblib.plots import style
from nblib.plots.costs import handles, stack
from nblib.plots.style import describe, empty, fill, finish, numbers, page

BARS, LIMIT = "#6F8FAF", "#B3261E"
ANSWERS = {"right": "#00695C", "wrong": "#E0A96D", "not scored": "#C9C9C9"}
ENDINGS = {  # in the order of the bars: what it is called, and its colour
    "passed": ("passed all tests", "#00695C"),
    "wrong": ("wrong output", "#C9C9C9"),
    "runtime_error": ("run-time error", "#E69F00"),
    "compile_error": ("compile error", "#B3261E"),
    "time_out": ("time-out", "#5B4B8A"),
    "out_of_memory": ("out of memory", "#222222"),
}


def lengths(
    texts: Mapping[str, Sequence[int]],
    *,
    limits: Mapping[str, int] | None = None,
    unit: str = "tokens",
    title: str = "",
) -> Figure:
    """How long the texts of each column are (`{"intent": […], "code": […]}`), a panel each on one axis.

    A limit is a line, and it is said how many texts are longer. The axis ends where nearly all texts do.
    Raises ValueError for a column without texts.
    """
    if not texts or not all(len(each) for each in texts.values()):
        lacking = ", ".join(name for name, each in texts.items() if not len(each)) or "no column"
        raise ValueError(f"every column needs one text or more; got none for {lacking}")
    limits = {name: limit for name, limit in (limits or {}).items() if name in texts}
    end = max([5.0, *(np.quantile(each, 0.995) for each in texts.values()), *(1.15 * each for each in limits.values())])
    step = max(1, round(end / 40))
    said = []
    with style.context():
        figure, panels = empty(1.35 + 1.3 * len(texts), len(texts), sharex=True)
        for axes, (name, each) in zip(panels, texts.items(), strict=True):
            counts = np.asarray(each)
            about = f"{name}: {len(each):,} texts, median {np.median(counts):,.0f}, longest {counts.max():,} {unit}"
            sns.histplot(counts, binwidth=step, binrange=(-0.5, end + step), color=BARS, alpha=1, ax=axes)
            if name in limits:
                axes.axvline(limits[name] + 0.5, color=fill(LIMIT), lw=1.4, ls=(0, (4, 2)))
                about += f", {int((counts > limits[name]).sum()):,} above the limit of {limits[name]:,} (dashed)"
            beyond = int((counts > end + step).sum())
            said.append(about + (f", {beyond:,} beyond the axis" if beyond else ""))
            axes.set(xlim=(-0.5, end + step), ylabel=f"{name}\n(texts)", xlabel=f"length ({unit})")
            numbers(axes.yaxis, plain=3, integer=True)
            axes.grid(axis="y")
        title = title or f"Length of {style.joined(texts)}"
        figure.align_ylabels(panels)
        finish(figure, title, ("\n".join(said), f"{title}. {'; '.join(said)}."), gap=0.15)
    return figure


def similarities(frame: pd.DataFrame, *, title: str = "Does a nearer example help?") -> Figure:
    """Queries by the similarity of their nearest example, right and wrong answers stacked; above each bar the share
    that is right. `frame` has a line a query: its `similarity` and `score`."""
    near, score = (frame[each].to_numpy(dtype=float) for each in ("similarity", "score"))
    low, high = (near.min(), max(near.max(), near.min() + 0.05)) if near.size else (0.0, 1.0)
    edges = np.array(MaxNLocator(12, steps=[1, 2, 5, 10]).tick_values(low, high + 1e-9))  # round numbers
    answers = {"right": score == 1, "wrong": score < 1, "not scored": np.isnan(score)}
    counts = {name: np.histogram(near[each] + 1e-12, edges)[0] for name, each in answers.items()}
    scored, bottom, words = counts["right"] + counts["wrong"], np.zeros(len(edges) - 1), []
    with style.context():
        figure, (axes,) = empty(3.8)
        for name, heights in counts.items():
            looks: dict[str, Any] = {"color": fill(ANSWERS[name]), "edgecolor": page().ground}
            if heights.any():
                axes.bar(edges[:-1], heights, np.diff(edges), bottom, align="edge", label=name, **looks)
            bottom = bottom + heights
        for place in np.flatnonzero(scored):
            share = f"{100 * counts['right'][place] / scored[place]:.0f} %"
            middle = (edges[place] + edges[place + 1]) / 2
            axes.annotate(share, (middle, bottom[place]), (0, 3), textcoords="offset points", ha="center", size=9)
            words.append(f"{edges[place]:.2f} to {edges[place + 1]:.2f}: {share} of {scored[place]} right")
        if len(frame):
            axes.legend(loc="upper left", ncols=3, title="answers; above a bar: share right", alignment="left")
        axes.set(xlabel="similarity of the nearest example to the query", ylabel="queries")
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.45 * max(bottom.max(initial=0), 1.0)))
        numbers(axes.yaxis, plain=5, integer=True)
        where = describe(frame, "", title, by=[])[0]
        about = f"{where} · {len(frame):,} quer{'y' if len(frame) == 1 else 'ies'} of one seed" if len(frame) else where
        lost = int(frame["unknown"].iloc[0]) if "unknown" in frame and len(frame) else 0
        about += f", {lost:,} more without a similarity" if lost else ""
        finish(figure, title, (about, f"{title} {'; '.join(words) or 'There are no answers'}."))
    return figure


def endings(frame: pd.DataFrame, *, title: str = "How first answers ended", subtitle: str = "") -> Figure:
    """A stacked bar a method, in a panel a `difficulty`: shares `ended passed`, `ended wrong`… of the first answers."""
    there = {f"ended {each}": each for each in ENDINGS if f"ended {each}" in frame and frame[f"ended {each}"].sum() > 0}
    blocks = list(frame.groupby("difficulty", sort=False, observed=True)) or [("", frame)]
    parts = {column: ENDINGS[each][0] for column, each in there.items()}
    words = describe(frame, "", title, by=["difficulty", "method"], parts=parts)[1]
    with style.context():
        height = 1.75 + sum(0.36 + 0.27 * len(block) for _, block in blocks)
        figure, panels = empty(height, len(blocks), sharex=True)
        for axes, (difficulty, block) in zip(panels, blocks, strict=True):
            if not len(there):
                continue
            table = 100 * block[list(there)].astype(float).fillna(0.0)
            shades = [ENDINGS[each][1] for each in there.values()]
            stack(axes, table, shades, [str(each) for each in block["method"]])
            bars: Any
            for bars, shade in zip(axes.containers, shades, strict=True):
                said = [f"{value:.0f}" if value >= 5 else "" for value in bars.datavalues]
                axes.bar_label(bars, said, label_type="center", color=style.on(fill(shade)))
            for place in np.flatnonzero(table.sum(axis=1) == 0).tolist():
                axes.text(1, place, "no result", style="italic", va="center_baseline")
            axes.set_title(f"{difficulty} (n = {int(block['n'].max())})", loc="left", size=10, pad=4)
            axes.spines["left"].set_visible(False)
        panels[-1].set(xlabel="first answers (%)", xlim=(0, 100))
        named = handles({ENDINGS[each][0]: ENDINGS[each][1] for each in there.values()})
        legend = {"handles": named, "ncols": len(named), "handlelength": 1} if named else {}
        finish(figure, title, (subtitle, words), gap=0.36, **legend)
    return figure

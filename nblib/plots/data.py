"""Data and answers in numbers: how long texts are, how near examples were, how executed answers ended."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nblib.columns import listed
from nblib.plots import style
from nblib.plots.costs import stack
from nblib.plots.style import describe, fill, finish, numbers, page

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


def lengths(texts: Mapping[str, Sequence[int]], *, limits: Mapping[str, int] | None = None) -> Figure:
    """How many tokens the texts of each column have (`{"intent": […], "code": […]}`), one panel each on a common axis.

    Limits are lines, with the number of longer texts. The axis ends where nearly all texts do.
    Raises ValueError for a column without texts.
    """
    if not texts or not all(len(counts) for counts in texts.values()):
        lacking = ", ".join(name for name, counts in texts.items() if not len(counts)) or "no column"
        raise ValueError(f"every column needs one text or more; got none for {lacking}")
    limits = {name: limit for name, limit in (limits or {}).items() if name in texts}
    end = max([5.0, *(np.quantile(counts, 0.995) for counts in texts.values()), *(1.15 * at for at in limits.values())])
    step = max(1, round(end / 40))
    longer = {name: int((np.asarray(texts[name]) > limit).sum()) for name, limit in limits.items()}
    over = listed(f"{count:,} of {len(texts[name]):,} {name} texts" for name, count in longer.items() if count)
    title = f"{over} are longer than their limit" if over else f"No {' or '.join(texts)} is longer than its limit"
    title, notes = title if limits else f"Length of {listed(texts)}", []
    with style.context():
        figure, panels = style.subplots(1.35 + 1.3 * len(texts), len(texts), sharex=True)
        for axes, name in zip(panels, texts, strict=True):
            counts = np.asarray(texts[name])
            note = f"{name}: {len(counts):,} texts, median {np.median(counts):,.0f}, longest {counts.max():,} tokens"
            sns.histplot(counts, binwidth=step, binrange=(-0.5, end + step), color=BARS, alpha=1, ax=axes)
            if name in limits:
                axes.axvline(limits[name] + 0.5, color=fill(LIMIT), lw=1.4, ls=(0, (4, 2)))
                note += f", {longer[name]:,} above the limit of {limits[name]:,} (dashed)"
            beyond = int((counts > end + step).sum())
            notes.append(note + (f", {beyond:,} beyond the axis" if beyond else ""))
            axes.set(xlim=(-0.5, end + step), ylabel=f"{name}\n(texts)", xlabel="length (tokens)")
            numbers(axes.yaxis, plain=3, integer=True)
            axes.grid(axis="y")
        return finish(figure, title, "\n".join(notes), f"{title}. {'; '.join(notes)}.")


def similarities(frame: pd.DataFrame) -> Figure:
    """Queries by the similarity of their nearest example, right and wrong answers stacked, with the share right.

    `frame` has one line per query: its `similarity` and `score`.
    """
    near, score = (frame[name].to_numpy(dtype=float) for name in ("similarity", "score"))
    low, high = (near.min(), max(near.max(), near.min() + 0.05)) if near.size else (0.0, 1.0)
    edges = np.array(MaxNLocator(12, steps=[1, 2, 5, 10]).tick_values(low, high + 1e-9))  # round numbers
    bins = pd.cut(near, edges, right=False, labels=False)
    answer = np.select([score == 1, score < 1], ["right", "wrong"], "not scored")
    counts = pd.crosstab(bins, answer).reindex(range(len(edges) - 1), columns=list(ANSWERS), fill_value=0)
    scored, words = counts["right"] + counts["wrong"], []
    title, known = "Does a nearer example help?", score[np.argsort(-near, kind="stable")]
    known = known[~np.isnan(known)]
    if len(known) > 1:
        nearer, farther = (100 * half.mean() for half in np.array_split(known == 1, 2))
        title = f"With the nearer half of the examples {nearer:.0f} % are right, with the farther {farther:.0f} %"
    with style.context():
        figure, (axes,) = style.subplots(3.8)
        used = counts.loc[:, counts.any()]
        looks: dict[str, Any] = {"width": 1, "edgecolor": page().ground, "align": "edge", "rot": 0, "legend": False}
        if len(frame):
            used.plot.bar(stacked=True, ax=axes, color=[fill(ANSWERS[name]) for name in used], **looks)
            axes.legend(loc="upper left", ncols=3, title="answers; above a bar: share right", alignment="left")
        for place in np.flatnonzero(scored):
            share = f"{100 * counts['right'][place] / scored[place]:.0f} %"
            above = (place + 0.5, counts.loc[place].sum())
            axes.annotate(share, above, (0, 3), textcoords="offset points", ha="center", size=9)
            words.append(f"{edges[place]:.2f} to {edges[place + 1]:.2f}: {share} of {scored[place]} right")
        axes.set(xlabel="similarity of the nearest example to the query", ylabel="queries")
        axes.set(xlim=(0, len(counts)), ylim=(0, 1.45 * max(counts.sum(axis=1).max(), 1)))
        axes.set_xticks(range(len(edges)), [style.amount(edge) for edge in edges.round(9)])
        numbers(axes.yaxis, plain=5, integer=True)
        notes = describe(frame, "", title, by=[])[0]
        if len(frame):
            notes += f" · {len(frame):,} quer{'y' if len(frame) == 1 else 'ies'} of one seed"
            lost = int(frame["unknown"].iloc[0]) if "unknown" in frame else 0
            notes += f", {lost:,} more without a similarity" if lost else ""
        return finish(figure, title, notes, f"{title}. {'; '.join(words) or 'There are no answers'}.")


def endings(frame: pd.DataFrame, *, subtitle: str = "") -> Figure:
    """One stacked bar per method, one panel per `difficulty`: shares `ended passed`, `ended wrong`… of answers."""
    parts = {
        f"ended {kind}": name
        for kind, (name, _) in ENDINGS.items()
        if f"ended {kind}" in frame and frame[f"ended {kind}"].sum() > 0
    }
    whole = frame[frame["difficulty"] == frame["difficulty"].iloc[0]] if len(frame) else frame
    title = style.finding(whole.assign(strict_accuracy=whole.get("ended passed", math.nan)), "strict_accuracy")
    words = describe(frame, "", title, by=["difficulty", "method"], parts=parts)[1]
    shades = [dict(ENDINGS.values())[name] for name in parts.values()]
    with style.context():
        figure, panels = style.stacked(frame, "difficulty", 0.27, 0.36, sharex=True)
        for axes, difficulty, block in panels if parts else ():
            table = 100 * block[list(parts)].rename(columns=parts).astype(float).fillna(0.0)
            stack(axes, table, shades, block["method"])
            bars: Any
            for bars, shade in zip(axes.containers, shades, strict=True):
                labels = [f"{value:.0f}" if value >= 5 else "" for value in bars.datavalues]
                axes.bar_label(bars, labels, label_type="center", color=style.on(fill(shade)))
            for place in np.flatnonzero(table.sum(axis=1) == 0).tolist():
                axes.text(1, place, "no result", style="italic", va="center_baseline")
            axes.set_title(f"{difficulty} (n = {int(block['n'].max())})", loc="left", size=10, pad=4)
            axes.spines["left"].set_visible(False)
        panels[-1][0].set(xlabel="first answers (%)", xlim=(0, 100))
        return finish(figure, title, subtitle, words, panels[0][0])

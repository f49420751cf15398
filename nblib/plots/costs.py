"""Scores against costs, break-even of training, and memory by what it holds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from nblib.plots import style
from nblib.plots.style import AMOUNTS, GIB, colour, describe, fill, finish, numbers, page, readable

NOTHING_FOR_PROMPTS = ("train_seconds", "trainable_parameters")  # methods that only prompt have none of it
PROMPTING, IN_PROMPTS = ("zero-shot", "ICL", "RAG"), ("ICL", "RAG")  # families
FAR = 50  # a cost whose largest value is so many times the smallest gets a logarithmic axis
CROWD = 20  # points with their names beside them; of more, a legend has the kinds
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)))  # lines of equal cost lie on one another
KINDS = {  # of what memory holds: Tol's muted scheme, which readers with colour blindness tell apart
    "weights": "#332288",
    "adapter": "#CC6677",
    "gradients": "#DDCC77",
    "optimizer": "#117733",
    "activations": "#88CCEE",
    "logits": "#AA4499",
    "other": "#BBBBBB",
}


def scatter(
    frame: pd.DataFrame,
    x: str = "train_seconds",
    y: str = "em@1",
    *,
    name: str = "method",
    lines: bool = False,
    chosen: object = None,
) -> Figure:
    """A point a line of the frame over two of its numbers, with the interval of y, and its name (a column) beside it.

    Of more than 20 points only those on the Pareto front, or with `lines` those of ICL and RAG, have their names. With
    `lines`, ICL and RAG are joined over their numbers of examples, and the best PEFT method is a level across. Where
    the frame has a column `pareto`, those on the Pareto front are filled and joined, all others hollow; the point
    with the index `chosen` is ringed. Points have `run:<index>` as their ids in the SVG. A cost that spans far gets
    a logarithmic axis, with zero as a place of its own. Raises ValueError for a column that is not there.
    """
    frame = style.tidy(frame, x, y, name)
    points = _points(frame, x, y)
    title = f"{style.short(y)} against {style.short(x)}"
    is_crowd, has_front = len(points) > CROWD, "pareto" in points
    front = points[points["pareto"].astype(bool)].sort_values(["x", "y"]) if has_front else points.iloc[:0]
    count = f", {len(points)} points, {'with' if len(front) else 'without'} a Pareto front" if has_front else ""
    words = describe(front if is_crowd and len(front) else points, y, title + count, by=[name], at=x)[1]
    notes = [describe(points, y, title)[0]]
    if has_front:
        best = style.joined(front[name].drop_duplicates()) if len(front) else "none, as they do not compare"
        notes.append(f"{len(points)} points, filled: the Pareto front, which no other beats in both ({best})")
    notes += [f"ringed: {points.loc[chosen, name]}"] if chosen in points.index else []
    with style.context():
        figure, (axes,) = style.subplots(6.0 if is_crowd else 4.6)
        notes += _lines(axes, points) if lines else []
        stairs = "steps-pre" if x in style.SCORES else "steps-post"  # what lies between has not been reached
        axes.plot(front["x"], front["y"], color=page().faint, lw=1.2, drawstyle=stairs)
        for index, row in points.iterrows():
            shade = colour(row["kind"])
            axes.vlines(row["x"], row["low"], row["high"], colors=shade, lw=3, alpha=0.35)
            looks: dict[str, Any] = {"mfc": shade, "mec": page().ground, "ms": 9}
            looks |= {} if row.get("pareto", True) else {"mfc": page().ground, "mec": shade, "ms": 6}
            axes.plot(row["x"], row["y"], "o", zorder=3, gid=f"run:{index}", **looks)
        if chosen in points.index:
            axes.plot(*points.loc[chosen, ["x", "y"]], "o", ms=15, mfc="none", mec=page().ink, zorder=5)
        for kind in sorted(points["kind"].unique()) if is_crowd else ():
            axes.plot([], [], "o", color=colour(kind), label=kind)
        for which, column, tops in (("x", x, points["x"]), ("y", y, points["high"])):
            _scale(axes, which, tops, is_score=column in style.SCORES)
        axes.set(xlabel=style.axis_label(frame, x), ylabel=style.axis_label(frame, y, brief=True))
        axes.grid()
        lost = frame.drop(index=points.index)[name].astype(str)
        without = f"\nwithout a point: {', '.join(lost)}" if 0 < len(lost) <= CROWD else ""
        finish(figure, title, " · ".join(notes) + without, words, axes)
        shots = points[points["family"].isin(IN_PROMPTS)] if lines else points.iloc[:0]
        _label(axes, points, points if not is_crowd else front if len(front) else shots, name)
    return figure


def _points(frame: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The lines that have both numbers, as `x`, `y`, `low` and `high` in the units of the axes."""
    points = frame.copy()
    if x in NOTHING_FOR_PROMPTS and "family" in points:
        points.loc[points[x].isna() & points["family"].isin(PROMPTING), x] = 0.0
    points = points.dropna(subset=[x, y])
    units = {column: style.unit(column, points[column].max())[0] for column in (x, y)}
    ends = {end: points.get(f"{y}_{end}", points[y]) / units[y] for end in ("low", "high")}
    return points.assign(x=points[x] / units[x], y=points[y] / units[y], **ends).astype(dict.fromkeys("xy", float))


def _scale(axes: Axes, which: str, values: pd.Series, *, is_score: bool) -> None:
    """A score from zero with some room; a cost that spans far logarithmic, and linear only below its smallest value."""
    positive, axis = values[values > 0], getattr(axes, f"{which}axis")
    numbers(axis)
    if is_score:
        getattr(axes, f"set_{which}lim")(0, max(5.0, min(1.15 * values.max(), 105.0)) if len(values) else 100)
    elif len(positive) and positive.max() >= FAR * positive.min():
        first, last = np.floor(np.log10(positive.min())), np.ceil(np.log10(positive.max()))
        getattr(axes, f"set_{which}scale")("symlog", linthresh=10.0**first, linscale=0.6)
        zero = [0.0] if (values <= 0).any() else []
        axis.set_ticks([*zero, *10.0 ** np.arange(first, last + 0.5)])
        axis.set_major_formatter(AMOUNTS)
        axis.set_minor_locator(NullLocator())
    elif len(values) and not values.any():
        getattr(axes, f"set_{which}lim")(-0.04, 1.0)  # no ticks below nothing
    else:
        getattr(axes, f"set_{which}margin")(0.12)


def _lines(axes: Axes, points: pd.DataFrame) -> list[str]:
    """ICL and RAG over their numbers of examples, and the level of the best PEFT method; what to say of them."""
    shots = points[points["family"].isin(IN_PROMPTS)].sort_values("x", kind="stable")
    variants = shots["method"].astype(str).str.replace(r"-\d+", "", regex=True)  # icl, or rag retriever=bm25
    for place, (_, members) in enumerate(shots.groupby(variants, sort=True)):
        shade = colour(members["kind"].iloc[0])
        axes.plot(members["x"], members["y"], color=shade, lw=1.6, ls=DASHES[place % len(DASHES)])
        axes.fill_between(members["x"], members["low"], members["high"], color=shade, alpha=0.12, lw=0)
    best = points[points["family"] == "PEFT"].nlargest(1, "y")
    for kind, level in zip(best["kind"], best["y"], strict=True):
        axes.axhline(level, color=colour(kind), lw=1.3, ls=(0, (1, 2)))
    return [f"dotted: {method}, the best PEFT method" for method in best["method"]]


def _label(axes: Axes, points: pd.DataFrame, named: pd.DataFrame, name: str) -> None:
    """Names beside their points, moved until they cover nothing, with a line where one stands away from its point."""
    texts = [
        axes.text(
            row["x"], row["y"], style.wrapped(str(row[name]), 26), size=9, color=readable(colour(row["kind"])), zorder=6
        )
        for _, row in named.iterrows()
    ]
    marks = axes.scatter(points["x"], points["y"], s=150)
    heights = np.linspace(points["low"], points["high"], 12, axis=1).ravel()  # along the intervals
    arrows = {"arrowstyle": "-", "color": page().faint, "lw": 0.7}
    settings: dict[str, Any] = {"expand": (1.05, 1.25), "iter_lim": 150, "min_arrow_len": 14, "arrowprops": arrows}
    adjust_text(texts, np.repeat(points["x"], 12), heights, objects=marks, ax=axes, **settings)
    marks.remove()


def break_even(frame: pd.DataFrame, *, methods: Sequence[str] = ()) -> Figure:
    """Cost against number of queries: the trained method, which starts at the cost of training, and prompting ones;
    where they cross, the number of queries. Tokens above, seconds below, each over its own numbers of queries.

    `methods` are lines of the frame; empty: the ICL and the RAG method that score best. For `tokens` and `seconds` it
    has the costs `_once` (of training), `_base` and `_method` (of a query), and `_queries`, or `_why` there is none.
    Raises ValueError for a method that is no line.
    """
    frame = style.tidy(frame).set_index("method", drop=False)
    for label in methods:
        if label not in frame.index:
            raise ValueError(f"methods must be of {', '.join(map(str, frame.index)) or 'no line'}; got {label!r}")
    best = frame[frame["family"].isin(IN_PROMPTS)].sort_values("score", kind="stable", na_position="first")
    chosen = frame.loc[list(methods) or sorted(best.drop_duplicates("family", keep="last").index)]
    title = " ".join(["When training", *chosen["base"].unique()[:1], "pays"])
    with style.context():
        figure, panels = style.subplots(6.2, 2)
        words = _crossings(panels[0], "tokens", chosen) + _crossings(panels[1], "seconds", chosen)
        panels[-1].set_xlabel("queries (logarithmic)")
        return finish(figure, title, "", f"{title}. {'; '.join(words) or 'There is nothing to compare'}.")


def _crossings(axes: Axes, unit: str, chosen: pd.DataFrame) -> list[str]:
    """The lines of one unit, with a dot where a method begins to cost more than the trained one; the same in words."""
    once, base, cost, found = (chosen[f"{unit}_{name}"].astype(float) for name in ("once", "base", "method", "queries"))
    low, high = (max(1.0, found.min() / 30), 3 * found.max()) if found.notna().any() else (1.0, 1000.0)
    queries, words = np.geomspace(low, high, 200), []
    for place, (label, row) in enumerate(chosen.iterrows(), 1):
        shade, height = colour(row["kind"]), once[label] + found[label] * base[label]
        when = row[f"{unit}_why"] if pd.isna(height) else f"more expensive from {found[label]:,.0f} queries on"
        words.append(f"{label} in {unit}: {when}")
        if not pd.isna(cost[label]):
            looks: dict[str, Any] = {"color": shade, "lw": 2, "ls": DASHES[place % len(DASHES)]}
            axes.plot(queries, cost[label] * queries, label=f"{label}: {when}", **looks)
        axes.vlines(found[label], 0, height, colors=shade, lw=1, ls=":")
        axes.plot(found[label], height, "o", color=shade, ms=9, mec=page().ground, zorder=4)
    for label, row in chosen[(once + base).notna()].iloc[:1].iterrows():
        looks = {"color": colour(row["base_kind"]), "lw": 2, "zorder": 1.9, "label": f"{row['base']}, trained once"}
        axes.plot(queries, once[label] + base[label] * queries, **looks)
    axes.set(xscale="log", xlim=(low, high), ylabel="tokens processed" if unit == "tokens" else unit)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(AMOUNTS)
    axes.xaxis.set_minor_locator(NullLocator())
    numbers(axes.yaxis, plain=5)
    axes.set_ylim(bottom=0)
    axes.grid()
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left")
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", style="italic")
    return words


def memory_by_kind(frame: pd.DataFrame, *, cards: Mapping[str, float] | None = None, title: str = "") -> Figure:
    """A bar a line of the frame (column `label`), stacked by what memory holds, a panel a model.

    `cards` are sizes in GiB by name: a dashed line for each that is near. A diamond is the predicted peak, which may be
    less than all kinds together.
    """
    frame, cards = style.tidy(frame, "memory_bytes", "model", "label"), cards or {}
    title, near = title or "Memory of training by what it holds", set[float]()
    with style.context():
        figure, panels = style.stacked(frame, "model", 0.34, 0.85)
        for axes, model, block in panels if len(frame) else ():
            random = ", random weights" if "shape_only" in block and block["shape_only"].any() else ""
            axes.set_title(f"{model}{random}", loc="left", size=10, weight="bold", pad=16 if cards else 5)
            near |= _memory(axes, block, sorted({*cards.values()}))
        notes = [f"At the right: the {style.joined(frame['measured'].unique())}" if len(frame) else "no run trained"]
        if (frame["measured"] == "predicted").any():
            notes = [
                "At the right and as a diamond: the predicted peak. Kinds of memory need not peak at the same time."
            ]
        names = {size: ", ".join(card for card in cards if cards[card] == size) for size in sorted(near)}
        sizes = style.joined(f"{size:g} GiB ({names})" for size, names in names.items())
        notes += [f"Dashed, in GiB: cards of {sizes}"] if near else []
        parts = {f"{kind}_bytes": kind for kind in KINDS}
        words = describe(frame, "memory_bytes", title, by=["model", "label"], parts=parts)[1]
        return finish(figure, title, "\n".join(notes), words, panels[0][0])


def _memory(axes: Axes, block: pd.DataFrame, sizes: Sequence[float]) -> set[float]:
    """The bars of one model; the sizes of cards, in GiB, whose lines are drawn."""
    kinds = block[[f"{kind}_bytes" for kind in KINDS]].set_axis(list(KINDS), axis=1).astype(float).fillna(0.0)
    total = block["memory_bytes"].astype(float)
    kinds.loc[kinds.sum(axis=1) == 0, "other"] = total.fillna(0.0)  # only the whole is known
    reach = max(kinds.sum(axis=1).max(), total.fillna(0.0).max()) or float(GIB)
    one = style.unit("memory_bytes", reach)[0]
    stack(axes, kinds / one, list(KINDS.values()), block["label"])
    style.at_right(axes, range(len(block)), [style.value_text(row, "memory_bytes") for _, row in block.iterrows()])
    differs = (block["measured"] == "predicted") & ((total - kinds.sum(axis=1)).abs() > 0.002 * total)
    looks: dict[str, Any] = {"color": page().ground, "mec": page().ink, "ms": 6, "zorder": 5}
    axes.plot(total[differs] / one, np.flatnonzero(differs), "D", **looks)
    reach = min((size * GIB for size in sizes if reach <= size * GIB <= 2 * reach), default=reach)
    near = {size for size in sizes if 0.03 * reach <= size * GIB <= reach}
    for size in near:
        axes.axvline(size * GIB / one, color=page().ink, lw=1.2, ls=(0, (4, 3)), zorder=4)
        looks = {"transform": axes.get_xaxis_transform(), "ha": "center", "size": 8.5, "color": page().faint}
        axes.text(size * GIB / one, 1.01, f"{size:g}", va="bottom", **looks)
    axes.set(xlim=(0, 1.03 * reach / one), xlabel=style.axis_label(block, "memory_bytes", largest=reach))
    numbers(axes.xaxis)
    axes.grid(axis="x")
    return near


def stack(axes: Axes, table: pd.DataFrame, shades: Sequence[str], names: Iterable[object]) -> None:
    """A bar a line of the table, the first at the top, a part a column."""
    looks: dict[str, Any] = {"width": 0.7, "edgecolor": page().ground, "linewidth": 0.5, "legend": False}
    table.plot.barh(stacked=True, ax=axes, color=[fill(shade) for shade in shades], **looks)
    axes.set(ylim=(len(table) - 0.45, -0.55), ylabel="")
    axes.set_yticks(range(len(table)), [str(name) for name in names])
    axes.tick_params(axis="y", length=0)

"""Scores against costs, break-even of training, and memory by what it holds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from nblib.plots import style
from nblib.plots.style import GIB, amount, colour, describe, empty, fill, finish, numbers, page, readable

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
    title: str = "",
) -> Figure:
    """A point a line of the frame over two of its numbers, with the interval of y, and its name (a column) beside it.

    With `lines`, ICL and RAG are joined over their numbers of examples, and the best PEFT method is a level across.
    Where the frame has a column `pareto`, those on the Pareto front are filled and joined, all others hollow; the
    point with the index `chosen` is ringed. Points have `run:<index>` as their ids in the SVG. A cost that spans far
    gets a logarithmic axis, with zero as a place of its own. Raises ValueError for a column that is not there.
    """
    frame = style.tidy(frame, x, y, name)
    points = _points(frame, x, y)
    title = title or f"{style.short(y)} against {style.short(x)}"
    front = points[points["pareto"].astype(bool)].sort_values(["x", "y"]) if "pareto" in points else points.iloc[:0]
    is_crowd = len(points) > CROWD
    told, notes = front if is_crowd and len(front) else points, [describe(points, y, title)[0]]
    count = (
        f", {len(points)} points, {'with' if len(front) else 'without'} a Pareto front" if "pareto" in points else ""
    )
    words = describe(told, y, title + count, by=[name], at=x)[1]
    if "pareto" in points:
        best = style.joined(front[name].drop_duplicates()) if len(front) else "none, as they do not compare"
        notes.append(f"{len(points)} points, filled: the Pareto front, which no other beats in both ({best})")
    notes += [f"ringed: {points.loc[chosen, name]}"] if chosen in points.index else []
    with style.context():
        figure, (axes,) = empty(5.4 if is_crowd else 4.6)
        _scale(axes, "x", points["x"], is_score=x in style.SCORES)
        _scale(axes, "y", points[["y", "high"]].max(axis=1), is_score=y in style.SCORES)
        if lines:
            notes += _lines(axes, points)
        stairs = "steps-pre" if x in style.SCORES else "steps-post"  # what lies between has not been reached
        axes.plot(front["x"], front["y"], color=page().faint, lw=1.2, drawstyle=stairs)
        for index, row in points.iterrows():
            _point(axes, row, hollow=not row.get("pareto", True), gid=f"run:{index}")
        if chosen in points.index:
            axes.plot(*points.loc[chosen, ["x", "y"]], "o", ms=15, mfc="none", mec=page().ink, zorder=5)
        axes.set(xlabel=style.axis_label(frame, x), ylabel=style.axis_label(frame, y, brief=True))
        axes.grid()
        lost = frame.drop(index=points.index)[name].astype(str)
        without = f"\nwithout a point: {', '.join(lost)}" if 0 < len(lost) <= CROWD else ""
        if is_crowd:
            patches = handles({kind: colour(kind) for kind in sorted(points["kind"].unique())})
            axes.legend(handles=patches, loc="upper left", bbox_to_anchor=(1, 1), handlelength=1, labelspacing=0.3)
        finish(figure, title, (" · ".join(notes) + without, words))
        shots = points[points["family"].isin(IN_PROMPTS)] if lines else points.iloc[:0]
        _label(axes, points, shots if is_crowd else points, name)
    return figure


def _points(frame: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The lines that have both numbers, as `x`, `y`, `low` and `high` in the units of the axes."""
    points = frame.copy()
    if x in NOTHING_FOR_PROMPTS and "family" in points:
        points.loc[points[x].isna() & points["family"].isin(PROMPTING), x] = 0.0
    points = points[points[x].notna() & points[y].notna()]
    ones = [style.unit(each, points[each].max())[0] for each in (x, y)]
    points = points.assign(x=points[x].astype(float) / ones[0], y=points[y].astype(float) / ones[1])
    ends = {end: points.get(f"{y}_{end}", points[y]).astype(float) / ones[1] for end in ("low", "high")}
    return points.assign(**ends)


def _scale(axes: Axes, which: str, values: pd.Series, *, is_score: bool) -> None:
    """From zero with some room; a cost that spans far logarithmic, and linear only below its smallest value."""
    positive, largest = values[values > 0], max([*values, 0.0]) or 1.0
    limits, axis = getattr(axes, f"set_{which}lim"), getattr(axes, f"{which}axis")
    numbers(axis)
    if is_score:
        limits(0, max(5.0, min(1.15 * largest, 105.0)))
    elif positive.empty or positive.max() < FAR * positive.min():
        start = values.min() if len(values) and values.min() > 0.6 * largest else 0.0
        span = (largest - start) or largest
        limits(start - (0.3 if start else 0.04) * span, largest + 0.15 * span)
    else:
        first, last = 10.0 ** np.floor(np.log10(positive.min())), 10.0 ** np.ceil(np.log10(positive.max()))
        getattr(axes, f"set_{which}scale")("symlog", linthresh=first, linscale=0.6)
        limits(-0.35 * first if (values <= 0).any() else 0.8 * first, 1.3 * last)
        ticks = 10.0 ** np.arange(np.log10(first), np.log10(last) + 0.5)
        axis.set_ticks([0.0, *ticks] if (values <= 0).any() else ticks)
        axis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
        axis.set_minor_formatter(NullFormatter())


def _lines(axes: Axes, points: pd.DataFrame) -> list[str]:
    """ICL and RAG over their numbers of examples, and the level of the best PEFT method; what to say of them."""
    shots = points[points["family"].isin(IN_PROMPTS)]
    variants = shots["method"].astype(str).str.replace(r"-\d+", "", regex=True)  # icl, or rag retriever=bm25
    for place, (_, members) in enumerate(shots.groupby(variants, sort=True)):
        members, shade = members.sort_values("x", kind="stable"), colour(members["kind"].iloc[0])
        axes.plot(members["x"], members["y"], color=shade, lw=1.6, ls=DASHES[place % len(DASHES)])
        axes.fill_between(members["x"], members["low"], members["high"], color=shade, alpha=0.12, lw=0)
    peft = points[points["family"] == "PEFT"].nlargest(1, "y")
    for _, best in peft.iterrows():
        axes.axhline(best["y"], color=colour(best["kind"]), lw=1.3, ls=(0, (1, 2)))
    return [f"dotted: {best['method']}, the best PEFT method" for _, best in peft.iterrows()]


def _point(axes: Axes, row: pd.Series, *, hollow: bool, gid: str) -> None:
    shade, ground = colour(row["kind"]), page().ground
    if row["low"] < row["high"]:
        axes.plot([row["x"]] * 2, row[["low", "high"]], color=shade, lw=3, alpha=0.35, solid_capstyle="round")
    looks: dict[str, Any] = {"mfc": ground if hollow else shade, "mec": shade if hollow else ground}
    axes.plot(row["x"], row["y"], "o", ms=6 if hollow else 9, zorder=3, gid=gid, **looks)


def _label(axes: Axes, points: pd.DataFrame, named: pd.DataFrame, name: str) -> None:
    """Names beside their points, moved until they cover nothing, with a line where one stands away from its point."""
    texts = [
        axes.text(row["x"], row["y"], str(row[name]), size=9, color=readable(colour(row["kind"])), zorder=6)
        for _, row in named.iterrows()
    ]
    marks = axes.scatter(points["x"], points["y"], s=150)
    bars = points[points["low"] < points["high"]]
    shares = np.linspace(0, 1, 12)  # of the way along the intervals
    heights = np.outer(bars["low"], 1 - shares) + np.outer(bars["high"], shares)
    settings: dict[str, Any] = {"expand": (1.05, 1.25), "iter_lim": 150, "min_arrow_len": 14}
    settings |= {"arrowprops": {"arrowstyle": "-", "color": page().faint, "lw": 0.7}}
    adjust_text(texts, np.repeat(bars["x"], len(shares)), heights.ravel(), objects=marks, ax=axes, **settings)
    marks.remove()


def break_even(frame: pd.DataFrame, *, methods: Sequence[str] = (), title: str = "", subtitle: str = "") -> Figure:
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
    best = frame.assign(score=frame["score"].astype(float).fillna(-1)).sort_values("score", kind="stable")
    best = best[best["family"].isin(IN_PROMPTS)].drop_duplicates("family", keep="last")
    chosen = frame.loc[list(methods) or sorted(best["method"])]
    title = title or " ".join(["When training", *chosen["base"].unique()[:1], "pays"])
    said: list[str] = []
    with style.context():
        figure, panels = empty(6.2, 2)
        for axes, unit in zip(panels, ("tokens", "seconds"), strict=True):
            said += _crossings(axes, unit, chosen)
            axes.set_ylabel("tokens processed" if unit == "tokens" else unit)
            axes.grid()
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        panels[-1].set_xlabel("queries (logarithmic)")
        figure.align_ylabels(panels)
        finish(figure, title, (subtitle, f"{title}. {'; '.join(said) or 'There is nothing to compare'}."), gap=0.3)
    return figure


def _crossings(axes: Axes, unit: str, chosen: pd.DataFrame) -> list[str]:
    """The lines of one unit, with a dot where a method begins to cost more than the trained one; the same in words."""
    names = {each: f"{unit}_{each}" for each in ("once", "base", "method", "queries", "why")}
    found = chosen[names["queries"]].astype(float)
    low, high = (max(1.0, found.min() / 30), 3 * found.max()) if found.notna().any() else (1.0, 1000.0)
    queries, words = np.geomspace(low, high, 200), []
    for place, (label, row) in enumerate(chosen.iterrows(), 1):
        crossing, shade = found[label], colour(row["kind"])
        when = row[names["why"]] if pd.isna(crossing) else f"dearer from {crossing:,.0f} queries on"
        words.append(f"{label} in {unit}: {when}")
        if pd.isna(row[names["method"]]):
            continue
        dashes = DASHES[place % len(DASHES)]
        axes.plot(queries, row[names["method"]] * queries, color=shade, lw=2, ls=dashes, label=f"{label}: {when}")
        if not pd.isna(crossing):
            height = row[names["once"]] + crossing * row[names["base"]]
            axes.plot([crossing] * 2, [0, height], color=shade, lw=1, ls=(0, (2, 2)))
            axes.plot(crossing, height, "o", color=shade, ms=9, mec=page().ground, zorder=4)
    for _, row in chosen[chosen[[names["once"], names["base"]]].notna().all(axis=1)].iloc[:1].iterrows():
        costs = row[names["once"]] + row[names["base"]] * queries
        axes.plot(
            queries, costs, color=colour(row["base_kind"]), lw=2, label=f"{row['base']}, trained once", zorder=1.9
        )
    axes.set(xscale="log", xlim=(low, high))
    numbers(axes.yaxis, plain=5)
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend(loc="upper left")
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", style="italic")
    return words


def memory_by_kind(frame: pd.DataFrame, *, cards: Mapping[str, float] | None = None, title: str = "") -> Figure:
    """A bar a line of the frame (column `label`), stacked by what memory holds, a panel a model.

    `cards` are sizes in GiB by name: a dashed line for each that is near. A diamond is the predicted peak, which may be
    less than all kinds together.
    """
    frame = style.tidy(frame, "memory_bytes", "model", "label")
    blocks = list(frame.groupby("model", sort=False, observed=True)) or [("", frame)]
    title = title or "Memory of training by what it holds"
    near: dict[str, float] = {}
    with style.context():
        height = 1.9 + sum(0.34 * len(block) + 0.85 for _, block in blocks)
        ratios = {"height_ratios": [len(block) + 0.2 for _, block in blocks]}
        figure, panels = empty(height, len(blocks), gridspec_kw=ratios)
        for axes, (model, block) in zip(panels, blocks, strict=True):
            if len(block):
                random = ", random weights" if "shape_only" in block and block["shape_only"].any() else ""
                axes.set_title(f"{model}{random}", loc="left", size=10, weight="bold", pad=16 if cards else 5)
                near |= _memory(axes, block.reset_index(drop=True), cards or {})
        notes = [f"At the right: the {style.joined(frame['measured'].unique())}" if len(frame) else "no run trained"]
        if (frame["measured"] == "predicted").any():
            notes = ["At the right and as a diamond: the predicted peak. Kinds need not be there at the same time."]
        sizes = {
            size: ", ".join(card for card, own in near.items() if own == size) for size in sorted({*near.values()})
        }
        said = style.joined(f"{size:g} GiB ({names})" for size, names in sizes.items())
        notes += [f"Dashed, in GiB: cards of {said}"] if near else []
        parts = {f"{kind}_bytes": kind for kind in KINDS}
        words = describe(frame, "memory_bytes", title, by=["model", "label"], parts=parts)[1]
        legend = {"handles": handles(KINDS), "ncols": len(KINDS), "handlelength": 1}
        finish(figure, title, ("\n".join(notes), words), gap=1.0, **legend)
    return figure


def _memory(axes: Axes, block: pd.DataFrame, cards: Mapping[str, float]) -> dict[str, float]:
    """The bars of one model; the cards whose lines are drawn."""
    kinds = block[[f"{kind}_bytes" for kind in KINDS]].astype(float).fillna(0.0)
    total = block["memory_bytes"].astype(float)
    kinds["other_bytes"] = kinds["other_bytes"].where(
        kinds.sum(axis=1) > 0, total.fillna(0.0)
    )  # only the whole is known
    reach = max(kinds.sum(axis=1).max(), total.fillna(0.0).max()) or float(GIB)
    one, sign = style.unit("memory_bytes", reach)
    stack(axes, kinds / one, list(KINDS.values()), [str(each) for each in block["label"]])
    reach = min((size * GIB for size in cards.values() if reach <= size * GIB <= 2 * reach), default=reach)
    for place, row in block.iterrows():
        at: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "size": 9}
        said = style.STATUS.get(row["status"], "not measured")
        said = said if pd.isna(total[place]) else f"{total[place] / one:,.1f} {sign}"
        axes.annotate(said, (1, place), (8, 0), weight="bold", va="center_baseline", **at)
        if row["measured"] == "predicted" and abs(total[place] - kinds.loc[place].sum()) > 0.002 * total[place]:
            axes.plot(total[place] / one, place, "D", color=page().ground, mec=page().ink, ms=6, zorder=5)
    near = {card: size for card, size in cards.items() if 0.03 * reach <= size * GIB <= reach}
    for size in sorted({*near.values()}):
        axes.axvline(size * GIB / one, color=page().ink, lw=1.2, ls=(0, (4, 3)), zorder=4)
        above: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        axes.text(size * GIB / one, 1.01, f"{size:g}", size=8.5, color=page().faint, **above)
    axes.set(xlim=(0, 1.03 * reach / one), xlabel=style.axis_label(block, "memory_bytes", largest=reach))
    numbers(axes.xaxis)
    axes.grid(axis="x")
    return near


def stack(axes: Axes, table: pd.DataFrame, shades: Sequence[str], names: Sequence[str]) -> None:
    """A bar a line of the table, the first at the top, a part a column."""
    looks: dict[str, Any] = {"width": 0.7, "edgecolor": page().ground, "linewidth": 0.5, "legend": False}
    table.plot.barh(stacked=True, ax=axes, color=[fill(each) for each in shades], **looks)
    axes.set(ylim=(len(table) - 0.45, -0.55), ylabel="")
    axes.set_yticks(range(len(table)), names)
    axes.tick_params(axis="y", length=0)


def handles(shades: Mapping[str, str]) -> list[Patch]:
    """Squares of a legend."""
    return [Patch(color=fill(shade), label=name) for name, shade in shades.items()]

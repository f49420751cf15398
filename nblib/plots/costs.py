"""Scores against costs, break-even of training, and memory by what it holds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nblib import results
from nblib.columns import GIB, SCORES, listed, scale, short
from nblib.plots import style
from nblib.plots.style import colour, describe, fill, finish, numbers, page, readable, wrapped

NOTHING_FOR_PROMPTS = ("train_seconds", "trainable_parameters")  # methods that only prompt have none of it
PROMPTING, IN_PROMPTS = ("zero-shot", "ICL", "RAG"), ("ICL", "RAG")  # families
STANDING = (*IN_PROMPTS, "PEFT")  # families of which a title names one method, whatever it scores
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
    """One point per line of the frame over two of its numbers, with the interval of y and the point's name (a column).

    Of more than 20 points, we name only those on the Pareto front, or with `lines` those of ICL and RAG. With `lines`,
    we join ICL and RAG over their numbers of examples, and draw the level of LoRA, which stands for PEFT. If the frame
    has a column `pareto`, points on the front are filled and joined, all others hollow; the point with the index
    `chosen` gets a ring. Points have `run:<index>` as their ids in the SVG. Costs that span far get a logarithmic axis;
    methods that train nothing get a panel of their own.
    Raises ValueError for a column that does not exist.
    """
    frame = style.tidy(frame, x, y, name)
    points = _points(frame, x, y)
    is_crowd, has_front = len(points) > CROWD, "pareto" in points
    front = points[points["pareto"].astype(bool)].sort_values(["x", "y"]) if has_front else points.iloc[:0]
    title = _title(points, front, x, y, name, lines=lines)
    count = f", {len(points)} points, {'with' if len(front) else 'without'} a Pareto front" if has_front else ""
    words = describe(front if is_crowd and len(front) else points, y, title + count, by=[name], at=x)[1]
    notes = [describe(points, y, title, at=x)[0]]
    if has_front:
        best = "which no other beats in both" if len(front) else "none, as they do not compare"
        notes.append(f"{len(points)} points, filled: the Pareto front, {best}")
    notes += [f"ringed: {points.loc[chosen, name]}"] if chosen in points.index else []
    is_free = points["x"].eq(0) & (x in NOTHING_FOR_PROMPTS)
    free = points[is_free].assign(x=range(is_free.sum()))
    parts = [part for part in (free, points[~is_free]) if len(part)] or [points]
    widths = [min(len(free) + 1.5, 12), 12][-len(parts) :]
    with style.context():
        figure, panels = style.subplots(6.0 if is_crowd else 4.6, 1, len(parts), sharey=True, width_ratios=widths)
        for axes, part in zip(panels, parts, strict=True):
            on_front = front.loc[front.index.intersection(part.index, sort=False)]
            stairs = "steps-pre" if x in SCORES else "steps-post"  # what lies between has not been reached
            axes.plot(on_front["x"], on_front["y"], color=page().faint, lw=1.2, drawstyle=stairs)
            _draw(axes, part, chosen)
            if part is free:
                axes.set(xlim=(-0.75, len(free) - 0.25), xticks=[], xlabel="nothing is trained")
            else:
                _scale(axes, "x", part["x"], part["x"], is_score=x in SCORES)
                axes.set_xlabel(style.axis_label(frame, x))
            axes.grid()
        notes += _lines(panels[-1], points) if lines else []
        for kind in sorted(points["kind"].unique()) if is_crowd else ():
            panels[0].plot([], [], "o", color=colour(kind), label=kind)
        _scale(panels[0], "y", points["low"], points["high"], is_score=y in SCORES)
        panels[0].set_ylabel(style.axis_label(frame, y, brief=True))
        lost = frame.drop(index=points.index)[name].astype(str)
        without = f"\nwithout a point: {', '.join(lost)}" if 0 < len(lost) <= CROWD else ""
        finish(figure, title, " · ".join(notes) + without, words, panels[0])
        for axes, part in zip(panels, parts, strict=True):
            crowded = part[part["family"].isin(IN_PROMPTS)] if lines else part.loc[part.index.intersection(front.index)]
            _label(axes, part, crowded.drop_duplicates([name, "x", "y"]) if is_crowd else part, name)
    return figure


def _title(points: pd.DataFrame, front: pd.DataFrame, x: str, y: str, name: str, *, lines: bool) -> str:
    """What is to be seen: the front, with `lines` what stands for each family, or the best method."""
    if len(front):
        best = front[name].drop_duplicates()
        which = listed(best) if len(best) <= 4 else f"{len(front)} of {len(points)}"
        return f"{'Highest' if y in SCORES else 'Lowest'} {short(y)} for its {short(x)}: {which}"
    stands = {results.stand_in(list(own[name])) for family, own in points.groupby("family") if family in STANDING}
    if not lines or not stands:
        return style.finding(points, y, name)
    rows = points[points[name].isin(stands)].sort_values(y, ascending=False)
    return f"{short(y)}: {listed(f'{row[name]} {style.number(row[y], y)}' for _, row in rows.iterrows())}"


def _points(frame: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The lines that have both numbers, as `x`, `y` and the ends of their bars in the units of the axes."""
    points = frame.copy()
    if x in NOTHING_FOR_PROMPTS and "family" in points:
        points.loc[points[x].isna() & points["family"].isin(PROMPTING), x] = 0.0
    points = points.dropna(subset=[x, y])
    of_x, of_y = (scale(column, points[column].max())[0] for column in (x, y))
    (left, right), (low, high) = style.ends(points, x), style.ends(points, y)
    places = {"x": points[x] / of_x, "left": left / of_x, "right": right / of_x}
    points = points.assign(**places, y=points[y] / of_y, low=low / of_y, high=high / of_y)
    points = points.astype(dict.fromkeys("xy", float))
    ends = {"left": "x", "right": "x", "low": "y", "high": "y"}  # no bar where one seed tells no interval
    return points.assign(**{end: points[end].fillna(points[at]) for end, at in ends.items()})


def _draw(axes: Axes, points: pd.DataFrame, chosen: object) -> None:
    """The points with their bars."""
    for index, row in points.iterrows():
        shade = colour(row["kind"])
        axes.vlines(row["x"], row["low"], row["high"], colors=shade, lw=3, alpha=0.35)
        if row["left"] < row["right"]:
            axes.hlines(row["y"], row["left"], row["right"], colors=shade, lw=3, alpha=0.35)
        looks: dict[str, Any] = {"mfc": shade, "mec": page().ground, "ms": 9}
        looks |= {} if row.get("pareto", True) else {"mfc": page().ground, "mec": shade, "ms": 6}
        axes.plot(row["x"], row["y"], "o", zorder=3, gid=f"run:{index}", **looks)
    if chosen in points.index:
        axes.plot(*points.loc[chosen, ["x", "y"]], "o", ms=15, mfc="none", mec=page().ink, zorder=5)


def _scale(axes: Axes, which: str, low: pd.Series, high: pd.Series, *, is_score: bool) -> None:
    """A score from zero, unless all are far above it; a cost that spans far logarithmic."""
    numbers(getattr(axes, f"{which}axis"))
    least, most = (low.min(), high.max()) if len(low) else (0.0, 0.0)
    if is_score:
        room = max(most - least, 10.0)  # points
        bottom = max(0.0, least - room / 2) if 2 * least > most else 0.0
        top = min(most + 0.15 * max(most - bottom, room), 105.0) if len(low) else 100
        getattr(axes, f"set_{which}lim")(bottom, top)
    elif least > 0 and most >= FAR * least:
        style.logarithmic(getattr(axes, f"{which}axis"), (1,) if most > 100 * least else (1, 2, 5))
    elif len(low) and not most:
        getattr(axes, f"set_{which}lim")(-0.04, 1.0)  # no ticks below nothing
    else:
        getattr(axes, f"set_{which}margin")(0.25)


def _lines(axes: Axes, points: pd.DataFrame) -> list[str]:
    """ICL and RAG over their numbers of examples, and the level of what stands for PEFT; what to say of them."""
    shots = points[points["family"].isin(IN_PROMPTS)].sort_values("x", kind="stable")
    variants = shots["method"].astype(str).str.replace(r"-\d+", "", regex=True)  # icl, or rag retriever=bm25
    for place, (_, members) in enumerate(shots.groupby(variants, sort=True)):
        shade = colour(members["kind"].iloc[0])
        axes.plot(members["x"], members["y"], color=shade, lw=1.6, ls=DASHES[place % len(DASHES)])
        axes.fill_between(members["x"], members["low"], members["high"], color=shade, alpha=0.12, lw=0)
    peft = points[points["family"] == "PEFT"]
    level = peft[peft["method"] == results.stand_in(list(peft["method"]))]
    for kind, score in zip(level["kind"], level["y"], strict=True):
        axes.axhline(score, color=colour(kind), lw=1.3, ls=(0, (1, 2)))
    return [f"dotted: {method}, which stands for PEFT" for method in level["method"]]


def _label(axes: Axes, points: pd.DataFrame, named: pd.DataFrame, name: str) -> None:
    """Names beside their points, moved until they cover nothing, with a line where one stands away from its point."""
    texts = [
        axes.text(
            row["x"], row["y"], wrapped(str(row[name]), 24), size=9, color=readable(colour(row["kind"])), zorder=6
        )
        for _, row in named.iterrows()
    ]
    marks = axes.scatter(points["x"], points["y"], s=150)
    heights = np.linspace(points["low"], points["high"], 12, axis=1).ravel()  # along the intervals
    arrows = {"arrowstyle": "-", "color": page().faint, "lw": 0.7}
    settings: dict[str, Any] = {"expand": (1.15, 1.3), "force_static": (0.3, 0.5), "iter_lim": 300}
    settings |= {"min_arrow_len": 14, "arrowprops": arrows}
    adjust_text(texts, np.repeat(points["x"], 12), heights, objects=marks, ax=axes, **settings)
    marks.remove()


def break_even(frame: pd.DataFrame) -> Figure:
    """Cost against number of questions: the trained method, which starts at the cost of training, and prompting ones.

    Tokens above, below seconds or, where the frame has them, money; a number says where two methods cross. One ICL and
    one RAG method stand for their families, whatever they score. For each unit, the frame has the costs `_once`
    (training), `_base` and `_method` (per question), and `_queries`, or `_queries_why` there is none.
    """
    frame = style.tidy(frame).set_index("method", drop=False)
    families = frame[frame["family"].isin(IN_PROMPTS)].groupby("family", observed=True)["method"]
    chosen = frame[frame["method"].isin([results.stand_in(list(labels)) for _, labels in families])]
    units = ("tokens", "money" if "money_once" in frame else "seconds")
    pays = {unit: chosen[f"{unit}_queries"].astype(float).min() for unit in units}
    when = [("never" if pd.isna(at) else f"from {at:,.0f} queries on") + f" in {unit}" for unit, at in pays.items()]
    title = " ".join(["Training", *chosen["base"].unique()[:1], "pays", ", ".join(when)])
    with style.context():
        figure, panels = style.subplots(6.2, 2)
        words = [word for axes, unit in zip(panels, units, strict=True) for word in _crossings(axes, unit, chosen)]
        panels[-1].set_xlabel("queries")
        about = f"for ICL and RAG, whatever they score: {listed(chosen.index)}" if len(chosen) else ""
        return finish(figure, title, about, f"{title}. {'; '.join(words) or 'There is nothing to compare'}.")


def _crossings(axes: Axes, unit: str, chosen: pd.DataFrame) -> list[str]:
    """The lines of one unit, with a dot where a method begins to cost more than the trained one; the same in words."""
    once, base, cost, found = (chosen[f"{unit}_{name}"].astype(float) for name in ("once", "base", "method", "queries"))
    low, high = (max(1.0, found.min() / 30), 3 * found.max()) if found.notna().any() else (1.0, 1000.0)
    queries, words = np.geomspace(low, high, 200), []
    for place, (label, row) in enumerate(chosen.iterrows(), 1):
        shade, height = colour(row["kind"]), once[label] + found[label] * base[label]
        when = row[f"{unit}_queries_why"] if pd.isna(height) else f"more expensive from {found[label]:,.0f} queries on"
        words.append(f"{label} in {unit}: {when}")
        if not pd.isna(cost[label]):
            looks: dict[str, Any] = {"color": shade, "lw": 2, "ls": DASHES[place % len(DASHES)]}
            axes.plot(queries, cost[label] * queries, label=f"{label}: {when}", **looks)
        axes.plot(found[label], height, "o", color=shade, ms=9, mec=page().ground, zorder=4)
    for label, row in chosen[(once + base).notna()].iloc[:1].iterrows():
        looks = {"color": colour(row["base_kind"]), "lw": 2, "zorder": 1.9, "label": f"{row['base']}, trained once"}
        axes.plot(queries, once[label] + base[label] * queries, **looks)
    axes.set_ylabel("tokens processed" if unit == "tokens" else unit)
    style.logarithmic(axes.xaxis)
    axes.set_xlim(low, high)
    axes.grid()
    if axes.get_legend_handles_labels()[0]:
        style.logarithmic(axes.yaxis, (1,))
        axes.legend(loc="lower right")
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", style="italic")
    return words


def memory_by_kind(frame: pd.DataFrame, *, cards: Mapping[str, float] | None = None, about: str = "") -> Figure:
    """One bar per line of the frame (column `label`), stacked by what memory holds, with one panel per model.

    `cards` are sizes in GiB by name; those in reach get a dashed line. `about` begins the line under the title. Kinds
    of a prediction need not peak at the same time; we stack them up to the predicted peak.
    """
    frame, cards = style.tidy(frame, "memory_bytes", "model", "label"), cards or {}
    largest = frame[frame["model"] == frame["model"].iloc[-1]] if len(frame) else frame
    title = style.finding(largest, "memory_bytes", "label")
    title += f" ({largest['model'].iloc[0]})" if frame["model"].nunique() > 1 else ""
    near = set[float]()
    with style.context():
        figure, panels = style.stacked(frame, "model", 0.34, 0.85)
        for axes, model, block in panels if len(frame) else ():
            random = ", random weights" if "shape_only" in block and block["shape_only"].any() else ""
            axes.set_title(f"{model}{random}", loc="left", size=10, weight="bold", pad=16 if cards else 5)
            near |= _memory(axes, block, sorted({*cards.values()}))
        usual = frame.loc[~frame["kind"].str.startswith("qlora"), "precision"].mode() if "precision" in frame else []
        held = f"at the right: the {listed(frame['measured'].unique())}" if len(frame) else "no run trained"
        if (frame["measured"] == "predicted").any():
            held = "bars end at the predicted peak, as kinds need not be there at the same time"
        notes = [about, *(f"weights in {precision} where no other is named" for precision in usual[:1]), held]
        names = {size: ", ".join(card for card in cards if cards[card] == size) for size in sorted(near)}
        sizes = listed(f"{size:g} GiB ({names})" for size, names in names.items())
        notes += [f"dashed, in GiB: cards of {sizes}"] if near else []
        parts = {f"{kind}_bytes": kind for kind in KINDS}
        words = describe(frame, "memory_bytes", title, by=["model", "label"], parts=parts)[1]
        return finish(figure, title, " · ".join(filter(None, notes)), words, panels[0][0])


def _memory(axes: Axes, block: pd.DataFrame, sizes: Sequence[float]) -> set[float]:
    """The bars of one model; the sizes of cards, in GiB, whose lines are drawn."""
    kinds = block[[f"{kind}_bytes" for kind in KINDS]].set_axis(list(KINDS), axis=1).astype(float).fillna(0.0)
    total = block["memory_bytes"].astype(float)
    kinds.loc[kinds.sum(axis=1) == 0, "other"] = total.fillna(0.0)  # only the whole is known
    ends = kinds.cumsum(axis=1).clip(upper=total.fillna(np.inf), axis=0)
    kinds = ends - ends.shift(axis=1, fill_value=0.0)
    reach = ends.max().max() or float(GIB)
    one = scale("memory_bytes", reach)[0]
    stack(axes, kinds / one, list(KINDS.values()), block["label"])
    style.at_right(axes, range(len(block)), [style.value_text(row, "memory_bytes") for _, row in block.iterrows()])
    reach = min((size * GIB for size in sizes if reach <= size * GIB <= 2 * reach), default=reach)
    near = {size for size in sizes if 0.03 * reach <= size * GIB <= reach}
    for size in near:
        axes.axvline(size * GIB / one, color=page().ink, lw=1.2, ls=(0, (4, 3)), zorder=4)
        looks: dict = {"transform": axes.get_xaxis_transform(), "ha": "center", "size": 8.5, "color": page().faint}
        axes.text(size * GIB / one, 1.01, f"{size:g}", va="bottom", **looks)
    axes.set(xlim=(0, 1.03 * reach / one), xlabel=style.axis_label(block, "memory_bytes", largest=reach))
    numbers(axes.xaxis)
    axes.grid(axis="x")
    return near


def stack(axes: Axes, table: pd.DataFrame, shades: Sequence[str], names: Iterable[object]) -> None:
    """One bar per line of the table, the first at the top, with one part per column."""
    looks: dict[str, Any] = {"width": 0.7, "edgecolor": page().ground, "linewidth": 0.5, "legend": False}
    table.plot.barh(stacked=True, ax=axes, color=[fill(shade) for shade in shades], **looks)
    axes.set(ylim=(len(table) - 0.45, -0.55), ylabel="")
    axes.set_yticks(range(len(table)), [str(name) for name in names])
    axes.tick_params(axis="y", length=0)

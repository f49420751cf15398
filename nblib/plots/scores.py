"""Scores: dots with intervals, a matrix of what was trained on and what is asked, curves over epochs and rates."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from nblib.plots import style
from nblib.plots.style import at_right, colour, describe, empty, finish, number, numbers, page, readable

MARKERS = ("o", "D", "s", "^", "v", "P", "X", "*")  # of groups, filled and open in turn
SHADES = LinearSegmentedColormap.from_list("shades", ["#F3F6FA", "#08467A"])  # of one hue, light to dark
OWN = "#D97B00"  # around the cells of a task's own adapter
COLUMNS = 4  # panels side by side at most
FAR = 4  # losses whose largest is so many times the smallest get a logarithmic axis
STEPS = 20  # of the running mean of losses: single batches differ too much to be read


def forest(
    frame: pd.DataFrame,
    metric: str = "em@1",
    *,
    name: str = "method",
    sections: str = "",
    marks: str = "",
    beside: str = "",
    title: str = "",
) -> Figure:
    """A line a method: its value as a dot, its interval (`<metric>_low`, `<metric>_high`) as a band, both in numbers.

    Scores run from best to worst; what has none stands below and says why. Columns that may be asked for:
        name: what a line is called
        sections: lines stand under these headings, such as `model`, in the frame's order; a dashed line goes through
            all of them at the line whose `reference` is true
        marks: a line has a dot for each of these, such as `group`, told apart by its shape
        beside: a second value, as a diamond; at the right stands how far it is from the first
    Raises ValueError for a column that is not there, and for more marks than there are shapes.
    """
    by = [each for each in (sections, name, marks) if each]
    frame = style.tidy(frame, metric, *by, *filter(None, [beside]))
    shapes = {each: place for place, each in enumerate(frame[marks].unique())} if marks else {}
    if len(shapes) > len(MARKERS):
        raise ValueError(f"a figure tells at most {len(MARKERS)} groups apart; got {len(shapes)}: name fewer")
    if metric in style.SCORES and len(by) == 1:
        frame = frame.sort_values(metric, ascending=False, kind="stable", ignore_index=True)
    title = title or f"{style.short(metric)} by {style.joined(each.replace('label', 'method') for each in by)}"
    reach = frame[[each for each in (metric, f"{metric}_high", beside) if each in frame]].astype(float).max().max()
    one, sign = style.unit(metric, reach)
    places, ticks, heads = _places(frame, name, sections, 0.62 if marks else 1.0)
    deep, ranks = max([*places.values(), 0.0]) + 1, metric == "mean_rank"
    with style.context():
        figure, (axes,) = empty(1.5 + 0.34 * max(deep, 2) + 0.25 * bool(marks))
        for index, row in frame.iterrows():
            _dot(axes, places[index], row, metric, one, shapes.get(row.get(marks), 0), beside)
        for place, heading in heads.items():
            looks: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center_baseline"}
            axes.text(0, place, f" {heading}", weight="bold", **looks)
            axes.axhline(place - 0.5, color=page().faint, lw=0.6 * bool(place))
        reference = frame[frame["reference"].astype(bool)] if "reference" in frame else frame.iloc[:0]
        for value in reference[metric]:
            axes.axvline(value / one, color=page().faint, lw=1.1, ls=(0, (4, 3)), zorder=1)
        if f"{metric}_low" in frame and frame[f"{metric}_low"].notna().any() and not sections:
            at_right(axes, -0.6, 122, "95 % interval", va="bottom", size=8.5, color=page().faint)
        top = max(1.04 * (0 if pd.isna(reach) else reach) / one, 5.0 if sign == "%" else 1e-9)
        axes.set(ylim=(deep - 0.4, -0.6), xlabel=style.axis_label(frame, metric))
        axes.set_xlim(0.8 * ranks, len(frame) + 0.2 if ranks else min(top, 100.0) if sign == "%" else top)
        axes.set_yticks(list(ticks), list(ticks.values()))
        axes.tick_params(axis="y", length=0, pad=8)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        numbers(axes.xaxis, plain=10 if ranks else 6, integer=ranks)
        subtitle, words = describe(frame, metric, title, by=by, parts={beside: "predicted"} if beside else {})
        notes = [subtitle, *(f"dashed: {', '.join(map(str, names))}" for names in reference[by].to_numpy())]
        notes += ["dot: measured · diamond: predicted, and at the right how far it is off"] if beside else []
        finish(figure, title, (" · ".join(filter(None, notes)), words), **_legend(frame, metric, marks, shapes))
    return figure


def _places(frame: pd.DataFrame, name: str, sections: str, step: float) -> tuple[dict, dict, dict]:
    """How far down each line of the frame stands, the names by how far down, and the headings."""
    places: dict[Any, float] = {}
    ticks, heads, down = {}, {}, 0.0
    for section, block in frame.groupby(sections, sort=False, observed=True) if sections else [("", frame)]:
        if sections:
            size = block["total_parameters"].iloc[0] if "total_parameters" in block else np.nan
            heads[down] = f"{section}" if pd.isna(size) else f"{section}, {style.amount(size)} parameters"
            down += 1
        for called, members in block.groupby(name, sort=False, observed=True):
            places |= {index: down + step * at for at, index in enumerate(members.index)}
            label = textwrap.wrap(str(called), 28, max_lines=2, placeholder=" …")
            ticks[down + step * (len(members) - 1) / 2] = "\n".join(label)
            down += step * (len(members) - 1) + 1
    return places, ticks, heads


def _dot(axes: Axes, place: float, row: pd.Series, metric: str, one: float, shape: int, beside: str) -> None:
    """Interval, dot, and the numbers at the right; or why there are none."""
    shade, faint, ground = colour(row["kind"]), page().faint, page().ground
    if pd.isna(row[metric]):
        why: dict[str, Any] = {"style": "italic", "color": faint, "va": "center_baseline", "size": 9}
        axes.annotate(style.said(row, metric), (0, place), (6, 0), textcoords="offset points", **why)
        return
    value, low = row[metric] / one, row.get(f"{metric}_low", np.nan)
    if not pd.isna(low):
        high = row[f"{metric}_high"]
        axes.plot([low / one, high / one], [place] * 2, color=shade, lw=5, alpha=0.35, solid_capstyle="round")
        ends = "–".join(number(each, metric, sign=False) for each in (low, high))
        at_right(axes, place, 122, ends, size=8.5, color=faint)
    axes.plot(value, place, **_mark(shape, shade, 12 if beside else 9), clip_on=False, zorder=3)
    text = number(row[metric], metric)
    if beside and not pd.isna(row[beside]):
        axes.plot(row[beside] / one, place, "D", mfc=ground, mec=page().ink, ms=5, zorder=4)
        text = f"{100 * (row[beside] / row[metric] - 1):+.1f} %".replace("-", "−")
    at_right(axes, place, 62, text, weight="bold", size=9.5)


def _mark(shape: int, shade: str, size: float = 9) -> dict[str, Any]:
    """Filled and open in turn, so that neighbours differ at a glance."""
    inside, edge = (shade, page().ground) if shape % 2 == 0 else (page().ground, shade)
    looks = {"marker": MARKERS[shape], "linestyle": "none", "markersize": size - 1.5 * bool(shape)}
    return looks | {"mfc": inside, "mec": edge, "mew": 1.8 if shape % 2 else 0.8}


def _legend(frame: pd.DataFrame, metric: str, marks: str, shapes: Mapping) -> dict[str, Any]:
    """The groups with their marks and numbers of examples."""
    counts = frame.groupby(marks, observed=True)[f"{metric}_n"].max() if shapes and f"{metric}_n" in frame else {}
    names = {each: f"{each} (n = {int(counts[each])})" if each in counts else f"{each}" for each in shapes}
    handles = [Line2D([], [], **_mark(shapes[each], page().faint), label=names[each]) for each in shapes]
    return {"handles": handles, "ncols": max(1, 88 // (max(map(len, names.values())) + 5))} if handles else {}


def heat_map(frame: pd.DataFrame, metric: str = "em@1", *, title: str = "") -> Figure:
    """Rows: what was trained on (`trained_on`); columns: what is asked (`task`); cells: the mean and its interval.

    Nothing comes first, then single tasks, then joint ones; the cells of a task's own adapter are outlined.
    """
    frame = style.tidy(frame, metric, "trained_on", "task")
    asked, trained = (list(frame[each].astype(str).unique()) for each in ("task", "trained_on"))
    order = list(dict.fromkeys([*asked, *trained]))
    trained.sort(key=lambda name: ("(" not in name, name.count("+"), order.index(name)))
    cells = frame.assign(said=[style.said(row, metric) for _, row in frame.iterrows()], score=100 * frame[metric])
    cells = cells.pivot(index="trained_on", columns="task", values=["score", "said"])
    title = title or f"{style.short(metric)} by what was trained on and what is asked"
    with style.context():
        figure, (axes,) = empty(1.75 + 0.62 * max(len(trained), 1))
        axes.set(xticks=[], yticks=[])
        if len(frame):
            table = cells["score"].loc[trained, asked].astype(float)
            words = cells["said"].loc[trained, asked].fillna("").map(lambda text: text.replace(" (", "\n("))
            looks: dict[str, Any] = {"linewidths": 2, "linecolor": page().ground, "cbar": False, "cmap": SHADES}
            limits = {"vmin": 0.0, "vmax": max(5.0, np.nan_to_num(table.max().max()))}
            sns.heatmap(table.fillna(0.0), annot=words, fmt="", ax=axes, **looks, **limits)
            mesh: Any = axes.collections[0]
            for text, shade in zip(axes.texts, mesh.get_facecolors(), strict=True):
                text.set(color=style.on(to_hex(shade)), size=10, linespacing=1.4)
            wide = [
                ["\n".join(textwrap.wrap(name.replace("+", " + "), 24)) for name in side] for side in (asked, trained)
            ]
            axes.set_xticklabels(wide[0], rotation=0)
            axes.set_yticklabels(wide[1], rotation=0)
        for across, task in enumerate(asked):
            for down in [trained.index(task)] if task in trained else []:
                axes.add_patch(Rectangle((across + 0.03, down + 0.05), 0.94, 0.9, fill=False, edgecolor=OWN, lw=2.6))
        axes.set(xlabel="asked", ylabel="trained on")
        axes.tick_params(length=0)
        subtitle, alternative = describe(frame, metric, title, by=["trained_on", "task"])
        notes = [subtitle.replace("bars:", "in brackets:"), "outlined: trained on the task that is asked"]
        finish(figure, title, (" · ".join(notes), alternative))
    return figure


def curves(
    frame: pd.DataFrame,
    x: str = "epoch",
    y: str = "loss",
    *,
    chosen: Mapping[str, float] | None = None,
    title: str = "",
) -> Figure:
    """A panel a method, the best first, with the others in grey behind it: a loss over epochs, a score over rates.

    Lines are means over seeds. Dots are the lines of the frame whose `kept` is true; rings the x that is `chosen`, by
    method; a cross on the axis is a line without y. The number at the right of a panel is the lowest loss, or how far
    the best score is from the worst, in points.
    """
    frame = style.tidy(frame, x, y)
    one, is_score, chosen = style.unit(y)[0], y in style.SCORES, chosen or {}
    frame["y"] = frame[y].astype(float) / one
    means = {str(name): _mean(members, x) for name, members in frame.groupby("method", sort=False, observed=True)}
    best = {name: -mean.max() if is_score else mean.min() for name, mean in means.items()}
    order = sorted(means, key=lambda name: (pd.isna(best[name]), best[name], name))
    rows = max(1, -(-len(order) // COLUMNS))
    columns = max(1, -(-len(order) // rows))
    title = title or f"{style.short(y)} by {x.replace('_', ' ')}"
    with style.context():
        figure, panels = empty(1.3 + 1.55 * rows + 0.9 * (rows == 1), rows, columns, sharex=True, sharey=True)
        for place, (axes, name) in enumerate(zip(panels, order, strict=False)):
            for other in means.values():
                axes.plot(other.index, other, color=page().others, lw=0.8, zorder=1)
            _curve(axes, frame[frame["method"] == name], means[name], x, y, chosen.get(name, np.nan))
            extreme = f"{means[name].max() - means[name].min():.1f}" if is_score else f"{best[name]:.3f}"
            axes.set_title(extreme, loc="right", size=9, color=page().faint, pad=3)
            lowest = place + columns >= len(order)
            axes.tick_params(axis="x", labelbottom=lowest)
            axes.set_xlabel(x.replace("_", " ") if lowest else "")
            axes.set_ylabel("" if place % columns else style.axis_label(frame, y, brief=True))
            axes.grid(axis="y")
        for axes in panels[max(len(order), 1) :]:
            axes.set_visible(False)
        if order:
            _limits(panels[0], frame, x, y, 3 if columns > 1 else 7)
        lines = frame.assign(place=frame["method"].map({name: at for at, name in enumerate(order)}))
        lines = lines.sort_values("place" if is_score else ["place", y], kind="stable")
        lines = lines if is_score else lines.drop_duplicates("method")  # each seed's losses would be too many words
        subtitle, words = describe(lines, y, f"{title}, best first", at=x)
        notes = [subtitle, f"number: {'best minus worst, in points' if is_score else 'the lowest mean loss'}"]
        notes += ["dots: the checkpoints that were kept"] * ("kept" in frame) + ["ring: the chosen one"] * bool(chosen)
        notes += ["cross: no score"] * bool(frame["y"].isna().any()) + ["grey: the other methods"] * (len(order) > 1)
        finish(figure, title, (" · ".join(notes), words), gap=0.35)
    return figure


def _mean(members: pd.DataFrame, x: str) -> pd.Series:
    """x to the mean of y, where every seed has one; where only some have, their mean would jump."""
    seeds = "seed" if "seed" in members else "method"
    table = members.pivot_table(index=members[x].round(9), columns=seeds, values="y", observed=True)
    whole = table.dropna()
    return (whole if len(whole) else table).mean(axis=1)


def _curve(axes: Axes, members: pd.DataFrame, mean: pd.Series, x: str, y: str, chosen: float) -> None:
    """A method's name and line, with what stands on it."""
    shade, name = colour(members["kind"].iloc[0]), str(members["method"].iloc[0])
    wrapped = "\n".join(textwrap.wrap(name, 14, max_lines=2, placeholder=" …"))
    axes.set_title(wrapped, loc="left", size=9.5, weight="bold", pad=3, color=readable(shade))
    marker = "" if "kept" in members and len(mean) > 1 else "o"
    axes.plot(mean.index, mean, color=shade, lw=2, marker=marker, ms=4, zorder=3)
    if f"{y}_low" in members:
        low, high = (100 * members[f"{y}_{end}"].astype(float) for end in ("low", "high"))
        axes.vlines(members[x], low, high, color=shade, alpha=0.35, lw=2.5)
    kept = members[members["kept"].astype(bool)] if "kept" in members else members.iloc[:0]
    axes.plot(kept[x], kept["y"], "o", color=shade, ms=5.5, mec=page().ground, zorder=4)
    ring = mean[np.isclose(mean.index, chosen)]
    axes.plot(ring.index, ring, "o", mfc="none", mec=page().ink, mew=1.4, ms=11, zorder=4)
    lost = members[members["y"].isna()]
    if len(lost):  # an empty line that is not clipped would count as one at the page's corner
        axes.plot(lost[x], [0] * len(lost), "x", color=shade, ms=6, clip_on=False, zorder=3)


def _limits(axes: Axes, frame: pd.DataFrame, x: str, y: str, labels: int) -> None:
    """The ranges of all panels; a few losses far above the others may leave them."""
    numbers(axes.yaxis, plain=4)
    low, high, usual = frame["y"].min(), frame["y"].max(), frame["y"].quantile(0.95)
    if y in style.SCORES:
        top = np.nanmax([5.0, 105 * frame.get(f"{y}_high", frame[y]).astype(float).max()])
        axes.set_ylim(0, min(103.0, top))
    elif low > 0 and high > FAR * low:
        axes.set(yscale="log", ylim=(0.9 * low, 1.15 * (high if high < FAR * usual else usual)))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    if x == "epoch":
        axes.set_xlim(0, 1.04 * float(frame[x].max()))
        numbers(axes.xaxis, plain=5, integer=True)
        return
    tried = np.unique(frame[x].astype(float))
    told = tried[np.linspace(0, len(tried) - 1, min(len(tried), labels)).astype(int)]
    axes.set(xscale="log", xlim=(tried.min() / 1.6, tried.max() * 1.6))
    axes.set_xticks(told, [f"{each:g}" for each in told])
    axes.xaxis.set_minor_locator(NullLocator())


def loss_curve(frame: pd.DataFrame, *, epochs: float | None = None, title: str = "") -> Figure:
    """Training loss by epoch as a line, validation losses as dots, the kept checkpoint ringed.

    `frame` has a line a loss: `of` (training or validation), `epoch`, `loss`, `kept`, and `method`, `kind`, `model` and
    `task`, which are the same in all lines. `epochs` is where the axis ends: a running training grows towards it.
    """
    training, validation = (frame[frame["of"] == name] for name in ("training", "validation"))
    kept = validation[validation["kept"].astype(bool)]
    smooth = training["loss"].astype(float).rolling(STEPS, min_periods=1).mean()
    lines = {"training": (training["epoch"], smooth), "validation": (validation["epoch"], validation["loss"])}
    ends = {name: f"{y.iloc[0]:.2f} to {y.iloc[-1]:.2f}" for name, (_, y) in lines.items() if len(y)}
    title = title or " ".join(["Loss", *(f"of {each}" for each in frame["method"].unique()), "by epoch"])
    with style.context():
        figure, (axes,) = empty(3.6)
        looks: dict[str, Any] = {"color": page().ink, "clip_on": False, "zorder": 4}
        if len(training):
            shade = colour(str(frame["kind"].iloc[0]))
            axes.plot(training["epoch"], training["loss"], color=shade, lw=0.7, alpha=0.3)
            label = f"training, mean of {STEPS} steps: {ends['training']}"
            axes.plot(*lines["training"], color=shade, lw=2, label=label)
        if len(validation):
            axes.plot(*lines["validation"], "-o", lw=1, ms=5, label=f"validation: {ends['validation']}", **looks)
            axes.plot(kept["epoch"], kept["loss"], "o", ms=12, mfc="none", label="checkpoint that is kept", **looks)
        top = max([*smooth, *validation["loss"].astype(float)], default=1.0) or 1.0  # one bad batch may leave the axis
        axes.set_xlim(0, 1.02 * (epochs or max(frame["epoch"], default=1.0)))
        axes.set(ylim=(0, 1.08 * top), xlabel="epoch", ylabel="loss a token (nats)")
        numbers(axes.xaxis, plain=8, integer=True)
        axes.grid(axis="y")
        if ends:
            axes.legend(loc="upper right")
        words = [f"{name} from {each}" for name, each in ends.items()]
        words += [f"the checkpoint of epoch {epoch:.2g} is kept" for epoch in kept["epoch"]]
        gone = " · trained earlier: losses of single steps are gone" * (list(ends) == ["validation"])
        about = describe(frame, "", title)[0] + gone if ends else "no step yet"
        finish(figure, title, (about, f"{title}: {', '.join(words) or 'no step yet'}."))
    return figure

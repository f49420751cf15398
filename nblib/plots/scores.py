"""Figures of scores: dots with intervals, a matrix of tasks, curves; and of data: lengths, similarities, endings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from nblib.columns import SCORES, listed, points, scale, short
from nblib.plots import style
from nblib.plots.costs import stack
from nblib.plots.style import capital, colour, describe, fill, finish, numbers, page, readable, wrapped

MARKERS = ("o", "D", "s", "^", "v", "P", "X", "*")  # of groups, filled and open in turn
SHADES = LinearSegmentedColormap.from_list("shades", ["#F3F6FA", "#08467A"])  # of one hue, light to dark
OWN = "#D97B00"  # around the cells of a task's own adapter
COLUMNS = 4  # panels side by side at most
FAR = 4  # losses whose largest is so many times the smallest get a logarithmic axis
STEPS = 20  # of the running mean of losses: single batches differ too much to be read
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


def forest(
    frame: pd.DataFrame,
    metric: str = "em@1",
    *,
    name: str = "method",
    sections: str = "",
    marks: str = "",
    beside: str = "",
) -> Figure:
    """One line per method: its value as a dot, its interval (`<metric>_low`, `<metric>_high`) as a band, and numbers.

    Scores run from best to worst; methods without a score come last and say why. You can name columns:
        name: what a line is called
        sections: one panel each, such as `model`, in the frame's order; a dashed line goes through all of them at the
            line whose `reference` is true
        marks: one dot each on a line, such as `group`, with shapes of their own
        beside: a second value, as a diamond; at the right we say how far it is from the first
    Raises ValueError for a column that does not exist, and for more marks than there are shapes.
    """
    by = [column for column in (sections, name, marks) if column]
    frame = style.tidy(frame, metric, *by, *filter(None, [beside]))
    groups = list(frame[marks].unique()) if marks else [""]
    if len(groups) > len(MARKERS):
        raise ValueError(f"a figure tells at most {len(MARKERS)} groups apart; got {len(groups)}: name fewer")
    if metric in SCORES and len(by) == 1:
        frame = frame.sort_values(metric, ascending=False, kind="stable")
    if marks:  # the dots of a line beside one another
        frame = frame.sort_values(name, key=lambda names: pd.factorize(names)[0], kind="stable")
    title = style.finding(frame, metric, name, within=sections or marks)
    if beside and frame[beside].notna().any():
        furthest = (frame[beside] / frame[metric] - 1).abs().max()
        title = f"{capital(short(beside))} is within {100 * furthest:.1f} % of what was measured"
    low_ends, high_ends = style.ends(frame, metric)
    frame = frame.assign(low_end=low_ends, high_end=high_ends)
    reach = np.nan_to_num(frame[[metric, "high_end", beside or metric]].astype(float).max().max())
    one, is_rank = scale(metric, reach)[0], metric == "mean_rank"
    reference = frame[frame["reference"].astype(bool)] if "reference" in frame else frame.iloc[:0]
    with style.context():
        figure, panels = style.stacked(frame, sections, 0.27 if marks else 0.34, 0.45, sharex=True)
        for axes, section, block in panels:
            size = block["total_parameters"].max() if "total_parameters" in block else np.nan
            heading = section if pd.isna(size) else f"{section}, {style.amount(size)} parameters"
            axes.set_title(heading if section else "", loc="left", size=10, weight="bold")
            places = _places(axes, block[name].astype(str), 0.66 if marks else 1.0)
            value, low, high = (block[column].to_numpy(dtype=float) / one for column in (metric, "low_end", "high_end"))
            shades = block["kind"].map(colour).to_numpy(dtype=object)
            axes.hlines(places, low, high, colors=list(shades), lw=5, alpha=0.35, capstyle="round")
            for shape, group in enumerate(groups):
                own = (block[marks] == group).to_numpy() if marks else slice(None)
                axes.scatter(value[own], places[own], clip_on=False, **_mark(shape, list(shades[own])))
            texts = [style.value_text(row, metric) for _, row in block.iterrows()]
            if beside:
                axes.scatter(
                    block[beside] / one, places, s=14, c=page().ground, marker="D", edgecolors=page().ink, zorder=4
                )
                texts = [f"{100 * error:+.1f} %".replace("-", "−") for error in block[beside] / block[metric] - 1]
            style.at_right(axes, places, texts)
            for line in reference[metric] / one:
                axes.axvline(line, color=page().faint, lw=1.1, ls=(0, (4, 3)), zorder=1)
            axes.grid(axis="x")
        for shape, group in enumerate(groups if marks else ()):
            count = frame[frame[marks] == group].get(f"{metric}_n", pd.Series(dtype=float)).max()
            label = f"{group}" if pd.isna(count) else f"{group} (n = {count:.0f})"
            axes.scatter([], [], label=label, **_mark(shape, page().faint))
        numbers(axes.xaxis, plain=10 if is_rank else 6, integer=is_rank)
        top = max(5.0, min(1.04 * reach / one, 100.0)) if metric in SCORES else 1.04 * reach / one or 1.0
        axes.set_xlim(
            0.8 if is_rank else min(0.0, 1.04 * low_ends.min()), len(frame) + 0.2 if is_rank else max(top, 0.0)
        )
        axes.set_xlabel(style.axis_label(frame, metric))
        subtitle, words = describe(frame, metric, title, by=by, parts={beside: "predicted"} if beside else {})
        notes = [subtitle, *(f"dashed: {', '.join(map(str, names))}" for names in reference[by].to_numpy())]
        notes += ["dot: measured · diamond: predicted, and at the right how far it is off"] if beside else []
        return finish(figure, title, " · ".join(notes), words, axes)


def _places(axes: Axes, names: pd.Series, step: float) -> np.ndarray:
    """How far down each line stands: lines of one name close together, with the name at their middle."""
    places = np.cumsum(np.where(names.eq(names.shift()), step, 1.0)) - 1
    ticks = pd.Series(places, names.to_numpy(), dtype=float).groupby(level=0, sort=False).mean()
    axes.set_yticks(ticks, [wrapped(name, 28) for name in ticks.index])
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(max([*places, 0.0]) + 0.6, -0.6)
    return places


def _mark(shape: int, shade: Any) -> dict[str, Any]:
    """Filled and open in turn, so that neighbours differ at a glance."""
    inside, edge = (page().ground, shade) if shape % 2 else (shade, page().ground)
    looks = {"marker": MARKERS[shape], "s": 56 if shape else 81, "linewidths": 1.8 if shape % 2 else 0.8}
    return looks | {"facecolors": inside, "edgecolors": edge, "zorder": 3}


def heat_map(frame: pd.DataFrame, metric: str = "em@1") -> Figure:
    """Rows: what was trained on (`trained_on`); columns: what is tested (`task`); cells: the mean and its interval.

    Nothing comes first, then single tasks, then joint ones; the cells of a task's own adapter are outlined.
    """
    frame = style.tidy(frame, metric, "trained_on", "task").astype({"task": str, "trained_on": str})
    tasks = list(frame["task"].unique())
    trained = sorted(frame["trained_on"].unique(), key=lambda name: ("(" not in name, name.count("+")))
    title = style.finding(frame, metric, "trained_on", within="task")
    if "own_difference" in frame and (joint := frame[frame["joint"] & frame["own_difference"].notna()]).size:
        apart = (f"{points(change)} points on {task}" for change, task in joint[["own_difference", "task"]].to_numpy())
        title = f"One adapter for all, against each task's own: {listed(apart)}"
    with style.context():
        figure, (axes,) = style.subplots(1.75 + 0.62 * max(len(trained), 1))
        if len(frame):
            texts = [style.value_text(row, metric).replace(" (", "\n(") for _, row in frame.iterrows()]
            cells = frame.assign(text=texts).pivot(index="trained_on", columns="task", values=[metric, "text"])
            table = 100 * cells[metric].loc[trained, tasks].astype(float).fillna(0.0)
            looks: dict[str, Any] = {"annot": cells["text"].loc[trained, tasks].fillna(""), "fmt": "", "cmap": SHADES}
            looks |= {"linewidths": 2, "linecolor": page().ground, "cbar": False}
            sns.heatmap(table, ax=axes, vmin=0, vmax=max(5.0, table.max().max()), **looks)
            mesh: Any = axes.collections[0]
            for text, shade in zip(axes.texts, mesh.get_facecolors(), strict=True):
                text.set(color=style.on(to_hex(shade)), size=10, linespacing=1.4)
            axes.set_xticklabels([wrapped(task.replace("+", " + "), 24) for task in tasks], rotation=0)
            axes.set_yticklabels([wrapped(task.replace("+", " + "), 24) for task in trained], rotation=0)
        for task in [task for task in tasks if task in trained]:
            corner = (tasks.index(task) + 0.03, trained.index(task) + 0.05)
            axes.add_patch(Rectangle(corner, 0.94, 0.9, fill=False, edgecolor=OWN, lw=2.6))
        axes.set(xlabel="tested on", ylabel="trained on")
        axes.tick_params(length=0)
        subtitle, words = describe(frame, metric, title, by=["trained_on", "task"])
        notes = f"{subtitle.replace('bars:', 'in brackets:')} · outlined: trained on the task it is tested on"
        return finish(figure, title, notes, words)


def curves(
    frame: pd.DataFrame, x: str = "epoch", y: str = "loss", *, chosen: Mapping[str, float] | None = None
) -> Figure:
    """One panel per method, the best first, with the others in grey behind it: a loss over epochs, a score over rates.

    Lines are means over seeds. Dots are the lines of the frame whose `kept` is true; rings the x that is `chosen`, by
    method; a cross on the axis is a line without y. The number at the right of a panel is the lowest loss, or how far
    the best score is from the worst, in points.
    """
    frame = style.tidy(frame, x, y).astype({"method": str})
    is_score, chosen = y in SCORES, chosen or {}
    frame["y"] = frame[y].astype(float) / scale(y, 1.0)[0]
    means = {name: _mean(members, x) for name, members in frame.groupby("method", sort=False)}
    best = {name: -mean.max() if is_score else mean.min() for name, mean in means.items()}
    order = sorted(means, key=lambda name: (pd.isna(best[name]), best[name], name))
    rows = max(1, -(-len(order) // COLUMNS))
    columns = max(1, -(-len(order) // rows))
    title = style.finding(pd.DataFrame({"method": order, y: [abs(best[name]) * scale(y, 1.0)[0] for name in order]}), y)
    if is_score and order and means[order[0]].notna().any():
        title += f" at a {short(x)} of {style.amount(means[order[0]].idxmax())}"
    with style.context():
        figure, panels = style.subplots(1.4 + 1.65 * rows + 0.8 * (rows == 1), rows, columns, sharex=True, sharey=True)
        for place, (axes, name) in enumerate(zip(panels, order, strict=False)):
            for other in means.values():
                axes.plot(other.index, other, color=page().others, lw=0.8, zorder=1)
            _curve(axes, frame[frame["method"] == name], means[name], x, y, chosen.get(name, np.nan))
            extreme = f"{means[name].max() - means[name].min():.1f}" if is_score else f"{best[name]:.3f}"
            axes.set_title(extreme, loc="right", size=9, color=page().faint, pad=3)
            axes.tick_params(axis="x", labelbottom=place + columns >= len(order))
            axes.grid(axis="y")
        figure.supxlabel(short(x), size=10)
        figure.supylabel(style.axis_label(frame, y, brief=True), size=10)
        for axes in panels[max(len(order), 1) :]:
            axes.set_visible(False)
        if order:
            _limits(panels[0], frame, x, y, 3 if columns > 1 else 7)
        lines = frame if is_score else frame.sort_values(y, kind="stable").drop_duplicates("method")  # not every loss
        lines = lines.sort_values("method", key=lambda names: names.map(order.index), kind="stable")
        subtitle, words = describe(lines, y, f"{title}, best first", at=x)
        notes = [subtitle, f"number: {'best minus worst, in points' if is_score else 'the lowest mean loss'}"]
        notes += ["dots: the checkpoints that were kept"] * ("kept" in frame) + ["ring: the chosen one"] * bool(chosen)
        notes += ["cross: no score"] * bool(frame["y"].isna().any()) + ["grey: the other methods"] * (len(order) > 1)
        return finish(figure, title, " · ".join(notes), words)


def _mean(members: pd.DataFrame, x: str) -> pd.Series:
    """x to the mean of y, where every seed has one; where only some have, their mean would jump."""
    seeds = "seed" if "seed" in members else "method"
    table = members.pivot_table(index=members[x].round(9), columns=seeds, values="y")
    whole = table.dropna()
    return (whole if len(whole) else table).mean(axis=1)


def _curve(axes: Axes, members: pd.DataFrame, mean: pd.Series, x: str, y: str, chosen: float) -> None:
    """A method's name and line, with what stands on it."""
    shade, name = colour(members["kind"].iloc[0]), members["method"].iloc[0]
    axes.set_title(
        wrapped(name, 12 if " " in name else 14), loc="left", size=9.5, weight="bold", pad=3, color=readable(shade)
    )
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
    axes.plot(lost[x], [0] * len(lost), "x", color=shade, ms=6, clip_on=lost.empty, zorder=3)


def _limits(axes: Axes, frame: pd.DataFrame, x: str, y: str, ticks: int) -> None:
    """The ranges of all panels; a few losses far above the others may leave them."""
    numbers(axes.yaxis, plain=4)
    low, high, usual = frame["y"].min(), frame["y"].max(), frame["y"].quantile(0.95)
    if y in SCORES:
        axes.set_ylim(0, min(103.0, np.nanmax([5.0, 105 * frame.get(f"{y}_high", frame[y]).astype(float).max()])))
    elif low > 0 and high > FAR * low:
        style.logarithmic(axes.yaxis)
        axes.set_ylim(0.9 * low, 1.15 * (high if high < FAR * usual else usual))
    if x == "epoch":
        axes.set_xlim(0, 1.04 * float(frame[x].max()))
        numbers(axes.xaxis, plain=5, integer=True)
        return
    rates = np.unique(frame[x].astype(float))
    style.logarithmic(axes.xaxis)
    axes.set_xlim(rates.min() / 1.6, rates.max() * 1.6)
    axes.set_xticks(rates[np.linspace(0, len(rates) - 1, min(len(rates), ticks)).astype(int)])


def loss_curve(frame: pd.DataFrame, *, epochs: float | None = None) -> Figure:
    """Training loss by epoch as a line, validation losses as dots, a ring around the checkpoint we keep.

    `frame` has one line per loss: `of` (training or validation), `epoch`, `loss`, `kept`, and `method`, `kind`, `model`
    and `task`, which are the same in all lines. `epochs` is where the axis ends: a running training grows towards it.
    """
    training, validation = (frame[frame["of"] == name].set_index("epoch") for name in ("training", "validation"))
    smooth, kept = training["loss"].rolling(STEPS, min_periods=1).mean(), validation[validation["kept"].astype(bool)]
    losses = {"training": smooth, "validation": validation["loss"]}
    ends = {name: f"{loss.iloc[0]:.2f} to {loss.iloc[-1]:.2f}" for name, loss in losses.items() if len(loss)}
    title = " ".join(["Loss", *(f"of {method}" for method in frame["method"].unique()), "by epoch"])
    if "validation" in ends:
        title = f"{frame['method'].iloc[0]}: validation loss from {ends['validation']}"
    with style.context():
        figure, (axes,) = style.subplots(3.6)
        if len(training):
            shade = colour(str(frame["kind"].iloc[0]))
            axes.plot(training["loss"], color=shade, lw=0.7, alpha=0.3)
            axes.plot(smooth, color=shade, lw=2, label=f"training, mean of {STEPS} steps: {ends['training']}")
        if len(validation):
            looks: dict[str, Any] = {"color": page().ink, "clip_on": False, "zorder": 4}
            axes.plot(validation["loss"], "-o", lw=1, ms=5, label=f"validation: {ends['validation']}", **looks)
            axes.plot(kept["loss"], "o", ms=12, mfc="none", label="checkpoint that is kept", **looks)
        top = max([*smooth, *validation["loss"]], default=1.0) or 1.0  # one bad batch may leave the axis
        axes.set_xlim(0, 1.02 * (epochs or max(frame["epoch"], default=1.0)))
        axes.set(ylim=(0, 1.08 * top), xlabel="epoch", ylabel="loss per token (nats)")
        numbers(axes.xaxis, plain=8, integer=True)
        axes.grid(axis="y")
        if ends:
            axes.legend(loc="upper right")
        words = [f"{name} from {loss}" for name, loss in ends.items()]
        words += [f"the checkpoint of epoch {epoch:.2g} is kept" for epoch in kept.index]
        gone = " · trained earlier, so losses of single steps are no longer there" * (list(ends) == ["validation"])
        notes = describe(frame, "", title)[0] + gone if ends else "no step yet"
        return finish(figure, title, notes, f"{title}. {', '.join(words) or 'no step yet'}.")


# --- data and answers in numbers --------------------------------------------------------------------------------------


def lengths(texts: Mapping[str, Sequence[int]], *, limits: Mapping[str, int]) -> Figure:
    """How many tokens the texts of each column have (`{"intent": […], "code": […]}`), one panel each on a common axis.

    Limits, of one column or more, are lines, with the number of longer texts. The axis ends where nearly all texts do.
    """
    end = max([5.0, *(np.quantile(counts, 0.995) for counts in texts.values()), *(1.15 * at for at in limits.values())])
    step = max(1, round(end / 40))
    longer = {name: int((np.asarray(texts[name]) > limit).sum()) for name, limit in limits.items()}
    over = listed(f"{count:,} of {len(texts[name]):,} {name} texts" for name, count in longer.items() if count)
    title = f"{over} are longer than their limit" if over else f"No {' or '.join(limits)} is longer than its limit"
    notes = []
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
    """One stacked bar per method, one panel per `group`: shares `ended passed`, `ended wrong`… of answers."""
    parts = {
        f"ended {kind}": name
        for kind, (name, _) in ENDINGS.items()
        if f"ended {kind}" in frame and frame[f"ended {kind}"].sum() > 0
    }
    whole = frame[frame["group"] == frame["group"].iloc[0]] if len(frame) else frame
    title = style.finding(whole.assign(strict_accuracy=whole.get("ended passed", math.nan)), "strict_accuracy")
    words = describe(frame, "", title, by=["group", "method"], parts=parts)[1]
    shades = [dict(ENDINGS.values())[name] for name in parts.values()]
    with style.context():
        figure, panels = style.stacked(frame, "group", 0.27, 0.36, sharex=True)
        for axes, group, block in panels if parts else ():
            table = 100 * block[list(parts)].rename(columns=parts).astype(float).fillna(0.0)
            stack(axes, table, shades, block["method"])
            bars: Any
            for bars, shade in zip(axes.containers, shades, strict=True):
                labels = [f"{value:.0f}" if value >= 5 else "" for value in bars.datavalues]
                axes.bar_label(bars, labels, label_type="center", color=style.on(fill(shade)))
            for place in np.flatnonzero(table.sum(axis=1) == 0).tolist():
                axes.text(1, place, "no result", style="italic", va="center_baseline")
            axes.set_title(f"{group} (n = {int(block['n'].max())})", loc="left", size=10, pad=4)
            axes.spines["left"].set_visible(False)
        panels[-1][0].set(xlabel="first answers (%)", xlim=(0, 100))
        return finish(figure, title, subtitle, words, panels[0][0])

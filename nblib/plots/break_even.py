"""What one training and its queries cost beside longer prompts, over the number of queries. Computes no statistics."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from nblib.plots.cost_quality import _apart
from nblib.plots.style import FAINT, colour, empty, finish, style

UNITS = {"tokens": "tokens processed", "seconds": "seconds"}
DASHES = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.5)),
    (0, (5, 1, 1, 1)),
)  # lines of equal cost lie on one another, the solid one below
LINE = 14  # pixels between names at the right


def break_even(
    frame: pd.DataFrame, *, methods: Sequence[str] = (), title: str | None = None, subtitle: str = ""
) -> Figure:
    """Cost against number of queries: the trained method, which starts at the cost of training, and prompting ones;
    where they cross, the number of queries. Tokens above, seconds below, each over its own numbers of queries.

    `frame` is what tables.break_even returns. `methods` are labels of its lines; empty: the ICL and the RAG method that
    score best. Raises ValueError for a label that the frame lacks.
    """
    chosen = frame.loc[_chosen(frame, methods)]
    with style():
        figure, _ = empty(6.2)
        figure.clear()
        panels = list(figure.subplots(2, 1))  # which share no axis: tokens and seconds may cross far apart
        ends = [_panel(axes, unit, chosen) for axes, unit in zip(panels, UNITS, strict=True)]
        panels[-1].set_xlabel("queries (logarithmic)")
        figure.align_ylabels(panels)
        finish(figure, title or _title(chosen), "\n".join(each for each in (subtitle, _without(chosen)) if each))
        figure.subplots_adjust(hspace=0.2)
        for axes, unit, names in zip(panels, UNITS, ends, strict=True):
            _spread(axes, names)
            _crossings(axes, unit, chosen)
        figure.set_label(_words(chosen))
    return figure


def _chosen(frame: pd.DataFrame, methods: Sequence[str]) -> list[str]:
    for label in methods:
        if label not in frame.index:
            raise ValueError(f"methods must be of {', '.join(map(str, frame.index)) or 'no line'}; got {label!r}")
    if methods:
        return list(methods)
    families = [frame[frame["family"] == name] for name in ("ICL", "RAG")]
    return [str((each["score"].astype(float).fillna(-1)).idxmax()) for each in families if len(each)]


def _title(chosen: pd.DataFrame) -> str:
    return f"When training {chosen['base'].iloc[0]} pays" if len(chosen) else "When training pays"


def _range(chosen: pd.DataFrame, unit: str) -> tuple[float, float]:
    """The numbers of queries that are shown: well before the first crossing to well behind the last."""
    crossings = chosen[f"{unit}_queries"].dropna().astype(float)
    return (max(1.0, crossings.min() / 30), 3 * crossings.max()) if len(crossings) else (1.0, 1000.0)


def _panel(axes: Axes, unit: str, chosen: pd.DataFrame) -> list[Annotation]:
    """The lines of one unit; their names, still to be spread."""
    axes.set(xscale="log", xlim=_range(chosen, unit), ylabel=UNITS[unit])
    prompting = chosen[chosen[f"{unit}_method"].notna()].iloc[::-1]
    names = [
        _line(axes, str(label), 0.0, row[f"{unit}_method"], row["kind"], DASHES[place % len(DASHES)])
        for place, (label, row) in enumerate(prompting.iterrows())
    ]
    for _, row in chosen[chosen[f"{unit}_once"].notna() & chosen[f"{unit}_base"].notna()].iloc[:1].iterrows():
        names.append(_line(axes, row["base"], row[f"{unit}_once"], row[f"{unit}_base"], row["base_kind"], "-"))
    if not names:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", style="italic", color=FAINT)
    axes.set_ylim(bottom=0)
    axes.grid(axis="both")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]) if names else NullLocator())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axis.set_minor_formatter(NullFormatter())
    return names


def _line(axes: Axes, name: str, once: float, each: float, kind: str, dashes) -> Annotation:
    """Cost over queries, with the name at its end."""
    queries = np.geomspace(*axes.get_xlim(), 200)
    axes.plot(queries, once + each * queries, color=colour(kind), linewidth=2, linestyle=dashes)
    return axes.annotate(
        name,
        (queries[-1], once + each * queries[-1]),
        xytext=(7, 0),
        textcoords="offset points",
        va="center_baseline",
        color=colour(kind),
        weight="bold",
        size=9.5,
    )


def _spread(axes: Axes, names: list[Annotation]) -> None:
    """Moves names up and down until none covers another."""
    names = sorted(names, key=lambda name: (float(name.xy[1]), name.get_text()))
    heights = np.array([float(axes.transData.transform(name.xy)[1]) for name in names])
    inside = axes.get_window_extent()
    moved = _apart(heights, LINE, inside.y0, inside.y1) if names else heights
    for name, old, new in zip(names, heights, moved, strict=True):
        name.xyann = (7, (new - old) * 72 / axes.figure.dpi)


def _crossings(axes: Axes, unit: str, chosen: pd.DataFrame) -> None:
    """A dot where a method begins to cost more than the trained one, a line down to the axis, and the number."""
    taken: list[Bbox] = []
    for _, row in chosen[chosen[f"{unit}_queries"].notna()].sort_values(f"{unit}_queries", kind="stable").iterrows():
        x, shade = float(row[f"{unit}_queries"]), colour(row["kind"])
        y = float(row[f"{unit}_once"] + x * row[f"{unit}_base"])
        axes.plot([x, x], [0, y], color=shade, linewidth=1, linestyle=(0, (2, 2)))
        axes.plot(x, y, "o", color=shade, markersize=9, markeredgecolor="white", zorder=4)
        taken.append(_number(axes, f"{x:,.0f} queries", (x, y), shade, taken))


def _number(axes: Axes, text: str, spot: tuple[float, float], shade: str, taken: list[Bbox]) -> Bbox:
    """Written above left of its spot or below right, as near as there is room; where it stands, in pixels."""
    places = [(side * 9, side * -(9 + LINE * step)) for step in range(10) for side in (-1, 1)]
    inside = axes.get_window_extent()
    for across, up in places:
        note = axes.annotate(
            text,
            spot,
            xytext=(across, up),
            textcoords="offset points",
            ha="right" if across < 0 else "left",
            va="center",
            size=9,
            color=shade,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85},
        )
        box = Annotation.get_window_extent(note)
        fits = inside.y0 < box.y0 and box.y1 < inside.y1 and not any(box.overlaps(each) for each in taken)
        if fits or (across, up) == places[-1]:
            break
        note.remove()
    return box


def _without(chosen: pd.DataFrame) -> str:
    """Why lines do not cross."""
    return " · ".join(
        f"{label} in {unit}: {row[f'{unit}_why']}"
        for unit in UNITS
        for label, row in chosen[chosen[f"{unit}_queries"].isna()].iterrows()
    )


def _short(value: float) -> str:
    """`0.1`, `1,000`, `10 million`."""
    for size, name in ((1e9, " billion"), (1e6, " million")):
        if value >= size:
            return f"{value / size:,.10g}{name}"
    return f"{value:,.10g}"


def _words(chosen: pd.DataFrame) -> str:
    """The alternative text."""
    if chosen.empty:
        return "There is no trained method beside a prompting one, so nothing breaks even."
    said = []
    for label, row in chosen.iterrows():
        for unit in UNITS:
            queries = row[f"{unit}_queries"]
            when = row[f"{unit}_why"] if pd.isna(queries) else f"from {queries:,.0f} queries on"
            said.append(f"{label} in {unit}, {when}")
    return f"When training {chosen['base'].iloc[0]} once costs less than longer prompts: {'; '.join(said)}."

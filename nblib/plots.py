"""Frames and lengths to figures, in one house style. Computes no statistics and changes no global setting.

    figure = plots.ranking(frame)              frame: what tables.comparison returns
    plots.save(figure, "../figures", "rq1_ranking")
    plots.shown(figure)                        as a cell's last line: the picture with its alternative text

Figures are opaque white, so that they read on light and dark pages; 8 inches wide, as GitHub shows them; every method
has its own colour everywhere, and its name beside it, so that colour is never needed.
"""

import base64
import io
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import Bbox

WIDTH, DPI, EDGE = 8.0, 150, 0.18  # inches, dots an inch, inches
INK, FAINT, GRID = "#222222", "#595959", "#DDDDDD"
# One a kind of method. Each stands out from white by 3:1 or more, and from every other for readers with and without
# deuteranopia, protanopia and tritanopia (a test computes both).
COLOURS = {
    "zero-shot": "#767676",
    "icl": "#D97B00",
    "rag": "#CC3311",
    "lora": "#0072B2",
    "ia3": "#009E73",
    "prompt-tuning": "#CC79A7",
    "prefix-tuning": "#3B9BD6",
    "p-tuning": "#332288",
    "adapter": "#882255",
    "full": "#111111",
}
OTHER = "#8A7A5C"  # a kind that has no colour of its own
STATUS = {"out_of_memory": "out of memory", "failed": "failed", "missing": "not run"}
SCORES = {  # a short name, and what it says
    "em@1": ("EM@1", "first answers that equal the reference (%)"),
    "em@10": ("EM@10", "examples whose reference is among ten answers (%)"),
    "codebleu": ("CodeBLEU", "CodeBLEU of the first answer (%)"),
    "codebleu_corrected": ("corrected CodeBLEU", "corrected CodeBLEU of the first answer (%)"),
    "chrf": ("chrF", "chrF of the first answer (%)"),
}
COSTS = {  # a short name, the axis, and what one of it is in the frame
    "train_seconds": ("training time", "training time (seconds a seed)", 1),
    "generate_seconds": ("generation time", "generation time (seconds a seed)", 1),
    "prompt_tokens": ("prompt length", "prompt (tokens a query)", 1),
    "trainable_parameters": ("trainable parameters", "trainable parameters", 1),
    "peak_bytes": ("peak memory", "peak memory (GiB)", 2**30),
}


def colour(kind: str) -> str:
    """The colour of a kind of method, the same in every figure."""
    return COLOURS.get(kind, OTHER)


def style() -> AbstractContextManager:
    """The house style as a context; outside of it nothing changes."""
    settings: dict[str, Any] = {
        **sns.axes_style("ticks"),
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],  # Verdana is as wide: SVG text keeps its place
        "font.size": 10,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "text.color": INK,
        "xtick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.color": FAINT,
        "ytick.labelcolor": INK,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "nblib",  # the same ids each time
    }
    return mpl.rc_context(settings)


def ranking(frame: pd.DataFrame, metric: str = "em@1", *, title: str | None = None) -> Figure:
    """Methods from best to worst, each mean with its 95 % interval; what has no score stands below and says why."""
    _check(frame, metric, SCORES)
    scored = frame[frame[metric].notna()].sort_values(metric, ascending=False, kind="stable")
    order = pd.concat([scored, frame[frame[metric].isna()]])
    with style():
        figure, axes = _figure(1.6 + 0.34 * max(len(order), 2))
        for place, (_, row) in enumerate(order.iterrows()):
            _ranked(axes, place, row, metric)
        high = scored[[metric, f"{metric}_high"]].max(axis=1).max() if len(scored) else 0.1
        axes.set(xlim=(0, min(100.0, max(5.0, 104 * high))), ylim=(max(len(order), 1) - 0.4, -0.6))
        axes.set_yticks(range(len(order)), [textwrap.fill(str(label), 30) for label in order.index])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.set_xlabel(SCORES[metric][1])
        _head(figure, title or f"{SCORES[metric][0]} by method", _basis(frame, metric, intervals=True))
        _fit(figure, right=1.45)
        axes.text(
            1.02, -0.6, "mean   (interval)", transform=axes.get_yaxis_transform(), color=FAINT, va="bottom", size=9
        )
    figure.set_label(_ranking_text(order, metric))
    return figure


def cost_quality(
    frame: pd.DataFrame, cost: str = "train_seconds", metric: str = "em@1", *, title: str | None = None
) -> Figure:
    """A score against a cost, a point a method with its name beside it; a cost that spans far gets a log axis."""
    _check(frame, metric, SCORES)
    _check(frame, cost, COSTS)
    short, axis, unit = COSTS[cost]
    usable = frame[frame[metric].notna()].copy()
    usable["cost"] = usable[cost] / unit
    if cost in ("train_seconds", "trainable_parameters"):
        usable.loc[usable["cost"].isna() & usable["family"].isin(["zero-shot", "ICL", "RAG"]), "cost"] = 0.0
    usable = usable[usable["cost"].notna()]
    with style():
        figure, axes = _figure(4.6)
        _cost_axis(axes, usable["cost"].to_numpy(dtype=float))
        for _, row in usable.iterrows():
            _interval(axes, row, metric, row["cost"], upright=True)
            axes.plot(row["cost"], 100 * row[metric], "o", color=colour(row["kind"]), markersize=8, zorder=3)
        high = usable[[metric, f"{metric}_high"]].max(axis=1).max() if len(usable) else 0.1
        axes.set(ylim=(0, max(5.0, 106 * high)), xlabel=axis, ylabel=SCORES[metric][0] + " (%)")
        axes.grid(axis="y")
        said = _basis(frame, metric, intervals=True)
        left = [str(label) for label in frame.index if label not in usable.index]
        _head(figure, title or f"{SCORES[metric][0]} against {short}", said + _left_out(left))
        _fit(figure)
        _name_points(axes, usable, metric)
    figure.set_label(_cost_text(usable, cost, metric))
    return figure


def length_histogram(
    lengths: Mapping[str, Sequence[int]],
    *,
    limits: Mapping[str, int] | None = None,
    unit: str = "tokens",
    title: str | None = None,
) -> Figure:
    """How long texts are, a panel each (`{"intent": […], "code": […]}`) on one axis; limits are lines that say how
    many texts are longer. Outliers beyond the axis are counted in the panel."""
    limits = limits or {}
    if not lengths or any(len(each) == 0 for each in lengths.values()):
        raise ValueError("lengths must have one or more texts a column; got none")
    end = max([float(np.quantile(each, 0.99)) for each in lengths.values()] + [1.12 * each for each in limits.values()])
    end = max(end, 5.0)
    step = max(1, round(end / 40))
    edges = np.arange(0, end + step, step) - 0.5
    with style():
        figure, first = _figure(1.3 + 1.25 * len(lengths), rows=len(lengths))
        for axes, (name, each) in zip(figure.axes, lengths.items(), strict=True):
            _lengths(axes, name, np.asarray(each), edges, limits.get(name), unit)
        figure.axes[-1].set_xlabel(f"length ({unit})")
        counts = {len(each) for each in lengths.values()}
        n = f"{max(counts):,} texts each" if len(counts) == 1 else "numbers of texts differ"
        _head(figure, title or f"Length of {_and(list(lengths))}", n)
        _fit(figure)
        first.set_xlim(edges[0], edges[-1])
    figure.set_label(_length_text(lengths, limits, unit))
    return figure


# --- from a figure to a file or a page ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A figure that Jupyter shows as a PNG with alternative text.

    nbconvert reads the text from the output's metadata; JupyterLab does not show any yet, and keeps it in the file;
    a terminal prints it.
    """

    png: bytes = field(repr=False)
    alternative: str

    def __repr__(self) -> str:
        return self.alternative

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        width = round(WIDTH * 100)  # shown at 800 pixels, drawn at 1200: sharp on fine screens
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alternative}
        return data, {"image/png": {"alt": self.alternative, "width": width}}


def alternative(figure: Figure) -> str:
    """What a figure shows, in words."""
    return figure.get_label() or "A figure."


def shown(figure: Figure) -> Picture:
    """The figure for the end of a cell."""
    return Picture(_png(figure), alternative(figure))


def save(figure: Figure, folder: str | Path, name: str, *, alt: str | None = None) -> list[Path]:
    """Writes name.png and name.svg, whole or not at all, with the alternative text inside; the same bytes each time."""
    folder, alt = Path(folder), alt or alternative(figure)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {".png": _png(figure, alt), ".svg": _svg(figure, name, alt)}
    return [_replace(folder / f"{name}{ending}", content) for ending, content in contents.items()]


def _png(figure: Figure, alt: str | None = None) -> bytes:
    target = io.BytesIO()
    with style():  # Software would name the version of matplotlib
        figure.savefig(
            target, format="png", dpi=DPI, metadata={"Software": None, "Description": alt or alternative(figure)}
        )
    return target.getvalue()


def _svg(figure: Figure, name: str, alt: str) -> bytes:
    """With <title> and <desc>, which matplotlib puts into its metadata only, where no screen reader looks."""
    target = io.BytesIO()
    with style():
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    said = f' role="img">\n <title>{escape(name)}</title>\n <desc>{escape(alt)}</desc>'
    return re.sub(r"(<svg\b[^>]*)>", lambda found: found[1] + said, target.getvalue().decode(), count=1).encode()


def _replace(path: Path, content: bytes) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path

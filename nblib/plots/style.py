"""What all figures share: colours, type, margins, title. Draws no data."""

import textwrap
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH, EDGE = 8.0, 0.2  # inches; EDGE stays free around everything
INK, FAINT, GRID = "#222222", "#595959", "#DDDDDD"
# One a kind of method, related ones in related hues where there is room: LoRA's kin are blue to violet, learned tokens
# pink to purple. Each stands out from a white page and from a dark one by 3:1 or more, so that it is the same on both,
# and from every other for readers with and without deuteranopia, protanopia and tritanopia (a test computes all).
COLOURS = {
    "zero-shot": "#7F8283",
    "icl": "#D97B00",
    "rag": "#CC3311",
    "lora": "#0072B2",
    "qlora-8bit": "#2447FF",
    "qlora-4bit": "#6C4BC9",
    "ia3": "#009E73",
    "prompt-tuning": "#CC79A7",
    "prefix-tuning": "#3B9BD6",
    "p-tuning": "#8E67D6",
    "adapter": "#A73767",
    "rslora": "#8088F8",
    "dora": "#8860F8",
    "adalora": "#586890",
    "vera": "#256A6D",
    "llama-adapter": "#B870B3",
    "oft": "#897653",
    "ln-tuning": "#B0352A",
    "peft": "#689040",
    "full": "#66634D",
}
OTHER = "#989662"  # a kind that has no colour of its own
SCORES = {  # a short name, and what the axis says
    "em@1": ("EM@1", "first answers that equal the reference (%)"),
    "em@10": ("EM@10", "references found among ten answers (%)"),
    "codebleu": ("CodeBLEU", "CodeBLEU of the first answer (%)"),
    "codebleu_corrected": ("Corrected CodeBLEU", "corrected CodeBLEU of the first answer (%)"),
    "chrf": ("chrF", "chrF of the first answer (%)"),
    "test_accuracy": ("Average accuracy", "tests that the first answer passes (%)"),
    "strict_accuracy": ("Strict accuracy", "first answers that pass all their tests (%)"),
    "pass@1": ("pass@1", "chance that one sampled answer passes all tests (%)"),
    "pass@5": ("pass@5", "chance that one of five sampled answers passes all tests (%)"),
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
        "savefig.facecolor": "auto",
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
    return mpl.rc_context(settings)  # type: ignore[arg-type]  # its stubs list every key as a literal


def empty(height: float, *, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure that pyplot does not know, so that nothing has to be closed and no notebook shows it twice.

    Its axes come row by row, and all share their ranges where there are several columns.
    """
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, sharex=True, sharey=columns > 1, squeeze=False).flat)


def finish(figure: Figure, title: str, subtitle: str, *, right: float = 0.0) -> None:
    """Sets title and margins, so that nothing is cut off; `right` inches beside the axes are kept free."""
    height = figure.get_figheight()
    lines = [line for part in subtitle.split("\n") for line in textwrap.wrap(part, 104)]
    figure.text(EDGE / WIDTH, 1 - EDGE / height, title, size=13, weight="bold", va="top")
    if lines:
        figure.text(EDGE / WIDTH, 1 - (EDGE + 0.28) / height, "\n".join(lines), size=9, color=FAINT, va="top")
    top = EDGE + 0.28 + 0.17 * len(lines) + 0.17
    figure.subplots_adjust(left=0.2, right=0.9, bottom=0.2, top=1 - top / height, hspace=0.16)
    overhang = [_overhang(axes) for axes in figure.axes]
    left = EDGE + max(each[0] for each in overhang)
    lowest = min(axes.get_position().y0 for axes in figure.axes if axes.get_visible())
    under = [each[1] for axes, each in zip(figure.axes, overhang, strict=True) if axes.get_position().y0 <= lowest]
    bottom = EDGE + max(under)
    free = EDGE + max(right, max(each[2] for each in overhang))
    figure.subplots_adjust(left=left / WIDTH, right=1 - free / WIDTH, bottom=bottom / height)


def _overhang(axes: Axes) -> tuple[float, float, float]:
    """Inches that labels need left of, below and right of the axes."""
    inner = axes.get_window_extent()
    outer, dpi = axes.get_tightbbox() or inner, axes.figure.dpi
    return (inner.x0 - outer.x0) / dpi, (inner.y0 - outer.y0) / dpi, max(0.0, (outer.x1 - inner.x1) / dpi)


def check(frame: pd.DataFrame, column: str, known: Iterable[str]) -> None:
    """Raises ValueError for a column that cannot be drawn."""
    if column not in known or column not in frame:
        there = ", ".join(each for each in known if each in frame)
        raise ValueError(f"the column must be one of {there or 'none of this frame'}; got {column!r}")


def top_of(frame: pd.DataFrame, metric: str) -> float:
    """The highest percent of means and intervals."""
    values = frame[[metric, f"{metric}_high"]].to_numpy(dtype=float)
    known = values[~pd.isna(values)]
    return 100 * float(known.max()) if known.size else 0.0


def basis(frame: pd.DataFrame, metric: str) -> str:
    """What the numbers rest on: `conala-mini with tiny · n = 120, 3 seeds (zero-shot 1) · bars: 95 % intervals`."""
    well = frame[frame[metric].notna()]
    if not len(well):
        return "no run has this score"
    parts = [f"{well['task'].iloc[0]} with {well['model'].iloc[0]}", f"{_count(well, metric)}, {_seeds(well)}"]
    if well[f"{metric}_low"].notna().any():
        parts.append("bars: 95 % intervals over examples and seeds")
    if well["limit"].notna().any():
        parts.append("only the first examples: a partial result")
    return " · ".join(parts)


def _count(well: pd.DataFrame, metric: str) -> str:
    low, high = int(well[f"{metric}_n"].min()), int(well[f"{metric}_n"].max())
    return f"n = {low:,}" if low == high else f"n = {low:,} to {high:,}"


def _seeds(well: pd.DataFrame) -> str:
    usual = int(well["seeds"].mode().max())
    others = ", ".join(f"{label} {count}" for label, count in well["seeds"].items() if count != usual)
    return f"{usual} seed{'s' * (usual != 1)}" + (f" ({others})" if others else "")


def joined(names: list[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]

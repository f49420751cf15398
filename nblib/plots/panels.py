"""A small panel a method, each with the others in grey behind it. Draws no data."""

import math
import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nblib.plots.style import FAINT, empty, finish

COLUMNS, PANEL = 4, 1.5  # panels side by side at most; inches that one is high with its name
OTHERS = "#C9C9C9"


def grid(count: int) -> tuple[Figure, list[Axes]]:
    """That many panels on shared axes, in rows of equal length but for the last."""
    rows, columns = _shape(count)
    figure, panels = empty(1.6 + PANEL * rows + (0.9 if rows == 1 else 0), rows=rows, columns=columns)
    for axes in panels[max(count, 1) :]:
        axes.set_visible(False)
    return figure, panels[: max(count, 1)]


def head(axes: Axes, name: str, number: str, shade: str) -> None:
    """The method's name in its colour over a panel, and a number at the end of that line."""
    lines = textwrap.wrap(name, 14, max_lines=2, placeholder=" …")
    axes.set_title("\n".join(lines), loc="left", size=9.5, weight="bold", color=shade, pad=3)
    axes.set_title(number, loc="right", size=9, color=FAINT, pad=3)


def around(figure: Figure, panels: list[Axes], *, x: str, y: str, title: str, subtitle: str) -> None:
    """Labels at the outer panels only, the title, and the margins."""
    rows, columns = _shape(len(panels))
    for place, axes in enumerate(panels):
        axes.grid(axis="y")
        lowest = place + columns >= len(panels)  # nothing stands below it
        axes.tick_params(axis="x", labelbottom=lowest)
        axes.set_xlabel(x if lowest else "")
        axes.set_ylabel("" if place % columns else y)
    finish(figure, title, subtitle)
    figure.subplots_adjust(hspace=0.42 if rows > 1 else 0.2, wspace=0.12)


def _shape(count: int) -> tuple[int, int]:
    rows = max(1, math.ceil(count / COLUMNS))
    return rows, max(1, math.ceil(count / rows))

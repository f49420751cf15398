"""Frames and lengths to figures, in one house style. Computes no statistics and changes no global setting.

    figure = plots.ranking(frame)              frame: what tables.comparison returns
    plots.save(figure, "../figures", "rq1_ranking")
    plots.shown(figure)                        as a cell's last line: the picture with its alternative text

Figures are opaque white, so that they read on light and dark pages; 8 inches wide, as GitHub shows them; every method
has its own colour everywhere, and its name beside it, so that colour is never needed.
"""

from nblib.plots.cost_quality import COSTS, cost_quality
from nblib.plots.endings import ENDINGS, endings
from nblib.plots.lengths import length_histogram
from nblib.plots.picture import Picture, alternative, save, shown
from nblib.plots.ranking import ranking
from nblib.plots.style import COLOURS, OTHER, SCORES, colour, style

__all__ = [
    "COLOURS",
    "COSTS",
    "ENDINGS",
    "OTHER",
    "SCORES",
    "Picture",
    "alternative",
    "colour",
    "cost_quality",
    "endings",
    "length_histogram",
    "ranking",
    "save",
    "shown",
    "style",
]

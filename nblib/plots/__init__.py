"""Turns frames into figures, in one house style. Computes no statistics and changes no setting of matplotlib.

    figure = plots.forest(comparison)          a frame: one line per method, `em@1`, `em@1_low`, `em@1_high` …
    plots.save(figure, "../figures", "rq1_ranking")
    plots.shown(figure)                        as a cell's last line: the picture with its alternative text
    plots.use("dark")                          draws all later figures for a dark page; or "light"

Figures are opaque, white by default, so they read on light and dark pages, and 8 inches wide, as GitHub shows them.
Every method has the same colour everywhere, and its name next to it, so nobody depends on colour.
"""

from nblib.plots.costs import KINDS, NOTHING_FOR_PROMPTS, break_even, memory_by_kind, scatter
from nblib.plots.scores import curves, endings, forest, heat_map, lengths, loss_curve, similarities
from nblib.plots.style import COLOURS, Picture, alternative, colour, save, shipped, shown, svg, use

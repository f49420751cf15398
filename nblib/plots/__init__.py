"""Frames and lengths to figures, in one house style. Computes no statistics and changes no setting of matplotlib.

    figure = plots.ranking(frame)              frame: what tables.comparison returns
    plots.save(figure, "../figures", "rq1_ranking")
    plots.shown(figure)                        as a cell's last line: the picture with its alternative text
    plots.use("dark")                          all figures from there on for a dark page; "light" again for a light one

Figures are opaque, white unless told otherwise, so that they read on light and dark pages; 8 inches wide, as GitHub
shows them; every method has its own colour everywhere, and its name beside it, so that colour is never needed.
"""

from nblib.plots.across_models import across_models
from nblib.plots.break_even import break_even
from nblib.plots.cost_quality import COSTS, cost_quality
from nblib.plots.endings import ENDINGS, endings
from nblib.plots.heat_map import heat_map
from nblib.plots.learning_curves import learning_curves
from nblib.plots.lengths import length_histogram
from nblib.plots.loss_curve import loss_curve
from nblib.plots.mean_ranks import mean_ranks
from nblib.plots.memory import KINDS, memory_by_kind
from nblib.plots.memory_beside import predicted_memory, quality_memory, step_seconds
from nblib.plots.picture import Picture, alternative, save, shown, svg
from nblib.plots.quality_by_length import quality_by_length
from nblib.plots.ranking import ranking
from nblib.plots.sensitivity import sensitivity
from nblib.plots.similarities import similarities
from nblib.plots.style import COLOURS, OTHER, SCORES, colour, style
from nblib.plots.subsets import by_group
from nblib.plots.theme import themed, use

__all__ = [
    "COLOURS",
    "COSTS",
    "ENDINGS",
    "KINDS",
    "OTHER",
    "SCORES",
    "Picture",
    "across_models",
    "alternative",
    "break_even",
    "by_group",
    "colour",
    "cost_quality",
    "endings",
    "heat_map",
    "learning_curves",
    "length_histogram",
    "loss_curve",
    "mean_ranks",
    "memory_by_kind",
    "predicted_memory",
    "quality_by_length",
    "quality_memory",
    "ranking",
    "save",
    "sensitivity",
    "shown",
    "similarities",
    "step_seconds",
    "style",
    "svg",
    "themed",
    "use",
]

"""A figure in which a click on a point chooses its run. Draws nothing, knows no rows."""

from pathlib import Path

import anywidget
import traitlets

PREFIX = "run:"  # of the id that a point has in the SVG, before the run's own; points.js has it too


class Points(anywidget.AnyWidget):
    """A house figure as SVG whose points have the ids of runs; needs a running kernel, as every widget does."""

    _esm = Path(__file__).with_name("points.js")
    _css = """
    .nblib-points svg { max-width: 100%; height: auto; }
    .nblib-points [id^="run:"] { cursor: pointer; pointer-events: bounding-box; }
    .nblib-points [id^="run:"]:focus-visible { outline: 2px solid #3B9BD6; outline-offset: 2px; }
    """
    svg = traitlets.Unicode("").tag(sync=True)  # empty: nothing is shown
    names = traitlets.Dict().tag(sync=True)  # by run: what is said while the mouse is over its point
    chosen = traitlets.Unicode("").tag(sync=True)  # a run; empty: none

"""A finished figure in the colours of a light or a dark page, for as long as it is drawn. Draws no data.

    plots.use("dark")                          once in a notebook: all figures that are shown or saved after it

Shapes keep their colours, but for those that a dark page would swallow. Text keeps its hue, as dark or as light as it
takes to be read.
"""

import colorsys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation, Text

from nblib.plots.panels import OTHERS
from nblib.plots.style import FAINT, GRID, INK

PAGES = {"light": "#FFFFFF", "dark": "#111111"}  # JupyterLab's own
MARK, TEXT = 3.0, 4.5  # the least contrast of shapes and of text, WCAG 2.2, 1.4.11 and 1.4.3
STEP = 0.01  # of lightness
# What on a light page is no colour but light, ink or a rule, on a dark one.
TURNED = {"#FFFFFF": PAGES["dark"], INK: "#EEEEEE", "#000000": "#EEEEEE", FAINT: "#A6A6A6", GRID: "#3D3D3D"}
TURNED_LINES = {OTHERS: "#5C5C5C", "#EEEEEE": "#262626"}
PARTS: dict[type[Artist], tuple[str, ...]] = {
    Text: ("color",),
    Line2D: ("color", "markerfacecolor", "markeredgecolor"),
    Patch: ("facecolor", "edgecolor"),
    Collection: ("facecolor", "edgecolor"),
}
_now = "light"


def use(page: str) -> None:
    """Has all figures from here on shown and saved for a page that is `light` (as at the start) or `dark`.

    Raises ValueError for another page.
    """
    global _now
    if page not in PAGES:
        raise ValueError(f"a page is {' or '.join(PAGES)}; got {page!r}")
    _now = page


def contrast(one: str, other: str) -> float:
    """How far two colours stand out from one another, 1 to 21 (WCAG 2.2)."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def readable(colour: str, page: str, *, least: float = TEXT) -> str:
    """The colour, as dark or as light as it takes to stand out from a page's colour; its hue stays."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*mpl.colors.to_rgb(colour))
    step = STEP if _luminance(page) < 0.18 else -STEP
    while contrast(colour, page) < least:
        lightness += step
        colour = mpl.colors.to_hex(colorsys.hls_to_rgb(hue, min(max(lightness, 0.0), 1.0), saturation))
    return colour


@contextmanager
def themed(figure: Figure) -> Iterator[None]:
    """Inside, the figure has the colours of the page in use; outside, its own."""
    figure.draw_without_rendering()  # makes the ticks and places the text
    fills = [patch for axes in figure.axes for patch in axes.patches if _is_coloured(patch)]
    changed: list[tuple[Callable, Any]] = []
    for artist in _artists(figure):
        on_shape = isinstance(artist, Text) and artist.get_bbox_patch() is None and _is_on(artist, fills)
        for kind, parts in PARTS.items():
            if isinstance(artist, kind) and not on_shape:
                for part in parts:
                    change, value = getattr(artist, f"set_{part}"), getattr(artist, f"get_{part}")()
                    turned = _turned(value, artist, part)
                    if not _is_same(turned, value):  # a shape's own opacity would show what has no colour
                        changed.append((change, value))
                        change(turned)
    try:
        yield
    finally:
        for change, value in changed:
            change(value)


def _artists(figure: Figure) -> Iterator[Artist]:
    """All that has a colour, with the boxes and arrows of texts, which they keep to themselves."""
    for artist in figure.findobj():
        yield artist
        if isinstance(artist, Text) and (box := artist.get_bbox_patch()) is not None:
            yield box
        if isinstance(artist, Annotation) and artist.arrow_patch is not None:
            yield artist.arrow_patch


def _turned(value: Any, artist: Artist, part: str) -> Any:
    """A colour, or several of a collection, on the page in use."""
    if isinstance(value, str) and value in ("none", "auto"):
        return value
    if isinstance(artist, Collection):
        return [_one(each, artist, part) for each in value]
    return _one(value, artist, part)


def _is_same(one: Any, other: Any) -> bool:
    return one is other or np.array_equal(mpl.colors.to_rgba_array(one), mpl.colors.to_rgba_array(other))


def _one(value: Any, artist: Artist, part: str) -> Any:
    *_, alpha = mpl.colors.to_rgba(value)
    colour = mpl.colors.to_hex(value).upper()
    if alpha == 0:
        return value
    if isinstance(artist, Text):
        turned = readable(TURNED.get(colour, colour) if _now == "dark" else colour, PAGES[_now])
    elif _now == "light":
        return value
    else:
        lines = TURNED_LINES if not isinstance(artist, Patch) else {}
        inked = TURNED if part != "facecolor" or colour == "#FFFFFF" else {}  # a bar of ink is a bar
        turned = (inked | lines).get(colour) or readable(colour, PAGES[_now], least=MARK)
    return mpl.colors.to_rgba(turned, alpha)


def _is_coloured(patch: Patch) -> bool:
    *_, alpha = shade = mpl.colors.to_rgba(patch.get_facecolor())
    return patch.get_visible() and alpha > 0.5 and mpl.colors.to_hex(shade).upper() != "#FFFFFF"


def _is_on(text: Text, fills: list[Patch]) -> bool:
    """Whether a text stands on a coloured shape, from which it has its contrast."""
    box = text.get_window_extent()
    middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    return bool(text.get_text()) and any(each.get_window_extent().contains(*middle) for each in fills)


def _luminance(colour: str) -> float:
    shares = mpl.colors.to_rgb(colour)
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

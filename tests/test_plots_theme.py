"""Figures on light and dark pages: read on both, the same method colours on both, and as they were afterwards."""

import io

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from nblib import plots
from nblib.plots import theme
from nblib.plots.style import FAINT, INK, empty, finish

KINDS = list(plots.COLOURS)


@pytest.fixture(params=theme.PAGES)
def page(request):
    """The colour of each page, with figures drawn for it."""
    plots.use(request.param)
    yield theme.PAGES[request.param]
    plots.use("light")


@pytest.fixture
def figure():
    """A point, a hollow one, a line and a name in the colour of each kind; a number in a bar; and what all have."""
    with plots.style():
        figure, (axes,) = empty(6.0)
        for place, kind in enumerate(KINDS):
            shade = plots.colour(kind)
            axes.plot(0, place, "o", color=shade, markeredgecolor="white", gid=kind)
            axes.plot(1, place, "o", markerfacecolor="white", markeredgecolor=shade)
            axes.plot([2, 3], [place, place], color=shade)
            axes.annotate(kind, (3, place), color=shade, bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.9})
        axes.barh(len(KINDS), 3, color="#C9C9C9")
        axes.text(1, len(KINDS), "in a bar", color="black", va="center")
        axes.set(xlabel="across", xlim=(-1, 5))
        axes.grid()
        finish(figure, "Title", "Subtitle")
        figure.set_label("All kinds.")
    return figure


def named(colour) -> str:
    return mpl.colors.to_hex(colour).upper()


def test_all_text_is_read_on_its_page(figure, page):
    with theme.themed(figure):
        texts = [each for each in figure.findobj(Text) if each.get_text() and each.get_text() != "in a bar"]
        assert {"Title", "Subtitle", "across", *KINDS} <= {each.get_text() for each in texts}
        faint = {each.get_text(): round(theme.contrast(named(each.get_color()), page), 2) for each in texts}
        boxes = {named(each.get_bbox_patch().get_facecolor()) for each in texts if each.get_bbox_patch()}
    assert {text: ratio for text, ratio in faint.items() if ratio < 4.5} == {}  # WCAG 2.2, 1.4.3
    assert boxes == {page}


def test_what_has_no_edge_gets_none(figure, page):
    boxes = [each.get_bbox_patch() for each in figure.findobj(Text) if each.get_bbox_patch()]
    for _ in range(2):
        with theme.themed(figure):
            assert {each.get_edgecolor()[3] for each in boxes} == {0}
        assert {each.get_edgecolor()[3] for each in boxes} == {0}


@pytest.mark.parametrize("kind", [*KINDS, "something-new"])
def test_a_method_stands_out_from_both_pages_in_one_colour(kind):
    for page in theme.PAGES.values():
        assert theme.contrast(plots.colour(kind), page) >= 3  # WCAG 2.2, 1.4.11


def test_points_and_lines_keep_the_colours_of_their_methods(figure, page):
    (axes,) = figure.axes
    with theme.themed(figure):
        full, hollow, line = axes.lines[0], axes.lines[1], axes.lines[2]
        assert [named(each.get_markerfacecolor()) for each in (full, hollow)] == [plots.colour(KINDS[0]), page]
        assert named(full.get_markeredgecolor()) == page
        assert [named(hollow.get_markeredgecolor()), named(line.get_color())] == 2 * [plots.colour(KINDS[0])]
        marked = [named(each.get_markerfacecolor()) for each in axes.lines if each.get_gid()]
    assert marked == [plots.colour(kind) for kind in KINDS]


def test_a_number_in_a_bar_keeps_its_contrast_with_the_bar(figure, page):
    (axes,) = figure.axes
    with theme.themed(figure):
        (text,) = (each for each in axes.texts if each.get_text() == "in a bar")
        assert theme.contrast(named(text.get_color()), named(axes.patches[0].get_facecolor())) >= 4.5


def test_the_page_is_the_figures_ground_in_both_formats(figure, page, tmp_path):
    for path in plots.save(figure, tmp_path, "figure"):
        if path.suffix == ".png":
            pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
            assert {tuple(pixels[0, 0]), tuple(pixels[-1, -1])} == {tuple(bytes.fromhex(page[1:]))}
        else:
            assert f"fill: {page.lower()}" in path.read_text()


def test_a_figure_that_was_drawn_for_a_dark_page_is_the_light_one_again(figure, tmp_path):
    before = plots.shown(figure).png
    try:
        plots.use("dark")
        assert plots.shown(figure).png != before
    finally:
        plots.use("light")
    assert plots.shown(figure).png == before


def test_what_is_dark_on_a_dark_page_grows_lighter_in_its_hue():
    assert theme.readable(FAINT, "#FFFFFF") == FAINT
    found = theme.readable("#332288", "#111111", least=3)
    assert theme.contrast(found, "#111111") >= 3
    hues = [mpl.colors.rgb_to_hsv(mpl.colors.to_rgb(each))[0] for each in ("#332288", found)]
    assert hues[0] == pytest.approx(hues[1], abs=0.01)
    assert theme.contrast(INK, "#FFFFFF") == pytest.approx(15.9, abs=0.05)


def test_another_page_is_refused():
    with pytest.raises(ValueError, match="a page is light or dark; got 'solarized'"):
        plots.use("solarized")

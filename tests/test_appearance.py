"""What is committed fits where people read it: tables on GitHub's page, texts of figures beside one another."""

import itertools
import json
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D, Bbox

from nblib.provenance import ROOT

WIDTH = 800  # pixels of GitHub's page
STYLE = """<style>body { margin: 0; width: 800px; font: 14px "DejaVu Sans", sans-serif }
table { border-collapse: collapse } td, th { padding: 6px 13px; border: 1px solid } pre { font-size: 12px }</style>"""
MEASURED = """() => [...document.querySelectorAll("table")].map(table => [table.offsetWidth,
    [...table.querySelectorAll("td")]
        .filter(cell => /\\sto\\s.*\\)$/.test(cell.innerText) && cell.innerText.length < 40)
        .map(cell => {
            const letters = document.createRange();
            letters.selectNodeContents(cell);
            return letters.getBoundingClientRect().height;
        })])"""
SVG = "{http://www.w3.org/2000/svg}"
FIGURES = sorted(path for path in (ROOT / "figures").glob("*.svg") if path.with_suffix(".png").exists())


# --- figures --------------------------------------------------------------------------------------------------------


def texts(svg: ElementTree.Element) -> Iterator[tuple[str, Bbox]]:
    """What is written in a figure of ours, with its box in points, measured in the font that it names first."""
    for node in svg.iter(f"{SVG}text"):
        style = dict(part.split(": ", 1) for part in node.get("style", "").split("; "))
        size, weight = float(style["font-size"].removesuffix("px")), int(style.get("font-weight", 400))
        font = FontProperties(family="DejaVu Sans", style=style.get("font-style", "normal"), weight=weight, size=size)
        box = TextPath((0, 0), node.text, prop=font).get_extents()
        left = {"middle": -box.width / 2, "end": -box.width}.get(style.get("text-anchor", "start"), 0.0)
        turned = re.search(r"rotate\((\S+?)[ )]", node.get("transform"))
        moved = re.search(r"translate\((\S+) (\S+)\)", node.get("transform"))  # of texts of several lines
        x, y = moved.groups() if moved else (node.get("x"), node.get("y"))
        place = Affine2D().translate(left, 0).scale(1, -1).rotate_deg(float(turned[1]) if turned else 0)
        yield node.text, box.transformed(place.translate(float(x), float(y)))


def covered(svg: ElementTree.Element) -> list[tuple[str, str]]:
    """Texts that lie on one another, on a point, or beyond the figure's edge."""
    width, height = (float(number) for number in svg.get("viewBox").split()[2:])
    found = [(text, box.padded(-0.5)) for text, box in texts(svg)]
    pairs = [(a, b) for (a, one), (b, other) in itertools.combinations(found, 2) if one.overlaps(other)]
    runs = [group for group in svg.iter(f"{SVG}g") if group.get("id", "").startswith("run:")]
    points = [(float(use.get("x")), float(use.get("y"))) for group in runs for use in group.iter(f"{SVG}use")]
    pairs += [(text, f"the point at {at}") for text, box in found for at in points if box.contains(*at)]
    return pairs + [
        (text, "the edge") for text, box in found if not (box.min >= 0).all() or (box.max > (width, height)).any()
    ]


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: path.stem)
def test_no_text_of_a_figure_covers_another_or_a_point(path):
    assert covered(ElementTree.parse(path).getroot()) == []


@pytest.mark.parametrize("moved", ["another", "point", "edge"])
def test_a_text_that_covers_something_is_found(moved):
    svg = ElementTree.parse(ROOT / "figures" / "rq4_tiny_conala-mini_quality.svg").getroot()
    one, other = [node for node in svg.iter(f"{SVG}text") if node.get("x")][-2:]
    point = next(
        use for group in svg.iter(f"{SVG}g") if "run:" in group.get("id", "") for use in group.iter(f"{SVG}use")
    )
    place = {"another": other, "point": point, "edge": {"x": "578", "y": "20"}}[moved]
    one.attrib |= {"x": str(float(place.get("x")) - 2), "y": str(float(place.get("y")) + 2)}
    assert covered(svg)


# --- tables ---------------------------------------------------------------------------------------------------------


def shown() -> Iterator[tuple[str, str]]:
    """Where a table is, and its HTML: those of the notebooks' outputs, of README and of docs."""
    import mistune

    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", ()):
                html = "".join(output.get("data", {}).get("text/html", ()))
                yield from (
                    (f"{path.stem}: {cell['id']}", table) for table in re.findall("(?s)<table.*?</table>", html)
                )
    markdown = mistune.create_markdown(plugins=["table"])
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        html = markdown(path.read_text(encoding="utf-8"))
        yield from ((path.stem, table) for table in re.findall("(?s)<table.*?</table>", html))


@pytest.fixture(scope="module")
def measure(browser):
    """Gives the width of each table of a page in Chromium, and the heights of its texts that end with an interval."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 600})

    def measured(tables: list[str]) -> list:
        page.set_content(STYLE + "".join(tables))
        return page.evaluate(MEASURED)

    return measured


@pytest.mark.slow
def test_every_table_fits_the_page_and_scores_stand_on_one_line(measure):
    places, tables = zip(*shown(), strict=True)
    found = dict.fromkeys(places)
    for place, (width, heights) in zip(places, measure(list(tables)), strict=True):
        found[place] = f"{width} pixels" if width > WIDTH else "broken scores" if max(heights, default=0) > 25 else None
    assert {place: problem for place, problem in found.items() if problem} == {}


@pytest.mark.slow
def test_a_wide_table_and_a_broken_score_are_found(measure):
    wide = f"<table><tr><td nowrap>{'many words ' * 20}</td></tr></table>"
    broken = f"<table><tr><td>82.0 (76.4 to 86.9)</td>{'<td>much</td>' * 20}</tr></table>"
    (width, _), (_, heights) = measure([wide, broken])
    assert width > WIDTH
    assert max(heights) > 25

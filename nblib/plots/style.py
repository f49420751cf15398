"""What all figures share: page, colours, names and units of columns, margins, words, files. Draws no data."""

import base64
import colorsys
import io
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nblib import files

WIDTH, EDGE, DPI = 8.0, 0.2, 150  # inches, as wide as GitHub shows them; inches around everything; dots an inch
GIB, MIB = 2**30, 2**20


class Page(NamedTuple):
    ground: str
    ink: str  # of text
    faint: str  # of less important text and of axes
    rule: str  # of the grid
    others: str  # of lines in the background


PAGES = {  # dark: JupyterLab's own
    "light": Page("#FFFFFF", "#222222", "#595959", "#DDDDDD", "#C9C9C9"),
    "dark": Page("#111111", "#EEEEEE", "#A6A6A6", "#3D3D3D", "#5C5C5C"),
}
_page = "light"
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
COSTS = {
    "train_seconds": ("training time", "training time (seconds a seed)"),
    "generate_seconds": ("generation time", "generation time (seconds a seed)"),
    "prompt_tokens": ("prompt length", "prompt length (tokens a query)"),
    "trainable_parameters": ("trained parameters", "trained parameters"),
    "peak_bytes": ("peak memory", "peak memory (bytes)"),
}
NAMES = (
    SCORES
    | COSTS
    | {
        "mean_rank": ("Mean rank", "mean rank (1: best on every benchmark)"),
        "memory_bytes": ("memory", "memory (bytes)"),
        "step_seconds": ("Time of a training step", "seconds a training step, validation losses included"),
        "loss": ("Validation loss", "loss"),
    }
)
MEASURES = {  # what a frame's memory_bytes are, by its column `measured`
    "allocated peak": "peak of training, allocated on the GPU",
    "sum of tensors": "tensors of a training step",
    "tensors without logits": "tensors of a training step without logits",
    "predicted": "predicted tensors of a training step",
}
STATUS = {"out_of_memory": "out of memory", "failed": "failed", "missing": "not run"}


# --- the page and its colours ---------------------------------------------------------------------------------------


def use(name: str) -> None:
    """Has all figures from here on made for a page that is `light` (as at the start) or `dark`.

    Raises ValueError for another page.
    """
    global _page
    if name not in PAGES:
        raise ValueError(f"a page is {' or '.join(PAGES)}; got {name!r}")
    _page = name


def page() -> Page:
    """The page in use."""
    return PAGES[_page]


def colour(kind: str) -> str:
    """The colour of a kind of method, the same in every figure and on every page."""
    return COLOURS.get(kind, OTHER)


def contrast(one: str, other: str) -> float:
    """How far two colours stand out from one another, 1 to 21 (WCAG 2.2)."""
    shares = np.array([mpl.colors.to_rgb(one), mpl.colors.to_rgb(other)])
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return float((light + 0.05) / (dark + 0.05))


def readable(shade: str, least: float = 4.5) -> str:
    """A colour for text: as dark or as light as it takes to be read on the page (WCAG 2.2, 1.4.3); its hue stays."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*mpl.colors.to_rgb(shade))
    while contrast(shade, page().ground) < least:
        lightness = min(max(lightness + (0.01 if _page == "dark" else -0.01), 0.0), 1.0)
        shade = mpl.colors.to_hex(colorsys.hls_to_rgb(hue, lightness, saturation))
    return shade


def fill(shade: str) -> str:
    """The colour of a bar: itself, unless a dark page would swallow it."""
    return readable(shade, 3.0) if _page == "dark" else shade


def on(shade: Any) -> str:
    """Black or white, whichever is read better on a colour."""
    return max("#000000", "#FFFFFF", key=lambda ink: contrast(ink, shade))


# --- figures --------------------------------------------------------------------------------------------------------


def context() -> AbstractContextManager:
    """The house style on the page in use; outside of it nothing changes."""
    ground, ink, faint, rule, _ = page()
    settings: dict[str, Any] = sns.axes_style("ticks") | {"font.family": "sans-serif", "font.size": 10}
    settings["font.sans-serif"] = ["DejaVu Sans", "Verdana", "sans-serif"]  # as wide: SVG text keeps its place
    settings |= {"legend.fontsize": 9, "legend.frameon": False, "axes.axisbelow": True, "savefig.facecolor": "auto"}
    settings |= {"axes.spines.top": False, "axes.spines.right": False, "grid.color": rule}
    settings |= {"svg.fonttype": "none", "svg.hashsalt": "nblib"}  # text stays text; the same ids each time
    settings |= dict.fromkeys(("figure.facecolor", "axes.facecolor"), ground)
    settings |= dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), ink)
    settings |= dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), faint)
    return mpl.rc_context(settings)  # type: ignore[arg-type]  # its stubs list every key as a literal


def empty(height: float, rows: int = 1, columns: int = 1, **settings) -> tuple[Figure, list[Axes]]:
    """A figure that pyplot does not know, so that nothing has to be closed and no notebook shows it twice."""
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **settings).flat)


def finish(figure: Figure, title: str, words: tuple[str, str], *, gap: float = 0.0, **legend) -> None:
    """Sets the title, the line under it and the alternative text; places axes so that nothing is cut off.

    `gap` are inches between panels; `legend` are settings of one that stands under the axes.
    """
    height, lines = figure.get_figheight(), [line for part in words[0].split("\n") for line in textwrap.wrap(part, 108)]
    figure.text(EDGE / WIDTH, 1 - EDGE / height, title, size=13, weight="bold", va="top")
    figure.text(EDGE / WIDTH, 1 - (EDGE + 0.28) / height, "\n".join(lines), size=9, color=page().faint, va="top")
    figure.set_label(words[1])
    figure.subplots_adjust(left=0.2, right=0.8, bottom=0.2, top=0.8, hspace=0)
    seen: list[Any] = [axes for axes in figure.axes if axes.get_visible()]
    margins = [axes.get_tightbbox().extents - axes.get_window_extent().extents for axes in seen]
    around = EDGE + np.abs(margins) / figure.dpi  # inches that labels need
    grids = [axes.get_subplotspec() for axes in seen]
    left, right, top = around[:, 0].max(), around[:, 2].max(), around[:, 3].max() + EDGE + 0.28 + 0.17 * len(lines)
    bottom = max(around[place, 1] for place, grid in enumerate(grids) if grid.is_last_row())
    bottom += 0.1 + 0.18 * -(-len(legend["handles"]) // legend["ncols"]) if legend else 0.0
    rows = grids[0].get_gridspec().nrows
    hspace = gap * rows / (height - bottom - top - gap * (rows - 1))
    figure.subplots_adjust(left / WIDTH, bottom / height, 1 - right / WIDTH, 1 - top / height, hspace=hspace)
    if legend:
        corner = {"bbox_to_anchor": (left / WIDTH, 0.07 / height), "borderaxespad": 0, "columnspacing": 1.2}
        figure.legend(loc="lower left", **corner, **legend)


def numbers(axis, *, plain: int = 6, integer: bool = False) -> None:
    """Round numbers on an axis, in full: 10,000."""
    axis.set_major_locator(MaxNLocator(plain, steps=[1, 2, 5, 10], integer=integer))
    axis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))


def amount(value: float) -> str:
    """`0.1`, `10,000`, `2.16 million`."""
    size, name = next((each for each in ((1e9, " billion"), (1e6, " million")) if abs(value) >= each[0]), (1, ""))
    return f"{value / size:.3g}{name}" if name else f"{value:,.10g}"


def at_right(axes: Axes, place: float, points: float, text: str, **looks) -> None:
    """A text in a column at the right of the axes, which ends so many points from them."""
    looks = {"ha": "right", "va": "center_baseline", "textcoords": "offset points"} | looks
    axes.annotate(text, (1, place), (points, 0), xycoords=axes.get_yaxis_transform(), **looks)


# --- columns, their names and units ---------------------------------------------------------------------------------


def tidy(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame with its methods and their kinds as columns. Raises ValueError for a column that it lacks."""
    first = columns[0] if columns else ""
    if "low" in frame and f"{first}_low" not in frame:
        frame = frame.rename(columns={end: f"{first}_{end}" for end in ("low", "high")})
    if "method" not in frame:
        frame = frame.assign(method=frame["label"]) if "label" in frame else frame.reset_index(names="method")
    for column in columns:
        if column not in frame:
            known = ", ".join(each for each in NAMES if each in frame)
            raise ValueError(f"the column must be one of {known or 'none of this frame'}; got {column!r}")
    if "kind" in frame:
        return frame
    return frame.assign(kind=frame["method"].astype(str).str.replace(r"-\d+\b.*", "", regex=True))


def short(column: str) -> str:
    """`EM@1`, `training time`."""
    return NAMES.get(column, (column.replace("_", " "), ""))[0]


def unit(column: str, largest: float = GIB) -> tuple[float, str]:
    """What one on the axis is in the frame, and its sign: %, GiB (of less than one: MiB), s, or none."""
    if column in SCORES or column.endswith("_share") or column.startswith("ended "):
        return 0.01, "%"
    if column.endswith("_bytes"):
        return (GIB, "GiB") if largest >= GIB else (MIB, "MiB")
    return 1, "s" if column.endswith("_seconds") else "tokens" if column.endswith("_tokens") else ""


def axis_label(frame: pd.DataFrame, column: str, *, brief: bool = False, largest: float | None = None) -> str:
    """`training time (seconds a seed)`, `tensors of a training step (MiB)`, brief `EM@1 (%)`."""
    if brief and column in SCORES:
        return f"{short(column)} (%)"
    said = NAMES.get(column, ("", column.replace("_", " ")))[1]
    if column == "memory_bytes" and "measured" in frame and len(frame):
        said = f"{MEASURES.get(frame['measured'].iloc[0], 'memory')} (bytes)"
    return said.replace("(bytes)", f"({unit(column, largest or frame[column].max())[1]})")


def number(value: float, column: str, *, sign: bool = True) -> str:
    """`45.2 %`, `1.5 GiB`, `41.3 s`, `98,304`."""
    one, of = unit(column, abs(value))
    digits = {"%": ".1f", "GiB": ",.1f", "MiB": ",.1f", "s": ",.3g", "tokens": ",.0f"}.get(of)
    digits = digits or {"mean_rank": ".2f", "loss": ".3f"}.get(column) or (",.0f" if abs(value) >= 100 else ",.3g")
    return f"{value / one:{digits}}{f' {of}' if sign and of else ''}"


# --- words ----------------------------------------------------------------------------------------------------------


def describe(
    frame: pd.DataFrame,
    metric: str,
    title: str,
    *,
    by: Sequence[str] = ("method",),
    at: str = "",
    parts: Mapping[str, str] | None = None,
) -> tuple[str, str]:
    """What stands under a figure's title, and its alternative text.

    The first says what the numbers rest on: tasks, model, examples, seeds. The second holds the title and each line of
    the frame: its names `by`, its number or why there is none, its interval, the column `at`, and the `parts` (column
    to name) that are not zero.
    """
    lines = []
    for _, row in frame.iterrows():
        told = [said(row, metric)] if metric else []
        told += [f"at {number(row[at], at)}"] if at and not pd.isna(row[at]) else []
        inside = [f"{number(row[each], each)} {name}" for each, name in (parts or {}).items() if row.get(each, 0) > 0]
        told += [f"({', '.join(inside)})" if metric else ", ".join(inside) or "no result"] if parts else []
        named = ", ".join(str(row[each]) for each in by)
        lines.append(f"{named}{':' * (len(by) > 1)} {' '.join(told)}")
    return _basis(frame, metric, by), f"{title}. {'; '.join(lines) or 'There is nothing to show'}."


def said(row: pd.Series, column: str) -> str:
    """A number with its interval, `45.2 % (39.2 to 51.2)`, or why there is none."""
    if pd.isna(row[column]):
        return STATUS.get(str(row.get("status")), "no score")
    if pd.isna(low := row.get(f"{column}_low")):
        return number(row[column], column)
    ends = (number(each, column, sign=False) for each in (low, row[f"{column}_high"]))
    return f"{number(row[column], column)} ({' to '.join(ends)})"


def _basis(frame: pd.DataFrame, metric: str, by: Sequence[str]) -> str:
    """`conala-mini with tiny · n = 120, 1 to 3 seeds · bars: 95 % intervals over examples and seeds`."""
    well = frame[frame[metric].notna()] if metric else frame
    if well.empty:
        return "there is nothing to show" if frame.empty else "no run has this number"
    there = [each for each in ("method", "task", "model", "device", "split") if each in well and each not in by]
    named = {each: joined(sorted(set(well[each]))) for each in there}
    if named.get("split", "test") != "test":
        named["task"] += f" ({named['split']})"
    parts = [*frame.attrs.get("places", []), named.get("method", "") * ("label" not in by)]  # labels say it
    parts.append(" with ".join(named[each] for each in ("task", "model") if each in named))
    parts += [f"measured on {named['device']}"] if "device" in named else []
    counts = [_range(well[f"{metric}_n"], "n = ", "")] if f"{metric}_n" in well else []
    counts += [_range(well["seeds"], "", " seeds")] if "seeds" in well else []
    parts.append(", ".join(counts))
    if f"{metric}_low" in well and well[f"{metric}_low"].notna().any():
        parts.append("bars: 95 % intervals" + " over examples and seeds" * ("seeds" in well))
    if "limit" in well and well["limit"].notna().any():
        parts.append("only the first examples: a partial result")
    return " · ".join(each for each in parts if each)


def _range(counts: pd.Series, before: str, after: str) -> str:
    low, high = int(counts.min()), int(counts.max())
    after = after if high != 1 else after.rstrip("s")
    return f"{before}{low:,}{after}" if low == high else f"{before}{low:,} to {high:,}{after}"


def joined(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = [str(each) for each in names] or [""]
    return f"{', '.join(first)} and {last}" if first else last


# --- to files and notebooks -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A figure that Jupyter shows as PNG, with its alternative text, which nbconvert reads and a terminal prints."""

    png: bytes = field(repr=False)
    alternative: str

    def __repr__(self) -> str:
        return self.alternative

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alternative}
        # shown at 800 pixels, drawn at 1200: sharp on fine screens
        return data, {"image/png": {"alt": self.alternative, "width": round(100 * WIDTH)}}


def alternative(figure: Figure) -> str:
    """What a figure shows, in words."""
    return str(figure.get_label()) or "A figure."


def shown(figure: Figure, *, alt: str | None = None, dpi: int = DPI) -> Picture:
    """The figure for the end of a cell."""
    return Picture(_png(figure, alt or alternative(figure), dpi), alt or alternative(figure))


def save(figure: Figure, folder: str | Path, name: str, *, alt: str | None = None) -> list[Path]:
    """Writes name.png and name.svg, each whole or not at all, with the alternative text inside.

    The same figure gives the same bytes: no date, no random ids.
    """
    folder, said = Path(folder), alt or alternative(figure)
    contents = {".png": _png(figure, said), ".svg": svg(figure, alt=said).encode()}
    for ending, content in contents.items():
        files.write(folder / f"{name}{ending}", content)
    return [folder / f"{name}{ending}" for ending in contents]


def svg(figure: Figure, *, alt: str | None = None) -> str:
    """The figure as SVG with its alternative text; artists that have a gid have it as their element's id.

    matplotlib writes descriptions into metadata only, where no screen reader looks, so there is a <desc> as well.
    """
    said = escape(alt or alternative(figure))
    target = io.StringIO()
    with context():
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    described = f' role="img" aria-label="{said}">\n <desc>{said}</desc>'
    return re.sub(r"(?<=<svg)\b([^>]*)>", lambda found: found[1] + described, target.getvalue(), count=1)


def _png(figure: Figure, said: str, dpi: int = DPI) -> bytes:
    """In 256 colours: a third of the bytes, and only pixels of rounded edges change."""
    drawn, target = io.BytesIO(), io.BytesIO()
    with context():
        figure.savefig(drawn, format="png", dpi=dpi)
    small = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    described = PngInfo()
    described.add_text("Description", said)
    small.save(target, format="png", optimize=True, dpi=(dpi, dpi), pnginfo=described)
    return target.getvalue()

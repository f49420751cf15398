"""What all figures share: page, colours, names and units of columns, layout, words, files. Draws no data."""

import colorsys
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from IPython import display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nblib import files, results
from nblib.columns import MEANINGS, NAMES, SCORES, listed, scale, short, unit, written

WIDTH, EDGE, DPI = 8.0, 0.2, 150  # inches, as wide as GitHub shows them; inches around everything; dots an inch


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
# One a kind of method, related ones in related hues where there is room: LoRA's kin are blue to pink, learned tokens
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
    "loraplus": "#8C23DC",
    "lora-fa": "#B937B4",
    "pissa": "#DC64D2",
    "eva": "#CD0591",
    "corda": "#FF508C",
    "gralora": "#E16469",
    "randlora": "#FA553C",
    "miss": "#A06923",
    "road": "#5FA53C",
    "trainable-tokens": "#556932",
    "vera": "#256A6D",
    "llama-adapter": "#B870B3",
    "oft": "#897653",
    "ln-tuning": "#B0352A",
    "peft": "#689040",
    "full": "#66634D",
}
OTHER = "#989662"  # a kind that has no colour of its own


# --- the page and its colours ---------------------------------------------------------------------------------------


def use(name: str) -> None:
    """Draws all later figures for a page that is `light` (as at the start) or `dark`.

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


def contrast(one: Any, other: Any) -> float:
    """How far two colours stand out from one another, 1 to 21 (WCAG 2.2)."""
    dark, light = sorted(sns.utils.relative_luminance(shade) for shade in (one, other))
    return (light + 0.05) / (dark + 0.05)


def readable(shade: str, minimum: float = 4.5) -> str:
    """A colour for text: as dark or as light as it takes to be read on the page (WCAG 2.2, 1.4.3); its hue stays."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*mpl.colors.to_rgb(shade))
    while contrast(shade, page().ground) < minimum:
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


def subplots(height: float, rows: int = 1, columns: int = 1, **settings) -> tuple[Figure, list[Axes]]:
    """A figure that pyplot does not know, so that nothing has to be closed and no notebook shows it twice."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **settings).flat)


def stacked(
    frame: pd.DataFrame, by: str, inches: float, around: float, **settings
) -> tuple[Figure, list[tuple[Axes, str, pd.DataFrame]]]:
    """A panel for each value of a column, one below the other, so many `inches` a line of the frame and `around` it."""
    blocks = list(frame.groupby(by, sort=False, observed=True)) if by else []
    blocks = blocks or [("", frame)]
    height = 1.3 + sum(inches * len(block) + around for _, block in blocks)
    ratios = [len(block) + 0.2 for _, block in blocks]
    figure, panels = subplots(height, len(blocks), height_ratios=ratios, **settings)
    return figure, [(axes, str(name), block) for axes, (name, block) in zip(panels, blocks, strict=True)]


def finish(figure: Figure, title: str, notes: str, words: str, legend: Axes | None = None) -> Figure:
    """Sets title, lines under it, alternative text, and the legend of these axes under all; then lays all of it out."""
    height, lines = figure.get_figheight(), [line for part in notes.split("\n") for line in textwrap.wrap(part, 108)]
    titles = textwrap.wrap(title, 66)
    below = EDGE + 0.06 + 0.22 * len(titles)
    head = below + 0.08 + 0.17 * len(lines)
    figure.text(EDGE / WIDTH, 1 - EDGE / height, "\n".join(titles), size=13, weight="bold", va="top")
    figure.text(EDGE / WIDTH, 1 - below / height, "\n".join(lines), size=9, color=page().faint, va="top")
    figure.set_label(words)
    handles, names = legend.get_legend_handles_labels() if legend else ([], [])
    if names:
        columns = max(1, 125 // (max(map(len, names)) + 5))
        figure.legend(handles, names, loc="outside lower center", ncols=columns, handlelength=1, columnspacing=1.2)
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=EDGE / 2, h_pad=EDGE / 2, rect=(EDGE / 2 / WIDTH, 0, 1 - EDGE / WIDTH, 1 - head / height))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # where things are is settled: names of points are placed after it
    for axes in figure.axes:  # but for the last digits, which differ from time to time and name the clips of an SVG
        axes.set_position(np.round(axes.get_position(original=True).bounds, 9))
    return figure


AMOUNTS = FuncFormatter(lambda value, _: amount(value))


def numbers(axis, *, plain: int = 6, integer: bool = False) -> None:
    """Round numbers on an axis, in full: 10,000."""
    axis.set_major_locator(MaxNLocator(plain, steps=[1, 2, 5, 10], integer=integer))
    axis.set_major_formatter(AMOUNTS)


def logarithmic(axis, steps: Sequence[float] = (1, 2, 5)) -> None:
    """A logarithmic axis with these ticks in each power of ten, in full."""
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(AMOUNTS)
    axis.set_minor_locator(NullLocator())


def amount(value: float) -> str:
    """`0.1`, `10,000`, `2.16 million`."""
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:,.10g}"


def wrapped(text: str, width: int) -> str:
    """The text in lines of so many letters, two at most."""
    return "\n".join(textwrap.wrap(text, width, max_lines=2, placeholder=" …"))


def at_right(axes: Axes, places: Sequence[float] | np.ndarray, texts: Sequence[str]) -> None:
    """A column of texts at the right of the axes, each as far down as its line."""
    column = axes.secondary_yaxis("right")
    column.set_yticks(places, texts, size=9.5)
    column.tick_params(length=0)
    column.spines["right"].set_visible(False)


# --- columns --------------------------------------------------------------------------------------------------------


def tidy(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame with its methods as a column. Raises ValueError for a column that it lacks."""
    if "method" not in frame:
        frame = frame.assign(method=frame["label"]) if "label" in frame else frame.reset_index(names="method")
    for column in columns:
        if column not in frame:
            known = ", ".join(name for name in NAMES if name in frame)
            raise ValueError(f"the column must be one of {known or 'none of this frame'}; got {column!r}")
    return frame


def axis_label(frame: pd.DataFrame, column: str, *, brief: bool = False, largest: float | None = None) -> str:
    """`EM@1 (%): first answers that equal the reference`, `training memory (MiB): sum of tensors`, brief `EM@1 (%)`."""
    sign, about = scale(column, largest or frame[column].max())[1], MEANINGS.get(column, "")
    if column == "memory_bytes" and "measured" in frame and len(frame):
        about = frame["measured"].iloc[0]
    return short(column) + f" ({sign})" * bool(sign) + f": {about}" * bool(about and not brief)


def number(value: float, column: str) -> str:
    """`45.2 %`, `1.5 GiB`, `41.3 s`, `98,304`."""
    return f"{written(value, column)} {unit(column)}".rstrip()


def ends(frame: pd.DataFrame, column: str) -> tuple[pd.Series, pd.Series]:
    """How far the bars of a column reach: its interval, else a standard deviation to both sides; else nowhere."""
    spread = frame.get(f"{column}_sd", pd.Series(0.0, frame.index)).astype(float).fillna(0.0)
    value = frame[column].astype(float)
    low, high = (frame.get(f"{column}_{end}", value).astype(float) for end in ("low", "high"))
    return (low, high) if f"{column}_low" in frame else (value - spread, value + spread)


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
        texts = [value_text(row, metric)] if metric else []
        texts += [f"at {number(row[at], at)}"] if at and not pd.isna(row[at]) else []
        inside = [f"{number(row[part], part)} {name}" for part, name in (parts or {}).items() if row.get(part, 0) > 0]
        texts += [f"({', '.join(inside)})" if metric else ", ".join(inside) or "no result"] if parts else []
        named = ", ".join(str(row[name]) for name in by)
        lines.append(f"{named}{':' * (len(by) > 1)} {' '.join(texts)}")
    return _basis(frame, metric, by, at), f"{title}. {'; '.join(lines) or 'There is nothing to show'}."


def value_text(row: pd.Series, column: str) -> str:
    """A number with its interval, `45.2 % (39.2 to 51.2)`, or why there is none."""
    if pd.isna(row[column]):
        status = str(row.get("status", "ok")).replace("_", " ")
        return {"ok": "no score", "missing": "not run"}.get(status, status)
    if pd.notna(spread := row.get(f"{column}_sd")) and f"{column}_low" not in row:
        return f"{written(row[column], column)} ± {written(spread, column, beside=row[column])} {unit(column)}"
    if pd.isna(low := row.get(f"{column}_low")):
        return number(row[column], column)
    return f"{number(row[column], column)} ({written(low, column)} to {written(row[f'{column}_high'], column)})"


def _basis(frame: pd.DataFrame, metric: str, by: Sequence[str], at: str) -> str:
    """`conala-mini with tiny · n = 120, 1 to 3 seeds · bars: 95 % intervals over examples`."""
    frame = frame[frame[metric].notna()] if metric and len(frame) else frame
    if frame.empty:
        return "there is nothing to show"
    names = [name for name in ("method", "task", "model", "device", "split") if name in frame and name not in by]
    named = {name: listed(sorted(set(frame[name]))) for name in names}
    if named.get("split", "test") != "test":
        named["task"] += f" ({named['split']})"
    parts = [*frame.attrs.get("places", []), named.get("method", "") * ("label" not in by)]  # labels say it
    parts.append(" with ".join(named[name] for name in ("task", "model") if name in named))
    parts += [f"measured on {named['device']}"] if "device" in named else []
    counts = {"n = {}": f"{metric}_n", "{} seeds": "seeds"}
    parts.append(", ".join(_range(frame[name], text) for text, name in counts.items() if name in frame))
    rank = frame.get(f"{metric}_rank", pd.Series(dtype=float))
    parts.append("with one seed not ranked" if rank.isna().any() and rank.notna().any() else "")
    if f"{metric}_low" in frame and frame[f"{metric}_low"].notna().any():
        several = ("", " and, where several, seeds")[bool((frame["seeds"] > 1).any())] if "seeds" in frame else ""
        parts.append(f"bars: 95 % intervals over {'seeds' if metric.endswith('_nats') else f'examples{several}'}")
    if any(f"{name}_sd" in frame and frame[f"{name}_sd"].notna().any() for name in (metric, at) if "_seconds" in name):
        parts.append("bars of seconds: ± standard deviation over seeds")
    if "limit" in frame and frame["limit"].notna().any():
        parts.append("only the first examples: a partial result")
    return " · ".join(filter(None, parts))


def _range(counts: pd.Series, text: str) -> str:
    low, high = int(counts.min()), int(counts.max())
    return text.format(f"{low:,}" if low == high else f"{low:,} to {high:,}").removesuffix("s" * (high == 1))


# --- titles ---------------------------------------------------------------------------------------------------------


def finding(frame: pd.DataFrame, metric: str, name: str = "method", *, within: str = "") -> str:
    """What a figure of that column shows: the best scores, of each value of `within`; of costs from where to where.

    The best is one of the lines that tables rank: what varies with the seed and has one seed is shown, not judged.
    """
    frame = frame[frame[metric].notna()] if metric in frame else frame[:0]
    if f"{metric}_rank" in frame and frame[f"{metric}_rank"].notna().any():
        frame = frame[frame[f"{metric}_rank"].notna()]
    if frame.empty:
        return capital(short(metric))
    value, is_cost = frame[metric].astype(float), metric not in (*SCORES, "mean_rank", "loss")
    if is_cost:
        ends = (value.idxmin(), value.idxmax())
        least, most = (f"{number(value[end], metric)} ({frame.loc[end, name]})" for end in ends)
        return f"{capital(short(metric))}: {least}" + f" to {most}" * (least != most)
    blocks = frame.groupby(within, sort=False, observed=True) if within else [("", frame)]
    best = ", ".join(_best(block, metric, name) + f" ({label})" * bool(within) for label, block in blocks)
    ties = frame.loc[frame.get(f"{metric}_tie", pd.Series(False, frame.index)).fillna(False).astype(bool), name]
    others = listed(ties) if len(ties) < 3 else f"{len(ties)} others"
    which = "Highest" if metric in SCORES else "Lowest"
    return f"{which} {short(metric)}: {best}" + f"; {others} not told apart" * bool(len(ties) and not within)


def _best(frame: pd.DataFrame, metric: str, name: str) -> str:
    value = frame[metric].astype(float)
    extreme = value.max() if metric in SCORES else value.min()
    return f"{listed(frame.loc[value == extreme, name].unique())} {number(extreme, metric)}"


def capital(text: str) -> str:
    """The text with a large first letter."""
    return text[:1].upper() + text[1:]


# --- to files and notebooks -----------------------------------------------------------------------------------------


class Picture(display.Image):
    """A figure that Jupyter shows as PNG, with its alternative text, which nbconvert reads and a terminal prints."""

    def __init__(self, png: bytes, alt: str):
        super().__init__(png, format="png", width=round(100 * WIDTH))
        self.alt = alt  # no argument of older IPythons, such as Colab's

    def __repr__(self) -> str:
        return self.alt


def alternative(figure: Figure) -> str:
    """What a figure shows, in words."""
    return str(figure.get_label()) or "A figure."


def shown(figure: Figure) -> Picture:
    """The figure for the end of a cell: drawn at 1200 pixels and shown at 800, which is sharp on fine screens."""
    return Picture(_png(figure), alternative(figure))


def shipped(name: str) -> Picture:
    """The figure of that name that the repository ships, with its alternative text."""
    png = (results.SHIPPED.parents[1] / "figures" / f"{name}.png").read_bytes()
    return Picture(png, Image.open(io.BytesIO(png)).text["Description"])  # type: ignore[attr-defined]


def save(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Writes name.png and name.svg, each whole or not at all, with the alternative text inside.

    The same figure gives the same bytes: no date, no random ids.
    """
    paths = Path(folder, f"{name}.png"), Path(folder, f"{name}.svg")
    return [files.write(paths[0], _png(figure)), files.write(paths[1], svg(figure))]


def svg(figure: Figure) -> str:
    """The figure as SVG with its alternative text; artists that have a gid have it as their element's id.

    matplotlib writes descriptions into metadata only, where no screen reader looks, so there is a <desc> as well.
    """
    alt, target = escape(alternative(figure)), io.StringIO()
    with context():
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    described = f' role="img" aria-label="{alt}">\n <desc>{alt}</desc>'
    return re.sub(r"(?<=<svg)\b([^>]*)>", lambda found: found[1] + described, target.getvalue(), count=1)


def _png(figure: Figure) -> bytes:
    """In its 256 most frequent colours: a third of the bytes, and only pixels of rounded edges change."""
    drawn, target = io.BytesIO(), io.BytesIO()
    with context():
        figure.savefig(drawn, format="png", dpi=DPI)
    small, described = _with_palette(np.asarray(Image.open(drawn).convert("RGB"), dtype=int)), PngInfo()
    described.add_text("Description", alternative(figure))
    small.save(target, format="png", optimize=True, dpi=(DPI, DPI), pnginfo=described)
    return target.getvalue()


def _with_palette(pixels: np.ndarray) -> Image.Image:
    """Every pixel (rows, columns, 3) in the nearest of the 256 most frequent colours, which stay what they are."""
    codes, places, counts = np.unique(pixels @ np.array([65536, 256, 1]), return_inverse=True, return_counts=True)
    shades = np.stack(np.unravel_index(codes, (256, 256, 256)), axis=1)
    kept = shades[np.argsort(-counts, kind="stable")[:256]]
    nearest = np.square(shades[:, None] - kept).sum(axis=-1).argmin(axis=1)
    image = Image.fromarray(nearest[places].reshape(pixels.shape[:2]).astype(np.uint8))
    image.putpalette(kept.astype(np.uint8).tobytes())  # from now on of mode P
    return image

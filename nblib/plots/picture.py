"""A figure to files and to a notebook, with its alternative text. Draws nothing."""

import base64
import io
import os
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from nblib.plots.style import WIDTH, style
from nblib.plots.theme import themed

DPI = 150


@dataclass(frozen=True)
class Picture:
    """A figure that Jupyter shows as PNG.

    Its alternative text is kept in the output's metadata, which nbconvert reads; JupyterLab 4 shows no alternative
    text of pictures; a terminal prints it.
    """

    png: bytes = field(repr=False)
    alternative: str

    def __repr__(self) -> str:
        return self.alternative

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alternative}
        # shown at 800 pixels, drawn at 1200: sharp on fine screens
        return data, {"image/png": {"alt": self.alternative, "width": round(100 * WIDTH)}}


def alternative(figure: Figure) -> str:
    """What a figure shows, in words: its label."""
    return str(figure.get_label()) or "A figure."


def shown(figure: Figure, *, alt: str | None = None) -> Picture:
    """The figure for the end of a cell."""
    return Picture(_png(figure, alt or alternative(figure)), alt or alternative(figure))


def save(figure: Figure, folder: str | Path, name: str, *, alt: str | None = None) -> list[Path]:
    """Writes name.png and name.svg, each whole or not at all, with the alternative text inside.

    The same figure gives the same bytes: no date, no random ids.
    """
    folder, said = Path(folder), alt or alternative(figure)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {".png": _png(figure, said), ".svg": svg(figure, alt=said).encode()}
    return [_replace(folder / f"{name}{ending}", content) for ending, content in contents.items()]


def _png(figure: Figure, said: str) -> bytes:
    """In the figure's 256 commonest colours: a third of the bytes, and only a few pixels of rounded edges change."""
    drawn, target = io.BytesIO(), io.BytesIO()
    with style(), themed(figure):
        figure.savefig(drawn, format="png", dpi=DPI)
    pixels = np.asarray(Image.open(drawn).convert("RGB"))
    colours, places, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    common = colours[np.argsort(-counts, kind="stable")[:256]]
    distances = np.abs(colours[:, None].astype(int) - common[None]).sum(-1)  # 0 for the common ones
    small = Image.fromarray(distances.argmin(-1)[places].reshape(pixels.shape[:2]).astype(np.uint8), mode="P")
    small.putpalette(common.tobytes())
    described = PngInfo()
    described.add_text("Description", said)
    small.save(target, format="png", optimize=True, dpi=(DPI, DPI), pnginfo=described)
    return target.getvalue()


def svg(figure: Figure, *, alt: str | None = None) -> str:
    """The figure as SVG with its alternative text; artists that have a gid have it as their element's id.

    matplotlib writes descriptions into metadata only, where no screen reader looks, so there is a <desc> as well.
    """
    said = alt or alternative(figure)
    target = io.StringIO()
    with style(), themed(figure):
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    described = rf'\1 role="img" aria-label="{escape(said)}">' + f"\n <desc>{escape(said)}</desc>"
    return re.sub(r"(<svg\b[^>]*)>", described.replace("\\1", r"\g<1>"), target.getvalue(), count=1)


def _replace(path: Path, content: bytes) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path

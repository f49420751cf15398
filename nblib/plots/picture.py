"""A figure to files and to a notebook, with its alternative text. Draws nothing."""

import base64
import io
import os
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from nblib.plots.style import WIDTH, style

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
    contents = {".png": _png(figure, said), ".svg": _svg(figure, said)}
    return [_replace(folder / f"{name}{ending}", content) for ending, content in contents.items()]


def _png(figure: Figure, said: str) -> bytes:
    target = io.BytesIO()
    with style():  # Software would name the version of matplotlib
        figure.savefig(target, format="png", dpi=DPI, metadata={"Software": None, "Description": said})
    return target.getvalue()


def _svg(figure: Figure, said: str) -> bytes:
    """With <desc>; matplotlib writes descriptions into metadata only, where no screen reader looks."""
    target = io.StringIO()
    with style():
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    described = rf'\1 role="img" aria-label="{escape(said)}">' + f"\n <desc>{escape(said)}</desc>"
    text = re.sub(r"(<svg\b[^>]*)>", described.replace("\\1", r"\g<1>"), target.getvalue(), count=1)
    return text.encode()


def _replace(path: Path, content: bytes) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path

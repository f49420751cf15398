"""Tables to LaTeX with booktabs, and to Markdown. Computes nothing."""

import os
from pathlib import Path

import pandas as pd

from nblib.tables.shown import Shown

SPECIAL = {  # what LaTeX reads as a command, and signs that its standard fonts lack
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "≈": r"$\approx$",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "³": r"$^3$",
    "\n": " ",
}


def escaped(text: str) -> str:
    """A text as LaTeX sets it, letter for letter."""
    return "".join(SPECIAL.get(each, each) for each in text)


def latex(shown: Shown, *, caption: str = "", label: str = "") -> str:
    """A table environment; needs \\usepackage{booktabs} and \\usepackage{graphicx}, and UTF-8 as LaTeX has it today.

    A rule stands over each line whose first cell is filled where others are empty: those begin a group. Wide tables
    shrink to the text's width. Notes are left to the caption.
    """
    frame = shown.frame.astype(str)
    names = [escaped(str(name)) for name in frame.columns]
    grouped = bool((frame.iloc[:, 0] == "").any()) if len(frame.columns) else False
    body = []
    for place, cells in enumerate(frame.to_numpy().tolist()):
        if grouped and place and cells[0]:
            body.append(r"\midrule")
        body.append(" & ".join(escaped(each) for each in cells) + r" \\")
    lines = [
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{escaped(caption)}}}"] if caption else []),
        *([rf"\label{{{label}}}"] if label else []),
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{'l' * max(1, len(names))}}}",
        r"\toprule",
        " & ".join(names) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def write_latex(shown: Shown, path: str | Path, *, caption: str = "", label: str = "") -> Path:
    """The same as a file, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(latex(shown, caption=caption, label=label), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def markdown(frame: pd.DataFrame) -> str:
    """A table of GitHub's Markdown, the texts of the frame as they are; a bar in one does not end its cell."""
    cells = [[str(each).replace("|", "\\|").replace("\n", " ") for each in line] for line in frame.to_numpy().tolist()]
    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

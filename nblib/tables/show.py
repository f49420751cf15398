"""One table for every frame: HTML that GitHub keeps, plain text, Markdown, LaTeX and CSV. Computes nothing.

How a cell is written is told by its column's name (nblib.columns). What stands in columns with a longer name is written
into the same cell: `em@1_low` and `em@1_high` as an interval, `em@1_sd` after ± where there is no interval or in a full
table, `em@1_tie` as ≈, and `em@1_rank` marks the best (1) and the second best (2); `x_why` says why there is no x.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from html import escape, unescape
from pathlib import Path
from typing import Any

import pandas as pd

from nblib import files, results, stats
from nblib.columns import SCORES, head, written

INSIDE = ("_low", "_high", "_sd", "_tie", "_rank", "_corpus", "_missing", "_n", "_why")  # in the cell of another column
WHY_NONE = {results.OUT_OF_MEMORY: "OOM", results.FAILED: "failed"}
KEPT = (*SCORES, "memory_bytes")  # shown even where no line has a value, since then it is said why
OPEN = {"tie": "not told apart", stats.ONE_SEED: "open (one seed)"}  # verdicts in more words
NOTHING = "–"
MARKS = {  # best, second best; <ins>, because GitHub drops <u>
    "html": ("<b>{}</b>", "<ins>{}</ins>"),
    "text": ("**{}**", "_{}_"),
    "latex": (r"\textbf{{{}}}", r"\underline{{{}}}"),
}
LATEX = str.maketrans(  # what LaTeX reads as a command, and signs that its standard fonts lack
    {sign: f"\\{sign}" for sign in "{}&%$#_"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " "}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "–": "--", "…": r"\ldots{}", "−": r"$-$"}
    | {"≈": r"$\approx$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "●": r"$\bullet$"}
)
# GitHub reads the attributes, JupyterLab the styles. Programs share a width, and scroll.
CELL = 'align="left" valign="top" style="text-align: left; vertical-align: top{}"'
NUMBERS, NAMES, NOWRAP = 34, 16, "; white-space: nowrap"  # letters that stay on one line
PROGRAM = '<pre style="margin: 0; max-width: {}px; overflow-x: auto; white-space: pre">{}</pre>'
PROGRAMS = 360  # pixels of all columns of programs
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # wide tables shrink to the text's width
MORE = "More columns and standard deviations: tables.full of this table, and its CSV."


class Marked(str):
    """A program with marks of its own in HTML, such as what is inserted and what is struck out."""

    html: str

    def __new__(cls, text: str, html: str):
        marked = super().__new__(cls, text)
        marked.html = html
        return marked


@dataclass(frozen=True)
class Table:
    """A frame of plain values that shows itself; `.frame` has the numbers, for figures."""

    frame: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()  # below it; empty ones are left out
    title: str = ""
    columns: tuple[str, ...] | None = None  # those to show, as far as the frame has values of them; None: all
    wide: tuple[str, ...] = ()  # of `full` and of LaTeX; (): all of the frame, and in LaTeX those of `columns`
    heads: Mapping[str, str] = field(default_factory=dict)  # column -> what stands above it, where not as usual
    group: str = ""  # a column whose repeats are left blank
    code: tuple[str, ...] = ()  # columns of code

    @property
    def html(self) -> str:
        """A table without classes and style blocks, which GitHub would strip."""
        html = f"<p><b>{escape(self.title)}</b></p>\n" if self.title else ""
        cells = self._cells("html")
        if cells.size:
            as_is = [str] * len(cells.columns)  # pandas would cut long cells, and write line ends as \n
            plain = cells.to_html(index=False, escape=False, border=0, formatters=as_is)
            plain = re.sub("<(table|tr)[^>]*>", r"<\1>", plain)
            html += re.sub("<(th|td)>(.*?)(?=</(?:th|td)>)", _html_cell, plain, flags=re.DOTALL)
        return html + "".join(f"\n<p><small>{escape(note)}</small></p>" for note in self._notes)

    @property
    def text(self) -> str:
        """The same in plain text; one block a line where cells have several lines."""
        cells = self._cells("text")
        shown = cells.to_string(index=False) if cells.size else ""
        if cells.map(lambda text: "\n" in text).any(axis=None):
            blocks = (
                [f"{name}: {text}" if name else text for name, text in line.items() if text]
                for line in cells.to_dict("records")
            )
            shown = "\n\n".join("\n".join(block) for block in blocks)
        return "\n".join(part for part in [self.title, shown, *self._notes] if part)

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__

    def to_markdown(self) -> str:
        """A table of GitHub's Markdown, without the notes."""
        cells = self._cells("text").map(lambda text: text.replace("|", "\\|").replace("\n", " "))
        cells = cells.map(lambda text: text.replace(" ", "\xa0") if re.search(r"\d to .*\d\)$", text) else text)
        return cells.to_markdown(index=False, disable_numparse=True)

    def to_latex(self, *, caption: str = "", label: str = "") -> str:
        """A table environment with all columns; needs booktabs and graphicx. Notes are left to the caption.

        A rule stands before each group, and wide tables shrink to the text's width.
        """
        cells = full(self)._cells("latex") if self.wide else self._cells("latex")
        shown = cells.rename(columns=_latex).style.hide(axis="index")
        text = shown.to_latex(hrules=True, column_format="l" * max(1, len(cells.columns)))
        top, rule, body = text.partition("\\midrule\n")
        lines = body.splitlines()
        for place in range(1, len(cells)) if self.group else ():
            if cells.iat[place, 0]:
                lines[place] = f"\\midrule\n{lines[place]}"
        about = [rf"\caption{{{_latex(caption)}}}"] * bool(caption) + [rf"\label{{{label}}}"] * bool(label)
        inside = [r"\begin{table}", r"\centering", *about, FIT, f"{top}{rule}" + "\n".join(lines) + "}"]
        return "\n".join([*inside, r"\end{table}"]) + "\n"

    def to_csv(self, path: str | Path) -> Path:
        """All numbers of the frame, plain, as a file."""
        is_named = self.frame.index.name is not None
        return files.write(path, self.frame.to_csv(index=is_named, float_format="%.8g", lineterminator="\n"))

    def write_latex(self, path: str | Path, *, caption: str = "", label: str = "") -> Path:
        """`to_latex` as a file."""
        return files.write(path, self.to_latex(caption=caption, label=label))

    @property
    def _notes(self) -> list[str]:
        return [note for note in (*self.notes, MORE * self._is_narrow) if note]

    @property
    def _is_narrow(self) -> bool:
        return len(self._names) < len(full(self)._names)

    @property
    def _names(self) -> list[str]:
        """The columns to show, in order."""
        frame = self.frame.reset_index() if self.frame.index.name else self.frame
        names = [
            name for name in self.columns or frame if name in frame and (name in KEPT or frame[name].notna().any())
        ]
        inside = {f"{name}{end}" for name in names for end in INSIDE} if self.columns is None else set()
        return [name for name in names if name not in inside]

    def _cells(self, kind: str) -> pd.DataFrame:
        """Every cell as it is written in that kind of text."""
        frame = self.frame.reset_index() if self.frame.index.name else self.frame
        names = self._names
        if self._is_narrow:
            frame = frame.drop(columns=[f"{name}_sd" for name in names if f"{name}_low" in frame], errors="ignore")
        marked = [name for name in names if any(isinstance(cell, Marked) for cell in frame[name])]
        programs = [name for name in names if name in (*self.code, *marked)]
        width = PROGRAMS // max(1, len(programs)) if kind == "html" else 0
        cells = [
            [_cell(line, name, kind, width if name in programs else 0) for name in names]
            for line in frame.to_dict("records")
        ]
        shown = pd.DataFrame(cells, columns=[self.heads.get(name, head(name)) for name in names], dtype=object)
        if self.group in names and len(shown):
            groups = frame[self.group].astype(object)
            shown.loc[groups.eq(groups.shift()).to_numpy(), shown.columns[names.index(self.group)]] = ""
        return shown


def full(table: Table) -> Table:
    """The same table with all its columns, which may be wider than a page."""
    return replace(table, columns=table.wide or None)


def paragraph(*sentences: str) -> Table:
    """Words in the place of a table."""
    return Table(pd.DataFrame(), sentences)


def _html_cell(found: re.Match) -> str:
    tag, inside = found.groups()
    letters = unescape(re.sub("<[^>]+>", "", inside))
    longest = NUMBERS if re.match(r"[-+−<(]?\s?\d", letters) else NAMES
    is_short = tag == "td" and len(letters) <= longest and "<br>" not in inside
    return f"<{tag} {CELL.format(NOWRAP if is_short else '')}{' nowrap' * is_short}>{inside}"


def _cell(line: Mapping[str, Any], name: str, kind: str, width: int) -> str:
    """`width` in pixels of a program; 0: of any width."""
    value = line[name]
    if isinstance(value, str):
        return _text(value, name, kind, width)
    if pd.isna(value):  # a score says what became of its runs
        lost = WHY_NONE.get(str(line.get("status")), NOTHING) if name in KEPT else NOTHING
        return line.get(f"{name}_why") or lost
    if name == "seeds":
        lost = ", ".join(f"{line[status]} {word}" for status, word in WHY_NONE.items() if line.get(status))
        return f"{value} ({lost})" if lost else str(value)
    if name.endswith("_n") and line.get(missing := f"{name[:-2]}_missing", 0) > 0:
        return f"{value:.0f} of {value + line[missing]:.0f}"
    return _range(line, name, kind)


def _text(text: str, name: str, kind: str, width: int) -> str:
    escaped = ESCAPES[kind](OPEN.get(text, text) if name.endswith("verdict") else text)
    if width:
        return PROGRAM.format(width, getattr(text, "html", escaped))
    return escaped.replace("\n", "<br>") if kind == "html" else escaped


def _range(line: Mapping[str, Any], name: str, kind: str) -> str:
    """`41.2 ± 1.9 ≈ (37.0 to 45.3)`; best and second best marked."""
    (best, second), escaped = MARKS[kind], ESCAPES[kind]
    sd, tie, rank, low, high = (line.get(f"{name}_{end}") for end in ("sd", "tie", "rank", "low", "high"))
    text = escaped(written(line[name], name))
    text = best.format(text) if rank == 1 else second.format(text) if rank == 2 else text
    text += "" if pd.isna(sd) else escaped(f" ± {written(sd, name, beside=line[name]).lstrip('+')}")
    text += "" if pd.isna(tie) or not tie else escaped(" ≈")
    return text + ("" if pd.isna(low) else escaped(f" ({written(low, name)} to {written(high, name)})"))


def _latex(text: str) -> str:
    """A text as LaTeX sets it, letter for letter."""
    return text.translate(LATEX)


ESCAPES: dict[str, Callable[[str], str]] = {"html": escape, "latex": _latex, "text": str}

"""One table for every frame: HTML that GitHub keeps, plain text, Markdown, LaTeX and CSV. Computes nothing.

How a cell is written is told by the end of its column's name: a score or `_share` in percent, `difference` in points,
`_seconds`, `_bytes`, `p`. What stands in columns with a longer name is written into the same cell: `em@1_sd` after ±,
`em@1_low` and `em@1_high` as an interval, `em@1_tie` as ≈, and `em@1_rank` marks the best (1) and the second best (2).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from nblib import files, results, stats

EXECUTION = {  # scores of tasks whose answers are run
    "test_accuracy": "average accuracy",
    "strict_accuracy": "strict accuracy",
    **{f"pass@{k}": f"pass@{k}" for k in (1, 2, 5)},
}
SCORES = {  # every score that a table shows, and how it calls it; all are shares, and higher is better
    **EXECUTION,
    **{f"em@{k}": f"EM@{k}" for k in (1, 2, 5, 10)},
    "em_expression@1": "EM@1 of the expression",  # of tasks with a house style
    "style_match": "house style",
    "codebleu": "CodeBLEU",
    "codebleu_corrected": "CodeBLEU (corrected)",
    "chrf": "chrF",
    "chrf++": "chrF++",
}
HEADS = {  # where the name without its unit would not do
    "trainable_parameters": "trained parameters",
    "total_parameters": "parameters",
    "train_seconds": "training (s)",
    "generate_seconds": "generation (s)",
    "step_seconds": "seconds per step",
    "prompt_tokens": "prompt tokens per query",
    "adapter_bytes": "saved adapter",
    "memory_bytes": "training memory",
    "peak_bytes": "peak memory",
    "saving_lora_share": "less than LoRA, not quantized (%)",
    "saving_full_share": "less than full tuning (%)",
    "p": "p (Holm)",
    "effect": "effect (d)",
    "verdict": "so it is",
    "teraflops": "more TFLOP",
    "gigabytes": "GB",
    "pscp": "PSCP",
}
UNITS = {  # end of a name -> what stands in its place above the column
    "_n": "n",
    "_share": " (%)",
    "score": "score (%)",
    "_seconds": " (s)",
    "difference": "difference (points)",
    "_bytes": "",
}
INSIDE = ("_low", "_high", "_sd", "_tie", "_rank", "_corpus", "_missing", "_n")  # in the cell of another column
WHY_NONE = {results.OUT_OF_MEMORY: "OOM", results.FAILED: "failed", "missing": "missing"}
KEPT = (*SCORES, "memory_bytes")  # shown even where no line has a value, since then it is said why
OPEN = {"tie": "no difference shown", stats.ONE_SEED: "not decided (one seed)"}  # verdicts in more words
NOTHING = "–"
MARKS = {  # best, second best, what stands below a number; <ins>, because GitHub drops <u>
    "html": ("<b>{}</b>", "<ins>{}</ins>", "<br><small>{}</small>"),
    "text": ("**{}**", "_{}_", " ({})"),
    "latex": (r"\textbf{{{}}}", r"\underline{{{}}}", " ({})"),
}
LATEX = str.maketrans(  # what LaTeX reads as a command, and signs that its standard fonts lack
    {sign: f"\\{sign}" for sign in "{}&%$#_"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " "}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "–": "--", "…": r"\ldots{}", "−": r"$-$"}
    | {"≈": r"$\approx$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$", "●": r"$\bullet$"}
)
LEFT = 'align="left" style="text-align: left"'  # GitHub, then JupyterLab
TOP = 'align="left" valign="top" style="text-align: left; vertical-align: top"'  # of tables whose cells have lines
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # wide tables shrink to the text's width


class Marked(str):
    """A text with marks of its own in HTML, such as what is inserted and what is struck out."""

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
    heads: Mapping[str, str] = field(default_factory=dict)  # column -> what stands above it, where not as usual
    group: str = ""  # a column whose repeats are left blank
    code: tuple[str, ...] = ()  # columns of code
    only: str = ""  # a column that says which lines are shown

    @property
    def html(self) -> str:
        """A table without classes and style blocks, which GitHub would strip."""
        html = f"<p><b>{escape(self.title)}</b></p>\n" if self.title else ""
        cells = self._cells("html")
        if cells.size:
            with pd.option_context("display.max_colwidth", None):
                plain = cells.to_html(index=False, escape=False, border=0)
            plain = re.sub("<(table|tr)[^>]*>", r"<\1>", plain)
            html += re.sub("<(th|td)>", rf"<\1 {TOP if '<br' in plain or '<pre' in plain else LEFT}>", plain)
        return html + "".join(f"\n<p><small>{escape(note)}</small></p>" for note in self.notes if note)

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
        return "\n".join(part for part in [self.title, shown, *self.notes] if part)

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__

    def to_markdown(self) -> str:
        """A table of GitHub's Markdown, without the notes."""
        cells = self._cells("text").map(lambda text: text.replace("|", "\\|").replace("\n", " "))
        return cells.to_markdown(index=False, disable_numparse=True)

    def to_latex(self, *, caption: str = "", label: str = "") -> str:
        """A table environment; needs booktabs and graphicx. Notes are left to the caption.

        A rule stands before each group, and wide tables shrink to the text's width.
        """
        cells = self._cells("latex")
        shown = cells.rename(columns=_latex).style.hide(axis="index")
        text = shown.to_latex(hrules=True, column_format="l" * max(1, len(cells.columns)))
        head, rule, body = text.partition("\\midrule\n")
        lines = body.splitlines()
        for place in range(1, len(cells)) if self.group else ():
            if cells.iat[place, 0]:
                lines[place] = f"\\midrule\n{lines[place]}"
        about = [rf"\caption{{{_latex(caption)}}}"] * bool(caption) + [rf"\label{{{label}}}"] * bool(label)
        inside = [r"\begin{table}", r"\centering", *about, FIT, f"{head}{rule}" + "\n".join(lines) + "}"]
        return "\n".join([*inside, r"\end{table}"]) + "\n"

    def to_csv(self, path: str | Path) -> Path:
        """All numbers of the frame, plain, as a file."""
        is_named = self.frame.index.name is not None
        return files.write(path, self.frame.to_csv(index=is_named, float_format="%.8g", lineterminator="\n"))

    def write_latex(self, path: str | Path, *, caption: str = "", label: str = "") -> Path:
        """`to_latex` as a file."""
        return files.write(path, self.to_latex(caption=caption, label=label))

    def _cells(self, kind: str) -> pd.DataFrame:
        """Every cell as it is written in that kind of text."""
        frame = self.frame.reset_index() if self.frame.index.name else self.frame
        frame = frame[frame[self.only]] if self.only else frame
        names = [
            name for name in self.columns or frame if name in frame and (name in KEPT or frame[name].notna().any())
        ]
        if self.columns is None:
            names = [name for name in names if not any(f"{other}{end}" == name for other in names for end in INSIDE)]
        cells = [
            [_cell(line, name, kind, is_code=name in self.code) for name in names] for line in frame.to_dict("records")
        ]
        shown = pd.DataFrame(cells, columns=[self.heads.get(name, head(name)) for name in names], dtype=object)
        if self.group in names and len(shown):
            groups = frame[self.group].astype(object)
            shown.loc[groups.eq(groups.shift()).to_numpy(), shown.columns[names.index(self.group)]] = ""
        return shown


def paragraph(*sentences: str) -> Table:
    """Words in the place of a table."""
    return Table(pd.DataFrame(), sentences)


def head(name: str) -> str:
    """What stands above a column: `EM@1 (%)`, `training (s)`."""
    if name in SCORES or name in HEADS:
        return HEADS.get(name) or f"{SCORES[name]} (%)"
    end, unit = next((item for item in UNITS.items() if name.endswith(item[0])), ("", ""))
    return unit if unit == "n" else name.removesuffix(end).replace("_", " ") + unit


def size(count: float) -> str:
    """Bytes for a person: `812 B`, `393.2 KiB`, `12.6 MiB`, `1.2 GiB`."""
    if count < 2**10:
        return f"{count:,.0f} B"
    unit, name = next((pair for pair in ((2**30, "GiB"), (2**20, "MiB")) if count >= pair[0]), (2**10, "KiB"))
    return f"{count / unit:,.1f} {name}"


def points(share: float) -> str:
    """A difference of two shares in points with its sign: `+3.1`, `−0.4`."""
    return f"{100 * share:+.1f}".replace("-", "−").replace("−0.0", "0.0").replace("+0.0", "0.0")


def p_value(p: float) -> str:
    """`0.012`; very small ones as `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), *names[-1:]]) if len(names) > 1 else "".join(names)


def number(value: float) -> str:
    """Three digits, or all before the point: `0.0287`, `9.85`, `67,404`."""
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def _cell(line: Mapping[str, Any], name: str, kind: str, *, is_code: bool) -> str:
    value = line[name]
    if isinstance(value, str):
        return _text(value, name, kind, is_code=is_code)
    if pd.isna(value):  # a score says what became of its runs
        return WHY_NONE.get(str(line.get("status")), NOTHING) if name in KEPT else NOTHING
    if name == "seeds":
        lost = ", ".join(f"{line[status]} {word}" for status, word in WHY_NONE.items() if line.get(status))
        return f"{value} ({lost})" if lost else str(value)
    if name.endswith("_n") and line.get(missing := f"{name[:-2]}_missing", 0) > 0:
        return f"{value:.0f} of {value + line[missing]:.0f}"
    return _range(line, name, kind)


def _text(text: str, name: str, kind: str, *, is_code: bool) -> str:
    if kind == "html" and isinstance(text, Marked):
        return text.html
    text = ESCAPES[kind](OPEN.get(text, text) if name.endswith("verdict") else text)
    if kind == "html" and is_code:
        text = f"<code>{re.sub('^ +', lambda indent: '&nbsp;' * len(indent[0]), text, flags=re.MULTILINE)}</code>"
    return text.replace("\n", "<br>") if kind == "html" else text


def _range(line: Mapping[str, Any], name: str, kind: str) -> str:
    """`41.2 ± 1.9 ≈` and below it the interval; best and second best marked."""
    (best, second, below), escaped = MARKS[kind], ESCAPES[kind]
    sd, tie, rank, low, high = (line.get(f"{name}_{end}") for end in ("sd", "tie", "rank", "low", "high"))
    text = escaped(_written(line[name], name))
    text = best.format(text) if rank == 1 else second.format(text) if rank == 2 else text
    text += "" if pd.isna(sd) else escaped(f" ± {_written(sd, name).lstrip('+')}")
    text += "" if pd.isna(tie) or not tie else escaped(" ≈")
    return text + ("" if pd.isna(low) else below.format(escaped(f"{_written(low, name)} to {_written(high, name)}")))


def _written(value, name: str) -> str:
    """A number by the end of its column's name."""
    if isinstance(value, bool):
        return "●" if value else ""
    if name in SCORES or name.endswith("score"):
        return f"{100 * value:.1f}"
    if name.endswith(("_share", "error")):
        return f"{100 * value:.1f}".replace("-", "−") if abs(value) >= 0.01 or not value else f"{100 * value:.2g}"
    if name.endswith("difference"):
        return points(value)
    if name.endswith("_bytes"):
        return size(value)
    if name == "p" or name.endswith("_p"):
        return p_value(value)
    if name == "seed":
        return str(value)
    return f"{value:,.1f}" if name.endswith("_seconds") and value >= 10 else number(value)


def _latex(text: str) -> str:
    """A text as LaTeX sets it, letter for letter."""
    return text.translate(LATEX)


ESCAPES: dict[str, Callable[[str], str]] = {"html": escape, "latex": _latex, "text": str}

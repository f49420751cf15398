"""A frame as a table that a person reads, in HTML without styles (GitHub strips them) and in plain text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

import pandas as pd

from nblib import results
from nblib.tables.frame import METRICS

STATUS = {results.OUT_OF_MEMORY: "OOM", results.FAILED: "failed", "missing": "missing"}
NOTHING = "–"
LEFT = 'align="left" style="text-align: left"'  # GitHub strips the style, JupyterLab heeds nothing else
COSTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "trainable_parameters": ("trainable parameters", "{:,.0f}".format),
    "adapter_bytes": ("saved adapter", lambda count: size(count)),
    "train_seconds": ("training (s)", "{:,.1f}".format),
    "prompt_tokens": ("prompt tokens a query", "{:,.0f}".format),
    "peak_bytes": ("peak memory (GiB)", lambda count: f"{count / 2**30:,.2f}"),
}
WHERE_KNOWN = ("adapter_bytes",)  # a column only where a run has it
# <ins>, because GitHub drops <u>
MARKS = {"html": {"best": "<b>{}</b>", "second": "<ins>{}</ins>"}, "text": {"best": "**{}**", "second": "_{}_"}}
LEGEND = (
    "{best}: best. {second}: second best. ≈: a paired test cannot tell it from the best (5 %, Holm's correction over "
    "the column). Scores are means over examples and seeds ± standard deviation over seeds, the 95 % interval below."
)


@dataclass(frozen=True)
class Shown:
    """A table that Jupyter shows as HTML, and everything else as text."""

    frame: pd.DataFrame = field(repr=False)
    html: str = field(repr=False)
    text: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def table(lines: list[dict], notes: Sequence[str] = (), code: Sequence[str] = ()) -> Shown:
    """Lines of texts under their names; the columns in `code` are code."""
    frame = pd.DataFrame(lines)
    head = "".join(f'<th scope="col" {LEFT}>{escape(name)}</th>' for name in frame)
    body = "\n".join(
        "<tr>" + "".join(_text_cell(str(line[name]), name in code) for name in frame) + "</tr>" for line in lines
    )
    under = "".join(f"\n<p><small>{escape(note)}</small></p>" for note in notes)
    html = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>{under}"
    return Shown(frame, html, "\n".join([frame.to_string(index=False), *notes]))


def _text_cell(text: str, is_code: bool) -> str:
    tag = "pre" if "\n" in text.strip() else "code"
    return f"<td {LEFT}>{f'<{tag}>{escape(text)}</{tag}>' if is_code else escape(text)}</td>"


def styled(frame: pd.DataFrame) -> Shown:
    """The table of a `comparison`: percent and GiB, best and second best marked, ties and missing values said."""
    title, notes = _title(frame), _notes(frame)
    pictures = {}
    for kind, marks in MARKS.items():
        header = ["method", *(f"{name} (%)" for metric, name in METRICS.items() if metric in frame)]
        header += [COSTS[name][0] for name in _costs(frame)] + ["seeds", "n"]
        lines = [_line(frame, label, marks) for label in frame.index]
        legend = LEGEND.format(best=marks["best"].format("bold"), second=marks["second"].format("underlined"))
        pictures[kind] = (header, lines, [legend, *notes])
    return Shown(frame, _html(title, *pictures["html"]), _text(title, *pictures["text"]))


def size(count: float) -> str:
    """Bytes for a person: `812 B`, `393.2 KiB`, `12.6 MiB`, `1.2 GiB`."""
    if count < 2**10:
        return f"{count:,.0f} B"
    unit, name = next((each for each in ((2**30, "GiB"), (2**20, "MiB")) if count >= each[0]), (2**10, "KiB"))
    return f"{count / unit:,.1f} {name}"


def _costs(frame: pd.DataFrame) -> list[str]:
    return [name for name in COSTS if name not in WHERE_KNOWN or (name in frame and frame[name].notna().any())]


def _line(frame: pd.DataFrame, label: str, marks: dict[str, str]) -> list[str]:
    row = frame.loc[label]
    scores = [_score(frame, label, metric, marks) for metric in METRICS if metric in frame]
    costs = [NOTHING if pd.isna(row[name]) else COSTS[name][1](row[name]) for name in _costs(frame)]
    return [str(label), *scores, *costs, _seeds(row), _count(row)]


def _score(frame: pd.DataFrame, label: str, metric: str, marks: dict[str, str]) -> str:
    """`41.2 ± 1.9 ≈`, and below it the interval; or why there is none."""
    row = frame.loc[label]
    if pd.isna(row[metric]):
        return STATUS.get(row["status"], NOTHING)
    text = f"{100 * row[metric]:.1f}"
    ranked = sorted({each for each in frame[metric] if not pd.isna(each)}, reverse=True)
    place = ranked.index(row[metric])
    if place < len(marks) and len(ranked) > 1:
        text = list(marks.values())[place].format(text)
    if not pd.isna(row[f"{metric}_sd"]):
        text += f" ± {100 * row[f'{metric}_sd']:.1f}"
    if row[f"{metric}_tie"] is not pd.NA and row[f"{metric}_tie"]:
        text += " ≈"
    if not pd.isna(row[f"{metric}_low"]):
        text += f"\n{100 * row[f'{metric}_low']:.1f} to {100 * row[f'{metric}_high']:.1f}"
    return text


def _seeds(row: pd.Series) -> str:
    """`3`, or `2 (1 failed)`."""
    lost = {"failed": row["failed"], "OOM": row["out_of_memory"], "missing": row["missing"]}
    said = ", ".join(f"{count} {name}" for name, count in lost.items() if count)
    return f"{row['seeds']} ({said})" if said else str(row["seeds"])


def _count(row: pd.Series) -> str:
    """Examples of the first score: `200`, or `197 of 200`."""
    first = next((metric for metric in METRICS if f"{metric}_n" in row.index), None)
    if first is None or pd.isna(row[f"{first}_n"]):
        return NOTHING
    n, missing = int(row[f"{first}_n"]), int(row[f"{first}_missing"])
    return f"{n} of {n + missing}" if missing else str(n)


def _title(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "No runs."
    task, model, limit = (frame[name].iloc[0] for name in ("task", "model", "limit"))
    partial = "" if pd.isna(limit) else f", only its first {int(limit)} examples: a partial result"
    return f"{task} with {model}{partial}"


def _notes(frame: pd.DataFrame) -> list[str]:
    """Scores that are not defined for some examples; the first is in the last column already."""
    notes = []
    for metric in [metric for metric in METRICS if f"{metric}_missing" in frame][1:]:
        lost = frame[f"{metric}_missing"].dropna()
        lost = lost[lost > 0]
        if len(lost):
            said = ", ".join(f"{label} {int(count)}" for label, count in lost.items())
            notes.append(f"{METRICS[metric]} is not defined for some examples: {said}.")
    return notes


def _html(title: str, header: list[str], lines: list[list[str]], notes: list[str]) -> str:
    head = "".join(f'<th scope="col" align="{_side(place)}">{escape(name)}</th>' for place, name in enumerate(header))
    body = "\n".join(f"<tr>{''.join(_cell(place, text) for place, text in enumerate(line))}</tr>" for line in lines)
    under = "\n".join(f"<p><small>{note}</small></p>" for note in notes)
    return (
        f"<p>{escape(title)}</p>\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n{under}"
    )


def _side(place: int) -> str:
    return "right" if place else "left"


def _cell(place: int, text: str) -> str:
    """The first column heads its row; a second line is small."""
    first, _, second = text.partition("\n")
    if not place:
        return f'<th scope="row" {LEFT}>{escape(first)}</th>'
    small = f"<br><small>{second}</small>" if second else ""
    return f'<td align="right">{first}{small}</td>'


def _text(title: str, header: list[str], lines: list[list[str]], notes: list[str]) -> str:
    """Columns in line, the interval of a score after it."""
    flat = [[text.replace("\n", " (") + ")" * ("\n" in text) for text in line] for line in [header, *lines]]
    widths = [max(len(line[place]) for line in flat) for place in range(len(header))]
    rows = ["  ".join(_padded(place, text, widths[place]) for place, text in enumerate(line)) for line in flat]
    return "\n".join([title, "", rows[0], "  ".join("-" * width for width in widths), *rows[1:], "", *notes])


def _padded(place: int, text: str, width: int) -> str:
    return text.rjust(width) if place else text.ljust(width)

"""What methods answered to one question, as tables. Asks no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from nblib.results import Prediction
from nblib.tables.shown import NOTHING, Shown
from nblib.tables.side_by_side import RIGHT, WRONG, Example
from nblib.widgets.differences import as_code, code, marked

SCORES = {"em@1": "EM@1", "codebleu": "CodeBLEU", "chrf": "chrF"}


@dataclass(frozen=True)
class Asked:
    """What a model is given for one question."""

    label: str  # the method's
    prompt: str  # letter by letter
    prompt_tokens: int  # of the text; learned tokens come on top
    virtual_tokens: int  # that a method learned to put before the text
    room_tokens: int  # that a prompt may have
    shots: tuple[Example, ...]  # as they stand in the prompt, the last right before the question
    similarities: tuple[float, ...]  # of each to the question; empty: chosen at random


@dataclass(frozen=True)
class Answer:
    """What one method answered."""

    asked: Asked
    prediction: Prediction  # with its scores where a reference is known
    seconds: float  # of generation
    trained: str  # where trained weights come from; empty: nothing is trained


@dataclass(frozen=True)
class Answers:
    """One question with the answers of several methods; a notebook shows them as a table."""

    question: Example  # its code is the reference; empty: there is none
    answers: tuple[Answer, ...]

    def _repr_html_(self) -> str:
        return compared(self).html

    def __repr__(self) -> str:
        return compared(self).text


def compared(given: Answers) -> Shown:
    """One line a method: its first answer with the differences to the reference marked, scores, and costs."""
    return as_table(given.question.intent, [_reference(given), *(_line(each, given) for each in given.answers)])


def prompts(given: Answers) -> Shown:
    """The exact prompt of each method, with its tokens counted, and the examples in it."""
    lines = []
    for each in (answer.asked for answer in given.answers):
        told = {"method": each.label, "prompt tokens": tokens(each), "examples": shots(each)}
        lines.append({name: plain(value) for name, value in told.items()} | {"prompt": _code(each.prompt)})
    return as_table("What each method gives the model to read", lines)


def top(given: Answers) -> Shown:
    """All answers of each method, best first, with the differences to the reference marked."""
    lines = [
        {
            "method": plain(each.asked.label if place == 0 else ""),
            "place": plain(str(place + 1)),
            "": _verdict(text, given.question),
            "answer": _marked(text, given.question),
        }
        for each in given.answers
        for place, text in enumerate(each.prediction.codes)
    ]
    return as_table(given.question.intent, lines)


def tokens(asked: Asked) -> str:
    """`73 of 448`, and learned ones where there are any."""
    learned = f" + {asked.virtual_tokens} learned" if asked.virtual_tokens else ""
    return f"{asked.prompt_tokens:,}{learned} of {asked.room_tokens + asked.virtual_tokens:,}"


def shots(asked: Asked) -> str:
    """The intents of the examples in a prompt, with their similarities."""
    alike = [f" ({each:.2f})" for each in asked.similarities] or [""] * len(asked.shots)
    return "\n".join(f"{shot.intent}{said}" for shot, said in zip(asked.shots, alike, strict=True)) or NOTHING


def verdict(text: str, question: Example) -> str:
    """Whether an answer is the reference, letter by letter; empty where no reference is known."""
    return "" if not question.code else RIGHT if text == question.code else WRONG


# --- cells: HTML and text ---------------------------------------------------------------------------------------------

# JupyterLab heeds only the style, GitHub only the others.
_LEFT = 'align="left" valign="top" style="text-align: left; vertical-align: top"'
Cell = tuple[str, str]
Line = dict[str, Cell]


def _reference(given: Answers) -> Line:
    said = _code(given.question.code) if given.question.code else plain("(your own question: none is known)")
    return {"method": plain("reference"), "": plain(""), "answer": said}


def _line(each: Answer, given: Answers) -> Line:
    first = each.prediction.codes[0] if each.prediction.codes else ""
    line = {
        "method": plain(each.asked.label),
        "": _verdict(first, given.question),
        "answer": _marked(first, given.question),
    }
    for metric, name in SCORES.items() if given.question.code else ():
        score = each.prediction.scores.get(metric)
        line[f"{name} (%)"] = plain(NOTHING if score is None else f"{100 * score:.0f}")
    line["prompt tokens"] = plain(f"{each.asked.prompt_tokens + each.asked.virtual_tokens:,}")
    line["new tokens"] = plain(f"{each.prediction.new_tokens:,}")
    line["seconds"] = plain(f"{each.seconds:.2f}")
    if any(answer.trained for answer in given.answers):
        line["training"] = plain(each.trained or NOTHING)
    return line


def plain(text: str) -> Cell:
    """A cell of words."""
    return escape(text).replace("\n", "<br>"), text


def _code(text: str) -> Cell:
    return as_code(code(text)), text


def _verdict(text: str, question: Example) -> Cell:
    said = verdict(text, question)
    return said.replace(" ", "&nbsp;"), said  # in one line


def _marked(text: str, question: Example) -> Cell:
    if not text.strip():
        return plain("(empty)")
    if not question.code:
        return _code(text)
    html, words = marked(text, question.code)
    return as_code(html), words


def as_table(title: str, lines: Sequence[Line]) -> Shown:
    """Lines of cells under their names; a name that a line lacks is empty there."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    texts = [{name: line.get(name, ("", ""))[1] for name in names} for line in lines]
    frame = pd.DataFrame(texts, columns=names)
    head = "".join(f'<th scope="col" {_LEFT}>{escape(name)}</th>' for name in names)
    body = "\n".join(f"<tr>{_cells(line, names)}</tr>" for line in lines)
    html = (
        f"<p><b>{escape(title)}</b></p>\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    )
    return Shown(frame, html, "\n".join([title, "", _text(frame)]))


def _cells(line: Line, names: Sequence[str]) -> str:
    return "".join(f"<td {_LEFT}>{line.get(name, ('', ''))[0]}</td>" for name in names)


def _text(frame: pd.DataFrame) -> str:
    """One block a line, as prompts have many lines of their own."""
    blocks = []
    for values in frame.to_dict("records"):
        blocks.append("\n".join(f"{name or 'verdict'}: {value}" for name, value in values.items() if value))
    return "\n\n".join(blocks)

"""What methods answered to one question, as tables. Asks no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from nblib.results import Prediction
from nblib.tables import Marked, Table
from nblib.tables.protocol import RIGHT, WRONG, Example
from nblib.tables.show import NOTHING
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


def compared(given: Answers) -> Table:
    """One line a method: its first answer with the differences to the reference marked, scores, and costs."""
    return as_table(given.question.intent, [_reference(given), *(_line(each, given) for each in given.answers)])


def prompts(given: Answers) -> Table:
    """The exact prompt of each method, with its tokens counted, and the examples in it."""
    lines = []
    for each in (answer.asked for answer in given.answers):
        told = {"method": each.label, "prompt tokens": tokens(each), "examples": shots(each)}
        lines.append(told | {"prompt": as_cell(each.prompt)})
    return as_table("What each method gives the model to read", lines)


def top(given: Answers) -> Table:
    """All answers of each method, best first, with the differences to the reference marked."""
    lines = [
        {
            "method": each.asked.label if place == 0 else "",
            "place": str(place + 1),
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


# --- cells ------------------------------------------------------------------------------------------------------------

Line = dict[str, str]


def _reference(given: Answers) -> Line:
    said = as_cell(given.question.code) if given.question.code else "(your own question: none is known)"
    return {"method": "reference", "": "", "answer": said}


def _line(each: Answer, given: Answers) -> Line:
    first = each.prediction.codes[0] if each.prediction.codes else ""
    line = {"method": each.asked.label, "": _verdict(first, given.question), "answer": _marked(first, given.question)}
    for metric, name in SCORES.items() if given.question.code else ():
        score = each.prediction.scores.get(metric)
        line[f"{name} (%)"] = NOTHING if score is None else f"{100 * score:.0f}"
    line["prompt tokens"] = f"{each.asked.prompt_tokens + each.asked.virtual_tokens:,}"
    line["new tokens"] = f"{each.prediction.new_tokens:,}"
    line["seconds"] = f"{each.seconds:.2f}"
    if any(answer.trained for answer in given.answers):
        line["training"] = each.trained or NOTHING
    return line


def as_cell(text: str) -> str:
    """A cell of code."""
    return Marked(text, as_code(code(text))) if text.strip() else "(empty)"


def _verdict(text: str, question: Example) -> str:
    said = verdict(text, question)
    return Marked(said, said.replace(" ", "&nbsp;"))  # in one line


def _marked(text: str, question: Example) -> str:
    if not text.strip() or not question.code:
        return as_cell(text)
    html, words = marked(text, question.code)
    return Marked(words, as_code(html))


def as_table(title: str, lines: Sequence[Line]) -> Table:
    """Lines of cells under their names; a name that a line lacks is empty there."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    cells = [[line.get(name, "") for name in names] for line in lines]
    return Table(pd.DataFrame(cells, columns=names, dtype=object), title=title, heads={name: name for name in names})

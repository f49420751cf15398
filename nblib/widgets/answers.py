"""What methods answered, to one question or in a run, as tables with differences marked. Asks no model."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from html import escape
from pathlib import Path

import pandas as pd

from nblib import results
from nblib.columns import size
from nblib.results import Prediction, Row
from nblib.tables import Marked, Table, names
from nblib.tables.protocol import RIGHT, WRONG, Example
from nblib.tables.show import NOTHING

SCORES = {"em@1": "EM@1 (%)", "codebleu": "CodeBLEU (%)", "chrf": "chrF (%)"}
CODE = ("answer", "prompt", "reference")  # columns
DECIDING = ("em@1", "strict_accuracy")  # the first that a run has says whether an answer is right
CHANGED = 12  # examples where two runs differ
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True)
class Answer:
    """What one method answered, and what it was given for that."""

    label: str  # the method's
    prompt: str  # letter by letter
    prediction: Prediction  # with its scores where a reference is known
    shots: tuple[Example, ...]  # as they stand in the prompt, the last right before the question
    virtual_tokens: int  # that a method learned to put before the text
    max_prompt_tokens: int  # that the text may have
    seconds: float  # of generation
    trained: str  # where trained weights come from; empty: nothing is trained

    @property
    def tokens(self) -> str:
        """`73 of 448`, and learned ones where there are any."""
        learned = f" + {self.virtual_tokens} learned" if self.virtual_tokens else ""
        return f"{self.prediction.prompt_tokens:,}{learned} of {self.max_prompt_tokens + self.virtual_tokens:,}"

    @property
    def examples(self) -> str:
        """The intents of the examples in the prompt, one per line, with their similarities to the question."""
        alike = [f" ({similarity:.2f})" for similarity in self.prediction.similarities] or [""] * len(self.shots)
        return "\n".join(f"{shot.intent}{near}" for shot, near in zip(self.shots, alike, strict=True)) or NOTHING


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
    """One line per method: its first answer with the differences to the reference marked, scores, and costs."""
    reference = given.question.code
    lines = [{"method": "reference", "verdict": "", "answer": reference or "(your own question: none is known)"}]
    for answer in given.answers:
        prediction = answer.prediction
        line = {"method": answer.label, **_checked(first_code(prediction), reference)}
        for metric, name in SCORES.items() if reference else ():
            score = prediction.scores.get(metric)
            line[name] = NOTHING if score is None else f"{100 * score:.0f}"
        line |= {"prompt tokens": f"{prediction.prompt_tokens + answer.virtual_tokens:,}"}
        line |= {"new tokens": f"{prediction.new_tokens:,}", "seconds": f"{answer.seconds:.2f}"}
        line |= {"training": answer.trained or NOTHING} if any(other.trained for other in given.answers) else {}
        lines.append(line)
    shown = table(given.question.intent, lines)
    columns = ("method", "verdict", "answer", "prompt tokens", "seconds")
    return replace(shown, columns=columns)


def prompts(given: Answers) -> Table:
    """The exact prompt of each method, with its tokens counted, and the examples in it."""
    lines = [
        {"method": answer.label, "prompt tokens": answer.tokens, "examples": answer.examples, "prompt": answer.prompt}
        for answer in given.answers
    ]
    return table("What each method gives the model to read", lines)


def top(given: Answers) -> Table:
    """All answers of each method, best first, with the differences to the reference marked."""
    lines = [
        {"method": answer.label * (place == 1), "place": str(place), **_checked(code, given.question.code)}
        for answer in given.answers
        for place, code in enumerate(answer.prediction.codes, 1)
    ]
    return table(given.question.intent, lines)


def table(title: str, lines: Sequence[Mapping[str, str]]) -> Table:
    """Lines of cells under their names; a cell that a line lacks is empty."""
    return Table(pd.DataFrame(lines, dtype=object).fillna(""), title=title, heads={"verdict": ""}, code=CODE)


def first_code(prediction: Prediction) -> str:
    """The best answer; empty where there is none."""
    return prediction.codes[0] if prediction.codes else ""


def marked(answer: str, reference: str) -> str:
    """The answer with what the reference lacks inserted and what it alone has struck out.

    In text as wdiff does it: `[-struck out-]` and `{+inserted+}`. GitHub keeps <ins> and <del>, and no styles.
    """
    if not answer.strip():
        return "(empty)"
    html, text = [], []
    expected, ours = _WORDS.findall(reference), _WORDS.findall(answer)
    for kind, start, end, begin, until in SequenceMatcher(None, expected, ours, autojunk=False).get_opcodes():
        lost, new = "".join(expected[start:end]), "".join(ours[begin:until])
        if kind == "equal":
            html.append(escape(new))
            text.append(new)
        else:
            html.append(f"<del>{escape(lost)}</del>" * bool(lost) + f"<ins><b>{escape(new)}</b></ins>" * bool(new))
            text.append(f"[-{lost}-]" * bool(lost) + f"{{+{new}+}}" * bool(new))
    return Marked("".join(text), "".join(html))


def _checked(code: str, reference: str) -> dict[str, str]:
    """Whether an answer is the reference, letter by letter, and where it differs; without a reference as it is."""
    if not reference:
        return {"verdict": "", "answer": code or "(empty)"}
    verdict = RIGHT if code == reference else WRONG
    return {"verdict": verdict.replace(" ", "\xa0"), "answer": marked(code, reference)}


# --- of a run ---------------------------------------------------------------------------------------------------------


def run(folder: str | Path, id: str) -> Table:
    """What a run was asked and what came of it: settings, scores, costs, and where it came from."""
    row = _row(folder, id)
    facts: dict[str, object] = {"run": row.id, **pd.json_normalize(row.settings).iloc[0].dropna()}
    facts |= {name: f"{100 * score['mean']:.1f} % of {score['n']}" for name, score in row.scores.items() if score["n"]}
    facts |= {name: _cost(name, value) for name, value in row.costs.items() if value is not None}
    facts |= {name: row.provenance.get(name, NOTHING) for name in ("commit", "device", "threads")}
    return table(row.id, [{"what": name, "value": str(value)} for name, value in facts.items()])


def predictions(folder: str | Path, id: str, *, examples: Sequence[Example] = (), count: int = 10) -> Table:
    """The first predictions of a run; with the task's `examples` beside their intents and references.

    Raises ValueError for an id that the folder lacks.
    """
    row, known = _row(folder, id), {example.id: example for example in examples}
    found = results.predictions(folder, id)
    lines = []
    for prediction in found[:count]:
        line, code = _question(prediction.example, known), first_code(prediction)
        lines.append(line | {"verdict": _verdict(prediction), "answer": marked(code, line.get("reference", code))})
    return table(f"{min(count, len(found))} of {len(found)} answers of {_name(row)}", lines)


def differences(
    folder: str | Path, one: str, other: str, *, examples: Sequence[Example] = (), count: int = CHANGED
) -> Table:
    """Where one run is right and the other is not, the other way round, then where only their answers differ.

    The answer of the second is marked with its differences to the first.
    Raises ValueError for an id that the folder lacks, and for two runs that answered no common example.
    """
    first, second = _row(folder, one), _row(folder, other)
    answers, other_answers = (
        {given.example: given for given in results.predictions(folder, id)} for id in (one, other)
    )
    common = [id for id in answers if id in other_answers]
    if not common:
        raise ValueError(f"{one} and {other} answered no common example, so nothing can be held side by side")
    known = {example.id: example for example in examples}
    right = {id: (_is_right(answers[id]), _is_right(other_answers[id])) for id in common}
    changed = [id for id in common if first_code(answers[id]) != first_code(other_answers[id])]
    changed.sort(key=lambda id: {(True, False): 0, (False, True): 1}.get(right[id], 2))  # stable
    lines = [
        _question(id, known)
        | {
            f"{_name(first)} (first)": _cell(answers[id], answers[id]),
            f"{_name(second)} (second)": _cell(other_answers[id], answers[id]),
        }
        for id in changed[:count]
    ]
    kinds = {"both right": (True, True), "only the first right": (True, False)}
    kinds |= {"only the second right": (False, True), "both wrong": (False, False)}
    counts = Counter(right.values())
    summary = ", ".join(f"{counts[pair]} {name}" for name, pair in kinds.items())
    return table(f"{len(common)} common examples: {summary}; {len(changed)} with different answers", lines)


def _row(folder: str | Path, id: str) -> Row:
    found = results.read(folder, [id])
    if not found:
        raise ValueError(f"the results folder has no sound run {id!r}: choose one of its table")
    return found[0]


def _question(id: str, known: Mapping[str, Example]) -> dict[str, str]:
    return {"example": id} | ({"intent": known[id].intent, "reference": known[id].code} if id in known else {})


def _cell(prediction: Prediction, other: Prediction) -> str:
    """A verdict above an answer, with its differences to another one."""
    verdict, code = _verdict(prediction), marked(first_code(prediction), first_code(other))
    return Marked(f"{verdict}\n{code}", f"{verdict}\n{getattr(code, 'html', code)}")


def _verdict(prediction: Prediction) -> str:
    return "✓" if _is_right(prediction) else "✗"


def _is_right(prediction: Prediction) -> bool:
    return next((prediction.scores[name] for name in DECIDING if name in prediction.scores), None) == 1


def _name(row: Row) -> str:
    (name,) = names([row.settings])
    return f"{name}, seed {row.settings['seed']}"


def _cost(name: str, value: float) -> str:
    return size(value) if name.endswith("_bytes") else f"{value:,.6g}"

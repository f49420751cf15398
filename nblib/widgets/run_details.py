"""One run of a store: its settings, its predictions, and where it differs from another run. Loads no model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from nblib import results
from nblib.columns import size
from nblib.results import Prediction, Row
from nblib.tables import Marked, Table, names
from nblib.tables.protocol import Example
from nblib.tables.show import NOTHING
from nblib.widgets.answers import first_code, marked, table

RIGHT = ("em@1", "strict_accuracy")  # the first that a run has says whether an answer is right
CHANGED = 12  # examples where two runs differ


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
    return next((prediction.scores[name] for name in RIGHT if name in prediction.scores), None) == 1


def _name(row: Row) -> str:
    (name,) = names([row.settings])
    return f"{name}, seed {row.settings['seed']}"


def _cost(name: str, value: float) -> str:
    return size(value) if name.endswith("_bytes") else f"{value:,.6g}"

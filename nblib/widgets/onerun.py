"""One run of a store: its settings, its predictions, and where it differs from another run. Loads no model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nblib import results
from nblib.results import Prediction, Row
from nblib.tables import Marked, Table, names, size
from nblib.tables.protocol import Example
from nblib.tables.show import NOTHING
from nblib.widgets.answers import Line, as_cell, as_table
from nblib.widgets.differences import as_code, marked

RIGHT = ("em@1", "strict_accuracy")  # the first that a run has says whether an answer is right
CHANGED = 12  # examples where two runs differ


def run(folder: str | Path, id: str) -> Table:
    """What a run was asked and what came of it: settings, scores, costs, and where it came from."""
    row = _row(folder, id)
    told: dict[str, object] = {"run": row.id, **_flat(row.settings)}
    told |= {name: f"{100 * each['mean']:.1f} % of {each['n']}" for name, each in row.scores.items() if _known(each)}
    told |= {name: _cost(name, value) for name, value in row.costs.items() if value is not None}
    told |= {name: row.provenance.get(name, NOTHING) for name in ("commit", "device", "threads")}
    return as_table(row.id, [{"what": name, "value": str(value)} for name, value in told.items()])


def predictions(folder: str | Path, id: str, *, examples: Sequence[Example] = (), count: int = 10) -> Table:
    """The first predictions of a run; with the task's `examples` beside their intents and references.

    Raises ValueError for an id that the folder lacks.
    """
    row, known = _row(folder, id), {each.id: each for each in examples}
    found = results.predictions(folder, id)
    lines = [_question(each.example, known) | _answer("answer", each, known) for each in found[:count]]
    return as_table(f"{min(count, len(found))} of {len(found)} answers of {_name(row)}", lines)


def differences(
    folder: str | Path, one: str, other: str, *, examples: Sequence[Example] = (), count: int = CHANGED
) -> Table:
    """Where one run is right and the other is not, the other way round, then where only their answers differ.

    The answer of the second is marked with its differences to the first.
    Raises ValueError for an id that the folder lacks, and for two runs that answered no common example.
    """
    first, second = _row(folder, one), _row(folder, other)
    ours, theirs = ({each.example: each for each in results.predictions(folder, id)} for id in (one, other))
    common = [id for id in ours if id in theirs]
    if not common:
        raise ValueError(f"{one} and {other} answered no common example, so nothing can be held side by side")
    known = {each.id: each for each in examples}
    changed = [id for id in common if _code(ours[id]) != _code(theirs[id])]
    changed.sort(key=lambda id: _order(ours[id], theirs[id]))  # stable: the examples' own order inside of each kind
    lines = [
        _question(id, known)
        | {f"{_name(first)} (first)": _cell(ours[id]), f"{_name(second)} (second)": _beside(theirs[id], ours[id])}
        for id in changed[:count]
    ]
    return as_table(_counted(ours, theirs, common, len(changed)), lines)


def _row(folder: str | Path, id: str) -> Row:
    found = results.read(folder, [id])
    if not found:
        raise ValueError(f"the results folder has no sound run {id!r}: choose one of its table")
    return found[0]


def _counted(ours: Mapping[str, Prediction], theirs: Mapping[str, Prediction], common: list[str], changed: int) -> str:
    """`200 common examples: 90 both right, 20 only the first…`"""
    pairs = [(_right(ours[id]), _right(theirs[id])) for id in common]
    said = {
        "both right": (True, True),
        "only the first right": (True, False),
        "only the second right": (False, True),
        "both wrong": (False, False),
    }
    counts = ", ".join(f"{pairs.count(pair)} {name}" for name, pair in said.items())
    return f"{len(common)} common examples: {counts}; {changed} with different answers"


def _order(ours: Prediction, theirs: Prediction) -> int:
    """Right against wrong first."""
    return {(True, False): 0, (False, True): 1}.get((_right(ours), _right(theirs)), 2)


def _right(prediction: Prediction) -> bool:
    return next((prediction.scores[name] for name in RIGHT if name in prediction.scores), None) == 1


def _code(prediction: Prediction) -> str:
    return prediction.codes[0] if prediction.codes else ""


def _question(id: str, known: Mapping[str, Example]) -> Line:
    line = {"example": id}
    if id in known:
        line |= {"intent": known[id].intent, "reference": as_cell(known[id].code)}
    return line


def _answer(name: str, prediction: Prediction, known: Mapping[str, Example]) -> Line:
    """With its differences to the reference, where that is known."""
    text, verdict = _code(prediction), _verdict(prediction)
    if prediction.example not in known or not text:
        return {"": verdict, name: as_cell(text)}
    html, words = marked(text, known[prediction.example].code)
    return {"": verdict, name: Marked(words, as_code(html))}


def _cell(prediction: Prediction) -> str:
    verdict, cell = _verdict(prediction), as_cell(_code(prediction))
    return Marked(f"{verdict}\n{cell}", f"{verdict}<br>{getattr(cell, 'html', cell)}")


def _beside(prediction: Prediction, other: Prediction) -> str:
    html, text = marked(_code(prediction), _code(other))
    return Marked(f"{_verdict(prediction)}\n{text}", f"{_verdict(prediction)}<br>{as_code(html)}")


def _verdict(prediction: Prediction) -> str:
    return "✓" if _right(prediction) else "✗"


def _name(row: Row) -> str:
    (name,) = names([row.settings])
    return f"{name}, seed {row.settings['seed']}"


def _flat(settings: Mapping, prefix: str = "") -> dict[str, object]:
    """Settings inside of settings with their places: `method.shots`."""
    flat: dict[str, object] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return {name: value for name, value in flat.items() if value is not None}


def _cost(name: str, value: float) -> str:
    return size(value) if name.endswith("_bytes") else f"{value:,.6g}"


def _known(score: Mapping) -> bool:
    return score.get("mean") is not None

"""Predictions from a file, checked row by row, to new scores. Loads no model and generates nothing."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

from nblib import provenance, results, sandbox
from nblib.metrics import as_studied
from nblib.metrics.execution import CODES, LIMITS, execute, with_verdicts
from nblib.metrics.scores import by_difficulty, score, summary
from nblib.results import Prediction, Row
from nblib.sandbox import Limits
from nblib.tasks import Example, files

FIELDS = (*(each.name for each in fields(Prediction)), "code", "task")  # that a row may have
TEXTS = ("completions", "codes")


def rescore(
    folder: str | Path,
    id: str,
    examples: Sequence[Example],
    *,
    run_programs: bool = False,
    study_scores: bool | None = None,
    limits: Limits = LIMITS,
    workers: int | None = None,
    allow_code_execution: bool = False,
    report: Callable[[float], None] = lambda share: None,
) -> Row:
    """The row of a finished run with all scores computed anew from its stored predictions; both are written back.

    `examples` is the test split that the run answered. With `run_programs` the answers are executed again; otherwise
    scores of execution are those of the stored verdicts, if there are any. `study_scores` are those of `score`; None:
    as the run has them.
    Raises FileNotFoundError where the folder has no such run, and ValueError as `read` does.
    """
    path = Path(folder) / f"{id}.predictions.jsonl"
    older = results.to_rescore(folder, id)
    rows = [older] if older else results.read(folder, [id])
    if not rows or not path.exists():
        raise FileNotFoundError(
            f"{folder} has no predictions of a run {id!r}; give the folder and the id of a finished run"
        )
    row = rows[0]
    predictions = [replace(each, scores={}) for each in read(path, examples, task=row.settings["task"])]
    sampled = row.settings["decoding"]["temperature"] is not None
    notes: dict = {}
    if run_programs:
        predictions = execute(
            examples,
            predictions,
            sampled=sampled,
            limits=limits,
            workers=workers,
            allow_code_execution=allow_code_execution,
            report=report,
        )
        notes["sandbox"] = sandbox.layers()
    else:
        predictions = [
            with_verdicts(each, each.verdicts, sampled=sampled) if each.verdicts else each for each in predictions
        ]
    if study_scores is None:
        study_scores = any(name.startswith(as_studied.EM) for name in row.scores)
    predictions = score(examples, predictions, study_scores=study_scores)
    if any(each.verdicts for each in predictions):
        notes["by_difficulty"] = by_difficulty(predictions, examples)
    renewed = ("scores", "execution") if run_programs else ("scores",)
    revisions = row.provenance.get("revisions", {}) | {name: provenance.REVISIONS[name] for name in renewed}
    row = replace(
        row,
        scores=summary(predictions, examples),
        notes=row.notes | notes,
        provenance=row.provenance | {"revisions": revisions},
    )
    results.write(folder, row, predictions)
    return row


# --- reading --------------------------------------------------------------------------------------------------------


def read(path: str | Path, examples: Sequence[Example], *, task: str | None = None) -> list[Prediction]:
    """The predictions in a file of JSON lines, one a line for each example, in the order of the examples.

    A row has "example", the example's id, and "codes", a list of programs with the best first, or one "code"; what
    else results.Prediction has may be there, and "task", the same in each row and that of `task`, where both are known.
    Blank lines may stand at the end.
    Raises FileNotFoundError, or ValueError for a row that is missing, extra, twice there, out of order, of another
    task, or no whole JSON; each names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} is missing; it should hold one JSON object a line, with "example" and "codes"')
    rows = list(_rows(path))
    _same_task(path, rows, task)
    _fit(path, [row["example"] for row in rows], [each.id for each in examples])
    return [_prediction(row) for row in rows]


def _rows(path: Path) -> Iterator[dict]:
    for number, (where, line) in enumerate(files.lines(path, str(path)), start=1):
        if where != f"{path}, line {number}":
            raise ValueError(f"{path}, line {number}: blank, and rows go on after it; leave blank lines at the end")
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{where}: not JSON ({error}); each line is one whole JSON object, so the file may have been cut off"
            ) from None
        if fault := _fault(row):
            raise ValueError(f"{where}: {fault}")
        yield row


def _fault(row) -> str | None:
    """What is wrong with a row by itself."""
    if not isinstance(row, dict):
        return f"a row must be a JSON object; got {type(row).__name__}"
    if unknown := [name for name in row if name not in FIELDS]:
        return f"unknown field {unknown[0]!r}; a row may have {', '.join(FIELDS)}"
    if not isinstance(row.get("example"), str):
        return 'no "example", the id as text that says which example is answered'
    if ("codes" in row) == ("code" in row):
        return 'a row must have either "codes", a list of programs, or "code", a single one'
    for name in TEXTS:
        if not _are_texts(row.get(name, [])):
            return f"{name!r} must be a list of texts"
    if not isinstance(row.get("code", ""), str):
        return "'code' must be text"
    verdicts = row.get("verdicts", [])
    if not all(_are_texts(each) and set(each) <= set(CODES) for each in verdicts):
        return f"'verdicts' must hold, for each answer, one of {', '.join(CODES)} a test"
    if verdicts and len(verdicts) != len(row.get("codes", [""])):
        return f"{len(verdicts)} verdicts for {len(row.get('codes', ['']))} answers"
    return None


def _are_texts(value) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _same_task(path: Path, rows: Sequence[dict], task: str | None) -> None:
    for number, row in enumerate(rows, start=1):
        if row.get("task") != rows[0].get("task"):
            raise ValueError(
                f"{path}, line {number}: task {row.get('task')!r}, but line 1 has {rows[0].get('task')!r}; "
                "a file holds predictions of one task"
            )
        if task and row.get("task", task) != task:
            raise ValueError(f"{path}, line {number}: task {row['task']!r}, but the examples are those of {task!r}")


def _fit(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuses rows that are not those of the examples, one each, in their order."""
    first: dict[str, int] = {}
    known = set(wanted)
    for number, id in enumerate(found, start=1):
        if id in first:
            raise ValueError(f"{path}, line {number}: example {id!r} was answered in line {first[id]} already")
        if id not in known:
            raise ValueError(
                f"{path}, line {number}: example {id!r} is not among the {len(wanted)} examples of the task"
            )
        first[id] = number
    for number, id in enumerate(wanted, start=1):
        if id not in first:
            raise ValueError(f"{path} has no row for example {id!r}, which belongs in line {number}")
        if first[id] != number:
            raise ValueError(
                f"{path}, line {first[id]}: example {id!r} belongs in line {number}; rows keep the examples' order"
            )


def _prediction(row: dict) -> Prediction:
    codes = row["codes"] if "codes" in row else [row["code"]]
    plain = {name: value for name, value in row.items() if name not in ("code", "task")}
    return results.prediction({"completions": codes, "prompt_tokens": 0, "new_tokens": 0} | plain | {"codes": codes})

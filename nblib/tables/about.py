"""Tables around the scores: the plan, some examples, was it fair, where it came from. Computes no score."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import pandas as pd

from nblib import results, spec
from nblib.results import Row
from nblib.spec import Run, Training
from nblib.tables.groups import kind
from nblib.tables.shown import Shown, table

_SETTINGS = ("learning_rate", "r", "alpha", "virtual_tokens")


def plan(runs: Sequence[Run], done: Sequence[bool], costs: Sequence | None = None) -> Shown:
    """One line a method: its settings, its seeds, and how many of its runs are done already.

    With `costs`, what `study.costs` says of each run, also the minutes that its other runs will take and their memory.
    """
    lines: dict[str, dict] = {}
    for run, there in zip(runs, done, strict=True):
        line = lines.setdefault(
            spec.label(run.method, run.precision),
            {"method": spec.label(run.method, run.precision), "settings": _settings(run), "seeds": [], "done": 0},
        )
        line["seeds"].append(str(run.seed))
        line["done"] += there
    shown = [
        {**line, "seeds": ", ".join(line["seeds"]), "done": f"{line['done']} of {len(line['seeds'])}"}
        for line in lines.values()
    ]
    notes = []
    if costs is not None:
        mine: dict[str, list] = {}
        for run, cost in zip(runs, costs, strict=True):
            mine.setdefault(spec.label(run.method, run.precision), []).append(cost)
        shown = [line | _cost(mine[line["method"]]) for line in shown]
        notes = [_remaining(costs)]
    first = runs[0]
    return table(shown, [*notes, _decoding(first), *[_training(run.training) for run in runs if run.training][:1]])


def _cost(costs: Sequence) -> dict[str, str]:
    seconds = [each.seconds for each in costs]
    peaks = [each.peak_bytes for each in costs if each.peak_bytes is not None]
    return {
        "minutes left": "unknown" if None in seconds else f"{sum(seconds) / 60:.1f}",
        "memory (GiB)": f"{max(peaks) / 2**30:.2f}" if peaks else "unknown",
    }


def _remaining(costs: Sequence) -> str:
    known = [each.seconds for each in costs if each.seconds is not None]
    unknown = len(costs) - len(known)
    said = f"About {sum(known) / 60:.1f} minutes, as such runs took on this machine" if known else "Minutes are unknown"
    others = f"; no run of the kind of {unknown if known else 'these'} has ended here yet" if unknown else ""
    return f"{said}{others}. Memory is predicted."


def examples(shown: Sequence) -> Shown:
    """Intent and code of some examples."""
    return table([{"id": each.id, "intent": each.intent, "code": each.code} for each in shown], code=("code",))


def data_checks(checks: Mapping) -> Shown:
    """What is in a task's data, one line a split; `checks` is `tasks.checks` as plain values."""
    lines = [
        {
            "split": each["split"],
            "rows": each["rows"],
            "without code": each["without_code"],
            "without tests": each["without_tests"],
            "repeated intents": each["repeated_intents"],
            "repeated rows": each["repeated_rows"],
            "intent tokens": _quantiles(each["intent_tokens"]),
            "code tokens": _quantiles(each["code_tokens"]),
            "too long to train on": "–" if each["rows_too_long"] is None else each["rows_too_long"],
        }
        for each in checks["splits"]
    ]
    shared = [
        f"{' and '.join(each['splits'])} share {each['exact']} intents letter for letter, {each['normalized']} up to "
        f"case, spacing and quotes, {each['near']} nearly."
        for each in checks["overlaps"]
    ]
    left_out = [f"{checks['rows_left_out']} training and validation rows without code are left out."]
    known = [f"{checks['known_intents']} test rows are left out because another task trains on their intent."]
    notes = [*shared, *(left_out if checks["rows_left_out"] else []), *(known if checks["known_intents"] else [])]
    return table(lines, ["Tokens: median, 90 %, 99 %, longest.", *notes])


def _quantiles(tokens: Sequence[int] | None) -> str:
    return "–" if tokens is None else ", ".join(f"{each:,}" for each in tokens)


def layers(there: Mapping[str, bool]) -> Shown:
    """What keeps untrusted programs in, on this machine."""
    return table([{"layer": name, "here": "yes" if here else "no"} for name, here in there.items()])


def failure(found) -> Shown:
    """A program that fails and the test that it fails, below one another; None: there is none."""
    if found is None:
        return paragraph("Every first answer passes all its tests.")
    lines = [
        {"what": name, "text": text}
        for name, text in (
            ("problem", found.intent),
            ("program", found.program),
            ("test", found.test),
            ("expected", found.expected),
            ("got", found.got),
            ("so it is", found.verdict.replace("_", " ")),
        )
    ]
    return table(lines, code=("text",))


def fairness(rows: Sequence[Row], folder: str | Path) -> Shown:
    """What must be equal over methods for their scores to compare, and whether it is."""
    checks = [
        ("same data", {row.provenance.get("data") for row in rows}),
        ("same base model", {row.provenance.get("weights") for row in rows}),
        ("same precision, but for QLoRA", {row.settings["precision"] for row in rows if not _is_qlora(row)}),
        ("same decoding", {str(row.settings["decoding"]) for row in rows}),
        ("same training, but for the learning rate", {str(row.settings["training"]) for row in rows} - {"None"}),
        ("same test examples", {_queries(row, folder) for row in rows if row.status == results.OK}),
        ("same versions of the packages", {str(row.provenance.get("packages")) for row in rows}),
    ]
    ended = sum(row.status == results.OK for row in rows)
    dropped = sum(row.notes.get("queries_with_dropped_shots", 0) > 0 for row in rows)
    answers = {name: "yes" if len(found) <= 1 else f"no: {len(found)} kinds" for name, found in checks}
    answers["every run ended well"] = "yes" if ended == len(rows) else f"no: {ended} of {len(rows)}"
    answers["every shot fitted the context"] = f"no: not in {dropped} runs" if dropped else "yes"
    return table([{"check": name, "answer": said} for name, said in answers.items()])


def _is_qlora(row: Row) -> bool:
    return kind(row.settings) in spec.QLORA


def provenance(rows: Sequence[Row]) -> Shown:
    """Code, versions and machine behind the rows; differing values are all named."""
    flat = [{**row.provenance, **row.provenance["packages"]} for row in rows]
    names = [name for name in flat[0] if name != "packages"] if flat else []
    return table([{"what": name, "value": ", ".join(sorted({str(each.get(name)) for each in flat}))} for name in names])


def paragraph(text: str) -> Shown:
    """A computed paragraph."""
    return Shown(pd.DataFrame(), f"<blockquote>{escape(text)}</blockquote>", text)


def _settings(run: Run) -> str:
    named = [(name, getattr(run.method, name)) for name in _SETTINGS if hasattr(run.method, name)]
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in named)


def _decoding(run: Run) -> str:
    asked = run.decoding
    how = f"{asked.beams} beams" if asked.temperature is None else f"temperature {asked.temperature:g}"
    return f"Decoding of every run: {how}, {asked.returned} answers an example; precision {run.precision}."


def _training(asked: Training) -> str:
    return (
        f"Training of every trained method: {asked.epochs} epochs, batches of {asked.batch_size}, {asked.optimizer}, "
        f"{asked.schedule} schedule, the checkpoint with the lowest validation loss."
    )


def _queries(row: Row, folder: str | Path) -> str:
    return str([each.example for each in results.predictions(folder, row.id)])

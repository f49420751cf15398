"""What stands behind the numbers of a report: every run, its data, what could have leaked. Computes no score."""

import json
from collections.abc import Iterable, Mapping

import pandas as pd

from nblib.results import Row
from nblib.tables.groups import names, setting
from nblib.tables.shown import NOTHING, STATUS, Shown, table

ORIGIN = ("commit", "clean", "device", "device_name", "threads", "processes", "data", "weights", "python", "system")
MARKS = {"limit": "partial", "shape_only": "shape only"}
LEAKS = "A test row whose intent is in the train split is answered from memory: scores on it are too high."
UNSEEN = (
    "What a base model read before it came here cannot be seen from these files: public benchmarks may be part of "
    "its training data. The sample tasks are generated, and no model but the embedded one was trained on them."
)


def appendix(rows: Iterable[Row]) -> pd.DataFrame:
    """One line a run, by id: every number of the report is a mean over lines of one model, task and method.

    `model`, `task`, `trained_on`, `method`, `precision`, `seed`, `split`, `status`, `em@1` and `strict_accuracy`,
    `marks` (partial, shape only), where it came from (commit, machine, content of data and weights), and each
    package's version.
    """
    rows = sorted(rows, key=lambda row: row.id)
    lines = []
    for row, label in zip(rows, names([row.settings for row in rows]), strict=True):
        given = row.settings
        marks = [said for name, said in MARKS.items() if given.get(name)]
        line = {"id": row.id, "model": given["model"], "task": given["task"], "method": label}
        line |= {"trained_on": setting(given, "train_task"), "precision": given.get("precision"), "seed": given["seed"]}
        line |= {"split": setting(given, "split"), "status": row.status, "marks": ", ".join(marks)}
        line |= {name: row.scores.get(name, {}).get("mean") for name in ("em@1", "strict_accuracy")}
        line |= {name: row.provenance.get(name) for name in ORIGIN}
        lines.append(line | (row.provenance.get("packages") or {}))
    return pd.DataFrame(lines)


def shown_appendix(frame: pd.DataFrame) -> Shown:
    """The table of an `appendix` in brief; what all lines share stands once below."""
    if frame.empty:
        return table([], ["There are no runs."])
    origin = list(frame.columns[list(frame.columns).index(ORIGIN[0]) :])
    shared = {name: frame[name].iloc[0] for name in origin if frame[name].nunique(dropna=False) == 1}
    differing = [name for name in origin if name not in shared]
    lines = [
        {
            "run": row["id"],
            "status": STATUS.get(row["status"], "ok"),
            "score (%)": _score(row),
            "marks": row["marks"] or NOTHING,
            **{name: _brief(row[name]) for name in differing},
        }
        for _, row in frame.iterrows()
    ]
    return table(lines, ["The same for all: " + ", ".join(f"{name} {each}" for name, each in shared.items()) + "."])


def skipped(problems: Mapping[str, str]) -> Shown:
    """Files that stand in the folder and in no number: `problems` of nblib.results."""
    lines = [{"file": name, "why": why} for name, why in sorted(problems.items())]
    said = "These files are in no table above. Make them again, or restore them."
    return table(lines, [said if lines else "Every file of the folder is whole, and as it was written."])


def leakage(rows: Iterable[Row]) -> pd.DataFrame:
    """One line a task, what was trained on, and pair of splits, from the checks that runs made of their data.

    `exact`, `normalized` and `near` count the intents that both splits have; `test_rows` the test split's rows;
    `known_intents` the test rows that were left out because another task trains on them. A task whose runs kept no
    checks has one line with nothing in it.
    """
    lines: dict[str, dict] = {}
    asked = [row for row in rows if setting(row.settings, "split") == "test" and not row.settings.get("shape_only")]
    for row in sorted(asked, key=lambda row: row.id):
        checks = row.notes.get("data_checks")
        whose = {"task": row.settings["task"], "trained_on": row.settings.get("train_task") or row.settings["task"]}
        for line in [{}] if checks is None else _overlaps(checks):
            lines.setdefault(json.dumps(whose | line, sort_keys=True), whose | line)
    told = {(line["task"], line["trained_on"]) for line in lines.values() if len(line) > 2}
    kept = [line for line in lines.values() if len(line) > 2 or (line["task"], line["trained_on"]) not in told]
    order = ["task", "trained_on", "splits"]
    frame = pd.DataFrame(kept, columns=[*order, "exact", "normalized", "near", "test_rows", "known_intents"])
    return frame.sort_values(order, kind="stable", ignore_index=True)


def shown_leakage(frame: pd.DataFrame) -> Shown:
    """The table of a `leakage`, and what it cannot show."""
    lines = []
    for _, row in frame.iterrows():
        whose = {"asked": row["task"], "trained on": row["trained_on"]}
        if pd.isna(row["splits"]):
            lines.append(whose | {"splits": "not checked"} | dict.fromkeys(_COUNTS, NOTHING) | {"so": "?"})
            continue
        counts = {said: f"{row[name]:,.0f}" for said, name in _COUNTS.items()}
        said = "leaks" if row["normalized"] else "look at the near ones" if row["near"] else "clean"
        lines.append(whose | {"splits": row["splits"]} | counts | {"so": said})
    return table(lines, [LEAKS, UNSEEN])


_COUNTS = {
    "same intents": "exact",
    "same up to case, spacing, quotes": "normalized",
    "nearly the same": "near",
    "test rows": "test_rows",
    "test rows left out": "known_intents",
}


def _overlaps(checks: Mapping) -> list[dict]:
    test = next((each["rows"] for each in checks["splits"] if each["split"] == "test"), None)
    return [
        {
            "splits": " and ".join(each["splits"]),
            **{name: each[name] for name in ("exact", "normalized", "near")},
            "test_rows": test,
            "known_intents": checks["known_intents"],
        }
        for each in checks["overlaps"]
    ]


def _score(row: pd.Series) -> str:
    metric = "em@1" if pd.isna(row["strict_accuracy"]) else "strict_accuracy"
    return NOTHING if pd.isna(row[metric]) else f"{100 * row[metric]:.1f}"


def _brief(value) -> str:
    return NOTHING if value is None else str(value)[:16]

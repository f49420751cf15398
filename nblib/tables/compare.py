"""Two result stores run by run: what differs, and whether it matters. Loads no model."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from nblib import results, stats
from nblib.results import Row
from nblib.tables import words
from nblib.tables.groups import names
from nblib.tables.shown import NOTHING, Shown, table

PLACES = ("data_dir",)  # where something lay when the run was made, which changes no result
SO = {"higher": "higher in b", "lower": "lower in b", "tie": "no difference that this data can show"}


def compare(a: str | Path, b: str | Path, *, metric: str = "em@1") -> Shown:
    """Runs of the same settings in two folders, b beside a: one line for each that is not the same in both.

    The numbers stand in `.frame`: `run` (id in a, else in b), `found` (same, differs, only in a, only in b), `a`, `b`
    (means), `difference` (b minus a) with `low`, `high`, `p` (paired over the same examples, Holm's correction over
    all pairs that can be tested), `effect`, `verdict`, `answers` (share of the common examples with another first
    answer) and `provenance` (what of it differs). A file that is cut or was edited counts as not there, and is named.
    Raises ValueError for a folder that does not exist.
    """
    folders = {"a": Path(a), "b": Path(b)}
    for folder in folders.values():
        if not folder.is_dir():
            raise ValueError(f"a result store must be a folder; got {folder}")
    ours, theirs = (_by_settings(results.sound(folder)) for folder in folders.values())
    keys = sorted({*ours, *theirs})
    frame = pd.DataFrame([_line(ours.get(key), theirs.get(key), folders, metric) for key in keys], columns=_COLUMNS)
    frame = _with_family(frame)
    labels = {row.id: name for found in (ours, theirs) for row, name in _labelled(list(found.values()))}
    return _shown(frame, labels, metric, {name: results.problems(folder) for name, folder in folders.items()})


_COLUMNS = [
    *("run", "found", "a", "b", "difference", "low", "high", "p", "effect", "n", "verdict"),
    *("answers", "provenance", "tested"),
]


def _by_settings(rows: list[Row]) -> dict[str, Row]:
    """Rows by what was asked; of several with other data or weights, each by its content too."""
    parts: dict[str, list[Row]] = {}
    for row in rows:
        asked = {name: each for name, each in row.settings.items() if name not in PLACES and each is not None}
        parts.setdefault(json.dumps(asked, sort_keys=True), []).append(row)
    found = {}
    for key, members in parts.items():
        for row in members:
            content = "" if len(members) == 1 else f"{row.provenance.get('data')} {row.provenance.get('weights')}"
            found[key + content] = row
    return found


def _labelled(rows: list[Row]) -> list[tuple[Row, str]]:
    said = names([row.settings for row in rows])
    return [
        (row, f"{row.settings['model']}, {row.settings['task']}, {name}, seed {row.settings['seed']}")
        for row, name in zip(rows, said, strict=True)
    ]


def _line(ours: Row | None, theirs: Row | None, folders: Mapping[str, Path], metric: str) -> dict:
    if ours is None or theirs is None:
        there = ours or theirs
        assert there is not None
        line = {"run": there.id, "found": f"only in {'a' if ours else 'b'}"}
        return line | {"a" if ours else "b": there.scores.get(metric, {}).get("mean")}
    before, after = (
        {each.example: each for each in results.predictions(folder, row.id)}
        for folder, row in zip(folders.values(), (ours, theirs), strict=True)
    )
    common = sorted({*before, *after})
    scores = [
        [[side[each].scores.get(metric) if each in side else None for each in common]] for side in (after, before)
    ]
    tested = stats.paired_difference(*scores) if common else None
    both = [each for each in common if each in before and each in after]
    moved = sum(before[each].codes[:1] != after[each].codes[:1] for each in both)
    origin = _differing(ours.provenance, theirs.provenance)
    equal = all(each in both and before[each].scores == after[each].scores for each in common)
    same = equal and ours.scores == theirs.scores and not moved and ours.status == theirs.status
    return {
        "run": ours.id,
        "found": "same" if same else "differs",
        "a": _mean(ours, metric),
        "b": _mean(theirs, metric),
        "answers": moved / len(both) if both else None,
        "provenance": "; ".join(origin),
        "tested": tested,
    }


def _mean(row: Row, metric: str) -> float | None:
    return row.scores.get(metric, {}).get("mean")


def _with_family(frame: pd.DataFrame) -> pd.DataFrame:
    """The tests' numbers, once Holm's correction has seen all of them."""
    places = [place for place, each in frame["tested"].items() if isinstance(each, stats.Difference)]
    adjusted = stats.adjusted([frame.at[place, "tested"] for place in places])
    numbers = ("difference", "low", "high", "p", "effect", "n", "a", "b", "answers")
    frame = frame.astype(dict.fromkeys(numbers, float) | {"verdict": object})
    for place, each in zip(places, adjusted, strict=True):
        frame.loc[place, ["difference", "low", "high", "p", "effect", "n"]] = [
            float("nan") if value is None else float(value)
            for value in (each.mean, each.low, each.high, each.p, each.effect, each.n)
        ]
        frame.at[place, "verdict"] = stats.decide(each)
    return frame.drop(columns="tested")


def _differing(ours: Mapping, theirs: Mapping) -> list[str]:
    """`torch 2.12.0 to 2.13.0`, of everything that provenance says."""
    flat = [{**each, **(each.get("packages") or {})} for each in (ours, theirs)]
    known = sorted({*flat[0], *flat[1]} - {"packages"})
    return [
        f"{name} {_brief(flat[0].get(name))} to {_brief(flat[1].get(name))}"
        for name in known
        if flat[0].get(name) != flat[1].get(name)
    ]


def _brief(value) -> str:
    return str(value)[:12]


def _shown(frame: pd.DataFrame, labels: Mapping[str, str], metric: str, problems: Mapping[str, Mapping]) -> Shown:
    changed = frame[frame["found"] != "same"]
    lines = [_text(row, labels) for _, row in changed.iterrows()]
    counts = {name: int((frame["found"] == name).sum()) for name in ("same", "differs", "only in a", "only in b")}
    notes = [f"{metric} by run: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + "."]
    notes += ["b minus a, paired over the same examples; p with Holm's correction over all pairs of runs."]
    for name, found in problems.items():
        notes += [f"Skipped in {name}: {file} {why}." for file, why in found.items()]
    said = table(lines, notes)
    return Shown(frame, said.html, said.text)


def _text(row: pd.Series, labels: Mapping[str, str]) -> dict[str, str]:
    def share(name: str) -> str:
        return NOTHING if pd.isna(row[name]) else f"{100 * row[name]:.1f}"

    test = NOTHING
    if not pd.isna(row["low"]):
        test = f"{words.points(row['difference'])} ({words.points(row['low'])} to {words.points(row['high'])}), "
        test += words.p_value(row["p"])
    return {
        "run": labels[row["run"]],
        "found": row["found"],
        "a (%)": share("a"),
        "b (%)": share("b"),
        "difference (points)": test,
        "other first answers (%)": share("answers"),
        "so it is": SO.get(row["verdict"], NOTHING),
        "what else differs": row["provenance"] if isinstance(row["provenance"], str) and row["provenance"] else NOTHING,
    }

"""Which runs may stand in one table, and what their methods are called there. Computes no score."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from nblib import results, spec
from nblib.results import Frames

ONE_EACH = {  # a comparison has one of each: setting -> column of the runs
    "model": "model",
    "task": "task",
    "limit": "limit",
    "decoding": "decoding",
    "split": "split",
    "train_task": "trained_on",
}
KINDS = [name for kind in spec.METHODS for name in ([kind, *spec.QLORA] if kind == "lora" else [kind])]
LOST = (results.FAILED, results.OUT_OF_MEMORY)
MEANS = (  # costs of which a table has the mean over seeds
    *("trainable_parameters", "total_parameters", "adapter_bytes", "train_seconds", "generate_seconds"),
    *("prompt_tokens", "new_tokens"),
)


def labelled(
    runs: pd.DataFrame, answers: pd.DataFrame, *, apart: Sequence[str] = (), leaving: Sequence[str] = ()
) -> Frames:
    """`named` runs with their answers, which carry the same names."""
    runs = named(runs, apart=apart, leaving=leaving)
    return Frames(runs, attached(answers[answers["run"].isin(runs.index)], runs, results.ANSWERED))


def named(runs: pd.DataFrame, *, apart: Sequence[str] = (), leaving: Sequence[str] = ()) -> pd.DataFrame:
    """The runs, `method` told apart by the settings that differ (`lora r=4`), in the house order.

    `apart` are columns that may have several values, such as `model`: each combination is a table of its own. Settings
    in `leaving` are not named.
    Raises ValueError for runs that must not stand in one table: of several models, tasks, limits, decodings, splits or
    tasks that were trained on, and for two of one setting and seed.
    """
    runs = runs.sort_index().astype({"method": object})
    for setting, column in ONE_EACH.items():
        if column not in apart:
            _one(setting, runs[column])
    for _, part in runs.groupby(list(apart), dropna=False, observed=True) if apart else [((), runs)]:
        _each_once(part)
        runs.loc[part.index, "method"] = names(list(part["settings"]), leaving=leaving)
    order = sorted_labels(zip(runs["method"], runs["kind"], strict=True))
    runs["method"] = pd.Categorical(runs["method"], order, ordered=True)
    return runs


def attached(answers: pd.DataFrame, runs: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The answers with these columns of their runs, categories kept."""
    ids = answers["run"].astype(object)
    found = {name: ids.map(runs[name].astype(object)) for name in columns}
    return answers.assign(**{name: each.astype(runs[name].dtype) for name, each in found.items()})


def counts(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One line a group of runs: what they are, how many ended how, and what they cost (means over seeds)."""
    about = [name for name in ("kind", "family", "model", "task", "limit") if name not in by]
    well = runs["status"] == results.OK
    costs = runs.reindex(columns=[*MEANS, "peak_bytes"]).astype(float).where(well)
    frame = runs[[*by, *about]].assign(seeds=well, **{name: runs["status"] == name for name in LOST}).join(costs)
    grouped = frame.groupby(list(by), observed=True, dropna=False)
    parts = [grouped[about].first(), grouped[["seeds", *LOST]].sum().astype(int), grouped[[*MEANS]].mean()]
    frame = pd.concat([*parts, grouped["peak_bytes"].max()], axis=1).reset_index()
    bad = frame[results.OUT_OF_MEMORY].gt(0).map({True: results.OUT_OF_MEMORY, False: results.FAILED})
    frame.insert(len(by) + len(about), "status", bad.astype(object).mask(frame["seeds"] > 0, results.OK))
    return frame


def names(all_settings: Sequence[Mapping], *, leaving: Sequence[str] = ()) -> list[str]:
    """The method's label for each, with the settings in which methods of one label differ: `lora r=4`, `lora bf16`.

    Those in `leaving` are not named, nor is the precision that most of all have.
    """
    precisions = sorted(str(settings.get("precision")) for settings in all_settings)
    usual = max(precisions, key=precisions.count, default="")
    own = [(results.label(settings), _details(settings, leaving)) for settings in all_settings]
    kin: dict[str, list[dict]] = {}
    for label, details in own:
        kin.setdefault(label, []).append(details)
    return [label + _suffix(details, kin[label], usual) for label, details in own]


def sorted_labels(found: Iterable[tuple[str, str]]) -> list[str]:
    """Labels with their kinds in the house order."""
    return [label for label, _ in sorted(dict(found).items(), key=lambda each: _place(*each))]


def _details(settings: Mapping, leaving: Sequence[str] = ()) -> dict:
    """What may differ between methods: their own fields, precision and training."""
    own = {name: value for name, value in settings["method"].items() if name not in ("kind", *leaving)}
    return own | {"precision": settings.get("precision")} | (settings.get("training") or {})


def _suffix(details: dict, kin: list[dict], usual: str) -> str:
    """The settings in which methods of one name differ: ` r=4, alpha=8`; a precision says what it is by itself."""
    differing = [name for name in details if len({_dumped(each.get(name)) for each in kin}) > 1]
    said = {name: f"{name}={details[name]}" for name in differing} | {"precision": str(details["precision"])}
    spoken = [said[name] for name in differing if name != "precision" or details[name] != usual]
    return f" {', '.join(spoken)}" if spoken else ""


def _one(setting: str, column: pd.Series) -> None:
    values = {_dumped(None if pd.isna(value) else value) for value in column}
    if setting == "train_task":
        values.discard(_dumped(None))  # zero-shot fits beside any
    if len(values) > 1:
        raise ValueError(f"a comparison has one {setting}; got {' and '.join(sorted(values))}: make a table for each")


def _each_once(runs: pd.DataFrame) -> None:
    known: dict[str, str] = {}
    for id, settings in runs["settings"].items():
        key = _dumped([results.label(settings), _details(settings), settings["seed"]])
        if key in known:
            raise ValueError(
                f"{results.label(settings)} with seed {settings['seed']} has two rows, {known[key]} and {id}: "
                "data or weights differ, so show them in tables of their own"
            )
        known[key] = str(id)


def _dumped(value) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _place(label: str, kind: str) -> tuple:
    """Methods in the order of KINDS, others after them; numbers by size, icl-2 before icl-16."""
    return [*KINDS, kind].index(kind), [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", label)]

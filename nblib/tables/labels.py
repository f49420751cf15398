"""Which runs may stand in one table, what their methods are called there, and how many of them ended well."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from nblib import results, spec
from nblib.results import Frames

ONE_EACH = ("model", "task", "limit", "decoding", "split", "trained_on")  # columns of which a table has one value
KINDS = [name for kind in spec.METHODS for name in ([kind, *spec.QLORA] if kind == "lora" else [kind])]
OPTIONAL = ("train_joules", "generate_joules", "train_money", "generate_money")  # costs that few runs have
LOST = (results.FAILED, results.OUT_OF_MEMORY)
COSTS = (  # of which a table has the mean over seeds
    *("trainable_parameters", "total_parameters", "adapter_bytes", "train_seconds", "generate_seconds"),
    *("prompt_tokens", "new_tokens"),
)


@dataclass(frozen=True)
class Benchmark:
    """Runs that may stand in one table, their methods named for it, with their answers."""

    name: str  # the task, and what else tells it from the other benchmarks
    limit: int | None  # only the first examples: a partial result
    runs: pd.DataFrame = field(repr=False)
    answers: pd.DataFrame = field(repr=False)

    @property
    def file(self) -> str:
        """The name as part of a file's name."""
        return re.sub(r"[^a-z0-9.+-]+", "_", self.name.lower())

    @property
    def metric(self) -> str:
        """The score that decides: strict accuracy where answers are run, else EM@1."""
        is_run = "strict_accuracy" in self.runs and self.runs["strict_accuracy"].notna().any()
        return "strict_accuracy" if is_run else "em@1"


def benchmarks(runs: pd.DataFrame, answers: pd.DataFrame) -> list[Benchmark]:
    """The tables that these runs make, models as groups of lines: whole ones before partial ones, by task.

    A benchmark is one task with one content of its data, one way of decoding, and all of its examples or the same first
    ones; a model of several weights is told apart. Left out are runs that choose settings (the validation split), that
    measure memory with random weights (`shape_only`), and adapters of another task.
    """
    is_own = runs["trained_on"].isna() | (runs["trained_on"] == runs["task"])
    runs = runs[is_own & (runs["split"] == "test") & ~runs["shape_only"].astype(bool)]
    limits = runs["limit"].fillna(0).astype(int)
    keys = runs[["task", "decoding"]].assign(limit=limits, partial=limits > 0, data=_contents(runs, "data", "task"))
    found = []
    for (partial, task, limit), kin in keys.groupby(["partial", "task", "limit"]):
        for (decoding, data), members in kin.groupby(["decoding", "data"]):
            name = f"{task}, first {limit} examples" if partial else task
            name += f", {decoding_words(json.loads(decoding))}" if kin["decoding"].nunique() > 1 else ""
            name += f", data {data[:6]}" if kin["data"].nunique() > 1 else ""
            part = labelled(_by_weights(runs.loc[members.index]), answers, apart=["model"])
            found.append(Benchmark(name, limit or None, *part))
    return found


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
    for column in ONE_EACH:
        if column not in apart:
            _check_one(runs, column)
    for _, part in runs.groupby(list(apart), dropna=False, observed=True) if apart else [((), runs)]:
        _check_once(part)
        runs.loc[part.index, "method"] = names(list(part["settings"]), leaving=leaving)
    order = sorted(dict(zip(runs["method"], runs["kind"], strict=True)).items(), key=_house_order)
    runs["method"] = pd.Categorical(runs["method"], [label for label, _ in order], ordered=True)
    return runs


def attached(answers: pd.DataFrame, runs: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The answers with these columns of their runs, categories kept."""
    columns = list(columns)
    return answers.drop(columns=columns, errors="ignore").join(runs[columns], on="run")


def counts(runs: pd.DataFrame, by: Sequence[str], costs: Sequence[str] = COSTS) -> pd.DataFrame:
    """One line per group of runs, indexed by it: what they are, how many ended how, and their mean costs over seeds.

    Seconds have their standard deviation over seeds, too (`train_seconds_sd`). With the usual costs come those of
    OPTIONAL that any run has.
    """
    if costs is COSTS:
        costs = [*costs, *(name for name in OPTIONAL if name in runs and runs[name].notna().any())]
    about = [name for name in ("kind", "family", "model", "task", "limit") if name not in by]
    well = runs["status"] == results.OK
    frame = runs[[*by, *about]].assign(seeds=well, **{name: runs["status"] == name for name in LOST})
    frame = frame.join(runs.reindex(columns=[*costs, "peak_bytes"]).astype(float).where(well))
    how = dict.fromkeys(about, "first") | dict.fromkeys(("seeds", *LOST), "sum") | dict.fromkeys(costs, "mean")
    groups = frame.groupby(list(by), observed=True, dropna=False)
    spread = groups[[name for name in costs if name.endswith("_seconds")]].std().add_suffix("_sd")
    frame = groups.agg(how | {"peak_bytes": "max"}).join(spread)
    bad = np.where(frame[results.OUT_OF_MEMORY] > 0, results.OUT_OF_MEMORY, results.FAILED)
    frame.insert(len(about), "status", np.where(frame["seeds"] > 0, results.OK, bad).astype(object))
    return plain_index(frame.reset_index(), by)


def plain_index(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The frame indexed by these columns, without their categories, so that frames of other categories align."""
    return frame.astype(dict.fromkeys(by, object)).set_index(list(by))


def names(all_settings: Sequence[Mapping], *, leaving: Sequence[str] = ()) -> list[str]:
    """The method's label for each, with the settings in which methods of one label differ: `lora r=4`, `lora bf16`.

    Those in `leaving` are not named, nor is the precision that most of all have.
    """
    precisions = [str(settings.get("precision")) for settings in all_settings]
    usual = max(spec.PRECISIONS, key=precisions.count)
    labels = [results.label(settings) for settings in all_settings]
    details = [_details(settings, leaving) for settings in all_settings]
    kin: dict[str, list[dict]] = {}
    for label, own in zip(labels, details, strict=True):
        kin.setdefault(label, []).append(own)
    return [label + _suffix(own, kin[label], usual) for label, own in zip(labels, details, strict=True)]


def decoding_words(decoding: Mapping) -> str:
    """`10 beams, 10 answers`."""
    beams, temperature = decoding["beams"], decoding.get("temperature")
    how = f"{beams} beams" if temperature is None else f"temperature {temperature:g}"
    return f"{how}, {decoding['returned']} answers"


def _details(settings: Mapping, leaving: Sequence[str] = ()) -> dict:
    """What may differ between methods: their own fields, precision and training."""
    own = {name: value for name, value in settings["method"].items() if name not in ("kind", *leaving)}
    return own | {"precision": settings.get("precision")} | (settings.get("training") or {})


def _suffix(details: dict, kin: list[dict], usual: str) -> str:
    """The settings in which methods of one name differ: ` r=4, alpha=8`; a precision says what it is by itself."""
    differing = [name for name in details if len({_dumped(other.get(name)) for other in kin}) > 1]
    words = {name: f"{name}={details[name]}" for name in differing} | {"precision": str(details["precision"])}
    spoken = [words[name] for name in differing if name != "precision" or details[name] != usual]
    return f" {', '.join(spoken)}" if spoken else ""


def _check_one(runs: pd.DataFrame, column: str) -> None:
    values = runs[column].dropna() if column == "trained_on" else runs[column]  # zero-shot fits beside any
    found = sorted({_dumped(None if pd.isna(value) else value) for value in values})
    if len(found) > 1:
        raise ValueError(f"a comparison has one {column}; got {' and '.join(found)}: make a table for each")


def _check_once(runs: pd.DataFrame) -> None:
    keys = runs["settings"].map(lambda own: _dumped([results.label(own), _details(own), own["seed"]]))
    for key in keys[keys.duplicated()]:
        settings = runs.loc[keys == key, "settings"]
        raise ValueError(
            f"{results.label(settings.iloc[0])} with seed {settings.iloc[0]['seed']} has two rows, "
            f"{settings.index[0]} and {settings.index[1]}: data or weights differ, so show them in tables of their own"
        )


def _dumped(value) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _house_order(labelled_kind: tuple[str, str]) -> tuple:
    """Methods in the order of KINDS, others after them; numbers by size, icl-2 before icl-16."""
    label, kind = labelled_kind
    return [*KINDS, kind].index(kind), [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", label)]


def _contents(runs: pd.DataFrame, name: str, of: str) -> pd.Series:
    """That content of each run; a run that does not say (it failed early) counts to the first known."""
    return runs[name].fillna(runs.groupby(of)[name].transform("min")).fillna("unknown").astype(str)


def _by_weights(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs, a model of several weights named by them."""
    weights = _contents(runs, "weights", "model")
    several = weights.groupby(runs["model"]).transform("nunique") > 1
    return runs.assign(model=runs["model"].where(~several, runs["model"] + " (" + weights.str[:6] + ")"))

"""All rows of a folder to one table a benchmark, models as groups of lines, methods as lines. Loads no model.

A benchmark is what may stand in one table: one task with one content of its data, one way of decoding, and all of its
examples or the same first ones. Left out are rows that choose settings (the validation split), that measure memory
with random weights (`shape_only`), and adapters of another task (tables.transfer).
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from nblib.results import Row
from nblib.tables import frame as framing
from nblib.tables.frame import EXECUTION, METRICS
from nblib.tables.groups import Group, _place, _shared, examples, family, groups, setting
from nblib.tables.memory import held_bytes
from nblib.tables.shown import NOTHING, STATUS, Shown, size, table

REPORTED = {  # the paper's columns and their names
    **EXECUTION,
    **{f"em@{k}": f"EM@{k}" for k in (1, 2, 5, 10)},
    "codebleu": "CodeBLEU",
    "chrf": METRICS["chrf"],
    "chrf++": "chrF++",
}
COSTS = ("trainable_parameters", "train_seconds", "prompt_tokens", "generate_seconds")


@dataclass(frozen=True)
class Benchmark:
    """Rows that may stand in one table."""

    task: str
    limit: int | None  # only the first examples: a partial result
    name: str  # the task, and what else tells it from the other benchmarks
    rows: tuple[Row, ...]

    @property
    def file(self) -> str:
        """The name as part of a file's name."""
        return re.sub(r"[^a-z0-9.+-]+", "_", self.name.lower())

    @property
    def metric(self) -> str:
        """The score that decides: strict accuracy where answers are run, else EM@1."""
        return "strict_accuracy" if any("strict_accuracy" in row.scores for row in self.rows) else "em@1"


def quality_rows(rows: Iterable[Row]) -> list[Row]:
    """Rows that say how good a method is at the task it was trained on, by id."""
    return sorted((row for row in rows if _says_quality(row)), key=lambda row: row.id)


def benchmarks(rows: Iterable[Row]) -> list[Benchmark]:
    """The tables that these rows make, whole ones before partial ones; the order of rows changes nothing."""
    parts: dict[tuple, list[Row]] = {}
    rows = quality_rows(rows)
    data = _known(rows, "data", "task")
    for row in rows:
        limit = row.settings.get("limit")
        decoding = json.dumps(_shared(row.settings["decoding"]), sort_keys=True)
        parts.setdefault((limit is not None, row.settings["task"], limit or 0, decoding, data[row.id]), []).append(row)
    keys = sorted(parts, key=str)
    return [_benchmark(key, keys, parts[key]) for key in keys]


def models(benchmark: Benchmark, folder: str | Path) -> dict[str, list[Group]]:
    """The groups of each model, by its name; a name with several weights is told apart by their hash."""
    weights = _known(benchmark.rows, "weights", "model")
    parts: dict[tuple[str, str], list[Row]] = {}
    for row in benchmark.rows:
        parts.setdefault((row.settings["model"], weights[row.id]), []).append(row)
    names = [name for name, _ in parts]
    found = {}
    for (name, content), members in sorted(parts.items()):
        found[name if names.count(name) == 1 else f"{name} ({content[:6]})"] = groups(members, folder)
    return found


def report(benchmark: Benchmark, folder: str | Path) -> pd.DataFrame:
    """One line a model and method, every method of any model under each: what was not run is `missing`.

    `model`, `method`, `kind`, `family`, `status`, `seeds`, `failed`, `out_of_memory`; each score of REPORTED that a
    run has with the columns of `comparison`, ties within the model; costs as means over seeds, and `memory_bytes` of
    training: the allocated peak on a GPU, the sum of the tensors' bytes on a CPU (`memory_kind` says which).
    """
    found = models(benchmark, folder)
    labels = {group.label: group for team in found.values() for group in team}
    order = sorted(labels, key=lambda label: _place(label, labels[label].kind))
    metrics = [name for name in REPORTED if any(group.mean(name) is not None for group in labels.values())]
    lines = []
    for model, team in found.items():
        there = {group.label: group for group in team}
        missing = [replace(labels[each], label=each, rows=(), scores=(), failed=0, out_of_memory=0) for each in order]
        filled = [there.get(group.label, group) for group in missing]
        lines += _model(model, filled, metrics)
    return pd.DataFrame(lines)


def shown_report(frame: pd.DataFrame, name: str) -> Shown:
    """The table of a `report`: percent, with intervals; the model only in the first line of its group."""
    metrics = [each for each in REPORTED if each in frame]
    lines, before = [], None
    for _, row in frame.iterrows():
        best = frame[frame["model"] == row["model"]][metrics].max() if metrics else {}
        line = {"model": row["model"] if row["model"] != before else "", "method": row["method"]}
        line |= {f"{REPORTED[each]} (%)": _score(row, each, best[each]) for each in metrics}
        lines.append(line | _costs(row))
        before = row["model"]
    notes = [
        f"{name}. Means over examples and seeds, 95 % intervals in brackets. Best: the highest of that model; ≈: a "
        "paired test cannot tell it from the best (5 %, Holm's correction over that model's column).",
        *_memory_note(frame),
        *(["Only the first examples: a partial result."] if len(frame) and frame["limit"].notna().any() else []),
    ]
    return table(lines, notes)


def difficulties(benchmark: Benchmark, folder: str | Path) -> pd.DataFrame:
    """Execution scores by difficulty, from the counts in the rows' notes: one line a model, method and difficulty.

    Means over seeds, without intervals. Empty where no row names difficulties.
    """
    lines = []
    for model, team in models(benchmark, folder).items():
        for group in team:
            told = [row.notes.get("by_difficulty", {}) for row in group.rows]
            for difficulty in dict.fromkeys(name for each in told for name in each):
                parts = [each[difficulty] for each in told if difficulty in each]
                line: dict[str, object] = {"model": model, "method": group.label, "difficulty": difficulty}
                line |= {"n": parts[0].get("examples"), "seeds": len(parts)}
                lines.append(line | {name: _mean(parts, name) for name in EXECUTION})
    frame = pd.DataFrame(lines)
    return frame.dropna(axis=1, how="all") if len(frame) else frame


def shown_difficulties(frame: pd.DataFrame) -> Shown:
    """The table of `difficulties`, in percent."""
    lines = []
    for _, row in frame.iterrows():
        scores = {f"{name} (%)": _percent(row[each]) for each, name in EXECUTION.items() if each in frame}
        names = {name: row[name] for name in ("model", "method", "difficulty")}
        lines.append(names | scores | {"n": str(row["n"]), "seeds": str(row["seeds"])})
    return table(lines, ["Means over seeds."])


def group_memory(group: Group) -> tuple[float | None, str]:
    """The highest of its seeds, and how it is known: `allocated` on a GPU, `tensors` (their sum) on a CPU."""
    found = [held_bytes(row) for row in group.rows if row.settings.get("training")]
    on_gpu = any(str(row.provenance.get("device")).startswith("cuda") for row in group.rows)
    kind = ("allocated" if on_gpu else "tensors") if found else ""
    return max((each for each in found if each is not None), default=None), kind


def _says_quality(row: Row) -> bool:
    own = setting(row.settings, "train_task") in (None, row.settings["task"])
    return own and not row.settings.get("shape_only") and setting(row.settings, "split") == "test"


def _known(rows: Sequence[Row], name: str, of: str) -> dict[str, str]:
    """Row id -> that entry of its provenance; a row that does not say (it failed early) counts to the first known."""
    known: dict[str, list[str]] = {}
    for row in rows:
        if row.provenance.get(name):
            known.setdefault(row.settings[of], []).append(str(row.provenance[name]))
    return {row.id: str(row.provenance.get(name) or min(known.get(row.settings[of], ["unknown"]))) for row in rows}


def _benchmark(key: tuple, keys: list[tuple], rows: list[Row]) -> Benchmark:
    """With a name that tells it from the other benchmarks of its task."""
    partial, task, limit, decoding, data = key
    kin = [each for each in keys if each[:3] == key[:3]]
    name = f"{task}, first {limit} examples" if partial else task
    if len({each[3] for each in kin}) > 1:
        asked = json.loads(decoding)
        how = f"{asked['beams']} beams" if asked.get("temperature") is None else f"temperature {asked['temperature']:g}"
        name += f", {how}, {asked['returned']} answers"
    name += f", data {data[:6]}" if len({each[4] for each in kin}) > 1 else ""
    return Benchmark(task, limit or None, name, tuple(rows))


def _model(model: str, team: list[Group], metrics: Sequence[str]) -> list[dict]:
    ids = examples(team)
    ties = {metric: framing._ties(team, metric) for metric in metrics}
    lines = []
    for place, group in enumerate(team):
        held, kind = group_memory(group)
        line: dict[str, object] = {
            "model": model,
            "method": group.label,
            "kind": group.kind,
            "family": family(group.kind),
        }
        line |= {"status": group.status, "seeds": len(group.rows), "limit": group.settings.get("limit")}
        line |= {"failed": group.failed, "out_of_memory": group.out_of_memory}
        for metric in metrics:
            line |= framing.score(group, metric, ids) | {f"{metric}_tie": ties[metric][place]}
        line |= {name: group.cost(name) for name in COSTS}
        lines.append(line | {"memory_bytes": held, "memory_kind": kind})
    return lines


def _score(row: pd.Series, metric: str, best: float) -> str:
    """`76.5 [70.1, 82.0] best`; or why there is none."""
    if pd.isna(row[metric]):
        return STATUS.get(row["status"], NOTHING)
    text = f"{100 * row[metric]:.1f}"
    if not pd.isna(row[f"{metric}_low"]):
        text += f" [{100 * row[f'{metric}_low']:.1f}, {100 * row[f'{metric}_high']:.1f}]"
    if row[metric] == best:
        return f"{text} best"
    return f"{text} ≈" if row[f"{metric}_tie"] is True else text


def _costs(row: pd.Series) -> dict[str, str]:
    def known(name: str, form) -> str:
        return NOTHING if pd.isna(row[name]) else form(row[name])

    seeds = str(row["seeds"]) + (f" ({row['out_of_memory']} OOM)" if row["out_of_memory"] else "")
    return {
        "trained parameters": known("trainable_parameters", "{:,.0f}".format),
        "training (s)": known("train_seconds", "{:,.1f}".format),
        "training memory": known("memory_bytes", size),
        "prompt tokens": known("prompt_tokens", "{:,.0f}".format),
        "generation (s)": known("generate_seconds", "{:,.1f}".format),
        "seeds": seeds + (f" ({row['failed']} failed)" if row["failed"] else ""),
    }


def _memory_note(frame: pd.DataFrame) -> list[str]:
    kinds = set(frame["memory_kind"]) if len(frame) else set()
    said = {"tensors": "sum of the tensors of a step, on a CPU", "allocated": "allocated peak, on a GPU"}
    told = [said[each] for each in sorted(kinds) if each in said]
    return [f"Training memory: {'; '.join(told)}."] if told else []


def _mean(parts: list[dict], metric: str) -> float | None:
    means = [each.get("scores", {}).get(metric, {}).get("mean") for each in parts]
    known = [each for each in means if each is not None]
    return sum(known) / len(known) if known else None


def _percent(share: float | None) -> str:
    return NOTHING if share is None or pd.isna(share) else f"{100 * share:.1f}"

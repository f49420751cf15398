"""Rows grouped by method, with the scores of their predictions. Formats nothing."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nblib import results, spec, stats
from nblib.results import Row
from nblib.spec import Run

ONE_EACH = ("model", "task", "limit", "decoding", "split", "train_task")  # a comparison has one of each
EARLIER = {"split": "test"}  # what a row means that was written before there was the setting
FAMILIES = {"zero-shot": "zero-shot", "icl": "ICL", "rag": "RAG", "full": "full fine-tuning"}  # other trained: PEFT
KINDS = [name for kind in spec.METHODS for name in ([kind, *spec.QLORA] if kind == "lora" else [kind])]


@dataclass(frozen=True)
class Group:
    """The runs of one method, over seeds."""

    label: str
    settings: dict  # of one of its runs
    rows: tuple[Row, ...]  # that ended well, by seed
    failed: int = 0
    out_of_memory: int = 0
    missing: int = 0  # expected, but without a row
    scores: tuple[dict[str, dict], ...] = field(default=(), repr=False)  # one a row: example -> metric -> score

    @property
    def kind(self) -> str:
        """The method's name without its settings."""
        return kind(self.settings)

    @property
    def status(self) -> str:
        """ok where one run or more ended well, else what became of them."""
        if self.rows:
            return results.OK
        return results.OUT_OF_MEMORY if self.out_of_memory else results.FAILED if self.failed else "missing"

    def mean(self, metric: str) -> float | None:
        """Over seeds; None where no run has that score."""
        return stats.spread(self.means(metric)).mean

    def means(self, metric: str) -> list[float | None]:
        """One a seed."""
        return [row.scores.get(metric, {}).get("mean") for row in self.rows]

    def by_seed(self, metric: str, examples: Sequence[str]) -> list[list[float | None]] | None:
        """One list a seed, one score an example; None where a run has no predictions on disk."""
        if not self.rows or not all(self.scores):
            return None
        return [[seed.get(each, {}).get(metric) for each in examples] for seed in self.scores]

    def cost(self, name: str) -> float | None:
        """Mean over seeds."""
        return stats.spread([row.costs.get(name) for row in self.rows]).mean

    def peak_bytes(self) -> float | None:
        """The highest of all phases and seeds."""
        peaks = [row.costs.get(f"{phase}_peak_bytes") for row in self.rows for phase in ("load", "train", "generate")]
        return max((each for each in peaks if each is not None), default=None)


def kind(settings: dict) -> str:
    """The name of a row's method, QLoRA's by its precision; one that this nblib does not know keeps its name."""
    return _named(settings, spec.kind)


def family(kind: str) -> str:
    """What a kind of method counts as: zero-shot, ICL, RAG, full fine-tuning, PEFT or other."""
    trained = kind in spec.QLORA or getattr(spec.METHODS.get(kind), "trained", False)
    return FAMILIES.get(kind) or ("PEFT" if trained else "other")


def groups(rows: Iterable[Row], folder: str | Path, expected: Iterable[Run] = ()) -> list[Group]:
    """One group a method, in the order of KINDS; the order of rows changes nothing.

    Methods of one name that differ in a setting are told apart by it: `lora r=4`. `expected` are the runs that were
    planned: those without a row are counted as missing.
    Raises ValueError for rows that must not stand in one table: of several models, tasks, limits, decodings, splits or
    tasks that were trained on.
    """
    entries = _entries(rows, [spec.settings(run) for run in expected])
    for name in ONE_EACH:
        _one(name, [settings for settings, _ in entries])
    collected: dict[str, list[tuple[dict, Row | None]]] = {}
    for name, (settings, row) in zip(names([settings for settings, _ in entries]), entries, strict=True):
        collected.setdefault(name, []).append((settings, row))
    found = [_group(name, members, Path(folder)) for name, members in collected.items()]
    return sorted(found, key=lambda group: _place(group.label, group.kind))


def names(all_settings: Sequence[dict], *, leaving: Sequence[str] = ()) -> list[str]:
    """The method's label for each, with the settings in which methods of one label differ: `lora r=4`, `lora bf16`.

    Those in `leaving` are not named, nor is the precision that most of all have.
    """
    precisions = sorted(str(settings.get("precision")) for settings in all_settings)
    usual = max(precisions, key=precisions.count, default="")
    by_label: dict[str, list[dict]] = {}
    for settings in all_settings:
        by_label.setdefault(_label(settings), []).append(_details(settings, leaving))
    return [
        (label := _label(settings)) + _suffix(_details(settings, leaving), by_label[label], usual)
        for settings in all_settings
    ]


def apart(rows: Iterable[Row], folder: str | Path, *names: str) -> dict[tuple, list[Group]]:
    """The groups of several tables, one a combination of these settings, such as `model`; the rest must be the same.

    Raises ValueError as `groups` does.
    """
    rows = sorted(rows, key=lambda row: row.id)
    for name in ONE_EACH:
        if name not in names:
            _one(name, [row.settings for row in rows])
    parts: dict[tuple, list[Row]] = {}
    for row in rows:
        parts.setdefault(tuple(setting(row.settings, name) for name in names), []).append(row)
    return {key: groups(members, folder) for key, members in parts.items()}


def setting(settings: dict, name: str):
    """What a row says of a setting, also a row that was written before there was the setting.

    `train_task` is the task itself where it is none other, and None where nothing is read of its training examples.
    """
    if name == "train_task":
        return None if kind(settings) == "zero-shot" else settings.get(name) or settings["task"]
    return settings.get(name, EARLIER.get(name))


def examples(found: Iterable[Group]) -> list[str]:
    """The ids of all examples that any run answered, in a fixed order."""
    return sorted({each for group in found for seed in group.scores for each in seed})


def best(found: Iterable[Group], metric: str) -> Group | None:
    """The group with the highest mean; the first of equals; None where no run has that score."""
    scored = [(mean, group) for group in found if (mean := group.mean(metric)) is not None]
    return max(scored, key=lambda each: each[0])[1] if scored else None


def compared(center: Group, others: Sequence[Group], metric: str) -> dict[str, stats.Difference | None]:
    """Label -> center minus that method, p after Holm over all of them; None where predictions are not there."""
    names = examples([center, *others])
    ours, tested = center.by_seed(metric, names), {}
    for group in others:
        theirs = group.by_seed(metric, names)
        if ours is not None and theirs is not None:
            tested[group.label] = stats.paired_difference(ours, theirs)
    adjusted = dict(zip(tested, stats.adjusted(list(tested.values())), strict=True))
    return {group.label: adjusted.get(group.label) for group in others}


def _entries(rows: Iterable[Row], expected: list[dict]) -> list[tuple[dict, Row | None]]:
    """Settings with their row, each once, in a fixed order; expected settings without a row have None."""
    by_key: dict[str, tuple[dict, Row | None]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        key = _key(row.settings)
        known = by_key.get(key, (None, None))[1]
        if known is not None and known.id != row.id:
            raise ValueError(
                f"{_label(row.settings)} with seed {row.settings['seed']} has two rows, {known.id} and {row.id}: "
                "data or weights differ, so show them in tables of their own"
            )
        by_key[key] = (row.settings, row)
    for settings in expected:
        by_key.setdefault(_key(settings), (settings, None))
    return [by_key[key] for key in sorted(by_key)]


def _group(label: str, members: list[tuple[dict, Row | None]], folder: Path) -> Group:
    rows = [row for _, row in members]
    well = sorted((row for row in rows if row is not None and row.status == results.OK), key=lambda row: row.id)
    well.sort(key=lambda row: row.settings["seed"])
    statuses = Counter("missing" if row is None else row.status for row in rows)
    return Group(
        label=label,
        settings=members[0][0],
        rows=tuple(well),
        failed=statuses[results.FAILED],
        out_of_memory=statuses[results.OUT_OF_MEMORY],
        missing=statuses["missing"],
        scores=tuple({each.example: each.scores for each in results.predictions(folder, row.id)} for row in well),
    )


def _label(settings: dict) -> str:
    """As spec.label says it; a kind that this nblib does not know keeps its name."""
    return _named(settings, spec.label)


def _named(settings: dict, name: Callable[[spec.Method, str], str]) -> str:
    method = settings["method"]
    known = method["kind"] in spec.METHODS
    return name(spec.method(**method), settings.get("precision", "fp32")) if known else method["kind"]


def _details(settings: dict, leaving: Sequence[str] = ()) -> dict:
    """What may differ between methods: their own fields, precision and training."""
    own = {name: value for name, value in settings["method"].items() if name not in ("kind", *leaving)}
    return own | {"precision": settings.get("precision")} | (settings.get("training") or {})


def _suffix(details: dict, others: list[dict], usual: str) -> str:
    """The settings in which methods of one name differ: ` r=4, alpha=8`; a precision says what it is by itself."""
    differing = [name for name in details if len({_dumped(each.get(name)) for each in others}) > 1]
    said = {name: f"{name}={details[name]}" for name in differing} | {"precision": str(details["precision"])}
    spoken = [said[name] for name in differing if name != "precision" or details[name] != usual]
    return f" {', '.join(spoken)}" if spoken else ""


def _one(name: str, all_settings: list[dict]) -> None:
    values = {_dumped(_shared(setting(settings, name))) for settings in all_settings}
    if name == "train_task":
        values.discard(_dumped(None))  # zero-shot fits beside any
    if len(values) > 1:
        raise ValueError(f"a comparison has one {name}; got {' and '.join(sorted(values))}: make a table for each")


def _shared(value):
    """Decoding without its batch size, which changes no answer."""
    return {key: each for key, each in value.items() if key != "batch_size"} if isinstance(value, dict) else value


def _key(settings: dict) -> str:
    return _dumped([_label(settings), _details(settings), settings["seed"]])


def _dumped(value) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _place(label: str, kind: str) -> tuple:
    """Methods in the order of KINDS, others after them; numbers by size, icl-2 before icl-16."""
    order = [*KINDS, kind].index(kind)
    return order, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", label)]

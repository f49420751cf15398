"""Rows to a verdict on each claim of the study, computed. Holds no results of its own.

A claim holds, does not hold, or is not decided, for one model and task, by paired tests on the same examples.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nblib import spec, stats
from nblib.results import Row
from nblib.tables import memory_answer as quantization
from nblib.tables import methods, words
from nblib.tables import models as sizes
from nblib.tables.answer import TEAMS, _difference
from nblib.tables.frame import EXECUTION
from nblib.tables.groups import Group, best, examples, family, kind, setting
from nblib.tables.report import Benchmark, benchmarks, models
from nblib.tables.shown import Shown, table
from nblib.tables.transfer import _joint, transfer
from nblib.tables.transfer import _reason as _joint_reason
from nblib.tables.transfer import _verdict as _joint_verdict

CLAIMS = {
    "1": "PEFT beats in-context learning and retrieved examples",
    "1, LoRA": "LoRA is the best PEFT method",
    "2": "a larger model tuned with LoRA beats a smaller one tuned in full",
    "3": "LoRA over quantized weights keeps its quality at about half the memory",
    "4": "LoRA and QLoRA improve execution results",
    "5": "one adapter for two tasks does not lose to two",
}
LORA = ("lora", *spec.QLORA)
PAPER = "The study's own figures are of models from 350 million to 34 billion parameters."


@dataclass(frozen=True)
class Verdict:
    """What the rows say of one claim."""

    claim: str  # a key of CLAIMS
    model: str
    task: str
    verdict: str  # words.HOLDS, FAILS or OPEN
    numbers: str
    partial: bool = False  # only the first examples were asked


def claims(rows: Iterable[Row], folder: str | Path) -> list[Verdict]:
    """All verdicts, claim by claim; a claim that no row speaks of has one line that says so."""
    rows = list(rows)
    parts = benchmarks(rows)
    found: list[Verdict] = []
    for benchmark in parts:
        for model, team in models(benchmark, folder).items():
            for judge in (_first, _lora, _third, _fourth):
                found += judge(benchmark, model, [each for each in team if each.mean(benchmark.metric) is not None])
        found += _second(benchmark, folder)
    found += _fifth(rows, folder)
    spoken = {each.claim for each in found}
    found += [Verdict(each, "–", "–", words.OPEN, "no rows speak of it") for each in CLAIMS if each not in spoken]
    return sorted(found, key=lambda each: list(CLAIMS).index(each.claim))


def shown_claims(verdicts: Iterable[Verdict]) -> Shown:
    """One line a claim, model and task."""
    lines = [
        {
            "claim": f"{each.claim}: {CLAIMS[each.claim]}",
            "model": each.model,
            "task": each.task + (" (partial)" if each.partial else ""),
            "verdict": f"{each.verdict} by this data" if each.verdict == words.OPEN else each.verdict,
            "numbers": each.numbers,
        }
        for each in verdicts
    ]
    return table(lines, [f"Tests are paired over the same examples, with Holm's correction. {PAPER}"])


def claims_frame(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """The same as plain values, for CSV."""
    return pd.DataFrame([vars(each) for each in verdicts], columns=[*Verdict.__annotations__])


def _said(benchmark: Benchmark, claim: str, model: str, verdict: str, numbers: str) -> Verdict:
    return Verdict(claim, model, benchmark.name, verdict, numbers, benchmark.limit is not None)


def _first(benchmark: Benchmark, model: str, team: list[Group]) -> Iterator[Verdict]:
    """The best PEFT beside the best of ICL and of RAG: holds where it beats both, fails where one beats it."""
    metric = benchmark.metric
    leading = {name: best([each for each in team if family(each.kind) == name], metric) for name in TEAMS}
    peft = leading.pop("PEFT")
    if peft is None or not any(leading.values()):
        return
    decided, numbers = [], []
    for name, rival in leading.items():
        if rival is None:
            decided.append("tie")
            numbers.append(f"no {name} run has a result")
            continue
        difference = _difference(peft, rival, team, metric)
        decided.append("tie" if difference is None else stats.decide(difference))
        ours, theirs = words.percent(peft.mean(metric)), words.percent(rival.mean(metric))
        numbers.append(f"{peft.label} {ours}, {rival.label} {theirs}: {words.tested(difference)}")
    verdict = words.FAILS if "lower" in decided else words.HOLDS if set(decided) == {"higher"} else words.OPEN
    yield _said(benchmark, "1", model, verdict, f"{words.name(metric)}: {'; '.join(numbers)}")


def _lora(benchmark: Benchmark, model: str, team: list[Group]) -> Iterator[Verdict]:
    """As tables.answer_methods decides it."""
    ranked = methods._ranked(team, benchmark.metric)
    if not methods._rivals(ranked) or methods._lora(ranked) is None:
        return
    tested = methods.compared(ranked[0], ranked[1:], benchmark.metric)
    lora = methods._lora(ranked)
    assert lora is not None
    numbers = f"{lora.label} {words.percent(lora.mean(benchmark.metric))}, {ranked.index(lora) + 1} of {len(ranked)}"
    numbers += methods._reason(ranked, tested)
    yield _said(benchmark, "1, LoRA", model, methods._verdict(ranked, tested), numbers)


def _second(benchmark: Benchmark, folder: str | Path) -> Iterator[Verdict]:
    """As tables.answer_models decides it."""
    try:
        found = sizes._groups(benchmark.rows, folder)
    except ValueError:  # two contents of one model's weights: nobody says which is meant
        return
    total = sizes._sizes(benchmark.rows)
    reference = sizes._reference(found, total, benchmark.metric)
    larger = sizes._larger(found, reference, total, benchmark.metric) if reference else []
    if reference is None or not larger:
        return
    tested = sizes._tested(found, reference, benchmark.metric)
    verdict = sizes._verdict({each.settings["model"]: tested[each.label] for each in larger})
    gains = [sizes._gain(each, reference, tested[each.label], total, benchmark.metric) for each in larger]
    full = f"{reference.label} {words.percent(reference.mean(benchmark.metric))}"
    names = words.listed([each.settings["model"] for each in larger])
    yield _said(benchmark, "2", names, verdict, f"{full}; {' '.join(gains)}")


def _third(benchmark: Benchmark, model: str, team: list[Group]) -> Iterator[Verdict]:
    """As tables.answer_memory decides it."""
    base = quantization._base(team)
    quantized = [group for group in team if quantization._is_quantized(group)]
    if base is None or not quantized:
        return
    tested = methods.compared(base, quantized, benchmark.metric)
    told = [quantization._sentence(group, base, tested[group.label], benchmark.metric) for group in quantized]
    verdict = quantization._verdict(quantized, base, tested)
    why = quantization._reason(verdict, quantized, base, tested)
    beside = f"{quantization.called(base)} needs {quantization._size(base)} ({quantization._measure(base)})."
    yield _said(benchmark, "3", model, verdict, f"{beside} {' '.join(told)} Verdict{why}")


def _fourth(benchmark: Benchmark, model: str, team: list[Group]) -> Iterator[Verdict]:
    """Every LoRA and QLoRA minus zero-shot in every execution score, one family of tests."""
    base = next((each for each in team if each.kind == "zero-shot"), None)
    tuned = [each for each in team if each.kind in LORA]
    if benchmark.metric != "strict_accuracy" or base is None or not tuned:
        return
    metrics = [each for each in EXECUTION if base.mean(each) is not None]
    pairs = [(group, metric) for group in tuned for metric in metrics if group.mean(metric) is not None]
    tested = _tested(pairs, base)
    decided = {"tie" if each is None else stats.decide(each) for each in tested}
    verdict = words.FAILS if "lower" in decided else words.HOLDS if decided == {"higher"} else words.OPEN
    numbers = [
        f"{group.label}, {words.name(metric)}: {words.percent(group.mean(metric))} beside "
        f"{words.percent(base.mean(metric))} ({words.tested(difference)})"
        for (group, metric), difference in zip(pairs, tested, strict=True)
        if metric in ("test_accuracy", "strict_accuracy")
    ]
    both = {each.kind == "lora" for each in tuned} == {True, False}
    if not both and verdict == words.HOLDS:
        verdict = words.OPEN
        numbers.append("LoRA and QLoRA were not both run")
    yield _said(benchmark, "4", model, verdict, "; ".join(numbers))


def _tested(pairs: list[tuple[Group, str]], base: Group) -> list[stats.Difference | None]:
    """Each group minus the base in that score, with Holm's correction over all pairs."""
    found: list[stats.Difference | None] = []
    for group, metric in pairs:
        ids = examples([group, base])
        ours, theirs = group.by_seed(metric, ids), base.by_seed(metric, ids)
        found.append(None if ours is None or theirs is None else stats.paired_difference(ours, theirs))
    adjusted = iter(stats.adjusted([each for each in found if each is not None]))
    return [None if each is None else next(adjusted) for each in found]


def _fifth(rows: list[Row], folder: str | Path) -> Iterator[Verdict]:
    """As tables.answer_transfer decides it, for each model and each method that was trained jointly."""
    asked = [row for row in rows if setting(row.settings, "split") == "test" and not row.settings.get("shape_only")]
    joint: dict[str, tuple[Row, list[Row]]] = {}
    for row in sorted(asked, key=lambda row: row.id):
        if "+" in (setting(row.settings, "train_task") or ""):
            joint.setdefault(_alike(row), (row, []))[1].append(row)
    for first, members in joint.values():
        tasks = {row.settings["task"] for row in members}
        kin = [row for row in asked if row.settings["task"] in tasks and _same_adapter(row, first)]
        try:
            frame = transfer(kin, folder)
        except ValueError as error:
            yield Verdict("5", first.settings["model"], " and ".join(sorted(tasks)), words.OPEN, str(error))
            continue
        lines = [row for _, row in frame.iterrows() if row["joint"]]
        numbers = "; ".join(_joint(row, "em@1") for row in lines) + _joint_reason(lines)
        partial = first.settings.get("limit") is not None
        where = " and ".join(sorted(tasks))
        yield Verdict("5", first.settings["model"], where, _joint_verdict(lines), numbers, partial)


def _alike(row: Row) -> str:
    """What adapters of one transfer table have in common."""
    names = ("model", "method", "precision", "limit")
    return str([row.settings.get(name) for name in names])


def _same_adapter(row: Row, first: Row) -> bool:
    if kind(row.settings) == "zero-shot":
        names: tuple[str, ...] = ("model", "precision", "limit")
        return all(row.settings.get(name) == first.settings.get(name) for name in names)
    return _alike(row) == _alike(first)

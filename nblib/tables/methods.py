"""Which way to tune few weights is best: one computed paragraph. Holds no results of its own."""

from collections.abc import Iterable
from pathlib import Path

from nblib import spec, stats
from nblib.results import Row
from nblib.spec import Run
from nblib.tables import frame as framing
from nblib.tables import words
from nblib.tables.groups import Group, best, compared, family, groups

CLAIM = "The claim that LoRA is the best PEFT method"
Tested = dict[str, stats.Difference | None]  # label -> the best PEFT method minus that one


def answer_methods(
    rows: Iterable[Row], folder: str | Path, *, metric: str = "em@1", expected: Iterable[Run] = ()
) -> str:
    """The ranking of PEFT methods with its ties, what a trained parameter brings, full tuning beside them, and whether
    LoRA is the best of them.

    Every difference is one from the best PEFT method, paired over the same examples, with Holm's correction over all
    other PEFT methods and full tuning. QLoRA is LoRA at another precision, and no rival of it.
    Raises ValueError for rows that do not belong into one table, and for an unknown metric.
    """
    framing.check(metric)
    found = groups(rows, folder, expected)
    if not found:
        return "There are no runs yet, so the question stays open."
    place = f"On {found[0].settings['task']} with {found[0].settings['model']}"
    ranked = _ranked(found, metric)
    if not ranked:
        return f"{place}, no PEFT method has a result. {CLAIM} {words.OPEN} here.{words.lost(found)}"
    full = [group for group in found if group.kind == "full" and group.mean(metric) is not None]
    tested = compared(ranked[0], [*ranked[1:], *full], metric)
    sentences = [
        f"{place}, {_ranking(ranked, tested, metric)}",
        _frugal(ranked, tested, found, metric),
        _beside_full(ranked[0], best(full, metric), tested, metric),
        f"{CLAIM} {_verdict(ranked, tested)} here{_reason(ranked, tested)}.",
        words.basis(ranked, metric) + words.lost(found),
    ]
    return " ".join(each for each in sentences if each)


def _ranked(found: list[Group], metric: str) -> list[Group]:
    """PEFT methods with a score, best first; of equals the first in the house order."""
    scored = [group for group in found if family(group.kind) == "PEFT" and group.mean(metric) is not None]
    return sorted(scored, key=lambda group: -(group.mean(metric) or 0))


def _ranking(ranked: list[Group], tested: Tested, metric: str) -> str:
    """`PEFT methods rank by EM@1: lora 45.2 %, dora 44.0 % ≈, … ≈: this data cannot tell it from lora.`"""
    if len(ranked) == 1:
        only = ranked[0]
        return f"{only.label} is the only PEFT method with a result: {words.name(metric)} {_score(only, metric)}."
    said = [f"{ranked[0].label} {_score(ranked[0], metric)}"]
    said += [f"{group.label} {_score(group, metric)}{_mark(tested[group.label])}" for group in ranked[1:]]
    marks = {"≈": f"this data cannot tell it from {ranked[0].label}", "?": "no predictions of the same examples"}
    legend = "; ".join(f"{mark}: {meaning}" for mark, meaning in marks.items() if mark in "".join(said))
    return f"PEFT methods rank by {words.name(metric)}: {', '.join(said)}{f' ({legend})' if legend else ''}."


def _mark(difference: stats.Difference | None) -> str:
    return " ?" if difference is None or difference.p is None else " ≈" if _is_tie(difference) else ""


def _score(group: Group, metric: str) -> str:
    return words.percent(group.mean(metric))


def _frugal(ranked: list[Group], tested: Tested, found: list[Group], metric: str) -> str:
    """The method that gains most a trained parameter, and the smallest of those as good as the best."""
    sized = [(size, group) for group in ranked if (size := group.cost("trainable_parameters"))]
    if len(sized) < 2:
        return ""
    zero = next((group.mean(metric) or 0.0 for group in found if group.kind == "zero-shot" and group.rows), None)
    gains = [(((group.mean(metric) or 0.0) - (zero or 0.0)) / size, size, group) for size, group in sized]
    gain, size, frugal = max(gains, key=lambda each: each[0])
    over = "" if zero is None else " above zero-shot"
    said = (
        f"Per trained parameter {frugal.label} brings most: {1e5 * gain:,.3g} points{over} for each thousand of its "
        f"{words.amount(size)}. "
    )
    said = said if gain > 0 else ""
    ties = [(size, group) for size, group in sized if group is ranked[0] or _is_tie(tested.get(group.label))]
    if not ties:
        return said.strip()
    size, smallest = min(ties, key=lambda each: each[0])
    if smallest is ranked[0]:
        return f"{said}No method as good as {smallest.label} trains fewer than its {words.amount(size)} parameters."
    return f"{said}The smallest that this data cannot tell from the best is {smallest.label}, {words.amount(size)}."


def _is_tie(difference: stats.Difference | None) -> bool:
    return difference is not None and difference.p is not None and stats.decide(difference) == "tie"


def _beside_full(best: Group, full: Group | None, tested: Tested, metric: str) -> str:
    if full is None:
        return "Full fine-tuning has no result to compare with."
    difference = tested.get(full.label)
    trained, all_of_them = best.cost("trainable_parameters"), full.cost("trainable_parameters")
    share = f", with {100 * trained / all_of_them:.3g} % of the trained parameters" if trained and all_of_them else ""
    said = {
        "higher": "beats full fine-tuning",
        "lower": "stays below full fine-tuning",
        "tie": "cannot be told from full fine-tuning",
    }
    verdict = "stands beside full fine-tuning"
    if difference is not None and difference.p is not None:
        verdict = said[stats.decide(difference)]
    beside = f"{_score(full, metric)}; {words.tested(difference)}"
    return f"{best.label} ({_score(best, metric)}{share}) {verdict} ({beside})."


def _lora(ranked: list[Group]) -> Group | None:
    """The best LoRA where there are several settings of it."""
    return next((group for group in ranked if group.kind == "lora"), None)


def _rivals(ranked: list[Group]) -> list[Group]:
    return [group for group in ranked if group.kind != "lora" and group.kind not in spec.QLORA]


def _verdict(ranked: list[Group], tested: Tested) -> str:
    """Holds where LoRA is first and every rival is lower by the test; does not where the first one beats it."""
    lora, rivals = _lora(ranked), _rivals(ranked)
    if lora is None or not rivals:
        return words.OPEN
    if lora is ranked[0]:
        beaten = [_beaten(tested.get(group.label)) for group in rivals]
        return words.HOLDS if all(beaten) else words.OPEN
    return words.FAILS if ranked[0] in rivals and _beaten(tested.get(lora.label)) else words.OPEN


def _beaten(difference: stats.Difference | None) -> bool:
    return difference is not None and stats.decide(difference) == "higher"


def _reason(ranked: list[Group], tested: Tested) -> str:
    lora, rivals = _lora(ranked), _rivals(ranked)
    if lora is None:
        return ": it has no result"
    if not rivals:
        return ": no other PEFT method has a result"
    if lora is not ranked[0]:
        return f": {ranked[0].label} scores higher ({words.tested(tested.get(lora.label))})"
    close = [group.label for group in rivals if not _beaten(tested.get(group.label))]
    return f": it ranks first, but is not shown to beat {words.listed(close, 'or')}" if close else ""

"""Does quantized PEFT keep quality at about half the memory: one computed paragraph. Holds no results of its own."""

from collections.abc import Iterable
from pathlib import Path

from nblib import spec, stats
from nblib.results import Row
from nblib.tables import frame as framing
from nblib.tables import words
from nblib.tables.groups import Group, compared, family, groups
from nblib.tables.memory import held_bytes
from nblib.tables.shown import size

CLAIM = "The claim that PEFT with quantization keeps or improves quality at about half the peak memory"
ABOUT_HALF = 0.55  # of the memory without quantization, at most
KEPT = 0.05  # quality counts as kept where the 95 % interval leaves no room for a loss of more than these 5 points


def answer_memory(rows: Iterable[Row], folder: str | Path, *, metric: str = "em@1") -> str:
    """Each quantized PEFT method beside the same one without quantization and beside full tuning, then the verdict.

    The claim holds where one needs at most 55 % of the memory and keeps its quality: it is better by the paired test,
    or the 95 % interval excludes a loss of more than 5 points. It does not hold where each one needs more or is worse
    by the test. Rows of random weights say nothing of quality and are left out.
    Raises ValueError for rows that do not belong into one table, and for an unknown metric.
    """
    framing.check(metric)
    found = groups([row for row in rows if not row.settings.get("shape_only")], folder)
    if not found:
        return "There are no runs yet, so the question stays open."
    place = f"On {found[0].settings['task']} with {found[0].settings['model']}"
    quantized = [group for group in found if _is_quantized(group) and group.rows]
    base = _base(found)
    if base is None or not quantized:
        return f"{place}, quantized and unquantized LoRA do not both have a result. {CLAIM} {words.OPEN} here."
    tested = compared(base, quantized, metric)
    told = [_sentence(group, base, tested[group.label], metric) for group in quantized]
    verdict = _verdict(quantized, base, tested)
    sentences = [
        f"{place}, {called(base)} scores {words.percent(base.mean(metric))} {words.name(metric)} at "
        f"{_size(base)} ({_measure(base)}).",
        *told,
        _beside_full(quantized, found),
        f"{CLAIM} {verdict} here{_reason(verdict, quantized, base, tested)}. The study reports up to 60 % less.",
        words.basis([base, *quantized], metric) + words.lost(found),
    ]
    return " ".join(each for each in sentences if each)


def called(group: Group) -> str:
    """`lora at nf4-dq`."""
    return f"{group.settings['method']['kind']} at {group.settings['precision']}"


def _is_quantized(group: Group) -> bool:
    return family(group.kind) == "PEFT" and group.settings["precision"] in spec.QUANTIZED


def _base(found: list[Group]) -> Group | None:
    """LoRA without quantization, of the type that quantized layers compute in: half precision on a GPU."""
    there = [group for group in found if group.kind == "lora" and group.rows]
    wanted = ("bf16", "fp16", "fp32") if there and _device(there[0]) == "cuda" else ("fp32", "bf16", "fp16")
    return min(there, key=lambda group: wanted.index(group.settings["precision"]), default=None)


def _device(group: Group) -> str:
    return str(group.rows[0].provenance.get("device", "cpu"))


def _measure(group: Group) -> str:
    return "allocated peak of training" if _device(group) == "cuda" else "sum of the tensors of a training step"


def _bytes(group: Group) -> float | None:
    return stats.spread([held_bytes(row) for row in group.rows]).mean


def _size(group: Group) -> str:
    needed = _bytes(group)
    return "an unknown size" if needed is None else size(needed)


def _share(group: Group, base: Group) -> float | None:
    ours, theirs = _bytes(group), _bytes(base)
    return ours / theirs if ours is not None and theirs else None


def _less(share: float | None) -> str:
    if share is None:
        return "memory not measured"
    return f"{100 * abs(1 - share):.0f} % {'less' if share <= 1 else 'more'}"


def _sentence(group: Group, base: Group, difference: stats.Difference | None, metric: str) -> str:
    turned = None if difference is None else stats.reverse(difference)
    return (
        f"{called(group)} needs {_size(group)}, {_less(_share(group, base))}, and scores "
        f"{words.percent(group.mean(metric))} ({words.tested(turned)})."
    )


def _beside_full(quantized: list[Group], found: list[Group]) -> str:
    full = next((group for group in found if group.kind == "full" and group.rows), None)
    if full is None:
        return "Full tuning has no result to compare with."
    smallest = min(quantized, key=lambda group: _bytes(group) or float("inf"))
    return f"Beside full tuning at {full.settings['precision']} ({_size(full)}), {called(smallest)} needs " + (
        f"{_less(_share(smallest, full))}."
    )


def _is_half(group: Group, base: Group) -> bool | None:
    share = _share(group, base)
    return None if share is None else share <= ABOUT_HALF


def _is_kept(difference: stats.Difference | None) -> bool | None:
    """Whether the quantized one is as good: `difference` is the base minus it. None: the data does not decide."""
    if difference is None or difference.p is None:
        return None
    if stats.decide(difference) == "higher":
        return False
    if stats.decide(difference) == "lower":
        return True
    return True if difference.high is not None and difference.high < KEPT else None


def _verdict(quantized: list[Group], base: Group, tested: dict[str, stats.Difference | None]) -> str:
    both = [(_is_half(group, base), _is_kept(tested[group.label])) for group in quantized]
    if (True, True) in both:
        return words.HOLDS
    return words.FAILS if all(False in each for each in both) else words.OPEN


def _reason(verdict: str, quantized: list[Group], base: Group, tested: dict[str, stats.Difference | None]) -> str:
    if verdict == words.HOLDS:
        good = [called(g) for g in quantized if _is_half(g, base) and _is_kept(tested[g.label])]
        return f": {words.listed(good)}"
    heavy = [called(group) for group in quantized if _is_half(group, base) is False]
    worse = [called(group) for group in quantized if _is_kept(tested[group.label]) is False]
    unsure = [called(group) for group in quantized if _is_kept(tested[group.label]) is None]
    said = [f"{words.listed(heavy)} {_need(heavy)} more than {100 * ABOUT_HALF:.0f} % of it"] if heavy else []
    said += [f"{words.listed(worse)} {'is' if len(worse) == 1 else 'are'} worse"] if worse else []
    said += [f"a loss of 5 points is not excluded for {words.listed(unsure, 'or')}"] if unsure else []
    return f": {'; '.join(said)}" if said else ""


def _need(names: list[str]) -> str:
    return "needs" if len(names) == 1 else "need"

"""Numbers and names as the computed paragraphs say them. Computes nothing."""

from collections.abc import Sequence

from nblib import results, stats
from nblib.tables.frame import METRICS
from nblib.tables.groups import Group

HOLDS, FAILS, OPEN = "holds", "does not hold", "is not decided"
STATUS = {results.OUT_OF_MEMORY: "out of memory", results.FAILED: "failed", "missing": "not run"}


def name(metric: str) -> str:
    """How tables call a score."""
    return METRICS.get(metric, metric)


def percent(share: float | None) -> str:
    """`41.2 %`; a missing share is `no score`."""
    return "no score" if share is None else f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A difference of two shares in points with its sign: `+3.1`, `−0.4`."""
    return f"{100 * share:+.1f}".replace("-", "−").replace("−0.0", "0.0").replace("+0.0", "0.0")


def p_value(p: float) -> str:
    """`p = 0.012`; very small ones as `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def tested(difference: stats.Difference | None) -> str:
    """`+3.1 points, 95 % interval +1.0 to +5.2, p = 0.004`; or why there is no test."""
    if difference is None or difference.mean is None:
        return doubt(difference)
    return f"{points(difference.mean)} points, {doubt(difference)}"


def doubt(difference: stats.Difference | None) -> str:
    """The same without the difference itself."""
    if difference is None or difference.p is None or difference.low is None or difference.high is None:
        return "not tested, for want of predictions of the same examples"
    return f"95 % interval {points(difference.low)} to {points(difference.high)}, {p_value(difference.p)}"


def counted(number: float, noun: str) -> str:
    """`1 seed`, `1,200 test examples`."""
    return f"{number:,.0f} {noun}" + ("" if round(number) == 1 else "s")


def listed(names: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" {last} " + names[-1]


def amount(count: float | None) -> str:
    """A number of parameters in brief: `6.7B`, `350M`, `98.3K`."""
    if count is None:
        return "?"
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= unit:
            return f"{count / unit:.3g}{letter}"
    return f"{count:.0f}"


def lost(found: Sequence[Group]) -> str:
    """What has no result, and what has fewer than were run: ` Without a result: oft (out of memory).`"""
    without = ", ".join(f"{group.label} ({STATUS[group.status]})" for group in found if not group.rows)
    partly = ", ".join(
        f"{group.label} ({counted(lost, 'run')} of {lost + len(group.rows)} without)"
        for group in found
        if group.rows and (lost := group.failed + group.out_of_memory + group.missing)
    )
    return (f" Without a result: {without}." if without else "") + (f" Incomplete: {partly}." if partly else "")


def basis(found: Sequence[Group], metric: str) -> str:
    """`This rests on 200 test examples and 3 seeds a method (zero-shot 1); …`, and what that does not cover."""
    counts = [row.scores[metric].get("n", 0) for group in found for row in group.rows if metric in row.scores]
    asked = f"{min(counts):,} to " * (min(counts) < max(counts)) + counted(max(counts), "test example")
    partial = {group.settings.get("limit") for group in found} != {None}
    alone = [group.label for group in found if len(group.rows) == 1 and group.kind != "zero-shot"]
    return (
        f"This rests on {asked} and {_seeds(found)}; p values are of paired tests with Holm's correction."
        + (" Only the first examples were used, so the result is partial." if partial else "")
        + (f" How another seed would change {listed(alone, 'or')} is not known." if alone else "")
    )


def _seeds(found: Sequence[Group]) -> str:
    """`3 seeds a method (zero-shot 1)`."""
    counts = [len(group.rows) for group in found]
    usual = max(set(counts), key=lambda count: (counts.count(count), count))
    others = ", ".join(f"{group.label} {len(group.rows)}" for group in found if len(group.rows) != usual)
    return counted(usual, "seed") + (" a method" if len(found) > 1 else "") + (f" ({others})" if others else "")

"""Rows to the one paragraph that answers a question, computed. Holds no results of its own."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from nblib import results, stats
from nblib.results import Row
from nblib.spec import Run
from nblib.tables import groups as grouping
from nblib.tables.frame import METRICS
from nblib.tables.groups import Group

TEAMS = ("PEFT", "ICL", "RAG")  # families of several methods
QUESTION = (*TEAMS, "zero-shot", "full fine-tuning")  # what can be asked about
LOST = {results.OUT_OF_MEMORY: "out of memory", results.FAILED: "failed", "missing": "not run"}


def answer(
    rows: Iterable[Row],
    folder: str | Path,
    *,
    ours: str = "PEFT",
    against: Sequence[str] = ("ICL", "zero-shot"),
    metric: str = "em@1",
    expected: Iterable[Run] = (),
) -> str:
    """Which method is best; by how much the best of `ours` beats the best of each family in `against`, and whether
    that is more than noise; what it costs; on how much data this rests; what is missing.

    Differences are tested on the same examples, with Holm's correction over all methods compared with the better one,
    as in the table. Where `ours` has no result, the first family of `against` that has one stands for it.
    """
    for name in (ours, *against):
        if name not in QUESTION:
            raise ValueError(f"a family must be one of {', '.join(QUESTION)}; got {name!r}")
    found = grouping.groups(rows, folder, expected)
    scored = [group for group in found if group.mean(metric) is not None]
    if not scored:
        return " ".join([_nothing(found), *_lost(found)])
    teams = {name: [group for group in scored if grouping.family(group.kind) == name] for name in (ours, *against)}
    present = [name for name, team in teams.items() if team]
    sentences = [
        _opening(scored, metric),
        *(f"No {name} {'method' if name in TEAMS else 'run'} has a result." for name in teams if not teams[name]),
    ]
    if present:
        first = present[0]
        for name in present[1:]:
            sentences.append(_versus(teams, first, name, scored, metric, again=name != present[1]))
        sentences.append(_costs([_best(teams[name], metric) for name in present[:2]]))
    sentences += [_basis(scored, metric), *_lost(found)]
    return " ".join(each for each in sentences if each)


def _nothing(found: list[Group]) -> str:
    if not found:
        return "There are no runs yet, so the question stays open."
    return f"{_place(found)}, no run gave a result, so the question stays open."


def _opening(scored: list[Group], metric: str) -> str:
    """`On conala-mini with tiny, lora scores highest: EM@1 41.2 % (…). This data cannot tell full from it.`"""
    best = _best(scored, metric)
    score = f"{_name(metric)} {_percent(best.mean(metric))}{_interval(best, metric)}"
    if len(scored) == 1:
        return f"{_place(scored)}, {best.label} is the only method with a result: {score}."
    tested = grouping.compared(best, [group for group in scored if group is not best], metric)
    ties = [label for label, each in tested.items() if each is not None and stats.decide(each) == "tie"]
    doubt = f" This data cannot tell {_and(ties)} from it." if ties else ""
    return f"{_place(scored)}, {best.label} scores highest: {score}.{doubt}"


def _versus(teams, first: str, second: str, scored: list[Group], metric: str, *, again: bool) -> str:
    """The sentence about the best of two families; `again`: the first one was introduced before."""
    ours, theirs = _best(teams[first], metric), _best(teams[second], metric)
    a = ours.label if again else _introduced(ours, first, teams[first], metric)
    b = _introduced(theirs, second, teams[second], metric)
    points = 100 * (_mean(ours, metric) - _mean(theirs, metric))
    gap = f"{abs(points):.1f} points{_relative(points, theirs, metric)} {'below' if points < 0 else 'above'}"
    difference = _difference(ours, theirs, scored, metric)
    if difference is None or difference.p is None or difference.low is None or difference.high is None:
        return (
            f"{a} is {gap} {b}; whether that is more than noise cannot be tested, because there are no predictions of "
            "the same examples."
        )
    low, high = 100 * difference.low, 100 * difference.high
    test = f"95 % interval of the difference {_signed(low)} to {_signed(high)} points, {_p(difference.p)}"
    if stats.decide(difference) == "tie":
        many = ", once all comparisons of the table are counted" if low > 0 or high < 0 else ""
        return (
            f"Between {a} and {b} there is no difference that this data can show{many} "
            f"({_signed(points)} points, {test})."
        )
    return f"{a} is {gap} {b}, which is more than the noise ({test})."


def _difference(ours: Group, theirs: Group, scored: list[Group], metric: str) -> stats.Difference | None:
    """Ours minus theirs; the better one is the center of its family of tests, as the best one is in the table."""
    ahead, behind = (ours, theirs) if _mean(ours, metric) >= _mean(theirs, metric) else (theirs, ours)
    tested = grouping.compared(ahead, [group for group in scored if group is not ahead], metric)[behind.label]
    return tested if ahead is ours or tested is None else stats.reverse(tested)


def _introduced(group: Group, family: str, team: list[Group], metric: str) -> str:
    """`lora (best of 4 PEFT methods, 41.2 %)`, `full (full fine-tuning, 40.0 %)`, `zero-shot (11.1 %)`."""
    rank = "" if family == group.label else f"{family}, "
    if family in TEAMS:
        rank = f"best of {len(team)} {family} methods, " if len(team) > 1 else f"the only {family} method, "
    return f"{group.label} ({rank}{_percent(_mean(group, metric))})"


def _costs(chosen: list[Group]) -> str:
    """`lora trains 98,304 parameters in 41 s and reads 23 prompt tokens a query; icl-3 trains nothing and …`"""
    return "; ".join(_cost(group) for group in chosen) + "."


def _cost(group: Group) -> str:
    parameters, seconds = group.cost("trainable_parameters"), group.cost("train_seconds")
    if not parameters and not seconds:
        trains = "trains nothing"
    else:
        trains = "trains " + ("its parameters" if parameters is None else _counted(parameters, "parameter"))
        trains += (
            ""
            if seconds is None
            else f" in {seconds:,.0f} s a seed"
            if seconds >= 10
            else f" in {seconds:.1f} s a seed"
        )
    tokens = group.cost("prompt_tokens")
    return f"{group.label} {trains}" + (
        "" if tokens is None else f" and reads {_counted(tokens, 'prompt token')} a query"
    )


def _basis(scored: list[Group], metric: str) -> str:
    """`This rests on 200 test examples and 3 seeds a method (zero-shot 1); p values are …`"""
    seeds = [len(group.rows) for group in scored]
    usual = max(set(seeds), key=lambda count: (seeds.count(count), count))
    others = ", ".join(f"{group.label} {len(group.rows)}" for group in scored if len(group.rows) != usual)
    said = _counted(usual, "seed") + (" a method" if len(scored) > 1 else "") + (f" ({others})" if others else "")
    tests = "; p values are of paired tests with Holm's correction" if len(scored) > 1 else ""
    return f"This rests on {_examples(scored, metric)} and {said}{tests}.{_doubts(scored)}"


def _examples(scored: list[Group], metric: str) -> str:
    counts = [row.scores[metric].get("n", 0) for group in scored for row in group.rows if metric in row.scores]
    range_of = f"{min(counts):,} to " if min(counts) < max(counts) else ""
    return range_of + _counted(max(counts), "test example")


def _doubts(scored: list[Group]) -> str:
    """What the intervals do not cover."""
    limits = {group.settings.get("limit") for group in scored}
    partial = " Only the first examples were used, so the result is partial." if limits != {None} else ""
    alone = [each.label for each in scored if len(each.rows) == 1 and each.kind not in ("zero-shot", "rag")]
    return partial + (f" How another seed would change {_and(alone)} is not known." if alone else "")


def _lost(found: list[Group]) -> list[str]:
    """What has no result, and what has less than was asked for."""
    without = [f"{group.label} ({_losses(group)})" for group in found if not group.rows]
    partly = [f"{group.label} ({_losses(group)})" for group in found if group.rows and _losses(group)]
    said = [f"Without a result: {', '.join(without)}."] if without else []
    return said + ([f"Incomplete: {', '.join(partly)}."] if partly else [])


def _losses(group: Group) -> str:
    """`out of memory` where that became of every run, else with counts: `1 of 3 runs failed`."""
    counts = {LOST["out_of_memory"]: group.out_of_memory, LOST["failed"]: group.failed, LOST["missing"]: group.missing}
    total = len(group.rows) + sum(counts.values())
    told = {name: count for name, count in counts.items() if count}
    if len(told) == 1 and total == sum(counts.values()):
        return next(iter(told))
    return ", ".join(f"{count} of {_counted(total, 'run')} {name}" for name, count in told.items())


def _best(team: list[Group], metric: str) -> Group:
    chosen = grouping.best(team, metric)
    assert chosen is not None  # a team has scores
    return chosen


def _mean(group: Group, metric: str) -> float:
    mean = group.mean(metric)
    assert mean is not None
    return mean


def _interval(group: Group, metric: str) -> str:
    by_seed = group.by_seed(metric, grouping.examples([group]))
    found = stats.interval(by_seed) if by_seed is not None else None
    if found is None or found.low is None or found.high is None:
        return ""
    return f" (95 % interval {100 * found.low:.1f} to {_percent(found.high)})"


def _place(found: list[Group]) -> str:
    settings = found[0].settings
    return f"On {settings['task']} with {settings['model']}"


def _name(metric: str) -> str:
    return METRICS.get(metric, metric)


def _relative(points: float, theirs: Group, metric: str) -> str:
    base = 100 * _mean(theirs, metric)
    return f" ({abs(points) / base:,.0%} relative)".replace("%", " %") if base else ""


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _percent(share: float | None) -> str:
    return f"{100 * (share or 0):.1f} %"


def _signed(points: float) -> str:
    return f"{points:.1f}".replace("-0.0", "0.0").replace("-", "−")


def _counted(number: float, noun: str) -> str:
    return f"{number:,.0f} {noun}" + ("" if round(number) == 1 else "s")


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]

"""The best method of each model beside every other one: interval, effect and two tests. Holds no results."""

from pathlib import Path

import pandas as pd

from nblib import stats
from nblib.tables import words
from nblib.tables.groups import Group, best, compared, examples
from nblib.tables.report import REPORTED, Benchmark, models
from nblib.tables.shown import NOTHING, Shown, table

NUMBERS = ("difference", "low", "high", "p", "effect", "n", "only_best", "only_other", "mcnemar_p")
YES_OR_NO = ("em@", "strict_accuracy")  # scores of only 0 and 1, which McNemar's test takes


def tested(benchmark: Benchmark, folder: str | Path) -> pd.DataFrame:
    """One line a model and method that is not its best, in the score that decides.

    `difference` is the best minus that method with `low`, `high` (95 % interval) and `p`, paired over the same examples
    and over all seeds; `effect` is Cohen's d of pairs. `only_best` and `only_other` count the examples on which only
    one of the two is right, in the first seed of each, and `mcnemar_p` is of McNemar's exact test on them. Both p
    values are after Holm's correction over the model's lines. `verdict` is by the paired test: higher or tie.
    """
    lines = []
    for model, team in models(benchmark, folder).items():
        scored = [group for group in team if group.mean(benchmark.metric) is not None]
        center = best(scored, benchmark.metric)
        if center is not None:
            others = [group for group in scored if group is not center]
            lines += _lines(model, center, others, benchmark.metric)
    frame = pd.DataFrame(lines, columns=["model", "best", "method", "metric", *NUMBERS, "verdict"])
    return frame.astype(dict.fromkeys(NUMBERS, float))


def shown_tested(frame: pd.DataFrame) -> Shown:
    """The table of a `tested`: points, a tie said as one."""
    lines = []
    for _, row in frame.iterrows():
        apart = f"{row['only_best']:.0f} and {row['only_other']:.0f}"
        lines.append(
            {
                "model": row["model"],
                "best": row["best"],
                "beside": row["method"],
                "difference (points)": _points(row),
                "effect (d)": _known(row["effect"], "{:.2f}".format),
                "p (Holm)": _known(row["p"], _p),
                "only one right": NOTHING if pd.isna(row["mcnemar_p"]) else apart,
                "McNemar p (Holm)": _known(row["mcnemar_p"], _p),
                "so it is": {"higher": "better", "tie": "a tie"}.get(row["verdict"], "not tested"),
            }
        )
    metric = REPORTED[frame["metric"].iloc[0]] if len(frame) else "the score"
    return table(
        lines,
        [
            f"{metric}: the best of each model minus the others, over the same examples and all seeds; McNemar's exact "
            "test looks at the first seed of each only."
        ],
    )


def _lines(model: str, center: Group, others: list[Group], metric: str) -> list[dict]:
    paired = compared(center, others, metric)
    exact = {group.label: _exact(center, group, metric) for group in others}
    known = {label: each.p for label, each in exact.items() if each is not None and each.p is not None}
    adjusted = dict(zip(known, stats.holm(list(known.values())), strict=True))
    lines = []
    for group in others:
        line: dict[str, object] = {"model": model, "best": center.label, "method": group.label, "metric": metric}
        found, odd = paired[group.label], exact[group.label]
        if found is not None and found.p is not None:
            line |= {name: getattr(found, "mean" if name == "difference" else name) for name in NUMBERS[:6]}
            line["verdict"] = stats.decide(found)
        if odd is not None:
            line |= {"only_best": odd.only_a, "only_other": odd.only_b, "mcnemar_p": adjusted.get(group.label)}
        lines.append(line)
    return lines


def _exact(center: Group, group: Group, metric: str) -> stats.McNemar | None:
    """Of the first seed of both; None for scores that are not yes or no, and without predictions."""
    ids = examples([center, group])
    ours, theirs = center.by_seed(metric, ids), group.by_seed(metric, ids)
    if ours is None or theirs is None or not metric.startswith(YES_OR_NO):
        return None
    return stats.mcnemar(ours[0], theirs[0])


def _points(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return NOTHING
    between = f"{words.points(row['low'])} to {words.points(row['high'])}"
    return f"{words.points(row['difference'])} ({between})"


def _known(value: float, form) -> str:
    return NOTHING if pd.isna(value) else form(value)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"

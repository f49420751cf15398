"""Scores on named groups of examples. Chooses no groups."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from nblib import stats
from nblib.results import Row
from nblib.spec import Run
from nblib.tables import words
from nblib.tables.groups import Group, family
from nblib.tables.groups import examples as all_examples
from nblib.tables.groups import groups as by_method
from nblib.tables.shown import NOTHING, STATUS, Shown, table
from nblib.tables.versus import SAID

OTHER = "other"  # the group of examples that no group was named for


def by_group(
    rows: Iterable[Row],
    folder: str | Path,
    groups: Mapping[str, str],
    *,
    metric: str = "em@1",
    base: str | None = None,
    expected: Iterable[Run] = (),
) -> pd.DataFrame:
    """One line a group of examples and method; `groups` names the group of an example, by id.

    Groups stand in the order in which `groups` names them; examples without one are the group `other`. The metric with
    `_low` and `_high` (95 % interval, over examples and seeds), `_n` and `_missing` (examples). With `base` (a label)
    also each method minus it on the group's examples: `difference` with `difference_low`, `difference_high`, `p` (of a
    paired test, Holm's correction over all lines) and `verdict`.
    Raises ValueError for a base that has no result, and where `groups` names no example of the runs.
    """
    found = by_method(rows, folder, expected)
    center = _center(found, base, metric)
    members: dict[str, list[str]] = {name: [] for name in [*filter(None, groups.values()), OTHER]}
    for example in all_examples(found):
        members[groups.get(example) or OTHER].append(example)
    if members[OTHER] and not any(each for name, each in members.items() if name != OTHER):
        raise ValueError(f"groups must name examples of the runs, such as {members[OTHER][0]!r}; got none of them")
    there = [(name, examples) for name, examples in members.items() if examples]
    frame = pd.DataFrame([_line(group, name, examples, metric) for name, examples in there for group in found])
    if center is None or frame.empty:
        return frame
    return frame.assign(base=base).join(_differences(center, found, [examples for _, examples in there], metric))


def shown_by_group(frame: pd.DataFrame, *, metric: str = "em@1") -> Shown:
    """The table of a `by_group`: percent, and points beside the base."""
    base = frame["base"].iloc[0] if "base" in frame else None
    lines = []
    for _, row in frame.iterrows():
        line = {"examples": row["group"], "method": row["method"], f"{words.name(metric)} (%)": _percent(row, metric)}
        if base is not None:
            line |= _beside(row, base)
        lines.append(line | {"seeds": str(row["seeds"]), "n": _count(row, metric)})
    notes = ["95 % intervals over examples and seeds in parentheses."]
    tests = ["Differences are paired over the group's examples; p with Holm's correction over all lines."]
    return table(lines, notes + (tests if base is not None else []))


def _center(found: list[Group], base: str | None, metric: str) -> Group | None:
    scored = [group for group in found if group.mean(metric) is not None]
    for group in scored:
        if group.label == base:
            return group
    if base is None:
        return None
    raise ValueError(f"base must be one of {', '.join(group.label for group in scored) or 'no method'}; got {base!r}")


def _line(group: Group, name: str, examples: list[str], metric: str) -> dict:
    settings = {each: group.settings.get(each) for each in ("model", "task", "limit")}
    line = {"group": name, "method": group.label, "kind": group.kind, "family": family(group.kind), **settings}
    line |= {"status": group.status, "seeds": len(group.rows), metric: None, f"{metric}_low": None}
    line |= {f"{metric}_high": None, f"{metric}_n": 0, f"{metric}_missing": len(examples)}
    by_seed = group.by_seed(metric, examples)
    if by_seed is None:
        return line
    interval = stats.interval(by_seed)
    line |= {metric: interval.mean, f"{metric}_low": interval.low, f"{metric}_high": interval.high}
    return line | {f"{metric}_n": interval.n, f"{metric}_missing": len(examples) - interval.n}


def _differences(center: Group, found: list[Group], parts: list[list[str]], metric: str) -> pd.DataFrame:
    """Each method minus the center, one line a part and method, in the order of the lines; the center's are empty."""
    tested = [
        None if group is center else _difference(group, center, examples, metric)
        for examples in parts
        for group in found
    ]
    adjusted = iter(stats.adjusted([each for each in tested if each is not None]))
    lines = []
    for each in tested:
        difference = None if each is None else next(adjusted)
        known = difference is not None and difference.mean is not None
        lines.append(
            {
                "difference": difference.mean if difference else None,
                "difference_low": difference.low if difference else None,
                "difference_high": difference.high if difference else None,
                "p": difference.p if difference else None,
                "verdict": stats.decide(difference) if known and difference and difference.p is not None else None,
            }
        )
    return pd.DataFrame(lines)


def _difference(group: Group, center: Group, examples: list[str], metric: str) -> stats.Difference | None:
    theirs, ours = group.by_seed(metric, examples), center.by_seed(metric, examples)
    return None if theirs is None or ours is None else stats.paired_difference(theirs, ours)


def _percent(row: pd.Series, metric: str) -> str:
    if pd.isna(row[metric]):
        return STATUS.get(row["status"], NOTHING)
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    return f"{100 * row[metric]:.1f}" + ("" if pd.isna(low) else f" ({100 * low:.1f} to {100 * high:.1f})")


def _beside(row: pd.Series, base: str) -> dict[str, str]:
    if pd.isna(row["difference"]):
        texts = [NOTHING, NOTHING, "the base" if row["method"] == base else NOTHING]
    else:
        low, high = row["difference_low"], row["difference_high"]
        interval = "" if pd.isna(low) else f" ({words.points(low)} to {words.points(high)})"
        p = NOTHING if pd.isna(row["p"]) else f"{row['p']:.3f}"
        texts = [words.points(row["difference"]) + interval, p, SAID.get(row["verdict"], "not tested")]
    return dict(zip((f"beside {base} (points)", "p (Holm)", "so it is"), texts, strict=True))


def _count(row: pd.Series, metric: str) -> str:
    n, missing = int(row[f"{metric}_n"]), int(row[f"{metric}_missing"])
    return f"{n} of {n + missing}" if missing else str(n)

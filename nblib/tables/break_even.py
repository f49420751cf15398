"""After how many queries one training costs less than longer prompts. Measures nothing."""

import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nblib import stats
from nblib.results import Row
from nblib.tables import groups as grouping
from nblib.tables import words
from nblib.tables.about import paragraph
from nblib.tables.groups import Group
from nblib.tables.shown import NOTHING, Shown, table
from nblib.tables.versus import SAID

PROMPTING = ("ICL", "RAG")  # families whose prompts are longer than the question
PASSES = 3  # forward passes that a training token costs: its own, and two for the backward pass, as is usual to count
UNITS = ("tokens", "seconds")
COLUMNS = [
    *("kind", "family", "base", "base_kind", "score", "base_score"),
    *(f"{unit}_{name}" for unit in UNITS for name in ("once", "base", "method", "queries", "why")),
    *("difference", "low", "high", "p", "n", "verdict"),
]
CAPTION = (
    f"Training counts once: every training token, all epochs, as {PASSES} forward passes (the backward pass costs "
    "about two), without validation; in seconds as measured, validation included. A query counts its prompt "
    "once and the tokens of all its answers. Differences are paired over the same examples; p with Holm's correction "
    "over the lines."
)


def break_even(
    rows: Iterable[Row], folder: str | Path, *, base: str | None = None, metric: str = "em@1"
) -> pd.DataFrame:
    """One line an ICL or RAG method: from how many queries on one training of `base` and its queries cost no more.

    `base` is the label of a trained method; None: the PEFT method that scores best. In tokens and in seconds, means
    over seeds: `_once` of training, `_base` and `_method` a query, `_queries` (None: `_why` says the reason). Beside
    it `base` minus the method in `metric`, with 95 % interval, p after Holm over the lines, and verdict. Without a
    trained method or without a prompting one the frame is empty.
    Raises ValueError for a base that is no trained method with a result.
    """
    found = grouping.groups(rows, folder)
    trained = _base(found, base, metric)
    prompting = [group for group in found if grouping.family(group.kind) in PROMPTING and group.rows]
    lines: list[dict] = []
    if trained is not None:
        tested = grouping.compared(trained, prompting, metric)
        lines = [_line(trained, group, tested[group.label], metric) for group in prompting]
    index = pd.Index([group.label for group in prompting] if lines else [], name="method", dtype=object)
    return pd.DataFrame(lines, index=index, columns=COLUMNS)


def shown_break_even(frame: pd.DataFrame, *, metric: str = "em@1") -> Shown:
    """The table of a `break_even`, in queries and in points of percent."""
    if frame.empty:
        return paragraph("There is nothing to compare: it takes a trained method and one that prompts, with results.")
    base = frame["base"].iloc[0]
    lines = [
        {
            f"{base} against": label,
            **{f"cheaper in {unit} from": pays(row, unit) for unit in UNITS},
            **{f"{unit} a query": _both(row, unit) for unit in UNITS},
            f"{words.name(metric)} of {base} beside it (points)": _points(row["difference"]),
            "95 % interval": NOTHING if pd.isna(row["low"]) else f"{_points(row['low'])} to {_points(row['high'])}",
            "p (Holm)": NOTHING if pd.isna(row["p"]) else f"{row['p']:.3f}",
            f"so {base} is": SAID.get(row["verdict"], "not tested"),
        }
        for label, row in frame.iterrows()
    ]
    return table(lines, [_trained(frame.iloc[0]), CAPTION])


def pays(row: pd.Series, unit: str) -> str:
    """`1,520 queries`, or the reason why there is no such number."""
    queries = row[f"{unit}_queries"]
    if pd.isna(queries):
        return str(row[f"{unit}_why"])
    return "1 query" if queries == 1 else f"{queries:,.0f} queries"


def _base(found: list[Group], label: str | None, metric: str) -> Group | None:
    if label is None:
        return grouping.best([group for group in found if grouping.family(group.kind) == "PEFT"], metric)
    trained = [group for group in found if grouping.family(group.kind) in ("PEFT", "full fine-tuning") and group.rows]
    for group in trained:
        if group.label == label:
            return group
    names = ", ".join(group.label for group in trained) or "none, because no trained method has a result"
    raise ValueError(f"base must be a trained method with a result ({names}); got {label!r}")


def _line(base: Group, group: Group, difference: stats.Difference | None, metric: str) -> dict:
    line: dict[str, object] = {"kind": group.kind, "family": grouping.family(group.kind), "score": group.mean(metric)}
    line |= {"base": base.label, "base_kind": base.kind, "base_score": base.mean(metric)}
    for unit in UNITS:
        line |= {f"{unit}_{name}": value for name, value in _cost(base, group, unit).items()}
    if difference is None or difference.mean is None:
        return line
    line |= {name: getattr(difference, name) for name in ("low", "high", "p", "n")}
    return line | {"difference": difference.mean, "verdict": None if difference.p is None else stats.decide(difference)}


def _cost(base: Group, group: Group, unit: str) -> dict:
    once, ours, theirs = _once(base, unit), _a_query(base, unit), _a_query(group, unit)
    queries, why = None, None
    if once is None or ours is None or theirs is None:
        why = "not measured"
    elif unit == "seconds" and len(_devices(base) | _devices(group)) > 1:
        why = "measured on different devices, or numbers of threads or processes"
    elif theirs <= ours:
        why = f"never: {base.label} is not cheaper a query"
    else:
        queries = math.ceil(once / (theirs - ours))
    return {"once": once, "base": ours, "method": theirs, "queries": queries, "why": why}


def _once(group: Group, unit: str) -> float | None:
    """Of training."""
    if unit == "seconds":
        return group.cost("train_seconds")
    tokens = group.cost("train_tokens")
    return None if tokens is None else PASSES * tokens


def _a_query(group: Group, unit: str) -> float | None:
    """Mean over seeds; the row has tokens as means over queries already, but seconds of all of them."""
    if unit == "tokens":
        parts = group.cost("prompt_tokens"), group.cost("new_tokens")
        return None if parts[0] is None or parts[1] is None else parts[0] + parts[1]
    pairs = [(row.costs.get("generate_seconds"), row.costs.get("examples")) for row in group.rows]
    return stats.spread([seconds / count if seconds is not None and count else None for seconds, count in pairs]).mean


def _devices(group: Group) -> set[str]:
    """Of the runs that say it; seconds of different ones do not compare."""
    names = ("device", "device_name", "threads", "processes")
    return {str([row.provenance.get(name) for name in names]) for row in group.rows if row.provenance.get("device")}


def _both(row: pd.Series, unit: str) -> str:
    """`186 beside 319`; seconds that are short in milliseconds."""
    ours, theirs = row[f"{unit}_base"], row[f"{unit}_method"]
    return " beside ".join(NOTHING if pd.isna(each) else amount(each) for each in (ours, theirs))


def amount(number: float) -> str:
    """Three digits, or all before the point: `0.0287`, `9.85`, `67,404`."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _points(share: float | None) -> str:
    return NOTHING if share is None or pd.isna(share) else words.points(share)


def _trained(row: pd.Series) -> str:
    parts = [
        f"{amount(row[f'{unit}_once'])} {'tokens of forward passes' if unit == 'tokens' else unit}"
        for unit in UNITS
        if not pd.isna(row[f"{unit}_once"])
    ]
    return f"Training {row['base']} once costs {' or '.join(parts)}." if parts else "Training's cost is not known."

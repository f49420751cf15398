"""What stood before the queries: how near, of the same operation, and whether that helped. Retrieves nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nblib import results, stats
from nblib.results import Prediction, Row
from nblib.tables import words
from nblib.tables.about import paragraph
from nblib.tables.groups import Group, family, groups
from nblib.tables.shown import NOTHING, Shown, table

PROMPTING = ("ICL", "RAG")


@dataclass(frozen=True)
class _Asked:
    """One query of one seed."""

    example: str
    score: float | None
    shots: int
    same: int  # shots of its own operation
    similarity: float | None  # of the nearest; None where nothing was measured


def retrieval(
    rows: Iterable[Row], folder: str | Path, *, asked: Mapping[str, str], shown: Mapping[str, str], metric: str = "em@1"
) -> pd.DataFrame:
    """One line an ICL or RAG method: what its prompts held, over all queries and seeds.

    `asked` and `shown` are the operations of test and of training examples, by id (ids of the splits may be equal).
    `hit`: share of queries with a shot of their own operation; `same`: share of such shots; `similarity`: mean of the
    nearest shot's; `reachable`: share of queries whose operation any training example has, the most that `hit` can be.
    `with` and `without`: the metric where a shot had the operation and where none had, with `_low`, `_high` and `_n`
    examples. `n` queries are of a known operation and say their shots, `unknown` are not; both counted in every seed.
    """
    found = [group for group in groups(rows, folder) if family(group.kind) in PROMPTING]
    lines = [_line(group, Path(folder), asked, shown, metric) for group in found]
    return pd.DataFrame(lines, index=pd.Index([group.label for group in found], name="method", dtype=object))


def shown_retrieval(frame: pd.DataFrame, *, metric: str = "em@1") -> Shown:
    """The table of a `retrieval`, in percent."""
    if frame.empty:
        return paragraph("No method with examples in its prompts has run.")
    lines = [
        {
            "method": label,
            "queries with a shot of their operation (%)": _percent(row["hit"]),
            "shots of the operation (%)": _percent(row["same"]),
            "similarity of the nearest": NOTHING if pd.isna(row["similarity"]) else f"{row['similarity']:.2f}",
            f"{words.name(metric)} with such a shot (%)": _score(row, "with"),
            f"{words.name(metric)} without (%)": _score(row, "without"),
            "n": f"{row['n']}" if not row["unknown"] else f"{row['n']} of {row['n'] + row['unknown']}",
        }
        for label, row in frame.iterrows()
    ]
    notes = ["n: queries over all seeds. Scores with 95 % interval and number of examples.", _reach(frame)]
    return table(lines, [note for note in notes if note])


def nearest(rows: Iterable[Row], folder: str | Path, *, metric: str = "em@1") -> pd.DataFrame:
    """One line a query of one run, RAG's with the fewest shots: `similarity` of its nearest shot and its `score`.

    Queries without a measured similarity are left out and counted in `unknown`. Empty where no such run is there.
    """
    found = [group for group in groups(rows, folder) if family(group.kind) == "RAG" and group.rows]
    columns = ["method", "kind", "model", "task", "example", "similarity", "score", "unknown"]
    for group in sorted(found, key=lambda group: group.settings["method"].get("shots", 0)):
        predictions = results.predictions(folder, group.rows[0].id)
        known = [each for each in predictions if each.similarities]
        same = {"method": group.label, "kind": group.kind, "unknown": len(predictions) - len(known)}
        same |= {name: group.settings.get(name) for name in ("model", "task")}
        lines = [
            same | {"example": each.example, "similarity": max(each.similarities), "score": each.scores.get(metric)}
            for each in known
        ]
        if lines:
            return pd.DataFrame(lines, columns=columns).astype({"score": float})
    return pd.DataFrame(columns=columns)


def _line(group: Group, folder: Path, asked: Mapping[str, str], shown: Mapping[str, str], metric: str) -> dict:
    line: dict[str, object] = {"kind": group.kind, "family": family(group.kind), "seeds": len(group.rows)}
    predictions = [results.predictions(folder, row.id) for row in group.rows]
    seeds = [[_asked(each, asked, shown, metric) for each in seed if _is_known(each, asked)] for seed in predictions]
    pooled = [each for seed in seeds for each in seed]
    near = [each.similarity for each in pooled if each.similarity is not None]
    line |= {"n": len(pooled), "unknown": sum(map(len, predictions)) - len(pooled)}
    line |= {
        "hit": _share(sum(each.same > 0 for each in pooled), len(pooled)),
        "same": _share(sum(each.same for each in pooled), sum(each.shots for each in pooled)),
        "similarity": sum(near) / len(near) if near else None,
        "reachable": _share(sum(asked[each.example] in set(shown.values()) for each in pooled), len(pooled)),
    }
    return line | _scores("with", seeds, hit=True) | _scores("without", seeds, hit=False)


def _is_known(prediction: Prediction, asked: Mapping[str, str]) -> bool:
    """Its operation is, and so are its shots; no shots at all are known where they did not fit."""
    return bool(asked.get(prediction.example)) and bool(prediction.shots or prediction.dropped_shots)


def _asked(prediction: Prediction, asked: Mapping[str, str], shown: Mapping[str, str], metric: str) -> _Asked:
    operation = asked[prediction.example]
    return _Asked(
        example=prediction.example,
        score=prediction.scores.get(metric),
        shots=len(prediction.shots),
        same=sum(shown.get(each) == operation for each in prediction.shots),
        similarity=max(prediction.similarities, default=None),
    )


def _scores(name: str, seeds: list[list[_Asked]], *, hit: bool) -> dict:
    """The metric over the queries that had such a shot, or had none."""
    examples = sorted({each.example for seed in seeds for each in seed})
    chosen = [{each.example: each.score for each in seed if (each.same > 0) == hit} for seed in seeds]
    interval = stats.interval([[seed.get(example) for example in examples] for seed in chosen])
    return {
        name: interval.mean,
        f"{name}_low": interval.low,
        f"{name}_high": interval.high,
        f"{name}_n": interval.n,
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _percent(share: float | None) -> str:
    return NOTHING if share is None or pd.isna(share) else f"{100 * share:.1f}"


def _score(row: pd.Series, name: str) -> str:
    if pd.isna(row[name]):
        return NOTHING
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = "" if pd.isna(low) else f"{100 * low:.1f} to {100 * high:.1f}, "
    return f"{100 * row[name]:.1f} ({interval}n = {row[f'{name}_n']})"


def _reach(frame: pd.DataFrame) -> str:
    reachable = frame["reachable"].dropna()
    return f"{100 * reachable.iloc[0]:.1f} % of the queries ask for an operation of training." if len(reachable) else ""

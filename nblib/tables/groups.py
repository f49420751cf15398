"""Scores of some of the examples: by difficulty, by any other group, and by what the prompt held."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from nblib import results
from nblib.columns import EXECUTION, SCORES
from nblib.tables.labels import Benchmark, counts, labelled, plain_index
from nblib.tables.scores import SEEDS, base_of, has, summary, tests
from nblib.tables.show import Table, paragraph

DIFFICULTIES = ("introductory", "interview", "competition")  # of APPS, from easy to hard


def by_group(
    runs: pd.DataFrame,
    answers: pd.DataFrame,
    groups: Mapping[str, str],
    *,
    metrics: Sequence[str] = ("em@1",),
    base: str | None = None,
) -> Table:
    """One line per group of examples and method, `all` first; `groups` names the group of an example, by id.

    Groups stand in the order in which `groups` names them, difficulties of APPS from easy to hard; examples without one
    are the group `other`. The scores are those of `metrics` that the runs have. Where answers were run, `ended passed`,
    `ended wrong`… are shares of first answers, over all seeds. With `base` (a label) also each method minus it in the
    first score on the group's examples, p with Holm's correction over all of these lines.
    Raises ValueError for a base that has no result, and where `groups` names no example of the runs.
    """
    runs, answers = labelled(runs, answers)
    shown = [metric for metric in metrics if has(runs, metric)]
    if not shown:
        return paragraph(f"These runs have no {' or '.join(SCORES[metric] for metric in metrics)}.")
    own, by = _grouped(answers, groups), ["group", "method"]
    both = pd.concat([answers.assign(group="all"), own.astype({"group": object})])
    both["group"] = pd.Categorical(both["group"], ["all", *own["group"].cat.categories], ordered=True)
    about = counts(runs, ["method"]).reset_index()
    lines = pd.DataFrame({"group": both["group"].cat.categories}).merge(about, how="cross")
    frame = plain_index(lines, by)[["kind", "family", "model", "task", "limit", "status", "seeds"]]
    sizes = both.groupby("group", observed=True)["example"].nunique()
    frame["n"] = frame.index.get_level_values("group").map(sizes.to_dict())
    for metric in shown:
        ends = ("", "_sd", "_low", "_high", "_n", "_missing")
        frame = frame.join(summary(both, by, metric)[[f"{metric}{end}" for end in ends]])
    if base is not None:
        settings: dict = {"within": ["group"], "family": ()}
        frame = frame.join(tests(own, by, shown[0], base_of(answers, base, shown[0]), **settings).drop(columns="n"))
    frame = frame.join(_ended(both, by))
    tested = "Differences are paired over the group's examples; p with Holm's correction over all lines."
    heads = {"group": "examples", "difference": f"against {base} (points)"}
    columns, notes = (*by, *shown[:2], "difference", "verdict"), (SEEDS, tested if base else "", *_judging(runs))
    return Table(frame.reset_index(), notes, columns=columns, heads=heads, group="group")


def difficulties(benchmark: Benchmark) -> Table:
    """Execution scores by difficulty, from the counts in the runs' notes: one line per model, method and difficulty.

    Means over seeds, without intervals. Empty where no run names difficulties.
    """
    runs, by = benchmark.runs, ["model", "method", "difficulty"]
    lines = [
        {"model": run["model"], "method": run["method"], "difficulty": name, "n": part.get("examples")}
        | {metric: part.get("scores", {}).get(metric, {}).get("mean") for metric in EXECUTION}
        for _, run in runs[runs["status"] == results.OK].sort_values(["model", "method"]).iterrows()
        for name, part in run["notes"].get("by_difficulty", {}).items()
    ]
    if not lines:
        return Table(pd.DataFrame())
    found = pd.DataFrame(lines).groupby(by, sort=False, observed=True)
    scores = found[list(EXECUTION)].mean().dropna(axis=1, how="all")
    frame = pd.concat([found["n"].first(), found.size().rename("seeds"), scores], axis=1).reset_index()
    return Table(frame, ("Means over seeds.",), columns=(*by, "strict_accuracy", "n"), group="model")


def retrieval(
    runs: pd.DataFrame,
    answers: pd.DataFrame,
    *,
    test_operations: Mapping[str, str],
    train_operations: Mapping[str, str],
    metric: str = "em@1",
) -> Table:
    """One line per ICL or RAG method: what its prompts held, over all queries and seeds.

    `test_operations` and `train_operations` map ids of test and of training examples to operations.
    `hit_share`: of queries with a shot of their own operation; `same_share`: of such shots; `similarity`: mean of the
    nearest shot's; `reachable_share`: of queries whose operation any training example has, the most that a hit can be.
    `with_score` and `without_score`: where a shot had the operation and where none had, with `_low`, `_high` and `_n`
    examples. `n` queries are of a known operation and say their shots, `unknown` are not; both counted in every seed.
    """
    runs, answers = labelled(runs, answers)
    runs = runs[runs["family"].isin(("ICL", "RAG"))]
    if runs.empty:
        return Table(pd.DataFrame(), ("No method with examples in its prompts has run.",))
    answers = _shot_operations(answers[answers["run"].isin(runs.index)], test_operations, train_operations).astype(
        {"method": object}
    )
    known = answers[answers["known"]]
    every, found = answers.groupby("method"), known.groupby("method")
    frame = counts(runs, ["method"])[["kind", "family"]].assign(seeds=every["run"].nunique())
    frame["n"] = found.size().reindex(frame.index, fill_value=0)
    frame["unknown"] = every.size() - frame["n"]
    frame = frame.join(found[["hit", "reachable"]].mean().add_suffix("_share")).join(found["similarity"].mean())
    frame["same_share"] = found["same"].sum() / found["count"].sum().replace(0, np.nan)
    for name, part in (("with", known[known["hit"]]), ("without", known[~known["hit"]])):
        scores = summary(part, "method", metric)[[metric, f"{metric}_low", f"{metric}_high", "examples"]]
        frame[[f"{name}_score{end}" for end in ("", "_low", "_high", "_n")]] = scores.reindex(frame.index)
    frame = frame.fillna({"with_score_n": 0, "without_score_n": 0})
    reach, unknown = frame["reachable_share"].dropna(), frame["unknown"].sum()
    notes = (
        f"n: queries over all seeds; below scores the interval, then the number of examples. {SEEDS}",
        f"Training examples cover the operation of {100 * reach.iloc[0]:.1f} % of the queries." if len(reach) else "",
        f"We leave out {unknown} answers, whose operation is unknown." if unknown else "",
    )
    heads = {"hit_share": "queries with a shot of their operation (%)", "same_share": "shots of the operation (%)"}
    heads |= {"similarity": "similarity of the nearest", "with_score": f"{SCORES[metric]} with such a shot (%)"}
    heads |= {"without_score": f"{SCORES[metric]} without (%)"}
    return Table(frame, notes, columns=("method", "hit_share", "with_score", "without_score"), heads=heads)


def nearest(runs: pd.DataFrame, answers: pd.DataFrame, *, metric: str = "em@1") -> pd.DataFrame:
    """One line per query of one run, RAG's with the fewest shots: `similarity` of its nearest shot and its `score`.

    Queries without a measured similarity are left out and counted in `unknown`. Empty where no such run is there.
    """
    runs, answers = labelled(runs, answers)
    columns = ["method", "kind", "model", "task", "example", "similarity", "score", "unknown"]
    runs = runs[(runs["family"] == "RAG") & (runs["status"] == results.OK)].sort_values(["method", "seed"])
    unknown = answers["similarity"].isna().groupby(answers["run"], observed=True).transform("sum")
    queries = answers.assign(unknown=unknown, score=answers.get(metric)).dropna(subset="similarity")
    first = [run for run in runs.drop_duplicates("method").index if run in set(queries["run"])][:1]
    queries = queries.loc[queries["run"].isin(first), columns]
    return queries.astype(dict.fromkeys(columns[:5], object)).reset_index(drop=True)


def _shot_operations(
    answers: pd.DataFrame, test_operations: Mapping[str, str], train_operations: Mapping[str, str]
) -> pd.DataFrame:
    """The answers with the `count` of their shots, of those of the `same` operation, whether there is one (`hit`),
    whether there could be one (`reachable`), and whether operation and shots are `known`."""
    operations = answers["example"].astype(object).map(lambda id: test_operations.get(id) or "")
    count = answers["shots"].map(len)
    pairs = zip(answers["shots"], operations, strict=True)
    same = np.array([sum(train_operations.get(shot) == own for shot in shots) for shots, own in pairs], dtype=int)
    known = (operations != "") & ((count > 0) | (answers["dropped_shots"] > 0))
    reachable = operations.isin(set(train_operations.values()))
    return answers.assign(count=count, same=same, hit=same > 0, reachable=reachable, known=known)


def _ended(answers: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Shares of answers that ended in each way; no column where none were run."""
    ended = answers.groupby(by, observed=True)["verdict"].value_counts(normalize=True).unstack(fill_value=0.0)
    return plain_index(ended.add_prefix("ended ").reset_index(), by)


def _grouped(answers: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """The answers with the group of their example."""
    names = answers["example"].astype(object).map(lambda id: groups.get(id) or None)
    if len(names) and names.isna().all():
        raise ValueError(
            f"groups must name examples of the runs, such as {min(answers['example'])!r}; got none of them"
        )
    names, known = names.fillna("other"), dict.fromkeys([*groups.values(), "other"])
    order = sorted((name for name in known if name in set(names)), key=lambda name: [*DIFFICULTIES, name].index(name))
    return answers.assign(group=pd.Categorical(names, order, ordered=True))


def _judging(runs: pd.DataFrame) -> tuple[str, ...]:
    """How the tests of executed answers were judged; nothing where all were judged from outside."""
    found = [notes.get("by_difficulty", {}).get("all", {}) for notes in runs["notes"]]
    inside = max((part.get("checked_inside", 0) for part in found), default=0)
    undecided = sorted({id for part in found for id in part.get("undecided", ())})
    some = ", ".join(undecided[:5]) + "…" * (len(undecided) > 5)
    return (
        f"Checked inside: {inside} examples, whose tests ran in the answer's own process." if inside else "",
        f"Left out of the strict scores: {len(undecided)} examples, whose tests pass whatever the answer ({some})."
        if undecided
        else "",
    )

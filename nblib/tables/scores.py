"""Scores of runs and answers as tables: means with intervals, paired tests, by method and any other grouping."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from nblib import results, stats
from nblib.tables.labels import attached, counts, labelled, named
from nblib.tables.show import EXECUTION, SCORES, Table

METRICS = (*EXECUTION, "em@1", "em@10", "codebleu", "codebleu_corrected", "chrf")  # of a comparison
NEEDS_ALL = ("em@10",)  # shown only where every run has it: answers are as many as beams
TESTED = ("difference", "difference_low", "difference_high", "p", "effect", "verdict")
DIFFICULTIES = ("introductory", "interview", "competition")  # of APPS, from easy to hard
OTHER = "other"  # the group of examples that no group was named for
PAIRED = "Paired over the same examples, over all seeds; p with Holm's correction over the lines."
LEGEND = (
    "Bold: best. Underlined: second best. ≈: a paired test cannot tell it from the best (5 %, Holm's correction over "
    "the column). Means over examples and seeds ± standard deviation over seeds, the 95 % interval below."
)


def comparison(runs: pd.DataFrame, answers: pd.DataFrame, *, metrics: Sequence[str] = METRICS) -> Table:
    """One line a method over its seeds, by its label: scores, costs, how runs ended.

    Of each metric that the runs have, as `em@1`: the share, `_sd` (over seeds), `_low` and `_high` (95 % interval),
    `_n` and `_missing` (examples), `_tie` (true: a paired test, after Holm over the column, cannot tell it from the
    best), `_rank` (1: best) and `_corpus` (of the whole corpus, where papers print that). Costs are means over seeds
    in bytes, seconds and tokens; `peak_bytes` is the highest. `seeds` ended well; `failed` and `out_of_memory` count
    the others.
    Raises ValueError for runs that do not belong into one table.
    """
    shaped = runs.index[runs["shape_only"].astype(bool)]
    if len(shaped):
        raise ValueError(
            f"a table of scores takes no runs of random weights (shape_only), as they have none; got {shaped[0]}: "
            "leave them out, or show them with tables.memory"
        )
    frame = scored(*labelled(runs, answers), ["method"], metrics).set_index("method")
    frame.index = frame.index.astype(object)
    shown = [metric for metric in metrics if metric in frame]
    costs = ["trainable_parameters", *(["adapter_bytes"] if frame["adapter_bytes"].notna().any() else [])]
    columns = ["method", *shown, *costs, "train_seconds", "prompt_tokens", "peak_bytes", "seeds"]
    notes = [LEGEND, *(_undefined(frame, metric) for metric in shown[1:])]
    return Table(frame, _said(notes), title(runs), (*columns, *(f"{metric}_n" for metric in shown[:1])))


def scored(
    runs: pd.DataFrame, answers: pd.DataFrame, by: Sequence[str], metrics: Sequence[str], *, within: Sequence[str] = ()
) -> pd.DataFrame:
    """`counts` of labelled runs with the columns of each metric that they have, ties and ranks inside of `within`."""
    frame = counts(runs, by)
    for metric in [name for name in metrics if has(runs, name)]:
        found = stats.summarise(answers, by, metric, base=stats.BEST, within=within)
        means = runs.groupby(list(by), observed=True)[metric].mean().reset_index(name="mean")  # also without answers
        corpus = f"{metric}_corpus"
        found[f"{metric}_tie"] = found["verdict"].map({"tie": True, "higher": False, "lower": False}).astype("boolean")
        ends = ["", "_sd", "_low", "_high", "_n", "_missing", "_tie"]
        part = frame[list(by)].merge(found[[*by, *(f"{metric}{end}" for end in ends)]], how="left", on=list(by))
        part[metric] = part[metric].fillna(part[list(by)].merge(means, how="left", on=list(by))["mean"])
        if corpus in runs:
            whole = runs.groupby(list(by), observed=True)[corpus].mean().reset_index()
            part = part.merge(whole, how="left", on=list(by))
        part[f"{metric}_rank"] = _ranks(part, metric, within)
        frame = frame.join(part.drop(columns=list(by)))
    return frame


def has(runs: pd.DataFrame, metric: str) -> bool:
    """Whether a table of these runs shows the score."""
    if metric not in SCORES:
        raise ValueError(f"metric must be one of {', '.join(SCORES)}; got {metric!r}")
    known = runs.loc[runs["status"] == results.OK, metric].notna() if metric in runs else pd.Series(dtype=bool)
    return bool(len(known)) and bool(known.all() if metric in NEEDS_ALL else known.any())


def title(runs: pd.DataFrame) -> str:
    """`conala-mini with tiny`, and that only the first examples were asked."""
    if runs.empty:
        return "No runs."
    first = runs.iloc[0]
    partial = "" if pd.isna(first["limit"]) else f", only its first {first['limit']:.0f} examples: a partial result"
    return f"{first['task']} with {first['model']}{partial}"


def versus(runs: pd.DataFrame, answers: pd.DataFrame, base: str, metric: str) -> Table:
    """Every other method minus `base` (a label such as `zero-shot`) on the same examples, one line a method.

    `difference` with `_low` and `_high` (95 % interval) is a share; `p` after Holm's correction over the lines;
    `effect` is Cohen's d of pairs; `n` examples; `verdict` is `higher`, `lower` or `tie`. What has no predictions of
    the same examples has no line. Raises ValueError where no run of `base` has a result.
    """
    _, answers = labelled(runs, answers)
    frame = stats.summarise(answers, "method", metric, base=_chosen(answers, base, metric))
    frame = frame[frame["difference"].notna()].rename(columns={"pairs": "n"})
    frame = frame.astype({"method": object}).set_index("method")[[*TESTED[:-1], "n", "verdict"]]
    heads = {"difference": f"{SCORES[metric]} beside {base} (points)"}
    return Table(frame, (PAIRED,), heads=heads)


def by_difficulty(runs: pd.DataFrame, answers: pd.DataFrame, difficulties: Mapping[str, str]) -> Table:
    """One line a difficulty and method, `all` first; `difficulties` are those of the examples, by id.

    `n` examples, `seeds`; each score of EXECUTION that the runs have with `_low` and `_high`; and as `ended passed`,
    `ended wrong`, `ended runtime_error`… the shares of first answers that ended so, over all seeds.
    """
    runs, answers = labelled(runs, answers)
    known = dict.fromkeys(each for each in difficulties.values() if each)
    order = ["all", *sorted(known, key=lambda each: [*DIFFICULTIES, each].index(each))]
    asked = answers[answers["example"].isin(list(difficulties))]
    both = [asked.assign(difficulty="all"), asked.assign(difficulty=asked["example"].map(difficulties))]
    long = pd.concat(both).assign(difficulty=lambda each: pd.Categorical(each["difficulty"], order, ordered=True))
    by = ["difficulty", "method"]
    about = counts(runs, ["method"])[["method", "kind", "status", "seeds"]]
    frame = pd.DataFrame({"difficulty": pd.Categorical(order, order, ordered=True)}).merge(about, how="cross")
    frame.insert(
        3, "n", [len([1 for each in difficulties.values() if name in ("all", each)]) for name in frame["difficulty"]]
    )
    for metric in [name for name in EXECUTION if has(runs, name)]:
        found = stats.summarise(long, by, metric)[[*by, metric, f"{metric}_low", f"{metric}_high"]]
        frame = frame.merge(found, how="left", on=by)
    ended = long.groupby(by, observed=True)["verdict"].value_counts(normalize=True).unstack(fill_value=0.0)
    frame = frame.merge(ended.add_prefix("ended ").reset_index(), how="left", on=by)
    shown = [name for name in EXECUTION if name in frame]
    columns = ("difficulty", "method", *shown, "seeds", "n")
    return Table(frame.astype(dict.fromkeys(by, object)), judging(runs), columns=columns)


def judging(runs: pd.DataFrame) -> tuple[str, ...]:
    """How the tests of executed answers were judged, in a sentence each; nothing where all were judged from outside."""
    found = [notes.get("by_difficulty", {}).get("all", {}) for notes in runs["notes"]]
    inside = max((each.get("checked_inside", 0) for each in found), default=0)
    undecided = sorted({id for each in found for id in each.get("undecided", ())})
    sentences = []
    if inside:
        sentences.append(f"Checked inside: {inside} examples, whose tests ran in the answer's own process.")
    if undecided:
        named = ", ".join(undecided[:5]) + ("…" if len(undecided) > 5 else "")
        sentences.append(
            f"Left out of the strict scores: {len(undecided)} examples, whose tests pass whatever the answer ({named})."
        )
    return tuple(sentences)


def by_group(
    runs: pd.DataFrame,
    answers: pd.DataFrame,
    groups: Mapping[str, str],
    *,
    metric: str = "em@1",
    base: str | None = None,
) -> Table:
    """One line a group of examples and method; `groups` names the group of an example, by id.

    Groups stand in the order in which `groups` names them; examples without one are the group `other`. The metric with
    `_low`, `_high`, `_n` (examples with a score) and `_missing`. With `base` (a label) also each method minus it on the
    group's examples: `difference` and so on, p with Holm's correction over all lines.
    Raises ValueError for a base that has no result, and where `groups` names no example of the runs.
    """
    runs, answers = labelled(runs, answers)
    answers = answers.assign(group=[groups.get(example) or OTHER for example in answers["example"]])
    order = [
        name for name in dict.fromkeys([*filter(None, groups.values()), OTHER]) if (answers["group"] == name).any()
    ]
    if order == [OTHER]:
        raise ValueError(
            f"groups must name examples of the runs, such as {min(answers['example'])!r}; got none of them"
        )
    answers["group"] = pd.Categorical(answers["group"], order, ordered=True)
    by = ["group", "method"]
    chosen = None if base is None else _chosen(answers, base, metric)
    found = stats.summarise(answers, by, metric, base=chosen, within=["group"], family=(), turned=False)
    about = counts(runs, ["method"])[["method", "kind", "family", "model", "task", "limit", "status", "seeds"]]
    frame = pd.DataFrame({"group": pd.Categorical(order, order, ordered=True)}).merge(about, how="cross")
    frame = frame.merge(found.drop(columns="seeds"), how="left", on=by)
    total = frame["group"].map(answers.groupby("group", observed=True)["example"].nunique()).astype(int)
    frame[f"{metric}_n"] = frame["examples"].fillna(0).astype(int)
    frame[f"{metric}_missing"] = total - frame[f"{metric}_n"]
    notes = ["95 % intervals over examples and seeds."]
    if base is not None:
        frame["base"] = base
        notes.append("Differences are paired over the group's examples; p with Holm's correction over all lines.")
    columns = (*by, metric, "difference", "p", "verdict", "seeds", f"{metric}_n")
    heads = {"group": "examples", "difference": f"beside {base} (points)"}
    return Table(frame.astype(dict.fromkeys(by, object)), tuple(notes), columns=columns, heads=heads)


def across_models(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Table:
    """One line a model and method, the smallest model first.

    `total_parameters` of the model, `trainable_parameters` and their `trained_share`; the score; costs.
    `reference` marks the smallest model that was tuned in full with a result; `difference`, `p`, `verdict` and so on
    are every other line minus it, paired over the same examples, with Holm's correction over all lines;
    `relative_share` is the difference over the score of the reference.
    Raises ValueError for runs that differ in more than model and method, and for an unknown metric.
    """
    has(runs, metric)
    runs, answers = labelled(runs, answers, apart=["model"])
    sizes = runs.groupby("model")["total_parameters"].max() if "total_parameters" in runs else pd.Series(dtype=float)
    order = sorted(set(runs["model"]), key=lambda name: (sizes.get(name, math.inf), name))
    runs = runs.assign(model=pd.Categorical(runs["model"], order, ordered=True))
    answers = attached(answers, runs, ["model"])
    by = ["model", "method"]
    frame = scored(runs, answers, by, [metric]).reindex(columns=[*counts(runs, by), *_columns(metric)])
    frame["total_parameters"] = frame["model"].astype(object).map(sizes).astype(float)
    frame["trained_share"] = frame["trainable_parameters"] / frame["total_parameters"]
    full = frame[(frame["kind"] == "full") & frame[metric].notna() & frame["total_parameters"].notna()]
    full = full.sort_values(["total_parameters", metric], ascending=[True, False], kind="stable")
    frame["reference"] = frame.index.isin(full.index[:1])
    base = dict(full.iloc[0][by]) if len(full) else {"model": None}
    tests = stats.summarise(answers, by, metric, base=base)
    frame = frame.merge(tests[[*by, *TESTED]], how="left", on=by)
    frame.loc[frame["p"].isna(), list(TESTED)] = None
    frame["relative_share"] = frame["difference"] / (full[metric].iloc[0] or math.nan if len(full) else math.nan)
    notes = [f"Tested against {base['model']} tuned in full, the smallest such model. {PAIRED}" if len(full) else ""]
    notes += ["" if len(full) else "No model was tuned in full with a result, so nothing is tested.", _partial(runs)]
    columns = (*by, "total_parameters", "trainable_parameters", "trained_share", metric, "train_seconds")
    columns += ("adapter_bytes",) * bool(frame["adapter_bytes"].notna().any()) + ("peak_bytes", "reference")
    heads = {"difference": "beside the reference (points)", "relative_share": "relative (%)"}
    columns = (*columns, "difference", "relative_share", "p", "verdict", "seeds")
    return Table(frame.astype(dict.fromkeys(by, object)), _said(notes), columns=columns, heads=heads, group="model")


NOTHING_TRAINED = "nothing (zero-shot)"


def transfer(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Table:
    """One line a task that is asked (`task`) and what was `trained_on`: nothing, one task, or several jointly.

    `own` marks the adapter of the asked task, `joint` those of several tasks with the asked one among them; then
    `label`, `status`, `seeds` and the score with its columns. `own_difference` (`_low`, `_high`), `own_p` and
    `own_verdict` are the line minus the own adapter; `nothing_difference` and so on, minus zero-shot: paired over the
    same examples, with Holm's correction over the lines of that task.
    Raises ValueError for more than one trained method, for runs that differ in more than their tasks, and for an
    unknown metric.
    """
    has(runs, metric)
    runs, answers = labelled(runs, answers, apart=["trained_on", "task"])
    _one_method(runs)
    tasks = _tasks(runs)
    runs = runs.assign(label=runs["method"].astype(object), trained_on=runs["trained_on"].fillna(NOTHING_TRAINED))
    runs["own"] = runs["trained_on"] == runs["task"]
    runs["joint"] = [
        trained != asked and asked in trained.split("+")
        for trained, asked in zip(runs["trained_on"], runs["task"], strict=True)
    ]
    for name, order in (("task", tasks), ("trained_on", [NOTHING_TRAINED, *tasks])):
        runs[name] = pd.Categorical(runs[name], order, ordered=True)
    by = ["task", "trained_on"]
    answers = attached(answers, runs, [*by, "own"])
    frame = scored(runs, answers, by, [metric], within=["task"]).reindex(columns=[*counts(runs, by), *_columns(metric)])
    about = runs.groupby(by, observed=True)[["own", "joint", "label"]].first().reset_index()
    frame = frame.merge(about, how="left", on=by).astype(dict.fromkeys(by, object))
    for name, base in (("own", {"own": True}), ("nothing", {"trained_on": NOTHING_TRAINED})):
        tests = stats.summarise(answers, [*by, "own"], metric, base=base, within=["task"])
        tests = tests.rename(columns={each: f"{name}_{each}" for each in TESTED})
        kept = [f"{name}_{each}" for each in TESTED if each != "effect"]
        frame = frame.merge(tests[[*by, *kept]].astype(dict.fromkeys(by, object)), how="left", on=by)
    notes = [f"{SCORES[metric]}: means over seeds with 95 % intervals. {PAIRED}", _partial(runs)]
    columns = (*by, metric, "own_difference", "own_p", "own_verdict", "nothing_difference", "nothing_p")
    heads = {"task": "asked", "trained_on": "trained on", "own_difference": "beside its own adapter (points)"}
    heads |= {"nothing_difference": "beside zero-shot (points)"}
    return Table(frame, _said(notes), columns=(*columns, "nothing_verdict", "seeds"), heads=heads, group="task")


def learning_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """One line a validation loss: `method`, `kind`, `seed`, `epoch`, `loss`, and `kept` for the checkpoint kept.

    Epochs are steps over the steps of an epoch. A loss that is no number (training diverged) has no line.
    Raises ValueError for runs that do not belong into one table.
    """
    runs, lines = named(runs), []
    for _, run in runs[runs["status"] == results.OK].sort_values(["method", "seed"], kind="stable").iterrows():
        epochs, steps = (run["settings"].get("training") or {}).get("epochs"), run.get("train_steps")
        line = {name: run[name] for name in ("method", "kind", "seed", "model", "task")}
        for step, loss in run["notes"].get("validation_losses", ()) if epochs and _is_number(steps) and steps else ():
            if _is_number(loss):
                kept = step == run["notes"].get("best_step")
                lines.append(line | {"epoch": epochs * step / steps, "loss": loss, "kept": kept})
    return pd.DataFrame(lines, columns=["method", "kind", "seed", "model", "task", "epoch", "loss", "kept"])


def sensitivity(
    runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1", *, chosen: Mapping[str, float] | None = None
) -> Table:
    """One line a method and learning rate: `status`, `seeds` and the score with its columns.

    `best` marks the rate that scores highest, `chosen` the one that a comparison uses (method -> rate). A method at
    several other settings is one for each of them; what is not trained has no line.
    Raises ValueError for runs that do not belong into one table, and for an unknown metric.
    """
    has(runs, metric)
    rates = runs["learning_rate"].astype(float)
    runs, answers = labelled(runs[rates.notna()], answers, leaving=("learning_rate",))
    runs = runs.astype({"learning_rate": float})
    answers = attached(answers, runs, ["learning_rate"])
    by = ["method", "learning_rate"]
    frame = scored(runs, answers, by, [metric]).reindex(columns=[*counts(runs, by), *_columns(metric)])
    frame = frame.astype({"method": object}).drop(columns=[f"{metric}_tie", f"{metric}_rank"])
    frame["split"] = runs["split"].iloc[0] if len(runs) else None
    highest = frame.groupby("method")[metric].transform("max")
    frame["best"] = frame[metric].eq(highest)
    used = frame["method"].map(chosen or {}).astype(float)
    frame["chosen"] = (frame["learning_rate"] / used - 1).abs() < 1e-6
    frame["best_minus_worst_difference"] = highest - frame.groupby("method")[metric].transform("min")
    notes = (f"Means over seeds on the {frame['split'].iloc[0]} split.",) if len(frame) else ("There are no runs.",)
    columns = ("method", "learning_rate", metric, "best", "chosen", "best_minus_worst_difference", "seeds")
    heads = {"best_minus_worst_difference": "best minus worst (points)"}
    return Table(frame, notes, columns=columns, heads=heads, group="method")


def retrieval(
    runs: pd.DataFrame,
    answers: pd.DataFrame,
    *,
    asked: Mapping[str, str],
    shown: Mapping[str, str],
    metric: str = "em@1",
) -> Table:
    """One line an ICL or RAG method: what its prompts held, over all queries and seeds.

    `asked` and `shown` are the operations of test and of training examples, by id (ids of the splits may be equal).
    `hit_share`: of queries with a shot of their own operation; `same_share`: of such shots; `similarity`: mean of the
    nearest shot's; `reachable_share`: of queries whose operation any training example has, the most that a hit can be.
    `with_score` and `without_score`: where a shot had the operation and where none had, with `_low`, `_high` and `_n`
    examples. `n` queries are of a known operation and say their shots, `unknown` are not; both counted in every seed.
    """
    runs, answers = labelled(runs, answers)
    runs = runs[runs["family"].isin(("ICL", "RAG"))]
    answers = answers[answers["run"].isin(runs.index)]
    operation = answers["example"].astype(object).map(asked).fillna("")
    known = (operation != "") & ((answers["shots"].map(len) > 0) | (answers["dropped_shots"] > 0))
    pairs = zip(answers["shots"], operation, strict=True)
    answers = answers.assign(
        same=[sum(shown.get(shot) == own for shot in shots) for shots, own in pairs],
        count=answers["shots"].map(len),
        known=known,
        reachable=operation.isin(set(shown.values())),
    )
    lines = {}
    for label in runs["method"].sort_values().astype(object).unique():
        every = answers[answers["method"] == label]
        found = every[every["known"]]
        line = dict(runs.loc[runs["method"] == label, ["kind", "family"]].iloc[0])
        line |= {"seeds": every["run"].nunique(), "n": len(found), "unknown": len(every) - len(found)}
        line |= {"hit_share": (found["same"] > 0).mean(), "similarity": found["similarity"].mean()}
        line |= {"same_share": found["same"].sum() / (found["count"].sum() or math.nan)}
        line |= {"reachable_share": found["reachable"].mean()}
        for name, part in (("with", found[found["same"] > 0]), ("without", found[found["same"] == 0])):
            about = stats.summarise(part, "method", metric) if len(part) else pd.DataFrame([{}])
            score = about.iloc[0].to_dict()
            line |= {f"{name}_score{end}": score.get(f"{metric}{end}") for end in ("", "_low", "_high")}
            line |= {f"{name}_score_n": score.get("examples", 0)}
        lines[label] = line
    frame = pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")
    if frame.empty:
        return Table(frame, ("No method with examples in its prompts has run.",), columns=())
    reach = frame["reachable_share"].dropna()
    notes = ["n: queries over all seeds; below scores the 95 % interval, then the number of examples."]
    notes += [f"{100 * reach.iloc[0]:.1f} % of the queries ask for an operation of training."] if len(reach) else []
    notes += [f"Not said in {frame['unknown'].sum()} answers, which are left out."] if frame["unknown"].sum() else []
    heads = {"hit_share": "queries with a shot of their operation (%)", "same_share": "shots of the operation (%)"}
    heads |= {"similarity": "similarity of the nearest", "with_score": f"{SCORES[metric]} with such a shot (%)"}
    heads |= {"without_score": f"{SCORES[metric]} without (%)"}
    columns = ("method", "hit_share", "same_share", "similarity", "with_score", "with_score_n", "without_score")
    return Table(frame, tuple(notes), columns=(*columns, "without_score_n", "n"), heads=heads)


def nearest(runs: pd.DataFrame, answers: pd.DataFrame, *, metric: str = "em@1") -> pd.DataFrame:
    """One line a query of one run, RAG's with the fewest shots: `similarity` of its nearest shot and its `score`.

    Queries without a measured similarity are left out and counted in `unknown`. Empty where no such run is there.
    """
    runs, answers = labelled(runs, answers)
    columns = ["method", "kind", "model", "task", "example", "similarity", "score", "unknown"]
    found = runs[(runs["family"] == "RAG") & (runs["status"] == results.OK)]
    for _, members in found.groupby("method", observed=True):
        mine = answers[answers["run"] == members.sort_values("seed", kind="stable").index[0]]
        near = mine[mine["similarity"].notna()].assign(unknown=mine["similarity"].isna().sum(), score=mine[metric])
        if len(near):
            return near[columns].astype(dict.fromkeys(columns[:5], object)).reset_index(drop=True)
    return pd.DataFrame(columns=columns)


def _columns(metric: str) -> list[str]:
    return [metric, *(f"{metric}_{end}" for end in ("sd", "low", "high", "n", "missing", "tie", "rank", "corpus"))]


def _ranks(frame: pd.DataFrame, metric: str, within: Sequence[str]) -> pd.Series:
    """1 for the best; nothing where only one has a score."""
    values = frame.groupby(list(within), observed=True)[metric] if within else frame[metric]
    ranks = values.rank(method="dense", ascending=False)
    several = (
        frame.groupby(list(within), observed=True)[metric].transform("nunique") if within else frame[metric].nunique()
    )
    return ranks.where(several > 1) if within else ranks.where(pd.Series(several > 1, index=ranks.index))


def _chosen(answers: pd.DataFrame, label: str, metric: str) -> dict[str, object]:
    """The base of that label. Raises ValueError where it has no score."""
    known = answers[answers[metric].notna()]["method"] if metric in answers else pd.Series(dtype=object)
    if label not in set(known):
        there = ", ".join(dict.fromkeys(known.sort_values())) or "no method"
        raise ValueError(f"base must be one of {there}; got {label!r}")
    return {"method": label}


def _undefined(frame: pd.DataFrame, metric: str) -> str:
    lost = frame.loc[frame[f"{metric}_missing"] > 0, f"{metric}_missing"]
    said = ", ".join(f"{label} {count:.0f}" for label, count in lost.items())
    return f"{SCORES[metric]} is not defined for some examples: {said}." if said else ""


def _partial(runs: pd.DataFrame) -> str:
    return "Only the first examples: a partial result." if runs["limit"].notna().any() else ""


def _said(notes: Sequence[str]) -> tuple[str, ...]:
    return tuple(note for note in notes if note)


def _is_number(value) -> bool:
    return value is not None and math.isfinite(value)


def _one_method(runs: pd.DataFrame) -> None:
    trained = runs[runs["trained_on"].notna()]
    each = {
        (label, str(settings["method"] | {"precision": settings.get("precision")}))
        for label, settings in zip(trained["method"], trained["settings"], strict=True)
    }
    if len(each) > 1 or runs.groupby(["trained_on", "task"], dropna=False)["method"].nunique().max() > 1:
        several = sorted(set(runs["method"].astype(str)) - {"zero-shot"})
        raise ValueError(
            f"a transfer table has one trained method with one setting, beside zero-shot; got {', '.join(several)}: "
            "make a table for each"
        )


def _tasks(runs: pd.DataFrame) -> list[str]:
    """All tasks, trained on or asked, in the order of the joint task's name where there is one; joint ones last."""
    names = {*runs["task"], *runs["trained_on"].dropna()}
    joint = sorted(name for name in names if "+" in name)
    order = [part for name in joint for part in name.split("+")]
    single = sorted((name for name in names if "+" not in name), key=lambda name: ([*order, name].index(name), name))
    return single + joint

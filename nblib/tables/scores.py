"""Tables of scores: means with intervals and paired tests, by method and any other grouping."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from nblib import results, stats
from nblib.columns import EXECUTION, SCORES, listed
from nblib.tables.labels import OPTIONAL, Benchmark, attached, benchmarks, counts, labelled, named, plain_index
from nblib.tables.show import Table, paragraph

LEARNED = ("em_expression@1", "style_match")  # of tasks with a house style
METRICS = (*EXECUTION, "em@1", *LEARNED, "em@10", "codebleu", "codebleu_corrected", "chrf")  # of a comparison
REPORTED = tuple(name for name in SCORES if name != "codebleu_corrected")  # of a report: the paper's columns
NEEDS_ALL = ("em@10",)  # shown only where every run has it: answers are as many as beams
YES_OR_NO = ("em@", "strict_accuracy")  # scores of only 0 and 1, which McNemar's test takes
TESTED = ["difference", "difference_low", "difference_high", "p", "effect", "n", "verdict"]
NOTHING_TRAINED = "nothing (zero-shot)"
PAIRED = (
    "Paired over the same examples, over all seeds; p with Holm's correction over the lines. Not tested is what varies "
    "with the seed and has one."
)
PARTIAL = "Only the first examples: a partial result."
SEEDS = "Intervals of 95 % are over examples and, where a line has several, over seeds."
LEGEND = (
    "Bold: best. Underlined: second best. ≈: a paired test cannot tell it from the best (5 %, Holm's correction over "
    "the column{}). What varies with the seed and has one seed gets no mark. Means over examples and seeds; ± is the "
    f"standard deviation over seeds. {SEEDS}"
)


def has(runs: pd.DataFrame, metric: str) -> bool:
    """Whether a table of these runs shows the score. Raises ValueError for another name."""
    if metric not in SCORES:
        raise ValueError(f"metric must be one of {', '.join(SCORES)}; got {metric!r}")
    scored = runs.loc[runs["status"] == results.OK, metric].notna() if metric in runs else pd.Series(dtype=bool)
    return bool(len(scored)) and bool(scored.all() if metric in NEEDS_ALL else scored.any())


def scored(
    runs: pd.DataFrame, answers: pd.DataFrame, by: Sequence[str], metrics: Sequence[str], *, within: Sequence[str] = ()
) -> pd.DataFrame:
    """`counts` of labelled runs with the columns of each metric that they have, as of `em@1`:

    the share, `_sd` (over seeds), `_low` and `_high` (95 % interval), `_n` and `_missing` (examples), `_tie` (a paired
    test, after Holm, cannot tell it from the best inside of `within`; none for the best itself), `_rank` (1: best) and
    `_corpus` (of the whole corpus, where papers print that). Lines with `one_seed` have neither tie nor rank.
    """
    frame, by = counts(runs, by), list(by)
    for metric in [name for name in metrics if has(runs, name)]:
        found = summary(answers, by, metric, base=stats.BEST, within=within)
        whole = [name for name in (metric, f"{metric}_corpus") if name in runs]
        means = plain_index(runs.groupby(by, observed=True)[whole].mean().reset_index(), by)
        ends = [f"{metric}_{end}" for end in ("sd", "low", "high", "n", "missing")]
        frame = frame.join(found[[metric, *ends]]).join(means[whole[1:]])
        frame[metric] = frame[metric].fillna(means[metric])  # also where there are no answers
        ties = found["verdict"].map({"tie": True, "higher": False, "lower": False})
        frame[f"{metric}_tie"] = ties.reindex(frame.index).astype("boolean")
        ranked = frame[metric].mask(found["one_seed"].reindex(frame.index, fill_value=True))
        places = ranked.groupby(level=list(within)) if within else ranked.groupby(lambda _: 0)
        ranks = places.rank(method="dense", ascending=False)
        frame[f"{metric}_rank"] = ranks.where(places.transform("nunique") > 1)
    return frame


def summary(answers: pd.DataFrame, by: str | Sequence[str], metric: str, **settings) -> pd.DataFrame:
    """`stats.summarise` indexed by `by`; `n` counts the examples with a score of the line and of its base."""
    found = stats.summarise(answers, by, metric, **settings).rename(columns={"pairs": "n"})
    return plain_index(found, [by] if isinstance(by, str) else by)


def tests(answers: pd.DataFrame, by: str | Sequence[str], metric: str, base: Mapping, **settings) -> pd.DataFrame:
    """Every line of `by` minus the base: the columns TESTED of its summary."""
    return summary(answers, by, metric, base=base, **settings)[TESTED]


def comparison(runs: pd.DataFrame, answers: pd.DataFrame, *, metrics: Sequence[str] = METRICS) -> Table:
    """One line per method over its seeds, by its label: scores, costs, and how its runs ended.

    Costs are means over seeds in bytes, seconds and tokens; `peak_bytes` is the highest. `seeds` finished; `failed` and
    `out_of_memory` count the others. Raises ValueError for runs that do not belong in one table.
    """
    if shaped := list(runs.index[runs["shape_only"].astype(bool)]):
        raise ValueError(
            f"a table of scores takes no runs of random weights (shape_only), as they have none; got {shaped[0]}: "
            "leave them out, or show them with tables.memory"
        )
    runs, answers = labelled(runs, answers)
    frame = scored(runs, answers, ["method"], metrics).join(rises(runs))
    shown = [metric for metric in metrics if metric in frame]
    costs = ("trainable_parameters", "adapter_bytes", "train_seconds", "prompt_tokens", "peak_bytes")
    decide = [metric for metric in ("strict_accuracy", "em@1", *shown) if metric in shown][:1]
    columns = ("method", *decide, "prompt_tokens", "train_seconds", "seeds")
    own = ("elsewhere_rise_nats", *OPTIONAL)
    wide = ("method", *shown, *costs, *own, "seeds", *(f"{metric}_n" for metric in shown[:1]))
    notes = (LEGEND.format(""), *(_undefined(frame, metric) for metric in shown))
    return Table(frame, notes, _title(runs), columns, wide)


def report(benchmark: Benchmark) -> Table:
    """A comparison for each model; a note says where not every method has run."""
    runs, by = benchmark.runs, ["model", "method"]
    frame = scored(runs, benchmark.answers, by, REPORTED, within=["model"])
    trained = runs[runs["training"].notna() & (runs["status"] == results.OK)].astype({"method": object})
    frame = frame.join(trained.groupby(by)["memory_bytes"].max()).reset_index()
    ran, every = frame["model"].value_counts(sort=False), frame["method"].nunique()
    notes = (
        LEGEND.format(", model by model"),
        "Training memory: the allocated peak on a GPU, the sum of a step's tensors on a CPU.",
        PARTIAL if benchmark.limit else "",
        " ".join(f"With {model} {ran[model]} of {every} methods have run." for model in ran.index[ran < every]),
    )
    costs = ("trainable_parameters", "train_seconds", "memory_bytes", "prompt_tokens", "generate_seconds", "seeds")
    columns, wide = (
        (*by, benchmark.metric, "train_seconds", "memory_bytes", "seeds"),
        (*by, *REPORTED, *costs, *OPTIONAL),
    )
    return Table(frame, notes, benchmark.name, columns, wide, group="model")


def tested(benchmark: Benchmark) -> Table:
    """The best method of each model minus every other, in the score that decides.

    `only_best` and `only_other` count the examples that only one of the two gets right, in the first seed of each;
    `mcnemar_p` is McNemar's exact test on them. Both p values are after Holm's correction over the model's lines.
    """
    metric, by = benchmark.metric, ["model", "method"]
    found = summary(benchmark.answers, by, metric, base=stats.BEST, within=["model"]).reset_index()
    best = found[found["is_base"]].set_index("model")["method"]
    other = ~found["is_base"] & found[metric].notna() & found["model"].isin(best.index)
    frame = turned(found[other]).reset_index(drop=True)
    frame = frame.assign(best=frame["model"].map(best), metric=metric)
    exact = [_mcnemar(benchmark, metric, row.model, row.best, row.method) for row in frame.itertuples()]
    frame[["only_best", "only_other", "mcnemar_p"]] = pd.DataFrame(exact, index=frame.index, columns=range(3))
    for _, p in frame["mcnemar_p"].dropna().groupby(frame["model"]):
        frame.loc[p.index, "mcnemar_p"] = stats.holm(list(p))
    shown = ("model", "best", "method", "difference", "p", "verdict")
    heads = {"method": "against", "mcnemar_p": "McNemar p (Holm)", "only_best": "only the best right"}
    note = (
        f"{SCORES[metric]}: the best of each model minus the others, over the same examples and all seeds; McNemar's "
        "exact test compares the first run of each, and knows nothing of seeds."
    )
    last = ["only_best", "only_other", "mcnemar_p", "verdict", "seeds"]
    frame = frame[["model", "best", "method", "metric", *TESTED[:-1], *last]]
    heads |= {"only_other": "only it right"}
    return Table(frame, (note,), columns=shown, heads=heads, group="model")


def mean_ranks(parts: Sequence[Benchmark], *, least: int = 1) -> Table:
    """The mean rank of each method over all pairs of model and benchmark, indexed by its label, the best first.

    `mean_rank` with its `_low` and `_high` (95 % over other examples of the same benchmarks), `benchmarks`, and `kind`.
    We leave out pairs with fewer methods than `least`, and then methods without a result in every remaining pair. Each
    benchmark has one score that decides.
    """
    every = {name: cell for part in parts for name, cell in _cells(part).items()}
    cells = {name: cell for name, cell in every.items() if len(cell.columns) >= least}
    common = [label for label in next(iter(cells.values()), []) if all(label in cell for cell in cells.values())]
    ranks = stats.mean_ranks([cell[common].dropna().T.to_numpy() for cell in cells.values()])
    names = ["mean_rank", "mean_rank_low", "mean_rank_high"]
    frame = pd.DataFrame(ranks, index=pd.Index(common, name="method", dtype=object), columns=names)
    kinds = {label: kind for part in parts for label, kind in zip(part.runs["method"], part.runs["kind"], strict=True)}
    frame.insert(0, "kind", [kinds[label] for label in common])
    frame = frame.assign(benchmarks=len(cells)).sort_values("mean_rank", kind="stable")
    frame.attrs = {"places": list(cells)}
    left_out = sorted({label for cell in cells.values() for label in cell} - set(common))
    too_few = [name for name in every if name not in cells]
    notes = (
        f"1 is the best. Over: {'; '.join(cells)}. Intervals are over other examples of these benchmarks, not over "
        "other benchmarks or seeds.",
        f"Not in all of them, so not ranked: {', '.join(left_out)}." if left_out else "",
        f"With too few methods to rank: {'; '.join(too_few)}." if too_few else "",
    )
    return Table(frame, notes, columns=("method", "mean_rank", "benchmarks"))


def across_models(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Table:
    """One line per model and method, the smallest model first.

    `reference` marks the smallest model with a result of full fine-tuning; we test every other line against it.
    `relative_share` is the difference divided by the score of the reference.
    Raises ValueError for runs that differ in more than model and method, and for an unknown metric.
    """
    by = ["model", "method"]
    runs, answers = labelled(runs, answers, apart=["model"])
    sizes = runs.reindex(columns=["total_parameters"]).groupby(runs["model"])["total_parameters"].max()
    order = sorted(set(runs["model"]), key=lambda name: (pd.isna(sizes[name]), sizes[name], name))
    runs = runs.assign(model=pd.Categorical(runs["model"], order, ordered=True))
    answers = attached(answers, runs, ["model"])
    frame = scored(runs, answers, by, [metric]).reindex(columns=[*counts(runs, by), *_columns(metric)]).reset_index()
    frame["total_parameters"] = frame["model"].map(sizes).astype(float)
    frame["trained_share"] = frame["trainable_parameters"] / frame["total_parameters"]
    full = frame[(frame["kind"] == "full") & frame[metric].notna() & frame["total_parameters"].notna()]
    full = full.sort_values("total_parameters", kind="stable")[:1]
    frame["reference"] = frame.index.isin(full.index)
    base = dict(full.iloc[0][by]) if len(full) else {"model": None}
    frame = frame.join(tests(answers, by, metric, base).drop(columns="n"), on=by)
    frame["relative_share"] = frame["difference"] / (full[metric].iloc[0] or math.nan if len(full) else math.nan)
    note = "No model was tuned in full with a result, so nothing is tested."
    note = f"Tested against {base['model']} tuned in full, the smallest such model. {PAIRED}" if len(full) else note
    columns = (*by, metric, "difference", "verdict", "seeds")
    heads = {"difference": "difference (points)", "verdict": "it is", "relative_share": "relative (%)"}
    return Table(frame, (note, _partial(runs)), columns=columns, heads=heads, group="model")


def transfer(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Table:
    """One line per test task (`task`) and what a method was `trained_on`: nothing, one task, or several jointly.

    `own` marks the adapter of the test task, `joint` those of several tasks with the test task among them.
    `own_difference` and so on are the line minus the own adapter, `nothing_difference` minus zero-shot, with Holm's
    correction over the lines of that task.
    Raises ValueError for more than one trained method, and for runs that differ in more than their tasks.
    """
    runs, answers = labelled(runs, answers, apart=["trained_on", "task"])
    _check_one_method(runs)
    by, tasks = ["task", "trained_on"], _tasks(runs)
    runs = runs.assign(label=runs["method"].astype(object), trained_on=runs["trained_on"].fillna(NOTHING_TRAINED))
    runs["own"] = runs["trained_on"] == runs["task"]
    pairs = zip(runs["trained_on"], runs["task"], strict=True)
    runs["joint"] = [trained != task and task in trained.split("+") for trained, task in pairs]
    for name, order in (("task", tasks), ("trained_on", [NOTHING_TRAINED, *tasks])):
        runs[name] = pd.Categorical(runs[name], order, ordered=True)
    answers = attached(answers, runs, [*by, "own"])
    frame = scored(runs, answers, by, [metric], within=["task"]).reindex(columns=[*counts(runs, by), *_columns(metric)])
    about = runs.groupby(by, observed=True)[["own", "joint", "label"]].first().reset_index()
    frame = frame.join(plain_index(about, by))
    for name, base in (("own", {"own": True}), ("nothing", {"trained_on": NOTHING_TRAINED})):
        found = tests(answers, [*by, "own"], metric, base, within=["task"]).droplevel("own")
        frame = frame.join(found.drop(columns=["effect", "n"]).add_prefix(f"{name}_"))
    heads = {"task": "tested on", "trained_on": "trained on", "own_difference": "against its own adapter (points)"}
    heads |= {"nothing_difference": "against zero-shot (points)", "own_verdict": "verdict"}
    heads |= {"nothing_verdict": "verdict", "own_p": "p (Holm)", "nothing_p": "p (Holm)"}
    columns = (*by, metric, "own_difference", "seeds")
    notes = (f"{SCORES[metric]}: means over examples and seeds. {SEEDS} {PAIRED}", _partial(runs))
    return Table(frame.reset_index(), notes, columns=columns, heads=heads, group="task")


def forgetting(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Table:
    """One line per method of one task: what it gains here, and what its training costs elsewhere.

    `difference` is the score minus zero-shot's, paired. `elsewhere_rise_nats` is the loss per token on other kinds of
    text after training minus before: the mean over kinds and seeds, with an interval over seeds; `code_rise_nats` and
    so on are of one kind. What trains nothing has 0, and a run of an older row, which was not measured, has none.
    Raises ValueError for runs that do not belong in one table.
    """
    runs, answers = labelled(runs, answers)
    if (found := rises(runs)).empty:
        return paragraph("No run has a loss elsewhere: older rows lack it. `force = True` trains their methods again.")
    frame = scored(runs, answers, ["method"], [metric]).reindex(columns=[*counts(runs, ["method"]), *_columns(metric)])
    frame = frame.join(tests(answers, "method", metric, {"method": "zero-shot"}).drop(columns=["effect", "n"]))
    frame.loc[(frame["kind"] == "zero-shot") & frame[metric].notna(), "difference"] = 0.0
    own = [name for name in found if not name.startswith("elsewhere")]
    notes = (
        f"{SCORES[metric]}, and its gain over zero-shot on the same examples. {SEEDS}",
        f"Elsewhere: the loss per token, the mean over {listed(name.removesuffix('_rise_nats') for name in own)}; its "
        "interval is over seeds. Prompts change no weight: 0. An adapter can be taken off, and nothing is lost then.",
        _partial(runs),
    )
    columns = ("method", "difference", "elsewhere_rise_nats", "seeds")
    wide, heads = ("method", metric, *columns[1:3], *own, "seeds"), {"difference": "gain (points)"}
    return Table(frame.join(found), notes, columns=columns, wide=wide, heads=heads)


def rises(runs: pd.DataFrame) -> pd.DataFrame:
    """By method the means over seeds of `elsewhere_rise_nats`, with its interval, and of the rise on each kind of text.

    Only of kinds that every measured run has. Empty where no run was measured.
    """
    each = runs.filter(regex=r"(?<!elsewhere)_rise_nats$").dropna(how="all").dropna(axis=1)
    if each.empty:
        return pd.DataFrame()
    free = pd.DataFrame(0.0, runs.index[runs["training"].isna()], each.columns)
    each = pd.concat([each, free]).assign(elsewhere_rise_nats=lambda frame: frame.mean(axis=1))
    groups = each.groupby(runs["method"].astype(object))
    ends = [stats.over_seeds(own) for _, own in groups["elsewhere_rise_nats"]]
    frame = groups.mean()
    return frame.assign(
        elsewhere_rise_nats_low=[low for low, _ in ends], elsewhere_rise_nats_high=[up for _, up in ends]
    )


def learning_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """One line per validation loss: `method`, `kind`, `seed`, `epoch`, `loss`, and `kept` for the checkpoint we kept.

    Epochs are steps over the steps of an epoch. We leave out losses that are not numbers (training diverged).
    Raises ValueError for runs that do not belong in one table.
    """
    runs, about, lines = named(runs), ["method", "kind", "seed", "model", "task"], []
    for _, run in runs[runs["training"].notna()].sort_values(["method", "seed"], kind="stable").iterrows():
        epochs, notes = run["settings"]["training"]["epochs"], run["notes"]
        for step, loss in notes.get("validation_losses", ()) if run.get("train_steps", 0) > 0 else ():
            point = {"epoch": epochs * step / run["train_steps"], "loss": loss, "kept": step == notes.get("best_step")}
            lines += [dict(run[about]) | point] if loss is not None and math.isfinite(loss) else []
    return pd.DataFrame(lines, columns=[*about, "epoch", "loss", "kept"])


def sensitivity(
    runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1", *, chosen: Mapping[str, float] | None = None
) -> Table:
    """One line per method and learning rate: `status`, `seeds` and the score with its columns.

    `best` marks the rate that scores highest, `chosen` the one that a comparison uses (method -> rate). A method with
    several other settings counts once for each. Methods that do not train have no line.
    """
    runs = runs.astype({"learning_rate": float}).dropna(subset="learning_rate")
    runs, answers = labelled(runs, answers, leaving=("learning_rate",))
    answers, by = attached(answers, runs, ["learning_rate"]), ["method", "learning_rate"]
    columns = [*counts(runs, by), *_columns(metric)]
    frame = scored(runs, answers, by, [metric]).reindex(columns=columns).reset_index()
    frame = frame.drop(columns=[f"{metric}_tie", f"{metric}_rank"]).astype({"learning_rate": float})
    frame["split"] = runs["split"].iloc[0] if len(runs) else None
    highest = frame.groupby("method")[metric].transform("max")
    frame["best"] = frame[metric].eq(highest)
    frame["chosen"] = (frame["learning_rate"] / frame["method"].map(chosen or {}).astype(float) - 1).abs() < 1e-6
    frame["best_minus_worst_difference"] = highest - frame.groupby("method")[metric].transform("min")
    note = f"Means over seeds on the {frame['split'].iloc[0]} split." if len(frame) else "There are no runs."
    shown = (*by, metric, "best", "chosen", "best_minus_worst_difference", "seeds")
    heads = {"best_minus_worst_difference": "best minus worst (points)"}
    return Table(frame, (note,), columns=shown, heads=heads, group="method")


def turned(tests: pd.DataFrame) -> pd.DataFrame:
    """Tests of lines minus their base as the base minus the lines."""
    frame = tests.rename(columns={"difference_low": "difference_high", "difference_high": "difference_low"})
    for name in ("difference", "difference_low", "difference_high", "effect"):
        frame[name] = -frame[name]
    return frame.assign(verdict=frame["verdict"].replace({"higher": "lower", "lower": "higher"}))


def _columns(metric: str) -> list[str]:
    return [metric, *(f"{metric}_{end}" for end in ("sd", "low", "high", "n", "missing", "tie", "rank", "corpus"))]


def base_of(answers: pd.DataFrame, label: str, metric: str) -> dict[str, object]:
    """The base of that label. Raises ValueError where it has no score."""
    scored = answers.loc[answers[metric].notna(), "method"] if metric in answers else pd.Series(dtype=object)
    if label not in set(scored):
        raise ValueError(
            f"base must be one of {', '.join(scored.sort_values().unique()) or 'no method'}; got {label!r}"
        )
    return {"method": label}


def _title(runs: pd.DataFrame) -> str:
    """`conala-mini with tiny`, and that only the first examples were asked."""
    if runs.empty:
        return "No runs."
    first = runs.iloc[0]
    partial = "" if pd.isna(first["limit"]) else f", only its first {first['limit']:.0f} examples: a partial result"
    return f"{first['task']} with {first['model']}{partial}"


def _partial(runs: pd.DataFrame) -> str:
    return PARTIAL if runs["limit"].notna().any() else ""


def _undefined(frame: pd.DataFrame, metric: str) -> str:
    missing = frame[f"{metric}_missing"]
    lost = ", ".join(f"{label} {count:.0f}" for label, count in missing[missing > 0].items())
    return f"{SCORES[metric]} is not defined for some examples: {lost}." if lost else ""


def _mcnemar(benchmark: Benchmark, metric: str, model: str, best: str, other: str) -> tuple:
    """On the examples of the first seed of each."""
    answers, pair = benchmark.answers, []
    if not metric.startswith(YES_OR_NO):
        return (None, None, None)
    for method in (best, other):
        own = answers[(answers["model"] == model) & (answers["method"] == method)]
        first = own.sort_values(["seed", "run"], kind="stable")["run"].iloc[0]
        pair.append(own[own["run"] == first].set_index("example")[metric].astype(float))
    return tuple(stats.mcnemar(*pd.concat(pair, axis=1).to_numpy().T))


def _cells(part: Benchmark) -> dict[str, pd.DataFrame]:
    """Benchmark and model -> one line per example, one column per method: means over seeds."""
    found = {}
    for model, answers in part.answers.groupby("model", observed=True):
        scores = answers.groupby(["example", "method"], observed=True)[part.metric]
        means = scores.mean().where(scores.count() == scores.size())  # none where a seed has no score
        found[f"{part.name} with {model}"] = means.unstack().dropna(axis=1, how="all")
    return found


def _check_one_method(runs: pd.DataFrame) -> None:
    trained = runs[runs["trained_on"].notna()]
    settings = trained["settings"].map(lambda own: str(own["method"] | {"precision": own.get("precision")}))
    if settings.nunique() > 1 or trained["method"].nunique() > 1:
        several = sorted(set(runs["method"].astype(str)) - {"zero-shot"})
        raise ValueError(
            f"a transfer table has one trained method with one setting, and zero-shot; got {', '.join(several)}: "
            "make a table for each"
        )


def _tasks(runs: pd.DataFrame) -> list[str]:
    """All tasks, trained on or asked, in the order of the joint task's name where there is one; joint ones last."""
    names = {*runs["task"], *runs["trained_on"].dropna()}
    joint = sorted(name for name in names if "+" in name)
    order = [part for name in joint for part in name.split("+")]
    single = sorted((name for name in names if "+" not in name), key=lambda name: ([*order, name].index(name), name))
    return single + joint


def community(runs: pd.DataFrame, answers: pd.DataFrame) -> Table:
    """One line per sender, benchmark, model and method of what `community.load` gives: means over seeds, as sent."""
    lines, costs = [], [*(name for name in METRICS if name in runs), "train_seconds", "memory_bytes"]
    for by, own in runs.groupby("by"):
        for found in benchmarks(own, answers[answers["by"] == by]):
            line = counts(found.runs, ["model", "method"], costs).reset_index()
            lines.append(line.assign(by=by, task=found.name))
    if not lines:
        return paragraph("Nobody has sent results yet. CONTRIBUTING.md says how to send yours.")
    note = "Others made these results, and we have not run them. We checked that their rows are whole and fit together."
    columns = ("by", "task", "model", "method", "em@1", "codebleu", "strict_accuracy", "memory_bytes", "seeds")
    frame = pd.concat(lines, ignore_index=True)
    shown = tuple(name for name in columns if name in frame)
    return Table(frame, (note,), columns=shown, heads={"by": "sent by"}, group="by")

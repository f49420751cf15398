"""A verdict on each claim of the study: one short function a claim, one sentence for all. Holds no results of its own.

A claim holds, does not hold, or is not decided, for one model and task, by paired tests on the same examples. Each
function takes runs and answers that may stand in one table; where they do not speak of the claim, its Verdict has no
numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import pandas as pd

from nblib import results, spec, stats
from nblib.tables.costs import memory_bytes, unquantized
from nblib.tables.labels import counts, labelled
from nblib.tables.overview import Benchmark, benchmarks
from nblib.tables.protocol import leaked
from nblib.tables.scores import across_models, transfer
from nblib.tables.show import EXECUTION, LOST, SCORES, Table, listed, p_value, points, size

HOLDS, FAILS, OPEN = "holds", "does not hold", "is not decided"
CLAIMS = {
    "1": "PEFT beats in-context learning and retrieved examples",
    "1, LoRA": "LoRA is the best PEFT method",
    "2": "a larger model tuned with LoRA beats a smaller one tuned in full",
    "3": "LoRA over quantized weights keeps its quality at about half the memory",
    "4": "LoRA and QLoRA improve execution results",
    "5": "one adapter for two tasks does not lose to two",
}
FAMILIES = (*results.FAMILIES.values(), "PEFT")  # what `beats` can be asked about
LORA = ("lora", *spec.QLORA)
ABOUT_HALF = 0.55  # of the memory without quantization, at most
MARGIN = 0.05  # quality counts as kept where the 95 % interval excludes a larger loss than this share
LONGEST = 3  # comparisons that a sentence tells; the table has all
PAPER = (
    "The study's own figures are of models from 350 million to 34 billion parameters: 39.8 to 72.3 % relative gain of "
    "larger models in EM@k (claim 2), up to 60 % less memory (claim 3)."
)
TESTS = ("difference", "difference_low", "difference_high", "p", "verdict")


@dataclass(frozen=True)
class Verdict:
    """What the runs say of one claim; a notebook shows the sentence and its numbers."""

    claim: str  # a key of CLAIMS, or a statement of its own
    model: str
    task: str
    verdict: str  # HOLDS, FAILS or OPEN
    sentence: str
    numbers: pd.DataFrame = field(repr=False)  # one line a comparison: line, base, score, base_score, difference…

    def _repr_html_(self) -> str:
        return f"<blockquote>{escape(self.sentence)}</blockquote>\n{self.table.html}"

    def __str__(self) -> str:
        return f"{self.sentence}\n{self.table.text}"

    @property
    def table(self) -> Table:
        """The numbers."""
        told = self.numbers.drop(columns="note", errors="ignore").dropna(axis=1, how="all")
        return Table(told, heads={"line": "method", "base": "beside", "base_score": "score of that (%)"})


def verdicts(runs: pd.DataFrame, answers: pd.DataFrame) -> list[Verdict]:
    """All verdicts, claim by claim; a claim that no run speaks of has one that says so."""
    found: list[Verdict] = []
    for benchmark in benchmarks(runs, answers):
        for model in sorted(set(benchmark.runs["model"])):
            own = benchmark.runs[benchmark.runs["model"] == model]
            judges = (claim_1, claim_lora, claim_3, claim_4)
            found += [_placed(judge(own, benchmark.answers, benchmark.metric), benchmark) for judge in judges]
        found.append(_placed(claim_2(benchmark.runs, benchmark.answers, benchmark.metric), benchmark))
    found = [*(each for each in found if len(each.numbers)), *claims_5(runs, answers)]
    spoken = {each.claim for each in found}
    nothing = "No runs speak of it."
    found += [Verdict(name, "–", "–", OPEN, nothing, pd.DataFrame()) for name in CLAIMS if name not in spoken]
    return sorted(found, key=lambda each: list(CLAIMS).index(each.claim))


def verdict_table(found: Sequence[Verdict]) -> Table:
    """One line a claim, model and task."""
    lines = [
        {"claim": f"{each.claim}: {CLAIMS[each.claim]}", "model": each.model, "task": each.task, "verdict": _said(each)}
        | {"numbers": each.sentence}
        for each in found
    ]
    note = f"Tests are paired over the same examples, with Holm's correction. {PAPER}"
    return Table(pd.DataFrame(lines), (note,), heads={"verdict": "verdict"})


def beats(
    runs: pd.DataFrame,
    answers: pd.DataFrame,
    *,
    ours: str = "PEFT",
    against: Sequence[str] = ("ICL", "zero-shot"),
    metric: str = "em@1",
    claim: str = "",
) -> Verdict:
    """The best of `ours` beside the best of each family in `against`: holds where it beats all, fails where one wins.

    Families are PEFT, ICL, RAG, zero-shot and full fine-tuning. The better of two is the base of a family of tests of
    all other methods, as the best one is in a comparison.
    Raises ValueError for another family.
    """
    for name in (ours, *against):
        if name not in FAMILIES:
            raise ValueError(f"a family must be one of {', '.join(FAMILIES)}; got {name!r}")
    runs, answers = labelled(runs, answers)
    frame = _about(runs, metric)
    best = {name: _best(frame[frame["family"] == name], metric) for name in (ours, *against)}
    lines = []
    for name in against:
        mine, other = best[ours], best[name]
        line: dict = {"line": mine or f"no {ours} run", "base": other or f"no {name} run"}
        line |= {"score": frame[metric].get(mine), "base_score": frame[metric].get(other)}
        if mine and other:
            ahead, behind = (mine, other) if line["score"] >= line["base_score"] else (other, mine)
            tests = _tests(answers, metric, base=ahead).loc[behind]
            line |= dict(tests) if ahead == other else _turned(tests)
            relative = line["score"] / line["base_score"] - 1 if line["base_score"] else None
            line |= {"relative_share": relative, "trainable_parameters": frame.at[mine, "trainable_parameters"]}
            for cost in ("train_seconds", "prompt_tokens"):
                line |= {cost: frame.at[mine, cost], f"base_{cost}": frame.at[other, cost]}
        lines.append(line)
    decided = [line.get("verdict") or "tie" for line in lines]
    verdict = FAILS if "lower" in decided else HOLDS if set(decided) == {"higher"} else OPEN
    return _verdict(claim or f"{ours} beats {listed(against)}", runs, metric, verdict, lines)


def claim_1(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Verdict:
    """The best PEFT method beside the best of ICL and of RAG."""
    families = set(_about(runs, metric)["family"])
    if "PEFT" not in families or not families & {"ICL", "RAG"}:
        return _silent("1", runs, metric, "PEFT and ICL or RAG do not both have a result")
    return beats(runs, answers, against=("ICL", "RAG"), metric=metric, claim="1")


def claim_lora(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Verdict:
    """Holds where LoRA is the first of the PEFT methods and beats every other; fails where the first one beats it.

    Every line is one minus the best, with Holm's correction over all of them; `points_per_1000_parameters` is what a
    thousand trained parameters gain above zero-shot. QLoRA is LoRA at another precision, and no rival of it.
    """
    runs, answers = labelled(runs, answers)
    frame = _about(runs, metric)
    zero = frame.loc[frame["kind"] == "zero-shot", metric].max()
    ranked = frame[frame["family"] == "PEFT"].sort_values(metric, ascending=False, kind="stable")
    loras, rivals = ranked[ranked["kind"] == "lora"], ranked[~ranked["kind"].isin(LORA)]
    if loras.empty or rivals.empty:
        return _silent("1, LoRA", runs, metric, "LoRA and another PEFT method do not both have a result")
    first, lora = ranked.index[0], loras.index[0]
    tests = _tests(answers[answers["method"].isin(ranked.index)], metric, base=first)
    if lora == first:
        verdict = HOLDS if all(tests.loc[list(rivals.index), "verdict"] == "lower") else OPEN
    else:
        verdict = FAILS if first in rivals.index and tests.at[lora, "verdict"] == "lower" else OPEN
    gain = 1e5 * (ranked[metric] - (0.0 if pd.isna(zero) else zero)) / ranked["trainable_parameters"]
    about = {"trainable_parameters": ranked["trainable_parameters"], "points_per_1000_parameters": gain}
    return _verdict("1, LoRA", runs, metric, verdict, _lines(ranked, first, metric, tests, about))


def claim_2(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Verdict:
    """The best LoRA of each model that is larger than the smallest one tuned in full: holds where each wins."""
    frame = across_models(runs, answers, metric).frame
    reference = frame[frame["reference"]]
    if reference.empty:
        return _silent("2", runs, metric, "no model was tuned in full with a result")
    base = reference.iloc[0]
    larger = frame[frame["kind"].isin(LORA) & (frame["total_parameters"] > base["total_parameters"])]
    larger = larger.loc[larger.dropna(subset=[metric]).groupby("model")[metric].idxmax()]
    if larger.empty:
        return _silent("2", runs, metric, "no larger model was tuned with LoRA with a result")
    larger = larger.sort_values(metric, ascending=False, kind="stable")
    won = list(larger.loc[larger["verdict"] == "higher", "model"])
    verdict = FAILS if set(larger["verdict"]) == {"lower"} else OPEN
    if won:
        verdict = HOLDS if len(won) == len(larger) else f"{HOLDS} for {listed(won)} only"
    lines = [
        {"line": f"{row['method']} on {row['model']}", "base": f"{base['method']} on {base['model']}"}
        | {"score": row[metric], "base_score": base[metric], **{name: row[name] for name in (*TESTS, "relative_share")}}
        | {name: row[name] for name in ("total_parameters", "trained_share", "train_seconds", "peak_bytes")}
        | {f"base_{name}": base[name] for name in ("train_seconds", "peak_bytes")}
        | {"note": _percent(row["relative_share"], "relative")}
        for _, row in larger.iterrows()
    ]
    return _verdict("2", runs, metric, verdict, lines, model=listed(list(larger["model"])))


def claim_3(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Verdict:
    """Each quantized PEFT method beside LoRA without quantization, in memory and in score.

    Holds where one needs at most 55 % of the memory and keeps its quality: it is better by the paired test, or the 95 %
    interval excludes a loss of more than 5 points. Fails where each one needs more or is worse by the test.
    """
    runs, answers = labelled(runs[~runs["shape_only"].astype(bool)], answers)
    own = runs.assign(memory_bytes=memory_bytes(runs)).groupby("method", observed=True)
    frame = _about(runs, metric).assign(memory_bytes=own["memory_bytes"].mean(), precision=own["precision"].first())
    frame["device"] = own["provenance"].first().map(lambda origin: str(origin.get("device", "cpu")))
    quantized = frame[(frame["family"] == "PEFT") & frame["precision"].isin(spec.QUANTIZED)]
    loras = frame[frame["kind"] == "lora"]
    base = unquantized(loras.assign(memory_bytes=loras["memory_bytes"].fillna(0.0)))
    if base is None or quantized.empty:
        return _silent("3", runs, metric, "quantized and unquantized LoRA do not both have a result")
    center = str(base.name)
    tests = _tests(answers[answers["method"].isin([center, *quantized.index])], metric, base=center)
    full = frame.loc[frame["kind"] == "full", "memory_bytes"]
    share = quantized["memory_bytes"] / frame.at[center, "memory_bytes"]
    judged = [(_is_half(share[label]), _is_kept(tests.loc[label])) for label in quantized.index]
    verdict = HOLDS if (True, True) in judged else FAILS if all(False in each for each in judged) else OPEN
    about = {"memory_bytes": quantized["memory_bytes"], "memory_share": share}
    about |= {"full_memory_share": quantized["memory_bytes"] / (full.iloc[0] if len(full) else float("nan"))}
    about["note"] = share.map(lambda part: _percent(part, "of its memory"))
    lines = _lines(quantized, center, metric, tests, about, scores=frame[metric])
    at_base = (
        size(frame.at[center, "memory_bytes"]) if pd.notna(frame.at[center, "memory_bytes"]) else "an unknown size"
    )
    return _verdict("3", runs, metric, verdict, lines, more=f" {center} holds {at_base} in training.")


def claim_4(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "strict_accuracy") -> Verdict:
    """Every LoRA and QLoRA minus zero-shot in every execution score, as one family of tests: holds where all win."""
    runs, answers = labelled(runs, answers)
    frame = _about(runs, metric)
    base, tuned = _best(frame[frame["kind"] == "zero-shot"], metric), frame[frame["kind"].isin(LORA)]
    if metric != "strict_accuracy" or base is None or tuned.empty:
        return _silent("4", runs, metric, "zero-shot and LoRA do not both have programs that were run")
    asked = answers[answers["method"].isin([base, *tuned.index])]
    metrics = [each for each in EXECUTION if each in asked and asked.loc[asked["method"] == base, each].notna().any()]
    long = asked.melt(["run", "seed", "example", "method"], metrics, var_name="metric", value_name="score")
    by = ["metric", "method"]
    tests = stats.summarise(long, by, "score", base={"method": base}, within=["metric"], family=(), turned=False)
    scores = tests[tests["is_base"]].set_index("metric")["score"]
    tests = tests[~tests["is_base"] & tests["score"].notna()]
    lines = [
        {"line": f"{row['method']}, {SCORES[row['metric']]}", "base": base, "score": row["score"]}
        | {"base_score": scores[row["metric"]], **{name: row[name] for name in TESTS}}
        for _, row in tests.sort_values(["method", "metric"], key=_ordered(tests)).iterrows()
    ]
    decided = {line["verdict"] or "tie" for line in lines}
    verdict = FAILS if "lower" in decided else HOLDS if decided == {"higher"} else OPEN
    both = set(tuned["kind"] == "lora") == {True, False}
    more = "" if both else " LoRA and QLoRA were not both run."
    return _verdict("4", runs, metric, OPEN if verdict == HOLDS and not both else verdict, lines, more=more)


def claim_5(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Verdict:
    """Adapters that were trained on several tasks jointly, beside each task's own one.

    Fails where a task loses; holds where every task excludes a loss of more than 5 points.
    """
    frame = transfer(runs, answers, metric).frame
    joint = frame[frame["joint"].astype(bool)]
    if joint.empty:
        return _silent("5", runs, metric, "no adapter was trained on several tasks jointly")
    safe = joint["own_difference_low"] >= -MARGIN
    verdict = FAILS if (joint["own_verdict"] == "lower").any() else HOLDS if safe.all() else OPEN
    own = frame[frame["own"].astype(bool)].set_index("task")[metric]
    lines = [
        {"line": f"{row['trained_on']}, asked on {row['task']}", "base": "its own adapter", "score": row[metric]}
        | {"base_score": own.get(row["task"]), **{name: row[f"own_{name}"] for name in TESTS}}
        for _, row in joint.iterrows()
    ]
    where = listed(sorted(set(joint["task"])))
    return _verdict("5", runs, metric, verdict, lines, task=where, by=["trained_on", "task"])


def claims_5(runs: pd.DataFrame, answers: pd.DataFrame) -> list[Verdict]:
    """`claim_5` for each model and each method that was trained jointly."""
    runs = runs[(runs["split"] == "test") & ~runs["shape_only"].astype(bool)]
    alike, bare = (
        runs["settings"].map(lambda settings, names=names: str([settings.get(name) for name in names]))
        for names in (("model", "method", "precision", "limit"), ("model", "precision", "limit"))
    )
    together, found = runs["trained_on"].map(lambda task: isinstance(task, str) and "+" in task).astype(bool), []
    for key in dict.fromkeys(alike[together]):
        joint = runs[(alike == key) & together]
        zero_shot = (runs["kind"] == "zero-shot") & (bare == bare[joint.index[0]])
        kin = runs[((alike == key) | zero_shot) & runs["task"].isin(set(joint["task"]))]
        try:
            found.append(claim_5(kin, answers))
        except ValueError as error:
            where = listed(sorted(set(joint["task"])))
            found.append(Verdict("5", joint["model"].iloc[0], where, OPEN, f"{error}.", pd.DataFrame()))
    return found


# --- what all of them share -------------------------------------------------------------------------------------------


def _verdict(
    claim: str,
    runs: pd.DataFrame,
    metric: str,
    verdict: str,
    lines: list[dict],
    *,
    model: str = "",
    task: str = "",
    more: str = "",
    by: Sequence[str] = ("model", "method"),
) -> Verdict:
    """The one sentence of all claims."""
    columns = ["line", "base", "score", "base_score", *TESTS]
    numbers = pd.DataFrame(lines)
    numbers = numbers.reindex(columns=[*columns, *(name for name in numbers if name not in columns)])
    model, task = model or str(runs["model"].iloc[0]), task or str(runs["task"].iloc[0])
    closest = numbers.loc[numbers["difference"].abs().sort_values(kind="stable").index[:LONGEST].sort_values()]
    told = "; ".join(_comparison(row) for _, row in closest.iterrows())
    others = f"; and {len(numbers) - len(closest)} more" if len(numbers) > len(closest) else ""
    sentence = f"“{CLAIMS.get(claim, claim)}” {verdict} on {task} with {model} in {SCORES[metric]}: {told}{others}."
    if leaks := leaked(runs):
        more += f" Of the test intents {leaks}, are also in the training rows: scores on those may be from memory."
    return Verdict(claim, model, task, verdict, sentence + more + _basis(runs, metric, by), numbers)


def _silent(claim: str, runs: pd.DataFrame, metric: str, why: str) -> Verdict:
    """The verdict where nothing can be compared."""
    if runs.empty:
        return Verdict(claim, "–", "–", OPEN, "There are no runs yet, so the question stays open.", pd.DataFrame())
    model, task = str(runs["model"].iloc[0]), str(runs["task"].iloc[0])
    sentence = f"“{CLAIMS[claim]}” {OPEN} on {task} with {model} in {SCORES[metric]}: {why}."
    return Verdict(claim, model, task, OPEN, sentence, pd.DataFrame())


def _comparison(row: pd.Series) -> str:
    """`lora 81.0 % beside icl-1 33.9 % (+47.1 points, 95 % interval +40.1 to +54.2, p = 0.003)`."""
    scores = ["no score" if pd.isna(row[name]) else f"{100 * row[name]:.1f} %" for name in ("score", "base_score")]
    test = "not tested, for want of answers to the same examples"
    if pd.notna(row["p"]):
        between = f"{points(row['difference_low'])} to {points(row['difference_high'])}"
        test = f"{points(row['difference'])} points, 95 % interval {between}, p = {p_value(row['p'])}".replace(
            "= <", "<"
        )
    note = f", {row['note']}" if isinstance(row.get("note"), str) and row["note"] else ""
    return f"{row['line']} {scores[0]} beside {row['base']} {scores[1]} ({test}{note})"


def _basis(runs: pd.DataFrame, metric: str, by: Sequence[str]) -> str:
    """On how much it rests, and what is missing."""
    runs = labelled(runs, pd.DataFrame(columns=["run", *results.ANSWERED]), apart=by[:1] if "method" in by else by).runs
    ended = counts(runs, by)
    well = ended[ended["seeds"] > 0]
    asked = runs.loc[runs[metric].notna() if metric in runs else [], "examples"].dropna() if "examples" in runs else []
    told = f" This rests on {min(asked):,.0f} examples and {_range(well['seeds'])} a line." if len(asked) else ""
    told += " Only the first examples were used: a partial result." if runs["limit"].notna().any() else ""
    lost = [f"{row[by[-1]]} ({LOST[row['status']]})" for _, row in ended.iterrows() if not row["seeds"]]
    partly = [str(row[by[-1]]) for _, row in well.iterrows() if row[results.FAILED] + row[results.OUT_OF_MEMORY]]
    told += f" Without a result: {', '.join(lost)}." if lost else ""
    return told + (f" With fewer seeds than were run: {', '.join(partly)}." if partly else "")


def _range(values: pd.Series) -> str:
    least, most = int(values.min()), int(values.max())
    return f"{least} to {most} seeds" if least < most else f"{most} seed{'s' * (most > 1)}"


def _about(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """`counts` of methods that have the score, with its mean over seeds, by label in the house order."""
    frame = counts(runs, ["method"]).set_index("method")
    frame.index = frame.index.astype(object)
    means = runs.groupby("method", observed=True)[metric].mean() if metric in runs else pd.Series(dtype=float)
    return frame.assign(**{metric: frame.index.map(means).astype(float)}).dropna(subset=[metric])


def _best(frame: pd.DataFrame, metric: str) -> str | None:
    return None if frame.empty else str(frame[metric].idxmax())


def _tests(answers: pd.DataFrame, metric: str, *, base: str) -> pd.DataFrame:
    """Every method minus the base, by label; a method without answers is not tested."""
    labels = list(answers["method"].cat.categories)
    found = stats.summarise(answers, "method", metric, base={"method": base}) if metric in answers else pd.DataFrame()
    if found.empty:
        return pd.DataFrame(index=labels, columns=list(TESTS))
    return found.astype({"method": object}).set_index("method")[list(TESTS)].reindex(labels)


def _turned(tests: pd.Series) -> dict:
    """The same seen from the base."""
    turned = {"difference": -tests["difference"], "p": tests["p"]}
    turned |= {"difference_low": -tests["difference_high"], "difference_high": -tests["difference_low"]}
    return turned | {"verdict": {"higher": "lower", "lower": "higher"}.get(tests["verdict"], tests["verdict"])}


def _lines(
    frame: pd.DataFrame,
    base: str,
    metric: str,
    tests: pd.DataFrame,
    about: Mapping[str, pd.Series],
    scores: pd.Series | None = None,
) -> list[dict]:
    """One line a method but the base."""
    of_base = (frame[metric] if scores is None else scores)[base]
    return [
        {"line": label, "base": base, "score": frame.at[label, metric], "base_score": of_base}
        | dict(tests.loc[label])
        | {name: values[label] for name, values in about.items()}
        for label in frame.index
        if label != base
    ]


def _is_half(share: float) -> bool | None:
    return None if pd.isna(share) else bool(share <= ABOUT_HALF)


def _is_kept(test: pd.Series) -> bool | None:
    """Whether the quantized one is as good. None: the data does not decide."""
    if pd.isna(test["p"]):
        return None
    if test["verdict"] != "tie":
        return test["verdict"] == "higher"
    return True if test["difference_low"] > -MARGIN else None


def _percent(share: float, of: str) -> str:
    return "" if pd.isna(share) else f"{100 * share:.0f} % {of}"


def _ordered(tests: pd.DataFrame) -> Callable[[pd.Series], pd.Series]:
    order = {name: place for place, name in enumerate([*EXECUTION, *dict.fromkeys(tests["method"].sort_values())])}
    return lambda column: column.astype(object).map(order)


def _placed(verdict: Verdict, benchmark: Benchmark) -> Verdict:
    """With the benchmark's name in the place of the task's."""
    task = benchmark.name + " (partial)" * (benchmark.limit is not None)
    return Verdict(verdict.claim, verdict.model, task, verdict.verdict, verdict.sentence, verdict.numbers)


def _said(verdict: Verdict) -> str:
    return f"{verdict.verdict} by this data" if verdict.verdict == OPEN else verdict.verdict

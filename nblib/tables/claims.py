"""A verdict on each claim of the study: one short function a claim, one sentence for all. Holds no results of its own.

A claim holds, does not hold, or is not decided, for one model and task, by paired tests on the same examples. What it
compares is fixed before any run, and never chosen by a score of the test split: LoRA stands for PEFT, three shots for
ICL or RAG where one of them is to win, and a rival family is every method of it that has run. So a verdict is the same
in every notebook. Each function takes runs and answers that may stand in one table; where they do not speak of the
claim, its Verdict has no numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape

import numpy as np
import pandas as pd

from nblib import results, spec, stats
from nblib.columns import EXECUTION, SCORES, listed, p_value, points, size
from nblib.tables.costs import unquantized
from nblib.tables.labels import LOST, benchmarks, counts, labelled, named
from nblib.tables.protocol import leaked
from nblib.tables.scores import TESTED, across_models, tests, transfer, turned
from nblib.tables.show import WHY_NONE, Table

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
LEAST = 4  # rivals with several seeds, without which none is called the best
LONGEST = 3  # comparisons that a sentence tells; the table has all
RULE = (
    "Tests are paired over the same examples; p is of each by itself. A claim holds where every one is won, which needs"
    " no correction, and fails where one is lost after Holm's."
)
PAPER = (
    "The study's own figures are of models from 350 million to 34 billion parameters: 39.8 to 72.3 % relative gain of "
    "larger models in EM@k (claim 2), up to 60 % less memory (claim 3)."
)
TESTS = ["difference", "difference_low", "difference_high", "p", "verdict"]
COLUMNS = ["line", "base", "score", "base_score", *TESTS]


@dataclass(frozen=True, repr=False)
class Verdict:
    """What the runs say of one claim; a notebook shows the sentence and its numbers."""

    claim: str  # a key of CLAIMS, or a statement of its own
    model: str
    task: str
    verdict: str  # HOLDS, FAILS or OPEN
    sentence: str
    numbers: pd.DataFrame = field(repr=False)  # one line per comparison: line, base, score, base_score, difference…

    @property
    def answer(self) -> str:
        """`Yes`, `No` or `Not decided`."""
        return "Not decided" if self.verdict == OPEN else "No" if self.verdict == FAILS else "Yes"

    def _repr_html_(self) -> str:
        return f"<blockquote><b>{self.answer}.</b> {escape(self.sentence)}</blockquote>\n{self.table.html}"

    def __repr__(self) -> str:
        return f"{self.answer}. {self.sentence}\n{self.table.text}".strip()

    @property
    def table(self) -> Table:
        """The numbers."""
        return Table(
            self.numbers.drop(columns="note", errors="ignore"),
            (RULE,) if len(self.numbers) else (),
            columns=("line", "base", "score", "difference", "p", "verdict"),
            heads={"line": "method", "base": "against", "base_score": "score of that (%)", "p": "p"},
        )


def verdicts(runs: pd.DataFrame, answers: pd.DataFrame) -> list[Verdict]:
    """All verdicts, claim by claim; a claim that no run speaks of has one that says so."""
    found: list[Verdict] = []
    for benchmark in benchmarks(runs, answers):
        every = [(claim_2, benchmark.runs)]
        for _, own in benchmark.runs.groupby("model"):
            every += [(claim, own) for claim in (claim_1, claim_lora, claim_3, claim_4)]
        task = benchmark.name + " (partial)" * (benchmark.limit is not None)
        judged = [claim(own, benchmark.answers, benchmark.metric) for claim, own in every]
        found += [replace(verdict, task=task) for verdict in judged if len(verdict.numbers)]
    found += _claims_5(runs, answers)
    missing = [claim for claim in CLAIMS if claim not in {verdict.claim for verdict in found}]
    found += [Verdict(claim, "–", "–", OPEN, "No runs speak of it.", pd.DataFrame()) for claim in missing]
    return sorted(found, key=lambda verdict: list(CLAIMS).index(verdict.claim))


def shipped(claim: str, task: str, model: str = "tiny") -> Verdict:
    """The verdict on a claim from the rows that the repository ships, in a sentence: what README and report say too.

    `task` is as in a verdict: claim 5 speaks of two. Not decided where the shipped rows say nothing of it, as before
    they are made.
    """
    folder, names = results.SHIPPED / model, task.split(" and ")
    ids = [path.stem for path in folder.glob("*.json") if any(f".{name}." in path.name for name in names)]
    for verdict in verdicts(*results.load(folder, ids)):
        if (verdict.claim, verdict.task) == (claim, task):
            return replace(verdict, numbers=pd.DataFrame())
    return Verdict(claim, model, task, OPEN, f"No shipped run speaks of it on {task}.", pd.DataFrame())


def verdict_table(found: Sequence[Verdict]) -> Table:
    """One line per claim, model and task."""
    lines = [
        {"claim": _named(verdict.claim), "model": verdict.model, "task": verdict.task}
        | {"verdict": verdict.verdict + " by this data" * (verdict.verdict == OPEN), "numbers": verdict.sentence}
        for verdict in found
    ]
    return Table(pd.DataFrame(lines), (f"{RULE} {PAPER}",))


def _named(claim: str) -> str:
    return f"{claim}: {CLAIMS[claim]}" if claim in CLAIMS else claim


def beats(
    runs: pd.DataFrame,
    answers: pd.DataFrame,
    *,
    ours: str = "PEFT",
    against: Sequence[str] = ("ICL", "zero-shot"),
    metric: str = "em@1",
    claim: str = "",
) -> Verdict:
    """The method that stands for `ours` against every one of `against`: holds where it beats all, fails where one wins.

    Families are PEFT, ICL, RAG, zero-shot and full fine-tuning.
    Raises ValueError for another family.
    """
    for name in (ours, *against):
        if name not in FAMILIES:
            raise ValueError(f"a family must be one of {', '.join(FAMILIES)}; got {name!r}")
    runs, answers = labelled(runs, answers)
    frame = _methods(runs, metric)
    numbers = _duels(frame, answers, metric, _first(frame, ours), list(frame.index[frame["family"].isin(against)]))
    missing = [f"no {name} run" for name in against if name not in set(frame["family"])]
    numbers = pd.concat([numbers, pd.DataFrame({"base": missing}, dtype=object)], ignore_index=True)
    numbers["line"] = _first(frame, ours) or f"no {ours} run"
    return verdict_on(claim or f"{ours} beats {listed(against)}", runs, metric, decided(numbers), numbers)


def claim_1(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Verdict:
    """LoRA, or else the first PEFT method, against every number of shots of ICL and of RAG."""
    families = set(_methods(runs, metric)["family"])
    if "PEFT" not in families or not families & {"ICL", "RAG"}:
        return _silent("1", runs, metric, "PEFT and ICL or RAG do not both have a result")
    return beats(runs, answers, against=("ICL", "RAG"), metric=metric, claim="1")


def claim_lora(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Verdict:
    """Holds where LoRA beats every other PEFT method, fails where one beats it: of those with several seeds.

    Not decided with fewer than four of these, nor where one of the others scored no less than LoRA in its one seed.
    QLoRA is LoRA at another precision, and no rival of it. What differs from LoRA as published only in its optimizer or
    in what it begins with (LoRA+, LoRA-FA, PiSSA, EVA, CorDA), or in its scale (rsLoRA), is a rival where it has run:
    who asks what to take chooses among them.
    """
    runs, answers = labelled(runs, answers)
    frame = _methods(runs, metric)
    loras = frame.index[frame["kind"] == "lora"]
    rivals = frame.index[(frame["family"] == "PEFT") & ~frame["kind"].isin(LORA)]
    if loras.empty or rivals.empty:
        return _silent("1, LoRA", runs, metric, "LoRA and another PEFT method do not both have a result")
    numbers = _duels(frame, answers, metric, loras[0], list(rivals))
    unsure = numbers[numbers["verdict"] == stats.ONE_SEED]
    judged = numbers.drop(index=unsure.index)
    verdict = decided(judged) if len(judged) >= LEAST else OPEN
    verdict = OPEN if verdict == HOLDS and (unsure["difference"] <= 0).any() else verdict
    more = f" {len(judged)} rivals were judged" + ("." if len(judged) >= LEAST else f"; it takes {LEAST}.")
    more += f" With one seed, and not judged: {listed(list(unsure['base']))}." if len(unsure) else ""
    return verdict_on("1, LoRA", runs, metric, verdict, numbers, more=more)


def claim_2(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Verdict:
    """LoRA on each model that is larger than the smallest one tuned in full: holds where each wins."""
    by = ["model", "method"]
    runs, answers = labelled(runs, answers, apart=["model"])
    frame = across_models(runs, answers, metric).frame
    reference = frame[frame["reference"]]
    if reference.empty:
        return _silent("2", runs, metric, "no model was tuned in full with a result")
    base = reference.iloc[0]
    larger = frame[frame["kind"].isin(LORA) & (frame["total_parameters"] > base["total_parameters"])]
    larger = larger.dropna(subset=[metric]).groupby("model", observed=True).head(1)
    if larger.empty:
        return _silent("2", runs, metric, "no larger model was tuned with LoRA with a result")
    alone = tests(answers, by, metric, dict(base[by]), family=by)[TESTS]
    numbers = larger.drop(columns=TESTS).join(alone, on=by)
    numbers = numbers.assign(
        line=numbers["method"] + " on " + numbers["model"].astype(str),
        base=f"{base['method']} on {base['model']}",
        score=numbers[metric],
        base_score=base[metric],
        note=numbers["relative_share"].map(lambda share: _percent(share, "relative")),
    )
    lost = stats.decide_all(list(-numbers["difference"]), list(numbers["p"])) == "higher"
    is_won = (numbers["difference"] > 0) & (np.array(stats.holm(list(numbers["p"].fillna(1.0)))) < stats.ERROR)
    verdict = FAILS if lost else HOLDS if decided(numbers) == HOLDS else OPEN
    if verdict == OPEN and is_won.any():
        verdict = f"{HOLDS} for {listed(list(numbers.loc[is_won, 'model']))} only"
    return verdict_on("2", runs, metric, verdict, numbers[[*COLUMNS, "note"]], model=listed(list(numbers["model"])))


def claim_3(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Verdict:
    """Each quantized PEFT method against LoRA without quantization, in memory and in score.

    Holds where one needs at most 55 % of the memory and keeps its quality: its interval excludes a loss of more than 5
    points, and it is not worse by the test. The interval is of 95 %, of 97.5 % where two need so little memory, and so
    on: one of several is lucky more often (Bonferroni). Fails where each one needs more or is worse by the test.
    """
    runs, answers = labelled(runs[~runs["shape_only"].astype(bool)], answers)
    own = runs.astype({"method": object}).groupby("method")
    frame = _methods(runs, metric).join(own[["precision", "device"]].first()).join(own["memory_bytes"].mean())
    is_quantized = (frame["family"] == "PEFT") & frame["precision"].isin(spec.QUANTIZED)
    base = unquantized(frame[frame["kind"] == "lora"].fillna({"memory_bytes": 0.0}))
    if base is None or not is_quantized.any():
        return _silent("3", runs, metric, "quantized and unquantized LoRA do not both have a result")
    center, memory = str(base.name), frame["memory_bytes"]
    frame["memory_share"] = memory / memory[center]
    frame["note"] = frame["memory_share"].map(lambda share: _percent(share, "of its memory"))
    more = ["memory_bytes", "memory_share", "note"]
    quantized = frame[is_quantized]
    small = quantized.index[quantized["memory_share"] <= ABOUT_HALF]
    answers = answers[answers["method"].isin([center, *quantized.index])]
    found = _tests(answers, metric, center).loc[quantized.index]
    strict = _tests(answers, metric, center, error=stats.ERROR / max(1, len(small))).loc[small]
    holds = ((strict["difference_low"] > -MARGIN) & (strict["verdict"] != "lower")).any()
    lost = (found["verdict"] == "lower") | (quantized["memory_share"] > ABOUT_HALF)
    verdict = HOLDS if holds else FAILS if lost.all() else OPEN
    numbers = quantized[more].join(found[TESTS]).assign(line=quantized.index, base=center, score=quantized[metric])
    numbers["base_score"] = frame.at[center, metric]
    words = "an unknown size" if pd.isna(memory[center]) else size(memory[center])
    words = f" {center} holds {words} in training."
    words += f" {len(small)} are judged, each by an interval of {100 - 5 / len(small):.3g} %." if len(small) > 1 else ""
    return verdict_on("3", runs, metric, verdict, numbers[[*COLUMNS, *more]], more=words)


def claim_4(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "strict_accuracy") -> Verdict:
    """Every LoRA and QLoRA minus zero-shot in every execution score: holds where all win, fails where one loses."""
    runs, answers = labelled(runs, answers)
    frame = _methods(runs, metric)
    base, tuned = _first(frame, "zero-shot"), frame[frame["kind"].isin(LORA)]
    if metric != "strict_accuracy" or base is None or tuned.empty:
        return _silent("4", runs, metric, "zero-shot and LoRA do not both have programs that were run")
    answers = answers[answers["method"].isin([base, *tuned.index])]
    of_base = answers[answers["method"] == base]
    metrics = [name for name in EXECUTION if name in answers and of_base[name].notna().any()]
    about = ["run", "seed", "stochastic", "example", "method"]
    long = answers.melt(about, metrics, var_name="metric", value_name="score")
    long["metric"] = pd.Categorical(long["metric"], metrics)
    by = ["method", "metric"]
    found = stats.summarise(long, by, "score", base={"method": base}, within=["metric"], family=by)
    of_base = found[found["is_base"]].set_index("metric")["score"]
    numbers = found[~found["is_base"] & found["score"].notna()].astype(dict.fromkeys(by, object))
    numbers = numbers.assign(base=base, base_score=numbers["metric"].map(of_base))
    numbers["line"] = numbers["method"] + ", " + numbers["metric"].map(SCORES)
    both = set(tuned["kind"] == "lora") == {True, False}
    verdict = OPEN if not both and decided(numbers) == HOLDS else decided(numbers)
    more = "" if both else " LoRA and QLoRA were not both run."
    return verdict_on("4", runs, metric, verdict, numbers[COLUMNS], more=more)


def claim_5(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Verdict:
    """Adapters that were trained on several tasks jointly, against each task's own one.

    Fails where a task loses; holds where every task excludes a loss of more than 5 points.
    """
    frame = transfer(runs, answers, metric).frame
    joint = frame[frame["joint"].astype(bool)]
    if joint.empty:
        return _silent("5", runs, metric, "no adapter was trained on several tasks jointly")
    is_safe = joint["own_difference_low"] >= -MARGIN
    verdict = FAILS if (joint["own_verdict"] == "lower").any() else HOLDS if is_safe.all() else OPEN
    own = frame[frame["own"].astype(bool)].set_index("task")[metric]
    numbers = joint.rename(columns={f"own_{name}": name for name in TESTED}).assign(
        line=joint["trained_on"] + ", tested on " + joint["task"],
        base="its own adapter",
        score=joint[metric],
        base_score=joint["task"].map(own),
    )
    tasks = listed(sorted(set(joint["task"])))
    return verdict_on("5", runs, metric, verdict, numbers[COLUMNS], task=tasks, by=["trained_on", "task"])


def _claims_5(runs: pd.DataFrame, answers: pd.DataFrame) -> list[Verdict]:
    """`claim_5` for each model and each method that was trained jointly."""
    runs = runs[(runs["split"] == "test") & ~runs["shape_only"].astype(bool)]
    setting = runs["settings"].map(lambda own: str([own.get(name) for name in ("model", "precision", "limit")]))
    method = setting + runs["settings"].map(lambda own: str(own["method"]))
    is_joint, found = runs["trained_on"].astype(str).str.contains("+", regex=False), []
    for key in method[is_joint].unique():
        joint = runs[(method == key) & is_joint]
        zero_shot = (runs["kind"] == "zero-shot") & (setting == setting[joint.index[0]])
        kin = runs[((method == key) | zero_shot) & runs["task"].isin(set(joint["task"]))]
        try:
            found.append(claim_5(kin, answers))
        except ValueError as error:
            tasks = listed(sorted(set(joint["task"])))
            found.append(Verdict("5", joint["model"].iloc[0], tasks, OPEN, f"{error}.", pd.DataFrame()))
    return found


# --- what all of them share -------------------------------------------------------------------------------------------


def _methods(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """`counts` of methods that have the score, with its mean over seeds, by label in the house order."""
    means = runs.reindex(columns=[metric])[metric].astype(float).groupby(runs["method"].astype(object)).mean()
    return counts(runs, ["method"]).join(means).dropna(subset=[metric])


def _first(frame: pd.DataFrame, family: str) -> str | None:
    """The method that stands for a family, whatever it scores."""
    return results.stand_in(list(frame.index[frame["family"] == family]))


def _duels(frame: pd.DataFrame, answers: pd.DataFrame, metric: str, line: str | None, bases: list[str]) -> pd.DataFrame:
    """One method against each of the others; of one that was not run nothing is known."""
    numbers = pd.DataFrame({"line": line, "base": bases, "base_score": frame.loc[bases, metric].to_numpy()})
    if line is None:
        return numbers
    numbers["score"] = frame.at[line, metric]
    tested = turned(_tests(answers[answers["method"].isin([line, *bases])], metric, line))[TESTS]
    return numbers.join(tested, on="base")


def decided(numbers: pd.DataFrame) -> str:
    """The verdict on a claim that its line beats every base."""
    numbers = numbers.reindex(columns=["difference", "p"]).astype(float)
    decision = stats.decide_all(list(numbers["difference"]), list(numbers["p"]))
    return {"higher": HOLDS, "lower": FAILS, "tie": OPEN}[decision]


def _tests(answers: pd.DataFrame, metric: str, base: str, **settings) -> pd.DataFrame:
    """Every method minus the base by itself, by label; a method without answers is not tested."""
    found = tests(answers, "method", metric, {"method": base}, family=["method"], **settings)
    return found.reindex(answers["method"].cat.categories)


def verdict_on(
    claim: str,
    runs: pd.DataFrame,
    metric: str,
    verdict: str,
    numbers: pd.DataFrame,
    *,
    model: str = "",
    task: str = "",
    more: str = "",
    by: Sequence[str] = ("model", "method"),
) -> Verdict:
    """The one sentence of all claims."""
    numbers = numbers.reindex(columns=[*COLUMNS, *numbers.columns.difference(COLUMNS, sort=False)])
    numbers = numbers.reset_index(drop=True)
    model, task = model or str(runs["model"].iloc[0]), task or str(runs["task"].iloc[0])
    nearness = numbers["difference"].abs().where(numbers["p"].notna())  # what is tested is told first
    closest = numbers.loc[nearness.sort_values(kind="stable").index[:LONGEST].sort_values()]
    words = "; ".join(_comparison(row) for _, row in closest.iterrows())
    words += f"; and {len(numbers) - len(closest)} more" if len(numbers) > len(closest) else ""
    sentence = f"“{CLAIMS.get(claim, claim)}” {verdict} on {task} with {model} in {SCORES[metric]}: {words}."
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
    """`lora 81.0 % against icl-1 33.9 % (+47.1 points, 95 % interval +40.1 to +54.2, p = 0.003)`."""
    score, base = ("no score" if pd.isna(row[name]) else f"{100 * row[name]:.1f} %" for name in ("score", "base_score"))
    test = "one seed" if row["verdict"] == stats.ONE_SEED else "no answers to the same examples"
    test = f"not tested: {test}"
    if pd.notna(row["p"]):
        between = f"{points(row['difference_low'])} to {points(row['difference_high'])}"
        p = f"p = {p_value(row['p'])}".replace("= <", "<")
        test = f"{points(row['difference'])} points, 95 % interval {between}, {p}"
    note = f", {row['note']}" if row.get("note") else ""
    return f"{row['line']} {score} against {row['base']} {base} ({test}{note})"


def _basis(runs: pd.DataFrame, metric: str, by: Sequence[str]) -> str:
    """On how much it rests, and what is missing."""
    if "method" in by:
        runs = named(runs, apart=by[:1])
    ended = counts(runs, by).reset_index()
    name, well = by[-1], ended[ended["seeds"] > 0]
    examples = runs.reindex(columns=["examples"])["examples"][runs.reindex(columns=[metric])[metric].notna()].dropna()
    varying = well.loc[well[name].isin(set(runs.loc[runs["stochastic"], name])), "seeds"]
    least, most = varying.min(), varying.max()
    seeds = f"{least} to {most} seeds" if least < most else "1 seed" if most == 1 else f"{most} seeds"
    seeds = f" and {seeds} of each method that varies with the seed" if len(varying) else ""
    lost = [f"{row[name]} ({WHY_NONE[row['status']]})" for _, row in ended[ended["seeds"] == 0].iterrows()]
    fewer = well.loc[well[[*LOST]].sum(axis=1) > 0, name]
    sentences = {
        f" This rests on {examples.min():,.0f} examples{seeds}.": len(examples),
        " Only the first examples were used: a partial result.": runs["limit"].notna().any(),
        f" Without a result: {', '.join(lost)}.": lost,
        f" With fewer seeds than were run: {', '.join(fewer)}.": len(fewer),
    }
    return "".join(sentence for sentence, is_so in sentences.items() if is_so)


def _percent(share: float, of: str) -> str:
    return "" if pd.isna(share) else f"{100 * share:.0f} % {of}"

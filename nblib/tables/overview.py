"""All runs of a folder to one table a benchmark, models as groups of lines, methods as lines.

A benchmark is what may stand in one table: one task with one content of its data, one way of decoding, and all of its
examples or the same first ones. Left out are runs that choose settings (the validation split), that measure memory
with random weights (`shape_only`), and adapters of another task (tables.transfer).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from nblib import results, stats
from nblib.tables.costs import memory_bytes
from nblib.tables.labels import counts, labelled
from nblib.tables.scores import TESTED, scored
from nblib.tables.show import EXECUTION, SCORES, Table

REPORTED = tuple(name for name in SCORES if name != "codebleu_corrected")  # the paper's columns
YES_OR_NO = ("em@", "strict_accuracy")  # scores of only 0 and 1, which McNemar's test takes
# PEFT-Bench (Belanec et al. 2025, arXiv 2511.21285): what halves the score, each exponent 1. Its script calls them
# 5e8 parameters, 10 TFLOP more than the base model's forward pass, and the 94 GB of one H100 NVL.
HALVING = {"parameters": 5e8, "teraflops": 10.0, "gigabytes": 94.0}
READ = ("prompt-tuning", "p-tuning")  # their virtual tokens pass through every layer, as those of a prompt do
MERGED = ("full",)  # no weights beside the model's own


@dataclass(frozen=True)
class Benchmark:
    """Runs that may stand in one table, their methods named for it, with their answers."""

    name: str  # the task, and what else tells it from the other benchmarks
    limit: int | None  # only the first examples: a partial result
    runs: pd.DataFrame = field(repr=False)
    answers: pd.DataFrame = field(repr=False)

    @property
    def file(self) -> str:
        """The name as part of a file's name."""
        return re.sub(r"[^a-z0-9.+-]+", "_", self.name.lower())

    @property
    def metric(self) -> str:
        """The score that decides: strict accuracy where answers are run, else EM@1."""
        known = "strict_accuracy" in self.runs and self.runs["strict_accuracy"].notna().any()
        return "strict_accuracy" if known else "em@1"


def says_quality(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that say how good a method is at the task it was trained on."""
    own = runs["trained_on"].isna() | (runs["trained_on"] == runs["task"])
    return runs[own & (runs["split"] == "test") & ~runs["shape_only"].astype(bool)]


def benchmarks(runs: pd.DataFrame, answers: pd.DataFrame) -> list[Benchmark]:
    """The tables that these runs make, whole ones before partial ones; a model of several weights is told apart."""
    runs = says_quality(runs)
    parts: dict[tuple, list[str]] = {}
    data = _known(runs, "data", "task")
    for id, run in runs.iterrows():
        limit = None if pd.isna(run["limit"]) else int(run["limit"])
        key = (limit is not None, run["task"], limit or 0, run["decoding"], data[id])
        parts.setdefault(key, []).append(str(id))
    keys = sorted(parts, key=str)
    return [_benchmark(key, keys, runs.loc[parts[key]], answers) for key in keys]


def report(benchmark: Benchmark) -> Table:
    """One line a model and method, every method of any model under each: what was not run is `missing`.

    Each score of REPORTED that a run has with the columns of `comparison`, ties and ranks inside of the model; costs
    as means over seeds, and `memory_bytes` of training: the allocated peak on a GPU, the sum of the tensors' bytes on a
    CPU (`memory_kind` says which).
    """
    runs, by = benchmark.runs, ["model", "method"]
    metrics = [name for name in REPORTED if name in runs and runs[name].notna().any()]
    frame = scored(runs, benchmark.answers, by, metrics, within=["model"]).astype(dict.fromkeys(by, object))
    held = runs.assign(memory_bytes=memory_bytes(runs), memory_kind=runs["provenance"].map(_memory_kind))
    held = held[held["training"].notna() & (held["status"] == results.OK)].astype(dict.fromkeys(by, object))
    frame = frame.merge(held.groupby(by)[["memory_bytes", "memory_kind"]].max().reset_index(), how="left", on=by)
    every = pd.MultiIndex.from_product([dict.fromkeys(frame["model"]), runs["method"].cat.categories], names=by)
    frame = frame.set_index(by).reindex(every).reset_index()
    kinds = dict(zip(runs["method"], zip(runs["kind"], runs["family"], strict=True), strict=True))
    frame[["kind", "family"]] = [kinds[label] for label in frame["method"]]
    frame = frame.fillna({"status": "missing", "seeds": 0, results.FAILED: 0, results.OUT_OF_MEMORY: 0})
    frame = frame.astype(dict.fromkeys(("seeds", results.FAILED, results.OUT_OF_MEMORY), int))
    said = {"tensors": "sum of the tensors of a step, on a CPU", "allocated": "allocated peak, on a GPU"}
    kinds_said = "; ".join(said[each] for each in sorted(frame["memory_kind"].dropna().unique()))
    notes = [
        "Means over examples and seeds, 95 % intervals. Bold: best of that model, underlined: second best; ≈: a paired "
        "test cannot tell it from the best (5 %, Holm's correction over that model's column).",
        *([f"Training memory: {kinds_said}."] if kinds_said else []),
        *(["Only the first examples: a partial result."] if benchmark.limit else []),
    ]
    costs = ("trainable_parameters", "train_seconds", "memory_bytes", "prompt_tokens", "generate_seconds", "seeds")
    return Table(frame, tuple(notes), benchmark.name, (*by, *metrics, *costs), group="model")


def difficulties(benchmark: Benchmark) -> Table:
    """Execution scores by difficulty, from the counts in the runs' notes: one line a model, method and difficulty.

    Means over seeds, without intervals. Empty where no run names difficulties.
    """
    runs = benchmark.runs
    lines = [
        {"model": run["model"], "method": run["method"], "difficulty": name, "n": part.get("examples")}
        | {metric: part.get("scores", {}).get(metric, {}).get("mean") for metric in EXECUTION}
        for _, run in runs[runs["status"] == results.OK].sort_values(["model", "method"]).iterrows()
        for name, part in run["notes"].get("by_difficulty", {}).items()
    ]
    if not lines:
        return Table(pd.DataFrame())
    by = ["model", "method", "difficulty"]
    found = pd.DataFrame(lines).groupby(by, sort=False, observed=True)
    scores = found[list(EXECUTION)].mean().dropna(axis=1, how="all")
    frame = pd.concat([found["n"].first(), found.size().rename("seeds"), scores], axis=1).reset_index()
    return Table(frame, ("Means over seeds.",), columns=(*by, *scores, "n", "seeds"), group="model")


def tested(benchmark: Benchmark) -> Table:
    """One line a model and method that is not its best, in the score that decides.

    `difference` is the best minus that method, with interval, paired over the same examples and over all seeds;
    `effect` is Cohen's d of pairs. `only_best` and `only_other` count the examples on which only one of the two is
    right, in the first seed of each, and `mcnemar_p` is of McNemar's exact test on them. Both p values are after Holm's
    correction over the model's lines. `verdict` is by the paired test: higher or tie.
    """
    metric, by = benchmark.metric, ["model", "method"]
    found = stats.summarise(benchmark.answers, by, metric, base=stats.BEST, within=["model"])
    found = found[found[metric].notna()].astype(dict.fromkeys(by, object))
    best = found[found["is_base"]].set_index("model")["method"]
    frame = found[~found["is_base"]].assign(best=lambda each: each["model"].map(best), metric=metric)
    turned = {"difference": "difference", "difference_low": "difference_high", "difference_high": "difference_low"}
    frame = frame.assign(**{new: -frame[old] for new, old in turned.items()}, effect=-frame["effect"])
    frame["verdict"] = frame["verdict"].replace({"lower": "higher"})
    first = _first_seed(benchmark.answers, metric) if metric.startswith(YES_OR_NO) else {}
    pairs = [_mcnemar(first, line.model, line.best, line.method) for line in frame.itertuples()]
    frame[["only_best", "only_other", "mcnemar_p"]] = pd.DataFrame(pairs, index=frame.index, columns=range(3))
    for _, part in frame.groupby("model"):
        p = part["mcnemar_p"].dropna()
        frame.loc[p.index, "mcnemar_p"] = stats.holm(list(p))
    frame = frame.rename(columns={"pairs": "n"}).reset_index(drop=True)
    columns = (
        "model",
        "best",
        "method",
        "metric",
        *TESTED[:-1],
        "n",
        "only_best",
        "only_other",
        "mcnemar_p",
        "verdict",
    )
    note = (
        f"{SCORES[metric]}: the best of each model minus the others, over the same examples and all seeds; McNemar's "
        "exact test looks at the first seed of each only."
    )
    shown = ("model", "best", "method", "difference", "effect", "p", "only_best", "only_other", "mcnemar_p", "verdict")
    heads = {"method": "beside", "mcnemar_p": "McNemar p (Holm)", "only_best": "only the best right"}
    return Table(frame[list(columns)], (note,), columns=shown, heads=heads | {"only_other": "only it right"})


def mean_ranks(parts: Sequence[Benchmark], *, least: int = 1) -> Table:
    """The mean rank of each method over all pairs of model and benchmark, indexed by its label, the best first.

    `mean_rank`, `low`, `high` (95 % interval over other examples of the same benchmarks), `benchmarks`, and `kind`.
    A pair with fewer methods than `least` is left out; of the others, methods with a result in every pair are ranked.
    A method's score is the one that decides on each benchmark.
    """
    every = {name: cell for part in parts for name, cell in _cells(part).items()}
    cells = {name: cell for name, cell in every.items() if len(cell.columns) >= least}
    common = [label for label in next(iter(cells.values()), []) if all(label in cell for cell in cells.values())]
    scores = [cell[common].dropna().T.to_numpy().tolist() for cell in cells.values()]
    kinds = {label: kind for part in parts for label, kind in zip(part.runs["method"], part.runs["kind"], strict=True)}
    lines = [
        {
            "kind": kinds[label],
            "mean_rank": each.mean,
            "low": each.low,
            "high": each.high,
            "benchmarks": each.benchmarks,
        }
        for label, each in zip(common, stats.mean_ranks(scores) if common else [], strict=True)
    ]
    index = pd.Index(common, name="method", dtype=object)
    frame = pd.DataFrame(lines, index=index, columns=["kind", "mean_rank", "low", "high", "benchmarks"])
    frame = frame.sort_values("mean_rank", kind="stable")
    left_out = sorted({label for cell in cells.values() for label in cell} - set(common))
    frame.attrs = {
        "places": list(cells),
        "too_few": [name for name in every if name not in cells],
        "left_out": left_out,
    }
    notes = [
        f"1 is the best. Over: {'; '.join(cells)}. Intervals are over other examples of these benchmarks, not over "
        "other benchmarks or seeds."
    ]
    notes += [f"Not in all of them, so not ranked: {', '.join(left_out)}."] if left_out else []
    notes += [f"With too few methods to rank: {'; '.join(frame.attrs['too_few'])}."] if frame.attrs["too_few"] else []
    return Table(frame, tuple(notes), columns=("method", "mean_rank", "low", "high", "benchmarks"))


def soft_cost(benchmark: Benchmark) -> Table:
    """PEFT-Bench's PSCP for each trained method of each model: a score that costs shrink.

    P × (1 + parameters / 5e8)⁻¹ × (1 + teraflops / 10)⁻¹ × (1 + gigabytes / 94)⁻¹, with P the deciding score in
    percent; `parameters` are the trained ones, `gigabytes` (of 10⁹ bytes) the memory of training, both measured.
    `teraflops` are those of reading one prompt beyond what the model itself needs for the zero-shot prompt: two
    for each weight and token, computed from the measured tokens and weights. None where something is not known.
    """
    metric, by, runs = benchmark.metric, ["model", "method"], benchmark.runs
    frame = counts(runs, by).astype(dict.fromkeys(by, object))
    found = runs.assign(memory_bytes=memory_bytes(runs), score=runs.get(metric, None))
    found = found[found["status"] == results.OK].astype(dict.fromkeys(by, object)).groupby(by)
    own = {"score": found["score"].mean(), "gigabytes": found["memory_bytes"].max() / 1e9}
    virtual = runs["settings"].map(lambda settings: settings["method"].get("virtual_tokens", 0))
    own["virtual"] = virtual.groupby([runs[name].astype(object) for name in by]).first()
    frame = frame.merge(pd.DataFrame(own).reset_index(), how="left", on=by).assign(metric=metric)
    zero = frame[frame["kind"] == "zero-shot"].set_index("model")["prompt_tokens"]
    frame["parameters"] = frame["trainable_parameters"]
    frame["teraflops"] = _teraflops(frame, frame["model"].map(zero).fillna(frame["prompt_tokens"]))
    trained = frame["family"].isin(("PEFT", "full fine-tuning")) & (frame["status"] == results.OK)
    frame = frame[trained][["model", "method", "metric", "score", *HALVING]].assign(
        pscp=lambda each: 100 * each["score"]
    )
    for name, halving in HALVING.items():
        frame["pscp"] /= 1 + frame[name] / halving
    frame = frame.sort_values(["model", "pscp"], ascending=[True, False], kind="stable", ignore_index=True)
    note = (
        "PSCP of PEFT-Bench: percent × 1/(1 + parameters/5e8) × 1/(1 + TFLOP/10) × 1/(1 + GB/94). Its constants are "
        "made for models of billions of parameters: of a small one it leaves the score nearly as it is."
    )
    columns = ("model", "method", "score", *HALVING, "pscp")
    heads = {"parameters": "trained parameters", "score": f"{SCORES[metric]} (%)"}
    return Table(frame, (note,), columns=columns, heads=heads, group="model")


def _teraflops(frame: pd.DataFrame, zero_tokens: pd.Series) -> pd.Series:
    added = frame["trainable_parameters"].fillna(0.0).mask(frame["kind"].isin((*MERGED, *READ, "prefix-tuning")), 0.0)
    tokens = frame["prompt_tokens"] + frame["virtual"].where(frame["kind"].isin(READ), 0)
    weights = frame["total_parameters"]
    return (2 * ((weights + added) * tokens - weights * zero_tokens) / 1e12).clip(lower=0.0)


def _known(runs: pd.DataFrame, name: str, of: str) -> dict[str, str]:
    """Run -> that content; a run that does not say (it failed early) counts to the first known."""
    first = runs[runs[name].notna()].groupby(of)[name].min()
    return dict(runs[name].where(runs[name].notna(), runs[of].map(first)).fillna("unknown").astype(str))


def _benchmark(key: tuple, keys: list[tuple], runs: pd.DataFrame, answers: pd.DataFrame) -> Benchmark:
    """With a name that tells it from the other benchmarks of its task."""
    partial, task, limit, decoding, data = key
    kin = [each for each in keys if each[:3] == key[:3]]
    name = f"{task}, first {limit} examples" if partial else task
    if len({each[3] for each in kin}) > 1:
        asked = json.loads(decoding)
        how = f"{asked['beams']} beams" if asked.get("temperature") is None else f"temperature {asked['temperature']:g}"
        name += f", {how}, {asked['returned']} answers"
    name += f", data {data[:6]}" if len({each[4] for each in kin}) > 1 else ""
    weights = _known(runs, "weights", "model")
    several = runs.assign(weights=weights).groupby("model")["weights"].transform("nunique") > 1
    told = [f"{model} ({weights[id][:6]})" for id, model in runs["model"].items()]
    runs = runs.assign(model=runs["model"].where(~several, told))
    return Benchmark(name, limit or None, *labelled(runs, answers, apart=["model"]))


def _memory_kind(provenance: dict) -> str:
    return "allocated" if str(provenance.get("device")).startswith("cuda") else "tensors"


def _first_seed(answers: pd.DataFrame, metric: str) -> dict[tuple, pd.Series]:
    """Model and method -> the scores of its first seed by example."""
    found = {}
    for key, part in answers.groupby(["model", "method"], observed=True):
        first = part.sort_values(["seed", "run"], kind="stable")["run"].iloc[0]
        found[key] = part[part["run"] == first].set_index("example")[metric]
    return found


def _mcnemar(first: dict[tuple, pd.Series], model: str, best: str, other: str) -> tuple:
    if (model, best) not in first or (model, other) not in first:
        return (None, None, None)
    pair = pd.concat([first[model, best], first[model, other]], axis=1).astype(object)
    ours, theirs = (list(column.where(column.notna(), None)) for _, column in pair.items())
    found = stats.mcnemar(ours, theirs)
    return (found.only_a, found.only_b, found.p)


def _cells(part: Benchmark) -> dict[str, pd.DataFrame]:
    """Benchmark and model -> one line an example, one column a method: means over seeds."""
    found = {}
    for model, answers in part.answers.groupby("model", observed=True):
        means = {
            label: mine.pivot(index="example", columns="run", values=part.metric).mean(axis=1, skipna=False)
            for label, mine in answers.groupby("method", observed=True)
        }
        found[f"{part.name} with {model}"] = pd.DataFrame(means).dropna(axis=1, how="all")
    return found

"""Four claims on LoRA's learning rate, layers, rank and batches, judged by the grid of `study.tuning`.

They are those of "LoRA Without Regret" (Schulman and Thinking Machines Lab, 2025), whose figures are of models with
billions of parameters. Every setting has the same rates to choose from; the lowest validation loss, of the mean over
seeds, chooses, and the answers to the validation split decide.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from nblib import spec, stats
from nblib.tables.claims import FAILS, HOLDS, MARGIN, OPEN, TESTS, Verdict, decided, verdict_on
from nblib.tables.labels import attached
from nblib.tables.scores import LEGEND, scored, summary
from nblib.tables.show import Table

RATES = "LoRA learns best at about ten times the learning rate of full tuning"
LAYERS = "LoRA on all layers beats LoRA on attention alone"
RANKS = "high ranks are needless on small data"
BATCHES = "LoRA loses more than full tuning by larger batches"
TIMES = 10  # full tuning's best rate


def tuning_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """One line per run of a grid: `method` (`lora batch=32`: what is not as usual), `learning_rate`, `loss`, `best`.

    `loss` is the run's lowest on the validation split, NaN where none is a number; `best` marks the rate at which the
    setting's mean over seeds is lowest, and which has a loss with every seed. `targets`, `r` and `batch` are settings.
    """
    frame = runs[["kind", "model", "task", "seed", "learning_rate"]].copy()
    methods, trainings = ([own[part] for own in runs["settings"]] for part in ("method", "training"))
    frame["targets"] = [own.get("targets", "") for own in methods]
    frame["r"] = [own.get("r", 0) for own in methods]
    frame["batch"] = [own["batch_size"] for own in trainings]
    usual = frame.loc[frame["kind"] == "lora", ["targets", "r", "batch"]].mode().iloc[0]
    frame["method"] = [_setting(row, usual) for _, row in frame.iterrows()]
    losses = [[loss for _, loss in notes.get("validation_losses", ())] for notes in runs["notes"]]
    frame["loss"] = [pd.Series(own, dtype=float).min() for own in losses]
    means = frame.groupby(["method", "learning_rate"])["loss"].agg(lambda own: own.mean(skipna=False))
    best = means.dropna().groupby("method").idxmin()
    frame["best"] = pd.MultiIndex.from_frame(frame[["method", "learning_rate"]]).isin(list(best))
    return frame


def tuned(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Table:
    """One line per setting of a grid at its best rate, by `method` as in `tuning_curves`: score, loss, costs.

    `search_seconds` is what training at every rate took, of one seed: the cost of choosing.
    """
    curves = tuning_curves(runs)
    best = curves[curves["best"]]
    order = sorted(best["method"].unique(), key=lambda name: (not name.startswith("lora"), name))
    spent = runs["train_seconds"].groupby([curves["method"], curves["seed"]]).sum().groupby("method").mean()
    runs = runs.loc[best.index].assign(method=pd.Categorical(best["method"], order, ordered=True))
    answers = attached(answers[answers["run"].isin(runs.index)], runs, ["method"])
    means = best.groupby("method")[["learning_rate", "loss"]].mean().assign(search_seconds=spent)
    frame = scored(runs, answers, ["method"], [metric]).join(means).loc[order]
    columns = ("method", "learning_rate", "loss", metric, "trainable_parameters", "search_seconds")
    notes = (
        LEGEND.format(""),
        f"Answers to the {''.join(runs['split'].iloc[:1])} split, at the rate with the lowest loss.",
    )
    heads, wide = {"search_seconds": "all rates (s)"}, (*columns, "train_seconds", "seeds")
    return Table(frame, notes, columns=columns, wide=wide, heads=heads)


def tuning(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> list[Verdict]:
    """The verdicts on RATES, LAYERS, RANKS and BATCHES; without the runs of a claim, it is left out."""
    curves = tuning_curves(runs)
    runs = runs.assign(**curves[["targets", "r", "batch"]], setting=curves["method"], best=curves["best"])
    found = (claim(runs, answers, metric) for claim in (_rates, _layers, _ranks, _batches))
    return [verdict for verdict in found if verdict]


def _rates(runs: pd.DataFrame, answers: pd.DataFrame, metric: str) -> Verdict | None:
    """LoRA at ten times full tuning's best rate against LoRA at that rate itself, or the nearest that were tried."""
    usual = runs[(runs["setting"] == "lora")]
    best = {
        kind: runs.loc[(runs["setting"] == kind) & runs["best"], "learning_rate"].min() for kind in ("lora", "full")
    }
    tried = np.sort(usual["learning_rate"].unique())
    if any(map(pd.isna, best.values())) or len(tried) < 2:
        return None
    high, low = (tried[np.abs(np.log(tried / (times * best["full"]))).argmin()] for times in (TIMES, 1))
    pair = [usual[usual["learning_rate"] == rate] for rate in (high, low)]
    numbers = _duel(pair, answers, metric)
    more = f" The lowest validation loss is LoRA's at {best['lora']:g} and full tuning's at {best['full']:g}."
    return _judged(RATES, pd.concat(pair), metric, decided(numbers), numbers, more)


def _layers(runs: pd.DataFrame, answers: pd.DataFrame, metric: str) -> Verdict | None:
    lora = runs[(runs["kind"] == "lora") & runs["best"]]
    pair = [lora[lora["setting"] == "lora"], lora[lora["targets"] == spec.ATTENTION]]
    if any(part.empty for part in pair):
        return None
    numbers = _duel(pair, answers, metric)
    weights = [size.mean() for size in (part["trainable_parameters"].astype(float) for part in pair)]
    more = f" Attention alone has {weights[1] / weights[0]:.2f} times as many trained weights."
    return _judged(LAYERS, pd.concat(pair), metric, decided(numbers), numbers, more)


def _ranks(runs: pd.DataFrame, answers: pd.DataFrame, metric: str) -> Verdict | None:
    """The highest against the lowest rank: needless where the interval excludes a gain of more than 5 points."""
    lora = runs[(runs["kind"] == "lora") & (runs["targets"] == spec.ALL_LINEAR) & runs["best"]]
    lora = lora[lora["batch"] == lora["batch"].min()]
    if lora["r"].nunique() < 2:
        return None
    pair = [lora[lora["r"] == rank] for rank in (lora["r"].max(), lora["r"].min())]
    numbers = _duel(pair, answers, metric)
    line = numbers.iloc[0]
    is_needless = line["difference_high"] < MARGIN and line["verdict"] != "higher"
    verdict = FAILS if line["verdict"] == "higher" else HOLDS if is_needless else OPEN
    return _judged(RANKS, pd.concat(pair), metric, verdict, numbers)


def _batches(runs: pd.DataFrame, answers: pd.DataFrame, metric: str) -> Verdict | None:
    """What LoRA loses from the small to the large batch minus what full tuning loses, each at its best rate."""
    best = runs[runs["best"] & runs["targets"].isin(["", spec.ALL_LINEAR])]
    usual = best.loc[best["setting"] == "lora", "r"].max()
    best = best[(best["kind"] == "full") | (best["r"] == usual)]
    small, large = best["batch"].min(), best["batch"].max()
    cells = best.groupby(["kind", "batch"]).size()
    if small == large or len(cells) < 4:
        return None
    lost = {}
    for kind, own in best.groupby("kind"):
        few, many = (_by_seed(answers, own.index[own["batch"] == size], metric) for size in (small, large))
        lost[kind] = few - many
    test = stats.paired_difference(lost["lora"], lost["full"])
    numbers: dict[str, object] = {
        "line": f"lora (batches of {small} minus {large})",
        "base": f"full (batches of {small} minus {large})",
    }
    numbers |= {"score": lost["lora"].mean(), "base_score": lost["full"].mean()}
    numbers |= {"difference": test.mean, "difference_low": test.low, "difference_high": test.high, "p": test.p}
    frame = pd.DataFrame([numbers | {"verdict": stats.decide(test)}])
    return _judged(BATCHES, best, metric, decided(frame), frame)


def _setting(row: pd.Series, usual: Mapping) -> str:
    """`lora`, `lora r=48, attention`, `full batch=32`: the kind, and what is not as usual for LoRA."""
    words = {"r": f"r={row['r']}", "targets": row["targets"], "batch": f"batch={row['batch']}"}
    unusual = ", ".join(word for name, word in words.items() if row[name] not in ("", 0, usual[name]))
    return f"{row['kind']} {unusual}".strip()


def _duel(pair: Sequence[pd.DataFrame], answers: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The answers of one setting at one rate minus those of another, over all seeds."""
    names = [f"{part['setting'].iloc[0]} at {part['learning_rate'].iloc[0]:g}" for part in pair]
    labels = pd.concat([pd.Series(name, part.index) for name, part in zip(names, pair, strict=True)])
    answers = answers[answers["run"].isin(labels.index)]
    answers = answers.assign(method=answers["run"].astype(object).map(labels))
    found = summary(answers, "method", metric, base={"method": names[1]}, family=["method"])
    numbers = found.loc[[names[0]], TESTS].assign(line=names[0], base=names[1], base_score=found.at[names[1], metric])
    return numbers.assign(score=found.at[names[0], metric]).reset_index(drop=True)


def _by_seed(answers: pd.DataFrame, ids: pd.Index, metric: str) -> np.ndarray:
    """(seeds, examples): the scores of these runs, one a seed."""
    own = answers[answers["run"].isin(ids)]
    return own.pivot_table(index="seed", columns="example", values=metric, observed=True, dropna=False).to_numpy()


def _judged(
    claim: str, runs: pd.DataFrame, metric: str, verdict: str, numbers: pd.DataFrame, more: str = ""
) -> Verdict:
    return verdict_on(
        claim, runs, metric, verdict, numbers, more=more + f" Answers are to the {runs['split'].iloc[0]} split."
    )

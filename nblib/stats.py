"""Intervals and paired tests for scores, and `summarise`, which gives them for every group of a frame.

Scores come as one sequence a seed, with the same examples in the same order for every seed: a crossed design. Examples
and seeds are both samples of what we speak about, so both must vary. Examples are resampled jointly for all seeds (and
for both methods of a pair). Seeds are not resampled: with the three to five of a study, resampled seeds have only
(seeds - 1) / seeds of their variance, and no tails: where seeds matter much, a 95 % percentile interval then held in
72 to 84 % of simulated studies. Their variance is estimated instead, each method's by its own seeds, and each estimate
is widened by a Student's t of its own (see `_deviations`): the test of Behrens and Fisher. One t with the degrees of
freedom of Satterthwaite erred in 8 to 13 of 100 studies with two or three seeds of which one method's varied, since
few seeds that agree by chance look like many; this one errs in at most 5, and in fewer where both methods vary.

With one seed of a method that varies with the seed (`stochastic`), nothing is known of how much: `summarise` gives its
mean and the interval over examples, and tests nothing. We do not lend it the variance of other methods: theirs differ
several times over, and a verdict would depend on what else stands in the table.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

# one sequence a seed; one score an example, None where it is missing
Scores = Sequence[Sequence[float | None]] | np.ndarray
ERROR = 0.05  # of an interval and of a test
BLOCK = 500  # resamples at a time, whose products then stay in the cache
BEST = "best"  # as the base of `summarise`: the highest mean of the lines that can be tested
ONE_SEED = "one seed"  # in the place of a verdict on a method that varies with the seed


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that holds it."""

    mean: float | None  # over seeds, of each seed's mean over examples; None: no scores
    low: float | None  # None: fewer than two examples
    high: float | None
    n: int  # examples with a score of at least one seed


@dataclass(frozen=True)
class Difference:
    """Mean of a minus mean of b over the same examples, with a paired test."""

    mean: float | None  # None: no example has scores of both
    low: float | None
    high: float | None
    p: float | None  # two-sided
    effect: float | None  # Cohen's d of pairs: mean over standard deviation of the examples' differences
    n: int  # examples with a score of both


class McNemar(NamedTuple):
    """On how many examples only one of two runs is right, with the exact test."""

    only_a: int
    only_b: int
    p: float | None  # two-sided; None: no example has scores of both


def interval(scores_by_seed: Scores, *, resamples: int = 2000) -> Interval:
    """Mean and 95 % interval of a method's scores, which are shares; see `_deviations` for how.

    Of one seed it speaks of other examples only. Raises ValueError for scores below 0 or above 1.
    """
    table = _table(scores_by_seed)
    if table.size and (np.nanmin(table) < 0 or np.nanmax(table) > 1):
        raise ValueError(f"scores must lie from 0 to 1; got {np.nanmin(table):g} to {np.nanmax(table):g}: give shares")
    means, examples = _by_example(table)
    if len(examples) < 2:
        return Interval(float(np.mean(means)) if len(examples) else None, None, None, len(examples))
    mean = float(np.mean(means))
    halves = (0.0, 1.0) if _yes_or_no(table) else None
    low, high = _limits(mean, _deviations(examples, [means], halves=halves, resamples=resamples))
    return Interval(mean, max(low, 0.0), min(high, 1.0), len(examples))


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean over seeds, by Student's t; NaN at both ends for fewer than two."""
    from scipy.special import stdtrit  # slow to import

    if (freedom := len(values) - 1) < 1:
        return math.nan, math.nan
    half = stdtrit(freedom, 1 - ERROR / 2) * np.std(values, ddof=1) / math.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def paired_difference(
    a_by_seed: Scores, b_by_seed: Scores, *, error: float = ERROR, resamples: int = 5000
) -> Difference:
    """Mean of a minus mean of b with interval, two-sided p and effect size; examples are paired, by their place.

    Seeds are not paired, and may be of different number: seed 42 of one method has nothing in common with seed 42 of
    another. What has one seed counts as without randomness. The interval leaves out `error`. p and interval come from
    the same resamples, so they agree; p is at least 2 / (resamples + 1), and at least 2^(1 - n), the smallest that a
    sign-flip test over n examples can give.
    Raises ValueError where a and b have different numbers of examples.
    """
    a, b = _table(a_by_seed), _table(b_by_seed)
    if a.size and b.size and a.shape[1] != b.shape[1]:
        raise ValueError(f"a and b must have the same examples; got {a.shape[1]} and {b.shape[1]}")
    both = _scored(a) & _scored(b) if a.size and b.size else np.zeros(0, dtype=bool)
    n = int(both.sum())
    if not n:
        return Difference(None, None, None, None, None, 0)
    (a_means, a_examples), (b_means, b_examples) = _by_example(a[:, both]), _by_example(b[:, both])
    mean = float(np.mean(a_means) - np.mean(b_means))
    examples = a_examples - b_examples
    if n < 2:
        return Difference(mean, None, None, None, None, n)
    halves = (-1.0, 1.0) if _yes_or_no(a) and _yes_or_no(b) else None
    deviations = _deviations(examples, [a_means, b_means], halves=halves, resamples=resamples)
    low, high = _limits(mean, deviations, error)
    deviation = float(np.std(examples, ddof=1))
    effect = mean / deviation if deviation > 1e-12 else None
    return Difference(mean, low, high, _p(mean + deviations, n), effect, n)


def decide(difference: Difference) -> str:
    """`higher` or `lower` where p says that a differs from b, else `tie`: no difference that this data can show."""
    if difference.p is None or difference.p >= ERROR or not difference.mean:
        return "tie"
    return "higher" if difference.mean > 0 else "lower"


def decide_all(differences: Sequence[float], p_values: Sequence[float]) -> str:
    """The verdict on one claim that makes all of these comparisons, from their uncorrected p values.

    `higher` where every one is: the claim errs only if its weakest part does, so no correction is needed (the
    intersection-union test of Berger 1982). `lower` where any one is after Holm's correction, else `tie`.
    """
    signs, p = np.sign(differences), np.array(p_values, dtype=float)
    if len(p) and ((signs > 0) & (p < ERROR)).all():
        return "higher"
    corrected = np.array(holm(list(np.where(np.isnan(p), 1.0, p))))
    return "lower" if ((signs < 0) & (corrected < ERROR)).any() else "tie"


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of a family, adjusted so that all of its claims hold at once (Holm 1979)."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def mcnemar(a: Sequence[float | None], b: Sequence[float | None]) -> McNemar:
    """The exact test on two runs' yes-or-no scores of the same examples, paired by their place.

    It looks at one run of each: unlike `paired_difference` it knows nothing of seeds. p is of a binomial test on the
    examples on which the two differ (McNemar 1947).
    Raises ValueError for different numbers of examples and for scores other than 0 and 1.
    """
    if len(a) != len(b):
        raise ValueError(f"a and b must have the same examples; got {len(a)} and {len(b)}")
    pairs = np.array([a, b], dtype=float)
    pairs = pairs[:, ~np.isnan(pairs).any(axis=0)]
    odd = pairs[~np.isin(pairs, (0.0, 1.0))]
    if odd.size:
        raise ValueError(f"McNemar's test takes scores of 0 and 1; got {odd.min():g}: use paired_difference")
    only_a, only_b = int((pairs[0] > pairs[1]).sum()), int((pairs[0] < pairs[1]).sum())
    if not pairs.size:
        return McNemar(0, 0, None)
    tail = sum(math.comb(only_a + only_b, count) for count in range(min(only_a, only_b) + 1))
    return McNemar(only_a, only_b, min(1.0, 2 * tail / 2 ** (only_a + only_b)))


def mean_ranks(scores: Sequence[Sequence[Sequence[float]]], *, resamples: int = 2000) -> np.ndarray:
    """(methods, 3): the mean rank of each method over benchmarks with its interval, 1 the best, ties sharing places.

    `scores`: one a benchmark, of one a method in the same order, of one score an example: its mean over seeds. The
    interval is over other examples of the same benchmarks (Bayesian bootstrap, the examples of a benchmark jointly for
    all methods); it says nothing of other benchmarks and other seeds.
    Raises ValueError where the benchmarks have different numbers of methods.
    """
    tables = [np.array(table, dtype=float) for table in scores]
    if len({len(table) for table in tables}) > 1:
        raise ValueError(f"every benchmark must have the same methods; got {[len(table) for table in tables]}")
    if not tables or not len(tables[0]):
        return np.zeros((0, 3))
    random = np.random.default_rng(0)
    ranks = np.mean([_ranks(table.mean(axis=1)[None]) for table in tables], axis=0)[0]
    draws = np.mean([_ranks(_reweighted(table, resamples, random)) for table in tables], axis=0)
    low, high = np.quantile(draws, [ERROR / 2, 1 - ERROR / 2], axis=0)
    return np.stack([ranks, np.minimum(low, ranks), np.maximum(high, ranks)], axis=1)


def correlations(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(3, resamples): Pearson's r, Spearman's rho and Kendall's tau-b of x and y, each of shape (n,).

    `counts` (resamples, n) says how often each resample has each pair. Each is what scipy.stats gives, which takes
    minutes for a table's resamples of tau. NaN where one of both does not vary.
    """

    def around_means(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (counts * a * b).sum(1) - (counts * a).sum(1) * (counts * b).sum(1) / counts.sum(1)

    def over_pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((counts @ (a * b)) * counts).sum(1)

    signs = [np.sign(values[:, None] - values) for values in (x, y)]
    ranks = [counts @ sign.T for sign in signs]  # but for a shift and a scale
    found = []
    for product, (a, b) in ((around_means, (x, y)), (around_means, ranks), (over_pairs, signs)):
        scale = product(a, a) * product(b, b)
        found.append(product(a, b) / np.sqrt(np.where(scale > 1e-12, scale, np.nan)))
    return np.array(found)


def front(points: np.ndarray) -> np.ndarray:
    """Which points are on the Pareto front: no other is as high in every column and higher in one.

    One line a point, higher is better in each column; a point with NaN is not on it.
    """
    beaten = (points[None] >= points[:, None]).all(axis=2) & (points[None] > points[:, None]).any(axis=2)
    return ~(np.any(beaten, axis=1) | np.isnan(points).any(axis=1))


def summarise(
    answers: pd.DataFrame,
    by: str | Sequence[str],
    metric: str,
    *,
    base: str | Mapping[str, object] | None = None,
    within: Sequence[str] = (),
    family: Sequence[str] | None = None,
    error: float = ERROR,
) -> pd.DataFrame:
    """One line a group of `answers` (one line a run and example: `run`, `seed`, `example`, the metric) in `by`.

    `stochastic` in `answers` says of a line whether its method varies with the seed; without that column all do.
    Lines stand in the order of their categories, else of their values; `by` stays as columns. With M for the metric:
        seeds; examples (with a score of at least one seed); one_seed: it varies with the seed, and has only one;
        M, the mean over seeds of the means over examples; M_sd over seeds; M_low, M_high of the 95 % interval;
        M_n, M_missing: examples with and without a score (of the seed that has fewest).
    With `base` also every line minus it, paired over the same examples and over all seeds:
        is_base; difference, difference_low, difference_high; p after Holm over the family; effect (Cohen's d of pairs);
        pairs (examples with a score of both); verdict: higher, lower, tie; None for the base itself.
    Where the line or the base has one_seed, the verdict is ONE_SEED, and no interval and no p is there.
    The base is chosen inside of each combination of the columns `within` (of `by`): the line with these values, such
    as `{"method": "zero-shot"}`, or BEST: the highest mean without one_seed, the first of equals. Where there is none,
    nothing is tested. `family` are the columns that hold one family of tests apart from the next; None: those of
    `within`. Intervals of differences leave out `error`, see `paired_difference`.
    """
    by = [by] if isinstance(by, str) else list(by)
    scores = answers.get(metric, pd.Series(np.nan, answers.index)).to_numpy(dtype=float)
    examples = answers["example"].astype("category").cat
    stochastic = answers.get("stochastic", pd.Series(True, answers.index)).to_numpy(dtype=bool)
    order, lines, tables = _order_of_runs(answers), [], []
    for key, places in answers.groupby(by, observed=True, dropna=False).indices.items():
        _, runs = np.unique(order[places], return_inverse=True)
        table = np.full((runs.max() + 1, len(examples.categories)), np.nan)
        table[runs, examples.codes.to_numpy()[places]] = scores[places]
        values = key if isinstance(key, tuple) else (key,)
        lines.append((*values, *_summary(table, np.bincount(runs), bool(stochastic[places].any()))))
        tables.append(table)
    names = [metric, *(f"{metric}_{end}" for end in ("sd", "low", "high", "n", "missing"))]
    frame = pd.DataFrame(lines, columns=[*by, "seeds", "examples", "one_seed", *names])
    frame = frame.astype(dict.fromkeys(names[:4], float))
    if base is None:
        return frame
    tests: dict[int, Difference] = {}
    bases = [_base(frame.loc[places], metric, base) for places in _parts(frame, within)]
    frame["is_base"] = frame.index.isin(bases)
    for center, places in zip(bases, _parts(frame, within), strict=True):
        if center is not None:
            for place in places[frame.loc[places, metric].notna() & (places != center)]:
                tests[place] = paired_difference(tables[place], tables[center], error=error)
                if frame.loc[[place, center], "one_seed"].any():
                    tests[place] = replace(tests[place], low=None, high=None, p=None)
    for places in _parts(frame, within if family is None else family):
        p_values = {place: p for place in places if place in tests and (p := tests[place].p) is not None}
        for place, p in zip(p_values, holm(list(p_values.values())), strict=True):
            tests[place] = replace(tests[place], p=p)
    frame = frame.join(pd.DataFrame([_as_line(tests.get(place)) for place in frame.index], columns=_TESTED))
    is_open = frame["difference"].notna() & frame["p"].isna() & (frame["pairs"] > 1)
    return frame.assign(verdict=frame["verdict"].mask(is_open, ONE_SEED))


_TESTED = ["difference", "difference_low", "difference_high", "p", "effect", "pairs", "verdict"]


def _order_of_runs(answers: pd.DataFrame) -> np.ndarray:
    """The place of each answer's run among all runs, by seed and then by name."""
    runs = answers["run"].astype("category").cat
    codes, seeds = runs.codes.to_numpy(), np.zeros(len(runs.categories))
    seeds[codes] = answers["seed"].to_numpy(dtype=float)
    names = np.argsort(np.argsort(runs.categories.to_numpy(dtype=str)))
    return np.argsort(np.lexsort((names, seeds)))[codes]


def _summary(table: np.ndarray, answered: np.ndarray, stochastic: bool) -> tuple:
    """Seeds and examples of a group, whether one seed is too few, then mean, deviation, interval, and counts."""
    counts = (~np.isnan(table)).sum(axis=1)
    means = np.nansum(table, axis=1)[counts > 0] / counts[counts > 0]
    around, deviation = interval(table), float(np.std(means, ddof=1)) if len(means) > 1 else None
    missing = int((answered - counts).max())
    about = (len(table), around.n, stochastic and len(means) < 2)
    return (*about, around.mean, deviation, around.low, around.high, int(counts.min()), missing)


def _parts(frame: pd.DataFrame, columns: Sequence[str]) -> Iterable[np.ndarray]:
    """The places of the lines of each combination of these columns; without columns of all lines."""
    if not columns:
        return [np.arange(len(frame))]
    return frame.groupby(list(columns), observed=True, dropna=False).indices.values()


def _base(lines: pd.DataFrame, metric: str, base: str | Mapping[str, object]) -> int | None:
    """The place of the base among these lines; None where it has no score."""
    scored = lines[lines[metric].notna()]
    if not isinstance(base, str):
        for name, value in base.items():
            scored = scored[scored[name] == value]
        return None if scored.empty else scored.index[0]
    scored = scored[~scored["one_seed"]]
    return None if scored.empty else scored[metric].idxmax()


def _as_line(test: Difference | None) -> tuple:
    if test is None:
        return (math.nan,) * 6 + (None,)
    numbers = (test.mean, test.low, test.high, test.p, test.effect, test.n)
    return (*(math.nan if value is None else value for value in numbers), None if test.p is None else decide(test))


def _table(scores_by_seed: Scores) -> np.ndarray:
    """(seeds, examples), NaN where a score is missing; a seed without any score is left out."""
    if len({len(scores) for scores in scores_by_seed}) > 1:
        lengths = ", ".join(str(len(scores)) for scores in scores_by_seed)
        raise ValueError(f"every seed must have the same examples; got {lengths} scores")
    width = len(scores_by_seed[0]) if len(scores_by_seed) else 0
    table = np.asarray(scores_by_seed, dtype=float).reshape(len(scores_by_seed), width)
    return table[~np.isnan(table).all(axis=1)] if width else table


def _scored(table: np.ndarray) -> np.ndarray:
    return ~np.isnan(table).all(axis=0)


def _by_example(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of seeds over examples, and of examples over seeds; examples without any score are left out."""
    scored = table[~np.isnan(table).all(axis=1)][:, _scored(table)] if table.size else table
    if not scored.size:
        return np.zeros(0), np.zeros(0)
    return np.nanmean(scored, axis=1), np.nanmean(scored, axis=0)


def _yes_or_no(table: np.ndarray) -> bool:
    return bool(np.isin(table[~np.isnan(table)], (0.0, 1.0)).all())


def _deviations(
    examples: np.ndarray, seed_means: list[np.ndarray], *, halves: tuple[float, float] | None, resamples: int
) -> np.ndarray:
    """How far the mean may be from what it would be for all examples and all seeds, one value a resample.

    1. Examples: Bayesian bootstrap (Rubin 1981), random weights that sum to one. For scores of only 0 and 1, half an
       example is added at either end, so that 0 of 100 is not without doubt: for one seed this is Jeffreys' interval
       (Brown, Cai and DasGupta 2001), for pairs the idea of Agresti and Min (2005). Widened by Student's t.
    2. Seeds: for each method that has two or more, Student's t with the variance of its seed means over their number,
       and one degree of freedom less than seeds. What an example adds to one seed only is counted in both steps, as in
       Owen's pigeonhole bootstrap (2007); that errs on the side of caution.
    3. The sum: the distribution of Behrens and Fisher. For means of normal numbers it never erred more often than it
       says where that was computed (Robinson 1976), and for Banerjee's nearly equal interval (1960) it is proved.
    """
    random = np.random.default_rng(0)
    blocks, random.bit_generator.state = _weights(resamples, len(examples), halves is not None)
    weighted = [
        (weights @ examples + (half_weights @ np.array(halves) if halves else 0.0)) / totals
        for weights, half_weights, totals in blocks
    ]
    freedom = len(examples) - 1
    widening = np.sqrt(freedom / random.chisquare(freedom, resamples))
    deviations = (np.concatenate(weighted) - examples.mean()) * widening
    for method, means in enumerate(seed_means):
        if len(means) > 1:
            deviations += np.std(means, ddof=1) / math.sqrt(len(means)) * _student(len(means) - 1, resamples, method)
    return deviations


@lru_cache(maxsize=32)
def _student(freedom: int, resamples: int, method: int) -> np.ndarray:
    """Evenly spaced quantiles of Student's t in random order, which differs by method: its tails without luck."""
    from scipy.special import stdtrit  # slow to import

    quantiles = stdtrit(freedom, (np.arange(resamples) + 0.5) / resamples)
    return np.random.default_rng([1, method]).permutation(quantiles)


@lru_cache(maxsize=4)  # tables ask for hundreds of intervals over the same number of examples
def _weights(resamples: int, examples: int, halved: bool) -> tuple[list[tuple], Any]:
    """Random weights of the examples and of both halves with their sums, in blocks; and the generator after them."""
    random, blocks = np.random.default_rng(0), []
    for start in range(0, resamples, BLOCK):
        weights = random.standard_exponential((min(BLOCK, resamples - start), examples))
        half_weights = random.standard_gamma(0.5, (len(weights), 2)) if halved else np.zeros((len(weights), 2))
        blocks.append((weights, half_weights, weights.sum(axis=1) + half_weights.sum(axis=1)))
    return blocks, random.bit_generator.state


def _limits(mean: float, deviations: np.ndarray, error: float = ERROR) -> tuple[float, float]:
    """The interval; it holds the mean."""
    low, high = mean + np.quantile(deviations, [error / 2, 1 - error / 2])
    return float(min(low, mean)), float(max(high, mean))


def _p(draws: np.ndarray, n: int) -> float:
    below, above = int((draws <= 0).sum()), int((draws >= 0).sum())
    return min(1.0, max(2 * (min(below, above) + 1) / (len(draws) + 1), 2.0 ** (1 - n)))


def _reweighted(table: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """(resamples, methods): means over examples with random weights."""
    weights = random.standard_exponential((resamples, table.shape[1]))
    return (weights / weights.sum(axis=1, keepdims=True)) @ table.T


def _ranks(means: np.ndarray) -> np.ndarray:
    """Places along the last axis, the highest first; equal means share the mean of their places."""
    rounded = np.round(means, 12)  # sums in another order must not part equals
    return pd.DataFrame(rounded).rank(axis=1, ascending=False).to_numpy()

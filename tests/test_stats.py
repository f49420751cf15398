"""Intervals hold what they promise, tests find what is there, and nothing missing is hidden."""

import itertools
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from nblib import stats

GOOD, BAD = [1.0, 1.0, 1.0, 0.0] * 10, [0.0, 1.0, 0.0, 0.0] * 10


def study(random, *, seeds: int, examples: int, seed_sd: float, shifts=(-0.3,)) -> list[np.ndarray]:
    """Yes-or-no scores with crossed random effects of seeds and examples, each as (seeds, examples)."""
    example = random.normal(0, 1, examples)
    latent = [
        shift + random.normal(0, seed_sd, (seeds, 1)) + example + random.normal(0, 0.7, (seeds, examples))
        for shift in shifts
    ]
    return [(value > 0).astype(float) for value in latent]


def true_mean(seed_sd: float, shift: float = -0.3) -> float:
    """Of `study`: how often a normal number lies above zero."""
    return NormalDist().cdf(shift / (1 + 0.7**2 + seed_sd**2) ** 0.5)


@pytest.mark.parametrize(("seeds", "examples", "seed_sd"), [(1, 60, 0.0), (2, 200, 0.6), (3, 120, 0.6), (5, 120, 0.3)])
def test_an_interval_holds_the_truth_in_about_95_of_100_studies(seeds, examples, seed_sd):
    random, truth, held, naive = np.random.default_rng(1), true_mean(seed_sd), 0, 0
    for _ in range(300):
        (scores,) = study(random, seeds=seeds, examples=examples, seed_sd=seed_sd)
        found, of_means = (stats.interval(given, resamples=500) for given in (scores, [scores.mean(axis=0)]))
        held += found.low <= truth <= found.high
        naive += of_means.low <= truth <= of_means.high
    assert 0.915 <= held / 300 <= 0.99  # 95 % and twice the error of 300 studies, and our caution above
    assert naive / 300 < 0.8 or seed_sd < 0.3  # the seeds taken as one: what this test would catch


def test_a_difference_is_found_where_there_is_one_and_its_interval_holds_it():
    random, false, found, held = np.random.default_rng(2), 0, 0, 0
    truth = true_mean(0.1, 0.7) - true_mean(0.1, -0.3)
    for _ in range(300):
        a, same, better = study(random, seeds=3, examples=80, seed_sd=0.1, shifts=(-0.3, -0.3, 0.7))
        false += stats.paired_difference(a, same, resamples=500).p < 0.05
        test = stats.paired_difference(better, a, resamples=500)
        found, held = found + (test.p < 0.05), held + (test.low <= truth <= test.high)
    assert false / 300 <= 0.05  # where both methods vary, caution makes it fewer
    assert found / 300 > 0.8
    assert held / 300 >= 0.92


@pytest.mark.parametrize(("seeds", "others"), [(2, 1), (3, 1), (2, 2), (3, 3)])
def test_two_or_three_seeds_that_agree_by_chance_are_not_taken_for_many(seeds, others):
    """One method varies much with the seed, the other not at all; `others` seeds of it."""
    random, false = np.random.default_rng(3), 0
    for _ in range(300):
        (a,) = study(random, seeds=seeds, examples=200, seed_sd=0.6)
        (b,) = study(random, seeds=others, examples=200, seed_sd=0.0, shifts=(-0.3 * (1.49 / 1.85) ** 0.5,))
        false += stats.paired_difference(a, b, resamples=500).p < 0.05
    assert false / 300 <= 0.075  # 5 % and twice the error of 300 studies


def test_lora_against_itself_is_never_told_apart():
    """Strict accuracy of four seeds on apps-mini: tests over the examples alone told four of the six pairs apart."""
    random = np.random.default_rng(0)
    runs = [(random.permutation(200) < round(2 * points)).astype(float) for points in (69.0, 82.0, 81.0, 69.5)]
    for one, other in itertools.combinations(runs, 2):
        for base in ({"method": "b"}, stats.BEST):
            found = stats.summarise(answers({"a": [one], "b": [other]}), "method", "em@1", base=base)
            assert set(found["verdict"].dropna()) <= {stats.ONE_SEED}


class TestInterval:
    def test_one_seed_of_yes_or_no_is_jeffreys_interval_also_of_a_hundred_equal_answers(self):
        """7 of 40: the quantiles of Beta(7.5, 33.5), a little wider for Student's t of 40 examples."""
        found = stats.interval([[1.0] * 7 + [0.0] * 33], resamples=40_000)
        low, high = np.quantile(np.random.default_rng(5).beta(7.5, 33.5, 400_000), [0.025, 0.975])
        assert (found.mean, found.low, found.high) == pytest.approx((7 / 40, low, high), abs=0.012)
        equal = stats.interval([[1.0] * 100])
        assert equal.mean == equal.high == 1.0
        assert 0.015 < equal.high - equal.low < 0.05  # the rule of three says 0.03

    def test_spread_over_seeds_widens_it_and_the_same_scores_twice_are_no_new_knowledge(self):
        same = [0.2, 0.4, 0.6, 0.8] * 20
        once, thrice = stats.interval([same]), stats.interval([same] * 3)
        apart = stats.interval([[score + shift for score in same] for shift in (-0.1, 0.0, 0.1)])
        assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.05)
        assert apart.high - apart.low > 2 * (thrice.high - thrice.low)

    def test_missing_scores_are_counted_and_not_taken_as_zero(self):
        found = stats.interval([[1.0, 1.0, None, None], [1.0, 0.0, None, 1.0]])
        assert found.mean == pytest.approx((1.0 + 2 / 3) / 2)
        assert found.n == 3
        assert stats.interval([[0.5]]) == stats.Interval(0.5, None, None, n=1)
        for scores in ([], [[]], [[None, None]]):
            assert stats.interval(scores).mean is None

    def test_what_cannot_be_scores_is_refused(self):
        with pytest.raises(ValueError, match="same examples; got 2, 1 scores"):
            stats.interval([[0.0, 1.0], [1.0]])
        with pytest.raises(ValueError, match="from 0 to 1; got 20 to 41"):
            stats.interval([[20.0, 41.0]])


class TestPairedDifference:
    def test_hand_worked(self):
        """Differences 1, 1, 0, -1: mean 1/4; sum of squares 3 - 4/16 = 2.75, over 3, its root 0.957."""
        found = stats.paired_difference([[1.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 1.0]])
        assert (found.mean, found.effect) == (0.25, pytest.approx(0.25 / (2.75 / 3) ** 0.5))
        assert stats.decide(found) == "tie"

    def test_pairing_is_what_makes_it_sharp(self):
        """A tenth added to every example: certain, though the examples differ by far more."""
        scores = list(np.linspace(0, 0.9, 30))
        found = stats.paired_difference([[score + 0.1 for score in scores]], [scores])
        assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
        assert stats.decide(found) == "higher"

    def test_three_examples_prove_nothing(self):
        assert stats.paired_difference([[0.9, 0.8, 0.9]], [[0.1, 0.0, 0.1]]).p >= 0.25  # two of 2^3 sign flips

    def test_only_examples_with_both_scores_count(self):
        found = stats.paired_difference([[1.0, None, 1.0, 1.0]] * 3, [[0.0, 0.0, None, 1.0]])
        assert (found.mean, found.n) == (0.5, 2)
        nothing = stats.paired_difference([[1.0, None]], [[None, 0.0]])
        assert (nothing.mean, nothing.p, stats.decide(nothing)) == (None, None, "tie")
        with pytest.raises(ValueError, match="same examples; got 2 and 3"):
            stats.paired_difference([[1.0, 0.0]], [[1.0, 0.0, 0.0]])


def test_holm_on_a_hand_worked_family():
    """Sorted .01 × 4, .02 × 3, .03 × 2, .04 × 1, each at least the one before."""
    assert stats.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert stats.holm([0.5, 0.6]) == [1.0, 1.0]


def test_a_claim_needs_all_of_its_comparisons_and_one_that_is_lost_after_holm_refutes_it():
    assert stats.decide_all([0.1, 0.2], [0.04, 0.04]) == "higher"  # no correction: both at 5 %
    assert stats.decide_all([0.1, -0.2], [0.04, 0.04]) == "tie"  # 0.08 after Holm
    assert stats.decide_all([0.1, -0.2], [0.04, 0.02]) == "lower"
    assert stats.decide_all([0.1, 0.2], [0.04, np.nan]) == stats.decide_all([], []) == "tie"


def test_mcnemar_hand_worked():
    """8 examples only a has, 1 only b: 2 (1 + 9) / 2^9."""
    found = stats.mcnemar([1.0] * 8 + [0.0] + [1.0] * 5 + [None], [0.0] * 8 + [1.0] + [1.0] * 5 + [1.0])
    assert found == (8, 1, pytest.approx(20 / 512))
    assert stats.mcnemar([None], [1.0]).p is None
    with pytest.raises(ValueError, match=r"takes scores of 0 and 1; got 0\.5"):
        stats.mcnemar([0.5], [1.0])


def test_a_front_hand_worked():
    points = np.array([[3, 1], [2, 2], [2, 1], [1, 3], [3, 1], [np.nan, 9]], float)
    assert stats.front(points).tolist() == [True, True, False, True, True, False]
    assert stats.front(np.empty((0, 2))).tolist() == []


def test_mean_ranks_share_places_and_their_intervals_hold_the_truth():
    first = [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    second = [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    assert stats.mean_ranks([first, second])[:, 0].tolist() == [1.75, 1.75, 2.5]
    assert len(stats.mean_ranks([])) == 0
    random, held = np.random.default_rng(4), 0
    for _ in range(100):
        tables = [(random.random((3, 80)) < np.array([[0.5], [0.42], [0.35]])).astype(float) for _ in range(2)]
        _, low, high = stats.mean_ranks(tables, resamples=300).T
        held += ((low <= [1, 2, 3]) & (high >= [1, 2, 3])).sum()
    assert held / 300 >= 0.93


def answers(scores: dict[str, list[list[float | None]]], **columns) -> pd.DataFrame:
    """Method -> one list a seed, one score an example."""
    lines = [
        {"run": f"{method}{seed}{columns}", "seed": seed, "method": method, "example": f"{place:03d}", "em@1": score}
        for method, seeds in scores.items()
        for seed, values in enumerate(seeds)
        for place, score in enumerate(values)
    ]
    return pd.DataFrame(lines).astype({"em@1": float}).assign(**columns)


class TestSummarise:
    def test_equals_the_functions_of_sequences(self):
        long = answers({"a": [GOOD, BAD], "b": [BAD]}, stochastic=False)
        frame = stats.summarise(long, "method", "em@1", base={"method": "b"})
        line, around = frame.loc[0], stats.interval([GOOD, BAD])
        assert (line["em@1"], line["em@1_low"], line["em@1_high"]) == (around.mean, around.low, around.high)
        assert line["em@1_sd"] == pytest.approx(0.5 / 2**0.5)
        tested = stats.paired_difference([GOOD, BAD], [BAD])
        assert (line["difference"], line["difference_low"], line["p"]) == (tested.mean, tested.low, tested.p)
        assert (line["seeds"], line["pairs"], line["verdict"]) == (2, 40, "tie")
        assert frame["is_base"].tolist() == [False, True]
        assert pd.isna(frame.loc[1, "p"])

    def test_counts_what_is_missing_and_does_not_test_it(self):
        found = answers({"a": [[1.0, None, 0.0, 1.0]] * 2, "b": [[None] * 4]})
        frame = stats.summarise(found, "method", "em@1", base=stats.BEST)
        assert frame["em@1_n"].tolist() == [3, 0]
        assert frame["em@1_missing"].tolist() == [1, 4]
        assert frame["is_base"].tolist() == [True, False]
        assert frame.loc[1, "verdict"] is None

    def test_the_base_is_one_of_each_part_and_holm_counts_the_family(self):
        long = pd.concat([answers({"a": [GOOD] * 2, "b": [BAD] * 2}, task=task) for task in "xy"])
        long["task"] = pd.Categorical(long["task"], ["y", "x"])  # the order of the lines
        by = ["task", "method"]
        apart = stats.summarise(long, by, "em@1", base={"method": "b"}, within=["task"])
        together = stats.summarise(long, by, "em@1", base={"method": "b"}, within=["task"], family=())
        assert apart["task"].tolist() == ["y", "y", "x", "x"]
        assert apart["is_base"].tolist() == [False, True, False, True]
        assert together["p"].dropna().tolist() == [2 * p for p in apart["p"].dropna()]

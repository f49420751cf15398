"""Intervals hold what they promise, tests find what is there, and nothing missing is hidden."""

import time
from statistics import NormalDist

import numpy as np
import pytest

from nblib import stats


def study(random, *, seeds: int, examples: int, seed_sd: float, methods: int = 1) -> list[np.ndarray]:
    """Yes-or-no scores with crossed random effects of seeds and examples, each as (seeds, examples)."""
    example = random.normal(0, 1, examples)
    latent = [
        -0.3 + random.normal(0, seed_sd, (seeds, 1)) + example + random.normal(0, 0.7, (seeds, examples))
        for _ in range(methods)
    ]
    return [(each > 0).astype(float) for each in latent]


def true_mean(seed_sd: float) -> float:
    """Of `study`: how often a normal number lies above zero."""
    return NormalDist().cdf(-0.3 / (1 + 0.7**2 + seed_sd**2) ** 0.5)


class TestInterval:
    @pytest.mark.parametrize(
        ("seeds", "examples", "seed_sd"), [(1, 60, 0.0), (3, 60, 0.1), (3, 200, 0.1), (5, 120, 0.3)]
    )
    def test_holds_the_truth_in_about_95_of_100_studies(self, seeds, examples, seed_sd):
        random = np.random.default_rng(1)
        truth, held, studies = true_mean(seed_sd), 0, 300
        for _ in range(studies):
            found = stats.interval(study(random, seeds=seeds, examples=examples, seed_sd=seed_sd)[0], resamples=500)
            held += found.low <= truth <= found.high
        assert 0.915 <= held / studies <= 0.985  # 95 % and twice the error of 300 studies, and our caution above

    def test_examples_alone_would_not_hold_it(self):
        """The same study with its seeds taken as one: what the test above would catch."""
        random = np.random.default_rng(1)
        truth, held = true_mean(0.3), 0
        for _ in range(200):
            (scores,) = study(random, seeds=3, examples=200, seed_sd=0.3)
            found = stats.interval([scores.mean(axis=0)], resamples=500)
            held += found.low <= truth <= found.high
        assert held / 200 < 0.75

    def test_one_seed_of_yes_or_no_is_jeffreys_interval(self):
        """7 of 40: the quantiles of Beta(7.5, 33.5), a little wider for Student's t of 40 examples."""
        found = stats.interval([[1.0] * 7 + [0.0] * 33], resamples=40_000)
        random = np.random.default_rng(5)
        low, high = np.quantile(random.beta(7.5, 33.5, 400_000), [0.025, 0.975])
        assert found.mean == pytest.approx(7 / 40)
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.012)

    @pytest.mark.parametrize("score", [0.0, 1.0])
    def test_a_hundred_equal_answers_still_leave_doubt(self, score):
        found = stats.interval([[score] * 100])
        assert found.mean == score
        assert 0.015 < found.high - found.low < 0.05  # the rule of three says 0.03
        assert 0 <= found.low <= found.high <= 1

    def test_more_spread_over_seeds_is_a_wider_interval(self):
        same = [[0.2, 0.4, 0.6, 0.8] * 20] * 3
        spread = [[each + shift for each in same[0]] for shift in (-0.1, 0.0, 0.1)]
        narrow, wide = stats.interval(same), stats.interval(spread)
        assert narrow.mean == pytest.approx(wide.mean)
        assert wide.high - wide.low > 2 * (narrow.high - narrow.low)

    def test_the_same_scores_twice_are_no_new_knowledge_about_examples(self):
        scores = [0.0, 1.0, 1.0, 0.0, 1.0] * 12
        once, thrice = stats.interval([scores]), stats.interval([scores] * 3)
        assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.05)
        assert (once.seeds, thrice.seeds) == (1, 3)

    def test_missing_scores_are_counted_and_not_taken_as_zero(self):
        found = stats.interval([[1.0, 1.0, None, None], [1.0, 0.0, None, 1.0]])
        assert found.mean == pytest.approx((1.0 + 2 / 3) / 2)
        assert (found.n, found.missing, found.seeds) == (3, 2, 2)

    @pytest.mark.parametrize("scores", [[], [[]], [[None, None]]])
    def test_no_scores_are_no_interval(self, scores):
        found = stats.interval(scores)
        assert (found.mean, found.low, found.high, found.n) == (None, None, None, 0)

    def test_one_example_has_a_mean_but_no_interval(self):
        assert stats.interval([[0.5]]) == stats.Interval(0.5, None, None, n=1, missing=0, seeds=1)

    def test_different_numbers_of_examples_are_refused(self):
        with pytest.raises(ValueError, match="same examples; got 2, 1 scores"):
            stats.interval([[0.0, 1.0], [1.0]])

    def test_percent_instead_of_shares_is_refused(self):
        with pytest.raises(ValueError, match="from 0 to 1; got 20 to 41"):
            stats.interval([[20.0, 41.0]])

    def test_the_same_seed_gives_the_same_interval(self):
        scores = study(np.random.default_rng(3), seeds=3, examples=50, seed_sd=0.1)[0]
        assert stats.interval(scores, seed=4) == stats.interval(scores, seed=4)
        assert stats.interval(scores, seed=4) != stats.interval(scores, seed=5)

    def test_is_quick(self):
        scores = study(np.random.default_rng(3), seeds=5, examples=600, seed_sd=0.1)[0]
        stats.interval(scores)
        seconds = []
        for _ in range(5):
            begun = time.process_time()
            stats.interval(scores)
            seconds.append(time.process_time() - begun)
        assert min(seconds) < 0.05


class TestPairedDifference:
    @pytest.mark.parametrize(("seeds", "seed_sd"), [(1, 0.0), (3, 0.1)])
    def test_finds_a_difference_in_at_most_5_of_100_studies_without_one(self, seeds, seed_sd):
        random, found, studies = np.random.default_rng(2), 0, 300
        for _ in range(studies):
            a, b = study(random, seeds=seeds, examples=80, seed_sd=seed_sd, methods=2)
            found += stats.paired_difference(a, b, resamples=500).p < 0.05
        assert found / studies <= 0.07  # 5 % and twice the error of 300 studies; caution may make it fewer

    def test_finds_a_clear_difference(self):
        random = np.random.default_rng(2)
        a, b = study(random, seeds=3, examples=200, seed_sd=0.05, methods=2)
        b = b * (random.random(b.shape) < 0.6)  # four of ten right answers spoilt
        difference = stats.paired_difference(a, b)
        assert difference.p < 0.005
        assert difference.low > 0.05
        assert stats.decide(difference) == "higher"
        assert stats.decide(stats.paired_difference(b, a)) == "lower"

    def test_pairing_is_what_makes_it_sharp(self):
        """A tenth added to every example: certain, though the examples differ by far more."""
        scores = list(np.linspace(0, 0.9, 30))
        difference = stats.paired_difference([[each + 0.1 for each in scores]], [scores])
        assert (difference.mean, difference.low, difference.high) == pytest.approx((0.1, 0.1, 0.1))
        assert difference.effect is None  # without any deviation, none can be said
        assert stats.decide(difference) == "higher"

    def test_equal_answers_are_a_tie(self):
        scores = [[0.0, 1.0] * 20]
        difference = stats.paired_difference(scores, scores)
        assert difference.mean == 0.0
        assert difference.p > 0.9
        assert stats.decide(difference) == "tie"

    def test_hand_worked(self):
        """Differences 1, 1, 0, -1: mean 1/4; sum of squares 3 - 4/16 = 2.75, over 3, its root 0.957."""
        difference = stats.paired_difference([[1.0, 1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 1.0]])
        assert difference.mean == 0.25
        assert difference.effect == pytest.approx(0.25 / (2.75 / 3) ** 0.5)
        assert stats.decide(difference) == "tie"

    def test_three_examples_prove_nothing(self):
        assert stats.paired_difference([[0.9, 0.8, 0.9]], [[0.1, 0.0, 0.1]]).p >= 0.25  # two of 2^3 sign flips

    def test_only_examples_with_both_scores_count(self):
        difference = stats.paired_difference([[1.0, None, 1.0, 1.0]], [[0.0, 0.0, None, 1.0]])
        assert (difference.mean, difference.n, difference.missing) == (0.5, 2, 2)

    def test_nothing_in_common_is_no_difference_and_a_tie(self):
        difference = stats.paired_difference([[1.0, None]], [[None, 0.0]])
        assert (difference.mean, difference.p, difference.n) == (None, None, 0)
        assert stats.decide(difference) == "tie"

    def test_numbers_of_seeds_may_differ(self):
        difference = stats.paired_difference([[1.0, 1.0, 0.0]] * 3, [[1.0, 0.0, 0.0]])
        assert difference.seeds == (3, 1)
        assert difference.mean == pytest.approx(1 / 3)

    def test_other_examples_are_refused(self):
        with pytest.raises(ValueError, match="same examples; got 2 and 3"):
            stats.paired_difference([[1.0, 0.0]], [[1.0, 0.0, 0.0]])


def test_holm_on_a_hand_worked_family():
    """Sorted .01 × 4, .02 × 3, .03 × 2, .04 × 1, each at least the one before."""
    assert stats.holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert stats.holm([0.5, 0.6]) == [1.0, 1.0]
    assert stats.holm([]) == []


def test_a_family_adjusts_only_what_was_tested():
    tested = stats.Difference(0.1, 0.0, 0.2, 0.02, 0.5, 10, 0, (1, 1))
    untested = stats.Difference(None, None, None, None, None, 0, 10, (1, 1))
    assert [each.p for each in stats.adjusted([tested, untested, tested])] == [0.04, None, 0.04]


def test_spread_is_the_sample_deviation_and_none_for_one_seed():
    assert stats.spread([0.1, 0.3, None]) == stats.Spread(pytest.approx(0.2), pytest.approx(0.02**0.5), 2)
    assert stats.spread([0.4]) == stats.Spread(0.4, None, 1)
    assert stats.spread([None]) == stats.Spread(None, None, 0)


class TestMcNemar:
    def test_hand_worked(self):
        """8 examples only a has, 1 only b: 2 (1 + 9) / 2^9."""
        found = stats.mcnemar([1.0] * 8 + [0.0] + [1.0] * 5 + [None], [0.0] * 8 + [1.0] + [1.0] * 5 + [1.0])
        assert (found.only_a, found.only_b, found.n) == (8, 1, 14)
        assert found.p == pytest.approx(20 / 512)

    def test_equal_answers_are_no_difference(self):
        assert stats.mcnemar([1.0, 0.0], [1.0, 0.0]).p == 1.0

    def test_nothing_in_common_has_no_p(self):
        assert stats.mcnemar([None], [1.0]).p is None

    def test_scores_between_0_and_1_are_refused(self):
        with pytest.raises(ValueError, match=r"takes scores of 0 and 1; got 0\.5"):
            stats.mcnemar([0.5], [1.0])

    def test_finds_a_difference_in_at_most_5_of_100_studies_without_one(self):
        random = np.random.default_rng(3)
        tests = [stats.mcnemar(*random.integers(0, 2, (2, 60)).astype(float)) for _ in range(400)]
        assert sum(each.p < 0.05 for each in tests) / 400 <= 0.06


class TestMeanRanks:
    def test_hand_worked_with_a_shared_place(self):
        first = [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
        second = [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
        assert [each.mean for each in stats.mean_ranks([first, second])] == [1.75, 1.75, 2.5]

    def test_the_interval_holds_the_rank_that_all_examples_would_give(self):
        random = np.random.default_rng(4)
        truth, held = np.array([1.0, 2.0, 3.0]), 0
        for _ in range(200):
            tables = [(random.random((3, 80)) < np.array([[0.5], [0.42], [0.35]])).astype(float) for _ in range(2)]
            ranks = stats.mean_ranks(tables, resamples=300)
            held += sum(each.low <= true <= each.high for each, true in zip(ranks, truth, strict=True))
        assert held / 600 >= 0.93

    def test_no_benchmarks_are_no_ranks(self):
        assert stats.mean_ranks([]) == []

    def test_other_methods_are_refused(self):
        with pytest.raises(ValueError, match="the same methods"):
            stats.mean_ranks([[[1.0]], [[1.0], [0.0]]])


def test_the_interval_of_a_difference_holds_the_truth_in_about_95_of_100_studies():
    """Two methods that share examples and differ by a known amount."""
    random = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        examples = random.normal(0, 1, 80)
        a, b = (
            (shift + examples + random.normal(0, 0.7, (3, 80)) + random.normal(0, 0.1, (3, 1)) > 0).astype(float)
            for shift in (0.2, -0.3)
        )
        found = stats.paired_difference(a, b, resamples=500)
        scale = (1 + 0.7**2 + 0.1**2) ** 0.5
        truth = NormalDist().cdf(0.2 / scale) - NormalDist().cdf(-0.3 / scale)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 300 <= 0.985

"""Whether cheap scores tell what running tells: correlations solved by hand, within methods and between them."""

import numpy as np
import pytest
from made_rows import run
from scipy import stats as reference

from nblib import plots, results, spec, stats, tables
from nblib.provenance import REVISIONS
from nblib.results import Prediction, Row

NAMES = ("pearson", "spearman", "kendall")


def put(folder, method, passed, chrf, seed=42):
    """A row whose answers passed (1 or 0, None: undecided), with their chrF."""
    asked = run(method, seed)
    scores = [{"strict_accuracy": one, "chrf": other} for one, other in zip(passed, chrf, strict=True)]
    means = {
        name: {"mean": np.mean([s[name] or 0.0 for s in scores]), "n": len(scores), "missing": 0} for name in scores[0]
    }
    made = {"data": "d", "weights": "w", "revisions": REVISIONS}
    row = Row(spec.run_id(asked, data="d", weights="w"), spec.settings(asked), "ok", means, {}, {}, made)
    results.write(
        folder, row, [Prediction(f"e{n:03}", ("x",), ("x",), 1, 1, scores=own) for n, own in enumerate(scores)]
    )


def lines(folder):
    frame = tables.agreement(*results.load(folder)).frame
    return (frame[frame["level"] == level].iloc[0] for level in ("answers of one method", "means of methods"))


def test_correlations_as_solved_by_hand():
    x, y = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 0.0, 1.0, 1.0])
    pearson, spearman, kendall = stats.correlations(x, y, np.ones((1, 4)))[:, 0]
    assert pearson == spearman == pytest.approx(2 / 5**0.5)
    assert kendall == pytest.approx(4 / (6 * 4) ** 0.5)  # tau-b: 6 pairs, 4 of them differ in y
    assert np.isnan(stats.correlations(x, np.ones(4), np.ones((1, 4)))).all()


def test_correlations_are_those_of_scipy_for_every_resample():
    random = np.random.default_rng(3)
    x = random.integers(0, 6, 40) / 5  # with ties
    y = (random.random(40) < x).astype(float)
    counts = random.multinomial(40, np.full(40, 1 / 40), 5)
    found = stats.correlations(x, y, counts)
    for drawn, own in zip(counts, found.T, strict=True):
        pair = np.repeat(x, drawn), np.repeat(y, drawn)
        known = [one(*pair)[0] for one in (reference.pearsonr, reference.spearmanr, reference.kendalltau)]
        assert own == pytest.approx(known, abs=1e-12)


def test_a_score_that_ranks_methods_need_not_tell_their_answers_apart(tmp_path):
    random = np.random.default_rng(0)
    for place, shots in enumerate((1, 2, 3, 4, 8)):
        passed = (random.random(200) < 0.1 + 0.2 * place).astype(float)
        put(tmp_path, spec.InContext(shots), passed, np.clip(0.1 + 0.2 * place + random.normal(0, 0.05, 200), 0, 1))
    within, between = lines(tmp_path)
    assert (within["n"], between["n"]) == (200, 5)
    for name in NAMES:
        assert within[f"{name}_low"] < 0 < within[f"{name}_high"]
        assert abs(within[name]) < 0.1
        assert between[name] > 0.98
        assert between[f"{name}_low"] > 0.9


def test_between_few_methods_there_is_no_interval(tmp_path):
    for shots, share in ((1, 20), (2, 40), (3, 60), (4, 80)):
        passed = np.arange(100) < share
        put(tmp_path, spec.InContext(shots), passed.astype(float), 1.0 - passed)
    within, between = lines(tmp_path)
    assert [within[name] for name in NAMES] == pytest.approx([-1] * 3)
    assert [between[name] for name in NAMES] == pytest.approx([-1] * 3)
    assert between["n"] == 4
    assert np.isnan([between[f"{name}_{end}"] for name in NAMES for end in ("low", "high")]).all()
    table = tables.agreement(*results.load(tmp_path))
    assert "fewer than 5 methods" in str(table)
    drawn = table.frame.dropna(subset="pearson_low")
    words = plots.alternative(plots.forest(drawn, "pearson", name="score", sections="level"))
    assert "answers of one method, chrF: -1.00 (-1.00 to -1.00)" in words
    assert "means of methods" not in words


def test_answers_to_one_problem_go_together_so_more_seeds_of_the_same_tell_no_more(tmp_path):
    random = np.random.default_rng(1)
    passed = (random.random(60) < 0.5).astype(float)
    chrf = np.clip(0.3 * passed + random.random(60) / 2, 0, 1)
    put(tmp_path / "one", spec.Lora(), passed, chrf)
    for seed in (1, 2, 3):
        put(tmp_path / "three", spec.Lora(), passed, chrf, seed)
    one, three = (next(lines(tmp_path / name)) for name in ("one", "three"))
    ends = [f"{name}{end}" for name in NAMES for end in ("", "_low", "_high")]
    assert list(three[ends]) == pytest.approx(list(one[ends]))
    assert one["pearson"] == pytest.approx(reference.pointbiserialr(passed, chrf)[0])


def test_problems_without_a_score_are_counted_and_runs_without_tests_say_so(tmp_path):
    put(tmp_path / "a", spec.Lora(), [1, 0, None, 1, 0], [0.9, 0.2, 0.5, 0.8, 0.1])
    table = tables.agreement(*results.load(tmp_path / "a"))
    assert "Left out: 1 problems" in str(table)
    assert table.frame["n"].iloc[0] == 4
    runs, answers = results.load(tmp_path / "a")
    assert "No problem of these runs" in str(tables.agreement(runs.drop(columns="strict_accuracy"), answers))

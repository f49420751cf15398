"""What the embedded model and its sample task have to show, on two draws of the data.

pytest -s -m slow tests/benchmarks/check_claims.py     some ten minutes; -s prints the scores with their intervals

It is a benchmark because another processor rounds differently, and what a model answers may change with that.
"""

import pytest

from nblib import results, spec, stats, study
from nblib.tiny import sample_tasks


@pytest.fixture(scope="module", params=[42, 1], ids=lambda seed: f"data seed {seed}")
def scores(request, tmp_path_factory):
    """EM@1 of every example, by method and seed, on a draw of the sample task."""
    folder = tmp_path_factory.mktemp("claims")
    sample_tasks.write(folder, request.param)
    runs = study.compare(
        "tiny", "conala-mini", names=["zero-shot", "icl", "lora"], data_dir=str(folder / "conala-mini")
    )
    planned = study.plan(runs)
    study.run_all(planned, folder / "results")
    found: dict[str, list[list[float]]] = {}
    for each in planned:
        exact = [prediction.scores["em@1"] for prediction in results.predictions(folder / "results", each.id)]
        found.setdefault(spec.label(each.run.method), []).append(exact)
    return found


@pytest.mark.slow
def test_lora_beats_icl_beats_zero_shot_and_nothing_is_at_the_limits(scores):
    intervals = {label: stats.interval(by_seed) for label, by_seed in scores.items()}
    print({label: f"{each.mean:.3f} ({each.low:.3f} to {each.high:.3f})" for label, each in intervals.items()})
    assert len(scores["lora"]) >= 3
    assert all(0 < each.mean < 1 for each in intervals.values())
    best = max((label for label in scores if label.startswith("icl")), key=lambda label: intervals[label].mean)
    assert intervals["zero-shot"].mean < intervals[best].mean
    shared = [scores["zero-shot"][0]] * len(scores[best])  # zero-shot has no randomness
    assert stats.decide(stats.paired_difference(scores[best], shared)) == "higher"
    assert intervals["lora"].low > intervals[best].high

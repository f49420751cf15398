"""What the embedded model and its sample task have to show, on three draws of the data.

pytest -n0 -s -m slow tests/benchmarks/check_claims.py     some fifteen minutes; -s prints scores with intervals

The presets' settings were chosen with the first two draws; nothing was ever chosen with the third. It is a benchmark
because another processor rounds differently, and what a model answers may change with that. A draw has 200 examples,
too few to tell scores a few points apart: there the order of the means is looked at, and tests are over the examples of
all draws.
"""

from dataclasses import dataclass, replace
from itertools import accumulate, chain

import pytest

from nblib import presets, results, spec, stats, study
from nblib.tools import sample_tasks

UNTOUCHED = 7  # the draw that nothing was tuned on: choose nothing with it
DRAWS = (42, 1, UNTOUCHED)
SEEDS = (42, 777, 5432)
SHOT_SEEDS = (42, 777, 5432, 55555, 97, 3, 11, 2024)  # of random shots, whose choice matters much and costs little


@dataclass(frozen=True)
class Found:
    """EM@1 of every example, by label and seed."""

    scores: dict[str, list[list[float]]]
    new: list[int]  # places of the examples whose operation the embedded model has never seen

    def interval(self, label: str) -> stats.Interval:
        return stats.interval(self.scores[label])

    def mean(self, label: str) -> float:
        return self.interval(label).mean

    def best(self, kind: str) -> str:
        return max((label for label in self.scores if label.startswith(kind)), key=self.mean)

    def verdict(self, first: str, second: str, places: list[int] | None = None) -> str:
        """Whether the first is higher, lower or a tie by the paired test, over all examples or those places."""
        scores = [[_at(seed, places) for seed in self.scores[label]] for label in (first, second)]
        return stats.decide(stats.paired_difference(*scores))


def _at(seed: list[float], places: list[int] | None) -> list[float]:
    return seed if places is None else [seed[place] for place in places]


def find(draw: int, folder) -> Found:
    """Runs the comparison on a draw of the sample task."""
    sample_tasks.write(folder, draw)
    where = {"data_dir": str(folder / "conala-mini")}
    runs = study.compare("tiny", "conala-mini", names=["zero-shot", "rag", "lora"], seeds=SEEDS, **where)
    runs += study.compare("tiny", "conala-mini", names=["icl"], seeds=SHOT_SEEDS, **where)
    runs += [replace(run, precision="nf4") for run in runs if run.method.kind == "lora"]
    planned = study.plan(runs)
    study.run_all(planned, folder / "results")
    scores: dict[str, list[list[float]]] = {}
    for one in planned:
        exact = [prediction.scores["em@1"] for prediction in results.predictions(folder / "results", one.id)]
        scores.setdefault(spec.label(one.run.method, one.run.precision), []).append(exact)
    found = Found(scores, [place for place, example in enumerate(planned[0].data.test) if not example.known])
    intervals = {label: found.interval(label) for label in scores}
    print(
        draw,
        {
            label: f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"
            for label, interval in intervals.items()
        },
    )
    only_new = {label: stats.interval([_at(seed, found.new) for seed in scores[label]]).mean for label in scores}
    print("new operations:", {label: f"{mean:.3f}" for label, mean in only_new.items()})
    return found


@pytest.fixture(scope="module")
def draws(tmp_path_factory) -> list[Found]:
    return [find(draw, tmp_path_factory.mktemp(f"draw{draw}")) for draw in DRAWS]


@pytest.fixture(scope="module")
def every(draws) -> Found:
    """The examples of all draws; a method has as many seeds on each."""
    scores = {
        label: [list(chain(*parts)) for parts in zip(*(found.scores[label] for found in draws), strict=True)]
        for label in draws[0].scores
    }
    starts = accumulate((len(found.scores["zero-shot"][0]) for found in draws), initial=0)
    return Found(scores, [start + place for start, found in zip(starts, draws, strict=False) for place in found.new])


@pytest.mark.slow
def test_lora_beats_icl_beats_zero_shot_and_nothing_is_at_the_limits(draws, every):
    for found in draws:
        assert len(found.scores["lora"]) >= 3
        assert all(0 < found.mean(label) < 1 for label in found.scores)
        assert found.mean("lora") > found.mean(found.best("icl")) > found.mean("zero-shot")
        assert found.interval("lora").low > found.interval(found.best("icl")).high
    assert every.verdict(every.best("icl"), "zero-shot") == "higher"


@pytest.mark.slow
def test_rag_beats_random_examples_where_the_operation_is_new(draws):
    for found in draws:
        for shots in presets.get("default").shots:
            assert found.verdict(f"rag-{shots}", f"icl-{shots}", found.new) == "higher"


@pytest.mark.slow
def test_lora_beats_rag(draws, every):
    for found in draws:
        assert found.mean("lora") > found.mean(found.best("rag"))
    assert every.verdict("lora", every.best("rag")) == "higher"


@pytest.mark.slow
def test_lora_over_four_bits_is_within_the_interval_of_lora(draws):
    for found in draws:
        whole = found.interval("lora")
        assert whole.low <= found.mean("qlora-4bit") <= whole.high

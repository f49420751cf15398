"""Scores by method, benchmark, model, task and rate: nothing invented, nothing dropped."""

import pandas as pd
import pytest
from made_rows import put, put_seeds, right, run, study

from nblib import results, spec, stats, tables
from nblib.spec import Custom, Decoding, FullTuning, Ia3, InContext, Lora, Retrieved, ZeroShot
from nblib.tables.labels import labelled
from nblib.tables.scores import base_of, summary


def comparison(folder) -> pd.DataFrame:
    return tables.comparison(*results.load(folder)).frame


def versus(folder, base: str) -> pd.DataFrame:
    _, answers = labelled(*results.load(folder))
    return summary(answers, "method", "em@1", base=base_of(answers, base, "em@1")).dropna(subset="difference")


def benchmarks(folder) -> list:
    return tables.benchmarks(*results.load(folder))


class TestComparison:
    def test_hand_worked(self, tmp_path):
        put(tmp_path, run(Lora(), 1), [1.0] * 30 + [0.0] * 90)
        put(tmp_path, run(Lora(), 2), [1.0] * 60 + [0.0] * 60, costs={"train_seconds": 50.0})
        line = comparison(tmp_path).loc["lora"]
        assert (line["em@1"], line["em@1_sd"]) == pytest.approx(((0.25 + 0.5) / 2, 0.25 / 2**0.5))
        assert 0 <= line["em@1_low"] < 0.25  # two seeds: wide
        assert line[["seeds", "em@1_n", "em@1_missing", "train_seconds"]].tolist() == [2, 120, 0, 45]

    def test_one_line_a_method_in_the_house_order_ties_with_the_best_marked(self, tmp_path):
        shares = {ZeroShot(): 0.1, InContext(3): 0.3, InContext(1): 0.2, InContext(16): 0.25, Lora(): 0.65, Ia3(): 0.63}
        study(tmp_path, shares)
        frame = comparison(tmp_path)
        assert list(frame.index) == ["zero-shot", "icl-1", "icl-3", "icl-16", "lora", "ia3"]
        assert list(frame["em@1_rank"]) == [6, 5, 3, 4, 1, 2]
        assert frame["em@1_tie"].tolist() == [False, False, False, False, pd.NA, True]
        tested = versus(tmp_path, "zero-shot")
        assert tested.loc["lora", ["n", "verdict"]].tolist() == [120, "higher"]
        assert tested.loc["lora", "difference"] == pytest.approx(0.55, abs=0.01)
        with pytest.raises(ValueError, match="base must be one of zero-shot, .*; got 'rag-1'"):
            versus(tmp_path, "rag-1")

    def test_one_seed_of_what_varies_with_it_is_described_and_neither_tested_nor_marked(self, tmp_path):
        study(tmp_path, {Lora(): 0.5, ZeroShot(): 0.1, Retrieved(3): 0.3})
        put(tmp_path, run(Ia3()), right(0.9))
        put(tmp_path, run(InContext(3)), right(0.8))
        table = tables.comparison(*results.load(tmp_path))
        assert list(table.frame["em@1_rank"].fillna(0)) == [3, 0, 2, 1, 0]
        assert table.frame["em@1_tie"].isna().tolist() == [False, True, False, True, True]
        assert table.frame.loc["ia3", "em@1_high"] > 0.9
        tested = versus(tmp_path, "lora")
        assert tested["verdict"].tolist() == ["lower", stats.ONE_SEED, "lower", stats.ONE_SEED]
        assert tested.loc["ia3", ["p", "difference_low"]].isna().all()
        assert set(versus(tmp_path, "ia3")["verdict"]) == {stats.ONE_SEED}
        sampled = Decoding(beams=1, returned=1, temperature=0.6)
        put(tmp_path / "sampled", run(ZeroShot(), decoding=sampled), right(0.1))
        put_seeds(tmp_path / "sampled", run(Lora(), decoding=sampled), right(0.8))
        assert versus(tmp_path / "sampled", "lora")["verdict"].item() == "one seed"

    def test_missing_scores_lost_runs_and_partial_results_are_counted_and_said(self, tmp_path):
        assert tables.comparison(*results.load(tmp_path)).text.startswith("No runs.")
        put(tmp_path, run(ZeroShot(), limit=4), [1.0, None, 0.0, 1.0], metrics=("em@1", "codebleu"))
        put(tmp_path, run(Lora(), limit=4), [], status=results.OUT_OF_MEMORY)
        put(tmp_path, run(Ia3(), limit=4), right(0.5)[:4])
        put(tmp_path, run(Ia3(), 7, limit=4), [], status=results.FAILED)
        table = tables.comparison(*results.load(tmp_path))
        assert table.frame.loc["zero-shot", "em@1"] == pytest.approx(2 / 3)
        undefined, partial = "CodeBLEU is not defined for some examples: zero-shot 1", "a partial result"
        for words in ("3 of 4", undefined, "0 (1 OOM)", "1 (1 failed)", partial):
            assert words in tables.full(table).text

    def test_em_at_10_needs_every_run_and_rows_without_predictions_keep_their_mean(self, tmp_path):
        row = put(tmp_path, run(Lora()), right(0.5), metrics=("em@1", "em@10"))
        assert "em@10" in comparison(tmp_path)
        put(tmp_path, run(ZeroShot()), right(0.1))
        (tmp_path / f"{row.id}.predictions.jsonl").unlink()
        results.write(tmp_path, row)
        frame = comparison(tmp_path)
        assert "em@10" not in frame
        assert frame.loc["lora", "em@1"] == pytest.approx(0.5)
        assert pd.isna(frame.loc["lora", "em@1_low"])

    def test_methods_of_one_name_are_told_apart_by_what_differs(self, tmp_path):
        for rank in (4, 16):
            put(tmp_path, run(Lora(r=rank)), right(0.5))
        put(tmp_path, run(Custom(config='{"a": 1}', name="mine")), right(0.4))
        assert list(comparison(tmp_path).index) == ["lora r=4", "lora r=16", "mine"]

    @pytest.mark.parametrize(
        "changed",
        [{"limit": 20}, {"decoding": Decoding(beams=1, returned=1)}, {"split": "validation"}, {"train_task": "b"}],
    )
    def test_rows_that_do_not_compare_are_refused(self, tmp_path, changed):
        put(tmp_path, run(Ia3()), right(0.1))
        put(tmp_path, run(Lora(), **changed), right(0.5))
        with pytest.raises(ValueError, match="a comparison has one (limit|decoding|split|trained_on); got "):
            comparison(tmp_path)

    def test_the_batch_size_may_differ_but_not_the_weights_and_random_ones_have_no_scores(self, tmp_path):
        put(tmp_path, run(Lora(), decoding=spec.Decoding(batch_size=4)), right(0.5))
        put(tmp_path, run(ZeroShot()), right(0.1))
        assert len(comparison(tmp_path)) == 2
        put(tmp_path, run(ZeroShot()), right(0.5), weights="new")
        with pytest.raises(ValueError, match="zero-shot with seed 42 has two rows"):
            comparison(tmp_path)
        put(tmp_path, run(Lora(), shape_only=True), right(0.5))
        with pytest.raises(ValueError, match="takes no runs of random weights"):
            comparison(tmp_path)


class TestBenchmarks:
    def test_tasks_limits_decodings_and_data_make_tables_of_their_own(self, tmp_path):
        for changed in ({"split": "validation"}, {"train_task": "b"}, {"shape_only": True}):
            put(tmp_path, run(Lora(), **changed), right(0.5))
        assert benchmarks(tmp_path) == []
        put(tmp_path, run(Lora()), right(0.5))
        put(tmp_path, run(Lora(), limit=10), right(0.9)[:10])
        put(tmp_path, run(Lora(), decoding=Decoding(beams=1, returned=1)), right(0.5))
        for seed, data in ((1, "x"), (2, "y")):
            put(tmp_path, run(Lora(), seed, task="b"), right(0.5), provenance={"data": data})
        put(tmp_path, run(Ia3(), task="b"), [], status=results.FAILED, provenance={"data": None})
        names = {part.name: len(part.runs) for part in benchmarks(tmp_path)}
        assert names == {
            "a, 1 beams, 1 answers": 1,
            "a, 10 beams, 10 answers": 1,
            "b, data x": 2,  # a run that failed early joins the first
            "b, data y": 1,
            "a, first 10 examples": 1,
        }

    def test_methods_stand_under_each_model_and_gaps_are_said(self, tmp_path):
        study(tmp_path, {Lora(): 0.5, ZeroShot(): 0.1})
        put(tmp_path, run(Lora(), model="large"), right(0.6))
        put(tmp_path, run(FullTuning(), model="large"), [], status=results.OUT_OF_MEMORY)
        table = tables.report(benchmarks(tmp_path)[0])
        assert list(table.frame["model"]) == ["large"] * 2 + ["tiny"] * 2
        assert list(table.frame["method"]) == ["lora", "full", "zero-shot", "lora"]
        assert list(table.frame["status"]) == ["ok", "out_of_memory", "ok", "ok"]
        assert table.frame.loc[0, "memory_bytes"] == 500
        assert "With large 2 of 3 methods have run. With tiny 2 of 3 methods have run." in table.text
        assert "**50.0**" in table.text

    def test_mcnemar_stands_beside_the_paired_test(self, tmp_path):
        put_seeds(tmp_path, run(Lora()), [1.0] * 60 + [0.0] * 60)
        put_seeds(tmp_path, run(Ia3()), [0.0, 1.0] * 60)
        put(tmp_path, run(ZeroShot()), [0.0] * 120)
        frame = tables.tested(benchmarks(tmp_path)[0]).frame.set_index("method")
        frame = frame[["only_best", "only_other", "mcnemar_p", "difference", "verdict"]]
        assert frame.loc["ia3"].tolist() == [30, 30, 1.0, 0.0, "tie"]
        assert frame.loc["zero-shot"].tolist() == [60, 0, pytest.approx(2 * 2 / 2**60), 0.5, "higher"]  # of two tests

    def test_only_methods_of_every_benchmark_are_ranked_and_the_others_named(self, tmp_path):
        for task in ("a", "b"):
            study(tmp_path, {Lora(): 0.6, ZeroShot(): 0.1}, seeds=(1,), task=task)
        put(tmp_path, run(Ia3()), right(0.5))
        put(tmp_path, run(Lora(), model="large"), right(0.5))
        table = tables.mean_ranks(benchmarks(tmp_path), least=2)
        assert list(table.frame.index) == ["lora", "zero-shot"]
        assert list(table.frame["mean_rank"]) == [1.0, 2.0]
        assert "Not in all of them, so not ranked: ia3." in table.text
        assert "With too few methods to rank: a with large." in table.text


def test_every_model_is_tested_against_the_smallest_full_tuning(tmp_path):
    put_seeds(tmp_path, run(Lora(), model="large"), right(0.65))
    assert "nothing is tested" in tables.across_models(*results.load(tmp_path)).text
    put(tmp_path, run(FullTuning(), model="large"), right(0.7))
    put_seeds(tmp_path, run(FullTuning()), right(0.4))
    frame = tables.across_models(*results.load(tmp_path)).frame
    assert list(frame["model"]) == ["tiny", "large", "large"]
    assert list(frame["reference"]) == [True, False, False]
    lora = frame[frame["method"] == "lora"].iloc[0]
    assert (lora["trained_share"], lora["verdict"]) == (98_304 / 10_000_000, "higher")
    assert lora["relative_share"] == pytest.approx(0.25 / 0.4, abs=0.01)
    with pytest.raises(ValueError, match="metric must be one of"):
        tables.across_models(*results.load(tmp_path), "bleu")


def test_transfer_is_a_line_a_pair_of_tasks_of_one_method(tmp_path):
    put(tmp_path, run(ZeroShot(), task="a"), right(0.1))
    for trained, share in ((None, 0.6), ("b", 0.3), ("b+a", 0.5)):
        put_seeds(tmp_path, run(Lora(), task="a", train_task=trained), right(share))
    put(tmp_path, run(Lora(), task="b"), right(0.5))
    frame = tables.transfer(*results.load(tmp_path)).frame
    assert list(frame["task"]) == ["b", "a", "a", "a", "a"]  # the joint name gives the order
    assert list(frame["trained_on"]) == ["b", "nothing (zero-shot)", "b", "a", "b+a"]
    assert list(frame["own"]) == [True, False, False, True, False]
    assert list(frame["joint"]) == [False, False, False, False, True]
    on_a = frame[frame["task"] == "a"].set_index("trained_on")
    assert on_a.loc["b+a", "own_difference"] == pytest.approx(-0.1)
    assert on_a.loc["b", "nothing_verdict"] == "higher"
    put(tmp_path, run(Ia3(), task="a"), right(0.5))
    with pytest.raises(ValueError, match="one trained method with one setting, and zero-shot; got ia3, lora"):
        tables.transfer(*results.load(tmp_path))


def test_steps_become_epochs_and_losses_that_are_no_numbers_have_no_line(tmp_path):
    notes = {"validation_losses": [[8, 0.9], [16, 0.7], [24, float("nan")]], "best_step": 16}
    put(tmp_path, run(Lora()), right(0.5), notes=notes)
    frame = tables.learning_curves(results.load(tmp_path).runs)
    assert list(frame["epoch"]) == [1.0, 2.0]  # five epochs in forty steps
    assert list(frame["kept"]) == [False, True]


def test_a_method_has_a_line_a_rate_in_their_order(tmp_path):
    for rate, share in ((3e-3, 0.5), (3e-4, 0.2)):
        put(tmp_path, run(Lora(learning_rate=rate), split="validation"), right(share))
    put(tmp_path, run(Lora(learning_rate=0.1), split="validation"), [], status=results.FAILED)
    put(tmp_path, run(Lora(learning_rate=3e-3, r=4), split="validation"), right(0.4))
    frame = tables.sensitivity(*results.load(tmp_path), chosen={"lora r=16": 3e-4}).frame
    frame = frame[frame["method"] == "lora r=16"]
    assert list(frame["learning_rate"]) == [3e-4, 3e-3, 0.1]
    assert list(frame["best"]) == [False, True, False]
    assert list(frame["chosen"]) == [True, False, False]
    assert frame["best_minus_worst_difference"].iloc[0] == pytest.approx(0.3)


@pytest.mark.parametrize("status", [results.OK, results.FAILED])
def test_one_run_or_none_that_ended_well_are_enough_for_every_table(tmp_path, status):
    put(tmp_path, run(Lora()), right(0.5), status=status)
    runs, answers = results.load(tmp_path)
    made = [tables.report(tables.benchmarks(runs, answers)[0]), tables.by_group(runs, answers, {"e000": "first"})]
    for name in ("comparison", "across_models", "transfer", "sensitivity", "quality_memory", "break_even", "fairness"):
        made.append(getattr(tables, name)(runs, answers))
    assert all("nan" not in table.text and table.html for table in made)

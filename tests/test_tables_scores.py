"""Scores by method, difficulty, group, model, task and rate: nothing invented, nothing dropped."""

import pandas as pd
import pytest
from made_rows import EXAMPLES, put, right, run, study

from nblib import results, spec, tables
from nblib.spec import Custom, FullTuning, Ia3, InContext, Lora, Retrieved, ZeroShot

CLEAR = {ZeroShot(): 0.1, InContext(1): 0.2, InContext(3): 0.3, Lora(): 0.65, Ia3(): 0.25}
KNOWN = {each.id: "known" if place % 2 else "new" for place, each in enumerate(EXAMPLES)}
DIFFICULTIES = {each.id: "introductory" if place < 80 else "interview" for place, each in enumerate(EXAMPLES)}


def comparison(folder) -> pd.DataFrame:
    return tables.comparison(*results.load(folder)).frame


class TestComparison:
    def test_hand_worked(self, tmp_path):
        put(tmp_path, run(Lora(), 1), [1.0] * 30 + [0.0] * 90)
        put(tmp_path, run(Lora(), 2), [1.0] * 60 + [0.0] * 60, costs={"train_seconds": 50.0})
        line = comparison(tmp_path).loc["lora"]
        assert line["em@1"] == pytest.approx((0.25 + 0.5) / 2)
        assert line["em@1_sd"] == pytest.approx(0.25 / 2**0.5)
        assert 0 <= line["em@1_low"] < 0.25  # two seeds: wide
        assert (line["seeds"], line["em@1_n"], line["em@1_missing"]) == (2, 120, 0)
        assert (line["train_seconds"], line["peak_bytes"]) == (45.0, 2**30)

    def test_has_one_line_a_method_in_the_house_order(self, tmp_path):
        study(tmp_path, CLEAR)
        put(tmp_path, run(InContext(16)), right(0.3))
        frame = comparison(tmp_path)
        assert list(frame.index) == ["zero-shot", "icl-1", "icl-3", "icl-16", "lora", "ia3"]
        assert list(frame["family"]) == ["zero-shot", "ICL", "ICL", "ICL", "PEFT", "PEFT"]

    def test_ties_with_the_best_are_marked_and_the_best_is_not(self, tmp_path):
        study(tmp_path, CLEAR | {Ia3(): 0.63})
        frame = comparison(tmp_path)
        assert frame.loc["ia3", "em@1_tie"]
        assert frame.loc["lora", "em@1_tie"] is pd.NA
        assert not frame.loc["icl-3", "em@1_tie"]
        assert list(frame["em@1_rank"]) == [5, 4, 3, 1, 2]

    def test_missing_scores_are_counted_and_said(self, tmp_path):
        put(tmp_path, run(Lora()), [1.0, None, 0.0, 1.0], metrics=("em@1", "codebleu"))
        table = tables.comparison(*results.load(tmp_path))
        assert table.frame.loc["lora", "em@1"] == pytest.approx(2 / 3)
        assert "3 of 4" in table.text
        assert "CodeBLEU is not defined for some examples: lora 1." in table.text

    def test_lost_runs_have_a_line_and_are_counted(self, tmp_path):
        study(tmp_path, {ZeroShot(): 0.1})
        put(tmp_path, run(Lora()), [], status=results.OUT_OF_MEMORY)
        put(tmp_path, run(Ia3()), right(0.5))
        put(tmp_path, run(Ia3(), 7), [], status=results.FAILED)
        table = tables.comparison(*results.load(tmp_path))
        assert list(table.frame["status"]) == ["ok", "out_of_memory", "ok"]
        assert list(table.frame["failed"]) == [0, 0, 1]
        assert "0 (1 OOM)" in table.text
        assert "1 (1 failed)" in table.text

    def test_em_at_10_is_shown_only_where_every_run_has_it(self, tmp_path):
        put(tmp_path, run(Lora()), right(0.5), metrics=("em@1", "em@10"))
        assert "em@10" in comparison(tmp_path)
        put(tmp_path, run(ZeroShot()), right(0.1))
        assert "em@10" not in comparison(tmp_path)

    def test_rows_without_predictions_keep_their_mean_and_have_no_interval(self, tmp_path):
        row = put(tmp_path, run(Lora()), right(0.5))
        (tmp_path / f"{row.id}.predictions.jsonl").unlink()
        results.write(tmp_path, row)
        line = comparison(tmp_path).loc["lora"]
        assert line["em@1"] == pytest.approx(0.5)
        assert pd.isna(line["em@1_low"])

    def test_methods_of_one_name_are_told_apart_by_what_differs(self, tmp_path):
        for rank in (4, 16):
            put(tmp_path, run(Lora(r=rank)), right(0.5))
        put(tmp_path, run(Custom(config='{"a": 1}', name="mine")), right(0.4))
        assert list(comparison(tmp_path).index) == ["lora r=4", "lora r=16", "mine"]

    @pytest.mark.parametrize(
        "changed",
        [
            {"limit": 20},
            {"decoding": spec.Decoding(beams=1, returned=1)},
            {"split": "validation"},
            {"train_task": "b"},
            {"model": "large"},
        ],
    )
    def test_rows_that_do_not_compare_are_refused(self, tmp_path, changed):
        put(tmp_path, run(Ia3()), right(0.1))
        put(tmp_path, run(Lora(), **changed), right(0.5))
        with pytest.raises(ValueError, match=f"a comparison has one {next(iter(changed))}; got "):
            comparison(tmp_path)

    def test_the_batch_size_of_decoding_and_zero_shot_beside_another_training_may_differ(self, tmp_path):
        put(tmp_path, run(Lora(), train_task="b"), right(0.5))
        put(tmp_path, run(ZeroShot(), decoding=spec.Decoding(batch_size=2)), right(0.1))
        assert len(comparison(tmp_path)) == 2

    def test_results_of_other_weights_do_not_mix(self, tmp_path):
        for weights in ("old", "new"):
            put(tmp_path, run(Lora()), right(0.5), weights=weights)
        with pytest.raises(ValueError, match="lora with seed 42 has two rows"):
            comparison(tmp_path)

    def test_random_weights_have_no_scores(self, tmp_path):
        put(tmp_path, run(Lora(), shape_only=True), right(0.5))
        with pytest.raises(ValueError, match="takes no runs of random weights"):
            comparison(tmp_path)

    def test_no_rows_are_an_empty_table_and_a_partial_result_says_so(self, tmp_path):
        assert tables.comparison(*results.load(tmp_path)).text.startswith("No runs.")
        put(tmp_path, run(Lora(), limit=20), right(0.5)[:20])
        assert "only its first 20 examples: a partial result" in tables.comparison(*results.load(tmp_path)).html


def test_versus_is_every_method_minus_one(tmp_path):
    study(tmp_path, CLEAR)
    frame = tables.versus(*results.load(tmp_path), "zero-shot", "em@1").frame
    assert "zero-shot" not in frame.index
    assert frame.loc["lora", "difference"] == pytest.approx(0.55)
    assert (frame.loc["lora", "n"], frame.loc["lora", "verdict"]) == (120, "higher")
    with pytest.raises(ValueError, match="base must be one of zero-shot, .*; got 'rag-1'"):
        tables.versus(*results.load(tmp_path), "rag-1", "em@1")


def test_difficulties_stand_from_easy_to_hard_with_how_answers_ended(tmp_path):
    passed = right(0.5)
    verdicts = [{"verdicts": ((("passed",) if score else ("passed", "wrong")),)} for score in passed]
    put(tmp_path, run(Lora()), passed, metrics=("strict_accuracy",), fields=verdicts)
    put(tmp_path, run(Ia3()), [], status=results.FAILED)
    table = tables.by_difficulty(*results.load(tmp_path), dict(reversed(DIFFICULTIES.items())))
    frame = table.frame
    assert list(frame["difficulty"].unique()) == ["all", "introductory", "interview"]
    assert list(frame["n"]) == [120, 120, 80, 80, 40, 40]
    easy = frame[(frame["difficulty"] == "introductory") & (frame["method"] == "lora")].iloc[0]
    assert easy["strict_accuracy"] == pytest.approx(sum(passed[:80]) / 80) == easy["ended passed"]
    assert easy["ended wrong"] == pytest.approx(1 - easy["ended passed"])
    assert "failed" in table.text


def test_what_was_checked_inside_and_what_decides_nothing_stands_below(tmp_path):
    notes = {"by_difficulty": {"all": {"checked_inside": 3, "undecided": ["7:plot"]}}}
    put(tmp_path, run(Lora()), right(0.5), metrics=("strict_accuracy",), notes=notes)
    said = tables.by_difficulty(*results.load(tmp_path), DIFFICULTIES).text
    assert "Checked inside: 3 examples, whose tests ran in the answer's own process." in said
    assert "Left out of the strict scores: 1 examples, whose tests pass whatever the answer (7:plot)." in said


class TestGroups:
    def test_hand_worked(self, tmp_path):
        put(tmp_path, run(Lora()), [0.0, 1.0] * 60)
        put(tmp_path, run(ZeroShot()), [0.0] * 120)
        frame = tables.by_group(*results.load(tmp_path), KNOWN, base="zero-shot").frame
        assert list(frame["group"]) == ["new", "new", "known", "known"]
        assert list(frame["em@1"]) == [0, 0, 0, 1]
        assert list(frame["verdict"].dropna()) == ["tie", "higher"]
        assert list(frame["em@1_n"]) == [60] * 4

    def test_examples_without_a_group_are_told_and_ids_of_others_refused(self, tmp_path):
        put(tmp_path, run(Lora()), right(0.5))
        frame = tables.by_group(*results.load(tmp_path), {"e000": "first", "e001": ""}).frame
        assert list(frame["group"]) == ["first", "other"]
        assert list(frame["em@1_n"]) == [1, 119]
        with pytest.raises(ValueError, match="groups must name examples of the runs, such as 'e000'"):
            tables.by_group(*results.load(tmp_path), {"x": "first"})
        with pytest.raises(ValueError, match="base must be one of lora; got 'ia3'"):
            tables.by_group(*results.load(tmp_path), KNOWN, base="ia3")


class TestModels:
    def test_every_line_is_tested_against_the_smallest_full_tuning(self, tmp_path):
        study(tmp_path, {FullTuning(): 0.4, ZeroShot(): 0.1})
        study(tmp_path, {FullTuning(): 0.7, Lora(): 0.65}, model="large")
        frame = tables.across_models(*results.load(tmp_path)).frame
        assert list(frame["model"]) == ["tiny", "tiny", "large", "large"]
        assert list(frame["reference"]) == [False, True, False, False]
        lora = frame[frame["method"] == "lora"].iloc[0]
        assert (lora["trained_share"], lora["verdict"]) == (98_304 / 10_000_000, "higher")
        assert lora["relative_share"] == pytest.approx(0.25 / 0.4, abs=0.01)

    def test_without_full_tuning_nothing_is_tested(self, tmp_path):
        study(tmp_path, {Lora(): 0.4})
        table = tables.across_models(*results.load(tmp_path))
        assert table.frame["p"].isna().all()
        assert "nothing is tested" in table.text
        with pytest.raises(ValueError, match="metric must be one of"):
            tables.across_models(*results.load(tmp_path), "bleu")


class TestTransfer:
    def rows(self, folder, joint=0.5):
        put(folder, run(ZeroShot(), task="a"), right(0.1))
        for trained, share in ((None, 0.6), ("b", 0.3), ("b+a", joint)):
            put(folder, run(Lora(), task="a", train_task=trained), right(share))
        put(folder, run(Lora(), task="b"), right(0.5))

    def test_is_a_line_a_pair_of_tasks(self, tmp_path):
        self.rows(tmp_path)
        frame = tables.transfer(*results.load(tmp_path)).frame
        assert list(frame["task"]) == ["b", "a", "a", "a", "a"]  # the joint name gives the order
        assert list(frame["trained_on"]) == ["b", "nothing (zero-shot)", "b", "a", "b+a"]
        assert list(frame["own"]) == [True, False, False, True, False]
        assert list(frame["joint"]) == [False, False, False, False, True]
        asked = frame[frame["task"] == "a"].set_index("trained_on")
        assert asked.loc["b+a", "own_difference"] == pytest.approx(-0.1)
        assert asked.loc["b", "nothing_verdict"] == "higher"
        assert pd.isna(asked.loc["a", "own_p"])

    def test_several_methods_are_refused(self, tmp_path):
        self.rows(tmp_path)
        put(tmp_path, run(Ia3(), task="a"), right(0.5))
        with pytest.raises(ValueError, match="one trained method with one setting, beside zero-shot; got ia3, lora"):
            tables.transfer(*results.load(tmp_path))


class TestCurves:
    def test_steps_become_epochs_and_losses_that_are_no_numbers_have_no_line(self, tmp_path):
        notes = {"validation_losses": [[8, 0.9], [16, 0.7], [24, float("nan")]], "best_step": 16}
        put(tmp_path, run(Lora()), right(0.5), notes=notes)
        frame = tables.learning_curves(results.load(tmp_path).runs)
        assert list(frame["epoch"]) == [1.0, 2.0]  # five epochs in forty steps
        assert list(frame["kept"]) == [False, True]

    def test_a_method_has_a_line_a_rate_in_their_order(self, tmp_path):
        for rate, share in ((3e-3, 0.5), (3e-4, 0.2)):
            put(tmp_path, run(Lora(learning_rate=rate), split="validation"), right(share))
        put(tmp_path, run(Lora(learning_rate=0.1), split="validation"), [], status=results.FAILED)
        put(tmp_path, run(Lora(learning_rate=3e-3, r=4), split="validation"), right(0.4))
        table = tables.sensitivity(*results.load(tmp_path), chosen={"lora r=16": 3e-4})
        frame = table.frame[table.frame["method"] == "lora r=16"]
        assert list(frame["learning_rate"]) == [3e-4, 3e-3, 0.1]
        assert list(frame["best"]) == [False, True, False]
        assert list(frame["chosen"]) == [True, False, False]
        assert frame["best_minus_worst_difference"].iloc[0] == pytest.approx(0.3)
        assert "failed" in table.text


class TestRetrieval:
    def test_hand_worked(self, tmp_path):
        shots = [(("a", "b"), (0.1, 0.9)), (("b", "b"), (0.5, 0.4)), (("a", "a"), (0.2, 0.3)), ((), ())]
        fields = [{"shots": ids, "similarities": near} for ids, near in shots]
        put(tmp_path, run(Retrieved(2)), [1.0, 1.0, 0.0, 0.0], fields=fields)
        asked = dict.fromkeys(("e000", "e001", "e002", "e003"), "sort")
        table = tables.retrieval(*results.load(tmp_path), asked=asked, shown={"a": "sort", "b": "open"})
        line = table.frame.loc["rag-2"]
        assert line["hit_share"] == pytest.approx(2 / 3)
        assert line["same_share"] == 3 / 6
        assert line["similarity"] == pytest.approx((0.9 + 0.5 + 0.3) / 3)
        assert (line["with_score"], line["with_score_n"]) == (0.5, 2)
        assert (line["without_score"], line["without_score_n"]) == (1.0, 1)
        assert (line["n"], line["unknown"], line["reachable_share"]) == (3, 1, 1.0)
        near = tables.nearest(*results.load(tmp_path))
        assert near[["similarity", "score"]].to_numpy().tolist() == [[0.9, 1.0], [0.5, 1.0], [0.3, 0.0]]
        assert set(near["unknown"]) == {1}

    def test_nothing_with_examples(self, tmp_path):
        put(tmp_path, run(Lora()), right(0.5))
        table = tables.retrieval(*results.load(tmp_path), asked={}, shown={})
        assert "No method with examples in its prompts has run." in table.text
        assert tables.nearest(*results.load(tmp_path)).empty

"""Tables of retrieval, break-even and groups say what the rows say, also where rows are lost."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_tables import EXAMPLES, put, right, run

from nblib import results, tables
from nblib.spec import FullTuning, Ia3, InContext, Lora, Retrieved, ZeroShot

OPERATIONS = {each.id: f"operation {number % 20}" for number, each in enumerate(EXAMPLES)}
KNOWN = {each.id: "known" if number % 2 else "new" for number, each in enumerate(EXAMPLES)}
TRAINED = {"train_tokens": 1000.0, "train_seconds": 60.0, "prompt_tokens": 20.0, "generate_seconds": 12.0}
LONGER = {"prompt_tokens": 50.0, "generate_seconds": 24.0}


def with_shots(folder, row, shots, similarities):
    """The row with these shots before its queries, one list a query."""
    predictions = results.predictions(folder, row.id)
    changed = [
        replace(each, shots=tuple(ids), similarities=tuple(near))
        for each, ids, near in zip(predictions, shots, similarities, strict=True)
    ]
    results.write(folder, row, changed)
    return row


def study(folder, shares, *, seeds=(1, 2, 3)):
    """Rows of every method, the trained ones with costs of training."""
    rows = []
    for method, share in shares.items():
        fixed = isinstance(method, ZeroShot | Retrieved)
        costs = TRAINED if method.trained else LONGER
        for seed in seeds[:1] if fixed else seeds:
            rows.append(put(folder, method, right(share, seed), seed=seed, costs=costs))
    return rows


ALL = {ZeroShot(): 0.1, InContext(1): 0.2, InContext(3): 0.3, Retrieved(1): 0.4, Retrieved(3): 0.5, Lora(): 0.7}


class TestBreakEven:
    def test_hand_worked(self, tmp_path):
        rows = [
            put(tmp_path, Lora(), right(0.7), costs=TRAINED),
            put(tmp_path, Retrieved(3), right(0.5), costs=LONGER),
        ]
        line = tables.break_even(rows, tmp_path).loc["rag-3"]
        assert (line["tokens_once"], line["tokens_base"], line["tokens_method"]) == (3000, 32, 62)
        assert line["tokens_queries"] == 100  # 3 * 1000 tokens over 30 a query
        assert (line["seconds_base"], line["seconds_method"]) == (pytest.approx(0.1), pytest.approx(0.2))
        assert line["seconds_queries"] == pytest.approx(600, abs=1)
        assert line["difference"] == pytest.approx(0.2)
        assert (line["base"], line["verdict"]) == ("lora", "higher")

    def test_costs_are_means_over_seeds(self, tmp_path):
        rows = [put(tmp_path, Lora(), right(0.7), seed=1, costs=TRAINED)]
        rows.append(put(tmp_path, Lora(), right(0.7), seed=2, costs=TRAINED | {"train_tokens": 3000.0}))
        rows.append(put(tmp_path, Retrieved(3), right(0.5), costs=LONGER))
        assert tables.break_even(rows, tmp_path).loc["rag-3", "tokens_once"] == 6000

    def test_never_where_the_trained_method_is_not_cheaper_a_query(self, tmp_path):
        rows = [put(tmp_path, Lora(), right(0.7), costs=TRAINED)]
        rows.append(put(tmp_path, InContext(1), right(0.2), costs={"prompt_tokens": 20.0, "generate_seconds": 6.0}))
        frame = tables.break_even(rows, tmp_path)
        line = frame.loc["icl-1"]
        assert pd.isna(line["tokens_queries"])
        assert line["tokens_why"] == line["seconds_why"] == "never: lora is not cheaper a query"
        assert "never: lora is not cheaper a query" in tables.shown_break_even(frame).text

    def test_costs_that_nobody_measured_are_not_invented(self, tmp_path):
        rows = [put(tmp_path, Lora(), right(0.7), costs=TRAINED | {"train_tokens": None, "train_seconds": None})]
        rows.append(put(tmp_path, InContext(1), right(0.2), costs=LONGER))
        frame = tables.break_even(rows, tmp_path)
        assert list(frame.loc["icl-1", ["tokens_why", "seconds_why"]]) == ["not measured"] * 2
        assert "Training's cost is not known." in tables.shown_break_even(frame).text

    def test_seconds_of_different_devices_do_not_compare(self, tmp_path):
        rows = [put(tmp_path, Lora(), right(0.7), costs=TRAINED), put(tmp_path, InContext(1), right(0.2), costs=LONGER)]
        rows = [replace(row, provenance={"device": name}) for row, name in zip(rows, ("cpu", "cuda"), strict=True)]
        line = tables.break_even(rows, tmp_path).loc["icl-1"]
        assert line["seconds_why"] == "measured on different devices, or numbers of threads or processes"
        assert line["tokens_queries"] == 100

    def test_the_best_peft_method_is_the_base_and_another_can_be_named(self, tmp_path):
        rows = study(tmp_path, ALL | {Ia3(): 0.3, FullTuning(): 0.9})
        assert set(tables.break_even(rows, tmp_path)["base"]) == {"lora"}
        assert set(tables.break_even(rows, tmp_path, base="full")["base"]) == {"full"}
        assert list(tables.break_even(rows, tmp_path).index) == ["icl-1", "icl-3", "rag-1", "rag-3"]

    @pytest.mark.parametrize("base", ["rag-3", "dora"])
    def test_a_base_that_was_not_trained_is_refused(self, tmp_path, base):
        with pytest.raises(ValueError, match=f"a trained method with a result \\(lora\\); got '{base}'"):
            tables.break_even(study(tmp_path, ALL), tmp_path, base=base)

    def test_a_lost_base_is_refused_with_the_reason(self, tmp_path):
        rows = [put(tmp_path, Lora(), [], status=results.FAILED)]
        with pytest.raises(ValueError, match="no trained method has a result"):
            tables.break_even(rows, tmp_path, base="lora")

    @pytest.mark.parametrize("lost", [results.FAILED, results.OUT_OF_MEMORY])
    def test_without_a_trained_method_there_is_no_line(self, tmp_path, lost):
        rows = [*study(tmp_path, {Retrieved(1): 0.4}), put(tmp_path, Lora(), [], status=lost)]
        frame = tables.break_even(rows, tmp_path)
        assert frame.empty
        assert "tokens_queries" in frame
        assert "There is nothing to compare" in tables.shown_break_even(frame).text

    def test_without_predictions_costs_stay_and_the_test_goes(self, tmp_path):
        rows = study(tmp_path, {Retrieved(1): 0.4, Lora(): 0.7})
        for path in tmp_path.glob("*rag-1*.predictions.jsonl"):
            path.unlink()
        frame = tables.break_even(rows, tmp_path)
        assert frame.loc["rag-1", "tokens_queries"] == 100
        assert pd.isna(frame.loc["rag-1", "p"])
        assert "not tested" in tables.shown_break_even(frame).text

    def test_the_order_of_rows_changes_nothing(self, tmp_path):
        rows = study(tmp_path, ALL)
        pd.testing.assert_frame_equal(
            tables.break_even(rows[::-1], tmp_path), tables.break_even(rows, tmp_path), check_exact=True
        )

    def test_the_table_says_how_it_counts(self, tmp_path):
        text = tables.shown_break_even(tables.break_even(study(tmp_path, ALL), tmp_path)).text
        assert "100 queries" in text
        assert "as 3 forward passes" in text
        assert "Training lora once costs 3,000 tokens of forward passes or 60 seconds." in text


class TestByGroup:
    def test_hand_worked(self, tmp_path):
        rows = [put(tmp_path, Lora(), [1.0, 0.0] * 60), put(tmp_path, Ia3(), [0.0] * 120)]
        frame = tables.by_group(rows, tmp_path, KNOWN, base="ia3").set_index(["group", "method"])
        assert frame.loc[("new", "lora"), "em@1"] == 1  # even examples
        assert frame.loc[("known", "lora"), "em@1"] == 0
        assert frame.loc[("new", "lora"), "em@1_n"] == 60
        assert frame.loc[("new", "lora"), ["difference", "verdict"]].tolist() == [1.0, "higher"]
        assert frame.loc[("known", "lora"), "verdict"] == "tie"
        assert pd.isna(frame.loc[("new", "ia3"), "difference"])

    def test_examples_without_a_group_are_told(self, tmp_path):
        rows = [put(tmp_path, Lora(), [1.0] * 120)]
        groups = {each.id: "some" for each in EXAMPLES[:90]} | {EXAMPLES[90].id: "", "asked elsewhere": "none"}
        frame = tables.by_group(rows, tmp_path, groups)
        assert list(zip(frame["group"], frame["em@1_n"], strict=True)) == [("some", 90), ("other", 30)]

    def test_missing_scores_are_counted(self, tmp_path):
        rows = [put(tmp_path, Lora(), [None, 1.0, *[0.0] * 118])]
        frame = tables.by_group(rows, tmp_path, KNOWN)
        assert frame.set_index("group").loc["new", ["em@1_n", "em@1_missing"]].tolist() == [59, 1]
        assert "59 of 60" in tables.shown_by_group(frame).text

    def test_p_values_are_corrected_over_all_lines(self, tmp_path):
        rows = study(tmp_path, {InContext(3): 0.3, Retrieved(1): 0.36, Lora(): 0.31, Ia3(): 0.31})
        alone = tables.by_group(rows[:4], tmp_path, KNOWN, base="icl-3").dropna(subset=["p"])
        together = tables.by_group(rows, tmp_path, KNOWN, base="icl-3").dropna(subset=["p"])
        of_rag = together["p"][together["method"] == "rag-1"].to_numpy()
        assert len(alone) == 2
        assert (of_rag >= alone["p"].to_numpy()).all()
        assert of_rag.sum() > alone["p"].sum()

    def test_lost_runs_have_a_line_that_says_why(self, tmp_path):
        rows = [put(tmp_path, Lora(), right(0.5)), put(tmp_path, Ia3(), [], status=results.OUT_OF_MEMORY)]
        frame = tables.by_group(rows, tmp_path, KNOWN, base="lora", expected=[run(Retrieved(1))])
        assert frame["em@1"].notna().sum() == 2
        text = tables.shown_by_group(frame).text
        assert "OOM" in text
        assert "missing" in text

    def test_without_predictions_there_is_no_score(self, tmp_path):
        rows = study(tmp_path, {Retrieved(1): 0.4, Lora(): 0.7})
        for path in tmp_path.glob("*rag-1*.predictions.jsonl"):
            path.unlink()
        frame = tables.by_group(rows, tmp_path, KNOWN, base="lora")
        assert frame.loc[frame["method"] == "rag-1", ["em@1", "difference"]].isna().all(axis=None)

    def test_nothing_to_group(self, tmp_path):
        assert tables.by_group([], tmp_path, KNOWN).empty

    def test_ids_of_other_examples_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="groups must name examples of the runs, such as 'e000'; got none of them"):
            tables.by_group([put(tmp_path, Lora(), right(0.5))], tmp_path, {"1-501": "known"})

    def test_an_unknown_base_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="base must be one of lora; got 'dora'"):
            tables.by_group([put(tmp_path, Lora(), right(0.5))], tmp_path, KNOWN, base="dora")


class TestRetrieval:
    def test_hand_worked(self, tmp_path):
        row = put(tmp_path, Retrieved(2), [1.0, 1.0, 0.0, 0.0])
        shots = [["a", "b"], ["b", "b"], ["a", "a"], ["b", "a"]]
        with_shots(tmp_path, row, shots, [[0.1, 0.9], [0.5, 0.4], [0.2, 0.3], [0.1, 0.1]])
        asked, shown = {f"e00{number}": "sort" for number in range(4)}, {"a": "sort", "b": "open"}
        line = tables.retrieval([row], tmp_path, asked=asked, shown=shown).loc["rag-2"]
        assert line["hit"] == 0.75
        assert line["same"] == 4 / 8
        assert line["similarity"] == pytest.approx((0.9 + 0.5 + 0.3 + 0.1) / 4)
        assert (line["with"], line["with_n"]) == (pytest.approx(1 / 3), 3)
        assert (line["without"], line["without_n"]) == (1.0, 1)
        assert (line["n"], line["unknown"], line["reachable"]) == (4, 0, 1.0)

    def test_queries_of_no_known_operation_and_rows_without_shots_are_counted(self, tmp_path):
        row = put(tmp_path, Retrieved(1), [1.0, 0.0, 1.0])
        with_shots(tmp_path, row, [["a"], ["a"], []], [[0.5], [0.5], []])
        frame = tables.retrieval([row], tmp_path, asked={"e000": "x", "e001": "", "e002": "x"}, shown={"a": "x"})
        assert frame.loc["rag-1", ["n", "unknown"]].tolist() == [1, 2]
        assert "1 of 3" in tables.shown_retrieval(frame).text

    def test_a_query_whose_shots_did_not_fit_had_none_of_its_operation(self, tmp_path):
        row = put(tmp_path, InContext(1), [1.0])
        (prediction,) = results.predictions(tmp_path, row.id)
        results.write(tmp_path, row, [replace(prediction, dropped_shots=1)])
        line = tables.retrieval([row], tmp_path, asked={"e000": "x"}, shown={"a": "x"}).loc["icl-1"]
        assert (line["n"], line["hit"], line["without"]) == (1, 0, 1.0)
        assert line["same"] is None
        assert pd.isna(line["similarity"])

    def test_random_examples_have_no_similarity_and_seeds_are_pooled(self, tmp_path):
        rows = [put(tmp_path, InContext(1), [1.0, 0.0], seed=seed) for seed in (1, 2)]
        for row, shot in zip(rows, ("a", "b"), strict=True):
            with_shots(tmp_path, row, [[shot], [shot]], [[], []])
        frame = tables.retrieval(rows, tmp_path, asked={"e000": "x", "e001": "y"}, shown={"a": "x", "b": "z"})
        assert frame.loc["icl-1", ["n", "hit", "reachable"]].tolist() == [4, 0.25, 0.5]
        assert frame["similarity"].isna().all()

    def test_runs_that_failed_say_nothing(self, tmp_path):
        frame = tables.retrieval([put(tmp_path, Retrieved(1), [], status=results.FAILED)], tmp_path, asked={}, shown={})
        assert frame.loc["rag-1", "n"] == 0
        assert "–" in tables.shown_retrieval(frame).text

    def test_nothing_with_examples(self, tmp_path):
        frame = tables.retrieval([put(tmp_path, Lora(), right(0.5))], tmp_path, asked=OPERATIONS, shown=OPERATIONS)
        assert "No method with examples in its prompts has run." in tables.shown_retrieval(frame).text

    def test_the_nearest_are_those_of_the_fewest_shots(self, tmp_path):
        rows = [put(tmp_path, Retrieved(shots), [1.0, 0.0, None]) for shots in (1, 3)]
        with_shots(tmp_path, rows[0], [["a"], ["a"], []], [[0.2], [0.7], []])
        with_shots(tmp_path, rows[1], [["a"] * 3] * 3, [[0.1, 0.9, 0.3]] * 3)
        frame = tables.nearest(rows, tmp_path)
        assert set(frame["method"]) == {"rag-1"}
        assert frame[["similarity", "score"]].to_numpy().tolist() == [[0.2, 1.0], [0.7, 0.0]]
        assert set(frame["unknown"]) == {1}

    def test_there_is_nothing_near_without_retrieval(self, tmp_path):
        assert tables.nearest(study(tmp_path, {InContext(1): 0.2, Retrieved(1): 0.4}), tmp_path).empty


class TestAnswer:
    def test_peft_wins(self, tmp_path):
        said = tables.answer_rag(study(tmp_path, ALL), tmp_path)
        assert said.startswith("On conala-mini with tiny, lora scores highest: EM@1 70.0 % (95 % interval ")
        assert "rag-3 (best of 2 RAG methods, 50.0 %) is 20.0 points (67 % relative) above icl-3 (best of 2 ICL" in said
        assert "lora (the only PEFT method, 70.0 %) is 20.0 points (40 % relative) above rag-3" in said
        assert "That PEFT is better than RAG holds here." in said
        assert (
            "Training lora once costs less than the longer prompts of rag-3 from 100 queries on in tokens and from 600"
            in said
        )

    def test_rag_wins(self, tmp_path):
        said = tables.answer_rag(study(tmp_path, ALL | {Lora(): 0.2}), tmp_path)
        assert "That PEFT is better than RAG does not hold here." in said

    def test_a_tie_decides_nothing(self, tmp_path):
        said = tables.answer_rag(study(tmp_path, ALL | {Lora(): 0.51}), tmp_path)
        assert "there is no difference that this data can show" in said
        assert "That PEFT is better than RAG is not decided here." in said

    def test_without_predictions_nothing_is_decided(self, tmp_path):
        rows = study(tmp_path, ALL)
        for path in tmp_path.glob("*.predictions.jsonl"):
            path.unlink()
        said = tables.answer_rag(rows, tmp_path)
        assert "cannot be tested" in said
        assert "is not decided here" in said

    def test_never_is_said(self, tmp_path):
        rows = study(tmp_path, {Lora(): 0.7})
        cheap = {"prompt_tokens": 20.0, "generate_seconds": 24.0}
        rows.append(put(tmp_path, Retrieved(1), right(0.3), costs=cheap))
        assert "of rag-1 never in tokens and from 600 queries on in seconds." in tables.answer_rag(rows, tmp_path)

    def test_unknown_costs_are_said(self, tmp_path):
        rows = [put(tmp_path, Lora(), right(0.7)), put(tmp_path, Retrieved(1), right(0.3), costs=LONGER)]
        assert "from an unknown number of queries on (not measured) in tokens" in tables.answer_rag(rows, tmp_path)

    @pytest.mark.parametrize(("gone", "name"), [(Retrieved, "RAG"), (Lora, "PEFT"), (InContext, "ICL")])
    def test_a_family_that_is_not_there_is_told(self, tmp_path, gone, name):
        rows = study(tmp_path, {method: share for method, share in ALL.items() if not isinstance(method, gone)})
        said = tables.answer_rag(rows, tmp_path)
        assert f"No {name} method has a result." in said
        assert ("better than RAG" in said) == (gone is InContext)

    def test_one_seed_and_lost_runs(self, tmp_path):
        rows = [*study(tmp_path, ALL, seeds=(1,)), put(tmp_path, Ia3(), [], status=results.OUT_OF_MEMORY)]
        said = tables.answer_rag(rows, tmp_path, expected=[run(Retrieved(2))])
        assert said.endswith("Without a result: rag-2 (not run), ia3 (out of memory).")

    def test_no_rows_and_only_lost_rows(self, tmp_path):
        assert tables.answer_rag([], tmp_path) == "There are no runs yet, so the question stays open."
        rows = [put(tmp_path, Retrieved(1), [], status=results.FAILED)]
        assert "no run gave a result" in tables.answer_rag(rows, tmp_path)

    def test_the_order_of_rows_changes_nothing(self, tmp_path):
        rows = study(tmp_path, ALL)
        shuffled = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
        assert tables.answer_rag(shuffled, tmp_path) == tables.answer_rag(rows, tmp_path)

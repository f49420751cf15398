"""Scores of some of the examples: by difficulty, by group, by what the prompt held."""

import pytest
from made_rows import EXAMPLES, put, put_seeds, right, run

from nblib import results, tables
from nblib.spec import Ia3, Lora, Retrieved, ZeroShot

KNOWN = {example.id: "known" if place % 2 else "new" for place, example in enumerate(EXAMPLES)}
DIFFICULTIES = {example.id: "introductory" if place < 80 else "interview" for place, example in enumerate(EXAMPLES)}


def test_difficulties_stand_from_easy_to_hard_with_how_answers_ended_and_were_judged(tmp_path):
    passed = right(0.5)
    verdicts = [{"verdicts": ((("passed",) if score else ("passed", "wrong")),)} for score in passed]
    part = {"examples": 80, "scores": {"strict_accuracy": {"mean": 0.25}}}
    notes = {"by_difficulty": {"all": {"checked_inside": 3, "undecided": ["7:plot"]}, "introductory": part}}
    put(tmp_path, run(Lora()), passed, metrics=("strict_accuracy",), fields=verdicts, notes=notes)
    put(tmp_path, run(Ia3()), [], status=results.FAILED)
    table = tables.by_group(*results.load(tmp_path), dict(reversed(DIFFICULTIES.items())), metrics=tables.EXECUTION)
    frame = table.frame
    assert list(frame["group"].unique()) == ["all", "introductory", "interview"]
    assert list(frame["n"]) == [120, 120, 80, 80, 40, 40]
    easy = frame[(frame["group"] == "introductory") & (frame["method"] == "lora")].iloc[0]
    assert easy["strict_accuracy"] == pytest.approx(sum(passed[:80]) / 80) == easy["ended passed"]
    assert easy["ended wrong"] == pytest.approx(1 - easy["ended passed"])
    assert "Checked inside: 3 examples" in table.text
    assert "Left out of the strict scores: 1 examples, whose tests pass whatever the answer (7:plot)." in table.text
    from_notes = tables.difficulties(tables.benchmarks(*results.load(tmp_path))[0]).frame.set_index("difficulty")
    assert from_notes.loc["introductory", ["n", "seeds", "strict_accuracy"]].tolist() == [80, 1, 0.25]


def test_groups_are_tested_and_examples_without_one_are_told(tmp_path):
    put_seeds(tmp_path, run(Lora()), [0.0, 1.0] * 60)
    put(tmp_path, run(ZeroShot()), [0.0] * 120)
    frame = tables.by_group(*results.load(tmp_path), KNOWN, base="zero-shot").frame
    assert list(frame["group"]) == ["all", "all", "new", "new", "known", "known"]
    assert list(frame["em@1"]) == [0, 0.5, 0, 0, 0, 1]
    assert list(frame["verdict"].dropna()) == ["tie", "higher"]
    frame = tables.by_group(*results.load(tmp_path), {"e000": "first", "e001": ""}).frame
    assert list(frame["group"]) == ["all", "all", "first", "first", "other", "other"]
    assert list(frame["em@1_n"]) == [120, 120, 1, 1, 119, 119]
    with pytest.raises(ValueError, match="groups must name examples of the runs, such as 'e000'"):
        tables.by_group(*results.load(tmp_path), {"x": "first"})


def test_expressions_and_styles_stand_by_themselves_for_all_and_for_each_group(tmp_path):
    put(tmp_path, run(ZeroShot()), [0.0] * 120)
    unscored = tables.by_group(*results.load(tmp_path), KNOWN, metrics=tables.LEARNED)
    assert unscored.text == "These runs have no EM@1 of the expression or house style."
    put(tmp_path, run(Lora()), [0.0, 1.0] * 60, metrics=("em@1", "em_expression@1", "style_match"))
    frame = tables.by_group(*results.load(tmp_path), KNOWN, metrics=("em@1", *tables.LEARNED)).frame
    frame = frame.set_index(["group", "method"])
    assert [frame.loc[(name, "lora"), "em_expression@1"] for name in ("all", "new", "known")] == [0.5, 0, 1]
    assert (frame.loc[("new", "zero-shot"), "em@1"], frame.loc[("all", "lora"), "n"]) == (0, 120)
    assert frame["style_match"].isna().sum() == 3


def test_retrieval_hand_worked(tmp_path):
    put(tmp_path, run(Lora()), right(0.5))
    assert (
        "No method with examples"
        in tables.retrieval(*results.load(tmp_path), test_operations={}, train_operations={}).text
    )
    shots = [(("a", "b"), (0.1, 0.9)), (("b", "b"), (0.5, 0.4)), (("a", "a"), (0.2, 0.3)), ((), ())]
    fields = [{"shots": ids, "similarities": near} for ids, near in shots]
    put(tmp_path, run(Retrieved(2)), [1.0, 1.0, 0.0, 0.0], fields=fields)
    operations = dict.fromkeys(("e000", "e001", "e002", "e003"), "sort")
    table = tables.retrieval(
        *results.load(tmp_path), test_operations=operations, train_operations={"a": "sort", "b": "open"}
    )
    line = table.frame.loc["rag-2"]
    assert (line["hit_share"], line["same_share"]) == (pytest.approx(2 / 3), 3 / 6)
    assert line["similarity"] == pytest.approx((0.9 + 0.5 + 0.3) / 3)
    assert (line["with_score"], line["with_score_n"]) == (0.5, 2)
    assert (line["without_score"], line["without_score_n"]) == (1.0, 1)
    assert (line["n"], line["unknown"], line["reachable_share"]) == (3, 1, 1.0)
    nothing = tables.retrieval(*results.load(tmp_path), test_operations={}, train_operations={}).frame.loc["rag-2"]
    assert nothing[["n", "unknown", "with_score_n"]].tolist() == [0, 4, 0]
    near = tables.nearest(*results.load(tmp_path))
    assert near[["similarity", "score"]].to_numpy().tolist() == [[0.9, 1.0], [0.5, 1.0], [0.3, 0.0]]
    assert set(near["unknown"]) == {1}

"""Execution results by difficulty, and every method beside one of them: from rows and predictions alone."""

from dataclasses import replace

import numpy as np
import pytest
from test_tables import CLEAR, EXAMPLES, put, right, run, study

from nblib import plots, results, tables
from nblib.spec import Lora, ZeroShot

DIFFICULTIES = {each.id: ("introductory" if number < 80 else "interview") for number, each in enumerate(EXAMPLES)}
DIFFICULTIES = dict(reversed(DIFFICULTIES.items()))  # the order of examples says nothing


def executed(folder, method, passed, seed=42):
    """A row whose first answers pass (1) or do not (0), with what its notes would hold."""
    row = put(folder, method, passed, seed=seed)
    counts = {
        name: {
            "first_answer": {
                "passed": sum(score == 1 for each, score in members),
                "wrong": sum(score == 0 for each, score in members),
            }
        }
        for name in ("all", "introductory", "interview")
        if (
            members := [
                pair for pair in zip(EXAMPLES, passed, strict=True) if name in ("all", DIFFICULTIES[pair[0].id])
            ]
        )
    }
    predictions = [
        replace(each, scores={"strict_accuracy": score, "pass@1": score})
        for each, score in zip(results.predictions(folder, row.id), passed, strict=True)
    ]
    mean = {"mean": float(np.mean(passed)), "n": len(passed), "missing": 0}
    row = replace(row, notes={"by_difficulty": counts}, scores={"strict_accuracy": mean, "pass@1": mean})
    results.write(folder, row, predictions)
    return row


@pytest.fixture
def rows(tmp_path):
    return [
        executed(tmp_path, ZeroShot(), right(0.2)),
        *(executed(tmp_path, Lora(), right(0.6, seed), seed) for seed in (42, 777, 5432)),
    ]


def test_each_difficulty_has_a_line_a_method_with_its_own_examples(rows, tmp_path):
    frame = tables.by_difficulty(rows, tmp_path, DIFFICULTIES).set_index(["difficulty", "method"])
    assert list(frame.index) == [
        (difficulty, method) for difficulty in ("all", "introductory", "interview") for method in ("zero-shot", "lora")
    ]
    assert [frame.loc[(name, "lora"), "n"] for name in ("all", "introductory", "interview")] == [120, 80, 40]
    assert frame.loc[("all", "lora"), "strict_accuracy"] == pytest.approx(0.6)
    easy, hard = (frame.loc[(name, "lora"), "strict_accuracy"] for name in ("introductory", "interview"))
    assert 80 * easy + 40 * hard == pytest.approx(72)
    assert easy > hard
    line = frame.loc[("introductory", "lora")]
    assert line["strict_accuracy_low"] < line["strict_accuracy"] < line["strict_accuracy_high"]
    assert line["ended passed"] == pytest.approx(easy)
    assert line["ended passed"] + line["ended wrong"] == pytest.approx(1)
    assert "test_accuracy" not in frame


def test_a_run_that_is_missing_has_an_empty_line(rows, tmp_path):
    frame = tables.by_difficulty(rows[1:], tmp_path, DIFFICULTIES, expected=[run(ZeroShot())])
    line = frame[frame["method"] == "zero-shot"].iloc[0]
    assert np.isnan(line["strict_accuracy"])
    assert line["status"] == "missing"
    shown = tables.shown_by_difficulty(frame)
    assert "–" in shown.text
    figure = plots.endings(frame)
    assert "all, zero-shot: no result" in plots.alternative(figure)


def test_the_figure_tells_the_shares_in_words(rows, tmp_path):
    words = plots.alternative(plots.endings(tables.by_difficulty(rows, tmp_path, DIFFICULTIES)))
    assert "all, zero-shot: 20 % passed all tests, 80 % wrong output" in words
    assert "all, lora: 60 % passed all tests, 40 % wrong output" in words


def test_a_comparison_of_executed_runs_shows_only_what_was_asked(rows, tmp_path):
    frame = tables.comparison(rows, tmp_path, metrics=tables.EXECUTION)
    assert frame.loc["lora", "strict_accuracy"] == pytest.approx(0.6)
    assert "em@1" not in frame
    assert "strict accuracy (%)" in tables.styled(frame).text


def test_every_method_is_tested_beside_the_base(tmp_path):
    frame = tables.versus(study(tmp_path, CLEAR), tmp_path, "zero-shot", "em@1")
    assert "zero-shot" not in frame.index
    assert frame.loc["lora", "verdict"] == "higher"
    assert frame.loc["lora", "low"] > 0
    assert frame.loc["lora", "difference"] == pytest.approx(0.55, abs=0.01)
    assert "lora" in tables.shown_versus(frame, "zero-shot", "em@1").text


def test_a_base_without_a_result_is_refused(tmp_path):
    with pytest.raises(ValueError, match="base must be one of zero-shot.*; got 'rag-3'"):
        tables.versus(study(tmp_path, CLEAR), tmp_path, "rag-3", "em@1")

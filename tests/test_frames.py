"""Rows as two tidy frames, and the summary of the answers in any grouping."""

import pandas as pd
import pytest

from nblib import provenance, results, stats

KEPT = provenance.ROOT / "data" / "results" / "tiny"


@pytest.fixture(scope="module")
def shipped() -> results.Frames:
    return results.load(KEPT)


def test_a_run_has_one_line_and_its_predictions_one_each(shipped):
    runs, answers = shipped
    rows = {row.id: row for row in results.read(KEPT)}
    assert sorted(rows) == list(runs.index)
    for id, row in rows.items():
        predictions = results.predictions(KEPT, id)
        mine = answers[answers["run"] == id]
        assert list(mine["example"]) == [each.example for each in predictions]
        assert list(mine["em@1"].dropna()) == [s for each in predictions if (s := each.scores["em@1"]) is not None]
        assert runs.at[id, "status"] == row.status


def test_means_of_answers_are_those_of_the_rows(shipped):
    runs, answers = shipped
    for metric in ("em@1", "codebleu", "codebleu_dataflow"):
        means = answers.groupby("run", observed=True)[metric].mean()
        assert means.sub(runs[metric]).abs().max() < 1e-12


def test_ids_choose_runs_and_a_missing_one_is_left_out(shipped):
    id = shipped.runs.index[-1]
    runs, answers = results.load(KEPT, [id, "nowhere"])
    assert list(runs.index) == [id] == list(answers["run"].unique())


def test_an_empty_folder_has_the_columns(tmp_path):
    runs, answers = results.load(tmp_path)
    assert runs.empty
    assert answers.empty
    assert {"model", "task", "method", "kind", "family", "status"} <= set(runs)
    assert {"run", "example", "model", "task", "method", "seed"} <= set(answers)


def answers(scores: dict[str, list[list[float | None]]]) -> pd.DataFrame:
    """Method -> one list a seed, one score an example."""
    return pd.DataFrame(
        [
            {"run": f"{method}{seed}", "seed": seed, "method": method, "example": f"{place:03d}", "em@1": score}
            for method, seeds in scores.items()
            for seed, values in enumerate(seeds)
            for place, score in enumerate(values)
        ]
    ).astype({"em@1": float})


GOOD, BAD = [1.0, 1.0, 1.0, 0.0] * 10, [0.0, 1.0, 0.0, 0.0] * 10


def test_a_summary_equals_the_functions_of_sequences():
    frame = stats.summarise(answers({"a": [GOOD, BAD], "b": [BAD]}), "method", "em@1", base={"method": "b"})
    line, around = frame.loc[0], stats.interval([GOOD, BAD])
    assert (line["em@1"], line["em@1_low"], line["em@1_high"]) == (around.mean, around.low, around.high)
    tested = stats.reverse(stats.paired_difference([BAD], [GOOD, BAD]))
    assert (line["difference"], line["difference_low"], line["p"]) == (tested.mean, tested.low, tested.p)
    assert (line["seeds"], line["pairs"], line["verdict"]) == (2, 40, "tie")
    assert frame["is_base"].tolist() == [False, True]
    assert pd.isna(frame.loc[1, "p"])


def test_missing_scores_are_counted_and_not_invented():
    frame = stats.summarise(answers({"a": [[1.0, None, 0.0, 1.0]], "b": [[None] * 4]}), "method", "em@1", base="best")
    assert frame["em@1_n"].tolist() == [3, 0]
    assert frame["em@1_missing"].tolist() == [1, 4]
    assert frame.loc[0, "is_base"]
    assert pd.isna(frame.loc[1, "em@1"])
    assert frame.loc[1, "verdict"] is None


def test_the_base_is_one_of_each_part_and_holm_counts_the_family():
    long = pd.concat(
        [
            answers({"a": [GOOD], "b": [BAD]}).assign(task=task, run=lambda f, task=task: f["run"] + task)
            for task in "xy"
        ]
    )
    apart = stats.summarise(long, ["task", "method"], "em@1", base={"method": "b"}, within=["task"])
    together = stats.summarise(long, ["task", "method"], "em@1", base={"method": "b"}, within=["task"], family=())
    assert apart["is_base"].tolist() == [False, True, False, True]
    assert together["p"].dropna().tolist() == [2 * p for p in apart["p"].dropna()]


def test_lines_stand_in_the_order_of_the_categories():
    long = answers({"a": [GOOD], "b": [BAD]})
    long["method"] = pd.Categorical(long["method"], ["b", "a"])
    assert stats.summarise(long, "method", "em@1")["method"].tolist() == ["b", "a"]

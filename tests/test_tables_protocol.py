"""A whole folder, what stands behind its numbers, examples side by side, and two stores."""

import pandas as pd
import pytest
from made_rows import EXAMPLES, put, right, run, study

import nblib
from nblib import results, tables
from nblib.results import Prediction
from nblib.spec import Decoding, FullTuning, Ia3, InContext, Lora, ZeroShot

CHECKS = {
    "splits": [{"split": "train", "rows": 300}, {"split": "test", "rows": 120}],
    "overlaps": [{"splits": ["train", "test"], "exact": 2, "normalized": 3, "near": 5}],
    "rows_left_out": 0,
    "known_intents": 1,
}


def benchmarks(folder) -> list:
    return tables.benchmarks(*results.load(folder))


class TestBenchmarks:
    def test_tasks_limits_and_decodings_make_tables_of_their_own(self, tmp_path):
        put(tmp_path, run(Lora()), right(0.5))
        put(tmp_path, run(Lora(), limit=10), right(0.9)[:10])
        put(tmp_path, run(Lora(), task="b"), right(0.5))
        put(tmp_path, run(Lora(), decoding=Decoding(beams=1, returned=1)), right(0.5))
        names = [each.name for each in benchmarks(tmp_path)]
        assert names == ["a, 1 beams, 1 answers", "a, 10 beams, 10 answers", "b", "a, first 10 examples"]

    def test_shapes_validation_and_foreign_rows_are_in_no_quality_table(self, tmp_path):
        for changed in ({"split": "validation"}, {"train_task": "b"}, {"shape_only": True}):
            put(tmp_path, run(Lora(), **changed), right(0.5))
        assert benchmarks(tmp_path) == []

    def test_other_data_is_another_benchmark_and_a_run_that_failed_early_joins_the_first(self, tmp_path):
        for seed, data in ((1, "x"), (2, "y")):
            put(tmp_path, run(Lora(), seed), right(0.5), provenance={"data": data})
        put(tmp_path, run(Ia3()), [], status=results.FAILED, provenance={"data": None})
        parts = benchmarks(tmp_path)
        assert [each.name for each in parts] == ["a, data x", "a, data y"]
        assert [len(each.runs) for each in parts] == [2, 1]

    def test_methods_stand_under_each_model_and_gaps_are_said(self, tmp_path):
        study(tmp_path, {Lora(): 0.5, ZeroShot(): 0.1})
        study(tmp_path, {Lora(): 0.6}, model="large")
        put(tmp_path, run(FullTuning(), model="large"), [], status=results.OUT_OF_MEMORY)
        table = tables.report(benchmarks(tmp_path)[0])
        frame = table.frame
        assert [*zip(frame["model"], frame["method"], strict=True)] == [
            (model, method) for model in ("large", "tiny") for method in ("zero-shot", "lora", "full")
        ]
        assert list(frame["status"]) == ["missing", "ok", "out_of_memory", "ok", "ok", "missing"]
        assert frame.loc[1, "memory_bytes"] == 500
        assert "OOM" in table.text
        assert "**50.0**" in table.text

    def test_mcnemar_stands_beside_the_paired_test(self, tmp_path):
        put(tmp_path, run(Lora()), [1.0] * 60 + [0.0] * 60)
        put(tmp_path, run(Ia3()), [0.0, 1.0] * 60)
        put(tmp_path, run(ZeroShot()), [0.0] * 120)
        frame = tables.tested(benchmarks(tmp_path)[0]).frame.set_index("method")
        tie, clear = frame.loc["ia3"], frame.loc["zero-shot"]
        assert (tie["only_best"], tie["only_other"], tie["mcnemar_p"], tie["verdict"]) == (30, 30, 1.0, "tie")
        assert (clear["only_best"], clear["only_other"], clear["verdict"]) == (60, 0, "higher")
        assert clear["mcnemar_p"] == pytest.approx(2 * 2 / 2**60)  # of a family of two
        assert clear["difference"] == 0.5

    def test_only_methods_of_every_benchmark_are_ranked_and_the_others_named(self, tmp_path):
        for task in ("a", "b"):
            study(tmp_path, {Lora(): 0.6, ZeroShot(): 0.1}, task=task)
        study(tmp_path, {Ia3(): 0.5})
        put(tmp_path, run(Lora(), model="large"), right(0.5))
        table = tables.mean_ranks(benchmarks(tmp_path), least=2)
        assert list(table.frame.index) == ["lora", "zero-shot"]
        assert list(table.frame["mean_rank"]) == [1.0, 2.0]
        assert "Not in all of them, so not ranked: ia3." in table.text
        assert "With too few methods to rank: a with large." in table.text

    def test_difficulties_come_from_the_counts_in_the_notes(self, tmp_path):
        part = {"examples": 80, "scores": {"strict_accuracy": {"mean": 0.25}}}
        for seed in (1, 2):
            put(tmp_path, run(Lora(), seed), right(0.5), notes={"by_difficulty": {"introductory": part}})
        frame = tables.difficulties(benchmarks(tmp_path)[0]).frame
        assert frame[["difficulty", "n", "seeds", "strict_accuracy"]].to_numpy().tolist() == [
            ["introductory", 80, 2, 0.25]
        ]


def test_every_run_has_a_line_with_its_origin(tmp_path):
    for seed in (1, 2):
        put(tmp_path, run(Lora(), seed), right(0.5), provenance={"commit": "c", "packages": {"torch": "2"}})
    put(tmp_path, run(Ia3(), limit=3), [], status=results.FAILED)
    table = tables.appendix(results.load(tmp_path).runs)
    assert list(table.frame["id"]) == sorted(table.frame["id"])
    assert table.frame.set_index("marks").loc["partial", "status"] == "failed"
    assert set(table.frame["torch"].dropna()) == {"2"}
    assert "data d" in table.text


def test_leaks_are_counted_once_and_a_task_without_checks_is_said(tmp_path):
    for seed in (1, 2):
        put(tmp_path, run(Lora(), seed), right(0.5), notes={"data_checks": CHECKS})
    put(tmp_path, run(Lora(), task="b"), right(0.5))
    table = tables.leakage(results.load(tmp_path).runs)
    assert list(table.frame["task"]) == ["a", "b"]
    assert list(table.frame["so"]) == ["leaks", "not checked"]


def test_skipped_files_are_named():
    assert "x.json" in tables.skipped({"x.json": "is no whole row"}).text
    assert "whole" in tables.skipped({}).text


def test_unequal_conditions_are_said(tmp_path):
    put(tmp_path, run(Lora()), right(0.5))
    put(tmp_path, run(ZeroShot()), right(0.1)[:100], provenance={"data": "x"}, notes={"queries_with_dropped_shots": 2})
    answer = tables.fairness(*results.load(tmp_path)).frame.set_index("check")["answer"]
    assert answer["same data"] == "no: 2 kinds"
    assert answer["same test examples"] == "no: 2 kinds"
    assert answer["same base model"] == "yes"
    assert answer["every shot fitted the context"] == "no: not in 1 runs"


def test_differing_origins_are_all_named(tmp_path):
    for seed, version in ((1, "1"), (2, "2")):
        put(tmp_path, run(Lora(), seed), right(0.5), provenance={"packages": {"torch": version}})
    told = tables.provenance(results.load(tmp_path).runs).frame.set_index("what")["value"]
    assert told["torch"] == "1, 2"


class TestSideBySide:
    @staticmethod
    def choose(count: int, **patterns: str):
        """r: right, w: wrong, n: not scored."""
        score = {"r": 1.0, "w": 0.0, "n": None}
        answers = {
            label: [
                Prediction(each.id, ("x",), (f"  first\n    {letter}<",), 1, 1, scores={"em@1": score[letter]})
                for each, letter in zip(EXAMPLES, pattern, strict=False)
            ]
            for label, pattern in patterns.items()
        }
        return tables.side_by_side(EXAMPLES[: len(next(iter(patterns.values())))], answers, count)

    @pytest.mark.parametrize(
        ("count", "patterns", "chosen"),
        [
            (3, {"lora": "rrrwwr", "icl": "rrwwrr"}, ["e002", "e004", "e003"]),  # disagree, then all wrong
            (4, {"a": "rrrrww", "b": "wwwwrw", "c": "wwwrrw"}, ["e000", "e003", "e004", "e005"]),  # varied patterns
            (5, {"a": "rr", "b": "rr"}, ["e000", "e001"]),  # what is there
        ],
    )
    def test_chosen_to_be_instructive(self, count, patterns, chosen):
        assert list(dict.fromkeys(self.choose(count, **patterns).frame["example"])) == chosen

    def test_says_right_and_wrong_and_keeps_code_as_it_is(self):
        table = self.choose(2, a="rw", b="wn")
        assert list(table.frame["verdict"]) == ["", "✓ right", "✗ wrong", "", "✗ wrong", "? not scored"]
        assert "&nbsp;&nbsp;first<br>&nbsp;&nbsp;&nbsp;&nbsp;r&lt;" in table.html


class TestCompare:
    def test_the_same_store_twice_differs_in_nothing(self, tmp_path):
        study(tmp_path, {Lora(): 0.5, ZeroShot(): 0.1})
        found = nblib.compare(tmp_path, tmp_path)
        assert set(found.frame["found"]) == {"same"}
        assert "4 same, 0 differs" in found.text

    def test_what_differs_is_tested_on_the_same_examples(self, tmp_path):
        a, b = tmp_path / "a", tmp_path / "b"
        for folder, share in ((a, 0.3), (b, 0.7)):
            put(folder, run(Lora()), right(share))
            put(folder, run(Ia3()), right(0.5, seed=int(10 * share)))
        put(a, run(ZeroShot()), right(0.1))
        put(b, run(FullTuning()), right(0.1))
        found = nblib.compare(a, b)
        frame = found.frame.set_index(found.frame["run"].str.split(".").str[2])
        said = {"lora": "differs", "ia3": "differs", "zero-shot": "only in a", "full": "only in b"}
        assert dict(frame["found"]) == said
        assert (frame.loc["lora", "verdict"], frame.loc["ia3", "verdict"]) == ("higher", "tie")
        assert frame.loc["lora", "difference"] == pytest.approx(0.4)

    def test_other_versions_are_named_and_an_edited_file_is_not_used(self, tmp_path):
        for name, version in (("a", "1"), ("b", "2")):
            row = put(tmp_path / name, run(Lora()), right(0.5), provenance={"packages": {"torch": version}})
        assert list(nblib.compare(tmp_path / "a", tmp_path / "b").frame["provenance"]) == ["torch 1 to 2"]
        path = tmp_path / "b" / f"{row.id}.json"
        path.write_text(path.read_text().replace('"mean": 0.5', '"mean": 0.9'))
        found = nblib.compare(tmp_path / "a", tmp_path / "b")
        assert list(found.frame["found"]) == ["only in a"]
        assert "Skipped in b" in found.text

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="must be a folder; got "):
            nblib.compare(tmp_path, tmp_path / "nowhere")


def test_the_order_of_rows_changes_nothing(tmp_path):
    rows = study(tmp_path, {Lora(): 0.5, Ia3(): 0.4, InContext(shots=1): 0.2, ZeroShot(): 0.1})
    ids = [row.id for row in rows]
    first = tables.comparison(*results.load(tmp_path, ids)).frame
    pd.testing.assert_frame_equal(tables.comparison(*results.load(tmp_path, ids[::-1])).frame, first)

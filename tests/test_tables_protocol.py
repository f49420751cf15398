"""What stands behind the numbers, examples side by side, and two stores."""

from types import SimpleNamespace

import pytest
from made_rows import EXAMPLES, put, right, run, study

import nblib
from nblib import results, spec, tables
from nblib.results import Prediction
from nblib.spec import FullTuning, Ia3, Lora, ZeroShot

CHECKS = {
    "splits": [{"split": "train", "rows": 300}, {"split": "test", "rows": 120}],
    "overlaps": [{"splits": ["train", "test"], "exact": 2, "normalized": 3, "near": 5}],
    "rows_left_out": 0,
    "known_intents": 1,
}


def test_a_plan_says_how_long_it_takes_as_far_as_earlier_runs_tell():
    runs = [run(ZeroShot()), run(Lora()), run(Lora(), 2), run(Ia3())]

    def shown(*seconds):
        costs = [SimpleNamespace(seconds=each, peak_bytes=None) for each in seconds]
        table = tables.plan(runs, [each == 0 for each in seconds], costs)
        return list(table.frame.get("minutes left", ())), table.notes[0].partition(". ")[0]

    assert shown(0, 0, 0, 0) == (["–"] * 3, "All runs are done")
    assert shown(0, 90.0, 30.0, 1.0) == (["–", "2.0", "0.1"], "About 2.0 minutes")
    left = "About 2.0 minutes, plus 1 of a kind that has not run yet"
    assert shown(0, 90.0, 30.0, None) == (["–", "2.0", "not known yet"], left)
    assert shown(None, None, None, None) == ([], "We know how long this takes once the first run has ended")


def test_every_run_has_a_line_with_its_origin_and_differing_ones_are_all_named(tmp_path):
    for seed in (1, 2):
        put(tmp_path, run(Lora(), seed), right(0.5), provenance={"commit": "c", "packages": {"torch": str(seed)}})
    put(tmp_path, run(Ia3(), limit=3), [], status=results.FAILED)
    runs = results.load(tmp_path).runs
    table = tables.appendix(runs)
    assert list(table.frame.index) == sorted(runs.index)
    assert table.frame.set_index("marks").loc["partial", "status"] == "failed"
    assert "data d" in table.text
    origins = tables.provenance(runs[runs["status"] == "ok"]).frame.set_index("what")["value"]
    assert origins["torch"] == "1, 2"


def test_leaks_are_counted_once_a_task_without_checks_is_said_and_skipped_files_are_named(tmp_path):
    for seed in (1, 2):
        put(tmp_path, run(Lora(), seed), right(0.5), notes={"data_checks": CHECKS})
    put(tmp_path, run(Lora(), task="b"), right(0.5))
    frame = tables.leakage(results.load(tmp_path).runs).frame
    assert list(frame["task"]) == ["a", "b"]
    assert list(frame["so"]) == ["leaks", "not checked"]
    assert "x.json" in tables.skipped({"x.json": "is not a complete row"}).text
    assert "complete" in tables.skipped({}).text


def test_unequal_conditions_are_said(tmp_path):
    made = {"commit": "a", "clean": True, "threads": 1}
    put(tmp_path, run(Lora()), right(0.5), notes={"data_checks": CHECKS}, provenance=made)
    made |= {"commit": "b", "clean": False, "data": "x"}
    put(tmp_path, run(ZeroShot()), right(0.1)[:100], provenance=made, notes={"queries_with_dropped_shots": 2})
    answer = tables.fairness(*results.load(tmp_path)).frame.set_index("check")["answer"]
    assert answer["same data"] == answer["same test examples"] == "no: 2 kinds"
    assert answer["same base model"] == answer["same threads"] == "yes"
    assert (answer["same commit of nblib"], answer["code as it was committed"]) == ("no: 2 kinds", "no: not in 1 runs")
    assert answer["all shots fit into the context"] == "no: not in 1 runs"
    assert answer["no test intent is in the training rows"] == "no: 5 of 120, 3 of them exactly"


class TestSideBySide:
    @staticmethod
    def choose(count: int, **patterns: str):
        """r: right, w: wrong, n: not scored."""
        score = {"r": 1.0, "w": 0.0, "n": None}
        answers = {
            label: [
                Prediction(example.id, ("x",), (f"  first\n    {letter}<",), 1, 1, scores={"em@1": score[letter]})
                for example, letter in zip(EXAMPLES, pattern, strict=False)
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
        assert ">&nbsp;&nbsp;first\n&nbsp;&nbsp;&nbsp;&nbsp;r&lt;</pre>" in table.html


class TestCompare:
    def test_the_same_store_twice_differs_in_nothing(self, tmp_path):
        study(tmp_path, {Lora(): 0.5, ZeroShot(): 0.1})
        found = nblib.compare(tmp_path, tmp_path)
        assert found.frame.empty
        assert "4 same, 0 differs" in found.text
        with pytest.raises(ValueError, match="must be a folder; got "):
            nblib.compare(tmp_path, tmp_path / "nowhere")

    def test_what_differs_is_tested_on_the_same_examples(self, tmp_path):
        a, b = tmp_path / "a", tmp_path / "b"
        for folder, share in ((a, 0.3), (b, 0.7)):
            put(folder, run(Lora()), right(share))
            put(folder, run(Ia3()), right(0.5 + share / 20))
        put(a, run(ZeroShot()), right(0.1))
        put(b, run(FullTuning()), right(0.1))
        frame = nblib.compare(a, b).frame
        frame = frame.set_index(frame["run"].str.split(".").str[2])
        found = {"lora": "differs", "ia3": "differs", "zero-shot": "only in a", "full": "only in b"}
        assert dict(frame["found"]) == found
        assert (frame.loc["lora", "verdict"], frame.loc["ia3", "verdict"]) == ("higher", "tie")
        assert frame.loc["lora", "difference"] == pytest.approx(0.4)

    def test_other_versions_are_named_and_an_edited_file_is_not_used(self, tmp_path):
        for name, version in (("a", "1"), ("b", "2")):
            row = put(tmp_path / name, run(Lora()), right(0.5), provenance={"packages": {"torch": version}})
        assert "In 1 runs: torch 1 to 2." in nblib.compare(tmp_path / "a", tmp_path / "b").text
        path = tmp_path / "b" / f"{row.id}.json"
        path.write_text(path.read_text().replace('"mean": 0.5', '"mean": 0.9'))
        found = nblib.compare(tmp_path / "a", tmp_path / "b")
        assert list(found.frame["found"]) == ["only in a"]
        assert "Skipped in b" in found.text


def test_a_plan_says_which_method_brings_an_optimizer_of_its_own():
    runs = [
        spec.Run("tiny", "conala-mini", method, training=spec.Training()) for method in (spec.Lora(), spec.LoraFa())
    ]
    notes = [note for note in tables.plan(runs, [False, False]).notes if "its own optimizer" in note]
    assert notes == [f"lora-fa has its own optimizer: {spec.LoraFa.optimizer}."]

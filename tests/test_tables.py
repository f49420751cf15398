"""Tables say what the rows say: nothing invented, nothing dropped, the same for any order of rows."""

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from nblib import results, spec, tables
from nblib.results import Prediction, Row
from nblib.spec import Ia3, InContext, Lora, Run, Training, ZeroShot
from nblib.tasks import Example

EXAMPLES = [Example(f"e{number:03}", f"intent {number}", f"code_{number}()") for number in range(120)]
COSTS = {
    "trainable_parameters": 0,
    "total_parameters": 2_500_000,
    "generate_seconds": 8.0,
    "load_peak_bytes": 2.0**28,
    "generate_peak_bytes": 2.0**29,
    "prompt_tokens": 23.0,
    "new_tokens": 12.0,
    "examples": len(EXAMPLES),
}


def run(method: spec.Method, seed: int = 42, **settings) -> Run:
    return Run("tiny", "conala-mini", method, training=Training() if method.trained else None, seed=seed, **settings)


def put(folder, method, right, *, seed=42, status=results.OK, costs=None, weights="w", **settings) -> Row:
    """Writes a row whose answers are right (1), wrong (0) or without a score (None), as `right` says one by one."""
    asked = run(method, seed, **settings)
    known = [each for each in right if each is not None]
    mean = {"mean": sum(known) / len(known) if known else None, "n": len(known), "missing": len(right) - len(known)}
    well = status == results.OK
    trained = (
        {"trainable_parameters": 98_304, "train_seconds": 41.3, "train_peak_bytes": 2.0**30} if method.trained else {}
    )
    row = Row(
        id=spec.run_id(asked, data="d", weights=weights),
        settings=spec.settings(asked),
        status=status,
        scores={"em@1": mean, "em@10": mean, "codebleu": mean, "chrf": mean} if well else {},
        costs=COSTS | trained | (costs or {}),
        notes={},
        provenance={},
        error=None if well else "it did not work",
    )
    predictions = [
        Prediction(
            example=example.id,
            completions=(example.code,),
            codes=(example.code if score else f"wrong_{number}()",),
            prompt_tokens=23,
            new_tokens=12,
            scores={"em@1": score, "em@10": score, "codebleu": score, "chrf": score},
        )
        for number, (example, score) in enumerate(zip(EXAMPLES, right, strict=False))
    ]
    results.write(folder, row, predictions if well else ())
    return row


def right(share: float, seed: int = 0, count: int = 120) -> list[float]:
    """Exactly that share of right answers; easy examples come first, and a few change places with the seed."""
    random = np.random.default_rng(seed)
    order = np.argsort(np.arange(count) / count + random.normal(0, 0.1, count))
    scores = np.zeros(count)
    scores[order[: round(share * count)]] = 1.0
    return [float(each) for each in scores]


def study(folder, shares: dict[spec.Method, float], seeds=(42, 777, 5432)) -> list[Row]:
    """Three seeds of each method that varies, around the given share of right answers."""
    rows = []
    for method, share in shares.items():
        for place, seed in enumerate(seeds[:1] if isinstance(method, ZeroShot) else seeds):
            shift = 0 if isinstance(method, ZeroShot) or len(seeds) < 3 else (place - 1) / 60
            rows.append(put(folder, method, right(share + shift, seed), seed=seed))
    return rows


CLEAR = {ZeroShot(): 0.1, InContext(1): 0.2, InContext(3): 0.3, Lora(): 0.65, Ia3(): 0.25}


class TestComparison:
    def test_hand_worked(self, tmp_path):
        rows = [
            put(tmp_path, Lora(), [1.0] * 30 + [0.0] * 90, seed=1),
            put(tmp_path, Lora(), [1.0] * 60 + [0.0] * 60, seed=2, costs={"train_seconds": 51.3}),
        ]
        line = tables.comparison(rows, tmp_path).loc["lora"]
        assert line["em@1"] == pytest.approx((0.25 + 0.5) / 2)
        assert line["em@1_sd"] == pytest.approx(0.25 / 2**0.5)
        assert 0 <= line["em@1_low"] < 0.25  # two seeds: wide
        assert (line["seeds"], line["em@1_n"], line["em@1_missing"]) == (2, 120, 0)
        assert (line["train_seconds"], line["trainable_parameters"]) == (pytest.approx(46.3), 98_304)
        assert line["peak_bytes"] == 2**30  # of training, the highest of all phases

    def test_has_one_line_a_method_in_the_house_order(self, tmp_path):
        frame = tables.comparison(study(tmp_path, CLEAR), tmp_path)
        assert list(frame.index) == ["zero-shot", "icl-1", "icl-3", "lora", "ia3"]
        assert list(frame["family"]) == ["zero-shot", "ICL", "ICL", "PEFT", "PEFT"]
        assert list(frame["seeds"]) == [1, 3, 3, 3, 3]

    def test_icl_16_comes_after_icl_2(self, tmp_path):
        rows = [put(tmp_path, InContext(shots), right(0.3)) for shots in (16, 2)]
        assert list(tables.comparison(rows, tmp_path).index) == ["icl-2", "icl-16"]

    def test_the_order_of_rows_changes_nothing(self, tmp_path):
        rows = study(tmp_path, {ZeroShot(): 0.1, InContext(1): 0.2, Lora(): 0.65}, seeds=(1, 2))
        first = tables.comparison(rows, tmp_path)
        said = tables.answer(rows, tmp_path)
        for order in itertools.islice(itertools.permutations(rows), 1, 120, 40):
            pd.testing.assert_frame_equal(tables.comparison(order, tmp_path), first)
            assert tables.answer(order, tmp_path) == said

    def test_a_row_given_twice_counts_once(self, tmp_path):
        row = put(tmp_path, Lora(), right(0.5))
        assert tables.comparison([row, row], tmp_path).loc["lora", "seeds"] == 1

    def test_ties_with_the_best_are_marked_and_the_best_is_not(self, tmp_path):
        frame = tables.comparison(study(tmp_path, CLEAR | {Ia3(): 0.63}), tmp_path)
        tie = frame["em@1_tie"]
        assert tie["ia3"]
        assert tie["lora"] is pd.NA
        assert not tie["icl-3"]

    def test_missing_scores_are_counted(self, tmp_path):
        frame = tables.comparison([put(tmp_path, Lora(), [1.0, None, 0.0, 1.0])], tmp_path)
        assert (frame.loc["lora", "em@1_n"], frame.loc["lora", "em@1_missing"]) == (3, 1)
        assert frame.loc["lora", "em@1"] == pytest.approx(2 / 3)

    def test_runs_that_failed_have_a_line(self, tmp_path):
        rows = study(tmp_path, {ZeroShot(): 0.1})
        rows += [
            put(tmp_path, Lora(), [], status=results.OUT_OF_MEMORY),
            put(tmp_path, Ia3(), [], status=results.FAILED),
        ]
        frame = tables.comparison(rows, tmp_path)
        assert list(frame["status"]) == ["ok", "out_of_memory", "failed"]
        assert frame.loc[["lora", "ia3"], "em@1"].isna().all()

    def test_one_failed_seed_is_counted_beside_the_good_ones(self, tmp_path):
        rows = [put(tmp_path, Lora(), right(0.5)), put(tmp_path, Lora(), [], seed=7, status=results.FAILED)]
        line = tables.comparison(rows, tmp_path).loc["lora"]
        assert (line["status"], line["seeds"], line["failed"]) == ("ok", 1, 1)

    def test_planned_runs_without_a_row_are_missing(self, tmp_path):
        rows = [put(tmp_path, Lora(), right(0.5))]
        frame = tables.comparison(rows, tmp_path, expected=[run(Lora()), run(Lora(), 7), run(Ia3())])
        assert frame.loc["lora", ["status", "seeds", "missing"]].tolist() == ["ok", 1, 1]
        assert frame.loc["ia3", ["status", "seeds", "missing"]].tolist() == ["missing", 0, 1]

    def test_em_at_10_is_shown_only_where_every_run_has_it(self, tmp_path):
        rows = study(tmp_path, {ZeroShot(): 0.1, Lora(): 0.5})
        assert "em@10" in tables.comparison(rows, tmp_path)
        rows[0] = replace(rows[0], scores={name: each for name, each in rows[0].scores.items() if name != "em@10"})
        frame = tables.comparison(rows, tmp_path)
        assert "em@10" not in frame
        assert "codebleu_corrected" not in frame  # nobody has it

    def test_rows_without_predictions_keep_their_mean_and_have_no_interval(self, tmp_path):
        rows = study(tmp_path, {ZeroShot(): 0.1, Lora(): 0.5})
        frame = tables.comparison(rows, tmp_path / "elsewhere")
        assert frame.loc["lora", "em@1"] == pytest.approx(0.5)
        assert frame.loc["lora", ["em@1_low", "em@1_high"]].isna().all()
        assert frame["em@1_tie"].isna().all()

    def test_two_settings_of_a_method_are_two_lines(self, tmp_path):
        rows = [put(tmp_path, Lora(r=rank), right(0.5)) for rank in (4, 16)]
        assert list(tables.comparison(rows, tmp_path).index) == ["lora r=4", "lora r=16"]

    @pytest.mark.parametrize("changed", [{"limit": 20}, {"decoding": spec.Decoding(beams=1, returned=1)}])
    def test_rows_that_do_not_compare_are_refused(self, tmp_path, changed):
        rows = [put(tmp_path, ZeroShot(), right(0.1)), put(tmp_path, Lora(), right(0.5), **changed)]
        with pytest.raises(ValueError, match=f"a comparison has one {next(iter(changed))}; got "):
            tables.comparison(rows, tmp_path)

    def test_the_batch_size_of_decoding_may_differ(self, tmp_path):
        rows = [put(tmp_path, Lora(), right(0.5))]
        rows.append(put(tmp_path, ZeroShot(), right(0.1), decoding=spec.Decoding(batch_size=2)))
        assert len(tables.comparison(rows, tmp_path)) == 2

    def test_results_of_other_weights_do_not_mix(self, tmp_path):
        rows = [put(tmp_path, Lora(), right(0.5), weights=weights) for weights in ("old", "new")]
        with pytest.raises(ValueError, match="lora with seed 42 has two rows"):
            tables.comparison(rows, tmp_path)

    def test_no_rows_are_an_empty_table(self, tmp_path):
        frame = tables.comparison([], tmp_path)
        assert frame.empty
        assert "No runs." in tables.styled(frame).text


def test_csv_is_plain_numbers_and_leaves_no_part(tmp_path):
    frame = tables.comparison(study(tmp_path / "store", CLEAR), tmp_path / "store")
    path = tables.write_csv(frame, tmp_path / "made" / "rq1.csv")
    back = pd.read_csv(path, index_col="method")
    assert back["em@1"].tolist() == pytest.approx(frame["em@1"].tolist())
    assert [each.name for each in path.parent.iterdir()] == ["rq1.csv"]
    before = path.read_bytes()
    assert tables.write_csv(frame, path).read_bytes() == before


class Tags(HTMLParser):
    """Notes whether every tag is closed, and which tags there are."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        names = {name for name, _ in attrs}
        assert "class" not in names
        assert "style" not in names or "align" in names  # GitHub strips styles: another attribute must say the same
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags(html: str) -> set[str]:
    parser = Tags()
    parser.feed(html)
    assert parser.open == []
    return parser.seen


class TestStyled:
    def test_marks_stand_in_html_that_github_keeps(self, tmp_path):
        shown = tables.styled(tables.comparison(study(tmp_path, CLEAR | {Ia3(): 0.63}), tmp_path))
        html = shown._repr_html_()
        assert tags(html) <= {"p", "table", "thead", "tbody", "tr", "th", "td", "b", "ins", "br", "small"}
        assert "<b>65.0</b> ± 1.7<br><small>" in html
        assert re.search(r"<ins>6[23]\.\d</ins> ± \d\.\d ≈<br><small>5\d\.\d to \d\d\.\d</small>", html)

    def test_the_text_says_the_same(self, tmp_path):
        text = repr(tables.styled(tables.comparison(study(tmp_path, CLEAR), tmp_path)))
        assert text.startswith("conala-mini with tiny\n")
        lora = next(line for line in text.splitlines() if line.startswith("lora"))
        assert "**65.0** ± 1.7 (" in lora
        assert lora.split()[-2:] == ["3", "120"]
        assert "98,304" in lora
        assert "41.3" in lora
        assert "1.00" in lora

    def test_lost_runs_are_said(self, tmp_path):
        rows = study(tmp_path, {ZeroShot(): 0.1})
        rows += [
            put(tmp_path, Lora(), [], status=results.OUT_OF_MEMORY),
            put(tmp_path, Ia3(), [], status=results.FAILED),
        ]
        shown = tables.styled(tables.comparison(rows, tmp_path, expected=[run(InContext(3))]))
        lines = {line.split()[0]: line for line in shown.text.splitlines() if line}
        assert "OOM" in lines["lora"]
        assert "0 (1 OOM)" in lines["lora"]
        assert "failed" in lines["ia3"]
        assert "missing" in lines["icl-3"]
        assert "nan" not in shown.html.lower()

    def test_one_method_is_not_called_the_best(self, tmp_path):
        shown = tables.styled(tables.comparison(study(tmp_path, {Lora(): 0.5}), tmp_path))
        assert "**50.0**" not in shown.text

    def test_a_partial_result_says_so(self, tmp_path):
        rows = [put(tmp_path, Lora(), right(0.5, count=20), limit=20)]
        assert "only its first 20 examples: a partial result" in tables.styled(tables.comparison(rows, tmp_path)).html

    def test_scores_without_a_value_are_counted_below(self, tmp_path):
        shown = tables.styled(tables.comparison([put(tmp_path, Lora(), [1.0, None, 0.0, 1.0])], tmp_path))
        assert "3 of 4" in shown.text
        assert "CodeBLEU is not defined for some examples: lora 1." in shown.text


class TestSideBySide:
    @staticmethod
    def predictions(pattern: str) -> list[Prediction]:
        """r: right, w: wrong, n: not scored."""
        score = {"r": 1.0, "w": 0.0, "n": None}
        return [
            Prediction(each.id, ("x",), (f"  first\n    {letter}<{each.id}>",), 1, 1, scores={"em@1": score[letter]})
            for each, letter in zip(EXAMPLES, pattern, strict=False)
        ]

    def choose(self, count: int, **patterns: str):
        length = len(next(iter(patterns.values())))
        predictions = {label: self.predictions(pattern) for label, pattern in patterns.items()}
        return tables.side_by_side(EXAMPLES[:length], predictions, count)

    def test_shows_where_methods_disagree_and_then_where_all_fail(self):
        shown = self.choose(3, lora="rrrwwr", icl="rrwwrr")
        assert list(shown.frame.index) == ["e002", "e004", "e003"]

    def test_patterns_are_varied_before_they_repeat(self):
        shown = self.choose(4, a="rrrrww", b="wwwwrw", c="wwwrrw")
        assert list(shown.frame.index) == ["e000", "e003", "e004", "e005"]

    def test_fills_up_with_what_is_there(self):
        assert list(self.choose(5, a="rr", b="rr").frame.index) == ["e000", "e001"]
        assert len(self.choose(2, a="wwww", b="wwww").frame) == 2

    def test_says_right_and_wrong_in_words(self):
        frame = self.choose(2, a="rw", b="wn").frame
        assert frame.loc["e000", "a"].startswith("✓ right\n")
        assert frame.loc["e000", "b"].startswith("✗ wrong\n")
        assert frame.loc["e001", "b"].startswith("? not scored\n")

    def test_code_is_escaped_and_keeps_its_indent(self):
        shown = self.choose(1, a="r", b="w")
        assert "&nbsp;&nbsp;first<br>&nbsp;&nbsp;&nbsp;&nbsp;r&lt;e000&gt;" in shown.html
        assert tags(shown.html) == {"table", "tbody", "tr", "th", "td", "code", "br"}
        assert "reference" in shown.text
        assert "✗ wrong" in shown.text

    def test_an_example_without_prediction_and_an_empty_answer_are_said(self):
        empty = [Prediction(EXAMPLES[0].id, ("",), ("",), 1, 1, scores={"em@1": 0.0})]
        frame = tables.side_by_side(EXAMPLES[:1], {"a": empty, "b": []}, 1).frame
        assert frame.iloc[0]["a"] == "✗ wrong\n(empty)"
        assert frame.iloc[0]["b"] == "? not scored\n(no prediction)"

"""The computed paragraph says what the rows say, in good English, whatever is there."""

import pytest
from test_tables import CLEAR, put, right, run, study

from nblib import results, spec, stats, tables
from nblib.spec import Ia3, InContext, Lora, ZeroShot


class TestAnswer:
    def test_peft_wins(self, tmp_path):
        said = tables.answer(study(tmp_path, CLEAR), tmp_path)
        assert said.startswith("On conala-mini with tiny, lora scores highest: EM@1 65.0 % (95 % interval ")
        assert (
            "lora (best of 2 PEFT methods, 65.0 %) is 35.0 points (117 % relative) above icl-3 (best of 2 ICL " in said
        )
        assert "lora is 55.0 points (" in said
        assert "which is more than the noise" in said
        assert (
            "lora trains 98,304 parameters in 41 s a seed and reads 23 prompt tokens a query; icl-3 trains nothing"
            in said
        )
        assert "This rests on 120 test examples and 3 seeds a method (zero-shot 1)" in said

    def test_a_tie_is_called_one(self, tmp_path):
        said = tables.answer(study(tmp_path, {ZeroShot(): 0.1, InContext(3): 0.4, Lora(): 0.41}), tmp_path)
        assert (
            "Between lora (the only PEFT method, 40.8 %) and icl-3 (the only ICL method, 40.0 %) there is no " in said
        )
        assert "difference that this data can show (0.8 points, 95 % interval of the difference −" in said
        assert "This data cannot tell icl-3 from it." in said

    def test_a_tie_after_correction_only_says_so(self, tmp_path, monkeypatch):
        rows = study(tmp_path, {ZeroShot(): 0.1, InContext(3): 0.3, Lora(): 0.6})
        monkeypatch.setattr(stats, "holm", lambda p_values: [0.2 for _ in p_values])
        said = tables.answer(rows, tmp_path)
        assert (
            "no difference that this data can show, once all comparisons of the table are counted (30.0 points" in said
        )

    def test_icl_wins(self, tmp_path):
        said = tables.answer(study(tmp_path, {ZeroShot(): 0.1, InContext(3): 0.6, Lora(): 0.3}), tmp_path)
        assert "icl-3 scores highest" in said
        assert "lora (the only PEFT method, 30.0 %) is 30.0 points (50 % relative) below icl-3" in said

    def test_agrees_with_the_marks_of_the_table(self, tmp_path):
        for folder, gap in ((tmp_path / str(gap), gap) for gap in (0.02, 0.06, 0.1, 0.14, 0.3)):
            rows = study(folder, {ZeroShot(): 0.1, InContext(1): 0.2, InContext(3): 0.4, Lora(): 0.4 + gap})
            tie = tables.comparison(rows, folder).loc["icl-3", "em@1_tie"]
            assert ("no difference that this data can show" in tables.answer(rows, folder)) == tie

    def test_only_icl_there(self, tmp_path):
        said = tables.answer(study(tmp_path, {InContext(1): 0.2, InContext(3): 0.3}), tmp_path)
        assert "No PEFT method has a result. No zero-shot run has a result." in said
        assert "icl-3 trains nothing and reads 23 prompt tokens a query." in said

    def test_one_run_only(self, tmp_path):
        said = tables.answer([put(tmp_path, Lora(), right(0.5))], tmp_path)
        assert "lora is the only method with a result: EM@1 50.0 %" in said
        assert "This rests on 120 test examples and 1 seed. How another seed would change lora is not known." in said

    def test_all_failed(self, tmp_path):
        rows = [put(tmp_path, Lora(), [], seed=seed, status=results.FAILED) for seed in (1, 2)]
        rows.append(put(tmp_path, InContext(3), [], status=results.OUT_OF_MEMORY))
        assert tables.answer(rows, tmp_path) == (
            "On conala-mini with tiny, no run gave a result, so the question stays open. "
            "Without a result: icl-3 (out of memory), lora (failed)."
        )

    def test_no_rows(self, tmp_path):
        assert tables.answer([], tmp_path) == "There are no runs yet, so the question stays open."

    def test_losses_are_told(self, tmp_path):
        rows = study(tmp_path, {ZeroShot(): 0.1, InContext(3): 0.3, Lora(): 0.6})
        rows.append(put(tmp_path, Lora(), [], seed=8, status=results.FAILED))
        rows.append(put(tmp_path, Ia3(), [], status=results.OUT_OF_MEMORY))
        said = tables.answer(rows, tmp_path, expected=[run(InContext(2))])
        assert said.endswith(
            "Without a result: icl-2 (not run), ia3 (out of memory). Incomplete: lora (1 of 4 runs failed)."
        )

    def test_without_predictions_nothing_is_claimed(self, tmp_path):
        rows = study(tmp_path, {InContext(3): 0.3, Lora(): 0.6})
        said = tables.answer(rows, tmp_path / "elsewhere")
        assert "30.0 points (100 % relative) above icl-3 (the only ICL method, 30.0 %); whether that is more " in said
        assert "cannot be tested" in said
        assert "noise (" not in said

    def test_zero_percent_has_no_relative_gain(self, tmp_path):
        rows = [put(tmp_path, ZeroShot(), right(0.0)), put(tmp_path, Lora(), right(0.5))]
        assert "50.0 points above zero-shot (0.0 %)" in tables.answer(rows, tmp_path)

    def test_other_questions(self, tmp_path):
        rows = study(tmp_path, CLEAR | {spec.FullTuning(): 0.4})
        said = tables.answer(rows, tmp_path, against=("full fine-tuning",), metric="chrf")
        assert "chrF 65.0 %" in said
        assert "above full (full fine-tuning, 40.0 %)" in said

    def test_an_unknown_family_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="a family must be one of PEFT, ICL, RAG, .*; got 'icl'"):
            tables.answer([], tmp_path, ours="icl")

"""The report: every row of a folder into the table it belongs to, and nothing invented where there is a gap."""

import dataclasses
import random
import shutil
import subprocess

import pandas as pd
import pytest
from test_tables import EXAMPLES, right
from test_tables_methods import fake, run, study

import nblib
from nblib import results, spec, tables
from nblib.results import Prediction, Row
from nblib.spec import Decoding, FullTuning, Ia3, InContext, Lora, Retrieved, ZeroShot

CHECKS = {
    "task": "a",
    "splits": [{"split": "train", "rows": 300}, {"split": "test", "rows": 120}],
    "overlaps": [{"splits": ["train", "test"], "exact": 2, "normalized": 3, "near": 5}],
    "rows_left_out": 0,
    "known_intents": 1,
}
KINDS_OF_BYTES = ("weights", "adapter", "gradients", "optimizer", "activations", "logits")


def bytes_of(weights: float) -> dict:
    """Costs of a step whose other kinds are small."""
    return {f"train_{kind}_bytes": 100.0 for kind in KINDS_OF_BYTES} | {"train_weights_bytes": weights}


def reported(rows, folder, place=0):
    return tables.report(tables.benchmarks(rows)[place], folder)


def line(frame: pd.DataFrame, **wanted) -> pd.Series:
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1
    return frame.iloc[0]


class TestBenchmarks:
    def test_tasks_limits_and_decodings_make_tables_of_their_own(self, tmp_path):
        greedy = Decoding(beams=1, returned=1)
        rows = [
            fake(tmp_path, run(Lora()), right(0.5)),
            fake(tmp_path, run(Lora(), limit=10), right(0.9)[:10]),
            fake(tmp_path, run(Lora(), task="b"), right(0.5)),
            fake(tmp_path, run(Lora(), decoding=greedy), right(0.5)),
        ]
        names = [each.name for each in tables.benchmarks(rows)]
        assert names == ["a, 1 beams, 1 answers", "a, 10 beams, 10 answers", "b", "a, first 10 examples"]

    def test_partial_rows_change_no_number_of_a_whole_table(self, tmp_path):
        whole = study(tmp_path, {Lora(): 0.5, ZeroShot(): 0.1})
        before = reported(whole, tmp_path)
        partial = [fake(tmp_path, run(Lora(), limit=10), [1.0] * 10)]
        pd.testing.assert_frame_equal(reported([*whole, *partial], tmp_path), before)
        shown = tables.shown_report(reported(partial, tmp_path), "a")
        assert "a partial result" in repr(shown)

    def test_shape_only_validation_and_foreign_rows_are_in_no_quality_table(self, tmp_path):
        rows = [
            fake(tmp_path, run(Lora(), split="validation"), right(0.5)),
            fake(tmp_path, run(Lora(), train_task="b"), right(0.5)),
        ]
        shapes = fake(tmp_path, run(Lora(), seed=7), right(0.5))
        shapes.settings["shape_only"] = True
        assert tables.benchmarks([*rows, shapes]) == []
        assert {each.verdict for each in tables.claims([*rows, shapes], tmp_path)} == {"is not decided"}

    def test_the_batch_size_of_decoding_parts_nothing(self, tmp_path):
        rows = [
            fake(tmp_path, run(Lora()), right(0.5)),
            fake(tmp_path, run(ZeroShot(), decoding=Decoding(batch_size=4)), right(0.1)),
        ]
        assert len(tables.benchmarks(rows)) == 1

    def test_other_data_is_another_benchmark_and_a_run_that_failed_early_joins_the_first(self, tmp_path):
        rows = [fake(tmp_path, run(Lora(), seed), right(0.5)) for seed in (1, 2)]
        rows = [dataclasses.replace(row, provenance={"data": name}) for row, name in zip(rows, "xy", strict=True)]
        rows.append(fake(tmp_path, run(Ia3()), [], status=results.FAILED))
        parts = tables.benchmarks(rows)
        assert [each.name for each in parts] == ["a, data x", "a, data y"]
        assert [len(each.rows) for each in parts] == [2, 1]


class TestReport:
    def test_methods_stand_under_each_model_and_gaps_are_said(self, tmp_path):
        rows = study(tmp_path, {Lora(): 0.5, ZeroShot(): 0.1})
        rows += study(tmp_path, {Lora(): 0.6}, model="large")
        rows.append(fake(tmp_path, run(FullTuning(), model="large"), [], status=results.OUT_OF_MEMORY))
        frame = reported(rows, tmp_path)
        assert [*zip(frame["model"], frame["method"], strict=True)] == [
            (model, method) for model in ("large", "tiny") for method in ("zero-shot", "lora", "full")
        ]
        assert list(frame["status"]) == ["missing", "ok", "out_of_memory", "ok", "ok", "missing"]
        shown = tables.shown_report(frame, "a").frame
        assert list(shown["EM@1 (%)"].str.split().str[0]) == ["missing", "60.0", "OOM", "10.0", "50.0", "missing"]
        assert list(shown["model"]) == ["large", "", "", "tiny", "", ""]

    def test_ties_are_said_within_a_model(self, tmp_path):
        frame = reported(study(tmp_path, {Lora(): 0.5, Ia3(): 0.49, ZeroShot(): 0.1}), tmp_path)
        shown = tables.shown_report(frame, "a").frame.set_index("method")["EM@1 (%)"]
        assert shown["lora"].endswith("best")
        assert shown["ia3"].endswith("≈")
        assert shown["zero-shot"].endswith("]")

    def test_memory_is_the_peak_on_a_gpu_and_the_sum_of_tensors_on_a_cpu(self, tmp_path):
        row = fake(tmp_path, run(Lora()), right(0.5), costs=bytes_of(1000.0))
        assert reported([row], tmp_path)["memory_bytes"].item() == 1500.0
        on_gpu = dataclasses.replace(row, provenance={"device": "cuda"})
        assert reported([on_gpu], tmp_path)["memory_bytes"].item() == 2.0**30

    def test_no_rows_are_no_benchmarks(self):
        assert tables.benchmarks([]) == []


def whole_report(rows, folder) -> list:
    parts = tables.benchmarks(rows)
    frames = [one(each, folder) for each in parts for one in (tables.report, tables.tested, tables.soft_cost)]
    frames += [tables.mean_ranks(parts, folder), tables.appendix(rows), tables.leakage(rows), tables.memory(rows)]
    return [tables.claims_frame(tables.claims(rows, folder)), *frames]


def test_the_order_of_rows_changes_nothing(tmp_path):
    rows = study(tmp_path, {Lora(): 0.5, Ia3(): 0.4, InContext(shots=1): 0.2, ZeroShot(): 0.1})
    rows += study(tmp_path, {Lora(): 0.3, FullTuning(): 0.4}, model="large", task="b")
    before = whole_report(rows, tmp_path)
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        for old, new in zip(before, whole_report(rows, tmp_path), strict=True):
            pd.testing.assert_frame_equal(new, old)


class TestTested:
    def test_mcnemar_stands_beside_the_paired_test(self, tmp_path):
        rows = [fake(tmp_path, run(Lora()), [1.0] * 60 + [0.0] * 60), fake(tmp_path, run(Ia3()), [0.0, 1.0] * 60)]
        rows.append(fake(tmp_path, run(ZeroShot()), [0.0] * 120))
        frame = tables.tested(tables.benchmarks(rows)[0], tmp_path)
        tie, clear = line(frame, method="ia3"), line(frame, method="zero-shot")
        assert (tie["only_best"], tie["only_other"], tie["mcnemar_p"], tie["verdict"]) == (30, 30, 1.0, "tie")
        assert (clear["only_best"], clear["only_other"], clear["verdict"]) == (60, 0, "higher")
        assert clear["mcnemar_p"] == pytest.approx(2 * 2 / 2**60)  # of a family of two
        assert "a tie" in repr(tables.shown_tested(frame))


class TestClaims:
    def verdict(self, rows, folder, claim):
        found = [each for each in tables.claims(rows, folder) if each.claim == claim]
        assert len(found) == 1
        return found[0].verdict

    @pytest.mark.parametrize(
        ("lora", "icl", "rag", "said"),
        [(0.6, 0.2, 0.3, "holds"), (0.3, 0.2, 0.6, "does not hold"), (0.5, 0.2, 0.5, "is not decided")],
    )
    def test_peft_beside_examples(self, tmp_path, lora, icl, rag, said):
        rows = study(tmp_path, {Lora(): lora, InContext(shots=2): icl, Retrieved(shots=2): rag})
        assert self.verdict(rows, tmp_path, "1") == said

    def test_without_retrieval_the_first_claim_stays_open(self, tmp_path):
        rows = study(tmp_path, {Lora(): 0.6, InContext(shots=2): 0.2})
        assert self.verdict(rows, tmp_path, "1") == "is not decided"

    @pytest.mark.parametrize(("ia3", "said"), [(0.2, "holds"), (0.8, "does not hold"), (0.5, "is not decided")])
    def test_lora_as_the_best(self, tmp_path, ia3, said):
        assert self.verdict(study(tmp_path, {Lora(): 0.5, Ia3(): ia3}), tmp_path, "1, LoRA") == said

    @pytest.mark.parametrize(("small", "said"), [(0.2, "holds"), (0.8, "does not hold")])
    def test_a_larger_model_beside_a_smaller_one(self, tmp_path, small, said):
        rows = study(tmp_path, {FullTuning(): small}) + study(tmp_path, {Lora(): 0.5}, model="large")
        assert self.verdict(rows, tmp_path, "2") == said

    @pytest.mark.parametrize(
        ("share", "weights", "said"),
        [(0.75, 300.0, "holds"), (0.3, 300.0, "does not hold"), (0.75, 2000.0, "does not hold")],
    )
    def test_quantization(self, tmp_path, share, weights, said):
        rows = [fake(tmp_path, run(Lora()), right(0.5), costs=bytes_of(2000.0))]
        quantized = run(Lora(), precision="nf4-dq")
        rows.append(fake(tmp_path, quantized, right(share), costs=bytes_of(weights)))
        assert self.verdict(rows, tmp_path, "3") == said

    @pytest.mark.parametrize(
        ("shares", "said"),
        [
            ((0.6, 0.6), "holds"),
            ((0.6, 0.2), "is not decided"),
            ((0.6, 0.02), "does not hold"),
            ((0.6,), "is not decided"),
        ],
    )
    def test_programs_that_run(self, tmp_path, shares, said):
        rows = [executed(tmp_path, run(ZeroShot()), 0.2)]
        for precision, share in zip(("fp32", "nf4-dq"), shares, strict=False):
            rows.append(executed(tmp_path, run(Lora(), precision=precision), share))
        assert self.verdict(rows, tmp_path, "4") == said

    @pytest.mark.parametrize(("joint", "said"), [(0.2, "does not hold"), (0.9, "holds")])
    def test_one_adapter_for_two_tasks(self, tmp_path, joint, said):
        rows = []
        for task in ("a", "b"):
            rows += study(tmp_path, {Lora(): 0.6}, task=task)
            rows += study(tmp_path, {Lora(): joint}, task=task, train_task="a+b")
        assert self.verdict(rows, tmp_path, "5") == said

    def test_every_claim_is_spoken_of_even_without_rows(self, tmp_path):
        found = tables.claims([], tmp_path)
        assert [each.claim for each in found] == list(tables.CLAIMS)
        assert "is not decided by this data" in repr(tables.shown_claims(found))


def executed(folder, asked, share: float) -> Row:
    """A row of a task whose answers are run."""
    scores = right(share)
    fields = fake(folder, asked, scores)
    mean = fields.scores["em@1"]
    row = dataclasses.replace(fields, scores=dict.fromkeys(("test_accuracy", "strict_accuracy", "em@1"), mean))
    told = [
        Prediction(each.id, (each.code,), (each.code,), 23, 12, scores=dict.fromkeys(row.scores, score))
        for each, score in zip(EXAMPLES, scores, strict=True)
    ]
    results.write(folder, row, told)
    return row


class TestMeanRanks:
    def test_only_methods_of_every_benchmark_are_ranked_and_the_others_named(self, tmp_path):
        rows = study(tmp_path, {Lora(): 0.6, ZeroShot(): 0.1, Ia3(): 0.4})
        rows += study(tmp_path, {Lora(): 0.2, ZeroShot(): 0.4}, task="b")
        frame = tables.mean_ranks(tables.benchmarks(rows), tmp_path)
        assert dict(frame["mean_rank"]) == {"zero-shot": 1.5, "lora": 1.5}
        assert frame.attrs["left_out"] == ["ia3"]
        assert "not ranked: ia3" in repr(tables.shown_mean_ranks(frame))

    def test_a_method_at_another_precision_too_is_ranked_as_elsewhere(self, tmp_path):
        rows = [fake(tmp_path, run(each, task=task), right(0.5)) for task in "ab" for each in (Lora(), ZeroShot())]
        rows.append(fake(tmp_path, run(Lora(), precision="bf16"), right(0.4)))
        frame = tables.mean_ranks(tables.benchmarks(rows), tmp_path)
        assert set(frame.index) == {"lora", "zero-shot"}
        assert frame.attrs["left_out"] == ["lora bf16"]

    def test_a_benchmark_with_few_methods_may_be_left_out(self, tmp_path):
        rows = study(tmp_path, {Lora(): 0.6, Ia3(): 0.2, ZeroShot(): 0.1}) + study(tmp_path, {Lora(): 0.3}, task="b")
        frame = tables.mean_ranks(tables.benchmarks(rows), tmp_path, least=3)
        assert dict(frame["mean_rank"]) == {"lora": 1, "ia3": 2, "zero-shot": 3}
        assert (len(frame.attrs["places"]), len(frame.attrs["too_few"])) == (1, 1)
        assert "too few methods to rank: b with" in repr(tables.shown_mean_ranks(frame))

    def test_nothing_in_common_is_an_empty_table(self, tmp_path):
        rows = study(tmp_path, {Lora(): 0.6}) + study(tmp_path, {Ia3(): 0.2}, task="b")
        assert tables.mean_ranks(tables.benchmarks(rows), tmp_path).empty
        assert tables.mean_ranks([], tmp_path).empty


class TestSoftCost:
    def test_hand_worked(self, tmp_path):
        """5e8 parameters, 10 more teraflops and 94 GB: each halves 50 %."""
        costs = {"total_parameters": 5e11, "prompt_tokens": 33.0, "trainable_parameters": 5e8}
        costs |= bytes_of(94e9 - 500)
        rows = [fake(tmp_path, run(ZeroShot()), right(0.1), costs={"total_parameters": 5e11})]
        rows.append(fake(tmp_path, run(spec.PTuning()), right(0.5), costs=costs | {"prompt_tokens": 13.0}))
        frame = tables.soft_cost(tables.benchmarks(rows)[0], tmp_path)
        assert list(frame["method"]) == ["p-tuning"]
        assert frame["teraflops"].item() == pytest.approx(2 * 5e11 * (13 + spec.PTuning().virtual_tokens - 23) / 1e12)
        assert frame["pscp"].item() == pytest.approx(50 / 2 / 2 / (1 + frame["teraflops"].item() / 10))

    def test_what_is_not_measured_has_no_score(self, tmp_path):
        rows = [fake(tmp_path, run(Lora()), right(0.5))]
        frame = tables.soft_cost(tables.benchmarks(rows)[0], tmp_path)
        assert frame["pscp"].isna().all()


class TestAppendix:
    def test_every_run_has_a_line_with_its_origin(self, tmp_path):
        rows = study(tmp_path, {Lora(): 0.5, ZeroShot(): 0.1})
        rows = [dataclasses.replace(row, provenance={"commit": "c", "packages": {"torch": "2"}}) for row in rows]
        rows.append(fake(tmp_path, run(Ia3(), limit=3), [], status=results.FAILED))
        frame = tables.appendix(rows)
        assert list(frame["id"]) == sorted(row.id for row in rows)
        assert line(frame, marks="partial")["status"] == "failed"
        assert set(frame["torch"].dropna()) == {"2"}
        assert "failed" in repr(tables.shown_appendix(frame))

    def test_leaks_are_counted_once_and_a_task_without_checks_is_said(self, tmp_path):
        rows = [fake(tmp_path, run(Lora(), seed), right(0.5), notes={"data_checks": CHECKS}) for seed in (1, 2)]
        rows.append(fake(tmp_path, run(Lora(), task="b"), right(0.5)))
        frame = tables.leakage(rows)
        assert list(frame["task"]) == ["a", "b"]
        assert frame["normalized"].iloc[0] == 3
        shown = repr(tables.shown_leakage(frame))
        assert "leaks" in shown
        assert "not checked" in shown

    def test_skipped_files_are_named(self):
        assert "x.json" in repr(tables.skipped({"x.json": "is no whole row"}))
        assert "whole" in repr(tables.skipped({}))


class TestLatex:
    ODD = r"50 % of a_b & {c} $d #e ~f ^g \h ≈ – ±"

    def test_special_characters_are_escaped_and_groups_parted(self):
        shown = tables.Shown(pd.DataFrame({"model": ["m", "", "n"], "x_y": [self.ODD, "b", "c"]}), "", "")
        text = tables.latex(shown, caption="100 %", label="tab:x")
        assert r"50 \% of a\_b \& \{c\} \$d \#e \textasciitilde{}f \textasciicircum{}g \textbackslash{}h" in text
        assert r"$\approx$ -- $\pm$" in text
        assert text.count(r"\midrule") == 2
        assert r"\caption{100 \%}" in text
        assert text.count("{tabular}") == 2

    def test_it_compiles(self, tmp_path):
        if shutil.which("pdflatex") is None:
            pytest.skip("pdflatex is not installed")
        rows = study(tmp_path / "store", {Lora(): 0.5, ZeroShot(): 0.1})
        shown = tables.shown_report(reported(rows, tmp_path / "store"), self.ODD)
        tables.write_latex(shown, tmp_path / "table.tex", caption=self.ODD, label="tab:x")
        (tmp_path / "all.tex").write_text(
            "\\documentclass{article}\\usepackage{booktabs}\\usepackage{graphicx}\\begin{document}\\input{table}\\end{document}"
        )
        command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout[-2000:]


class TestCompare:
    def test_the_same_store_twice_differs_in_nothing(self, tmp_path):
        study(tmp_path, {Lora(): 0.5, ZeroShot(): 0.1})
        found = nblib.compare(tmp_path, tmp_path)
        assert set(found.frame["found"]) == {"same"}
        assert "4 same, 0 differs" in repr(found)

    def test_what_differs_is_tested_on_the_same_examples(self, tmp_path):
        a, b = tmp_path / "a", tmp_path / "b"
        for folder, share in ((a, 0.3), (b, 0.7)):
            fake(folder, run(Lora()), right(share))
            fake(folder, run(Ia3()), right(0.5, seed=int(10 * share)))
        fake(a, run(ZeroShot()), right(0.1))
        fake(b, run(FullTuning()), right(0.1))
        found = nblib.compare(a, b)
        frame = found.frame.set_index(found.frame["run"].str.split(".").str[2])
        assert dict(frame["found"]) == {
            "lora": "differs",
            "ia3": "differs",
            "zero-shot": "only in a",
            "full": "only in b",
        }
        assert frame.loc["lora", "verdict"] == "higher"
        assert frame.loc["lora", "difference"] == pytest.approx(0.4)
        assert frame.loc["ia3", "verdict"] == "tie"
        assert "higher in b" in repr(found)

    def test_other_versions_are_named(self, tmp_path):
        for name, version in (("a", "1"), ("b", "2")):
            row = fake(tmp_path / name, run(Lora()), right(0.5))
            results.write(tmp_path / name, dataclasses.replace(row, provenance={"packages": {"torch": version}}))
        # the second write has no predictions, so nothing can be tested
        frame = nblib.compare(tmp_path / "a", tmp_path / "b").frame
        assert list(frame["provenance"]) == ["torch 1 to 2"]

    def test_an_edited_file_is_named_and_not_used(self, tmp_path):
        for name in ("a", "b"):
            row = fake(tmp_path / name, run(Lora()), right(0.5))
        path = tmp_path / "b" / f"{row.id}.json"
        path.write_text(path.read_text().replace('"mean": 0.5', '"mean": 0.9'))
        found = nblib.compare(tmp_path / "a", tmp_path / "b")
        assert list(found.frame["found"]) == ["only in a"]
        assert "Skipped in b" in repr(found)

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="must be a folder; got "):
            nblib.compare(tmp_path, tmp_path / "nowhere")

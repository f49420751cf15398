"""The study with a pretrained model: what it plans, and what it keeps; made here with a small one."""

import sys
from collections import Counter
from pathlib import Path

import small

from nblib import presets, results, spec

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import real_study


def test_every_method_is_planned_once_a_seed_over_the_same_rows(monkeypatch, tmp_path):
    monkeypatch.setattr(real_study, "best_rate", lambda kind, *given: 0.5)
    found = list(real_study.runs("data", tmp_path, tmp_path, []))
    assert len(set(found)) == len(found)
    counts = Counter(spec.label(run.method, run.precision) for run in found if run.task == "conala")
    once = ["zero-shot", "full", "adapter", "ia3", "prompt-tuning", "prefix-tuning", "qlora-4bit", "qlora-8bit"]
    once += [f"rag-{shots}" for shots in (1, 2, 3, 4)]
    assert counts == Counter({"lora": 3, "icl-1": 3, "icl-2": 3, "icl-3": 3} | dict.fromkeys(once, 1))
    assert {run.train_task for run in found if run.task == "odex" and run.method.trained} == {"conala"}
    assert {run.limit for run in found} == {200}
    assert {run.max_train for run in found if run.method.kind != "zero-shot"} == {800}
    assert {run.method.learning_rate for run in found if run.method.trained} == {0.5}


def test_the_best_of_three_rates_is_trained_with_and_no_text_of_the_data_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(real_study, "MODEL", small.folder(tmp_path / "small"))
    monkeypatch.setattr(real_study, "PRECISION", "fp32")
    monkeypatch.setattr(real_study, "QUERIES", 2)
    monkeypatch.setattr(real_study, "ORDER", (("conala", "lora", (), (42,)),))
    small.rows(tmp_path / "data" / "conala")
    data, folder, kept = str(tmp_path / "data"), tmp_path / "results", tmp_path / "kept"
    (run,) = real_study.runs(data, folder, kept, [])
    searched = {row.settings["method"]["learning_rate"]: real_study._loss(row) for row in _rows(kept / "search")}
    assert sorted(searched) == sorted(presets.REAL_RATES["lora"])
    assert searched[run.method.learning_rate] == min(searched.values())
    assert all(row.settings["split"] == "validation" for row in _rows(kept / "search"))
    assert real_study.made(run, folder, kept).status == "ok"
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert len(files) == 2 * (3 + 1)
    assert not any("add " in path.read_text() or "to list" in path.read_text() for path in files)


def _rows(folder):
    return results.read(folder)

"""A study file from a shell."""

import json

import pytest
import small

from nblib import presets, results, run, spec, study

QUICK = presets.Preset(
    methods=(spec.ZeroShot(), spec.InContext(1), spec.Lora(learning_rate=1e-2)),
    seeds=(1, 2),
    icl_seeds=(1, 2),
    shots=(1,),
    training=spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=1),
    decoding=spec.Decoding(beams=1, returned=1),
)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "small", QUICK)
    asked = {"model": small.folder(tmp_path / "base"), "task": "conala", "preset": "small"}
    asked["data_dir"] = small.rows(tmp_path / "data")
    (tmp_path / "study.yaml").write_text(json.dumps(asked))  # which YAML reads
    return str(tmp_path / "study.yaml")


def test_shards_together_make_what_one_process_makes(file, tmp_path, capsys):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert run.main([file, "--store", str(alone), "--limit", "3", "--processes", "1"]) == 0
    assert "5 of 5 runs have results" in capsys.readouterr().out
    for part in "123":
        assert run.main([file, "--store", str(shared), "--limit", "3", "--shard", f"{part}/3"]) == 0
    assert len(list(alone.glob("*.predictions.jsonl"))) == 5
    assert {row.settings["limit"] for row in results.read(alone)} == {3}
    for row, other in zip(results.read(alone), results.read(shared), strict=True):
        assert (row.id, row.scores) == (other.id, other.scores)
        assert results.predictions(alone, row.id) == results.predictions(shared, row.id)


def test_each_run_is_in_one_shard_and_those_that_share_a_training_are_in_the_same(file):
    asked = study.from_yaml(file)
    both = [*asked.runs(), *study.Study(**{**vars(asked), "decoding": spec.Decoding(beams=2, returned=1)}).runs()]
    planned = study.plan(both)
    parts = [run.shard(planned, part, 4) for part in range(1, 5)]
    assert sorted(one.id for part in parts for one in part) == sorted(one.id for one in planned)
    trained = [{one.training for one in part} - {""} for part in parts]
    assert [len(found) for found in trained] == [1, 1, 0, 0]


def test_a_run_that_fails_is_said_and_counts_in_the_exit_status(file, tmp_path, monkeypatch, capsys):
    def fit(*given, **named):
        raise MemoryError("too small a machine")

    monkeypatch.setattr(study.fitting.train, "fit", fit)
    assert run.main([file, "--store", str(tmp_path / "rows"), "--limit", "1", "--processes", "1"]) == 1
    said = capsys.readouterr().out
    assert "3 of 5 runs have results" in said
    assert said.count("out_of_memory: MemoryError: too small a machine") == 2


@pytest.mark.parametrize(
    ("text", "arguments", "reason"),
    [
        ({"model": "nowhere", "task": "conala-mini"}, [], "nowhere"),
        ({"model": "tiny"}, [], "has no task"),
        ({"model": "tiny", "task": "conala-mini"}, ["--shard", "9/8"], "such as 3/8, from 1 on; got '9/8'"),
        ({"model": "tiny", "task": "conala-mini"}, ["--limit", "0"], "1 or more; got 0"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_before_any_work(text, arguments, reason, tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(json.dumps(text))
    with pytest.raises(SystemExit) as ended:
        run.main([str(tmp_path / "study.yaml"), "--store", str(tmp_path / "rows"), *arguments])
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "rows").exists()


def test_processes_that_are_launched_together_are_refused(file, monkeypatch, tmp_path):
    for name, value in {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="accelerate launch or torchrun cannot share a run yet"):
        study.run_all(study.plan(study.from_yaml(file).runs()), tmp_path / "rows")

"""A study file from a shell."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import launched_run
import psutil
import pytest
import small

from nblib import presets, results, run, spec, study
from nblib.stores import MARKER

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


STUDY = {
    "model": "micro",
    "task": "conala-mini",
    "preset": "cpu-real",
    "names": ["zero-shot", {"kind": "lora", "dropout": 0.0, "learning_rate": 0.002}, "full"],
    "seeds": [1],
    "max_train": 61,  # the last step has fewer rows than the others
    "limit": 10,
    "decoding": {"beams": 1, "returned": 1, "batch_size": 4},
}
FROM_A_NOTEBOOK = """
import sys
from accelerate import notebook_launcher

def together(*given):
    import launched_run
    launched_run.write_noted(*given)

notebook_launcher(together, sys.argv[1:], num_processes=2)
"""
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc_per_node", "2"]
SPLIT = {  # as accelerate launch --use_fsdp --fsdp_version 2 sets it
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder, quantized = tmp_path_factory.mktemp("launched"), STUDY | {"names": STUDY["names"][1:2], "precision": "nf4"}
    for name, asked in {"plain": STUDY, "quantized": quantized}.items():
        (folder / f"{name}.yaml").write_text(json.dumps(asked))
    return folder


@pytest.fixture(scope="module")
def alone(studies):
    return launched_run.main(str(studies / "alone"), [str(studies / f"{name}.yaml") for name in ("plain", "quantized")])


def launched(line: list[str], settings: dict[str, str]) -> subprocess.Popen:
    env = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"} | settings
    env["PYTHONPATH"] = str(Path(launched_run.__file__).parent)
    return subprocess.Popen(
        [sys.executable, *line], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env
    )


def ended_well(process: subprocess.Popen) -> None:
    said = process.communicate(timeout=400)[1]
    assert process.returncode == 0, said[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, SPLIT], ids=["whole", "split"])
def test_two_processes_give_the_losses_and_answers_of_one(settings, studies, alone):
    """With the same rows a step, and without dropout, whose draws depend on the rows of a batch."""
    name = "split" if settings else "whole"
    given = [str(studies / end) for end in (name, f"{name}-losses", "plain.yaml", "quantized.yaml")]
    line = [*TORCHRUN, launched_run.__file__, *given] if settings else ["-c", FROM_A_NOTEBOOK, *given]
    ended_well(launched(line, settings))
    for rank in (0, 1):
        noted = json.loads((studies / f"{name}-losses.{rank}").read_text())
        assert len(noted) == len(alone) == 3
        for one, both in zip(alone, noted, strict=True):
            steps, losses = zip(*one["validation"], strict=True)
            assert [step for step, _ in both["validation"]] == list(steps)
            assert [loss for _, loss in both["validation"]] == pytest.approx(losses, rel=1e-3)
            assert ("DTensor" in both["weights"]) == bool(settings)
            assert ("Params4bit" in both["weights"]) == ("Params4bit" in one["weights"] and not settings)
    rows, others = results.read(studies / "alone"), results.read(studies / name)
    for row, other in zip(rows, others, strict=True):
        assert row.id == other.id
        assert other.notes.get("training_processes") == (2 if row.settings["training"] else None)
        assert other.scores["chrf"]["mean"] == pytest.approx(row.scores["chrf"]["mean"], abs=0.02)
        answers, other_answers = (results.predictions(studies / place, row.id) for place in ("alone", name))
        assert sum(one.codes == two.codes for one, two in zip(answers, other_answers, strict=True)) >= 9
    assert not list((studies / name).glob("partial*"))


@pytest.mark.slow
def test_two_processes_that_are_killed_go_on_from_their_checkpoint(studies, alone):
    given = [str(studies / end) for end in ("killed", "killed-losses", "plain.yaml")]
    line, partial = [*TORCHRUN, launched_run.__file__, *given], studies / "killed" / "partial"
    process = launched(line, {})
    while process.poll() is None and not list(partial.rglob(MARKER)):
        time.sleep(0.02)
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.kill()
    process.communicate()
    assert not (studies / "killed-losses.0").exists()
    ended_well(launched(line, {}))
    trained = [row for row in results.read(studies / "killed") if row.settings["training"]]
    assert sum("training_resumed" in row.notes for row in trained) == 1
    losses = {
        row.id: row.notes["validation_losses"] for row in results.read(studies / "alone") if row.settings["training"]
    }
    for row in trained:
        for (step, loss), (own_step, own_loss) in zip(losses[row.id], row.notes["validation_losses"], strict=True):
            assert (own_step, own_loss) == (step, pytest.approx(loss, rel=1e-3))
    assert not partial.exists()


@pytest.mark.parametrize(
    ("settings", "engine", "reason"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "local", "launch with --fsdp_version 2"),
        ({}, "ray", "share each run: take engine = 'local'"),
    ],
)
def test_what_launched_processes_cannot_do_is_refused(settings, engine, reason, file, monkeypatch, tmp_path):
    planned = study.plan(study.from_yaml(file).runs())
    for name, value in ({"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"} | settings).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=reason):
        study.run_all(planned, tmp_path / "rows", engine=engine)


def test_a_batch_that_launched_processes_cannot_share_is_refused(file, monkeypatch):
    for name, value in {"LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="batch_size 8 cannot be split evenly over 3 processes"):
        study.plan(study.from_yaml(file).runs())

"""A study whose process ends anywhere goes on where it stopped, and ends as an undisturbed one."""

import errno
import json

import pytest
import small

from nblib import generate, methods, metrics, presets, provenance, results, spec, study, train
from nblib.study import resume
from nblib.train import checkpoints

SETTINGS = presets.Preset(
    methods=(spec.ZeroShot(), spec.Lora(learning_rate=1e-2), spec.FullTuning(learning_rate=1e-3)),
    seeds=(1,),
    icl_seeds=(1,),
    training=spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=3),
    decoding=spec.Decoding(beams=1, returned=2, temperature=1.0, batch_size=2),
)


class Killed(BaseException):
    """Ends a study where a signal would."""


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """By name: zero-shot, lora, full."""
    small.often(monkeypatch)
    return {one.run.method.kind: one for one in small.plan(monkeypatch, tmp_path, SETTINGS)}


def kill(run, folder, place, name, call):
    """Runs it until the call of that number."""
    whole, calls = getattr(place, name), []

    def counted(*given, **named):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return whole(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, counted)
        with pytest.raises(Killed):
            study.run_all([run], folder)


def generated(patch) -> list:
    """From now on, every answer that the model gives."""
    whole, seen = generate.completions, []

    def noted(*given, **named):
        for value in whole(*given, **named):
            seen.append(value)
            yield value

    patch.setattr(generate, "completions", noted)
    return seen


def answers(folder, planned):
    """What does not depend on the time: predictions, scores, and what is noted of the training."""
    (row,) = results.read(folder, [planned.id])
    notes = {name: value for name, value in row.notes.items() if not name.endswith("resumed")}
    return results.predictions(folder, planned.id), row.scores, notes, row.status


KILLS = {
    "in its training": (methods, "after_step", 3),
    "in its answers": (resume.Answers, "keep", 4),
    "in its scores": (metrics, "score", 1),
    "before its row": (results, "write", 1),
}


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_run_that_is_killed_at_each_stage_ends_as_an_undisturbed_one(kind, planned, tmp_path):
    run = planned[kind]
    study.run_all([run], tmp_path / "undisturbed")
    for stage in KILLS.values():
        kill(run, tmp_path / "killed", *stage)
    (row,) = study.run_all([run], tmp_path / "killed")
    assert answers(tmp_path / "killed", run) == answers(tmp_path / "undisturbed", run)
    assert row.notes["answers_resumed"] == 3
    assert row.notes["training_resumed"] >= 1
    left = {file.name for file in (tmp_path / "killed").iterdir()}
    assert left - {"adapters"} == {f"{run.id}.json", f"{run.id}.predictions.jsonl"}


def test_what_a_run_cost_before_it_was_killed_counts_and_force_begins_anew(planned, tmp_path, monkeypatch):
    run = planned["full"]
    kill(run, tmp_path, methods, "after_step", 3)
    (place,) = resume.checkpoint_folder(tmp_path, run).iterdir()
    noted = json.loads((place / checkpoints.WHOLE).read_text())
    noted["facts"]["costs"]["seconds"], noted["facts"]["kinds"]["logits"] = 1000.0, 12345
    (place / checkpoints.WHOLE).write_text(json.dumps(noted))
    kill(run, tmp_path, resume.Answers, "keep", 7)
    path = resume.answers_file(tmp_path, run)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1]["costs"] |= {"seconds": 1000.0, "peak_bytes": 2**60}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = generated(monkeypatch)
    (row,) = study.run_all([run], tmp_path)
    assert row.costs["train_seconds"] > 1000
    assert row.costs["train_logits_bytes"] == 12345
    assert 1000 < row.costs["generate_seconds"] < 1100
    assert row.costs["generate_peak_bytes"] == 2**60
    assert len(seen) == 2  # of eight, two a batch
    assert row.notes["answers_resumed"] == 1
    (again,) = study.run_all([run], tmp_path, force=True)
    assert not [name for name in again.notes if name.endswith("resumed")]


def test_a_last_line_that_is_cut_is_dropped_and_answers_of_other_packages_are_left_aside(tmp_path, monkeypatch):
    path = tmp_path / "partial" / "a.jsonl"
    one, two = (results.Prediction(name, ("x",), ("x",), 1, 1) for name in "ab")
    with resume.answers(path) as kept:
        kept.keep(0, one, {"seconds": 1.0})
        kept.keep(1, two, {"seconds": 2.0})
    path.write_bytes(path.read_bytes()[:-20])
    with resume.answers(path) as kept:
        assert kept.known == {0: one}
        assert kept.costs == {"seconds": 1.0}
        kept.keep(1, two, {"seconds": 3.0})
    with resume.answers(path) as kept:
        assert kept.known == {0: one, 1: two}
        assert kept.resumed == 2
    monkeypatch.setattr(provenance, "versions", lambda: {"torch": "1.0"})
    with resume.answers(path) as kept:
        assert (kept.known, kept.resumed) == ({}, 0)


def test_a_run_that_another_process_ended_meanwhile_is_read_and_not_repeated(planned, tmp_path, monkeypatch):
    own, other = planned["zero-shot"], planned["lora"]
    done = study.run_all([other], tmp_path / "other")
    whole = study.run.run_one

    def meanwhile(planned, *given, **named):
        assert planned is own
        results.write(tmp_path / "own", done[0], results.predictions(tmp_path / "other", other.id))
        return whole(planned, *given, **named)

    monkeypatch.setattr(study.run, "run_one", meanwhile)
    rows = study.run_all([own, other], tmp_path / "own")
    assert [row.id for row in rows] == [own.id, other.id]
    assert rows[1] == done[0]


# --- disks ----------------------------------------------------------------------------------------------------------


def test_a_folder_that_takes_nothing_is_said_before_any_work(planned, tmp_path, monkeypatch):
    monkeypatch.setattr(study.run, "run_one", lambda *given, **named: pytest.fail("work was started"))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match=r"results cannot be written to .*file: .*; give a folder on a disk with room"):
        study.run_all([planned["lora"]], tmp_path / "file")


@pytest.mark.parametrize("stage", ["an answer", "the adapter", "the row"])
def test_a_disk_that_becomes_full_loses_nothing_that_was_done(stage, planned, tmp_path, monkeypatch):
    run = planned["lora"]

    def full(*given, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        if stage == "an answer":
            write = resume.Answers._write
            patch.setattr(resume.Answers, "_write", lambda own, x: full() if len(own.known) > 5 else write(own, x))
        else:
            patch.setattr(*((methods, "save") if stage == "the adapter" else (results, "_write")), full)
        with pytest.raises(OSError, match=r"No space left on device; what was done until then is kept in .*"):
            study.run_all([run], tmp_path / "results")
    seen, trained, fit = generated(monkeypatch), [], train.fit
    monkeypatch.setattr(train, "fit", lambda *given, **named: trained.append(1) or fit(*given, **named))
    (row,) = study.run_all([run], tmp_path / "results")
    assert row.status == "ok"
    assert len(trained) == (stage == "the adapter")
    assert row.notes.get("training_resumed", 0) == len(trained)
    assert len(seen) == {"an answer": 4, "the adapter": 8, "the row": 0}[stage]

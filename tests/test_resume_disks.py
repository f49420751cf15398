"""Real disks that are full, or only read: where this process may mount one. Slow: a study for each amount of room."""

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
import small

from nblib import presets, results, spec, study
from nblib.train import checkpoints

SETTINGS = presets.Preset(
    methods=(spec.Lora(learning_rate=1e-2),),
    seeds=(1,),
    icl_seeds=(1,),
    training=spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=3),
    decoding=spec.Decoding(beams=2, returned=2, batch_size=2),
)

pytestmark = pytest.mark.slow


@pytest.fixture
def planned(tmp_path, monkeypatch):
    small.often(monkeypatch)
    return small.plan(monkeypatch, tmp_path, SETTINGS)


@pytest.fixture
def disk(tmp_path):
    """An empty disk of eight MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted(["-t", "tmpfs", "-o", "size=8m", "tmpfs", place])
    yield place
    subprocess.run(["umount", place], check=True)


def mounted(command: list) -> None:
    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    done = subprocess.run(["mount", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this process may not mount: {done.stderr.strip()}")


@pytest.mark.parametrize(("seconds", "stage"), [(0, "checkpoint"), (3600, "adapter")])
def test_a_disk_that_becomes_full_is_said_and_what_was_done_is_kept(
    seconds, stage, planned, disk, tmp_path, monkeypatch
):
    study.run_all(planned, tmp_path / "roomy")
    monkeypatch.setattr(checkpoints, "MIN_INTERVAL_SECONDS", seconds)
    folder, failures = disk / "results", []
    for free_kib in range(4, 400, 24):  # KiB that are left when work begins
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(results, "require_room", lambda _, free_kib=free_kib: leave(disk, free_kib))
            try:
                study.run_all(planned, folder)
            except OSError as problem:
                failures.append(str(problem))
        (disk / "ballast").unlink()
        assert results.problems(folder) == {}
        if results.read(folder):
            break
    error = re.compile(
        "where 0 MiB are free|No space left on device.*; what was done until then is kept in .*results: free some space"
    )
    assert all(error.search(failure) for failure in failures), failures
    assert any(f"{stage} cannot be written" in failure for failure in failures)
    (run,), (row,) = planned, results.read(folder)
    assert row.status == "ok"
    assert results.predictions(folder, run.id) == results.predictions(tmp_path / "roomy", run.id)


def leave(disk, free_kib: int) -> None:
    """Fills the disk up to so many KiB."""
    (disk / "ballast").write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free_kib * 1024)))


def test_a_folder_that_is_only_read_is_said_before_any_work_and_its_rows_are_read(planned, tmp_path, monkeypatch):
    folder = tmp_path / "results"
    rows = study.run_all(planned, folder)
    mounted(["--bind", folder, folder])
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        assert study.run_all(planned, folder) == rows
        monkeypatch.setattr(study.run, "run_one", lambda *given, **named: pytest.fail("work was started"))
        other = study.plan([replace(planned[0].run, seed=9)])
        with pytest.raises(OSError, match="results cannot be written to .*results: Read-only file system; give a fo"):
            study.run_all(other, folder)
    finally:
        subprocess.run(["umount", folder], check=True)

"""Results at an address: files whole or not at all, what changed copied, and one process at a time on a run."""

import json
import uuid

import fsspec
import made_rows
import pandas as pd
import pytest
import small

from nblib import presets, results, spec, stores, study


@pytest.fixture
def address(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"memory://{uuid.uuid4().hex}/study"


def files(address):
    store = stores.Store(address)
    return sorted(store.files())


def test_what_is_done_in_the_folder_gets_to_the_address_and_what_is_deleted_goes(address):
    with stores.worked_on(address) as folder:
        (folder / "adapters" / "a").mkdir(parents=True)
        (folder / "adapters" / "a" / "nblib.json").write_text("{}")
        (folder / "partial").mkdir()
        (folder / "partial" / "a.jsonl").write_text("1\n")
        (folder / ".locks").mkdir()
        (folder / ".locks" / "a").touch()
    assert files(address) == ["adapters/a/nblib.json", "partial/a.jsonl"]
    with stores.worked_on(address, "partial/a.jsonl") as folder:
        assert [path.name for path in folder.rglob("*.*")] == ["a.jsonl"]
        (folder / "partial" / "a.jsonl").unlink()
    assert files(address) == ["adapters/a/nblib.json"]


@pytest.mark.parametrize("cut", ["put_file", "mv"])
def test_a_write_that_is_cut_leaves_no_marker_and_no_half_file(address, cut, monkeypatch):
    store = stores.Store(address)

    def whole_write(self, path, *given, **named):
        raise ConnectionError("gone")

    def write():
        with stores.worked_on(address) as folder:
            (folder / "checkpoint-1").mkdir()
            for name in ("nblib.json", "weights"):
                (folder / "checkpoint-1" / name).write_text(name)
            monkeypatch.setattr(type(store.fs), cut, whole_write)

    with pytest.raises(OSError, match=f"{address} cannot be read or written: gone"):
        write()
    monkeypatch.undo()
    assert files(address) == []


def test_markers_are_written_last_and_are_gone_while_their_folder_is_written_anew(address, monkeypatch):
    written, write = [], stores.Store.write

    def noted(self, name, content):
        written.append((name, "a/nblib.json" in files(address)))
        write(self, name, content)

    monkeypatch.setattr(stores.Store, "write", noted)
    for text in ("old", "new"):
        with stores.worked_on(address, "a") as folder:
            (folder / "a").mkdir(exist_ok=True)
            for name in ("nblib.json", "weights"):
                (folder / "a" / name).write_text(text * len(written or "1"))
            (folder / "row.json").write_text("{}")
            (folder / "row.predictions.jsonl").write_text(text * len(written or "1"))
    names = [name for name, _ in written[:4]]
    assert set(names[2:]) == {"a/nblib.json", "row.json"}
    assert [marked for name, marked in written if name == "a/weights"] == [False, False]


def test_rows_are_copied_once_and_again_when_they_change(address, monkeypatch):
    run = made_rows.run(spec.ZeroShot())

    def put(score):
        with stores.worked_on(address) as folder:
            made_rows.put(folder, run, [score])

    def means():
        return results.load(address).runs.get("em@1", pd.Series()).tolist()

    put(1.0)
    assert means() == [1.0]
    with monkeypatch.context() as patch:
        patch.delattr(stores.Store, "read")
        assert means() == [1.0]
    put(0.0)
    assert means() == [0.0]
    stores.Store(address).fs.rm(stores.Store(address).root, recursive=True)
    assert means() == []


def test_one_of_two_has_a_claim_and_the_other_when_it_ends_or_dies(address, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stores.time, "monotonic", lambda: now[0])
    one, two, three = (stores.Claims(address) for _ in range(3))
    with one.kept(), two.kept(), three.kept():
        assert [one.take("a"), two.take("a"), two.take("b")] == [True, False, True]
        one.release("a")
        assert two.take("a")
        assert not three.take("a")
        now[0] += stores.CLAIM_SECONDS * 0.9
        two._renew()
        assert not three.take("a")
        now[0] += stores.CLAIM_SECONDS * 0.9
        assert not three.take("a")  # it has given a sign since
        now[0] += stores.CLAIM_SECONDS
        assert three.take("a")  # it has given none
        assert not one.take("a")
    assert one.take("a")
    one.release("a")
    assert stores.Store(address).fs.find(stores.Store(address).root) == []


def test_a_study_at_an_address_is_that_of_a_folder_and_goes_on_there(address, tmp_path, monkeypatch):
    preset = presets.Preset(
        methods=(spec.ZeroShot(), spec.Lora(learning_rate=1e-2)),
        seeds=(1,),
        icl_seeds=(1,),
        training=spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=1),
        decoding=spec.Decoding(beams=1, returned=1),
    )
    planned = small.plan(monkeypatch, tmp_path, preset)
    alone = study.run_all(planned, tmp_path / "alone")
    with monkeypatch.context() as patch:
        patch.setattr(study.run, "_score", lambda *given: 1 / 0)
        assert {row.status for row in study.run_all(planned, address)} == {"failed"}
    assert [name for name in files(address) if name.startswith("partial")]  # answers of runs that failed
    with monkeypatch.context() as patch:
        patch.delattr(study.fitting.train, "fit")  # the adapter is found
        rows = study.run_all(planned, address)
    assert [(row.id, row.scores) for row in rows] == [(row.id, row.scores) for row in alone]
    assert study.run_all(planned, address) == rows
    assert not [name for name in files(address) if name.startswith("partial")]
    adapter = stores.Store(address).fs.cat_file(
        f"{stores.Store(address).root}/adapters/{planned[1].training}/nblib.json"
    )
    assert json.loads(adapter)["precision"] == "fp32"


def test_an_address_that_takes_no_files_or_has_no_package_is_refused_before_any_work(monkeypatch, address):
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", lambda *_, **__: 1 / 0)
    planned = study.plan(study.compare("micro", "conala-mini", names=["zero-shot"], limit=1))
    with pytest.raises(OSError, match=f"{address} cannot be read or written: division by zero"):
        study.run_all(planned, address)
    with pytest.raises(OSError, match="nowhere://x cannot be read or written: Protocol not known: nowhere"):
        study.run_all(planned, "nowhere://x")

"""Runs of one study in several processes."""

import multiprocessing
import os
import pickle
import select
import subprocess
import sys
from dataclasses import replace
from threading import Event

import psutil
import pytest
import small
import torch

from nblib import presets, results, spec, study
from nblib.study import parallel, run

QUICK = presets.Preset(
    methods=(spec.ZeroShot(), spec.InContext(1), spec.Lora(learning_rate=1e-2), spec.FullTuning(learning_rate=1e-3)),
    shots=(1,),
    seeds=(1, 2),
    icl_seeds=(1, 2),
    training=spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=1),
    decoding=spec.Decoding(beams=2, returned=2),
)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return small.plan(patch, tmp_path_factory.mktemp("small"), QUICK)


def wait_for_another(folder, planned, own):
    """Until a process has written a row that is not this one's."""
    while not any(results.finished(folder, run.id) for run in planned if run.id != own):
        Event().wait(0.05)


def answers(folder, planned):
    return [results.predictions(folder, run.id) for run in planned]


def test_a_study_at_once_in_two_goes_and_by_two_processes_makes_the_same_rows(tmp_path, monkeypatch):
    own = {"limit": 8, "max_train": 32, "seeds": [1], "precision": "fp32"}
    runs = study.compare("micro", "conala-mini", names=["zero-shot", "icl", "lora"], shots=[1], **own)
    embedded = study.plan(study.adjusted(runs, epochs=1))
    made, here, whole, before = {}, [], run.run_one, torch.get_num_threads()

    def run_one(one, folder, **named):
        if folder == tmp_path / "together" and not here:
            wait_for_another(folder, embedded, one.id)
        here.append(one.id)
        return whole(one, folder, **named)

    monkeypatch.setattr(run, "run_one", run_one)
    try:
        for name, threads, parts, processes in (("once", 4, [3], 1), ("goes", 2, [1, 3], 1), ("together", 3, [3], 2)):
            torch.set_num_threads(threads)
            here.clear()
            for end in parts:
                rows = study.run_all(embedded[:end], tmp_path / name, processes=processes)
            assert torch.get_num_threads() == threads
            made[name] = [[(row.id, row.scores) for row in rows], answers(tmp_path / name, embedded)]
            assert {(row.provenance["threads"], row.provenance["processes"]) for row in rows} == {(1, processes)}
    finally:
        torch.set_num_threads(before)
    assert made["once"] == made["goes"] == made["together"]
    assert 0 < len(here) < len(embedded)  # the other process did the rest
    assert not (tmp_path / "together" / ".locks").exists()


def test_a_run_computes_with_the_threads_that_it_asks_for_and_is_another_run_then(planned, tmp_path, monkeypatch):
    (more,) = study.plan(study.adjusted([planned[0].run], threads=2))
    assert more.id != planned[0].id
    seen = []
    monkeypatch.setattr(run, "answers", lambda *given: seen.append(torch.get_num_threads()) or [])
    for one in (planned[0], more):
        row = study.run_one(one, tmp_path)
        assert (row.provenance["threads"], row.settings.get("threads")) == ((1, None) if one.id != more.id else (2, 2))
    assert seen == [1, 2]


def test_a_process_that_cannot_start_is_not_missed(planned, tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", b"/bin/false")
    rows = study.run_all(planned[:3], tmp_path / "rows", processes=3)
    assert [row.status for row in rows] == ["ok"] * 3


def test_an_interrupt_ends_the_others_and_gives_the_threads_back(planned, tmp_path, monkeypatch):
    def run_one(one, folder, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_one", run_one)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            study.run_all(planned, tmp_path / "rows", processes=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells when a process of another one ends")
def test_the_others_end_when_this_one_is_killed(planned, tmp_path):
    starting = (
        "import multiprocessing, pickle, sys, time\n"
        "from nblib.study import parallel\n"
        "with parallel.others(2, *pickle.load(sys.stdin.buffer)):\n"
        "    print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "    time.sleep(1000)\n"
    )
    many = [
        replace(one, run=replace(one.run, seed=seed), id=f"{one.id}{seed}") for seed in range(99) for one in planned
    ]
    arguments = (many, tmp_path / "rows", dict.fromkeys([run.id for run in many]), {"processes": 2})
    process = subprocess.Popen([sys.executable, "-c", starting], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(pickle.dumps(arguments))
    process.stdin.close()
    other = os.pidfd_open(int(process.stdout.readline()))
    wait_for_another(tmp_path / "rows", many, "")
    process.kill()
    process.wait()
    process.stdout.close()
    assert select.select([other], [], [], 60)[0]
    os.close(other)


def test_long_runs_come_first_and_those_that_share_a_training_last(planned):
    runs = [one.run for one in planned]
    again = study.plan([replace(runs[3], decoding=spec.Decoding(beams=3, returned=1))])
    assert again[0].training == planned[3].training
    order = [one.run.method.kind for one in parallel.in_order([*planned[:4], *again, *planned[4:]])]
    assert order == ["lora", "lora", "full", "full", "zero-shot", "icl", "icl", "lora"]


def test_processes_are_as_many_as_threads_work_and_half_of_the_free_memory_allow(planned, monkeypatch):
    def count(waiting, gib):
        memory = psutil.virtual_memory()._replace(available=gib * 2**30)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "get_num_threads", lambda: 4)
            patch.setattr(psutil, "virtual_memory", lambda: memory)
            return parallel.count(waiting)

    assert [bool(one.training) for one in planned] == [False] * 3 + [True] * 4
    assert [count(waiting, 64) for waiting in ([*planned, *planned], planned[2:5], planned[:3])] == [4, 2, 1]
    assert [count(planned, gib) for gib in (5, 1)] == [2, 1]  # a little more than one GiB each
    assert count([replace(one, run=replace(one.run, threads=2)) for one in planned], 64) == 2
    monkeypatch.setattr(parallel, "peaks", lambda waiting: [None] * len(waiting))
    assert count(planned, 64) == 1


def test_each_gpu_has_a_process_of_its_own(planned, monkeypatch, tmp_path):
    seen = []

    class Process:
        pid = None

        def __init__(self, **named):
            pass

        def start(self):
            seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))

    monkeypatch.setattr(parallel.models, "device", lambda: "cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [parallel.count(waiting) for waiting in (planned, planned[2:5], planned[:1])] == [3, 2, 1]
    monkeypatch.setattr(multiprocessing.get_context("spawn"), "Process", Process)
    with parallel.others(3):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    with parallel.others(2):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,GPU-7"
    assert seen == ["1", "2", "GPU-7"]
    assert parallel.count(planned) == 2


def test_a_script_is_not_run_again_by_the_processes_that_it_starts(planned, tmp_path):
    (tmp_path / "planned").write_bytes(pickle.dumps(planned[:3]))
    script = tmp_path / "script.py"
    script.write_text(
        "import pickle, sys\n"
        "from nblib import study\n"
        "with open(sys.argv[1] + '/begun', 'a') as begun:\n"
        "    print('begun', file=begun)\n"
        "rows = study.run_all(pickle.load(open(sys.argv[1] + '/planned', 'rb')), sys.argv[1] + '/rows', processes=2)\n"
        "print([row.status for row in rows])\n"
    )
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout == "['ok', 'ok', 'ok']\n", done.stderr
    assert (tmp_path / "begun").read_text() == "begun\n"

"""The sandbox's own functions: several workers, workers that end, layers and consent."""

import os
import sys

import pytest

from nblib import sandbox
from nblib.sandbox import Checked, Limits, Outcome, Script
from nblib.sandbox.worker import Worker


def run(jobs, **settings):
    return sandbox.run_all(jobs, limits=Limits(cpu_seconds=0.5), allow_code_execution=True, **settings)


@pytest.fixture
def workers(monkeypatch):
    """All workers that are started."""
    started = []

    class Recorded(Worker):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            started.append(self)

    monkeypatch.setattr(sandbox, "Worker", Recorded)
    return started


def test_outcomes_do_not_depend_on_the_number_of_workers():
    before, shares = (dict(os.environ), os.getcwd()), []
    jobs = [
        Script("print({'a', 'b', 'c', 'd'}, hash('x'))", ("", "")),
        Script("while True: pass"),
        Script("x ="),
        Checked("x = 1", ()),
        Script("import os\nos.kill(0, 9)"),
        Script("import os\nos.environ['X'] = '1'\nos.chdir('/')"),
    ] * 2
    one = run(jobs, workers=1, report=shares.append)
    three = run(jobs, workers=3)
    assert [[found.status for found in job] for job in one] == [
        ["ok", "ok"], ["time_out"], ["compile_error"], [], ["runtime_error"], ["ok"],
    ] * 2  # fmt: skip
    assert [[(x.status, x.output) for x in job] for job in one] == [
        [(x.status, x.output) for x in job] for job in three
    ]
    assert shares == pytest.approx([(number + 1) / 12 for number in range(12)])
    assert (dict(os.environ), os.getcwd()) == before


def test_nothing_to_run_starts_nothing(workers):
    assert run([]) == []
    assert run([Checked("x = 1", ()), Script("", ())]) == [(), ()]
    assert workers == []


def test_a_worker_that_dies_is_replaced_and_the_run_goes_on(workers):
    jobs = [Script(f"print({n})") for n in range(6)]
    found = run(jobs, workers=1, report=lambda share: share < 0.5 and workers[-1].process.kill())
    assert [each[0].output for each in found] == [f"{n}\n" for n in range(6)]
    assert len(workers) > 1


def test_an_error_of_the_caller_ends_all_workers(workers):
    def fail(share):
        raise KeyError("of the caller's")

    with pytest.raises(KeyError, match="of the caller's"):
        run([Script("print(1)"), Script("import time\ntime.sleep(99)")], workers=2, report=fail)
    assert [each.process.poll() is None for each in workers] == [False] * len(workers)


def test_a_job_that_ends_every_worker_fails_alone(monkeypatch):
    def run_or_die(worker, job, limits, run_job=sandbox.run_job):
        if "die" in job.code:
            worker.process.kill()
        return run_job(worker, job, limits)

    monkeypatch.setattr(sandbox, "run_job", run_or_die)
    found = run([Script("print(1)"), Script("'die'"), Script("print(1)")], workers=1)
    assert [each[0].status for each in found] == ["ok", "runtime_error", "ok"]


def test_layers_say_what_works():
    layers = sandbox.layers()
    assert {"PID namespace", "Landlock", "seccomp", "memory limit"} <= set(layers)
    assert all(isinstance(value, bool) for value in layers.values())


def test_complete_isolation_needs_no_consent_and_weak_isolation_does(monkeypatch):
    layers = dict.fromkeys(sandbox.layers(), True)
    monkeypatch.setattr(sandbox, "_layers", lambda: layers)
    sandbox.require(False)
    layers |= {"PID namespace": False, "network namespace": False, "seccomp": False}
    missing = "missing: PID namespace, network namespace or seccomp.*allow_code_execution"
    for consent in (False, "false", 1):
        with pytest.raises(PermissionError, match=missing):
            sandbox.run_all([Script("")], allow_code_execution=consent)
    sandbox.require(True)


def test_windows_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(OSError, match="no isolation on Windows"):
        sandbox.run_all([Script("")], allow_code_execution=True)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="memory_bytes must be above 0; got 0"):
        Limits(memory_bytes=0)
    with pytest.raises(ValueError, match="status must be one of ok, failed"):
        Outcome("fine")
    with pytest.raises(ValueError, match="workers must be above 0"):
        run([], workers=0)

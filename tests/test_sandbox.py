"""The sandbox's own functions: several workers, workers that end, layers and consent."""

import gc
import itertools
import os
import sys
import threading

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
    monkeypatch.setattr(sandbox, "Worker", lambda: started.append(Worker()) or started[-1])
    return started


def test_outcomes_do_not_depend_on_the_number_of_workers():
    before = dict(os.environ), os.getcwd()
    statuses = {
        Script("print({'a', 'b', 'c', 'd'}, hash('x'))", ("", "")): ["ok", "ok"],
        Script("while True: pass"): ["time_out"],
        Script("x ="): ["compile_error"],
        Checked("x = 1", ()): [],
        Script("import os\nos.kill(0, 9)"): ["runtime_error"],
        Script("import os\nos.environ['X'] = '1'\nos.chdir('/')"): ["ok"],
    }
    one, three = run([*statuses] * 2, workers=1), run([*statuses] * 2, workers=3)
    assert [[outcome.status for outcome in job] for job in one] == [*statuses.values()] * 2
    assert [[(x.status, x.output) for x in job] for job in one] == [[(x.status, x.output) for x in y] for y in three]
    assert (dict(os.environ), os.getcwd()) == before


def test_nothing_to_run_starts_nothing(workers):
    assert run([]) == []
    assert run([Checked("x = 1", ()), Script("", ())]) == [(), ()]
    assert workers == []


def test_an_error_ends_all_workers_those_too_that_start_after_it(monkeypatch):
    has_failed, started, numbers = threading.Event(), [], itertools.count()

    def start():
        if next(numbers):
            has_failed.wait(30)  # then it takes a while to start, and finds that all has ended
        started.append(Worker())
        return started[-1]

    def fail(worker, job, limits):
        has_failed.set()
        raise ZeroDivisionError

    sandbox.layers()  # starts one, once
    monkeypatch.setattr(sandbox, "Worker", start)
    monkeypatch.setattr(sandbox, "run_job", fail)
    with pytest.raises(ZeroDivisionError):
        run([Script("print(1)")] * 2, workers=2)
    gc.collect()  # what is still open is a warning, and that an error
    assert [worker.process.poll() is None for worker in started] == [False] * len(started)


def test_a_worker_that_dies_is_replaced_and_a_job_that_ends_every_worker_fails_alone(monkeypatch, workers):
    def run_or_die(worker, job, limits, run_job=sandbox.run_job):
        if "die" in job.code or len(workers) < 2:
            worker.process.kill()
        return run_job(worker, job, limits)

    monkeypatch.setattr(sandbox, "run_job", run_or_die)
    found = run([Script("print(1)"), Script("'die'"), Script("print(1)")], workers=1)
    assert [outcomes[0].status for outcomes in found] == ["ok", "runtime_error", "ok"]
    assert len(workers) > 3


def test_complete_isolation_needs_no_consent_and_weak_isolation_does(monkeypatch):
    assert all(isinstance(works, bool) for works in sandbox.layers().values())
    layers = dict.fromkeys(sandbox.layers(), True)
    monkeypatch.setattr(sandbox, "_layers", lambda: layers)
    sandbox.require(False)
    layers |= {"PID namespace": False, "network namespace": False, "seccomp": False}
    for consent in (False, "false", 1):
        with pytest.raises(PermissionError, match="missing: PID namespace, network namespace or seccomp.*allow_code"):
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

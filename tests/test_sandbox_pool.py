"""Workers, layers and consent: how programs are run, whatever they are."""

import os
import subprocess
import sys

import pytest

from nblib import sandbox
from nblib.sandbox import Checked, Function, Limits, Script, pool

JOBS = (
    Script("print(input())", ("a", "b")),
    Function("def f(x): return x + 1", "f", ("[1]", '["a"]')),
    Checked("def f(x): return x", ("assert f(1) == 1", "assert f(1) == 2"), name="f"),
    Script("while True: pass"),
    Script("print({'a', 'b', 'c', 'd'}, hash('x'))"),
    Script("x ="),
    Script("", ()),
    Script("import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(999)"),
)
STATUSES = [
    ["ok", "ok"],
    ["ok", "runtime_error"],
    ["ok", "failed"],
    ["time_out"],
    ["ok"],
    ["compile_error"],
    [],
    ["ok"],
]
SHORT = Limits(cpu_seconds=0.5, wall_seconds=30.0)
REST = "for pid in linux.below(os.getpid()): print('left', pid)"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux to see what is left of a program")


def run(jobs, *, workers: int = 1, without=(), report=lambda share: None):
    return pool.run(list(jobs), limits=SHORT, workers=workers, report=report, without=without)


def test_outcomes_do_not_depend_on_the_number_of_workers():
    one, three = (run(JOBS * 2, workers=count) for count in (1, 3))
    assert [[each.status for each in job] for job in one] == STATUSES * 2
    assert [[(x.status, x.output) for x in job] for job in one] == [
        [(x.status, x.output) for x in job] for job in three
    ]


def test_run_all_reports_shares_up_to_the_whole():
    shares: list[float] = []
    found = sandbox.run_all([Script("")] * 4, workers=2, allow_code_execution=True, report=shares.append)
    assert [each[0].status for each in found] == ["ok"] * 4
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_nothing_to_run_starts_nothing(monkeypatch):
    monkeypatch.setattr(pool, "Worker", None)
    assert run([]) == []
    assert run([Checked("x = 1", ()), Script("", ())]) == [(), ()]


def test_no_worker_is_refused():
    with pytest.raises(ValueError, match="workers must be above 0"):
        sandbox.run_all([], workers=0, allow_code_execution=True)


@pytest.mark.parametrize(
    "without",
    [
        (),
        ("Landlock",),
        ("seccomp",),
        ("user namespace",),
        ("mount namespace",),
        ("PID namespace",),
        ("user namespace", "mount namespace", "PID namespace", "network namespace", "IPC namespace"),
    ],
    ids=lambda names: ", ".join(names) or "nothing",
)
def test_outcomes_are_the_same_without(without):
    worker = pool.Worker(without)
    try:
        assert not any(worker.layers[name] for name in without)
        assert [[each.status for each in worker.run(job, SHORT)] for job in JOBS if job != JOBS[6]] == STATUSES[
            :6
        ] + STATUSES[7:]
    finally:
        worker.close()
    assert worker.process.returncode == 0


class TestWorkersThatEnd:
    @pytest.fixture
    def workers(self, monkeypatch):
        """All workers that are started."""
        started = []

        class Recorded(pool.Worker):
            def __init__(self, *arguments):
                super().__init__(*arguments)
                started.append(self)

        monkeypatch.setattr(pool, "Worker", Recorded)
        return started

    def test_a_worker_that_dies_is_replaced_and_the_run_goes_on(self, workers):
        found = run(
            [Script(f"print({n})") for n in range(6)], report=lambda share: share < 0.5 and workers[-1].process.kill()
        )
        assert [each[0].output for each in found] == [f"{n}\n" for n in range(6)]
        assert len(workers) > 1

    def test_an_error_of_the_caller_ends_all_workers(self, workers):
        def fail(share):
            raise KeyError("of the caller's")

        with pytest.raises(KeyError, match="of the caller's"):
            run([Script("print(1)"), Script("import time\ntime.sleep(99)")], workers=2, report=fail)
        assert [each.process.poll() is None for each in workers] == [False] * len(workers)

    def test_a_job_that_ends_every_worker_fails_alone(self, workers, monkeypatch):
        def run_or_die(self, job, limits):
            if "die" in job.code:
                self.process.kill()
            return pool.Worker.__mro__[1].run(self, job, limits)

        monkeypatch.setattr(pool.Worker, "run", run_or_die)
        found = run([Script("print(1)"), Script("'die'"), Script("print(1)")])
        assert [each[0].status for each in found] == ["ok", "runtime_error", "ok"]


@LINUX
class TestNothingIsLeft:
    def python(self, code: str, **settings):
        head = (
            "import os, signal, sys\nfrom nblib import sandbox\nfrom nblib.sandbox import Script\n"
            "from nblib.sandbox.inside import linux\nlinux.prctl(linux.ADOPT_ORPHANS, 1)\n"
            "SLEEP = Script('import os, time\\nos.fork()\\nos.setsid()\\nos.fork()\\ntime.sleep(999)')\n"
        )
        return [sys.executable, "-c", head + code]

    def test_after_an_interrupt(self):
        code = (
            "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background\n"
            "try:\n    sandbox.run_all([Script('print(1)'), SLEEP], workers=2, allow_code_execution=True,\n"
            "                    report=lambda share: os.kill(os.getpid(), signal.SIGINT))\n"
            "except KeyboardInterrupt:\n    print('interrupted')\n" + REST
        )
        done = subprocess.run(self.python(code), capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout == "interrupted\n"

    def test_after_the_caller_was_killed(self):
        """The outer process adopts what the killed one leaves, and waits until there is no child any more."""
        code = (
            "reading, writing = os.pipe()\npid = os.fork()\nif pid == 0:\n"
            "    sandbox.run_all([Script('print(1)'), SLEEP], workers=2, allow_code_execution=True,\n"
            "                    report=lambda share: os.write(writing, b'x'))\n"
            "os.read(reading, 1)\nos.kill(pid, signal.SIGKILL)\n"
            "try:\n    while True: os.wait()\nexcept ChildProcessError: print('all gone')\n"
        )
        done = subprocess.run(self.python(code), capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout == "all gone\n"


class TestConsent:
    def test_layers_say_what_works(self):
        layers = sandbox.layers()
        assert {"PID namespace", "Landlock", "seccomp", "memory limit"} <= set(layers)
        assert all(isinstance(value, bool) for value in layers.values())

    def test_complete_isolation_needs_no_consent(self, monkeypatch):
        complete = dict.fromkeys(sandbox.layers(), True)
        monkeypatch.setattr(sandbox, "_layers", lambda: complete)
        sandbox.require(False)

    def test_weak_isolation_needs_consent_and_names_what_is_missing(self, monkeypatch):
        weak = dict.fromkeys(sandbox.layers(), True) | {
            "PID namespace": False,
            "network namespace": False,
            "seccomp": False,
        }
        monkeypatch.setattr(sandbox, "_layers", lambda: weak)
        with pytest.raises(
            PermissionError, match="missing: PID namespace, network namespace or seccomp.*allow_code_execution"
        ):
            sandbox.run_all([Script("")])
        sandbox.require(True)

    def test_windows_is_refused(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "win32")
        with pytest.raises(OSError, match="no isolation on Windows"):
            sandbox.run_all([Script("")], allow_code_execution=True)

    def test_a_sandbox_that_does_not_start_says_why(self, monkeypatch):
        monkeypatch.setattr(pool, "_START", "raise SystemExit('no luck')")
        with pytest.raises(pool.BrokenError, match="the sandbox did not start: no luck"):
            pool.Worker()


def test_the_caller_s_environment_and_folder_stay_as_they_are():
    before = dict(os.environ), os.getcwd()
    run([Script("import os\nos.environ['X'] = '1'\nos.chdir('/')")])
    assert (dict(os.environ), os.getcwd()) == before

"""What a program leaves behind or uses up, with all layers of isolation and without some; and how a worker starts."""

import os
import subprocess
import sys

import pytest

from nblib.sandbox import Checked, Function, Limits, Script, isolation, run_job
from nblib.sandbox.worker import BrokenError, Worker

NAMESPACES = ("user namespace", "mount namespace", "PID namespace", "network namespace", "IPC namespace")
SHORT = Limits(cpu_seconds=1.0, wall_seconds=30.0, memory_bytes=2**28)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs what Linux shows of processes")


@pytest.fixture(scope="module", params=[(), NAMESPACES], ids=["isolated", "without namespaces"])
def worker(request):
    made = Worker(request.param)
    yield made
    made.close()


def outcome(worker, code: str):
    (found,) = run_job(worker, Script(code), SHORT)
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import os\nfor _ in range(1200):\n    os.mkdir('d')\n    os.chdir('d')\nopen('file', 'w')",
        "import os\nos.makedirs('a/b')\nopen('a/b/c', 'w')\nos.chmod('a/b', 0)\nos.chmod('a', 0)",
        "import os\nos.symlink('/', 'root')\nos.mkfifo('pipe')\nos.chmod('.', 0)",
    ],
    ids=["nested", "closed", "special"],
)
def test_whatever_a_program_leaves_in_its_folder_is_removed(worker, code):
    found = outcome(worker, "import os\nprint(os.getcwd(), flush=True)\n" + code)
    assert (found.status, os.path.exists(found.output.strip())) == ("ok", False)
    assert outcome(worker, "import os\nprint(os.listdir())").output == "[]\n"


def test_a_folder_that_cannot_be_removed_harms_no_outcome(monkeypatch, tmp_path):
    (tmp_path / "kept").touch()
    monkeypatch.setenv("PATH", "/nowhere")
    isolation.remove_folder(isolation.Place(), str(tmp_path))
    assert (tmp_path / "kept").exists()


SHARED = (
    "import mmap, os, time\nfor _ in range(6):\n    if os.fork() == 0:\n        shared = mmap.mmap(-1, 60 * 2**20)\n"
    "        for _ in range(60): shared.write(b'x' * 2**20)\n        print('had', flush=True)\n        time.sleep(99)\n"
    "for _ in range(6): os.wait()"
)


@LINUX
def test_shared_memory_which_no_process_is_charged_with_is_not_to_be_had(worker):
    assert "had" not in outcome(worker, SHARED).output
    assert outcome(worker, "import mmap\nmmap.mmap(-1, 2**20)").status == "out_of_memory"


@LINUX
def test_children_that_nobody_waits_for_count(worker):
    code = (
        "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfor _ in range(40):\n"
        "    if os.fork() == 0:\n        end = time.process_time() + 0.3\n"
        "        while time.process_time() < end: pass\n        os._exit(0)\n"
        "    try: os.wait()\n    except ChildProcessError: pass\nprint('done')"
    )
    found = outcome(worker, code)
    assert found.status == "time_out"
    assert found.cpu_seconds < 3


@LINUX
def test_children_of_short_calls_are_watched(worker):
    code = (
        "import os, time\ndef f(x):\n    for _ in range(6 if x == 0 else 0):\n        began = os.pipe()\n"
        "        if os.fork() == 0:\n            kept = b'x' * (60 * 2**20)\n            os.write(began[1], b'.')\n"
        "            time.sleep(99)\n        os.read(began[0], 1)\n    return sum(range(100000))"
    )
    job = Function(code, "f", tuple(f"[{number}]" for number in range(300)))
    assert "out_of_memory" in {found.status for found in run_job(worker, job, SHORT)}


JOBS = {
    Script("print(input())", ("a", "b")): ["ok", "ok"],
    Function("def f(x): return x + 1", "f", ("[1]", '["a"]')): ["ok", "runtime_error"],
    Checked("def f(x): return x", ("assert f(1) == 1", "assert f(1) == 2"), name="f"): ["ok", "failed"],
    Script("while True: pass"): ["time_out"],
    Script("import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(999)"): [
        "ok"
    ],
}


@pytest.mark.parametrize("without", [*NAMESPACES[:3], "Landlock", "seccomp"])
def test_outcomes_are_the_same_without(without):
    worker = Worker((without,))
    assert not worker.layers[without]
    assert [[one.status for one in run_job(worker, job, Limits(cpu_seconds=0.3))] for job in JOBS] == [*JOBS.values()]
    if without == "seccomp" and sys.platform == "linux":  # shared memory is to be had, and counted
        assert outcome(worker, SHARED).status == "out_of_memory"
    worker.close()
    assert worker.process.returncode == 0


def test_the_worker_runs_this_package_and_no_other_of_its_name(tmp_path, root, monkeypatch):
    """An installed nblib, as an old one in site-packages would be."""
    folder = tmp_path / "nblib" / "sandbox"
    folder.mkdir(parents=True)
    for path in (folder, folder.parent):
        (path / "__init__.py").write_text("raise SystemExit('another nblib')")
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    monkeypatch.setattr("nblib.sandbox.worker._START", start + sys.modules[Worker.__module__]._START)
    worker = Worker()
    assert str(root) not in outcome(worker, "import sys; print(sys.path)").output
    worker.close()


def test_a_worker_that_does_not_start_says_why(monkeypatch):
    monkeypatch.setattr("nblib.sandbox.worker._START", "raise SystemExit('no luck')")
    with pytest.raises(BrokenError, match="the sandbox did not start: no luck"):
        Worker()


@LINUX
@pytest.mark.parametrize("end", ["interrupted", "killed"])
def test_nothing_is_left_of_a_caller_that_was(end):
    """This process's child adopts what is left, and waits until there is no child any more."""
    number = "signal.SIGINT" if end == "interrupted" else "signal.SIGKILL"
    code = (
        "import os, signal\nfrom nblib import sandbox\nfrom nblib.sandbox import Script\n"
        "from nblib.sandbox import linux\nlinux.prctl(linux.ADOPT_ORPHANS, 1)\n"
        "SLEEP = Script('import os, time\\nos.fork()\\nos.setsid()\\nos.fork()\\ntime.sleep(999)')\n"
        "if os.fork() == 0:\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background\n"
        "    run_job = sandbox.run_job\n"
        "    def run_and_end(worker, job, limits):\n"
        "        found = run_job(worker, job, limits)\n"
        f"        os.kill(os.getpid(), {number})\n"
        "        return found\n"
        "    sandbox.run_job = run_and_end\n"
        "    sandbox.run_all([Script('print(1)'), SLEEP], workers=2, allow_code_execution=True)\n"
        "try:\n    while True: os.wait()\nexcept ChildProcessError: print('all gone')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "all gone\n"
    assert ("KeyboardInterrupt" in done.stderr) == (end == "interrupted")

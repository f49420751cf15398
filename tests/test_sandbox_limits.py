"""What a program leaves behind, uses up or never ends; and what its output is when it ends in an odd way."""

import os
import subprocess
import sys

import pytest

from nblib.sandbox import Checked, Function, Limits, Script, pool
from nblib.sandbox.inside import isolation

NAMESPACES = ("user namespace", "mount namespace", "PID namespace", "network namespace", "IPC namespace")
SHORT = Limits(cpu_seconds=1.0, wall_seconds=30.0, memory_bytes=2**28)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs what Linux shows of processes")


@pytest.fixture(scope="module", params=[(), NAMESPACES], ids=["isolated", "without namespaces"])
def worker(request):
    made = pool.Worker(request.param)
    yield made
    made.close()


def outcome(worker, code: str, text: str = "", limits: Limits = SHORT):
    (found,) = worker.run(Script(code, (text,)), limits)
    return found


# --- folders --------------------------------------------------------------------------------------------------------


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
    (tmp_path / "kept").write_text("x")
    monkeypatch.setattr(isolation.subprocess, "run", lambda *arguments, **settings: None)
    isolation.remove_folder(isolation.Place(), str(tmp_path))
    assert (tmp_path / "kept").exists()


# --- limits ---------------------------------------------------------------------------------------------------------


SHARED = """
import mmap, os, time
for _ in range(6):
    if os.fork() == 0:
        shared = mmap.mmap(-1, 60 * 2**20)
        for _ in range(60): shared.write(b'x' * 2**20)
        print('had', flush=True)
        time.sleep(99)
for _ in range(6): os.wait()
"""


@LINUX
def test_shared_memory_which_no_process_is_charged_with_is_not_to_be_had(worker):
    assert "had" not in outcome(worker, SHARED).output
    assert outcome(worker, "import mmap\nmmap.mmap(-1, 2**20)").status == "out_of_memory"


@LINUX
def test_shared_memory_is_counted_where_it_is_to_be_had():
    worker = pool.Worker(("seccomp",))
    try:
        assert outcome(worker, SHARED).status == "out_of_memory"
    finally:
        worker.close()


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
        "import os, time\ndef f(x):\n    for _ in range(6 if x == 0 else 0):\n        if os.fork() == 0:\n"
        "            kept = b'x' * (60 * 2**20)\n            time.sleep(99)\n    return sum(range(100000))"
    )
    job = Function(code, "f", tuple(f"[{number}]" for number in range(600)))
    assert "out_of_memory" in {each.status for each in worker.run(job, SHORT)}


@pytest.mark.parametrize(
    "job",
    [
        Script("while True: pass", ("",) * 213),
        Function("def f():\n    while True: pass", "f", ("[]",) * 213),
        Checked("def f():\n    while True: pass", ("assert f()",) * 213),
    ],
    ids=["script", "function", "checked"],
)
def test_a_program_that_never_ends_costs_a_few_limits(worker, job):
    limits = Limits(cpu_seconds=0.2, time_outs=2)
    found = worker.run(job, limits)
    assert [each.status for each in found] == ["time_out"] * 213
    assert sum(each.cpu_seconds for each in found) < 3
    assert "not run: 2 outcomes of this program ran out of time" in found[-1].message


def test_a_few_calls_that_do_not_end_leave_the_others_their_outcomes(worker):
    code = "def f(x):\n    while x == 1: pass\n    return x"
    job = Function(code, "f", ("[1]", "[2]", "[1]", "[3]"))
    found = worker.run(job, Limits(cpu_seconds=0.2))
    assert [each.status for each in found] == ["time_out", "ok", "time_out", "ok"]


def test_outcomes_may_be_long_together():
    """More than 64 MiB of JSON: each comes by itself."""
    worker = pool.Worker()
    try:
        job = Script("print('\\x01' * 1000000)", ("",) * 12)
        found = worker.run(job, Limits())
        assert [len(each.output or "") for each in found] == [1000001] * 12
    finally:
        worker.close()


# --- how programs end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nprint(input())\nsys.stdout.close()",
        "out = open(1, 'w')\nout.write(input() + '\\n')",
        "import os\nout = os.fdopen(1, 'w')\nprint(input(), file=out)",
        "import atexit, io, sys\nsys.stdout = io.StringIO()\n"
        "atexit.register(lambda: sys.__stdout__.write(sys.stdout.getvalue()))\nprint(input())",
        "class Late:\n    text = input()\n    def __del__(self): print(self.text)\nlate = Late()",
        "open('/dev/stdout', 'w').write(input() + '\\n')",
        "print(open('/dev/stdin').read().strip())",
        "import resource\nresource.setrlimit(resource.RLIMIT_STACK, [2**28, -1])\nprint(input())",
        "import atexit\natexit.register(lambda: 1 / 0)\nprint(input())",
    ],
)
def test_output_is_what_the_interpreter_would_have_written(worker, code):
    found = outcome(worker, code, "x\n")
    assert (found.status, found.output) == ("ok", "x\n"), found.message


# --- the worker's own package ---------------------------------------------------------------------------------------


def test_the_worker_runs_this_package_and_no_other_of_its_name(tmp_path, root):
    """An installed nblib, as an old one in site-packages would be."""
    folder = tmp_path / "nblib" / "sandbox" / "inside"
    folder.mkdir(parents=True)
    for each in (folder, *list(folder.parents)[:2]):
        (each / "__init__.py").write_text("")
    (folder / "server.py").write_text("def main(): raise SystemExit('another nblib')")
    first = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code = (
        f"import sys\nsys.path.insert(0, {str(root)!r})\nfrom nblib.sandbox import pool, Script, Limits\n"
        f"pool._START = {first!r} + pool._START\nworker = pool.Worker()\n"
        "print(worker.run(Script('import sys; print(sys.path)'), Limits())[0].output)\nworker.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert str(root) not in done.stdout

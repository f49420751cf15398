"""Processes that share a results folder: one works on a run, and its lock ends with it."""

import errno
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from nblib.study import locks

# Another process, without the seconds that loading torch takes: it says when it has the lock, and waits for a line.
OTHER = """
import importlib.util, sys
from pathlib import Path
found = importlib.util.spec_from_file_location("locks", sys.argv[1])
locks = importlib.util.module_from_spec(found)
found.loader.exec_module(locks)
with locks.lock(Path(sys.argv[2]), "a", wait=len(sys.argv) > 3) as free:
    print(free, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path):
    """Starts another process that locks `a`."""
    started = []

    def start(*more):
        command = [sys.executable, "-c", OTHER, str(Path(locks.__file__)), str(tmp_path), *more]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_another_process_works_on_is_not_given_out(other, tmp_path):
    assert other().stdout.readline() == "True\n"
    with locks.lock(tmp_path, "a") as taken, locks.lock(tmp_path, "b") as free:
        assert not taken
        assert free


def test_a_waiting_process_has_it_when_the_other_is_killed(other):
    holder = other()
    assert holder.stdout.readline() == "True\n"
    waiting = other("wait")
    holder.kill()
    assert waiting.stdout.readline() == "True\n"


def test_a_waiting_process_has_it_as_soon_as_the_other_is_done(other, tmp_path):
    with locks.lock(tmp_path, "a") as free:
        assert free
        refused, waiting = other(), other("wait")
        assert refused.stdout.readline() == "False\n"
    assert waiting.stdout.readline() == "True\n"
    waiting.communicate("done\n")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_another_has_stays(other, tmp_path):
    process = other()
    assert process.stdout.readline() == "True\n"
    locks.sweep(tmp_path)
    assert [path.name for path in (tmp_path / ".locks").iterdir()] == ["a"]
    process.kill()
    process.wait()
    locks.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_child_of_the_holder_does_not_keep_it(tmp_path):
    child = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with locks.lock(tmp_path, "a"):
        process = subprocess.Popen(child, stdin=subprocess.PIPE)
    with locks.lock(tmp_path, "a") as free:
        assert free
    process.communicate()


def test_waiting_can_be_stopped(other, tmp_path):
    holder, calls = other(), []
    assert holder.stdout.readline() == "True\n"

    def waiting():
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError), locks.lock(tmp_path, "a", wait=True, waiting=waiting):
        raise AssertionError("another process has it")
    holder.communicate("done\n")
    with locks.lock(tmp_path, "a", wait=True, waiting=waiting) as free:
        assert free
    assert len(calls) == 2


def test_a_file_system_without_locks_is_said_and_work_goes_on(tmp_path, monkeypatch):
    def acquire(*given, **named):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.warns(UserWarning, match="has no locks"), locks.lock(tmp_path, "a") as free:
        assert free

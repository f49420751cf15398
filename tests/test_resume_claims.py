"""Processes that share a results folder: one works on a run, and its claim ends with it."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nblib.study import claims

# Another process, without the seconds that loading torch takes: it says when it has the claim, and waits for a line.
OTHER = """
import importlib.util, sys
from pathlib import Path
found = importlib.util.spec_from_file_location("claims", sys.argv[1])
claims = importlib.util.module_from_spec(found)
found.loader.exec_module(claims)
with claims.claim(Path(sys.argv[2]), "a", wait=len(sys.argv) > 3) as mine:
    print(mine, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path):
    """Starts another process that claims `a`."""
    started = []

    def start(*more):
        command = [sys.executable, "-c", OTHER, str(Path(claims.__file__)), str(tmp_path), *more]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()


def test_what_another_process_works_on_is_not_given_out(other, tmp_path):
    process = other()
    assert process.stdout.readline() == "True\n"
    with claims.claim(tmp_path, "a") as mine, claims.claim(tmp_path, "b") as free:
        assert not mine
        assert free


def test_a_claim_ends_with_its_process_even_if_that_is_killed(other, tmp_path):
    process = other()
    assert process.stdout.readline() == "True\n"
    process.kill()
    process.wait()
    with claims.claim(tmp_path, "a") as mine:
        assert mine


def test_what_a_killed_process_left_is_swept_and_what_another_has_stays(other, tmp_path):
    process = other()
    assert process.stdout.readline() == "True\n"
    claims.sweep(tmp_path)
    assert [path.name for path in (tmp_path / ".locks").iterdir()] == ["a"]
    process.kill()
    process.wait()
    claims.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_who_waits_has_it_when_the_other_is_killed(other):
    holder = other()
    assert holder.stdout.readline() == "True\n"
    waiting = other("wait")
    holder.kill()
    assert waiting.stdout.readline() == "True\n"


def test_who_waits_has_it_as_soon_as_the_other_is_done_and_nothing_is_left_behind(other, tmp_path):
    with claims.claim(tmp_path, "a") as mine:
        assert mine
        refused, waiting = other(), other("wait")
        assert refused.stdout.readline() == "False\n"
    assert waiting.stdout.readline() == "True\n"
    with claims.claim(tmp_path, "a") as mine:
        assert not mine
    waiting.communicate("done\n")
    assert list(tmp_path.iterdir()) == []


def test_a_second_claim_of_the_same_process_is_refused_too(tmp_path):
    with claims.claim(tmp_path, "a") as mine, claims.claim(tmp_path, "a") as again:
        assert mine
        assert not again
    with claims.claim(tmp_path, "a") as mine:
        assert mine


def test_threads_that_wait_have_it_one_after_the_other(tmp_path):
    inside, most = [], []

    def work():
        with claims.claim(tmp_path, "a", wait=True):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert most == [1, 1, 1, 1]


def test_who_waits_can_be_stopped_and_leaves_nothing_behind(other, tmp_path):
    holder, asked = other(), []
    assert holder.stdout.readline() == "True\n"

    def waiting():
        asked.append(1)
        if len(asked) == 2:
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError), claims.claim(tmp_path, "a", wait=True, waiting=waiting):
        raise AssertionError("another process has it")
    holder.communicate("done\n")
    with claims.claim(tmp_path, "a", wait=True, waiting=waiting) as mine:
        assert mine
    assert len(asked) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_claim_ends_when_its_work_fails(tmp_path):
    with pytest.raises(OSError, match="No space"), claims.claim(tmp_path, "a"):
        raise OSError("No space left on device")
    with claims.claim(tmp_path, "a") as mine:
        assert mine


def test_a_file_system_without_locks_is_said_and_work_goes_on(tmp_path, monkeypatch):
    def none(*given):
        raise OSError(claims.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.fcntl, "lockf", none)
    with pytest.warns(UserWarning, match="keeps no locks"), claims.claim(tmp_path, "a") as mine:
        assert mine

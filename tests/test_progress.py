"""The line of progress: what it says, and that it reaches a terminal, Papermill's among them."""

import os
import pty
import re
import subprocess
import sys

import nbformat

from nblib import progress

CELL = """
from nblib.progress import Progress
bar = Progress(2, 60.0, known=True)
bar.begin("lora, seed 42", 50.0)
bar.end(1, 50.0)
bar.begin("icl-3, seed 42", 10.0)
bar.end(2, 60.0)
"""


def test_time_left_goes_by_earlier_runs_until_one_has_ended_and_then_by_this_machine(monkeypatch):
    clock = iter([0, 5, 10, 120, 125])  # at the start, twice for each run
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress.Progress, "_show", lambda *_, **__: None)
    bar = progress.Progress(4, 100.0, known=True, processes=2)
    bar.begin("lora, seed 42", 60.0)
    assert bar.line(0.0) == "0 of 4 | lora, seed 42 | 0:05 of about 0:55"
    assert bar.line(0.5) == "0 of 4 | lora, seed 42 | 0:10 of about 0:45"
    bar.end(1, 60.0)
    bar.begin("icl-3", 10.0)
    assert bar.line(0.0) == "1 of 4 | icl-3 | 2:00 of about 3:20"  # twice the seconds of earlier runs
    bar.end(4, 100.0)
    assert bar.line(0.0) == "4 of 4 | done | 2:05"


def test_without_earlier_runs_the_current_one_tells_how_long_all_take(monkeypatch):
    clock = iter([0, 0, 10])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress.Progress, "_show", lambda *_, **__: None)
    bar = progress.Progress(2, 11.0, known=False)
    bar.begin("lora", 10.0)
    assert bar.line(0.0) == "0 of 2 | lora | 0:00"
    assert bar.line(0.5) == "0 of 2 | lora | 0:10 of about 0:22"


def test_a_terminal_gets_one_line_that_is_overwritten_and_nobody_else_any(capsys, monkeypatch):
    for is_terminal, count in ((False, 0), (True, 1)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal, raising=False)
        bar = progress.Progress(1, 1.0, known=True)
        bar.begin("lora", 1.0)
        bar.end(1, 1.0)
        bar.end(1, 1.0)  # as when another process had the last run
        shown = capsys.readouterr().err
        assert (shown.count("\n"), shown.count("\r")) == (count, 2 * count)


def test_no_runs_at_all_are_no_fault():
    assert progress.Progress(0, 0.0, known=True).line(0.0).startswith("0 of 0")


def read(terminal: int) -> str:
    try:
        return os.read(terminal, 1000).decode(errors="replace")
    except OSError:  # Linux says so once everybody has closed it
        return ""


def test_papermills_terminal_shows_the_line_and_the_executed_notebook_keeps_its_last_state(root, tmp_path):
    cells = [nbformat.v4.new_code_cell(CELL)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "in.ipynb")
    ours, papermills = pty.openpty()
    command = [sys.executable, "-m", "papermill", str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb")]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=papermills, env=environment) as running:
        os.close(papermills)
        shown = "".join(iter(lambda: read(ours), ""))
    os.close(ours)
    assert running.returncode == 0, shown
    states = re.findall(r"\r(\d of 2 \| [^\r\n|]*\|[^\r\n]*?) *(?=[\r\n])", shown)
    said = ["0 of 2 | lora, seed 42", "1 of 2 | icl-3, seed 42", "2 of 2 | done"]
    assert [state.rpartition(" | ")[0] for state in states] == said
    assert re.search(r" 0:\d\d of about 1:\d\d$", states[0])  # a minute from then on
    assert all(re.search(r"of about \d:\d\d$", state) for state in states[:-1])
    (output,) = nbformat.read(tmp_path / "out.ipynb", 4).cells[0].outputs
    assert re.fullmatch(r"2 of 2 \| done \| \d:\d\d", output["data"]["text/plain"])

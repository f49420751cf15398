import sys

from nblib import progress


def test_the_line_says_what_runs_how_far_it_is_and_what_is_left(monkeypatch):
    clock = iter([0.0, 0.0, 60.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    bar = progress.Progress(4)
    bar.finished, bar.text = 1, "lora, seed 42"
    assert bar.line(0.5).endswith("1 of 4 runs | lora, seed 42 | 0:00, about 0:00 left")
    assert bar.line(0.5).endswith("| 1:00, about 1:40 left")


def test_a_terminal_gets_one_line_that_is_overwritten_and_nobody_else_any(capsys, monkeypatch):
    for is_terminal, count in ((False, 0), (True, 1)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_terminal=is_terminal: is_terminal, raising=False)
        bar = progress.Progress(1)
        bar.begin("lora")
        bar.end(1)
        bar.end(1)  # as when another process had the last run
        shown = capsys.readouterr().err
        assert (shown.count("\n"), shown.count("\r")) == (count, 2 * count)


def test_no_runs_at_all_are_no_fault():
    assert "0 of 0 runs" in progress.Progress(0).line(0.0)

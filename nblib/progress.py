"""One line that says what is running and how long it will take; a notebook keeps only its last state."""

import sys
import time
from typing import TextIO

import psutil


class Progress:
    """Says how many runs are done, and from the seconds that runs of each kind need, how long all will take.

    `seconds` are those of all runs together. If they are `known`, from earlier runs, we go by them until the first run
    has ended, and then by how fast this machine is; otherwise only their proportions count. `processes` share the runs.
    In a notebook the line is one output that is overwritten, and Papermill's terminal shows it too; outside of a
    notebook it goes to the terminal, and nowhere if there is none.
    """

    def __init__(self, total: int, seconds: float, *, known: bool, processes: int = 1):
        self.total, self.seconds, self.known, self.processes = total, seconds, known, processes
        self.finished, self.finished_seconds, self.own_seconds, self.text = 0, 0.0, 0.0, ""
        self.start = self.shown = time.monotonic()
        self.output = cell_output()
        self.terminal = sys.stderr if self.output is None else papermill_terminal()

    def begin(self, text: str, seconds: float) -> None:
        """A run starts that needs so many seconds."""
        self.text, self.own_seconds = text, seconds
        self._show(0.0)

    def report(self, share: float) -> None:
        """The share of the current run that is done, 0 to 1; shown once a second at most."""
        if time.monotonic() - self.shown > 1:
            self._show(share)

    def end(self, finished: int, seconds: float) -> None:
        """A run is done; so many of so many seconds are by now, those of other processes included."""
        self.finished, self.finished_seconds = finished, seconds
        if self.finished == self.total and self.text != "done":
            self.text = "done"
            self._show(0.0, end="\n")

    def _show(self, share: float, end: str = "") -> None:
        self.shown = time.monotonic()
        line = self.line(min(share, 1.0))
        if self.output is not None:
            self.output.update({"text/plain": line}, raw=True)
        if self.terminal is not None and self.terminal.isatty():
            print(f"\r{line[:100]:<100}", end=end, file=self.terminal, flush=True)

    def line(self, share: float) -> str:
        """`12 of 23 | lora, seed 42 | 3:10 of about 4:30`."""
        elapsed = time.monotonic() - self.start
        done = self.finished_seconds + share * self.own_seconds
        pace = 1 / self.processes if self.known and not self.finished else elapsed / done if done else 0.0
        about = f" of about {clock(elapsed + pace * (self.seconds - done))}" if pace and self.text != "done" else ""
        return f"{self.finished} of {self.total} | {self.text} | {clock(elapsed)}{about}"


def clock(seconds: float) -> str:
    """`1:05`: minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def cell_output():
    """A cell's output that can be overwritten, as IPython's DisplayHandle; None outside of a notebook."""
    ipython = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return None
    return ipython.display.display({"text/plain": ""}, raw=True, display_id=True)


def papermill_terminal() -> TextIO | None:
    """The terminal in which Papermill runs this notebook and draws a bar; None elsewhere, and without one."""
    try:
        parent = psutil.Process().parent()
        if parent is None or "papermill" not in " ".join(parent.cmdline()[:3]):
            return None
        stream = open(f"/proc/{parent.pid}/fd/2", "w", encoding="utf-8")  # noqa: SIM115  # for as long as we run
    except (OSError, psutil.Error):  # another system than Linux, or a process that cannot be looked at
        return None
    return stream if stream.isatty() else None

"""One line that says what is running and how long it will take; a notebook keeps only its last state."""

import sys
import time


class Progress:
    """Counts whole runs and the share of the current one.

    In a notebook the line is one output that is overwritten, so an executed notebook holds one line; elsewhere it goes
    to the terminal, and nowhere if there is none.
    """

    def __init__(self, total: int):
        self.total, self.finished, self.text = total, 0, ""
        self.start = self.shown = time.monotonic()
        self.output = cell_output()

    def begin(self, text: str) -> None:
        """A run starts."""
        self.text = text
        self._show(0.0)

    def report(self, share: float) -> None:
        """The share of the current run that is done, 0 to 1; shown once a second at most."""
        if time.monotonic() - self.shown > 1:
            self._show(share)

    def end(self, finished: int) -> None:
        """A run is done; so many are by now, those of other processes included."""
        self.finished = finished
        if self.finished == self.total and self.text != "done":
            self.text = "done"
            self._show(0.0, end="\n")

    def _show(self, share: float, end: str = "") -> None:
        self.shown = time.monotonic()
        line = self.line(min(share, 1.0))
        if self.output is not None:
            self.output.update({"text/plain": line}, raw=True)
        elif sys.stderr.isatty():
            print(f"\r{line:<100}", end=end, file=sys.stderr, flush=True)

    def line(self, share: float) -> str:
        """`█████░░░░░ 1 of 4 runs | lora, seed 42 | 1:00, about 1:40 left`."""
        done, elapsed = self.finished + share, time.monotonic() - self.start
        filled = round(20 * done / self.total) if self.total else 20
        left = f", about {clock(elapsed / done * (self.total - done))} left" if 0 < done < self.total else ""
        bar = "█" * filled + "░" * (20 - filled)
        return f"{bar} {self.finished} of {self.total} runs | {self.text} | {clock(elapsed)}{left}"


def clock(seconds: float) -> str:
    """`1:05`: minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def cell_output():
    """A cell's output that can be overwritten, as IPython's DisplayHandle; None outside of a notebook."""
    ipython = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return None
    return ipython.display.display({"text/plain": ""}, raw=True, display_id=True)

"""One job at a time in a thread of its own, so that a page stays alive. Knows no models."""

import threading
from collections.abc import Callable
from html import escape

import ipywidgets

from nblib.progress import clock

CANCELLED = "Cancelled."
EXPLAINED = (ValueError, OSError, ImportError, MemoryError)  # ours, which say what to do; others get their type's name


class CancelledError(Exception):
    """Raised inside of a job after `cancel`; no failure."""


class Job:
    """A thread that does one job, can be asked to stop, and says how the job ended."""

    def __init__(self) -> None:
        self.running = False  # whether it is under way
        self._stop = threading.Event()
        self._thread = threading.Thread()

    def start(self, work: Callable[[], None], *, ended: Callable[[str], None]) -> bool:
        """Starts the work, unless some is under way; whether it did.

        The work calls `check` now and then. `ended` hears in its thread how it ended: empty where all went well, else
        a sentence.
        """
        if self.running:
            return False
        self._stop.clear()
        self.running = True
        # A daemon: a kernel that is shut down does not wait for an answer that nobody will read.
        self._thread = threading.Thread(target=self._run, args=(work, ended), daemon=True)
        self._thread.start()
        return True

    def check(self) -> None:
        """Raises CancelledError where the job was asked to stop."""
        if self._stop.is_set():
            raise CancelledError(CANCELLED)

    def cancel(self) -> None:
        """Asks the job to stop at its next check."""
        self._stop.set()

    def wait(self, timeout_seconds: float) -> bool:
        """Waits for the job that was started; whether it has ended."""
        self._thread.join(timeout_seconds)
        return not self.running

    def _run(self, work: Callable[[], None], ended: Callable[[str], None]) -> None:
        how = ""
        try:
            work()
        except Exception as error:  # whatever it is, it must be seen: nobody reads a thread's traceback
            how = sentence(error)
        self.running = False  # before others hear of it: they may start the next one
        ended(how)


def sentence(error: BaseException) -> str:
    """An error as one line for a reader."""
    text = " ".join(str(error).split()) or "no reason was given"
    return text if isinstance(error, (*EXPLAINED, CancelledError)) else f"{type(error).__name__}: {text[:300]}"


def alert(text: str) -> str:
    """An error as HTML that looks like one, in the page's own red, and that a screen reader says at once."""
    style = "color: var(--jp-error-color1, #c62828); line-height: 1.4"
    return f'<div role="alert" style="{style}"><b>⚠ Error:</b> {escape(text)}</div>'


def page() -> ipywidgets.HTML:
    """A place for HTML whose tables look as those of a notebook's other outputs."""
    return ipywidgets.HTML().add_class("jp-RenderedHTMLCommon")


def pace(share: float, seconds: float) -> str:
    """`37 %, about 0:21 left`: how far some work is after so many seconds, and how long the rest will take."""
    return f"{100 * share:.0f} %" + f", about {clock(seconds / share * (1 - share))} left" * (seconds > 0 and share < 1)

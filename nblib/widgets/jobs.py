"""One job at a time in a thread of its own, so that a page stays alive. Knows no models."""

import threading
from collections.abc import Callable

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
            raise CancelledError("Cancelled.")

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

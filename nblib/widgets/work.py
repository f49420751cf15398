"""One job at a time in a thread of its own, so that a page stays alive. Knows no models."""

import threading
from collections.abc import Callable

SPEAKING = (
    ValueError,
    OSError,
    ImportError,
    MemoryError,
)  # ours, which say in a sentence what to do; others get their type's name


class CancelledError(Exception):
    """Raised inside of a job after `cancel`; no failure."""


class Work:
    """A thread that does one job, can be asked to stop, and says how the job ended."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.running = False  # whether a job is under way

    def start(self, job: Callable[[], None], *, ended: Callable[[str], None]) -> bool:
        """Starts the job, unless one is running; whether it did.

        The job calls `check` now and then. `ended` hears in the job's thread how it ended: empty where all went well,
        else a sentence.
        """
        if self.running:
            return False
        self._stop.clear()
        self.running = True
        # A daemon: a kernel that is shut down does not wait for an answer that nobody will read.
        self._thread = threading.Thread(target=self._run, args=(job, ended), daemon=True)
        self._thread.start()
        return True

    def check(self) -> None:
        """Raises CancelledError where the job was asked to stop."""
        if self._stop.is_set():
            raise CancelledError("cancelled")

    def cancel(self) -> None:
        """Asks the job to stop at its next check."""
        self._stop.set()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Waits for the job; whether it has ended."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        return not self.running

    def _run(self, job: Callable[[], None], ended: Callable[[str], None]) -> None:
        said = ""
        try:
            job()
        except CancelledError:
            said = "Cancelled."
        except Exception as error:  # whatever it is, it must be seen: nobody reads a thread's traceback
            said = sentence(error)
        self.running = False  # before others hear of it: they may start the next one
        ended(said)


def sentence(error: BaseException) -> str:
    """An error as one line for a reader."""
    said = " ".join(str(error).split()) or "no reason was given"
    return said if isinstance(error, SPEAKING) else f"{type(error).__name__}: {said[:300]}"

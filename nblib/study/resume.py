"""What a run that has not ended has so far: its answers, and where its training keeps checkpoints.

All of it is in `partial` of a results folder, which may be deleted whenever nothing runs.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from nblib import provenance, results, spec
from nblib.results import Prediction
from nblib.study.planning import Planned

FOLDER = "partial"
SYNC_SECONDS = 1.0  # how often answers are forced to the disk; a process that is killed loses none of the others


def checkpoint_folder(folder: Path, planned: Planned) -> Path | None:
    """Where a training keeps checkpoints: with other runs that share it, but for full tuning, which none can share."""
    if planned.run.shape_only or not planned.training:
        return None
    own = isinstance(planned.run.method, spec.FullTuning)
    return folder / FOLDER / (f"{planned.id}.training" if own else planned.training)


def answers_file(folder: Path, planned: Planned) -> Path | None:
    """Where a run keeps its answers until it ends; random weights give none that are worth it."""
    return None if planned.run.shape_only else folder / FOLDER / f"{planned.id}.jsonl"


def forget(*paths: Path | None) -> None:
    """Deletes what is not needed any more."""
    for path in filter(None, paths):
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # not there, or a folder that is only read
            path.unlink()
        with suppress(OSError):  # others are there
            path.parent.rmdir()


def tidy(planned: Sequence[Planned], folder: Path) -> None:
    """Deletes what finished runs no longer need; the next attempt resumes what failed."""
    for one in planned if (folder / FOLDER).exists() else ():
        if results.finished(folder, one.id):
            own = isinstance(one.run.method, spec.FullTuning)
            forget(answers_file(folder, one), checkpoint_folder(folder, one) if own else None)


class Answers:
    """The answers that are there, by the place of their example, and a file that takes more."""

    def __init__(self, file: BinaryIO | None = None):
        self.known: dict[int, Prediction] = {}
        self.costs: dict[str, float | None] = {}  # of those in the file
        self.resumed = -1  # how often a process went on where another had ended
        self.file, self.synced = file, time.monotonic()

    def keep(self, index: int, prediction: Prediction, costs: dict) -> None:
        """One answer more, and what all of them have cost."""
        if index not in self.known:
            self.known[index] = prediction
            self._write({"index": index, "prediction": asdict(prediction), "costs": costs})

    def start(self) -> None:
        """This process goes on from here."""
        self.resumed += 1
        self._write({"packages": provenance.versions()})

    def read(self, line: dict) -> None:
        """Takes in a line of the file."""
        if "packages" in line:
            self.resumed += 1
        else:
            self.known[line["index"]] = results.prediction(line["prediction"])
            self.costs = line["costs"]

    def _write(self, line: dict) -> None:
        if self.file is None:
            return
        self.file.write(json.dumps(line).encode() + b"\n")  # without a buffer: it is the system's when this returns
        if time.monotonic() - self.synced > SYNC_SECONDS:
            os.fsync(self.file.fileno())
            self.synced = time.monotonic()


@contextmanager
def answers(path: Path | None) -> Iterator[Answers]:
    """What is in that file, up to a line that is cut; other packages may answer otherwise, so theirs are left aside."""
    if path is None:
        yield Answers()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        found, whole = Answers(file), 0
        file.seek(0)
        for line in file.readall().splitlines(keepends=True):  # of bytes: cut at line feeds only
            if (fields := _whole(line)) is None:
                break
            found.read(fields)
            whole += len(line)
        file.truncate(whole)
        found.start()
        yield found


def _whole(line: bytes) -> dict | None:
    """A line's fields; None where it is cut, or where other packages wrote what comes after it."""
    try:
        fields = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return fields if fields and fields.get("packages") in (None, provenance.versions()) else None

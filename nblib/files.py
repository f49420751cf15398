"""Files and folders that are written whole or not at all: under another name first, which is then changed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write(path: str | Path, content: str | bytes) -> Path:
    """Writes a file, to the disk itself, in the place of the one that was there. Its folder is made where need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of the given one when all went well, and is else deleted."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        unfinished = Path(place) / "new"
        unfinished.mkdir()
        yield unfinished
        usual = unfinished.stat().st_mode & 0o666  # safetensors' files are for their owner only
        for path in [path for path in unfinished.rglob("*") if path.is_file()]:
            path.chmod(usual)
        if folder.exists():
            folder.rename(Path(place) / "old")
        unfinished.rename(folder)

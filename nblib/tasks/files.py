"""Rows of a local file, one at a time: JSON lines, a JSON list, parquet. Knows no dataset."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def rows(path: Path, shown: str) -> Iterator[tuple[str, Any]]:
    """Every row with the words for its place; a large file is never held as a whole.

    `shown` names the file in those words. Raises ValueError for what is no JSON, with file and line.
    """
    if path.suffix == ".parquet":
        yield from _from_parquet(path, shown)
    elif path.suffix == ".json" and _is_list(path):
        yield from _from_list(path, shown)
    else:
        yield from _from_lines(path, shown)


def _from_lines(path: Path, shown: str) -> Iterator[tuple[str, Any]]:
    with _opened(path) as file:
        number = 0
        try:
            for number, line in enumerate(file, start=1):
                if not line.isspace():
                    yield f"{shown}, line {number}", _parsed(line, f"{shown}, line {number}")
        except UnicodeDecodeError:
            raise ValueError(f"{shown}: not UTF-8 text after line {number}") from None


def _from_list(path: Path, shown: str) -> Iterator[tuple[str, Any]]:
    for number, row in enumerate(_parsed(path.read_text(encoding="utf-8"), shown), start=1):
        yield f"{shown}, row {number}", row


def _from_parquet(path: Path, shown: str) -> Iterator[tuple[str, Any]]:
    import pyarrow.parquet  # slow to import, and only needed here

    number = 0
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                yield f"{shown}, row {number}", row


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error.msg}); each line is one JSON object") from None
    except (ValueError, RecursionError) as error:  # integers of more than 4300 digits, lists in lists in lists
        raise ValueError(f"{where}: JSON that cannot be read ({error})") from None


def _opened(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _is_list(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return file.read(1024).lstrip().startswith("[")

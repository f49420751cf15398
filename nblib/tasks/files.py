"""Rows of a local file, one at a time: JSON lines, a JSON list, CSV, TSV, Parquet; knows no dataset."""

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

BySplit = dict[str, list[tuple[Path, str]]]  # files in their order, each with its name in errors
KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")  # all but Parquet may be compressed, as .jsonl.gz


def kind(path: Path) -> str:
    """The end of the file's name that says what is in it."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def rows(path: Path, shown: str) -> Iterator[tuple[str, Any]]:
    """Every row with the words for its place; a large file of lines or Parquet is never held as a whole.

    A byte order mark and blank lines are passed over. `shown` names the file in those words.
    Raises ValueError for what is no UTF-8 text or no JSON, with file and line.
    """
    if kind(path) == ".parquet":
        yield from _numbered(_from_parquet(path), shown)
    elif kind(path) in (".csv", ".tsv"):
        yield from _numbered(_from_table(path, shown), shown)
    elif kind(path) == ".json" and _is_list(path):
        yield from _numbered(_parsed("".join(_lines(path, shown)), shown, "the file is one JSON list"), shown)
    else:
        for number, line in enumerate(_lines(path, shown), start=1):
            if not line.isspace():
                where = f"{shown}, line {number}"
                yield where, _parsed(line, where, "each line is one JSON object")


def _numbered(rows, shown: str) -> Iterator[tuple[str, Any]]:
    return ((f"{shown}, row {number}", row) for number, row in enumerate(rows, start=1))


def _from_parquet(path: Path) -> Iterator[dict]:
    import pyarrow.parquet  # slow to import, and only needed here

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256):
            yield from batch.to_pylist()


def _from_table(path: Path, shown: str) -> list[dict]:
    """Rows of texts, their columns parted by commas or semicolons, in a TSV by tabulators."""
    import pandas as pd  # slow to import, and only needed here

    text = "".join(_lines(path, shown))
    header = text.lstrip().partition("\n")[0]
    separator = "\t" if kind(path) == ".tsv" else max(",;\t", key=header.count)
    try:
        return pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False).to_dict("records")
    except pd.errors.EmptyDataError:
        return []
    except pd.errors.ParserError as error:
        raise ValueError(f"{shown}: not a table ({str(error).strip()})") from None


def _parsed(text: str, where: str, wanted: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text.strip() else ""
        raise ValueError(f"{where}{line}: not JSON ({error.msg}); {wanted}") from None
    except (ValueError, RecursionError) as error:  # integers of more than 4300 digits, lists in lists in lists
        raise ValueError(f"{where}: JSON that cannot be read ({error})") from None


def _opened(path: Path) -> IO[str]:
    """The file as text; bytes that are not UTF-8 become lone surrogates, which `_lines` finds."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="surrogateescape")
    return path.open(encoding="utf-8-sig", errors="surrogateescape")


def _lines(path: Path, shown: str) -> Iterator[str]:
    """Lines of a text file. Raises ValueError, with file and line, for what is not UTF-8."""
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                if not line.isascii():
                    line.encode()
            except UnicodeEncodeError as error:
                byte = ord(line[error.start]) - 0xDC00
                guess = "UTF-16" if "\0" in line else "Latin-1 or Windows-1252"
                raise ValueError(
                    f"{shown}, line {number}: not UTF-8 text (byte 0x{byte:02x}, as in {guess}); save the file "
                    "with the encoding UTF-8"
                ) from None
            yield line


def _is_list(path: Path) -> bool:
    with _opened(path) as file:
        return file.read(1024).lstrip().startswith("[")

"""Rows of a local file, one at a time, and a row in its dataset's own fields to an example."""

import gzip
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from nblib.tasks.schema import Example, unix_lines

BySplit = dict[str, list[tuple[Path, str]]]  # files in their order, each with its name in errors
KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")  # all but Parquet may be compressed, as .jsonl.gz


def example(layout: str, row: Any, where: str, number: int) -> Example:
    """The row as an example; every row has an intent, but not always code.

    `number` counts rows in the split and makes the id unique. Raises ValueError, which begins with `where`.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{where}: no intent; a row must be a JSON object")
    return require_characters(LAYOUTS[layout](row, where, number), where)


def require_characters(example: Example, where: str) -> Example:
    """The example, whose texts can be written. Raises ValueError, which begins with `where`."""
    try:
        json.dumps(list(vars(example).values()), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: {error.object[error.start]!r} is half of a character (a lone surrogate), which no tokenizer and "
            "no file takes; fix the row or leave it out"
        ) from None
    return example


# --- layouts --------------------------------------------------------------------------------------------------------


def _pair(row: dict, where: str, number: int) -> Example:
    """CoNaLa, CodeAlpacaPy and their small twins."""
    known = row.get("known")
    if known is not None and not isinstance(known, bool):
        raise ValueError(f"{where}: the field 'known' must hold true or false; got {type(known).__name__}")
    return Example(
        id=_id(row, number, "question_id"),
        intent=_intent(row, "nl", where),
        code=_text(row, "cmd", where).strip(),
        tests=_texts(row, "test_list", where),
        test_setup=_text(row, "test_setup_code", where),
        operation=_text(row, "operation", where),
        known=known,
    )


def _apps(row: dict, where: str, number: int) -> Example:
    """APPS; its raw rows call the id `id`, rows from its loading script `problem_id`."""
    called, pairs = _input_output(row, where)
    solutions = tuple(text.strip() for text in _solutions(row, where) if text.strip())
    return Example(
        id=_id(row, number, "problem_id", "id"),
        intent=_intent(row, "question", where),
        code=solutions[0] if solutions else "",
        difficulty=_text(row, "difficulty", where),
        starter_code=_text(row, "starter_code", where),
        entry_point=called,
        inputs=tuple(_arguments(given) if called else _stream(given) for given, _ in pairs),
        outputs=tuple(_json_text(expected) if called else _stream(expected) for _, expected in pairs),
        solutions=solutions,
    )


def _odex(row: dict, where: str, number: int) -> Example:
    """ODEX: the answer is a piece of a function. Its tests are one text: later ones use names of earlier ones.

    What comes before the tests' function, mostly imports, is there for the answer, too.
    """
    entry = _text(row, "entry_point", where)
    tests = _texts(row, "test", where)
    setup, check, begun = _text(row, "test_start", where).partition("def check(")
    return Example(
        id=_id(row, number, "task_id"),
        intent=_intent(row, "intent", where),
        code=_text(row, "canonical_solution", where).strip(),
        tests=(f"{check}{begun}{''.join(tests)}\ncheck({entry})",) if tests else (),
        test_setup=setup.strip(),
        starter_code=_text(row, "prompt", where),
        ending=_text(row, "suffix", where),
        entry_point=entry,
        libraries=_texts(row, "library", where),
    )


def _mbpp(row: dict, where: str, number: int) -> Example:
    """MBPP, full (`text`) or sanitized (`prompt`). The intent has the tests: nothing else names the function.

    `challenge_test_list` is not read: published scores do without it.
    """
    tests = _texts(row, "test_list", where)
    code = _text(row, "code", where).strip()
    request = _intent(row, "text" if row.get("text") else "prompt", where)
    defined = re.findall(r"^def (\w+)", code, re.MULTILINE)
    return Example(
        id=_id(row, number, "task_id"),
        intent="\n".join([request, "Your code should pass these tests:", *tests]),
        code=code,
        tests=tests,
        test_setup=_text(row, "test_setup_code", where) or "\n".join(_texts(row, "test_imports", where)),
        entry_point=next((name for name in defined if tests and re.search(rf"\b{name}\b", tests[0])), ""),
    )


def _humaneval(row: dict, where: str, number: int) -> Example:
    """HumanEval: we ask for the whole function; imports and helpers before it are there for every answer."""
    prompt, entry, test = (_text(row, field, where) for field in ("prompt", "entry_point", "test"))
    _intent(row, "prompt", where)
    for field, value in (("test", test), ("entry_point", entry)):
        if not value.strip():
            raise ValueError(f"{where}: no tests; the field {field!r} must hold text")
    return Example(
        id=_id(row, number, "task_id"),
        intent=f"Complete this function; answer with the whole of it.\n{prompt.strip()}",
        code=(prompt + _text(row, "canonical_solution", where)).strip(),
        tests=(f"{test}\ncheck({entry})",),
        test_setup=prompt[: max(prompt.find(f"def {entry}("), 0)].strip(),
        entry_point=entry,
    )


def _humaneval_body(row: dict, where: str, number: int) -> Example:
    """HumanEval as published: the answer continues the prompt, and runs after it."""
    whole = _humaneval(row, where, number)
    prompt = _text(row, "prompt", where)
    return replace(
        whole,
        intent=f"Complete this function; answer with what follows.\n{prompt.strip()}",
        code=_text(row, "canonical_solution", where).strip("\n"),
        starter_code=prompt if prompt.endswith("\n") else prompt + "\n",
    )


LAYOUTS: dict[str, Callable[[dict, str, int], Example]] = {
    "pairs": _pair, "apps": _apps, "odex": _odex, "mbpp": _mbpp,
    "humaneval": _humaneval, "humaneval-body": _humaneval_body,
}  # fmt: skip


# --- fields ---------------------------------------------------------------------------------------------------------


def _id(row: dict, number: int, *names: str) -> str:
    """The row's number, and what the dataset calls it in the first of these fields that it has."""
    return f"{number}:{next((row[name] for name in names if name in row), '')}".rstrip(":")


def _intent(row: dict, field: str, where: str) -> str:
    text = _text(row, field, where).strip()
    if not text:
        raise ValueError(f"{where}: no intent; the field {field!r} must hold text")
    return text


def _text(row: dict, field: str, where: str) -> str:
    value = row.get(field) or ""
    if not isinstance(value, str):
        raise ValueError(f"{where}: the field {field!r} must hold text; got {type(value).__name__}")
    return unix_lines(value)


def _texts(row: dict, field: str, where: str) -> tuple[str, ...]:
    value = row.get(field) or ()
    if isinstance(value, str) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{where}: the field {field!r} must hold a list of texts")
    return tuple(map(unix_lines, value))


def _json(row: dict, field: str, where: str) -> Any:
    """What JSON in a text holds, numbers as their digits; None where the text is empty."""
    value = row.get(field) or None
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_int=_Digits, parse_float=_Digits) if value.strip() else None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: the field {field!r} must hold JSON ({error})") from None


def _input_output(row: dict, where: str) -> tuple[str, list[tuple[Any, Any]]]:
    """The function that is called, if one is, and the tests of an APPS row that have both an input and an output."""
    found = _json(row, "input_output", where) or {}
    inputs, outputs = (found.get(side) or [] for side in ("inputs", "outputs")) if isinstance(found, dict) else ("", "")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise ValueError(f"{where}: the field 'input_output' must hold lists called inputs and outputs")
    return found.get("fn_name") or "", list(zip(inputs, outputs, strict=False))


def _solutions(row: dict, where: str) -> tuple[str, ...]:
    """All solutions of an APPS row; none where the list is broken, one where the text is code."""
    text = row.get("solutions") or ""
    if isinstance(text, str) and not text.lstrip().startswith("["):
        return (unix_lines(text),)
    try:
        return _texts({"solutions": _json(row, "solutions", where)}, "solutions", where)
    except ValueError:
        return ()


class _Digits(str):
    """A number as it was written: integers over 4300 digits, which Python refuses to convert, and 1.0 or 1e400."""


def _stream(value: Any) -> str:
    """Standard input or output as text; some rows hold a list of lines."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _arguments(value: Any) -> str:
    return _json_text(value if isinstance(value, list) else [value])


def _json_text(value: Any) -> str:
    if isinstance(value, _Digits):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_json_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)}: {_json_text(part)}' for key, part in value.items())}}}"
    return json.dumps(value)


# --- files ----------------------------------------------------------------------------------------------------------


def kind(path: Path) -> str:
    """The end of the file's name that says what is in it."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def rows(path: Path, shown: str) -> Iterator[tuple[str, Any]]:
    """Every row of a file with the words for its place; a large file of lines or Parquet is never held as a whole.

    A byte order mark and blank lines are passed over. `shown` names the file in those words.
    Raises ValueError for what is no UTF-8 text or no JSON, with file and line.
    """
    if kind(path) == ".parquet":
        yield from _numbered(_from_parquet(path), shown)
        return
    lines = _lines(path, shown)
    if kind(path) in (".csv", ".tsv"):
        yield from _numbered(_from_table("".join(lines), kind(path), shown), shown)
        return
    numbered = enumerate(lines, start=1)
    begun, first = next((pair for pair in numbered if pair[1].strip()), (1, ""))
    if kind(path) == ".json" and first.lstrip().startswith("["):
        text = "\n" * (begun - 1) + first + "".join(lines)
        yield from _numbered(_parsed(text, shown, "the file is one JSON list"), shown)
        return
    for number, line in chain([(begun, first)], numbered):
        if line.strip():
            where = f"{shown}, line {number}"
            yield where, _parsed(line, where, "each line is one JSON object")


def _numbered(found: Iterable, shown: str) -> Iterator[tuple[str, Any]]:
    return ((f"{shown}, row {number}", row) for number, row in enumerate(found, start=1))


def _from_parquet(path: Path) -> Iterator[dict]:
    import pyarrow.parquet  # slow to import, and only needed here

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256):
            yield from batch.to_pylist()


def _from_table(text: str, kind: str, shown: str) -> list[dict]:
    """Rows of texts, their columns parted by commas or semicolons, in a TSV by tabulators."""
    import pandas as pd  # slow to import, and only needed here

    header = text.lstrip().partition("\n")[0]
    separator = "\t" if kind == ".tsv" else max(",;\t", key=header.count)
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


def _lines(path: Path, shown: str) -> Iterator[str]:
    """Lines of a text file. Raises ValueError, with file and line, for what is not UTF-8."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                guess = "UTF-16" if b"\0" in line else "Latin-1 or Windows-1252"
                raise ValueError(
                    f"{shown}, line {number}: not UTF-8 text (byte 0x{line[error.start]:02x}, as in {guess}); save the "
                    "file with the encoding UTF-8"
                ) from None

"""A dataset's name to examples in one schema, by split, from folder or Hub. Draws no shots, builds no prompts."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from nblib import provenance

EMBEDDED = provenance.ROOT / "data" / "tasks"  # tasks that the repository ships
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Example:
    """One instruction with its reference."""

    id: str  # unique inside a split
    intent: str
    code: str  # the reference
    tests: tuple[str, ...] = ()  # assertions that hold after the code ran; empty: none are known
    test_setup: str = ""  # what has to run before the code


@dataclass(frozen=True)
class Task:
    """What is particular to a dataset."""

    about: str
    input_tokens: int  # longest intent that is trained on
    output_tokens: int  # longest answer, in training and generation
    stops: tuple[str, ...]  # an answer ends before the first of these strings
    hub: str | None = None  # dataset repository; None: shipped with nblib
    files: tuple[str, str, str] = ("", "", "")  # in that repository, by split


@dataclass(frozen=True)
class Data:
    """The splits of a task."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    content: str  # hash of all examples
    without_code: int = 0  # training and validation rows left out because their code is empty


TASKS = {
    "conala-mini": Task("one-line Python from short intents, generated", 64, 64, ("\n",)),
    "codealpaca-mini": Task("short Python functions, generated", 128, 128, ("\n\n", "\n###")),
    "conala": Task(
        "one-line Python from Stack Overflow titles (DocPrompting split)",
        64,
        64,
        ("\n",),
        hub="neulab/docprompting-conala",
        files=("conala-train.jsonl", "conala-dev.jsonl", "conala-test.jsonl"),
    ),
    "codealpacapy": Task(
        "short Python programs from CodeAlpaca",
        64,
        128,
        ("\n###",),
        hub="antolin/codealpaca-filtered",
        files=("data/train-*.parquet", "data/valid-*.parquet", "data/test-*.parquet"),
    ),
}


def load(name: str, data_dir: str | Path | None = None) -> Data:
    """The task's examples: from `data_dir` if given, else from the repository or the Hub.

    `data_dir` holds train.jsonl, validation.jsonl and test.jsonl with the Hub's field names (`nl`, `cmd`).
    Training and validation rows without code are left out and counted; a real corpus has one.
    Raises ValueError for an unknown task or bad rows, FileNotFoundError for missing files, ConnectionError where the
    Hub is out of reach; each names the file and the line.
    """
    task = get(name)
    if data_dir is None and task.hub is not None:
        read = [_checked(_from_hub(task, file), f"{task.hub}/{file}") for file in task.files]
    else:
        folder = Path(data_dir).expanduser() if data_dir else EMBEDDED / name
        read = [_from_file(folder / f"{split}.jsonl") for split in SPLITS]
    train, validation = (tuple(each for each in split if each.code) for split in read[:2])
    test = _all_with_code(read[2])
    return Data(
        train,
        validation,
        test,
        content=_content([train, validation, test]),
        without_code=sum(map(len, read)) - len(train) - len(validation) - len(test),
    )


def get(name: str) -> Task:
    """The task of that name. Raises ValueError for an unknown one."""
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {name!r}")
    return TASKS[name]


def first(data: Data, limit: int | None) -> Data:
    """The data with only the first `limit` test examples."""
    return data if limit is None else replace(data, test=data.test[:limit])


def _from_file(path: Path) -> tuple[Example, ...]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; a data folder holds train.jsonl, validation.jsonl and test.jsonl")
    return _checked(_lines(path), str(path))


def _lines(path: Path) -> Iterable[dict]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}: not JSON ({error.msg}); each line is one JSON object"
                ) from None


def _from_hub(task: Task, file: str) -> Iterable[dict]:
    from datasets import disable_progress_bars, load_dataset  # slow to import, and only needed here

    disable_progress_bars()
    kind = "parquet" if file.endswith(".parquet") else "json"
    try:
        return load_dataset(kind, data_files=f"hf://datasets/{task.hub}/{file}", split="train")
    except Exception as error:  # the Hub's client, fsspec and datasets each raise their own kinds
        raise ConnectionError(
            f"could not fetch {file} of {task.hub} from the Hub ({type(error).__name__}): "
            "check the network, or give data_dir, a folder with train.jsonl, validation.jsonl and test.jsonl"
        ) from error


def _all_with_code(test: tuple[Example, ...]) -> tuple[Example, ...]:
    for example in test:
        if not example.code:
            raise ValueError(f"test row {example.id!r} has no code; the field 'cmd' must hold text to compare with")
    return test


def _checked(rows: Iterable[dict], source: str) -> tuple[Example, ...]:
    """Rows as examples; every row has an intent, but not always code."""
    examples = tuple(_example(row, f"{source}, line {number}", number) for number, row in enumerate(rows, start=1))
    if not examples:
        raise ValueError(f"{source} has no rows")
    return examples


def _example(row: dict, where: str, number: int) -> Example:
    if not isinstance(row, dict) or not str(row.get("nl") or "").strip():
        raise ValueError(f"{where}: no intent; the field 'nl' must hold text")
    return Example(
        id=f"{number}:{row.get('question_id', '')}".rstrip(":"),
        intent=row["nl"].strip(),
        code=(row.get("cmd") or "").strip(),
        tests=tuple(row.get("test_list") or ()),
        test_setup=row.get("test_setup_code") or "",
    )


def _content(splits: list[tuple[Example, ...]]) -> str:
    text = json.dumps([[astuple(example) for example in split] for split in splits])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

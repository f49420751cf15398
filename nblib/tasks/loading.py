"""The way of a task's rows: find the files, read them, choose rows, make examples."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from nblib import provenance
from nblib.tasks import columns, files, hub
from nblib.tasks.examples import SPLITS, Data, Example, content
from nblib.tasks.known import Task, get

EMBEDDED = provenance.ROOT / "data" / "tasks"  # tasks that the repository ships
DIFFICULTIES = ("introductory", "interview", "competition")  # of APPS
SHUFFLE_SEED = 42  # of the study's validation split

Row = tuple[str, int, Any]  # place in words, number in the split, content


@dataclass(frozen=True)
class Files:
    """Where a task's splits are."""

    by_split: dict[str, tuple[tuple[Path, str], ...]]  # files in their order, each with its name in errors
    revision: str | None = None  # commit; None: local


def load(name: str, data_dir: str | Path | None = None, *, revision: str | None = None) -> Data:
    """The task's examples: from `data_dir` if given, else from the repository or the Hub.

    `data_dir` is a folder with train.jsonl, validation.jsonl and test.jsonl in the Hub's field names, or with the one
    file that the authors publish (HumanEval.jsonl.gz, mbpp.jsonl, sanitized-mbpp.json), or that file; for tasks joined
    by + a folder with a folder for each. For a task with tests test.jsonl alone is enough for zero-shot. `revision` is
    a commit, tag or branch of the Hub's repository in place of the task's own.
    Training and validation rows without code are left out and counted; a real corpus has one.
    Raises ValueError for an unknown task or bad rows, FileNotFoundError for missing files, ConnectionError where the
    Hub is out of reach; each names the file and the line.
    """
    task = get(name)
    if revision and (data_dir or task.parts or not task.hub):
        raise ValueError(f"revision is for one repository of the Hub; got {revision!r} for {data_dir or name}")
    if task.parts:
        return _joined(name, [load(part, Path(data_dir) / part if data_dir else None) for part in task.parts])
    found = _find(name, task, data_dir, revision)
    made = [list(_examples(task, rows)) for rows in _training_rows(task, found)]
    train, validation = (tuple(each for each in split if each.code) for split in made)
    test, known = _unseen(name, task, _test(task, found), data_dir)
    return Data(
        train,
        validation,
        test,
        content=content([train, validation, test]),
        without_code=sum(map(len, made)) - len(train) - len(validation),
        known_intents=known,
        name=name,
        revision=found.revision,
    )


def read(
    name: str, split: str, data_dir: str | Path | None = None, *, revision: str | None = None
) -> Iterator[Example]:
    """The examples of one file of a task, all of them in its order, one at a time; no other split is looked at."""
    task = get(name)
    if task.parts or split not in SPLITS:
        raise ValueError(f"a split is one of {', '.join(SPLITS)} of one task; got {split!r} of {name!r}")
    found = _find(name, task, data_dir, revision, (split,))
    return _examples(task, _of_split(task, _rows(found, split), split))


# --- files ----------------------------------------------------------------------------------------------------------


def _find(
    name: str, task: Task, data_dir: str | Path | None, revision: str | None, wanted: tuple[str, ...] = SPLITS
) -> Files:
    wanted = tuple(split for split, file in zip(SPLITS, task.files, strict=True) if file and split in wanted)
    if data_dir is None and task.hub is not None:
        return _on_hub(name, task, revision or task.revision, wanted)
    place = Path(data_dir).expanduser() if data_dir else EMBEDDED / name
    paths = {split: place / f"{split}.jsonl" for split in wanted}
    there = [split for split, path in paths.items() if path.is_file()]
    whole = next((place / each for each in task.published if (place / each).is_file()), place)
    if whole.is_file() and not there:
        if wanted != ("test",) and not (task.ids or task.executed):
            raise ValueError(f"{place} is a file; {name} needs a folder with {_named(task)}")
        paths = dict.fromkeys(wanted if task.ids else ("test",), whole)
    elif task.executed and there == ["test"]:  # enough to score a model as it is
        paths = {"test": paths["test"]}
    elif task.held_out and (place / "validation.jsonl").is_file():
        paths["validation"] = place / "validation.jsonl"
    for path in paths.values():
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; a data folder holds {_named(task)}")
    return Files({split: ((path, str(path)),) for split, path in paths.items()})


def _on_hub(name: str, task: Task, revision: str, wanted: tuple[str, ...]) -> Files:
    patterns = {split: task.files[SPLITS.index(split)] for split in wanted}
    folder = hub.fetch(
        str(task.hub),
        list(patterns.values()),
        revision,
        download_bytes=task.download_bytes,
        instead=f"give data_dir, a folder with {_named(task)} for {name}",
    )
    by_split = {
        split: tuple(
            (path, f"{task.hub}/{path.relative_to(folder).as_posix()}") for path in sorted(folder.glob(pattern))
        )
        for split, pattern in patterns.items()
    }
    return Files(by_split, folder.name)


def _named(task: Task) -> str:
    names = [f"{split}.jsonl" for split, file in zip(SPLITS, task.files, strict=True) if file]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


# --- rows -----------------------------------------------------------------------------------------------------------


def _rows(found: Files, split: str) -> Iterator[Row]:
    """All rows of a split, over its files; none where the task has no such split."""
    number = 0
    for path, shown in found.by_split.get(split, ()):
        for where, row in files.rows(path, shown):
            number += 1
            yield where, number, row
    if split in found.by_split and not number:
        raise ValueError(f"{found.by_split[split][0][1]} has no rows")


def _training_rows(task: Task, found: Files) -> tuple[list[Row], list[Row]]:
    """Rows of training and validation."""
    train = _of_split(task, _rows(found, "train"), "train")
    if task.held_out and "validation" not in found.by_split:
        return _held_out(list(train), task.held_out)
    return list(train), list(_of_split(task, _rows(found, "validation"), "validation"))


def _held_out(rows: list[Row], most: int) -> tuple[list[Row], list[Row]]:
    """Training and validation as the study splits APPS: shuffled as `datasets` does, the first 500 for validation.

    Of a smaller folder only a tenth is held out, as of the whole.
    """
    import numpy  # not needed for the other tasks

    shuffled = [rows[place] for place in numpy.random.default_rng(SHUFFLE_SEED).permutation(len(rows))]
    count = min(most, len(rows) // 10)
    return shuffled[count:], shuffled[:count]


def _test(task: Task, found: Files) -> tuple[Example, ...]:
    rows = _of_split(task, _rows(found, "test"), "test")
    if task.problems_a_difficulty is not None:
        rows = _first_of_each(rows, task.problems_a_difficulty)
    examples = tuple(_examples(task, rows))
    if task.checks != "input-output":
        for example in examples:
            if not example.code:
                raise ValueError(f"test row {example.id!r} has no code to compare with; the field 'cmd' must hold text")
    return examples


def _examples(task: Task, rows: Iterable[Row]) -> Iterator[Example]:
    return (columns.example(task.columns, row, where, number) for where, number, row in rows)


def _of_split(task: Task, rows: Iterable[Row], split: str) -> Iterator[Row]:
    """The split's own rows, where one file holds all splits."""
    if not task.ids:
        return iter(rows)
    first, last = task.ids[SPLITS.index(split)]
    return (row for row in rows if _between(first, row[2], last))


def _between(first: int, row: Any, last: int) -> bool:
    number = row.get("task_id") if isinstance(row, dict) else None
    return not isinstance(number, int) or first <= number <= last


def _first_of_each(rows: Iterable[Row], count: int) -> Iterator[Row]:
    """The first rows of each difficulty; stops reading when it has them all."""
    seen: Counter[str | None] = Counter()
    for row in rows:
        difficulty = row[2].get("difficulty") if isinstance(row[2], dict) else None
        seen[difficulty] += 1
        if seen[difficulty] <= count:
            yield row
        if all(seen[each] >= count for each in DIFFICULTIES):
            return


def _unseen(
    name: str, task: Task, test: tuple[Example, ...], data_dir: str | Path | None
) -> tuple[tuple[Example, ...], int]:
    """The test examples whose intent another task does not train on, and how many are left out."""
    if not task.unseen_by:
        return test, 0
    folder = _sibling(task.unseen_by, data_dir)
    try:
        known = {example.intent for example in read(task.unseen_by, "train", folder)}
    except ConnectionError as error:
        raise ConnectionError(
            f"{name} leaves out what {task.unseen_by} trains on, and its rows are not there ({error}): "
            f"put a folder {task.unseen_by} with its train.jsonl beside the data_dir, or take the task {name}-all"
        ) from None
    kept = tuple(example for example in test if example.intent not in known)
    return kept, len(test) - len(kept)


def _sibling(name: str, data_dir: str | Path | None) -> Path | None:
    """The folder of another task beside a user's own; None: the Hub's."""
    if data_dir is None:
        return None
    place = Path(data_dir).expanduser().absolute()
    beside = [parent / name for parent in islice(place.parents, 2)]
    return next((folder for folder in beside if (folder / "train.jsonl").is_file()), None)


# --- joint tasks ----------------------------------------------------------------------------------------------------


def _joined(name: str, parts: list[Data]) -> Data:
    """The splits one after the other, each example with the name of its task."""

    def together(split: str) -> tuple[Example, ...]:
        return tuple(
            replace(each, id=f"{part.name}/{each.id}", source=part.name)
            for part in parts
            for each in getattr(part, split)
        )

    train, validation, test = (together(split) for split in SPLITS)
    revisions = [f"{part.name} {part.revision}" for part in parts if part.revision]
    return Data(
        train,
        validation,
        test,
        content=content([train, validation, test]),
        without_code=sum(part.without_code for part in parts),
        known_intents=sum(part.known_intents for part in parts),
        name=name,
        revision=", ".join(revisions) or None,
    )

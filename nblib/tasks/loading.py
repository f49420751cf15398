"""The way of a known task's rows: find the files, read them, choose rows, make examples."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from nblib import hub, provenance
from nblib.spec import UserData
from nblib.tasks import formats, own
from nblib.tasks.schema import DIFFICULTIES, SPLITS, TASKS, Data, Example, Task, content, get

EMBEDDED = provenance.ROOT / "data" / "tasks"  # tasks that the repository ships
SHUFFLE_SEED = 42  # of the study's validation split
FIXED = {  # sets that no task trains on, in `elsewhere` of the folder: limits, and what is asked
    "code": Task(128, 128, ()),
    "english": Task(256, 128, (), instruction="Say in English what this Python code does.", language="text"),
}
SAMPLES, BENCHMARKS = ("conala-mini", "codealpaca-mini", "apps-mini"), ("conala", "codealpacapy", "mbpp")
TEXTS = 32  # of each kind

Row = tuple[str, int, Any]  # place in words, number in the split, content


def load(name: Any, data_dir: str | Path | None = None, *, revision: str | None = None) -> Data:
    """The task's examples: from `data_dir` if given, else from the repository or the Hub.

    `data_dir` is a folder with train.jsonl, validation.jsonl and test.jsonl in the Hub's field names, or with the one
    file that the authors publish (HumanEval.jsonl.gz, mbpp.jsonl, sanitized-mbpp.json), or that file; for tasks joined
    by + a folder with a folder for each. For a task with tests test.jsonl alone is enough for zero-shot. `revision` is
    a commit, tag or branch of the Hub's repository in place of the task's own.
    In the place of a name also a user's own data, as `resolve` takes and gives them.
    Training and validation rows without code are left out and counted; a real corpus has one.
    Raises ValueError for an unknown task or bad rows, FileNotFoundError for missing files, ConnectionError where the
    Hub is out of reach; each names the file and the line.
    """
    if isinstance(described := own.resolve(name), UserData):
        if data_dir or revision:
            raise ValueError(f"data_dir and revision are for a known task; your own data are the task, {described}")
        return own.load(described)
    name, task = described, get(described)
    if revision and (data_dir or task.parts or not task.hub):
        raise ValueError(f"revision is for one repository of the Hub; got {revision!r} for {data_dir or name}")
    if task.parts:
        return _joined(name, [load(part, Path(data_dir) / part if data_dir else None) for part in task.parts])
    found, commit = _find(name, task, data_dir, revision)
    rows = [list(_examples(task, split)) for split in _training_rows(task, found)]
    train, validation = (tuple(row for row in split if row.code) for split in rows)
    test, known = _unseen(name, task, _test(task, found), data_dir)
    left_out = sum(map(len, rows)) - len(train) - len(validation)
    hashed = content([train, validation, test])
    return Data(train, validation, test, hashed, left_out, known, name, commit)


def read(name: str, split: str, data_dir: str | Path | None = None) -> Iterator[Example]:
    """The examples of one file of a task, all of them in its order, one at a time; no other split is looked at."""
    task = get(name)
    if task.parts or split not in SPLITS:
        raise ValueError(f"a split is one of {', '.join(SPLITS)} of one task; got {split!r} of {name!r}")
    found, _ = _find(name, task, data_dir, None, (split,))
    return _examples(task, _rows(task, found, split))


def elsewhere(trained: str, data_dir: str | Path | None = None) -> dict[str, tuple[Task, tuple[Example, ...]]]:
    """Held-out texts of other kinds than a training's, by kind, 32 of each: they show what it costs elsewhere.

    Two fixed sets, code and English about code, and validation rows of the sample tasks. Where they are on this
    machine, next to `data_dir` or in the Hub's cache, also those of other benchmarks: nothing is fetched. `trained`
    names the task that is trained on, several joined by +, or a user's own: it is not among them.
    """
    own = {get(name).hub or name for name in trained.split("+") if name in TASKS}
    found = {}
    for name in (*FIXED, *SAMPLES, *BENCHMARKS):
        task = FIXED.get(name) or get(name)
        if (task.hub or name) not in own:
            with suppress(ValueError, OSError):  # what cannot be read measures nothing, and stops nothing
                if rows := tuple(islice(filter(lambda row: row.code, _held_out(name, task, data_dir)), TEXTS)):
                    found[name] = (task, rows)
    return found


def _held_out(name: str, task: Task, data_dir: str | Path | None) -> Iterator[Example]:
    if name in FIXED:
        path = EMBEDDED / "elsewhere" / f"{name}.jsonl"
        return _examples(task, ((where, number, row) for number, (where, row) in enumerate(formats.rows(path, name))))
    folder = _sibling(name, data_dir) if task.hub else None
    is_here = folder or not task.hub or hub.cached(task.hub, task.files[1], task.revision)
    return read(name, "validation", folder) if is_here else iter(())


# --- files ----------------------------------------------------------------------------------------------------------


def _find(
    name: str, task: Task, data_dir: str | Path | None, revision: str | None, wanted: tuple[str, ...] = SPLITS
) -> tuple[formats.BySplit, str | None]:
    """The files of the wanted splits, and the commit that they are of; None: local ones."""
    patterns = {split: file for split, file in zip(SPLITS, task.files, strict=True) if file and split in wanted}
    if data_dir is None and task.hub is not None:
        return _on_hub(name, task, revision or task.revision, patterns)
    place = Path(data_dir).expanduser() if data_dir else EMBEDDED / name
    paths = {split: place / f"{split}.jsonl" for split in patterns}
    present = [split for split, path in paths.items() if path.is_file()]
    whole = next((place / file for file in task.published if (place / file).is_file()), place)
    if whole.is_file() and not present:
        if list(paths) != ["test"] and not (task.ids or task.executed):
            raise ValueError(f"{place} is a file; {name} needs a folder with {_file_names(task)}")
        paths = dict.fromkeys(paths if task.ids else ["test"], whole)
    elif task.executed and present == ["test"]:  # enough to score a model as it is
        paths = {"test": paths["test"]}
    elif task.held_out and (place / "validation.jsonl").is_file():
        paths["validation"] = place / "validation.jsonl"
    for path in paths.values():
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; a data folder holds {_file_names(task)}")
    return {split: [(path, str(path))] for split, path in paths.items()}, None


def _on_hub(name: str, task: Task, revision: str, patterns: dict[str, str]) -> tuple[formats.BySplit, str]:
    folder = hub.fetch(
        str(task.hub),
        list(patterns.values()),
        revision,
        download_bytes=task.download_bytes,
        instead=f"give data_dir, a folder with {_file_names(task)} for {name}",
    )

    def named(pattern: str) -> list[tuple[Path, str]]:
        return [(path, f"{task.hub}/{path.relative_to(folder).as_posix()}") for path in sorted(folder.glob(pattern))]

    return {split: named(pattern) for split, pattern in patterns.items()}, folder.name


def _file_names(task: Task) -> str:
    *others, last = [f"{split}.jsonl" for split, file in zip(SPLITS, task.files, strict=True) if file]
    return f"{', '.join(others)} and {last}" if others else last


# --- rows -----------------------------------------------------------------------------------------------------------


def _rows(task: Task, found: formats.BySplit, split: str) -> Iterator[Row]:
    """The split's rows, over its files; its own by their ids, where one file holds all splits."""
    first, last = task.ids[SPLITS.index(split)] if task.ids else (0, 0)
    number = 0
    for path, shown in found.get(split, ()):
        for where, row in formats.rows(path, shown):
            number += 1
            id = row.get("task_id") if task.ids and isinstance(row, dict) else None
            if not isinstance(id, int) or first <= id <= last:
                yield where, number, row
    if split in found and not number:
        raise ValueError(f"{found[split][0][1]} has no rows")


def _training_rows(task: Task, found: formats.BySplit) -> tuple[list[Row], list[Row]]:
    """Rows of training and validation.

    The study splits APPS as `datasets` does: shuffled, the first 500 for validation. Of a smaller folder only a tenth
    is held out, as of the whole.
    """
    train = list(_rows(task, found, "train"))
    if not task.held_out or "validation" in found:
        return train, list(_rows(task, found, "validation"))
    import numpy  # not needed for the other tasks

    shuffled = [train[place] for place in numpy.random.default_rng(SHUFFLE_SEED).permutation(len(train))]
    count = min(task.held_out, len(train) // 10)
    return shuffled[count:], shuffled[:count]


def _test(task: Task, found: formats.BySplit) -> tuple[Example, ...]:
    rows = _rows(task, found, "test")
    if task.problems_a_difficulty is not None:
        rows = _first_of_each(rows, task.problems_a_difficulty)
    examples = tuple(_examples(task, rows))
    for example in examples if task.columns != "apps" else ():
        if not example.code:
            raise ValueError(f"test row {example.id!r} has no code to compare with; the field 'cmd' must hold text")
    return examples


def _examples(task: Task, rows: Iterable[Row]) -> Iterator[Example]:
    return (formats.example(task.columns, row, where, number) for where, number, row in rows)


def _first_of_each(rows: Iterable[Row], count: int) -> Iterator[Row]:
    """The first rows of each difficulty; stops reading when it has them all."""
    seen: Counter[str | None] = Counter()
    for row in rows:
        difficulty = row[2].get("difficulty") if isinstance(row[2], dict) else None
        seen[difficulty] += 1
        if seen[difficulty] <= count:
            yield row
        if all(seen[level] >= count for level in DIFFICULTIES):
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
            f"put a folder {task.unseen_by} with its train.jsonl next to the data_dir, or take the task {name}-all"
        ) from None
    kept = tuple(example for example in test if example.intent not in known)
    return kept, len(test) - len(kept)


def _sibling(name: str, data_dir: str | Path | None) -> Path | None:
    """The folder of another task next to a user's own; None: from the Hub."""
    parents = islice(Path(data_dir).expanduser().absolute().parents, 2) if data_dir else ()
    return next((parent / name for parent in parents if (parent / name / "train.jsonl").is_file()), None)


# --- joint tasks ----------------------------------------------------------------------------------------------------


def _joined(name: str, parts: list[Data]) -> Data:
    """The splits one after the other, each example with the name of its task."""
    train, validation, test = (
        tuple(
            replace(row, id=f"{part.name}/{row.id}", source=part.name) for part in parts for row in getattr(part, split)
        )
        for split in SPLITS
    )
    left_out, known = sum(part.without_code for part in parts), sum(part.known_intents for part in parts)
    revision = ", ".join(f"{part.name} {part.revision}" for part in parts if part.revision)
    hashed = content([train, validation, test])
    return Data(train, validation, test, hashed, left_out, known, name, revision or None)

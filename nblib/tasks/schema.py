"""The schema that every dataset is brought to: an example, a task's settings, its splits with a hash of them."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

SPLITS = ("train", "validation", "test")
DIFFICULTIES = ("introductory", "interview", "competition")  # of APPS, from easy to hard
UNHASHED = ("operation", "known")  # labels for the reader of results: no model sees them, so no result hangs on them


@dataclass(frozen=True)
class Example:
    """One instruction with its reference."""

    id: str  # unique inside a split
    intent: str
    code: str  # the reference
    tests: tuple[str, ...] = ()  # assertions that hold after the code ran; empty: none are known
    test_setup: str = ""  # what has to run before the code
    difficulty: str = ""  # as the dataset calls it
    starter_code: str = ""  # what the answer has to go on from, or to begin with
    ending: str = ""  # what follows an answer that goes on from the starter code
    entry_point: str = ""  # the function that tests call
    inputs: tuple[str, ...] = ()  # standard input; with an entry point, JSON of the list of its arguments
    outputs: tuple[str, ...] = ()  # what each input should give; with an entry point, JSON of the expected value
    solutions: tuple[str, ...] = ()  # all listed references where there may be several; `code` is the first
    libraries: tuple[str, ...] = ()  # that the reference needs
    source: str = ""  # the task it comes from, where several are joined
    operation: str = ""  # what the row is an instance of, where the dataset says it
    language: str = "python"  # of the code
    known: bool | None = None  # whether the embedded model's pre-training text has the operation; None: not said


@dataclass(frozen=True)
class Task:
    """What is particular to a dataset."""

    input_tokens: int  # longest intent that is trained on
    output_tokens: int  # longest answer, in training and generation
    stops: tuple[str, ...]  # an answer ends before the first of these strings
    hub: str | None = None  # dataset repository; None: shipped with nblib
    files: tuple[str, str, str] = ("train.jsonl", "validation.jsonl", "test.jsonl")  # there, by split; "": none
    published: tuple[str, ...] = ()  # names of the one file with all rows, as its authors publish it; found in a folder
    revision: str = "main"  # commit, tag or branch of that repository
    columns: str = "pairs"  # layout of its rows, a name in nblib.tasks.layouts
    prompt: str = "instruction"  # or apps
    language: str = "python"  # that answers are asked for in
    instruction: str = ""  # words before each intent
    executed: bool = False  # every run tests its answers; where it is False, exact match is the task's score
    house_style: bool = (
        False  # references do one thing or another with an expression's value, which is scored by itself
    )
    sampled: bool = False  # answers are independent samples, as pass@k needs them, not beams
    training_tokens: int | None = None  # longest row that is trained on, prompt and answer; None: the limits above do
    held_out: int = 0  # validation rows that are taken from the shuffled training rows where there is no such file
    problems_a_difficulty: int | None = None  # the first test problems of each; None: all
    unseen_by: str = ""  # test intents that this task trains on are left out
    ids: tuple[tuple[int, int], ...] = ()  # first and last by split, where one file holds all splits
    download_bytes: int = 0  # about; a long download shows a bar
    parts: tuple[str, ...] = ()  # names of the tasks that are joined


@dataclass(frozen=True)
class Data:
    """The splits of a task; empty where it has none."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    content: str  # hash of all examples
    without_code: int = 0  # training and validation rows left out because their code is empty
    known_intents: int = 0  # test rows left out because another task trains on their intent
    name: str = ""  # of the task
    revision: str | None = None  # commit of the Hub's repository; None: local files
    remarks: tuple[str, ...] = ()  # what a reader should know of how a user's own data were read


def first(data: Data, limit: int | None) -> Data:
    """The data with only the first `limit` test examples."""
    return data if limit is None else replace(data, test=data.test[:limit])


def first_trained(data: Data, count: int | None) -> Data:
    """The data with only the first `count` training examples, of each task where several are joined."""
    if count is None:
        return data
    seen: Counter[str] = Counter()
    kept = []
    for example in data.train:
        seen[example.source] += 1
        if seen[example.source] <= count:
            kept.append(example)
    return replace(data, train=tuple(kept))


def require_training(data: Data, name: str) -> None:
    """Raises ValueError where the task of that name has nothing to train on or to take shots from."""
    missing = [split for split in ("train", "validation") if not getattr(data, split)]
    if missing:
        raise ValueError(
            f"task {name!r} has no {' and no '.join(missing)} rows, so nothing can be trained and no shot drawn: "
            "take a zero-shot method, or a task that has them"
        )


def unix_lines(text: str) -> str:
    """The text with line ends as Python reads them: one from Windows or an old Mac is a plain one."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def program(example: Example, answer: str) -> str:
    """The code that the example's tests are about: the answer, in its frame where it goes on from the starter code.

    An answer that defines the entry point itself is a program already, and so is one that nothing calls. A single line
    after starter code of whole lines gets back the indentation that `prompts.extract` takes away.
    """
    name = re.escape(example.entry_point)
    if not example.starter_code or not name or re.search(rf"\bdef\s+{name}\b|^{name}\s*=", answer, re.MULTILINE):
        return answer
    if example.starter_code.endswith("\n") and answer.strip() and "\n" not in answer.strip():
        answer = f"    {answer.strip()}"
    return f"{example.starter_code}{answer}{example.ending}"


def content(splits: Sequence[Sequence[Example]]) -> str:
    """A hash of all examples."""
    digest = hashlib.sha256()
    for piece in _pieces(splits):
        digest.update(piece.encode())
    return digest.hexdigest()[:16]


def _pieces(splits: Sequence[Sequence[Example]]) -> Iterator[str]:
    """JSON of the splits, one example at a time: tests may take hundreds of megabytes."""
    for number, split in enumerate(splits):
        yield ", [" if number else "[["
        for position, example in enumerate(split):
            yield (", " if position else "") + json.dumps(_hashed(example))
        yield "]"
    yield "]"


def _hashed(example: Example) -> list:
    """The first five fields, then the others that differ from their defaults: a new field keeps the old hashes."""
    always, later = fields(example)[:5], [field for field in fields(example)[5:] if field.name not in UNHASHED]
    values = {field.name: getattr(example, field.name) for field in later}
    changed = {field.name: values[field.name] for field in later if values[field.name] != field.default}
    return [getattr(example, field.name) for field in always] + ([changed] if changed else [])

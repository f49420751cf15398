"""The schema that every dataset is brought to, and the known tasks: where each is found, its limits, its prompt."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from nblib.spec import Run

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
    columns: str = "pairs"  # layout of its rows, a name in LAYOUTS of nblib.tasks.formats
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
    """A hash of all examples, as JSON that comes in pieces: tests may take hundreds of megabytes."""
    digest = hashlib.sha256()
    for piece in json.JSONEncoder().iterencode([list(map(_hashed, split)) for split in splits]):
        digest.update(piece.encode())
    return digest.hexdigest()[:16]


def _hashed(example: Example) -> list:
    """The first five fields, then the others that differ from their defaults: a new field keeps the old hashes."""
    always, later = fields(example)[:5], [field for field in fields(example)[5:] if field.name not in UNHASHED]
    values = {field.name: getattr(example, field.name) for field in later}
    changed = {field.name: values[field.name] for field in later if values[field.name] != field.default}
    return [getattr(example, field.name) for field in always] + ([changed] if changed else [])


# --- the known tasks ------------------------------------------------------------------------------------------------

# Longest intent and longest answer in tokens, where an answer ends, then what is particular. The commits are those that
# the repositories' pages showed; codealpaca-filtered's was not to be seen in full.
_ONE_LINE, _PROGRAM = Task(64, 64, ("\n",)), Task(512, 512, ("\n###",), executed=True, sampled=True)
_APPS = Task(
    1024,
    1024,
    ("\n### Instruction",),
    hub="codeparrot/apps",
    files=("train.jsonl", "", "test.jsonl"),
    revision="21e74ddf8de1a21436da12e3e653065c5213e9d1",
    columns="apps",
    prompt="apps",
    executed=True,
    sampled=True,
    training_tokens=1024,
    held_out=500,
    problems_a_difficulty=250,
    download_bytes=1_400_000_000,
)
_ODEX = replace(
    _ONE_LINE,
    hub="neulab/odex",
    files=("", "", "en_test.jsonl"),
    published=("en_test.jsonl",),
    revision="c3741a66c486b1a23beefdf6c75b06dba288d4f9",
    columns="odex",
    executed=True,
    unseen_by="conala",
)
_MBPP = replace(
    _PROGRAM,
    hub="google-research-datasets/mbpp",
    files=("sanitized/train-*.parquet", "sanitized/validation-*.parquet", "sanitized/test-*.parquet"),
    published=("sanitized-mbpp.json",),
    revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    columns="mbpp",
    ids=((601, 974), (511, 600), (11, 510)),  # 1 to 10 are for prompts
)
_HUMANEVAL = replace(
    _PROGRAM,
    hub="openai/openai_humaneval",
    files=("", "", "openai_humaneval/test-*.parquet"),
    published=("HumanEval.jsonl.gz", "HumanEval.jsonl"),
    revision="7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
    columns="humaneval",
)
TASKS = {
    "conala-mini": replace(_ONE_LINE, house_style=True),  # generated, as the next two
    "codealpaca-mini": Task(128, 128, ("\n\n", "\n###"), house_style=True),  # short Python functions
    "apps-mini": Task(
        256, 128, ("\n\n", "\n###"), columns="apps", executed=True, sampled=True
    ),  # over lists of integers
    "conala": replace(  # Stack Overflow's titles, DocPrompting's split
        _ONE_LINE,
        hub="neulab/docprompting-conala",
        files=("conala-train.jsonl", "conala-dev.jsonl", "conala-test.jsonl"),
        revision="48df7abf0f64f9279b4ee04386272eb9dc89ef89",
    ),
    "codealpacapy": Task(
        64,
        128,
        ("\n###",),
        hub="antolin/codealpaca-filtered",
        files=("data/train-*.parquet", "data/valid-*.parquet", "data/test-*.parquet"),
    ),
    "apps": _APPS,  # the study's test subset
    "apps-all": replace(_APPS, problems_a_difficulty=None),
    "odex": _ODEX,  # without the intents that CoNaLa trains on
    "odex-all": replace(_ODEX, unseen_by=""),
    "mbpp": _MBPP,  # the sanitized form
    "mbpp-full": replace(
        _MBPP,
        files=("full/train-*.parquet", "full/validation-*.parquet", "full/test-*.parquet"),
        published=("mbpp.jsonl",),
    ),
    "humaneval": _HUMANEVAL,
    "humaneval-body": replace(  # answers go on from the prompt, as published
        _HUMANEVAL, stops=("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint("), columns="humaneval-body"
    ),
}


def get(name: str) -> Task:
    """The task of that name, or `a+b` for known tasks joined. Raises ValueError for an unknown one."""
    if "+" in name:
        return _joint(name.split("+"))
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, or some of them joined by +; got {name!r}")
    return TASKS[name]


def of(run: Run) -> Task:
    """The task whose queries a run answers: a known one, or that of a user's own data."""
    if (own := run.user_data) is None:
        return get(run.task)
    limits = own.input_tokens, own.output_tokens, own.stops
    return Task(*limits, language=own.language, instruction=own.instruction, executed=own.executed)


def trained(run: Run) -> Task:
    """The task that a run trains on or takes its shots from."""
    return get(run.train_task) if run.train_task else of(run)


def settings(task: Task) -> str:
    """What of a task's definition determines a result besides its rows: lengths, stops, prompt. As text, for a hash."""
    names = ("input_tokens", "output_tokens", "training_tokens", "stops", "prompt")
    parts = [get(part) for part in task.parts] or [task]
    values = [[getattr(part, setting) for setting in names] for part in parts]
    return json.dumps([*values, task.instruction] if task.instruction else values)


def source(task: Task, example: Example) -> Task:
    """The task whose limits and stops hold for an example: the part that it comes from, where tasks are joined."""
    return TASKS[example.source] if example.source else task


def _joint(names: list[str]) -> Task:
    """What holds for every part; the lengths are the largest, so ask `source` for an example's own."""
    parts = [get(name) for name in names]
    if len(set(names)) < len(names):
        raise ValueError(f"a joint task must name each task once; got {'+'.join(names)!r}")
    if len({part.prompt for part in parts}) > 1:
        styles = ", ".join(f"{name} with {part.prompt}" for name, part in zip(names, parts, strict=True))
        raise ValueError(f"tasks of one prompt style can be joined; got {styles}")
    return Task(
        input_tokens=max(part.input_tokens for part in parts),
        output_tokens=max(part.output_tokens for part in parts),
        stops=tuple(stop for stop in parts[0].stops if all(stop in part.stops for part in parts)),
        prompt=parts[0].prompt,
        executed=any(part.executed for part in parts),
        house_style=all(part.house_style for part in parts),
        sampled=all(part.sampled for part in parts),
        parts=tuple(names),
    )

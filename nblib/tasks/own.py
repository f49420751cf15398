"""A user's own data as a task: a file, a folder, a Hub dataset or a table in memory to examples by split."""

import hashlib
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nblib import hub
from nblib.files import write
from nblib.spec import UserData
from nblib.tasks import formats
from nblib.tasks.checks import near_pairs, word_set
from nblib.tasks.schema import SPLITS, TASKS, Data, Example, content, unix_lines

CUSTOMARY = {  # what an example has -> names that its column usually has, in the order in which they are looked for
    "messages": ("messages", "conversations"),
    "intent": ("instruction", "prompt", "nl", "question", "text", "docstring", "intent", "description", "query"),
    "code": ("output", "response", "completion", "code", "cmd", "answer", "canonical_solution", "solution", "snippet"),
    "input": ("input",),
    "tests": ("test_list", "tests", "test"),
    "id": ("id", "task_id", "question_id", "problem_id"),
    "group": (),  # rows that a split keeps together; only where it is named
}
DATASET = re.compile(r"(?P<id>[\w-][\w.-]*/[\w-][\w.-]*)(?::(?P<config>[^@]+))?(?:@(?P<revision>.+))?")
SPLIT_WORDS = {"train": "train", "val": "validation", "dev": "validation", "test": "test", "eval": "test"}
SHARES = (0.8, 0.1, 0.1)  # of training, validation and test rows
SEED = 42  # of the split
SPEAKERS = {"human": "user", "gpt": "assistant"}  # as ShareGPT's rows call them

Named = Mapping[str, str]  # what an example has -> its column
Rows = dict[str, list[tuple[str, dict]]]  # by split, each with the words for its place
Read = list[tuple[Example, str]]  # with the group that a split keeps together; empty: none


def resolve(
    task: Any,
    *,
    columns: str | Named = "",
    split: str | Sequence[float] = SHARES,
    language: str = "python",
    instruction: str = "",
    name: str = "",
) -> str | UserData:
    """Returns a known task's name as it is; reads your own data and returns what a run needs to know about them.

    `task` is a name, or a JSONL, JSON, CSV, TSV or Parquet file, a folder with such files by split, a Hub dataset
    (`owner/name:config@revision`), or from Python a DataFrame, a list of dicts, a `datasets.Dataset` or a mapping of
    splits to any of these. `columns` maps intent, code, input, tests, id, group and messages to columns, also as JSON;
    we find what it does not name by usual names, and an empty name leaves it out. `split` are the shares of training,
    validation and test rows if the data do not have all three. `instruction` goes before each intent.
    Raises ValueError, FileNotFoundError or ConnectionError with one sentence.
    """
    if isinstance(task, UserData):
        return task
    shares, language = _shares(split), language.strip().lower() or "python"
    if isinstance(task, str) and set(task.split("+")) <= set(TASKS):
        if columns or instruction or language != "python" or shares != SHARES:
            raise ValueError(f"columns, split, language and instruction are for your own data; the task is {task!r}")
        return task
    place = str(task) if isinstance(task, str | Path) else _stored(task)
    place = str(path.absolute()) if (path := Path(place).expanduser()).exists() else place
    splits, _ = _read(place)
    named = _columns(place, [row for rows in splits.values() for _, row in rows], columns)
    examples = {part: [example for example, _ in rows] for part, rows in _examples(splits, named, language).items()}
    rows = [row for part in examples.values() for row in part]
    return UserData(
        _name(name or (place if isinstance(task, str | Path) else "data")),
        place,
        tuple(named.items()),
        # A token has a byte at least, and two or more in code.
        input_tokens=_power_of_two(max(len(row.intent.encode()) for row in rows), most=2048),
        output_tokens=_power_of_two(max(len(row.code.encode()) for row in rows) // 2, most=1024),
        stops=("\n###",) if any("\n" in row.code for row in rows) else ("\n",),
        split=shares,
        language=language,
        instruction=instruction.strip(),
        executed=language == "python" and all(row.tests for row in examples.get("test", rows)),
    )


def load(own: UserData) -> Data:
    """The examples of a user's own data; rows without intent or code are left out and counted."""
    splits, revision = _read(own.place)
    read = _examples(splits, dict(own.columns), own.language)
    whole = {split: [row for row in rows if row[0].intent and row[0].code] for split, rows in read.items()}
    left_out = sum(map(len, read.values())) - sum(map(len, whole.values()))
    complete = _with_all_splits({split: rows for split, rows in whole.items() if rows}, own)
    train, validation, test = (tuple(example for example, _ in complete.get(split, ())) for split in SPLITS)
    remarks = [f"Columns: {', '.join(f'{part} is {column!r}' for part, column in own.columns)}."]
    if made := [split for split in complete if not whole.get(split)]:
        remarks.append(f"Taken from the other rows, with similar intents in one split: {' and '.join(made)}.")
    if any(row.tests for row in test) and not own.executed:
        reason = "some test rows have none" if own.language == "python" else "only Python is run"
        remarks.append(f"Tests are not run: {reason}.")
    hashed = content([train, validation, test])
    return Data(train, validation, test, hashed, left_out, 0, own.name, revision, tuple(remarks))


# --- reading --------------------------------------------------------------------------------------------------------


def _read(place: str) -> tuple[Rows, str | None]:
    """Rows by split, and the commit of a Hub dataset."""
    found, revision = _files(place)
    splits = {split: [row for file in paths for row in formats.rows(*file)] for split, paths in found.items()}
    for split, rows in splits.items():
        if not rows:
            raise ValueError(f"{found[split][0][1]} has no rows")
        for where, row in rows:
            if not isinstance(row, dict):
                raise ValueError(f"{where}: a row must have named columns; got {type(row).__name__}")
    return splits, revision


def _files(place: str) -> tuple[formats.BySplit, str | None]:
    path, known = Path(place).expanduser(), DATASET.fullmatch(place)
    if path.is_dir():
        return _by_split(path, None, place), None
    if path.is_file() and formats.kind(path) in formats.KINDS:
        return {"train": [(path, place)]}, None
    if path.is_file():
        raise ValueError(f"task {place!r} must be a file of the kind {', '.join(formats.KINDS)}")
    if formats.kind(path) in formats.KINDS or (known is None and len(path.parts) > 1):
        raise FileNotFoundError(f"task {place!r} is neither a file nor a folder")
    if known is None:
        raise ValueError(
            f"task must be one of {', '.join(TASKS)}, some of them joined by +, a file or folder of your own, or a Hub "
            f"dataset (owner/name); got {place!r}"
        )
    id, revision = known["id"], known["revision"] or "main"
    with hub.explained(f"dataset {id}", revision, "give a file or a folder of your own"):
        patterns = [f"*{kind}{end}" for kind in formats.KINDS for end in ("", ".gz")]
        folder = hub.snapshot(id, "dataset", [*patterns, "README.md"], revision)
    return _by_split(folder, known["config"], place), folder.name


def _by_split(folder: Path, config: str | None, shown: str) -> formats.BySplit:
    """A folder's data files as `datasets` finds them by their names, or by the configurations of its README."""
    import datasets  # slow to import, and only needed here

    try:
        found = datasets.load_dataset_builder(str(folder), name=config).config.data_files or {}
    except Exception as error:  # of many kinds: no file, unknown configuration, a loading script
        reason = str(error).strip().partition("\n")[0].replace(str(folder), shown)
        raise ValueError(f"task {shown!r} has no files that can be read: {reason}") from None
    splits: formats.BySplit = {}
    for name, paths in found.items():
        for split in [split for word, split in SPLIT_WORDS.items() if word in str(name)][:1]:
            splits.setdefault(split, []).extend((Path(path), f"{shown}/{Path(path).name}") for path in paths)
    if not splits:
        raise ValueError(f"task {shown!r} has no split called train, validation or test; it has {', '.join(found)}")
    return splits


def _stored(data: Any) -> str:
    """A folder of the cache with what was in memory, by its content: other processes and later days read it there."""
    texts = {}
    for split, rows in (data if isinstance(data, Mapping) else {"train": data}).items():
        if hasattr(rows, "to_dict") and hasattr(rows, "columns"):  # a DataFrame
            rows = rows.astype(object).where(rows.notna(), None).to_dict("records")
        if not all(isinstance(row, Mapping) for row in rows):
            raise ValueError(f"task must be a name, a place, or rows with named columns; got {type(data).__name__}")
        texts[split] = "".join(json.dumps(dict(row), default=str) + "\n" for row in rows)
    folder = hub.cache_folder() / "data" / hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]
    for split, text in texts.items():
        write(folder / f"{split}.jsonl", text)
    return str(folder)


# --- columns --------------------------------------------------------------------------------------------------------


def _columns(place: str, rows: list[dict], given: str | Named) -> dict[str, str]:
    """What an example has -> the column that has it. Raises ValueError with the columns that are there."""
    present = list(dict.fromkeys(str(column) for row in rows for column in row))
    try:
        named = dict(json.loads(given or "{}") if isinstance(given, str) else given)
    except (ValueError, TypeError):
        named = {"": given}
    listed = ", ".join(map(repr, present))
    for part, column in named.items():
        if part not in CUSTOMARY:
            example = '\'{"intent": "frage", "code": "loesung"}\''
            raise ValueError(f"columns must map some of {', '.join(CUSTOMARY)}, as in {example}; got {given!r}")
        if column and column not in present:
            raise ValueError(f"{place} has no column {column!r}; it has {listed}")
    folded = {column.casefold(): column for column in reversed(present)}
    found = {part: next((folded[name] for name in names if name in folded), "") for part, names in CUSTOMARY.items()}
    if named.get("intent") or named.get("code"):
        found["messages"] = ""
    found |= named
    for part in ("intent", "code"):
        if found["messages"]:
            found[part] = ""
        elif not found[part]:
            raise ValueError(
                f"{place} has no column with a usual name for the {part}; it has {listed}: name it, as in "
                f'-p columns \'{{"{part}": "{present[-1]}"}}\''
            )
    return {part: column for part, column in found.items() if column}


def _examples(splits: Rows, named: Named, language: str) -> dict[str, Read]:
    return {
        split: [_example(row, where, number, named, language) for number, (where, row) in enumerate(rows, start=1)]
        for split, rows in splits.items()
    }


def _example(row: dict, where: str, number: int, named: Named, language: str) -> tuple[Example, str]:
    cells = {part: _cell(row.get(column)) for part, column in named.items()}
    if "messages" in named:
        cells |= _turns(row.get(named["messages"]), where)
    intent = "\n".join(text for text in (cells["intent"], cells.get("input")) if text)
    tests = _listed(row.get(named.get("tests", "")))
    example = Example(
        id=f"{number}:{cells.get('id', '')}".rstrip(":"),
        intent=intent,
        code=_without_fence(cells["code"]),
        tests=tuple(filter(None, map(_cell, tests))),
        language=language,
    )
    return formats.require_characters(example, where), cells.get("group", "")


def _cell(value: Any) -> str:
    """A cell's text; nothing where it is missing."""
    return "" if value is None or value != value else unix_lines(str(value)).strip()


def _listed(value: Any) -> list:
    """A list from a list, from its JSON, or of one value."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return [value]
    return value if isinstance(value, list) else [value]


def _turns(value: Any, where: str) -> dict[str, str]:
    """Intent and code of a chat: what the user said before the assistant's last turn, and that turn."""
    turns = [turn for turn in _listed(value) if isinstance(turn, Mapping)]
    roles = [turn.get("role") or SPEAKERS.get(str(turn.get("from"))) for turn in turns]
    texts = [_cell(turn.get("content", turn.get("value"))) for turn in turns]
    if "assistant" not in roles:
        raise ValueError(f"{where}: no turn of the assistant; messages must be turns with role and content")
    last = len(roles) - 1 - roles[::-1].index("assistant")
    intent = [text for role, text in zip(roles[:last], texts, strict=False) if role == "user"]
    return {"intent": "\n\n".join(intent), "code": texts[last]}


def _without_fence(code: str) -> str:
    """The inside of a code fence, where an answer has one."""
    fenced = re.search(r"^```[^\n`]*\n(.*?)^```", code, re.DOTALL | re.MULTILINE)
    return fenced[1].strip() if fenced else code


# --- splits ---------------------------------------------------------------------------------------------------------


def _with_all_splits(splits: dict[str, Read], own: UserData) -> dict[str, Read]:
    """The splits that are there, and those that are not out of the training rows, or out of the only ones."""
    if not splits:
        raise ValueError(f"{own.place} has no row with both an intent and code")
    if len(splits) == len(SPLITS) or ("train" not in splits and len(splits) > 1):
        return splits
    source = "train" if "train" in splits else next(iter(splits))
    shares = dict(zip(SPLITS, own.split, strict=True))
    wanted = {split: shares[split] for split in SPLITS if split in ("train", source) or split not in splits}
    return splits | _seeded(splits[source], wanted, own.place)


def _seeded(rows: Read, shares: dict[str, float], place: str) -> dict[str, Read]:
    """Rows by split, in their order; what belongs together goes where most rows are missing, large families first."""
    families = _families(rows)
    random.Random(SEED).shuffle(families)
    families.sort(key=len, reverse=True)
    if len(families) < len(shares):
        raise ValueError(
            f"{place} has {len(families)} different intents, nearly equal ones taken as one, and {', '.join(shares)} "
            "need one each at least: give more rows, or a file for each split"
        )
    wanted = {split: share / sum(shares.values()) * len(rows) for split, share in shares.items()}
    places: dict[str, list[int]] = {split: [] for split in shares}
    for left, family in zip(range(len(families), 0, -1), families, strict=True):
        empty = [split for split, taken in places.items() if not taken]
        split = max(empty if len(empty) >= left else shares, key=lambda split: wanted[split] - len(places[split]))
        places[split] += family
    return {split: [rows[place] for place in sorted(taken)] for split, taken in places.items()}


def _families(rows: Read) -> list[list[int]]:
    """Places of rows that stay together: of the same or nearly the same intent, or of one group."""
    from scipy.sparse import coo_array  # slow to import, and only needed here
    from scipy.sparse.csgraph import connected_components

    first: dict[Any, int] = {}  # words or group -> place of its first row
    edges = []
    for place, (example, group) in enumerate(rows):
        keys: list = [word_set(example.intent), *filter(None, [group])]
        edges += [(place, first.setdefault(key, place)) for key in keys]
    sets = [key for key in first if isinstance(key, frozenset)]
    edges += [(first[one], first[other]) for one, other in near_pairs(sets, sets)]
    starts, ends = zip(*edges, strict=True)
    count, labels = connected_components(coo_array(([1] * len(edges), (starts, ends)), shape=(len(rows),) * 2))
    families: list[list[int]] = [[] for _ in range(count)]
    for place, label in enumerate(labels):
        families[label].append(place)
    return families


def _shares(split: str | Iterable) -> tuple[float, ...]:
    try:
        shares = tuple(float(share) for share in (json.loads(split) if isinstance(split, str) else split))
    except (TypeError, ValueError):
        shares = ()
    if len(shares) != len(SPLITS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"split must be shares of training, validation and test rows that add up to 1; got {split!r}")
    return shares


def _name(place: str) -> str:
    """A name for files and titles that is no known task's: the file's, the folder's or the dataset's own."""
    ends = "|".join(map(re.escape, formats.KINDS))
    plain = re.sub(rf"({ends})?(\.gz)?$|@.*$", "", re.split(r"[/\\]", place)[-1], flags=re.IGNORECASE)
    plain = re.sub(r"[^\w.-]+", "-", plain).strip("-._").lower() or "data"
    return f"{plain}-own" if plain in TASKS else plain


def _power_of_two(count: int, *, most: int, least: int = 64) -> int:
    """The first power of two that is no smaller than the count, within bounds."""
    return min(max(1 << max(count - 1, 0).bit_length(), least), most)

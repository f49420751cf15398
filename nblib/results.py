"""One row a run on disk: write, read, what is missing; `load` gives them as two tidy frames."""

import glob
import hashlib
import json
import math
import os
import re
import tempfile
import warnings
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nblib import files, provenance, spec, stores

SHIPPED = provenance.ROOT / "data" / "results"  # rows of the executed study, a folder for each model
OK, OUT_OF_MEMORY, FAILED = "ok", "out_of_memory", "failed"
RESCORED = {"scores", "execution"}  # revisions of what stored answers are enough for
LLAMA = re.compile("code-?llama|phi-3")  # models with such a tokenizer, by name: an older row does not say more
MIN_FREE_BYTES = 2**20  # without which no work is begun; a row and its predictions seldom need more


@dataclass(frozen=True)
class Prediction:
    """What a model answered to one example."""

    example: str  # the example's id
    completions: tuple[str, ...]  # as generated, best first
    codes: tuple[str, ...]  # the code taken out of each
    prompt_tokens: int
    new_tokens: int  # generated for this example, over all its answers
    dropped_shots: int = 0  # shots left out because the prompt would not fit the context
    scores: dict[str, float | None] = field(default_factory=dict)  # one a metric; None: not defined for it
    verdicts: tuple[tuple[str, ...], ...] = ()  # one an answer, of one a test; empty: not executed
    shots: tuple[str, ...] = ()  # ids of the training examples before the query, in their order, none dropped
    similarities: tuple[float, ...] = ()  # of each of them to the query, as the retriever measures it; empty: random


@dataclass(frozen=True)
class Row:
    """One run's result."""

    id: str  # spec.run_id
    settings: dict  # spec.settings
    status: str  # ok, out_of_memory or failed
    scores: dict[str, dict]  # metric -> {"mean", "n", "missing"}; shares run from 0 to 1
    costs: dict[str, float | None]  # train_seconds, generate_seconds, peak bytes by phase, tokens, parameters
    notes: dict  # counts that a reader should know: rows cut by the length limit, shots dropped…
    provenance: dict
    error: str | None = None


def write(folder: str | Path, row: Row, predictions: Iterable[Prediction] = ()) -> Path:
    """Puts a row and its predictions on disk, the row last, each file whole or not at all.

    The row's file also has `content`: hashes of the row and of its predictions, by which a later change is noticed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(asdict(prediction)) + "\n" for prediction in predictions)
    if lines:
        _write(folder / f"{row.id}.predictions.jsonl", lines)
    path = folder / f"{row.id}.json"
    plain = json.loads(json.dumps(asdict(row), default=str))  # as it will be read again
    content = {"row": _hash(_canonical(plain)), "predictions": _hash(lines.encode()) if lines else None}
    _write(path, json.dumps(plain | {"content": content}, indent=1) + "\n")
    return path


def read(folder: str | Path, ids: Iterable[str] | None = None, *, quiet: bool = False) -> list[Row]:
    """All rows of a folder, or those of the given ids in their order; missing ones are left out.

    We skip files that are cut off, were changed after they were written, or come from an earlier revision, with a
    warning that names them unless `quiet`; see `problems`.
    """
    rows = []
    for path in _paths(folder, ids):
        row, why = _checked(path)
        if row is not None:
            rows.append(row)
        elif not quiet:
            warnings.warn(f"{path.name} {why}: we skip it", stacklevel=2)
    return rows


def problems(folder: str | Path) -> dict[str, str]:
    """File name -> what is wrong with it, for each row that `read` skips."""
    found = {path.name: _checked(path)[1] for path in _paths(folder, None)}
    return {name: why for name, why in found.items() if why}


def predictions(folder: str | Path, id: str) -> list[Prediction]:
    """The predictions of a run; empty if it has none."""
    return [prediction(line) for line in _lines(folder, id)]


def prediction(fields: dict) -> Prediction:
    """The prediction whose fields came from JSON, where tuples are lists."""
    verdicts = tuple(tuple(tests) for tests in fields.get("verdicts", ()))
    texts = {name: tuple(fields.get(name, ())) for name in ("completions", "codes", "shots", "similarities")}
    return Prediction(**fields | texts | {"verdicts": verdicts})


def written(folder: str | Path, id: str) -> int | None:
    """When that run's row was written, in nanoseconds; None where there is none. It tells two rows apart."""
    try:
        return (Path(folder) / f"{id}.json").stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None


def require_room(folder: str | Path) -> None:
    """Raises OSError with one sentence where a folder takes no rows: a full disk, a read-only place, no folder."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(MIN_FREE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        raise type(problem)(
            f"results cannot be written to {folder}: {problem.strerror}; give a folder on a disk with room, where "
            "files may be made"
        ) from problem


def finished(folder: str | Path, id: str) -> bool:
    """Whether that run has a row that need not be made again."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", f".*{_OLDER}", UserWarning)  # it is made again, which is said by itself
        return any(row.status == OK for row in read(folder, [id]))


def to_rescore(folder: str | Path, id: str) -> Row | None:
    """The row of a run whose stored answers still hold, but whose scores are of an earlier revision; else None."""
    path = Path(folder) / f"{id}.json"
    row, _ = _whole_row(path) if path.exists() else (None, "")
    if row is None or row.status != OK or row.settings.get("shape_only"):
        return None
    return row if (old := _older(row)) and set(old) <= RESCORED else None


def _paths(folder: str | Path, ids: Iterable[str] | None) -> list[Path]:
    folder = Path(folder)
    paths = sorted(folder.glob("*.json")) if ids is None else [folder / f"{id}.json" for id in ids]
    return [path for path in paths if path.exists()]


_OLDER = "was made by an earlier nblib"


def _checked(path: Path) -> tuple[Row | None, str]:
    """A row of today's revisions, or why there is none."""
    row, why = _whole_row(path)
    if row is not None and (old := _older(row)):
        changed = ", ".join(f"{name} {count}, now {provenance.REVISIONS[name]}" for name, count in old.items())
        return None, f"{_OLDER} ({changed}): run its notebook again, which keeps its answers where they still hold"
    return row, why


def _older(row: Row) -> dict[str, int]:
    return older(row.settings, row.notes | row.provenance)


def older(settings: Mapping, facts: Mapping) -> dict[str, int]:
    """What of a result an earlier revision made that a later one changed; `facts` are its notes and provenance."""
    made = dict.fromkeys(provenance.REVISIONS, 1) | facts.get("revisions", {})
    later = {name: range(made[name] + 1, now + 1) for name, now in provenance.REVISIONS.items()}
    return {name: made[name] for name in later if any(_concerns(name, to, settings, facts) for to in later[name])}


def _concerns(name: str, revision: int, settings: Mapping, facts: Mapping) -> bool:
    """Whether that revision can have changed such a result; where nothing is said here, it can."""
    model, method = (str(settings.get(part)).lower() for part in ("model", "method"))
    training, shaped = settings.get("training") or {}, settings.get("shape_only")
    if {"training": not training, "scores": shaped, "execution": "sandbox" not in facts}.get(name):
        return False  # which its run does not do
    sampled = (settings.get("decoding") or {}).get("temperature") is not None
    int8 = settings.get("precision") == "int8" and facts.get("device", "cpu") == "cpu"
    leaked = not settings.get("drop_leaked") and _has_leaks(facts)
    accumulated = training.get("batch_size") != training.get("device_batch")
    changed: dict = {
        # RAG left out near-duplicates; Llama tokenizers over bytes lost their first token.
        ("prompts", 3): ("'rag'" in method and leaked) or ("deepseek" in model and not shaped),
        # AdaLoRA's penalty counted once a batch; validation multiplied int8 otherwise than training, as answering did.
        ("training", 3): ("adalora" in method and accumulated) or int8,
        # A batch shared its draws; Llama tokenizers over pieces lost an answer's first space.
        ("decoding", 3): sampled or int8 or (LLAMA.search(model) and not shaped),
    }
    return bool(changed.get((name, revision), True))


def _has_leaks(facts: Mapping) -> bool:
    """Whether test intents are nearly those of training rows, or nobody knows."""
    found = facts.get("data_checks", {}).get("overlaps")
    return found is None or any(pair["near"] for pair in found if list(pair["splits"]) == ["train", "test"])


def _whole_row(path: Path) -> tuple[Row | None, str]:
    """A row, or why there is none; later fields of older rows have defaults that mean "as before"."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        content = written.pop("content", {"row": _hash(_canonical(written)), "predictions": None})
        row = Row(**written)
    except (ValueError, TypeError, AttributeError):
        return None, "is not a complete row, or one that a newer nblib wrote"
    made = row.provenance.get("revisions", {})
    if later := [name for name, count in made.items() if count > provenance.REVISIONS.get(name, 0)]:
        return None, f"has {', '.join(later)} of a later revision: a newer nblib wrote it"
    if row.id != path.stem:
        return None, f"holds the row {row.id}"
    if content["row"] != _hash(_canonical(written)):
        return None, "was changed after it was written"
    if content["predictions"] and content["predictions"] != _content(path.with_name(f"{row.id}.predictions.jsonl")):
        return None, "has predictions that were changed later"
    return row, ""


def _content(path: Path) -> str:
    """The hash of a file; one that did not change is not read again."""
    try:
        known = path.stat()
    except FileNotFoundError:
        return ""
    return _content_of(path, known.st_ino, known.st_size, known.st_mtime_ns)


@lru_cache(maxsize=50_000)
def _content_of(path: Path, *state: int) -> str:
    return _hash(path.read_bytes())


def _canonical(fields: dict) -> bytes:
    return json.dumps(fields, sort_keys=True).encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _write(path: Path, text: str) -> None:
    for left in path.parent.glob(f".{glob.escape(path.name)}-*.part"):
        left.unlink(missing_ok=True)  # of a process that was killed: one at a time writes a run
    files.write(path, text)


# --- rows as two tidy frames ----------------------------------------------------------------------------------------

FAMILIES = {"zero-shot": "zero-shot", "icl": "ICL", "rag": "RAG", "full": "full fine-tuning"}  # other trained: PEFT
FIXED = ("zero-shot", "rag")  # kinds that give the same answers with every seed, but where these are sampled
STAND_INS = ("icl-3", "rag-3", "lora")  # for their families where one is compared, as no test score may choose it
PASSED = ("passed", "passed_loosely")  # verdicts of a test that is passed
PHASES = ("load", "train", "generate")
PARTS = ("weights", "adapter", "gradients", "optimizer", "activations", "logits")  # of a training step's tensors
TEXTS = ("model", "task", "trained_on", "method", "kind")
ANSWERED = (*TEXTS, "seed", "stochastic")  # columns of `runs` that `answers` repeats


class Frames(NamedTuple):
    """Results of a folder as `load` gives them: `runs, answers = results.load(folder)`."""

    runs: pd.DataFrame
    answers: pd.DataFrame


def load(folder: str | Path, ids: Iterable[str] | None = None, *, quiet: bool = False) -> Frames:
    """The rows of a folder, or those of the given ids, as two tidy frames; each prediction file is read once.

    `folder` may be an address, as `study.run_all` takes it.

    `runs`, one line a run, indexed by its id (`run`), sorted by it: what was asked, such as trained_on (the task
    itself, another, several joined by "+"; None: nothing was read of any), method (`icl-3`, `lora`), kind (`icl`,
    `qlora-4bit`) and family (zero-shot, ICL, RAG, PEFT, full fine-tuning), decoding and training as JSON (without the
    batch size of decoding; None: nothing was trained); stochastic, whether another seed gives other answers (training,
    random shots, sampling); status and error; each score by its name (`em@1`), its mean over examples, and
    `em@1_corpus` where papers print one of the whole corpus; each cost by its name (`train_seconds`), with memory_bytes
    of training (the allocated peak on a GPU, the sum of a step's tensors on a CPU) and peak_bytes, the highest of all
    phases; loss per token on other kinds of text (NaN: not measured, as in older rows) elsewhere_before_nats,
    elsewhere_after_nats and elsewhere_rise_nats, by kind code_rise_nats…; device; data and weights, what the content
    was; the row's dictionaries settings, notes and provenance.
    `answers`, one line a run and example, in the order of runs and of their files: what ANSWERED names of the run (text
    as categories); each score by its name, a share from 0 to 1 (NaN: not defined for it); the verdict of the first
    answer where answers were run (`passed`, or how the first failed test ended); code (the first answer),
    prompt_tokens, new_tokens, dropped_shots, shots (ids) and similarity (of the nearest).
    Other groups are one line: `answers.assign(difficulty=answers["example"].map(difficulties))`.
    """
    folder = stores.rows_here(folder)
    rows = read(folder, None if ids is None else dict.fromkeys(ids), quiet=quiet)
    rows.sort(key=lambda row: row.id)
    runs = pd.DataFrame([_run(row) for row in rows], pd.Index([row.id for row in rows], name="run", dtype=object))
    first = [name for name in _RUN_COLUMNS if name not in ("notes", "provenance")]
    runs = runs.reindex(columns=[*first, *runs.columns.difference(_RUN_COLUMNS, sort=False), "notes", "provenance"])
    return Frames(runs, _answers(folder, runs))


def or_shipped(folder: str | Path) -> Path:
    """The folder; if it has no rows yet, that of the embedded model's shipped rows, with a line that says so."""
    if any(Path(folder).glob("*.json")):
        return Path(folder)
    print(f"{folder} has no runs yet: these are the runs that come with nblib.")
    return SHIPPED / "tiny"


def stand_in(labels: Sequence[str]) -> str | None:
    """Of a family's methods the one that stands for it, whatever it scores: three shots, LoRA, else the first."""
    return next((label for label in (*STAND_INS, *labels) if label in labels), None)


def label(settings: Mapping) -> str:
    """How tables call a row's method, `icl-3`; a kind that this nblib does not know keeps its name."""
    return _named(settings, spec.label)


def _named(settings: Mapping, name: Callable[[spec.Method, str], str]) -> str:
    method = settings["method"]
    known = method["kind"] in spec.METHODS
    return name(spec.method(**method), settings.get("precision", "fp32")) if known else method["kind"]


_RUN_COLUMNS = (
    *("model", "task", "trained_on", "method", "kind", "family", "shots", "learning_rate", "precision", "seed"),
    *("stochastic", "split", "limit", "shape_only", "status", "error", "decoding", "training", "data", "weights"),
    *("device", "memory_bytes", "peak_bytes"),
    *("settings", "notes", "provenance"),
)
COUNTED = ("prompt_tokens", "new_tokens", "dropped_shots")  # of an answer


def _run(row: Row) -> dict:
    """A row as one line."""
    settings, costs, kind = row.settings, row.costs, _named(row.settings, spec.kind)
    is_trained = kind in spec.QLORA or getattr(spec.METHODS.get(kind), "trained", False)
    decoding = {name: value for name, value in (settings.get("decoding") or {}).items() if name != "batch_size"}
    line = {name: settings.get(name) for name in ("model", "task", "precision", "seed", "limit")}
    line |= {"trained_on": None if kind == "zero-shot" else settings.get("train_task") or settings["task"]}
    line |= {name: settings["method"].get(name) for name in ("shots", "learning_rate")}
    line |= {"method": label(settings), "kind": kind, "split": settings.get("split", "test")}  # older rows say no split
    line |= {"family": FAMILIES.get(kind) or ("PEFT" if is_trained else "other")}
    line |= {"stochastic": kind not in FIXED or decoding.get("temperature") is not None}
    line |= {"shape_only": bool(settings.get("shape_only")), "status": row.status, "error": row.error}
    training = settings.get("training")
    line |= {"decoding": json.dumps(decoding, sort_keys=True)}
    line |= {"training": json.dumps(training, sort_keys=True) if training else None}
    line |= {name: row.provenance.get(name) for name in ("data", "weights")}
    line |= {"device": str(row.provenance.get("device", "cpu"))}
    line |= {"settings": settings, "notes": row.notes, "provenance": row.provenance}
    for name, score in row.scores.items():
        line |= {name: score.get("mean")} | ({f"{name}_corpus": score["corpus"]} if "corpus" in score else {})
    line |= {name: None if cost is None else float(cost) for name, cost in costs.items()}
    if kinds := row.notes.get("elsewhere"):
        before, after = (sum(kind[end] for kind in kinds.values()) / len(kinds) for end in ("before", "after"))
        line |= {"elsewhere_before_nats": before, "elsewhere_after_nats": after, "elsewhere_rise_nats": after - before}
        line |= {f"{name}_rise_nats": kind["after"] - kind["before"] for name, kind in kinds.items()}
    peaks = [peak for phase in PHASES if (peak := costs.get(f"{phase}_peak_bytes")) is not None]
    parts = [part for name in PARTS if (part := costs.get(f"train_{name}_bytes")) is not None]
    tensors = sum(parts) if len(parts) == len(PARTS) else None
    memory = costs.get("train_peak_bytes") if line["device"] == "cuda" else tensors
    return line | {"peak_bytes": max(peaks, default=None), "memory_bytes": memory if row.status == OK else None}


def _lines(folder: str | Path, id: str) -> list[dict]:
    path = Path(folder) / f"{id}.predictions.jsonl"
    lines = path.read_bytes().strip(b"\n") if path.exists() else b""
    return json.loads(b"[" + lines.replace(b"\n", b",") + b"]")  # at once: a quarter quicker than line by line


def _answers(folder: str | Path, runs: pd.DataFrame) -> pd.DataFrame:
    """A run at a time, each column where it grows: as lists, fields take several times the memory."""
    scores: dict[str, array] = {}
    counts = {name: array("q") for name in ("run", "example", *COUNTED)}
    similarity, verdicts, codes, shots = array("d"), list[str | None](), list[Any](), list[tuple]()
    examples, known = dict[str, int](), dict[tuple, tuple]()  # which many runs have in common
    for place, id in enumerate(runs.index):
        lines, before = _lines(folder, id), len(verdicts)
        own = [fields.get("scores", {}) for fields in lines]
        for name in dict.fromkeys(name for found in (scores, *own) for name in found):
            if name not in scores:
                scores[name] = array("d", [math.nan]) * before
            scores[name].extend(math.nan if (score := found.get(name)) is None else score for found in own)
        counts["run"].extend(repeat(place, len(lines)))
        counts["example"].extend(examples.setdefault(fields["example"], len(examples)) for fields in lines)
        for name in COUNTED:
            counts[name].extend(fields.get(name, 0) for fields in lines)
        similarity.extend(max(fields.get("similarities", ()), default=math.nan) for fields in lines)
        verdicts += map(_verdict, lines)
        codes.append(pd.Series([(fields.get("codes") or [None])[0] for fields in lines], dtype="str"))
        own_shots = (tuple(fields.get("shots", ())) for fields in lines)
        shots += (known.setdefault(ids, ids) for ids in own_shots)
    own_names = {"run": _numbered(counts.pop("run"), runs.index), "example": _numbered(counts.pop("example"), examples)}
    answered = runs.loc[own_names["run"].categories, list(ANSWERED)].astype(dict.fromkeys(TEXTS, "category"))
    columns = own_names | dict(answered.iloc[own_names["run"].codes].reset_index(drop=True).items())
    columns |= {name: np.asarray(column) for name, column in scores.items()}
    columns |= {"verdict": pd.Series(verdicts, dtype=object)}
    columns |= {"code": pd.concat([pd.Series(dtype="str"), *codes], ignore_index=True)}
    columns |= {"shots": pd.Series(shots, dtype=object)} | {name: np.asarray(column) for name, column in counts.items()}
    return pd.DataFrame(columns | {"similarity": np.asarray(similarity)}, copy=False)


def _numbered(numbers: array, names: Iterable[str]) -> pd.Categorical:
    """What has these numbers, as categories in the order of their names."""
    found = pd.Categorical.from_codes(np.asarray(numbers), pd.Index(list(names), dtype="str"))
    found = found.remove_unused_categories()
    return found.reorder_categories(found.categories.sort_values())


def _verdict(fields: dict) -> str | None:
    """Of the first answer, where answers were run."""
    first = (fields.get("verdicts") or [None])[0]
    ends = [test.rpartition(":")[2] for test in first or ()]  # without the mark of where a test ran
    return first and next((end for end in ends if end not in PASSED), "passed")

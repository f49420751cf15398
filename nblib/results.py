"""One row a run on disk: write, read, what is missing. Computes nothing."""

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

OK, OUT_OF_MEMORY, FAILED = "ok", "out_of_memory", "failed"


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
    """Puts a row and its predictions on disk, the row last, each file whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(asdict(each)) + "\n" for each in predictions)
    if lines:
        _replace(folder / f"{row.id}.predictions.jsonl", lines)
    path = folder / f"{row.id}.json"
    _replace(path, json.dumps(asdict(row), indent=1, default=str) + "\n")
    return path


def read(folder: str | Path, ids: Iterable[str] | None = None) -> list[Row]:
    """All rows of a folder, or those of the given ids in their order; missing ones are left out."""
    folder = Path(folder)
    paths = sorted(folder.glob("*.json")) if ids is None else [folder / f"{each}.json" for each in ids]
    return [Row(**json.loads(path.read_text(encoding="utf-8"))) for path in paths if path.exists()]


def predictions(folder: str | Path, id: str) -> list[Prediction]:
    """The predictions of a run; empty where the run has none."""
    path = Path(folder) / f"{id}.predictions.jsonl"
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as lines:  # splitlines would also cut at separators inside of a text
        return [prediction(json.loads(line)) for line in lines]


def prediction(fields: dict) -> Prediction:
    """The prediction whose fields came from JSON, where tuples are lists."""
    verdicts = tuple(tuple(each) for each in fields.get("verdicts", ()))
    texts = {name: tuple(fields[name]) for name in ("completions", "codes")}
    return Prediction(**fields | texts | {"verdicts": verdicts})


def finished(folder: str | Path, id: str) -> bool:
    """Whether that run has a row that need not be made again."""
    return any(row.status == OK for row in read(folder, [id]))


def _replace(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=".", suffix=".part", delete=False
    ) as part:
        part.write(text)
        part.flush()
        os.fsync(part.fileno())
    os.replace(part.name, path)

"""Rows with answers that are right as often as a test says, written to a folder."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nblib import results, spec
from nblib.provenance import REVISIONS
from nblib.results import Prediction, Row
from nblib.spec import Run, Training, ZeroShot
from nblib.tasks import Example

EXAMPLES = [Example(f"e{number:03}", f"intent {number}", f"code_{number}()") for number in range(120)]
SEEDS = (42, 777, 5432)
PARAMETERS = {"lora": 98_304, "dora": 101_000, "ia3": 3_200}
SIZES = {"tiny": 2_500_000, "large": 10_000_000}
PARTS = ("adapter", "gradients", "optimizer", "activations", "logits")


def run(method: spec.Method, seed: int = 42, model: str = "tiny", task: str = "a", **settings) -> Run:
    return Run(model, task, method, training=Training() if method.trained else None, seed=seed, **settings)


def right(share: float, seed: int = 0, count: int = 120) -> list[float]:
    """Exactly that share of right answers; easy examples come first, and a few change places with the seed."""
    random = np.random.default_rng(seed)
    order = np.argsort(np.arange(count) / count + random.normal(0, 0.1, count))
    scores = np.zeros(count)
    scores[order[: round(share * count)]] = 1.0
    return [float(score) for score in scores]


def put(folder: Path, run: Run, scores: Sequence, *, status=results.OK, weights: str = "w", **given) -> Row:
    """Writes a row whose answers are right (1), wrong (0) or without a score (None), as `scores` says one by one.

    `metrics` have these scores (EM@1 where nothing is said); `costs`, `notes`, `provenance` are added to the row's,
    `fields` to each prediction, one dictionary an example.
    """
    metrics, known = given.get("metrics", ("em@1",)), [score for score in scores if score is not None]
    mean = {"mean": sum(known) / len(known) if known else None, "n": len(known), "missing": len(scores) - len(known)}
    total, kind = SIZES.get(run.model, 1_000_000), run.method.kind
    costs = {"total_parameters": total, "trainable_parameters": 0, "prompt_tokens": 20.0, "new_tokens": 12.0}
    costs |= {"generate_seconds": 12.0, "generate_peak_bytes": 2.0**29, "examples": len(EXAMPLES)}
    if run.method.trained:
        trained = total if kind == "full" else PARAMETERS.get(kind, 5_000)
        costs |= {"trainable_parameters": trained, "train_seconds": 40.0, "train_peak_bytes": 2.0**30}
        costs |= {"train_steps": 40, "train_tokens": 1000.0, "train_weights_bytes": 300.0}
        costs |= {f"train_{part}_bytes": 40.0 for part in PARTS}  # 200 in all
    well = status == results.OK
    row = Row(
        id=spec.run_id(run, data="d", weights=weights),
        settings=spec.settings(run),
        status=status,
        scores=dict.fromkeys(metrics, mean) if well else {},
        costs=costs | given.get("costs", {}),
        notes=given.get("notes", {}),
        provenance={"data": "d", "weights": weights, "revisions": REVISIONS} | given.get("provenance", {}),
        error=None if well else "it did not work",
    )
    fields = given.get("fields") or [{} for _ in scores]
    predictions = [
        Prediction(example.id, (example.code,), (example.code,), 23, 12, scores=dict.fromkeys(metrics, score), **more)
        for example, score, more in zip(EXAMPLES, scores, fields, strict=False)
    ]
    results.write(folder, row, predictions if well else ())
    return row


def put_seeds(folder: Path, asked: Run, scores: Sequence, **given) -> list[Row]:
    """A row for each of SEEDS, all with these scores."""
    return [put(folder, replace(asked, seed=seed), scores, **given) for seed in SEEDS]


def study(folder: Path, shares: dict[spec.Method, float], seeds: Iterable[int] = SEEDS, **settings) -> list[Row]:
    """Some seeds of each method, around the given share of right answers."""
    rows = []
    for method, share in shares.items():
        varied = list(seeds)[:1] if isinstance(method, ZeroShot) else list(seeds)
        for place, seed in enumerate(varied):
            shift = (place - (len(varied) - 1) / 2) / 60
            rows.append(put(folder, run(method, seed, **settings), right(share + shift, seed)))
    return rows

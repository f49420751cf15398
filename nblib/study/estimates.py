"""What planned runs will cost: seconds as their like took in a results folder, bytes by arithmetic."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nblib import memory, models, results, retrieve, spec, tasks, train
from nblib.results import Row
from nblib.study import fitting, planning
from nblib.study.planning import Planned

OWN = ("seed", "limit", "split", "data_dir")  # settings in which runs of one kind differ
ROWS = 500  # of the training data, whose longest stands for all


@dataclass(frozen=True)
class Cost:
    """What a run will need; None: not known before it runs."""

    seconds: float | None  # None: no run of its kind has ended here or is shipped; 0: its row is there
    peak_bytes: int | None  # None: cannot be predicted for this method or model


def costs(planned: Sequence[Planned], folder: str | Path) -> list[Cost]:
    """Predicts what each run will need on this machine, in their order.

    Seconds are the mean of earlier runs of the same kind in that folder, whatever their seed or number of examples. If
    there are none, we take those that the repository ships, which come from another machine.
    """
    folder = Path(folder)
    here, shipped = (results.read(place, quiet=True) for place in (folder, results.SHIPPED / "tiny"))
    done = {row.id for row in here if row.status == results.OK}
    likes = [_by_kind(rows) for rows in (here, shipped)]
    made_before: set[str] = set()  # trainings that an earlier run of the plan will have made
    found = []
    for one, peak in zip(planned, peaks(planned), strict=True):
        saved = one.training in made_before or fitting.is_saved(fitting.adapter_folder(folder, one))
        shared = saved and bool(one.training) and not isinstance(one.run.method, spec.FullTuning)
        alike = next((rows for like in likes if (rows := like.get(_kind(spec.settings(one.run))))), [])
        found.append(Cost(0.0 if one.id in done else _seconds(one, alike, shared), peak))
        made_before.add(one.training)
    return found


def _by_kind(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Those that ended well on a device like this machine's."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.status == results.OK and _is_here(row) and row.costs.get("examples"):
            found.setdefault(_kind(row.settings), []).append(row)
    return found


def _is_here(row: Row) -> bool:
    """Whether it ran on a device like this machine's."""
    name = torch.cuda.get_device_name() if models.device() == "cuda" else None
    return (row.provenance.get("device"), row.provenance.get("device_name")) == (models.device(), name)


def _seconds(planned: Planned, alike: Sequence[Row], shared: bool) -> float | None:
    """The mean of rows of its kind; a training that is `shared` costs nothing."""
    once, every_run = ("load",) if shared else ("load", "train"), ("retrieve", "generate", "execute")
    total = 0.0
    for row in alike:
        share = len(planned.data.test) / (row.costs["examples"] or 1.0)
        total += sum(row.costs.get(f"{name}_seconds") or 0.0 for name in once)
        total += share * sum(row.costs.get(f"{name}_seconds") or 0.0 for name in every_run)
    return total / len(alike) if alike else None


def _kind(settings: dict) -> str:
    kept = {name: value for name, value in settings.items() if name not in OWN}
    return json.dumps(kept, sort_keys=True, default=list)


def peaks(planned: Sequence[Planned], device: str | None = None) -> list[int | None]:
    """`peak_bytes` of each; runs that only differ in their seed have that of the first."""
    found: dict[spec.Run, int | None] = {}
    for one in planned:
        if (kind := replace(one.run, seed=0)) not in found:
            found[kind] = peak_bytes(one, device)
    return [found[replace(one.run, seed=0)] for one in planned]


def peak_bytes(planned: Planned, device: str | None = None) -> int | None:
    """The most that the run will need on cuda or cpu, None: as here; None: not known for this method or model."""
    run, training, decoding = planned.run, planned.run.training, planned.run.decoding
    try:
        length, answer, prompt = _lengths(planned)
        return memory.predict(
            planning.model_source(run),
            run.method,
            run.precision,
            training=training,
            device=device or ("cuda" if models.device() == "cuda" else "cpu"),
            batch=training.device_batch if training else 1,
            length=length,
            answer_tokens=answer,
            beams=max(decoding.beams, decoding.returned if decoding.temperature else 1),
            new_tokens=tasks.of(run).output_tokens,
            prompt_length=prompt,
            generation_batch=min(decoding.batch_size, len(planned.data.test)),
        ).peak_bytes
    except (ValueError, ConnectionError):  # a model or a method that it does not know
        return None


def _lengths(planned: Planned) -> tuple[int, int, int]:
    """Tokens of the longest training row, of its answer, and of the longest prompt.

    Which shots retrieval will find is not known yet, so random ones stand for them.
    """
    run, data, tokenizer = planned.run, planned.data, planning.tokenizer(planned.run)
    count = getattr(run.method, "shots", 0)
    shots = retrieve.random_shots(data.train, count, run.seed) if count else ()
    built = planning.build_prompts(run, data.test, [shots] * len(data.test), tokenizer)
    prompt = max(prompt.tokens for prompt in built)
    if run.training is None:
        return prompt, 1, prompt
    task, seq2seq = tasks.trained(run), planning.config(run).is_encoder_decoder
    rows = train.encode_all(data.train[:ROWS], tokenizer, task, encoder_decoder=seq2seq)
    return max(len(row["input_ids"]) for row in rows), max(map(train.answer_tokens, rows)), prompt

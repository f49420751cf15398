"""What planned runs will cost: seconds as their like took in a results folder, bytes by arithmetic."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import torch

from nblib import memory, models, results, retrieve, spec, tasks, train
from nblib.results import Row
from nblib.study import fitting, planning
from nblib.study.planning import Planned

ONCE, EACH_RUN = ("load", "train"), ("retrieve", "generate", "execute")  # phases of a run
OWN = ("seed", "limit", "split", "data_dir")  # settings in which runs of one kind differ
LIKENESS: tuple[Callable[[dict], str], ...] = (  # what runs have in common that take about as long, the best first
    lambda settings: _key({name: value for name, value in settings.items() if name not in OWN}),
    lambda settings: _key([settings["model"], settings["method"]["kind"], settings["precision"]]),
    lambda settings: _key([settings["model"], bool(settings["training"])]),
)
ALIKE = 20  # earlier runs whose mean we take
ROWS = 500  # of the training data, whose longest represents all


@dataclass(frozen=True)
class Cost:
    """What a run will need; None: not known before it runs."""

    seconds: float | None  # None: no run of its model has ended here or is shipped; 0: its row is there
    peak_bytes: int | None  # None: cannot be predicted for this method or model


def costs(planned: Sequence[Planned], folder: str | Path) -> list[Cost]:
    """Predicts what each run will need on this machine, in their order."""
    folder = Path(folder)
    return [
        Cost(0.0 if results.finished(folder, one.id) else found, peak)
        for one, found, peak in zip(planned, seconds(planned, folder), peaks(planned), strict=True)
    ]


def seconds(planned: Sequence[Planned], folder: Path) -> list[float | None]:
    """What each run takes, in order, as earlier runs did that are most like it; None where none is of its model.

    Runs of the same kind are the best, whatever their seed, then those of the same model and method, then others of the
    model; among equals those in the folder go before those that the repository ships, which come from another machine.
    """
    places = [_ended(folder), _ended(results.SHIPPED / "tiny")]
    known = [(likeness, _grouped(rows, likeness)) for likeness in LIKENESS for rows in places]
    made_before: set[str] = set()  # trainings that an earlier run of the plan will have made
    found = []
    for one in planned:
        settings = spec.settings(one.run)
        alike = next((group for likeness, rows in known if (group := rows.get(likeness(settings)))), [])[:ALIKE]
        saved = one.training in made_before or fitting.is_saved(fitting.adapter_folder(folder, one))
        shared = saved and bool(one.training) and not isinstance(one.run.method, spec.FullTuning)
        found.append(mean(_took(row, one, shared) for row in alike) if alike else None)
        made_before.add(one.training)
    return found


def weights(planned: Sequence[Planned], folder: Path) -> tuple[dict[str, float], bool]:
    """Seconds by id for a bar of progress, and whether all are known; if not, a training weighs as shipped ones do."""
    found, shipped = seconds(planned, folder), results.read(results.SHIPPED / "tiny", quiet=True)
    took = _grouped(shipped, lambda settings: str(bool(settings["training"])))
    typical = {"True": 10.0, "False": 1.0}  # in a package without rows
    typical |= {key: mean(sum(_phases(row, *ONCE, *EACH_RUN)) for row in rows) for key, rows in took.items()}
    filled = {
        one.id: typical[str(bool(one.run.training))] if one_found is None else one_found
        for one, one_found in zip(planned, found, strict=True)
    }
    return filled, None not in found


def _ended(folder: Path) -> list[Row]:
    rows = results.read(folder, quiet=True)
    return [row for row in rows if row.status == results.OK and _is_here(row) and row.costs.get("examples")]


def _grouped(rows: Sequence[Row], key: Callable[[dict], str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row.settings), []).append(row)
    return groups


def _is_here(row: Row) -> bool:
    """Whether it ran on a device like this machine's."""
    name = torch.cuda.get_device_name() if models.device() == "cuda" else None
    return (row.provenance.get("device"), row.provenance.get("device_name")) == (models.device(), name)


def _took(row: Row, planned: Planned, shared: bool) -> float:
    """What the row's run took, for as many test examples and training rows as planned; `shared`: without training."""
    load, train_seconds = _phases(row, *ONCE)
    total = load + len(planned.data.test) / (row.costs["examples"] or 1.0) * sum(_phases(row, *EACH_RUN))
    training, steps = planned.run.training, row.costs.get("train_steps")
    if shared or training is None:
        return total
    share = training.epochs * len(planned.data.train) / (steps * row.settings["training"]["batch_size"]) if steps else 1
    return total + share * train_seconds


def _phases(row: Row, *names: str) -> list[float]:
    return [row.costs.get(f"{name}_seconds") or 0.0 for name in names]


def _key(settings: object) -> str:
    return json.dumps(settings, sort_keys=True, default=list)


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

    Which shots retrieval will find is not known yet, so we take random ones.
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

"""What planned runs will cost: seconds as their like took in a results folder, bytes by arithmetic. Runs nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from nblib import memory, models, results, retrieve, spec, tasks, train
from nblib.results import Row
from nblib.study import fitting
from nblib.study.planning import Planned, build_prompts, is_encoder_decoder, model_source, tokenizer

OWN = ("seed", "limit", "split", "data_dir")  # settings in which runs of one kind differ
ROWS = 500  # of the training data, whose longest stands for all


@dataclass(frozen=True)
class Cost:
    """What a run will need; None: not known before it runs."""

    seconds: float | None  # None: no run of its kind has ended here; 0: its row is there
    peak_bytes: int | None  # None: cannot be predicted for this method or model


def costs(planned: Sequence[Planned], folder: str | Path) -> list[Cost]:
    """What each run will need on this machine, in their order.

    Seconds are the mean of runs of the same kind, another seed or number of examples aside, in that folder.
    """
    folder = Path(folder)
    ended = [row for row in results.sound(folder) if row.status == results.OK and _is_here(row)]
    there: set[str] = set()  # trainings that an earlier run of the plan will have made
    found = []
    for each in planned:
        seconds = 0.0 if results.finished(folder, each.id) else _seconds(each, ended, folder, there)
        found.append(Cost(seconds, peak_bytes(each)))
        there.add(each.training)
    return found


def _is_here(row: Row) -> bool:
    """Whether it ran on a device like this machine's."""
    name = torch.cuda.get_device_name() if models.device() == "cuda" else None
    return (row.provenance.get("device"), row.provenance.get("device_name")) == (models.device(), name)


def _seconds(planned: Planned, ended: Sequence[Row], folder: Path, there: set[str]) -> float | None:
    kind = _kind(spec.settings(planned.run))
    alike = [row for row in ended if _kind(row.settings) == kind and row.costs.get("examples")]
    if not alike:
        return None
    saved = planned.training in there or fitting.is_saved(fitting.adapter_folder(folder, planned))
    shared = saved and bool(planned.training) and not isinstance(planned.run.method, spec.FullTuning)
    once = ("load",) if shared else ("load", "train")
    total = 0.0
    for row in alike:
        total += sum(row.costs.get(f"{name}_seconds") or 0.0 for name in once)
        each = sum(row.costs.get(f"{name}_seconds") or 0.0 for name in ("retrieve", "generate", "execute"))
        total += each / (row.costs["examples"] or 1.0) * len(planned.data.test)
    return total / len(alike)


def _kind(settings: dict) -> str:
    kept = {name: value for name, value in settings.items() if name not in OWN}
    return json.dumps(kept, sort_keys=True, default=list)


def peak_bytes(planned: Planned) -> int | None:
    """The most that the run will need; None: not known for this method or model."""
    run, task = planned.run, tasks.of(planned.run)
    try:
        length, answer, prompt = _lengths(planned)
        said = memory.predict(
            model_source(run),
            run.method,
            run.precision,
            batch=run.training.device_batch if run.training else 1,
            length=length,
            training=run.training,
            answer_tokens=answer,
            beams=max(run.decoding.beams, run.decoding.returned if run.decoding.temperature else 1),
            new_tokens=task.output_tokens,
            prompt_length=prompt,
            generation_batch=min(run.decoding.batch_size, len(planned.data.test)),
            device="cuda" if models.device() == "cuda" else "cpu",
        )
    except (ValueError, ConnectionError):  # a model or a method that it does not know
        return None
    return said.peak_bytes


def _lengths(planned: Planned) -> tuple[int, int, int]:
    """Tokens of the longest training row, of its answer, and of the longest prompt."""
    run, data = planned.run, planned.data
    reader = tokenizer(run)
    prompt = max(each.tokens for each in build_prompts(run, data.test, _shots(planned), reader))
    if run.training is None:
        return prompt, 1, prompt
    task = tasks.trained(run)
    rows = train.encode_all(data.train[:ROWS], reader, task, encoder_decoder=is_encoder_decoder(run))
    return max(len(row["input_ids"]) for row in rows), max(map(train.answer_tokens, rows)), prompt


def _shots(planned: Planned) -> list:
    """As many shots as the method takes; which ones retrieval finds is not known yet, so random ones."""
    count = getattr(planned.run.method, "shots", 0)
    drawn = retrieve.random_shots(planned.data.train, count, planned.run.seed) if count else ()
    return [drawn] * len(planned.data.test)

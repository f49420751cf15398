"""The whole way of a run: plan, run one, run all. The only room that knows it."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from nblib import (
    generate,
    memory,
    methods,
    metrics,
    models,
    presets,
    prompts,
    provenance,
    results,
    retrieve,
    sandbox,
    spec,
    tasks,
    train,
)
from nblib.progress import Progress
from nblib.results import Prediction, Row
from nblib.spec import Run
from nblib.tasks import Data, Example


@dataclass(frozen=True)
class Planned:
    """A run that passed every check."""

    run: Run
    id: str
    data: Data
    checks: dict = field(default_factory=dict)  # tasks.Checks as plain values


def compare(
    model: str,
    task: str,
    *,
    preset: str = "default",
    names: Sequence[str] = (),
    shots: Sequence[int] = (),
    seeds: Sequence[int] = (),
    precision: str = "auto",
    limit: int | None = None,
    data_dir: str | None = None,
) -> list[Run]:
    """The runs that compare methods on a task: the same data, prompt, decoding and training for each.

    Empty lists stand for the preset's own. A method without randomness runs with the first seed only.
    Raises ValueError for anything unknown or out of range.
    """
    settings = presets.get(preset)
    decoding = settings.sampling if tasks.get(task).sampled else settings.decoding
    precision = models.choose_precision(precision)
    runs = []
    for method, own_precision in presets.methods(settings, list(names), list(shots)):
        for seed in _seeds(method, settings, decoding, list(seeds)):
            runs.append(
                Run(
                    model=model,
                    task=task,
                    method=method,
                    precision=own_precision or precision,
                    training=settings.training if method.trained else None,
                    decoding=decoding,
                    seed=seed,
                    limit=limit,
                    data_dir=data_dir,
                )
            )
    return runs


def _seeds(method: spec.Method, settings: presets.Preset, decoding: spec.Decoding, asked: list[int]) -> list[int]:
    own = settings.icl_seeds if isinstance(method, spec.InContext) else settings.seeds
    seeds = asked or list(own)
    varies = method.trained or isinstance(method, spec.InContext) or decoding.temperature is not None
    return seeds if varies else seeds[:1]


def plan(runs: Sequence[Run], *, allow_code_execution: bool = False) -> list[Planned]:
    """The runs, each once, with their ids and data; everything that can be checked is checked here, before any work.

    `allow_code_execution`: answers may be run as programs even where their isolation is weak.
    Raises ValueError, FileNotFoundError, ConnectionError or PermissionError with one sentence.
    """
    planned: dict[str, Planned] = {}
    loaded: dict[tuple, tuple[Data, dict]] = {}  # by task and place, and by model: its tokens are counted
    for run in runs:
        key = (run.task, run.data_dir, run.model)
        if key not in loaded:
            loaded[key] = _load(run, allow_code_execution)
        data, checks = loaded[key]
        data = tasks.first(data, run.limit)
        if run.method.trained or isinstance(run.method, spec.InContext):
            tasks.require_training(data, run.task)
        if isinstance(run.method, spec.InContext):
            retrieve.random_shots(data.train, run.method.shots, run.seed)
        content = f"{data.content} {tasks.settings(run.task)}"
        id = spec.run_id(run, data=content, weights=models.revision(run.model))
        planned[id] = Planned(run, id, data, checks)
    for model, each in {each.run.model: each for each in planned.values()}.items():
        _prompts(each.run, each.data.test, (), models.load_tokenizer(model))
    return list(planned.values())


def _load(run: Run, allow_code_execution: bool) -> tuple[Data, dict]:
    """A task's data with what is to be known of it."""
    if tasks.get(run.task).executed:
        sandbox.require(allow_code_execution)
    data = tasks.load(run.task, run.data_dir)
    return data, asdict(tasks.checks(data, models.load_tokenizer(run.model)))


def run_all(
    planned: Sequence[Planned], folder: str | Path, *, force: bool = False, allow_code_execution: bool = False
) -> list[Row]:
    """The rows of these runs in their order; only those that `folder` lacks are run, all of them with `force`."""
    folder = Path(folder)
    waiting = [each for each in planned if force or not results.finished(folder, each.id)]
    progress = Progress(len(waiting))
    for each in waiting:
        progress.begin(f"{spec.label(each.run.method, each.run.precision)}, seed {each.run.seed}")
        run_one(each, folder, report=progress.report, allow_code_execution=allow_code_execution)
        progress.end()
    return results.read(folder, [each.id for each in planned])


def run_one(
    planned: Planned,
    folder: str | Path,
    *,
    report: Callable[[float], None] = lambda share: None,
    allow_code_execution: bool = False,
) -> Row:
    """Runs it and writes its row, whatever happens: a run that fails is a row that says so."""
    costs: dict[str, float | None] = {}
    notes: dict = {"data_checks": planned.checks}
    scores, predictions, status, error = {}, [], results.OK, None
    try:
        predictions = _predict(planned, costs, notes, report)
        predictions = metrics.score(planned.data.test, predictions)
        if tasks.get(planned.run.task).executed:
            predictions = _execute(planned, predictions, costs, notes, allow_code_execution)
        scores = metrics.summary(predictions, planned.data.test)
    except (torch.OutOfMemoryError, MemoryError) as problem:
        status, error = results.OUT_OF_MEMORY, f"{type(problem).__name__}: {problem}"
    except (RuntimeError, ArithmeticError) as problem:
        status, error = results.FAILED, f"{type(problem).__name__}: {problem}"
    _free()
    row = Row(
        id=planned.id,
        settings=spec.settings(planned.run),
        status=status,
        scores=scores,
        costs=costs,
        notes=notes,
        provenance=provenance.collect() | _origin(planned),
        error=error,
    )
    results.write(folder, row, predictions)
    return row


def _predict(planned: Planned, costs: dict, notes: dict, report: Callable[[float], None]) -> list[Prediction]:
    """Loads, fits and predicts; costs and notes are filled in as they become known."""
    run, data = planned.run, planned.data
    with _phase("load", costs):
        model, tokenizer = models.load(run.model, run.precision)
    costs["total_parameters"] = model.num_parameters()  # counts what four bits hold
    costs["trainable_parameters"] = 0
    if isinstance(run.method, spec.Trained) and run.training:
        with _phase("train", costs):
            model = methods.attach(model, run.method, tokenizer, seed=run.seed)
            costs["trainable_parameters"] = methods.trainable_parameters(model)
            fitted = _fit(run, run.method, run.training, data, model, tokenizer, lambda share: report(0.7 * share))
        costs |= {"train_tokens": fitted.train_tokens, "train_steps": fitted.steps}
        notes |= {"rows_too_long": fitted.rows_too_long, "best_step": fitted.best_step}
        notes["validation_losses"] = fitted.validation_losses
    shots: Sequence[Example] = ()
    if isinstance(run.method, spec.InContext):
        shots = retrieve.random_shots(data.train, run.method.shots, run.seed)
    asked = _prompts(run, data.test, shots, tokenizer)
    begun = 0.7 if run.method.trained else 0.0
    with _phase("generate", costs):
        predictions = _answers(
            run, data.test, asked, model, tokenizer, lambda share: report(begun + share * (1 - begun))
        )
    count = len(predictions)
    costs["prompt_tokens"] = sum(each.prompt_tokens for each in predictions) / count + _virtual_tokens(run)
    costs["new_tokens"] = sum(each.new_tokens for each in predictions) / count
    costs["examples"] = count
    notes["rows_without_code"] = data.without_code
    notes["queries_with_dropped_shots"] = sum(each.dropped_shots > 0 for each in predictions)
    return predictions


def _fit(
    run: Run,
    method: spec.Trained,
    training: spec.Training,
    data: Data,
    model,
    tokenizer,
    report: Callable[[float], None],
) -> train.Fitted:
    fitted = train.fit(
        model,
        tokenizer,
        data.train,
        data.validation,
        tasks.get(run.task),
        training,
        learning_rate=method.learning_rate,
        precision=run.precision,
        seed=run.seed,
        report=report,
    )
    if fitted.best_step == 0:
        raise ArithmeticError("training diverged: no validation loss was a number; lower the learning rate")
    return fitted


def _prompts(run: Run, examples: Sequence[Example], shots: Sequence[Example], tokenizer) -> list[prompts.Prompt]:
    room = models.context_length(models.locate(run.model)) - tasks.get(run.task).output_tokens - _virtual_tokens(run)
    style = tasks.get(run.task).prompt
    return [prompts.build(example, shots, tokenizer, room=room, style=style) for example in examples]


def _virtual_tokens(run: Run) -> int:
    """Learned tokens that every query is processed with, beside its text."""
    return getattr(run.method, "virtual_tokens", 0)


def _answers(run: Run, examples, asked, model, tokenizer, report: Callable[[float], None]) -> list[Prediction]:
    """One prediction an example, in their order; examples of a joint task have the limits of their own part."""
    answers: dict[int, Prediction] = {}
    parts: dict[tasks.Task, list[int]] = {}
    for index, example in enumerate(examples):
        parts.setdefault(tasks.source(tasks.get(run.task), example), []).append(index)
    for task, indices in parts.items():
        for place, texts, new_tokens in generate.completions(
            model,
            tokenizer,
            [asked[index].text for index in indices],
            run.decoding,
            new_tokens=task.output_tokens,
            stops=task.stops,
            precision=run.precision,
            seed=run.seed,
        ):
            index = indices[place]
            answers[index] = Prediction(
                example=examples[index].id,
                completions=tuple(texts),
                codes=tuple(prompts.extract(text, task.stops) for text in texts),
                prompt_tokens=asked[index].tokens,
                new_tokens=new_tokens,
                dropped_shots=asked[index].dropped_shots,
            )
            report(len(answers) / len(asked))
    return [answers[index] for index in range(len(asked))]


def _execute(
    planned: Planned, predictions: list[Prediction], costs: dict, notes: dict, allow_code_execution: bool
) -> list[Prediction]:
    """Runs the answers against their tests; the model is gone by then."""
    with _phase("execute", costs):
        executed = metrics.execute(
            planned.data.test,
            predictions,
            sampled=planned.run.decoding.temperature is not None,
            allow_code_execution=allow_code_execution,
        )
    notes["by_difficulty"] = metrics.by_difficulty(executed, planned.data.test)
    notes["sandbox"] = sandbox.layers()
    return executed


@contextmanager
def _phase(name: str, costs: dict) -> Iterator[None]:
    """Seconds and peak bytes of a phase, also of one that fails."""
    start, peak = time.monotonic(), memory.Peak()
    try:
        with memory.phase(peak):
            yield
    finally:
        costs[f"{name}_seconds"] = time.monotonic() - start
        costs[f"{name}_before_bytes"] = peak.before_bytes
        costs[f"{name}_peak_bytes"] = peak.peak_bytes
        costs[f"{name}_reserved_bytes"] = peak.reserved_bytes


def _origin(planned: Planned) -> dict:
    """Device, and content of data and weights."""
    device = models.device()
    name = torch.cuda.get_device_name() if device == "cuda" else None
    return {
        "device": device,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "data": planned.data.content,
        "data_revision": planned.data.revision,
        "weights": models.revision(planned.run.model),
    }


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

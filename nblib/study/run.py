"""One run from its model to its row: load, fit, answer, score, write."""

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from nblib import (
    generate,
    memory,
    methods,
    metrics,
    models,
    prompts,
    provenance,
    results,
    retrieve,
    sandbox,
    spec,
    tasks,
    train,
)
from nblib.results import Prediction, Row
from nblib.retrieve import Found
from nblib.study import fitting, forgetting, planning, resume
from nblib.study.fitting import Base, Record
from nblib.study.planning import Planned

TRAINING_SHARE = 0.7  # of a run's time, for its line of progress


def run_one(
    planned: Planned,
    folder: str | Path,
    *,
    base: Base | None = None,
    force: bool = False,
    report: Callable[[float], None] = lambda share: None,
    allow_code_execution: bool = False,
    processes: int = 1,
    report_to: str = "none",
) -> Row:
    """Runs it and writes its row, whatever happens: if a run fails, its row says so.

    If only the scores of an earlier row are outdated, we score its answers again.
    `base` keeps the model for the next run; `force` starts over, however an earlier attempt ended. `processes` is how
    many work side by side, this one included: the row notes it, since it affects seconds.
    `report` and `report_to` are as in `train.Monitor`.
    """
    folder, base, record = Path(folder), base or Base(), Record(notes={"data_checks": planned.checks})
    if force:
        resume.forget(resume.answers_file(folder, planned))
    elif earlier := results.to_rescore(folder, planned.id):
        return _rescored(planned, folder, earlier, allow_code_execution)
    predictions: list[Prediction] = []
    scores: dict[str, dict] = {}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(_threads(planned.run))
        predictions = _predict(planned, folder, base, record, train.Monitor(report=report, report_to=report_to), force)
        if planned.run.shape_only:
            predictions = []  # of random weights: nothing to keep or to score
        else:
            predictions, scores = _score(planned, predictions, record, allow_code_execution)
    except KeyboardInterrupt as stopped:
        fitting.forget_traceback(stopped)
        base.drop()
        raise
    except OSError:
        base.drop()
        raise
    except Exception as problem:  # the study goes on, and the row says what happened and where
        record.fail(problem)
        predictions = []  # without scores they are no result; they are kept as those of an unfinished run
    finally:
        torch.set_num_threads(threads)
    if record.error:
        base.drop()  # whatever is attached to it
    fitting.free()
    if processes > 1 or models.processes() > 1:  # the device counts what others use, and no other device
        record.costs |= {name: None for name in record.costs if name.endswith("_joules")}
    made = provenance.collect() | _origin(planned) | {"processes": processes}
    row = Row(planned.id, spec.settings(planned.run), scores=scores, provenance=made, **asdict(record))
    results.write(folder, row, predictions)
    resume.tidy([planned], folder)
    _card(planned, folder, row)
    if record.error and planned.training and models.processes() > 1:
        raise RuntimeError(f"{row.id} failed while other processes may wait in it; its row says why: {record.error}")
    return row


def _threads(run: spec.Run) -> int:
    """What a run asks for on a CPU; on another device, where no score hangs on it, what torch has."""
    return run.threads if models.device() == "cpu" else torch.get_num_threads()


def _predict(
    planned: Planned, folder: Path, base: Base, record: Record, monitor: train.Monitor, force: bool
) -> list[Prediction]:
    """Loads, fits and answers."""
    model, tokenizer = base.load(planned, record)
    record.costs |= {"total_parameters": model.num_parameters(), "trainable_parameters": 0}  # four bits count as one
    begun = TRAINING_SHARE if planned.training else 0.0
    training = replace(monitor, report=lambda share: monitor.report(begun * share))
    elsewhere = forgetting.before(planned, base, record)
    model = fitting.attach(planned, base, folder, record, force=force, monitor=training)
    forgetting.after(planned, base, model, elsewhere, record)
    answering = replace(monitor, report=lambda share: monitor.report(begun + share * (1 - begun)))
    predictions = answers(planned, model, tokenizer, folder, record, answering)
    fitting.detach(planned, base, model)
    return predictions


def answers(
    planned: Planned, model, tokenizer, folder: Path, record: Record, monitor: train.Monitor
) -> list[Prediction]:
    """One prediction an example, of which `folder` may have some.

    Where memory runs out, half as many examples are answered at a time; the longest are first, so that is soon known.
    """
    run, data = planned.run, planned.data
    found = _shots(planned, record)
    queries = planning.build_prompts(run, data.test, [shots.shots for shots in found], tokenizer)
    answer = partial(_answer, planned, model, tokenizer, queries, found)
    with record.phase("generate") as phase, resume.answers(resume.answers_file(folder, planned)) as stored:
        phase.earlier = stored.costs

        def keep(index: int, prediction: Prediction) -> None:
            stored.keep(index, prediction, phase.so_far())
            monitor.report(len(stored.known) / len(queries))

        size = run.decoding.batch_size
        while (smaller := _keep_answers(answer, stored.known, size, len(queries), keep)) is not None:
            size = record.notes["answered_at_a_time"] = smaller
            fitting.free()
        predictions = [stored.known[index] for index in range(len(queries))]
        if stored.resumed > 0:
            record.notes["answers_resumed"] = stored.resumed
    _note(record, planned, predictions, prompts.date_shown(tokenizer))
    return predictions


def _shots(planned: Planned, record: Record) -> list[Found]:
    """The training examples before each query."""
    run, data = planned.run, planned.data
    if isinstance(run.method, spec.Retrieved):
        with record.phase("retrieve"):
            return retrieve.nearest(data.train, data.test, run.method, device=models.device())
    count = run.method.shots if isinstance(run.method, spec.InContext) else 0
    return [Found(retrieve.random_shots(data.train, count, run.seed) if count else (), ())] * len(data.test)


def _keep_answers(
    answer: Callable[..., Iterator[tuple[int, Prediction]]],
    known: dict[int, Prediction],
    size: int,
    count: int,
    keep: Callable[[int, Prediction], None],
) -> int | None:
    """Answers what is not known, `size` examples at a time; gives a smaller size where memory is short of it."""
    try:
        for index, prediction in answer(known, size):
            keep(index, prediction)
    except (RuntimeError, MemoryError) as problem:
        if (most := min(size, count)) == 1 or not memory.is_out_of_memory(problem):
            raise
        return most // 2  # what the failed batch held goes with its traceback, after this
    return None


def _answer(
    planned: Planned,
    model,
    tokenizer,
    queries: Sequence[prompts.Prompt],
    found: Sequence[Found],
    known: dict[int, Prediction],
    size: int,
) -> Iterator[tuple[int, Prediction]]:
    """(place of the example, prediction) of each that is not known; those of a joint task have their part's limits."""
    run, opened = planned.run, prompts.is_chat(tokenizer)  # the prompt ends in a code fence
    parts: dict[tasks.Task, list[int]] = {}
    for index, example in enumerate(planned.data.test):
        parts.setdefault(tasks.source(tasks.of(run), example), []).append(index)
    for task, indices in parts.items():
        stops = _stops(run, task, opened=opened)
        completions = generate.completions(
            model,
            tokenizer,
            [queries[index] for index in indices],
            replace(run.decoding, batch_size=size),
            new_tokens=task.output_tokens,
            stops=stops,
            precision=run.precision,
            seed=run.seed,
            done={place for place, index in enumerate(indices) if index in known},
        )
        for place, texts, new_tokens in completions:
            index = indices[place]
            prompt, shots = queries[index], found[index]
            kept = slice(prompt.dropped_shots, None)
            yield (
                index,
                Prediction(
                    example=planned.data.test[index].id,
                    completions=tuple(texts),
                    codes=tuple(prompts.extract(text, stops, opened=opened) for text in texts),
                    prompt_tokens=prompt.tokens,
                    new_tokens=new_tokens,
                    dropped_shots=prompt.dropped_shots,
                    shots=tuple(example.id for example in shots.shots[kept]),
                    similarities=shots.similarities[kept],
                ),
            )


def _note(record: Record, planned: Planned, predictions: Sequence[Prediction], date: str | None) -> None:
    """What is to be known of the answers."""
    count, dropped = len(predictions), [answer.dropped_shots for answer in predictions]
    tokens = sum(answer.prompt_tokens for answer in predictions) / count + planning.virtual_tokens(planned.run)
    new_tokens = sum(answer.new_tokens for answer in predictions) / count
    record.costs |= {"prompt_tokens": tokens, "new_tokens": new_tokens, "examples": count}
    record.notes |= {"date_in_prompts": date} if date else {}
    record.notes["rows_without_code"] = planned.data.without_code
    record.notes |= {"queries_with_dropped_shots": sum(map(bool, dropped)), "dropped_shots": sum(dropped)}


def _stops(run: spec.Run, task: tasks.Task, *, opened: bool) -> tuple[str, ...]:
    """The strings that end an answer, and the closing fence if the prompt `opened` one."""
    return () if opened and run.decoding.ending == "fence" else task.stops


def _score(
    planned: Planned, predictions: list[Prediction], record: Record, allow_code_execution: bool
) -> tuple[list[Prediction], dict[str, dict]]:
    """The predictions with their scores, and the means; the record gets what running the answers cost."""
    run, examples = planned.run, planned.data.test
    task = tasks.of(run)
    scored = metrics.score(examples, predictions, study_scores=run.study_scores, house_style=task.house_style)
    if task.executed:
        sampled = run.decoding.temperature is not None
        with record.phase("execute"):
            scored = metrics.execute(examples, scored, sampled=sampled, allow_code_execution=allow_code_execution)
        record.notes["by_difficulty"] = metrics.by_difficulty(scored, examples)
        record.notes["sandbox"] = sandbox.layers()
    return scored, metrics.summary(scored, examples)


def _rescored(planned: Planned, folder: Path, earlier: Row, allow_code_execution: bool) -> Row:
    """The row with scores as they are computed today, from the answers that are there."""
    record = Record(dict(earlier.costs), dict(earlier.notes))
    predictions = _extracted(planned, results.predictions(folder, planned.id))
    predictions, scores = _score(planned, predictions, record, allow_code_execution)
    now = provenance.collect()
    made = earlier.provenance | {"revisions": now["revisions"], "scored": now}
    row = replace(earlier, scores=scores, provenance=made, **asdict(record))
    results.write(folder, row, predictions)
    _card(planned, folder, row)
    return row


def _extracted(planned: Planned, predictions: Sequence[Prediction]) -> list[Prediction]:
    """Stored answers without scores, with code taken from the completions again."""
    run, opened = planned.run, prompts.is_chat(planning.tokenizer(planned.run))
    task = tasks.of(run)
    stops = {example.id: _stops(run, tasks.source(task, example), opened=opened) for example in planned.data.test}

    def codes(prediction: Prediction) -> tuple[str, ...]:
        return tuple(prompts.extract(text, stops[prediction.example], opened=opened) for text in prediction.completions)

    return [replace(prediction, codes=codes(prediction), scores={}, verdicts=()) for prediction in predictions]


def _card(planned: Planned, folder: Path, row: Row) -> None:
    """The card of the run's adapter, with the scores of every run that used it."""
    path = fitting.adapter_folder(folder, planned)
    if row.status != results.OK or not planned.training or not fitting.is_saved(path):
        return
    run = planned.run
    alike = f"*.{glob.escape(spec.label(run.method))}.{run.precision}.seed{run.seed}.*.json".lower()  # as ids end
    rows = results.read(folder, [found.stem for found in sorted(folder.glob(alike))])  # few of a large folder's
    used = [other for other in rows if other.notes.get("adapter") == planned.training]
    scores = {(other.settings["task"], other.settings.get("split", "test")): other.scores for other in used}
    methods.card(path, scores=scores)


def _origin(planned: Planned) -> dict:
    """Device, and content of data and weights; of torchao, which few runs need, the version."""
    device = models.device()
    return ({"torchao": version("torchao")} if planned.run.precision in spec.TORCHAO else {}) | {
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else None,
        "threads": _threads(planned.run),
        "data": planned.data.content,
        "data_revision": planned.data.revision,
        "weights": planning.weights(planned.run),
        "trust_remote_code": planned.run.trust_remote_code,
    }

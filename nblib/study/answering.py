"""A model with its method to predictions: shots, prompts, answers, and their execution. Scores nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nblib import generate, memory, metrics, models, prompts, retrieve, sandbox, spec, tasks
from nblib.results import Prediction
from nblib.retrieve import Found
from nblib.spec import Run
from nblib.study import fitting, unfinished
from nblib.study.phases import Phase, phase
from nblib.study.planning import Planned, ask, virtual_tokens


def predict(
    planned: Planned, model, tokenizer, folder: Path, costs: dict, notes: dict, report: Callable[[float], None]
) -> list[Prediction]:
    """One prediction an example, of which `folder` may have some; costs and notes are filled in.

    Where memory runs out, half as many examples are answered at a time; the longest are first, so that is soon known.
    """
    run, data = planned.run, planned.data
    if isinstance(run.method, spec.Retrieved):
        with phase("retrieve", costs):
            found = retrieve.nearest(data.train, data.test, run.method, device=models.device())
    else:
        count = run.method.shots if isinstance(run.method, spec.InContext) else 0
        found = [Found(retrieve.random_shots(data.train, count, run.seed) if count else (), ())] * len(data.test)
    asked = ask(run, data.test, [each.shots for each in found], tokenizer)
    if date := prompts.date_shown(tokenizer):
        notes["date_in_prompts"] = date
    with phase("generate", costs) as measured, unfinished.answers(unfinished.answers_file(folder, planned)) as kept:
        measured.earlier = kept.costs
        if kept.resumed > 0:
            notes["answers_resumed"] = kept.resumed
        size = planned.run.decoding.batch_size
        while (fewer := _answered(planned, asked, found, model, tokenizer, kept, measured, report, size)) is not None:
            size = notes["answered_at_a_time"] = fewer
            fitting.free()
        predictions = [kept.there[index] for index in range(len(asked))]
    count = len(predictions)
    costs["prompt_tokens"] = sum(each.prompt_tokens for each in predictions) / count + virtual_tokens(run)
    costs["new_tokens"] = sum(each.new_tokens for each in predictions) / count
    costs["examples"] = count
    notes["rows_without_code"] = data.without_code
    notes["queries_with_dropped_shots"] = sum(each.dropped_shots > 0 for each in predictions)
    notes["dropped_shots"] = sum(each.dropped_shots for each in predictions)
    return predictions


def execute(
    planned: Planned, predictions: list[Prediction], costs: dict, notes: dict, allow_code_execution: bool
) -> list[Prediction]:
    """Runs the answers against their tests."""
    with phase("execute", costs):
        executed = metrics.execute(
            planned.data.test,
            predictions,
            sampled=planned.run.decoding.temperature is not None,
            allow_code_execution=allow_code_execution,
        )
    notes["by_difficulty"] = metrics.by_difficulty(executed, planned.data.test)
    notes["sandbox"] = sandbox.layers()
    return executed


def _answered(
    planned: Planned,
    asked: Sequence[prompts.Prompt],
    found: Sequence[Found],
    model,
    tokenizer,
    answers: unfinished.Answers,
    measured: Phase,
    report: Callable[[float], None],
    size: int,
) -> int | None:
    """Answers what is not there, `size` examples at a time; gives a smaller size where there is no memory for it.

    Examples of a joint task have the limits of their own part.
    """
    run, examples, opened = planned.run, planned.data.test, prompts.is_chat(tokenizer)
    parts: dict[tasks.Task, list[int]] = {}
    for index, example in enumerate(examples):
        parts.setdefault(tasks.source(tasks.get(run.task), example), []).append(index)
    try:
        for task, indices in parts.items():
            done = {place for place, index in enumerate(indices) if index in answers.there}
            mine = [asked[index] for index in indices]
            for place, texts, new_tokens in _completions(run, task, mine, model, tokenizer, done, size):
                index = indices[place]
                kept = slice(asked[index].dropped_shots, None)
                prediction = Prediction(
                    example=examples[index].id,
                    completions=tuple(texts),
                    codes=tuple(prompts.extract(text, task.stops, opened=opened) for text in texts),
                    prompt_tokens=asked[index].tokens,
                    new_tokens=new_tokens,
                    dropped_shots=asked[index].dropped_shots,
                    shots=tuple(each.id for each in found[index].shots[kept]),
                    similarities=found[index].similarities[kept],
                )
                answers.keep(index, prediction, measured.so_far())
                report(len(answers.there) / len(asked))
    except (RuntimeError, MemoryError) as problem:
        if (most := min(size, len(asked))) == 1 or not memory.is_out_of_memory(problem):
            raise
        return most // 2  # what the failed batch held goes with its traceback, after this
    return None


def _completions(
    run: Run, task: tasks.Task, asked: Sequence[prompts.Prompt], model, tokenizer, done: set[int], size: int
):
    return generate.completions(
        model,
        tokenizer,
        asked,
        replace(run.decoding, batch_size=size),
        new_tokens=task.output_tokens,
        stops=task.stops,
        precision=run.precision,
        seed=run.seed,
        done=done,
    )

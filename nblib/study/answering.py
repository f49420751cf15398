"""A model with its method to predictions: shots, prompts, answers, and their scores."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nblib import generate, memory, metrics, models, prompts, retrieve, sandbox, spec, tasks
from nblib.results import Prediction
from nblib.retrieve import Found
from nblib.study import fitting, resume
from nblib.study.planning import Planned, build_prompts, tokenizer, virtual_tokens
from nblib.study.record import Phase, Record


def predict(
    planned: Planned, model, tokenizer, folder: Path, record: Record, report: Callable[[float], None]
) -> list[Prediction]:
    """One prediction an example, of which `folder` may have some; the record gets costs and notes.

    Where memory runs out, half as many examples are answered at a time; the longest are first, so that is soon known.
    """
    run, data = planned.run, planned.data
    found = _shots(planned, record)
    asked = build_prompts(run, data.test, [each.shots for each in found], tokenizer)
    if date := prompts.date_shown(tokenizer):
        record.notes["date_in_prompts"] = date
    with record.phase("generate") as measured, resume.answers(resume.answers_file(folder, planned)) as answers:
        measured.earlier = answers.costs
        if answers.resumed > 0:
            record.notes["answers_resumed"] = answers.resumed
        batch = _Batch(planned, asked, found, model, tokenizer, answers, measured, report)
        size = run.decoding.batch_size
        while (smaller := batch.answer(size)) is not None:
            size = record.notes["answered_at_a_time"] = smaller
            fitting.free()
        predictions = [answers.known[index] for index in range(len(asked))]
    count = len(predictions)
    record.costs["prompt_tokens"] = sum(each.prompt_tokens for each in predictions) / count + virtual_tokens(run)
    record.costs["new_tokens"] = sum(each.new_tokens for each in predictions) / count
    record.costs["examples"] = count
    record.notes["rows_without_code"] = data.without_code
    record.notes["queries_with_dropped_shots"] = sum(each.dropped_shots > 0 for each in predictions)
    record.notes["dropped_shots"] = sum(each.dropped_shots for each in predictions)
    return predictions


def extracted(planned: Planned, predictions: Sequence[Prediction]) -> list[Prediction]:
    """Stored answers without scores, their code taken out of the completions anew."""
    opened = prompts.is_chat(tokenizer(planned.run))
    named = tasks.of(planned.run)
    stops = {
        example.id: _stops(planned.run, tasks.source(named, example), opened=opened) for example in planned.data.test
    }
    return [
        replace(
            each,
            codes=tuple(prompts.extract(text, stops[each.example], opened=opened) for text in each.completions),
            scores={},
            verdicts=(),
        )
        for each in predictions
    ]


def score(
    planned: Planned, predictions: list[Prediction], record: Record, *, allow_code_execution: bool
) -> tuple[list[Prediction], dict[str, dict]]:
    """The predictions with their scores, and the means; the record gets what running the answers cost."""
    examples = planned.data.test
    scored = metrics.score(examples, predictions, study_scores=planned.run.study_scores)
    if tasks.of(planned.run).executed:
        with record.phase("execute"):
            scored = metrics.execute(
                examples,
                scored,
                sampled=planned.run.decoding.temperature is not None,
                allow_code_execution=allow_code_execution,
            )
        record.notes["by_difficulty"] = metrics.by_difficulty(scored, examples)
        record.notes["sandbox"] = sandbox.layers()
    return scored, metrics.summary(scored, examples)


def _shots(planned: Planned, record: Record) -> list[Found]:
    """The training examples before each query."""
    run, data = planned.run, planned.data
    if isinstance(run.method, spec.Retrieved):
        with record.phase("retrieve"):
            return retrieve.nearest(data.train, data.test, run.method, device=models.device())
    count = run.method.shots if isinstance(run.method, spec.InContext) else 0
    return [Found(retrieve.random_shots(data.train, count, run.seed) if count else (), ())] * len(data.test)


def _stops(run: spec.Run, task: tasks.Task, *, opened: bool) -> tuple[str, ...]:
    """The strings that an answer ends before, beside the closing fence where the prompt `opened` one."""
    return () if opened and run.decoding.ending == "fence" else task.stops


class _Batch:
    """Answers that are wanted, and those that are known."""

    def __init__(
        self,
        planned: Planned,
        asked: Sequence[prompts.Prompt],
        found: Sequence[Found],
        model,
        tokenizer,
        answers: resume.Answers,
        measured: Phase,
        report: Callable[[float], None],
    ):
        self.planned, self.asked, self.found = planned, asked, found
        self.model, self.tokenizer = model, tokenizer
        self.answers, self.measured, self.report = answers, measured, report
        self.opened = prompts.is_chat(tokenizer)  # the prompt ends in a code fence

    def answer(self, size: int) -> int | None:
        """Answers what is not known, `size` examples at a time; gives a smaller size where memory is short of it.

        Examples of a joint task have the limits of their own part.
        """
        named = tasks.of(self.planned.run)
        parts: dict[tasks.Task, list[int]] = {}
        for index, example in enumerate(self.planned.data.test):
            parts.setdefault(tasks.source(named, example), []).append(index)
        try:
            for task, indices in parts.items():
                self._answer_part(task, indices, size)
        except (RuntimeError, MemoryError) as problem:
            if (most := min(size, len(self.asked))) == 1 or not memory.is_out_of_memory(problem):
                raise
            return most // 2  # what the failed batch held goes with its traceback, after this
        return None

    def _answer_part(self, task: tasks.Task, indices: list[int], size: int) -> None:
        run = self.planned.run
        stops = _stops(run, task, opened=self.opened)
        completions = generate.completions(
            self.model,
            self.tokenizer,
            [self.asked[index] for index in indices],
            replace(run.decoding, batch_size=size),
            new_tokens=task.output_tokens,
            stops=stops,
            precision=run.precision,
            seed=run.seed,
            done={place for place, index in enumerate(indices) if index in self.answers.known},
        )
        for place, texts, new_tokens in completions:
            index = indices[place]
            prediction = self._prediction(index, texts, new_tokens, stops)
            self.answers.keep(index, prediction, self.measured.so_far())
            self.report(len(self.answers.known) / len(self.asked))

    def _prediction(self, index: int, texts: Sequence[str], new_tokens: int, stops: Sequence[str]) -> Prediction:
        asked, found = self.asked[index], self.found[index]
        shown = slice(asked.dropped_shots, None)
        return Prediction(
            example=self.planned.data.test[index].id,
            completions=tuple(texts),
            codes=tuple(prompts.extract(text, stops, opened=self.opened) for text in texts),
            prompt_tokens=asked.tokens,
            new_tokens=new_tokens,
            dropped_shots=asked.dropped_shots,
            shots=tuple(each.id for each in found.shots[shown]),
            similarities=found.similarities[shown],
        )

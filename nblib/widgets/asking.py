"""One question to one model by several methods, step by step, as the study asks it. Shows nothing."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn
from transformers import PreTrainedTokenizerBase

from nblib import (
    generate,
    memory,
    metrics,
    models,
    presets,
    prompts,
    provenance,
    retrieve,
    spec,
    study,
    tasks,
    train,
)
from nblib.results import Prediction
from nblib.retrieve import Found
from nblib.spec import Decoding, Run
from nblib.study import fitting, planning
from nblib.study.planning import Planned
from nblib.study.record import Record
from nblib.tasks import Data, Example
from nblib.widgets.answers import Answer, Answers, Asked
from nblib.widgets.listening import heard, stoppable

MOST_METHODS = 4  # beside one another
BRIEF_EPOCHS = 1  # of a training that nobody has made yet
SHOTS = 3  # of `icl` and `rag` without a number
OWN = "yours"  # the id of a question that is no test example

TURN = threading.Lock()  # one question at a time: seeds, memory and threads are the process's


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Watch:
    """Who is told what happens meanwhile, in the thread that works."""

    status: Callable[[str, float | None], None] = _nothing  # what is going on, and the share that is done, if known
    asked: Callable[[Asked], None] = _nothing  # before each answer
    written: Callable[[str, str], None] = _nothing  # a method's label and its text so far; not with beams
    answered: Callable[[Answer], None] = _nothing
    check: Callable[[], None] = _nothing  # before each token and after each training step; what it raises ends all


@dataclass(frozen=True)
class Choice:
    """What is asked, but for the question."""

    model: str
    task: str
    methods: tuple[str, ...]  # zero-shot, icl-3, rag-3, or any method that trains
    precision: str = "auto"
    beams: int = 1  # as many answers; 1 is greedy
    preset: str = "default"
    seed: int = 42  # of random shots and of training
    data_dir: str | None = None

    def __post_init__(self):
        if not 0 < len(self.methods) <= MOST_METHODS:
            raise ValueError(f"methods must be 1 to {MOST_METHODS}; got {len(self.methods)}: choose some of them")


class Bench:
    """The model that was loaded last, for the next question to it."""

    def __init__(self) -> None:
        self.base = fitting.Base()
        self._planned: tuple[Choice, list[Planned]] | None = None

    def plan(self, choice: Choice) -> list[Planned]:
        """One run a method, checked; trained ones as the preset trains them."""
        if self._planned is None or self._planned[0] != choice:
            self._planned = choice, [_plan(_run(choice, name)) for name in choice.methods]
        planned = self._planned[1]
        labels = [_label(each.run) for each in planned]
        if len(set(labels)) < len(labels):
            raise ValueError(f"methods must differ; got {', '.join(labels)}: choose each once")
        return planned

    def answer(self, choice: Choice, *, intent: str, example: str, store: Path, watch: Watch) -> Answers:
        """See `playground.answer`."""
        with _turn(watch):
            watch.status("reading the task", None)
            planned = self.plan(choice)
            question = _question(planned[0].data, choice.task, intent, example)
            return Answers(question, tuple(self._one(each, question, store, watch) for each in planned))

    def drop(self) -> None:
        """Frees the model."""
        self.base.drop()

    def _one(self, planned: Planned, question: Example, store: Path, watch: Watch) -> Answer:
        label = _label(planned.run)
        watch.check()
        watch.status(f"{label}: loading {planned.run.model}", None)
        try:
            _, tokenizer = self.base.load(planned, Record())
            asked, prompt = _asked(planned, question, tokenizer)
            watch.asked(asked)
            with self._attached(planned, store, watch) as (model, trained):
                watch.status(f"{label}: answering", None)
                prediction, seconds = _generate(planned, question, asked, prompt, model, tokenizer, watch)
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error):
                raise
            self.drop()
            raise MemoryError(f"{label} found no memory left: take a smaller model, or precision int8 or nf4") from None
        answer = Answer(asked, prediction, seconds, trained)
        watch.answered(answer)
        return answer

    @contextmanager
    def _attached(self, planned: Planned, store: Path, watch: Watch) -> Iterator[tuple[nn.Module, str]]:
        """The base with the method on it, and where its weights come from; the base is left as it was."""
        if not planned.training:
            assert self.base.model is not None  # it was loaded
            yield self.base.model, ""
            return
        planned, origin = _trained(planned, store)
        label, start = _label(planned.run), time.monotonic()

        def report(share: float) -> None:
            watch.check()
            watch.status(f"{label}: training briefly, as there is no trained adapter yet", share)

        def waiting() -> None:
            watch.check()
            watch.status(f"{label}: waiting for another process, which trains the same adapter", None)

        try:
            monitor = train.Monitor(report=report, waiting=waiting)
            model = fitting.attach(planned, self.base, store, Record(), monitor=monitor)
        except BaseException:
            self.drop()  # whatever is attached to it, half trained
            raise
        try:
            yield model, origin or f"{_epochs(planned.run)} here, {time.monotonic() - start:.0f} s"
        finally:
            fitting.detach(planned, self.base, model)


def examples(task: str, data_dir: str | Path | None = None) -> tuple[Example, ...]:
    """The test examples of a task. Raises as `tasks.load` does."""
    return tasks.load(task, data_dir).test


def default_store() -> Path:
    """Where results are, unless somebody says otherwise."""
    return provenance.ROOT / "results"


# --- before ---------------------------------------------------------------------------------------------------------


@contextmanager
def _turn(watch: Watch) -> Iterator[None]:
    while not TURN.acquire(timeout=0.1):
        watch.status("waiting for another question", None)
        watch.check()
    try:
        yield
    finally:
        TURN.release()


def _run(choice: Choice, name: str) -> Run:
    """A method's run as a comparison of the study has it, but for the number of beams."""
    kind, shots = _parsed(name)
    (run,) = study.compare(
        choice.model,
        choice.task,
        preset=choice.preset,
        names=[kind],
        shots=shots,
        seeds=[choice.seed],
        precision=choice.precision,
        data_dir=choice.data_dir,
    )
    early = presets.get(choice.preset).decoding.early_stopping and choice.beams > 1  # else transformers warns
    return replace(run, decoding=Decoding(beams=choice.beams, returned=choice.beams, early_stopping=early))


def _parsed(name: str) -> tuple[str, list[int]]:
    """`icl-8` to `icl` and 8 shots; any other name stays."""
    kind, _, count = name.rpartition("-")
    if kind in ("icl", "rag") and count.isdigit():
        return kind, [int(count)]
    return name, [SHOTS] if name in ("icl", "rag") else []


def _plan(run: Run) -> Planned:
    # Allowed, because nothing is executed here: the answers are only shown.
    (planned,) = study.plan([run], allow_code_execution=True)
    return planned


def _question(data: Data, task: str, intent: str, example: str) -> Example:
    if bool(intent.strip()) == bool(example):
        raise ValueError("a question is an intent or the id of a test example; give one of the two")
    if not example:
        return Example(OWN, intent.strip(), "")
    for each in data.test:
        if each.id == example:
            return each
    first = f", such as {data.test[0].id!r}" if data.test else ""
    raise ValueError(f"example must be the id of a test example of {task}{first}; got {example!r}")


def _asked(planned: Planned, question: Example, tokenizer: PreTrainedTokenizerBase) -> tuple[Asked, prompts.Prompt]:
    run = planned.run
    found = _found(planned, question)
    (prompt,) = planning.build_prompts(run, [question], [found.shots], tokenizer)
    virtual = planning.virtual_tokens(run)
    room = planning.max_prompt_tokens(run, new_tokens=tasks.of(run).output_tokens)
    kept = slice(prompt.dropped_shots, None)
    shown = Asked(
        label=_label(run),
        prompt=prompt.text,
        prompt_tokens=prompt.tokens,
        virtual_tokens=virtual,
        room_tokens=room,
        shots=found.shots[kept],
        similarities=found.similarities[kept],
    )
    return shown, prompt


def _found(planned: Planned, question: Example) -> Found:
    """What stands before the question; nothing where the method shows no examples."""
    run, train = planned.run, planned.data.train
    if isinstance(run.method, spec.Retrieved):
        return retrieve.nearest(train, [question], run.method, device=models.device())[0]
    if isinstance(run.method, spec.InContext):
        return Found(retrieve.random_shots(train, run.method.shots, run.seed), ())
    return Found((), ())


def _trained(planned: Planned, store: Path) -> tuple[Planned, str]:
    """The run whose trained adapter is there, as the preset trains it if possible; else a brief one, and no words."""
    assert planned.run.training is not None  # a method that trains
    brief = _plan(replace(planned.run, training=replace(planned.run.training, epochs=BRIEF_EPOCHS)))
    for each in (planned, brief):
        if fitting.is_saved(fitting.adapter_folder(store, each)):
            return each, f"{_epochs(each.run)}, an adapter of the results folder"
    return brief, ""


def _epochs(run: Run) -> str:
    count = run.training.epochs if run.training else 0
    return f"{count} epoch{'s' * (count != 1)}"


def _label(run: Run) -> str:
    return spec.label(run.method, run.precision)


# --- the answer -----------------------------------------------------------------------------------------------------


def _generate(
    planned: Planned,
    question: Example,
    asked: Asked,
    prompt: prompts.Prompt,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    watch: Watch,
) -> tuple[Prediction, float]:
    """The study's way, but with a listener; the seconds are those of generation alone."""
    run, task = planned.run, tasks.source(tasks.of(planned.run), question)
    written = (lambda text: watch.written(asked.label, text)) if run.decoding.beams == 1 else None
    start = time.monotonic()
    with stoppable(model, watch.check), heard(model, tokenizer, written):
        ((_, texts, new_tokens),) = generate.completions(
            model,
            tokenizer,
            [prompt],
            run.decoding,
            new_tokens=task.output_tokens,
            stops=task.stops,
            precision=run.precision,
            seed=run.seed,
        )
    seconds = time.monotonic() - start
    opened = prompts.is_chat(tokenizer)
    prediction = Prediction(
        example=question.id,
        completions=tuple(texts),
        codes=tuple(prompts.extract(text, task.stops, opened=opened) for text in texts),
        prompt_tokens=prompt.tokens,
        new_tokens=new_tokens,
        dropped_shots=prompt.dropped_shots,
        shots=tuple(each.id for each in asked.shots),
        similarities=asked.similarities,
    )
    return _scored(question, prediction), seconds


def _scored(question: Example, prediction: Prediction) -> Prediction:
    """With its scores where a reference is known."""
    (scored,) = metrics.score([question], [prediction]) if question.code else [prediction]
    return scored


def choose(methods: Sequence[str]) -> tuple[str, ...]:
    """The names without the empty ones, in their order."""
    return tuple(each for each in methods if each)

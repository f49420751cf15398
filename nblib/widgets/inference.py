"""One question to one model by several methods, each as a run of the study has it. Shows nothing."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase, TextStreamer

from nblib import memory, metrics, presets, provenance, spec, study, tasks, train
from nblib.methods import FACTS, load, read
from nblib.spec import Decoding, Run
from nblib.study import Planned, fitting, planning
from nblib.study.fitting import Base, Record
from nblib.study.run import answers
from nblib.tasks import Data, Example
from nblib.widgets.answers import Answer, Answers

MAX_METHODS = 4  # beside one another
BRIEF_EPOCHS = 1  # of a training that nobody has made yet
SHOTS = "3"  # of `icl` and `rag` without a number
OWN = "yours"  # the id of a question that is no test example

TURN = threading.Lock()  # one question at a time: seeds, memory and threads are the process's


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Watch:
    """Who hears what happens meanwhile, in the thread that works."""

    status: Callable[[str, float | None], None] = _ignore  # what is going on, and the share that is done, if known
    written: Callable[[str, str], None] = _ignore  # a method's label and its text so far; not with beams
    answered: Callable[[Answer], None] = _ignore
    check: Callable[[], None] = _ignore  # before each token and after each training step; what it raises ends all


def answer(
    model: str,
    task: Any,
    methods: Sequence[str],
    *,
    intent: str = "",
    example: str = "",
    beams: int = 1,
    results_dir: str | Path | None = None,
    base: Base | None = None,
    watch: Watch = Watch(),
    **settings,
) -> Answers:
    """What up to four methods answer to one question: an intent of your own, or the id of a test example.

    `methods` are `zero-shot`, `icl-3`, `rag-3` (any number of shots), names of those that train, or folders of adapters
    that a study trained. A name that trains takes the adapter that a run left in `results_dir`, else it is trained for
    one epoch and kept there. Prompts, shots and decoding are the study's; `beams` are as many answers, 1 is greedy.
    `base` keeps the model for the next question. `settings` are those of `study.compare`: `precision`, `preset`,
    `seeds` (one, 42), `data_dir`…
    Raises ValueError and others in one sentence before any work, MemoryError where memory does not suffice.
    """
    if not 0 < len(methods) <= MAX_METHODS:
        raise ValueError(f"methods must be 1 to {MAX_METHODS}; got {len(methods)}: choose some of them")
    with _turn(watch):
        watch.status("reading the task", None)
        runs = [_run(model, task, name, beams, {"seeds": [42]} | settings) for name in methods]
        planned = study.plan(runs, allow_code_execution=True)  # nothing is executed: the answers are only shown
        if len(planned) < len(runs):
            raise ValueError(f"methods must differ; got {', '.join(map(_label, runs))}: choose each once")
        question = _question(planned[0].data, task, intent.strip(), example)
        store, base = Path(results_dir or provenance.ROOT / "results"), base or Base()
        asked = zip(planned, map(_adapter, methods), strict=True)
        return Answers(question, tuple(_answer(one, own, question, base, store, watch) for one, own in asked))


def examples(task: Any, data_dir: str | Path | None = None) -> tuple[Example, ...]:
    """The test examples of a task. Raises as `tasks.load` does."""
    return tasks.load(task, data_dir).test


# --- what is asked --------------------------------------------------------------------------------------------------


@contextmanager
def _turn(watch: Watch) -> Iterator[None]:
    while not TURN.acquire(timeout=0.1):
        watch.status("waiting for another question", None)
        watch.check()
    try:
        yield
    finally:
        TURN.release()


def _run(model: str, task: str, name: str, beams: int, settings: dict) -> Run:
    """A method's run as a comparison of the study has it, but for the number of beams."""
    kind, _, count = (name, "", SHOTS) if name in ("icl", "rag") else name.rpartition("-")
    kinds: list[str | spec.Method]
    kinds, shots = ([kind], [int(count)]) if kind in ("icl", "rag") and count.isdigit() else ([name], [])
    if adapter := _adapter(name):
        trained = read(adapter)["facts"]["settings"]
        kinds, settings = [spec.method(**trained["method"])], settings | {"seeds": [trained["seed"]]}
    own = presets.get(settings.get("preset", "default")).decoding
    early = own.early_stopping and beams > 1  # or transformers warns
    settings = settings | {"data_dir": str(settings["data_dir"]) if settings.get("data_dir") else None}
    decoding = Decoding(beams=beams, returned=beams, early_stopping=early)
    (run,) = study.compare(model, task, names=kinds, shots=shots, decoding=decoding, **settings)
    return replace(run, training=spec.Training(**trained["training"])) if adapter else run


def _adapter(name: str) -> Path | None:
    """The folder of a trained adapter that is named in the place of a method."""
    return Path(name) if (Path(name) / FACTS).exists() else None


def _question(data: Data, task: Any, intent: str, example: str) -> Example:
    if bool(intent) == bool(example):
        raise ValueError(f"give an intent or choose an example; got {'both' if intent else 'neither'}")
    known = {test.id: test for test in data.test} | {"": Example(OWN, intent, "")}
    if example not in known:
        first = next(iter(known))
        raise ValueError(f"example must be the id of a test example of {task}, such as {first!r}; got {example!r}")
    return known[example]


def _label(run: Run, adapter: Path | None = None) -> str:
    """The method's name; an adapter's with what tells its folder from others, in a study's the hash at its end."""
    return spec.label(run.method, run.precision) + (f" ({adapter.name.rpartition('.')[2]})" if adapter else "")


# --- the answer -----------------------------------------------------------------------------------------------------


def _answer(planned: Planned, adapter: Path | None, question: Example, base: Base, store: Path, watch: Watch) -> Answer:
    """One method's answer, by the study's own way for a task of one question."""
    run, label, record = planned.run, _label(planned.run, adapter), Record()
    planned = replace(planned, data=replace(planned.data, test=(question,)))
    watch.check()
    watch.status(f"{label}: loading {run.model}", None)
    written = partial(watch.written, label) if run.decoding.beams == 1 else None
    try:
        _, tokenizer = base.load(planned, record)
        with _attached(planned, adapter, base, store, watch) as (model, trained), TemporaryDirectory() as folder:
            watch.status(f"{label}: answering", None)
            with streaming(model, tokenizer, watch.check, written):
                predictions = answers(planned, model, tokenizer, Path(folder), record, train.Monitor())
    except (RuntimeError, MemoryError) as error:
        if not memory.is_out_of_memory(error):
            raise
        base.drop()
        raise MemoryError(f"{label} found no memory left: take a smaller model, or precision int8 or nf4") from None
    scored = partial(metrics.score, [question], house_style=tasks.of(run).house_style)
    (prediction,) = scored(predictions) if question.code else predictions
    known = {example.id: example for example in planned.data.train}
    shots = tuple(known[id] for id in prediction.shots)
    (prompt,) = planning.build_prompts(run, [question], [shots], tokenizer)
    answer = Answer(
        label=label,
        prompt=prompt.text,
        prediction=prediction,
        shots=shots,
        virtual_tokens=planning.virtual_tokens(run),
        max_prompt_tokens=planning.max_prompt_tokens(run, new_tokens=tasks.of(run).output_tokens),
        seconds=record.costs["generate_seconds"] or 0.0,
        trained=trained,
    )
    watch.answered(answer)
    return answer


@contextmanager
def _attached(
    planned: Planned, adapter: Path | None, base: Base, store: Path, watch: Watch
) -> Iterator[tuple[nn.Module, str]]:
    """The base with the method on it, and where its weights come from; the base is left as it was."""
    planned, is_kept = (planned, True) if adapter else _kept_or_brief(planned, store)
    label, record = _label(planned.run, adapter), Record()

    def tell(what: str, share: float | None = None) -> None:
        watch.check()
        watch.status(f"{label}: {what}", share)

    monitor = train.Monitor(
        report=partial(tell, "training briefly, as there is no trained adapter yet"),
        waiting=partial(tell, "waiting for another process, which trains the same adapter"),
    )
    try:
        if adapter:
            model, origin = load(base.model, adapter), "your adapter"
        else:
            model = fitting.attach(planned, base, store, record, monitor=monitor)
            here = f"trained here in {record.costs.get('train_seconds', 0):.0f} s"
            origin = "an adapter of the results folder" if is_kept else here
    except BaseException:
        base.drop()  # whatever is attached to it, half trained
        raise
    epochs = planned.run.training.epochs if planned.run.training else 0
    try:
        yield model, f"{epochs} epoch{'s' * (epochs != 1)}, {origin}" * bool(epochs)
    finally:
        fitting.detach(planned, base, model)


def _kept_or_brief(planned: Planned, store: Path) -> tuple[Planned, bool]:
    """The run whose trained adapter is there, as the preset trains it if possible, and True; else a brief one."""
    if planned.run.training is None:
        return planned, False
    briefly = replace(planned.run, training=replace(planned.run.training, epochs=BRIEF_EPOCHS))
    (brief,) = study.plan([briefly], allow_code_execution=True)
    kept = [run for run in (planned, brief) if fitting.is_saved(fitting.adapter_folder(store, run))]
    return (kept[0], True) if kept else (brief, False)


@contextmanager
def streaming(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    check: Callable[[], None],
    written: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Inside, `check` is called before the model reads or writes a token, and what it raises ends the generation;
    `written` hears the text of one greedy answer, word by word."""
    # On the embeddings: they are the one layer that every way to generate goes through for each token.
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda *_: check())
    if written is not None:  # on the model itself, for what is called has to stay the study's own way
        model.generate = partial(model.generate, streamer=_Streamer(tokenizer, written))
    try:
        yield
    finally:
        hook.remove()
        vars(model).pop("generate", None)


class _Streamer(TextStreamer):
    """Hands on the text so far."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, written: Callable[[str], None]):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        self.written, self.text = written, ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.text += text
        self.written(self.text)

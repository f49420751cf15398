"""What to run: the runs of a comparison, a search or a transfer, and their plan, which checks each before any work."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nblib import methods, models, presets, prompts, retrieve, sandbox, spec, tasks, train
from nblib.spec import Decoding, Run
from nblib.tasks import Data, Example

GREEDY = Decoding(beams=1, returned=1, batch_size=50)  # of a search: one answer an example tells settings apart


@dataclass(frozen=True)
class Planned:
    """A run that passed every check."""

    run: Run
    id: str
    data: Data  # training and validation rows of the task that is trained on, queries as the test rows
    checks: dict = field(default_factory=dict)  # tasks.Checks as plain values
    training: str = ""  # spec.training_id where weights are trained


def compare(
    model: str,
    task: str,
    *,
    preset: str = "default",
    names: Sequence[str | spec.Method] = (),
    shots: Sequence[int] = (),
    seeds: Sequence[int] = (),
    precision: str = "auto",
    decoding: Decoding | None = None,
    **settings: Any,
) -> list[Run]:
    """The runs that compare methods on a task: the same data, prompt, decoding and training for each.

    `names` are methods as the preset sets them, or methods with settings of their own. Empty lists and no `decoding`
    stand for the preset's own. A method without randomness runs with the first seed only. `settings` are further ones
    of `spec.Run`: `limit` (queries), `max_train` (training rows), `data_dir`, `train_task`, `shape_only`,
    `trust_remote_code`. With a `train_task`, training examples and shots are that task's, and `data_dir` has a folder
    for each task. With `shape_only` weights are random: such runs measure memory and seconds, have no scores, and
    `limit` bounds their training batches and validation rows as well.
    Raises ValueError for anything unknown or out of range.
    """
    own = presets.get(preset)
    decoding = decoding or (own.sampling if tasks.get(task).sampled else own.decoding)
    shared = {"decoding": decoding, "study_scores": own.study_scores} | settings
    precision = models.choose_precision(precision)
    runs = []
    for method, own_precision in presets.methods(own, list(names), list(shots)):
        shared |= {"training": own.training if method.trained else None, "precision": own_precision or precision}
        unread = ("train_task", "max_train") if isinstance(method, spec.ZeroShot) else ()
        read = {name: value for name, value in shared.items() if name not in unread}
        for seed in _seeds(method, own, decoding, seeds):
            runs.append(Run(model, task, method, seed=seed, **read))
    return runs


def _seeds(method: spec.Method, preset: presets.Preset, decoding: Decoding, seeds: Sequence[int]) -> list[int]:
    prompted = isinstance(method, spec.InContext)
    chosen = list(seeds or (preset.icl_seeds if prompted else preset.seeds))
    return chosen if method.trained or prompted or decoding.temperature is not None else chosen[:1]


def sizes(
    model: str,
    task: str,
    *,
    preset: str = "default",
    names: Sequence[str | spec.Method] = ("lora",),
    precisions: Sequence[str] = ("auto",),
    batches: int = 1,
    data_dir: str | None = None,
) -> list[Run]:
    """The runs that measure memory and seconds of a model too large to be had, or to be trained here: random weights.

    Each named method at each precision trains one epoch of so many batches and answers as many queries greedily.
    Raises ValueError for anything unknown or out of range.
    """
    shared: dict = {"preset": preset, "names": names, "seeds": [0], "limit": batches, "data_dir": data_dir}
    decoding = replace(GREEDY, batch_size=1)
    runs = [
        run
        for precision in precisions
        for run in compare(model, task, precision=precision, decoding=decoding, shape_only=True, **shared)
    ]
    return [replace(run, training=run.training and replace(run.training, epochs=1)) for run in runs]


def search(
    model: str, task: str, *, preset: str = "default", names: Sequence[str] = (), seed: int = 1, **settings: Any
) -> list[Run]:
    """The runs that choose learning rates: each trained method at the rates of the preset, as many for each.

    Greedy answers to the validation split decide; the test split is not read. Empty `names` stand for all methods that
    the preset trains. `settings` are as in `compare`; `limit` and `max_train` make it cheaper.
    Raises ValueError for anything unknown or out of range.
    """
    trained, rates = names or presets.trained(presets.get(preset)), presets.get(preset).rates
    for name in trained:
        if name not in rates:
            raise ValueError(f"method of a search must be one of {', '.join(rates)}; got {name!r}")
    return [
        replace(run, method=replace(run.method, learning_rate=rate), split="validation")  # type: ignore[call-arg]
        for run in compare(model, task, preset=preset, names=trained, seeds=[seed], decoding=GREEDY, **settings)
        for rate in rates[run.method.kind]
    ]


def transfer(
    model: str,
    trained: Sequence[str],
    asked: Sequence[str],
    *,
    method: str | spec.Method = "lora",
    preset: str = "default",
    data_dir: str | None = None,
    **settings: Any,
) -> list[Run]:
    """The runs that ask each of the tasks `asked` with no training and with the method trained on each of `trained`.

    Where these are several, it is trained on all of them jointly as well. `data_dir` has a folder for each task;
    `settings` are as in `compare`.
    Raises ValueError for anything unknown or out of range.
    """
    first = presets.methods(presets.get(preset), [method], [])[0][0]
    if not first.trained:
        raise ValueError(f"transfer takes a method that trains; got {first.kind!r}")
    sources = [*trained, *(["+".join(trained)] if len(trained) > 1 else [])]
    runs = []
    for task in asked:
        own = {"data_dir": str(Path(data_dir) / task) if data_dir else None}
        runs += compare(model, task, preset=preset, names=["zero-shot"], **settings | own)
        for source in sources:
            other = {"data_dir": data_dir, "train_task": source}
            runs += compare(model, task, preset=preset, names=[method], **settings | (own if source == task else other))
    return runs


def plan(runs: Sequence[Run], *, allow_code_execution: bool = False) -> list[Planned]:
    """The runs, each once, with their ids and data; everything that can be checked is checked here, before any work.

    `allow_code_execution`: answers may be run as programs even where their isolation is weak.
    Raises ValueError, FileNotFoundError, ImportError, ConnectionError or PermissionError with one sentence.
    """
    planned: dict[str, Planned] = {}
    loaded: dict[tuple, tuple[Data, Data, dict]] = {}  # by tasks and place, and by model: its tokens are counted
    checked = set()
    for run in runs:
        key: tuple = (run.task, run.train_task, run.split, run.data_dir, run.max_train)
        key += (run.model, run.shape_only, run.trust_remote_code)
        if key not in loaded:
            loaded[key] = _load(run, allow_code_execution)
        data, trained_on, checks = loaded[key]
        work = replace(run, seed=0, limit=None, decoding=Decoding())
        if work not in checked:
            _check(run, data)
            checked.add(work)
        if run.training:
            _require_rows(run, checks)
        id, training = _ids(run, data, trained_on)
        planned[id] = Planned(run, id, _limited(run, data), checks, training)
    for one in {(run.run.shape_only, run.run.model): run for run in planned.values()}.values():
        build_prompts(one.run, one.data.test, [()] * len(one.data.test), tokenizer(one.run))
    return list(planned.values())


def build_prompts(
    run: Run, examples: Sequence[Example], shots: Sequence[Sequence[Example]], tokenizer
) -> list[prompts.Prompt]:
    """What the model sees for each example after its shots, in the room that answer and learned tokens leave."""
    task, halves = tasks.get(run.task), config(run).is_encoder_decoder
    room = max_prompt_tokens(run, new_tokens=task.output_tokens)
    return [
        prompts.build(example, shown, tokenizer, room=room, style=task.prompt, encoder_decoder=halves)
        for example, shown in zip(examples, shots, strict=True)
    ]


def model_source(run: Run) -> str:
    """Where the model's configuration is: with random weights, the one that the repository ships."""
    return models.shape(run.model) if run.shape_only else run.model


def config(run: Run):
    """The configuration of the run's model, as transformers has it."""
    return models.config(model_source(run), trust_remote_code=run.trust_remote_code)


def tokenizer(run: Run):
    """What the run reads with."""
    source = models.SHAPE_TOKENIZER if run.shape_only else run.model
    return models.load_tokenizer(source, trust_remote_code=run.trust_remote_code)


def weights(run: Run) -> str:
    """What identifies the run's weights; random ones are those of a configuration."""
    return models.revision(model_source(run), trust_remote_code=run.trust_remote_code)


def max_prompt_tokens(run: Run, *, new_tokens: int) -> int:
    """Tokens that a prompt may have beside the method's learned ones."""
    source, trusted = model_source(run), run.trust_remote_code
    return models.max_prompt_tokens(source, new_tokens=new_tokens, trust_remote_code=trusted) - virtual_tokens(run)


def virtual_tokens(run: Run) -> int:
    """Learned tokens that every query is processed with, beside its text."""
    return getattr(run.method, "virtual_tokens", 0)


def _limited(run: Run, data: Data) -> Data:
    """What the limit leaves: queries, and of random weights as many training batches and validation rows."""
    data = tasks.first(data, run.limit)
    if not run.shape_only or run.limit is None:
        return data
    rows = run.limit * (run.training.batch_size if run.training else 1)
    return replace(data, train=data.train[:rows], validation=data.validation[: run.limit])


def _load(run: Run, allow_code_execution: bool) -> tuple[Data, Data, dict]:
    """What a run reads, what its training reads, and what is to be known of the data."""
    if tasks.get(run.task).executed:
        sandbox.require(allow_code_execution)
    data = own = tasks.load(run.task, _folder(run, run.task))
    trained_on = tasks.load(run.train_task, _folder(run, run.train_task)) if run.train_task else own
    if run.train_task:
        rows = {name: getattr(trained_on, name) for name in ("train", "validation", "without_code")}
        data = replace(own, content=f"{trained_on.content} to {own.content}", **rows)
    if run.split == "validation":
        data = replace(data, test=own.validation)
    data = tasks.first_trained(data, run.max_train)
    return data, trained_on, asdict(tasks.checks(data, tokenizer(run)))


def _folder(run: Run, task: str) -> str | None:
    """The folder of a task's files: with a training task beside it, each has a folder of its name."""
    if run.data_dir is None or run.train_task is None or "+" in task:
        return run.data_dir
    return str(Path(run.data_dir) / task)


def _check(run: Run, data: Data) -> None:
    """Refuses what cannot work."""
    source, trusted = model_source(run), run.trust_remote_code
    if not isinstance(run.method, spec.ZeroShot):
        tasks.require_training(data, run.task)
    if isinstance(run.method, spec.InContext):
        retrieve.random_shots(data.train, run.method.shots, run.seed)
    elif isinstance(run.method, spec.Retrieved):
        retrieve.require(run.method, len(data.train))
    models.check(source, run.precision, trust_remote_code=trusted)
    methods.check(run.method, source, run.precision, trust_remote_code=trusted)
    if run.training:
        train.check(run.training)
    known = config(run)
    if known.is_encoder_decoder and getattr(known, "decoder_start_token_id", None) is None:
        raise ValueError(
            f"model {run.model!r} has no decoder_start_token_id in its config.json, with which answers begin: add it"
        )


def _require_rows(run: Run, checks: dict) -> None:
    """Refuses a training whose rows are all too long for its task."""
    name = run.train_task or run.task
    task = tasks.get(name)
    for split in checks["splits"]:
        if split["split"] != "test" and split["rows"] and split["rows_too_long"] == split["rows"]:
            raise ValueError(
                f"no {split['split']} row of {name} is within its limits of {task.input_tokens} tokens for an "
                f"intent and {task.output_tokens} for code: take another task or a tokenizer with longer tokens"
            )


def _ids(run: Run, data: Data, trained_on: Data) -> tuple[str, str]:
    """The ids of a run and of its training, which is empty where nothing is trained."""
    content, own = f"{data.content} {tasks.settings(run.task)}", weights(run)
    id = spec.run_id(run, data=content, weights=own)
    if not run.method.trained:
        return id, ""
    content = f"{trained_on.content} {tasks.settings(run.train_task or run.task)}"
    return id, spec.training_id(run, data=content, weights=own)

"""What to run: the runs of a comparison or a search, each checked before any work. Runs nothing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from math import gcd
from pathlib import Path
from typing import Any

from nblib import methods, models, presets, prompts, retrieve, sandbox, spec, tasks, train
from nblib.spec import Decoding, Run, UserData
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
    task: Any,
    *,
    preset: str = "default",
    names: Sequence[str | spec.Method] = (),
    shots: Sequence[int] = (),
    seeds: Sequence[int] = (),
    precision: str = "auto",
    decoding: Decoding | None = None,
    limit: int | None = None,
    data_dir: str | None = None,
    train_task: str | None = None,
    shape_only: bool = False,
    trust_remote_code: bool = False,
    max_train: int | None = None,
) -> list[Run]:
    """The runs that compare methods on a task: the same data, prompt, decoding and training for each.

    `task` is a known task's name, or a user's own data: whatever `tasks.resolve` takes or gives.
    `names` are methods as the preset sets them, or methods with settings of their own. Empty lists and no `decoding`
    stand for the preset's own. A method without randomness runs with the first seed only. With a `train_task`, training
    examples and shots are that task's, and `data_dir` has a folder for each task. With `shape_only` weights are random:
    such runs measure memory and seconds, have no scores, and `limit` bounds their training batches and validation rows
    as well. `trust_remote_code`: code that the model's makers keep beside its weights may be run. `max_train` leaves
    only the first training rows to every method that reads some.
    Raises ValueError for anything unknown or out of range.
    """
    settings = presets.get(preset)
    task = tasks.resolve(task)
    name, own = (task.name, task) if isinstance(task, UserData) else (task, None)
    decoding = decoding or (settings.decoding if own or not tasks.get(name).sampled else settings.sampling)
    precision = models.choose_precision(precision)
    runs = []
    for method, own_precision in presets.methods(settings, list(names), list(shots)):
        for seed in _seeds(method, settings, decoding, list(seeds)):
            runs.append(
                Run(
                    model=model,
                    task=name,
                    method=method,
                    precision=own_precision or precision,
                    training=settings.training if method.trained else None,
                    decoding=decoding,
                    seed=seed,
                    limit=limit,
                    data_dir=data_dir,
                    train_task=None if isinstance(method, spec.ZeroShot) else train_task,
                    study_scores=settings.study_scores,
                    shape_only=shape_only,
                    trust_remote_code=trust_remote_code,
                    max_train=None if isinstance(method, spec.ZeroShot) else max_train,
                    user_data=own,
                )
            )
    return runs


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
    runs = [
        run
        for precision in precisions
        for run in compare(
            model,
            task,
            preset=preset,
            names=names,
            seeds=[0],
            precision=precision,
            limit=batches,
            data_dir=data_dir,
            shape_only=True,
        )
    ]
    return [
        replace(run, training=run.training and replace(run.training, epochs=1), decoding=replace(GREEDY, batch_size=1))
        for run in runs
    ]


def search(
    model: str,
    task: str,
    *,
    preset: str = "default",
    names: Sequence[str] = (),
    seed: int = 1,
    precision: str = "auto",
    limit: int | None = None,
    data_dir: str | None = None,
    trust_remote_code: bool = False,
    max_train: int | None = None,
) -> list[Run]:
    """The runs that choose learning rates: each trained method at the rates of the preset, as many for each.

    Greedy answers to the validation split decide; the test split is not read. Empty `names` stand for all methods that
    the preset trains. `limit` and `max_train` make it cheaper: fewer queries, fewer training rows.
    Raises ValueError for anything unknown or out of range.
    """
    trained, rates = names or presets.trained(presets.get(preset)), presets.get(preset).rates
    for name in trained:
        if name not in rates:
            raise ValueError(f"method of a search must be one of {', '.join(rates)}; got {name!r}")
    shared = {"precision": precision, "limit": limit, "data_dir": data_dir, "max_train": max_train}
    shared |= {"trust_remote_code": trust_remote_code}
    found = compare(model, task, preset=preset, names=trained, seeds=[seed], **shared)  # type: ignore[arg-type]
    return [
        replace(run, method=_at(run.method, rate), decoding=GREEDY, split="validation")
        for run in found
        for rate in rates[run.method.kind]
    ]


def _at(method: spec.Method, rate: float) -> spec.Method:
    return replace(method, learning_rate=rate) if isinstance(method, spec.Trained) else method


def transfer(
    model: str,
    trained: Sequence[str],
    asked: Sequence[str],
    *,
    method: str | spec.Method = "lora",
    preset: str = "default",
    seeds: Sequence[int] = (),
    precision: str = "auto",
    limit: int | None = None,
    data_dir: str | None = None,
    trust_remote_code: bool = False,
    max_train: int | None = None,
) -> list[Run]:
    """The runs that ask each of the tasks `asked` with no training and with the method trained on each of `trained`.

    Where these are several, it is trained on all of them jointly as well. `data_dir` has a folder for each task.
    Raises ValueError for anything unknown or out of range.
    """
    ((first, _),) = presets.methods(presets.get(preset), [method], [])[:1]
    if not first.trained:
        raise ValueError(f"transfer takes a method that trains; got {first.kind!r}")
    sources = [*trained, *(["+".join(trained)] if len(trained) > 1 else [])]
    runs = []
    for task in asked:
        place = str(Path(data_dir) / task) if data_dir else None
        shared = {"preset": preset, "seeds": seeds, "precision": precision, "limit": limit, "max_train": max_train}
        shared |= {"trust_remote_code": trust_remote_code}
        runs += compare(model, task, names=["zero-shot"], data_dir=place, **shared)  # type: ignore[arg-type]
        for source in sources:
            where = {"data_dir": place} if source == task else {"data_dir": data_dir, "train_task": source}
            runs += compare(model, task, names=[method], **shared, **where)  # type: ignore[arg-type]
    return runs


def adjusted(
    runs: Sequence[Run],
    *,
    epochs: int = 0,
    batch_size: int = 0,
    learning_rate: float = 0.0,
    rank: int = 0,
    max_train: int = 0,
    drop_leaked: bool = False,
) -> list[Run]:
    """The runs with what a practitioner reaches for first; 0 leaves a setting as the preset has it.

    `learning_rate` is of every method that trains, but where rates are searched; `rank` of LoRA and its relatives;
    `max_train` rows are trained on, the first ones; with `drop_leaked` test rows whose intent is in the training rows,
    exactly or nearly, are left out.
    Raises ValueError for what is out of range.
    """
    return [
        replace(
            run,
            method=_of(run.method, rank, learning_rate if run.split == "test" else 0.0),
            training=run.training and _trained(run.training, epochs, batch_size),
            max_train=None if isinstance(run.method, spec.ZeroShot) else max_train or run.max_train,
            drop_leaked=drop_leaked or run.drop_leaked,
        )
        for run in runs
    ]


def _of(method: spec.Method, rank: int, learning_rate: float) -> spec.Method:
    changed: dict[str, Any] = {"r": rank} if rank and hasattr(method, "r") else {}
    if changed and isinstance(method, spec.AdaLora):
        changed["initial_r"] = rank + rank // 2
    if learning_rate and method.trained:
        changed["learning_rate"] = learning_rate
    return replace(method, **changed)


def _trained(training: spec.Training, epochs: int, batch_size: int) -> spec.Training:
    size = batch_size or training.batch_size
    device_batch = gcd(size, training.device_batch) if batch_size else training.device_batch
    return replace(training, epochs=epochs or training.epochs, batch_size=size, device_batch=device_batch)


def _seeds(method: spec.Method, preset: presets.Preset, decoding: Decoding, asked: list[int]) -> list[int]:
    seeds = asked or list(preset.icl_seeds if isinstance(method, spec.InContext) else preset.seeds)
    varies = method.trained or isinstance(method, spec.InContext) or decoding.temperature is not None
    return seeds if varies else seeds[:1]


def plan(runs: Sequence[Run], *, allow_code_execution: bool = False) -> list[Planned]:
    """The runs, each once, with their ids and data; everything that can be checked is checked here, before any work.

    `allow_code_execution`: answers may be run as programs even where their isolation is weak.
    Raises ValueError, FileNotFoundError, ImportError, ConnectionError or PermissionError with one sentence.
    """
    planned: dict[str, Planned] = {}
    loaded: dict[tuple, tuple[Data, Data, dict]] = {}  # by tasks and place, and by model: its tokens are counted
    checked = set()
    for run in runs:
        key: tuple = (run.task, run.train_task, run.split, run.data_dir, run.model, run.shape_only, run.max_train)
        key += (run.trust_remote_code, run.user_data, run.drop_leaked)
        if key not in loaded:
            loaded[key] = _load(run, allow_code_execution)
        data, trained_on, checks = loaded[key]
        work = replace(run, seed=0, limit=None, decoding=Decoding())
        if work not in checked:
            _check(run, data)
            checked.add(work)
        if run.training:
            _require_rows(run, checks)
        each = Planned(run, _id(run, data), _first(run, data), checks, _training_id(run, trained_on))
        planned[each.id] = each
    for each in {(tokenizer_of(each.run), each.run.model): each for each in planned.values()}.values():
        build_prompts(each.run, each.data.test, [()] * len(each.data.test), tokenizer(each.run))
    return list(planned.values())


def build_prompts(
    run: Run, examples: Sequence[Example], shots: Sequence[Sequence[Example]], tokenizer
) -> list[prompts.Prompt]:
    """What the model sees for each example after its shots, in the room that answer and learned tokens leave."""
    task, halves = tasks.of(run), is_encoder_decoder(run)
    room = max_prompt_tokens(run, new_tokens=task.output_tokens)
    return [
        prompts.build(example, shown, tokenizer, room=room, task=task, encoder_decoder=halves)
        for example, shown in zip(examples, shots, strict=True)
    ]


def model_source(run: Run) -> str:
    """Where the model's configuration is: with random weights, the one that the repository ships."""
    return models.shape(run.model) if run.shape_only else run.model


def tokenizer_of(run: Run) -> str:
    """The model whose tokenizer the run reads with."""
    return models.SHAPE_TOKENIZER if run.shape_only else run.model


def tokenizer(run: Run):
    """What the run reads with."""
    return models.load_tokenizer(tokenizer_of(run), trust_remote_code=run.trust_remote_code)


def is_encoder_decoder(run: Run) -> bool:
    """Whether one half of the run's model reads the prompt and the other writes the answer."""
    return models.is_encoder_decoder(model_source(run), trust_remote_code=run.trust_remote_code)


def max_prompt_tokens(run: Run, *, new_tokens: int) -> int:
    """Tokens that a prompt may have beside the method's learned ones."""
    source, trusted = model_source(run), run.trust_remote_code
    return models.max_prompt_tokens(source, new_tokens=new_tokens, trust_remote_code=trusted) - virtual_tokens(run)


def weights(run: Run) -> str:
    """What identifies the run's weights; random ones are those of a configuration."""
    return models.revision(model_source(run), trust_remote_code=run.trust_remote_code)


def _first(run: Run, data: Data) -> Data:
    """What the limit leaves: queries, and of random weights as many training batches and validation rows."""
    data = tasks.first(data, run.limit)
    if not run.shape_only or run.limit is None:
        return data
    rows = run.limit * (run.training.batch_size if run.training else 1)
    return replace(data, train=data.train[:rows], validation=data.validation[: run.limit])


def virtual_tokens(run: Run) -> int:
    """Learned tokens that every query is processed with, beside its text."""
    return getattr(run.method, "virtual_tokens", 0)


def _load(run: Run, allow_code_execution: bool) -> tuple[Data, Data, dict]:
    """What a run reads, what its training reads, and what is to be known of the data."""
    if tasks.of(run).executed:
        sandbox.require(allow_code_execution)
    own = tasks.load(run.user_data or run.task, _place(run, run.task))
    trained_on = tasks.load(run.train_task, _place(run, run.train_task)) if run.train_task else own
    data = own
    if run.train_task:
        data = replace(
            own,
            train=trained_on.train,
            validation=trained_on.validation,
            content=f"{trained_on.content} to {own.content}",
            without_code=trained_on.without_code,
        )
    if run.split == "validation":
        data = replace(data, test=own.validation)
    data = tasks.without_leaked(data) if run.drop_leaked else data  # of all training rows, the same for every method
    data = tasks.first_trained(data, run.max_train)
    return data, trained_on, asdict(tasks.checks(data, tokenizer(run), tasks.of(run)))


def _place(run: Run, task: str) -> str | None:
    """The folder of a task's files: with a training task beside it, each has a folder of its name."""
    if run.data_dir is None or run.train_task is None or "+" in task:
        return run.data_dir
    return str(Path(run.data_dir) / task)


def _check(run: Run, data: Data) -> None:
    """Refuses what cannot work."""
    if run.method.trained or not isinstance(run.method, spec.ZeroShot):
        tasks.require_training(data, run.task)
    if isinstance(run.method, spec.InContext):
        retrieve.random_shots(data.train, run.method.shots, run.seed)
    elif isinstance(run.method, spec.Retrieved):
        retrieve.require(run.method, len(data.train))
    models.check(model_source(run), run.precision, trust_remote_code=run.trust_remote_code)
    methods.check(run.method, model_source(run), run.precision, trust_remote_code=run.trust_remote_code)
    if run.training:
        train.check(run.training)
    known = models.config(model_source(run), trust_remote_code=run.trust_remote_code)
    if known.is_encoder_decoder and getattr(known, "decoder_start_token_id", None) is None:
        raise ValueError(
            f"model {run.model!r} has no decoder_start_token_id in its config.json, with which answers begin: add it"
        )


def _require_rows(run: Run, checks: dict) -> None:
    """Refuses a training whose rows are all too long for its task."""
    name = run.train_task or run.task
    task = tasks.trained(run)
    for split in checks["splits"]:
        if split["split"] != "test" and split["rows"] and split["rows_too_long"] == split["rows"]:
            raise ValueError(
                f"no {split['split']} row of {name} is within its limits of {task.input_tokens} tokens for an "
                f"intent and {task.output_tokens} for code: take another task or a tokenizer with longer tokens"
            )


def _id(run: Run, data: Data) -> str:
    content = f"{data.content} {tasks.settings(tasks.of(run))}"
    return spec.run_id(run, data=content, weights=weights(run))


def _training_id(run: Run, trained_on: Data) -> str:
    if not run.method.trained:
        return ""
    content = f"{trained_on.content} {tasks.settings(tasks.trained(run))}"
    return spec.training_id(run, data=content, weights=weights(run))

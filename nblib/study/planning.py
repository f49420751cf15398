"""What is run: data, ids and prompts of runs, each checked before any work."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nblib import methods, metrics, models, prompts, retrieve, sandbox, spec, tasks, train
from nblib.spec import Decoding, Run
from nblib.tasks import Data, Example


@dataclass(frozen=True)
class Planned:
    """A run that passed every check."""

    run: Run
    id: str
    data: Data  # training and validation rows of the task that is trained on, queries as the test rows
    checks: dict = field(default_factory=dict)  # tasks.checks
    training: str = ""  # spec.training_id where weights are trained


def plan(runs: Sequence[Run], *, allow_code_execution: bool = False) -> list[Planned]:
    """Checks the runs before any work, and returns each of them once, with its id and data.

    `allow_code_execution`: run answers as programs even if isolation is weak.
    Raises ValueError, FileNotFoundError, ImportError, ConnectionError or PermissionError with one sentence.
    """
    planned: dict[str, Planned] = {}
    loaded: dict[tuple, tuple[Data, Data, dict]] = {}  # by tasks and place, and by model: its tokens are counted
    limited: dict[tuple, Data] = {}  # thousands of runs share it
    checked = set()
    for run in runs:
        key: tuple = (run.task, run.train_task, run.split, run.data_dir, run.max_train)
        key += (run.model, run.shape_only, run.trust_remote_code, run.user_data, run.drop_leaked)
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
        if (part := (key, run.limit, run.training)) not in limited:
            limited[part] = _limited(run, data)
        planned[id] = Planned(run, id, limited[part], checks, training)
    for one in {(run.run.shape_only, run.run.model): run for run in planned.values()}.values():
        build_prompts(one.run, one.data.test, [()] * len(one.data.test), tokenizer(one.run))
    return list(planned.values())


def build_prompts(
    run: Run, examples: Sequence[Example], shots: Sequence[Sequence[Example]], tokenizer
) -> list[prompts.Prompt]:
    """What the model sees for each example after its shots, in the room that answer and learned tokens leave."""
    task, halves = tasks.of(run), config(run).is_encoder_decoder
    max_tokens = max_prompt_tokens(run, new_tokens=task.output_tokens)
    return [
        prompts.build(example, shown, tokenizer, max_tokens=max_tokens, task=task, encoder_decoder=halves)
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
    """Tokens that a prompt may have besides the method's learned ones."""
    return models.max_prompt_tokens(config(run), new_tokens=new_tokens) - virtual_tokens(run)


def virtual_tokens(run: Run) -> int:
    """Learned tokens that every query is processed with, besides its text."""
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
    if tasks.of(run).executed:
        sandbox.require(allow_code_execution)
    data = own = tasks.load(run.user_data or run.task, _folder(run, run.task))
    trained_on = tasks.load(run.train_task, _folder(run, run.train_task)) if run.train_task else own
    if run.train_task:
        rows = {name: getattr(trained_on, name) for name in ("train", "validation", "without_code")}
        data = replace(own, content=f"{trained_on.content} to {own.content}", **rows)
    if run.split == "validation":
        data = replace(data, test=own.validation)
    data = tasks.without_leaked(data) if run.drop_leaked else data  # of all training rows, the same for every method
    data = tasks.first_trained(data, run.max_train)
    if data.test and (reason := metrics.code_bleu.gap(data.test[0].language)):
        data = replace(data, remarks=(*data.remarks, reason))
    return data, trained_on, tasks.checks(data, tokenizer(run), tasks.of(run))


def _folder(run: Run, task: str) -> str | None:
    """The folder of a task's files; with a training task, each has a folder of its name."""
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
    if models.is_split() and isinstance(run.method, spec.Trained) and run.method.optimizer:
        raise ValueError(f"{run.method.kind}'s own optimizer takes whole weights: launch without FSDP, or take lora")
    known = config(run)
    if known.is_encoder_decoder and getattr(known, "decoder_start_token_id", None) is None:
        raise ValueError(
            f"model {run.model!r} has no decoder_start_token_id in its config.json, with which answers begin: add it"
        )


def _require_rows(run: Run, checks: dict) -> None:
    """Refuses a training whose rows are all too long for its task."""
    name, task = run.train_task or run.task, tasks.trained(run)
    for split in checks["splits"]:
        if split["split"] != "test" and split["rows"] and split["rows_too_long"] == split["rows"]:
            raise ValueError(
                f"no {split['split']} row of {name} is within its limits of {task.input_tokens} tokens for an "
                f"intent and {task.output_tokens} for code: take another task or a tokenizer with longer tokens"
            )


def _ids(run: Run, data: Data, trained_on: Data) -> tuple[str, str]:
    """The ids of a run and of its training, which is empty where nothing is trained."""
    content, own = f"{data.content} {tasks.settings(tasks.of(run))}", weights(run)
    id = spec.run_id(run, data=content, weights=own)
    if not run.method.trained:
        return id, ""
    content = f"{trained_on.content} {tasks.settings(tasks.trained(run))}"
    return id, spec.training_id(run, data=content, weights=own)

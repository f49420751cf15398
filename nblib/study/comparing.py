"""Lists the runs that answer a question: a comparison, a search of learning rates, a transfer, a measurement."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from math import gcd
from pathlib import Path
from typing import Annotated, Any

import yaml

from nblib import models, presets, spec, tasks
from nblib.rules import Count, Flag, Rule, Settings
from nblib.spec import Decoding, Run

GREEDY = Decoding(beams=1, returned=1, batch_size=50)  # of a search: one answer an example tells settings apart
WIDER, FACTOR = 3, 4  # of a grid: times the rank on attention alone; times rank and batch


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
    **settings: Any,
) -> list[Run]:
    """Lists the runs that compare methods on a task, with the same data, prompts, decoding and training.

    `task` is a known task's name or your own data: anything that `tasks.resolve` takes or returns.
    `names` are methods as the preset sets them, or methods with your own settings. For empty lists, and without
    `decoding`, we use the preset's. A method without randomness runs with the first seed only. `settings` are further
    fields of `spec.Run`: `limit` (questions), `max_train` (training rows), `data_dir`, `train_task`, `shape_only`,
    `trust_remote_code`, `threads` (of each run on a CPU; by default 1). With a `train_task`, training examples and
    shots come from that task, and `data_dir` has a folder for each task. With `shape_only`, weights are random: such
    runs measure memory and seconds, have no scores, and `limit` also bounds their training batches and validation rows.
    Raises ValueError for anything unknown or out of range.
    """
    own = presets.get(preset)
    data = tasks.resolve(task)
    name, user_data = (data.name, data) if isinstance(data, spec.UserData) else (data, None)
    decoding = decoding or (own.sampling if not user_data and tasks.get(name).sampled else own.decoding)
    shared: dict[str, Any] = {"decoding": decoding, "study_scores": own.study_scores, "user_data": user_data} | settings
    precision = models.choose_precision(precision)
    runs = []
    for method, own_precision in presets.methods(own, list(names), list(shots)):
        shared |= {"training": own.training if method.trained else None, "precision": own_precision or precision}
        unread = {"train_task", "max_train"} if isinstance(method, spec.ZeroShot) else set()
        read = {key: value for key, value in shared.items() if key not in unread}
        for seed in _seeds(method, own, decoding, seeds):
            runs.append(Run(model, name, method, seed=seed, **read))
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
    """Lists runs that measure memory and seconds of a model, with random weights: nothing is downloaded.

    For each method and precision, we train one epoch of `batches` batches and answer as many questions greedily.
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
    """Lists the runs that choose learning rates: each trained method at each of the preset's rates for it.

    Greedy answers to the validation split decide; we never read the test split. Empty `names` mean all methods that the
    preset trains. `settings` are as in `compare`; `limit` and `max_train` make a search cheaper.
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


def tuning(model: str, task: str, *, preset: str = "default", seeds: Sequence[int] = (), **settings: Any) -> list[Run]:
    """Lists the runs of a small grid on the validation split, of which `tables.tuning` makes four claims on LoRA.

    Each at every rate of the preset and with every seed: LoRA and full tuning; LoRA on attention alone with WIDER times
    the rank, in most transformers more weights than all layers have; LoRA at a quarter and at four times its rank; and
    both methods with four times the batch. `settings` are as in `search`.
    Raises ValueError for anything unknown or out of range.
    """
    shared: dict[str, Any] = {"preset": preset, "names": ["lora", "full"]} | settings
    runs = [run for seed in seeds or presets.get(preset).seeds for run in search(model, task, seed=seed, **shared)]
    grid = list(runs)
    for run in runs:
        if isinstance(lora := run.method, spec.Lora):
            narrow = {"targets": spec.ATTENTION, "r": WIDER * lora.r}
            for changed in (narrow, {"r": max(1, lora.r // FACTOR)}, {"r": FACTOR * lora.r}):
                grid.append(replace(run, method=replace(lora, **changed)))
        assert run.training
        grid.append(replace(run, training=_retrained(run.training, 0, FACTOR * run.training.batch_size)))
    return grid


def transfer(
    model: str,
    train_tasks: Sequence[str],
    test_tasks: Sequence[str],
    *,
    method: str | spec.Method = "lora",
    preset: str = "default",
    data_dir: str | None = None,
    **settings: Any,
) -> list[Run]:
    """Lists the runs that test on each of `test_tasks`: untrained, and trained on each of `train_tasks`.

    With several training tasks, we also train on all of them jointly. `data_dir` has a folder for each task; `settings`
    are as in `compare`.
    Raises ValueError for anything unknown or out of range.
    """
    first = presets.methods(presets.get(preset), [method], [])[0][0]
    if not first.trained:
        raise ValueError(f"transfer takes a method that trains; got {first.kind!r}")
    sources = [*train_tasks, *(["+".join(train_tasks)] if len(train_tasks) > 1 else [])]
    runs = []
    for task in test_tasks:
        own = {"data_dir": str(Path(data_dir) / task) if data_dir else None}
        runs += compare(model, task, preset=preset, names=["zero-shot"], **settings | own)
        for source in sources:
            other = {"data_dir": data_dir, "train_task": source}
            runs += compare(model, task, preset=preset, names=[method], **settings | (own if source == task else other))
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
    threads: int = 0,
) -> list[Run]:
    """Changes what people most often want to change in these runs; 0 keeps the preset's setting.

    `learning_rate` applies to every method that trains, except in a search of rates; `rank` to LoRA and its relatives.
    We train on the first `max_train` rows. `drop_leaked` leaves out test rows whose intent is also in the training
    rows, exactly or nearly. Each run computes with `threads` threads on a CPU.
    Raises ValueError for anything out of range.
    """
    return [
        replace(
            run,
            method=_adjusted(run.method, rank, learning_rate if run.split == "test" else 0.0),
            training=run.training and _retrained(run.training, epochs, batch_size),
            max_train=None if isinstance(run.method, spec.ZeroShot) else max_train or run.max_train,
            drop_leaked=drop_leaked or run.drop_leaked,
            threads=threads or run.threads,
        )
        for run in runs
    ]


def _adjusted(method: spec.Method, rank: int, learning_rate: float) -> spec.Method:
    changed: dict[str, Any] = {"r": rank} if rank and hasattr(method, "r") else {}
    if changed and isinstance(method, spec.AdaLora):
        changed["initial_r"] = rank + rank // 2
    if learning_rate and method.trained:
        changed["learning_rate"] = learning_rate
    return replace(method, **changed)


def _retrained(training: spec.Training, epochs: int, batch_size: int) -> spec.Training:
    size = batch_size or training.batch_size
    device_batch = gcd(size, training.device_batch) if batch_size else training.device_batch
    return replace(training, epochs=epochs or training.epochs, batch_size=size, device_batch=device_batch)


# --- a study as plain values ------------------------------------------------------------------------------------------


def _holds(*kinds: type) -> Any:
    """Whether a value is a list of these; a truth value is no number."""
    return lambda value: isinstance(value, tuple) and all(isinstance(one, kinds) and one is not True for one in value)


Text = Annotated[str, Rule("a text", lambda value: isinstance(value, str))]
Texts = Annotated[
    str | tuple[str, ...],
    Rule("a text or a list of texts", lambda value: isinstance(value, str) or _holds(str)(value)),
]
Numbers = Annotated[tuple[int, ...], Rule("a list of whole numbers", _holds(int))]
Methods = Annotated[tuple[str | spec.Method, ...], Rule("a list of methods", _holds(str, spec.Method))]


@dataclass(frozen=True)
class Study(Settings):
    """The arguments of `compare`; several models, tasks or precisions mean every combination of them."""

    model: Texts
    task: Texts
    preset: Text = "default"
    names: Methods = ()  # empty: the preset's, as with shots and seeds
    shots: Numbers = ()
    seeds: Numbers = ()
    precision: Texts = "auto"
    decoding: Annotated[Decoding, Rule("a spec.Decoding", lambda value: isinstance(value, Decoding))] | None = None
    limit: Count | None = None  # only the first test examples: rows of their own
    data_dir: Text | None = None
    train_task: Text | None = None
    shape_only: Flag = False
    trust_remote_code: Flag = False
    max_train: Count | None = None  # only the first training rows
    threads: Count = 1  # of each run on a CPU

    def __post_init__(self):
        for item in fields(self):
            if isinstance(value := getattr(self, item.name), Sequence) and not isinstance(value, str):
                object.__setattr__(self, item.name, tuple(value))
        super().__post_init__()

    def runs(self) -> list[Run]:
        """Every run, model by model. Raises ValueError as `compare` does."""
        several = {name: getattr(self, name) for name in ("model", "precision", "task")}
        shared = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in several}
        every = product(*((one,) if isinstance(one, str) else one for one in several.values()))
        return [run for model, precision, task in every for run in compare(model, task, precision=precision, **shared)]


class _Loader(yaml.SafeLoader):
    """Takes 1e-3 for a number, which YAML 1.1 takes for a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def from_yaml(path: str | Path) -> Study:
    """The study that a YAML file describes: a mapping with the fields of `Study`.

    A method among `names` is a name, or a mapping with its `kind` and settings; `decoding` is a mapping.
    Raises ValueError for a key that no study has, and for a value of another kind; FileNotFoundError.
    """
    values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping with model, task and what else a study has; got {values!r}")
    if missing := [name for name in ("model", "task") if name not in values]:
        raise ValueError(f"{path} has no {' and no '.join(missing)}; a study needs model and task")
    if isinstance(values.get("names"), list):
        values["names"] = [_method(one) if isinstance(one, dict) else one for one in values["names"]]
    if isinstance(values.get("decoding"), dict):
        values["decoding"] = _made(Decoding, values["decoding"], "decoding")
    return _made(Study, values, str(path))


def _method(values: dict) -> spec.Method:
    settings = dict(values)
    if not isinstance(kind := settings.pop("kind", None), str):
        raise ValueError(f"a method needs a kind, such as {{kind: lora, r: 8}}; got {values!r}")
    return spec.method(kind, **settings)


def _made(kind: Any, values: dict, where: str) -> Any:
    names = [item.name for item in fields(kind)]
    for name in values:
        if name not in names:
            raise ValueError(f"{where} has an unknown key {name!r}; it may have {', '.join(names)}")
    return kind(**values)

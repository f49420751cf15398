"""A study as plain values, in Python or in a YAML file, and its runs."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import yaml

from nblib import spec
from nblib.rules import Count, Flag, Rule, Settings
from nblib.spec import Decoding, Run
from nblib.study.comparing import compare


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
    """The arguments of `compare`; several models, tasks or precisions stand for every combination of them."""

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


def to_yaml(study: Study, path: str | Path) -> Path:
    """Writes what differs from the defaults, for `from_yaml` to read."""
    values = {name: list(one) if isinstance(one, tuple) else one for name, one in spec.changed(study).items()}
    if study.names:
        values["names"] = [
            one if isinstance(one, str) else {"kind": one.kind} | spec.changed(one) for one in study.names
        ]
    if study.decoding:
        values["decoding"] = asdict(study.decoding)
    Path(path).write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return Path(path)


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

"""A study as plain values, in Python or in a YAML file, to its runs. Checks names and kinds of values only."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from nblib import spec
from nblib.spec import Decoding, Run
from nblib.study.planning import compare

SEVERAL = ("model", "task", "precision")  # each a text, or several
LISTS: dict[str, tuple[Any, ...]] = {"names": (str, spec.Method), "shots": (int,), "seeds": (int,)}
OTHERS = {
    "preset": str,
    "limit": int,
    "data_dir": str,
    "train_task": str,
    "shape_only": bool,
    "trust_remote_code": bool,
}
KINDS = {str: "a text", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True)
class Study:
    """The arguments of `compare`; several models, tasks or precisions stand for every combination of them."""

    model: str | tuple[str, ...]
    task: str | tuple[str, ...]
    preset: str = "default"
    names: tuple[str | spec.Method, ...] = ()  # empty: the preset's, as with shots and seeds
    shots: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    precision: str | tuple[str, ...] = "auto"
    decoding: Decoding | None = None  # None: the preset's
    limit: int | None = None  # only the first test examples: rows of their own
    data_dir: str | None = None
    train_task: str | None = None
    shape_only: bool = False
    trust_remote_code: bool = False

    def __post_init__(self):
        for name in SEVERAL:
            value = getattr(self, name)
            if not isinstance(value, str):
                object.__setattr__(self, name, _listed(name, value, (str,), "a text or a list of texts"))
        for name, kinds in LISTS.items():
            object.__setattr__(self, name, _listed(name, getattr(self, name), kinds, "a list"))
        for name, kind in OTHERS.items():
            value, default = getattr(self, name), type(self).__dataclass_fields__[name].default
            if value != default and not _is(value, kind):
                raise ValueError(f"{name} must be {KINDS[kind]}; got {value!r}")
        if not (self.decoding is None or isinstance(self.decoding, Decoding)):
            raise ValueError(f"decoding must be a spec.Decoding; got {self.decoding!r}")

    def runs(self) -> list[Run]:
        """Every run, model by model. Raises ValueError as `compare` does."""
        shared = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in SEVERAL}
        models, tasks, precisions = (_several(getattr(self, name)) for name in SEVERAL)
        return [
            run
            for model in models
            for precision in precisions
            for task in tasks
            for run in compare(model, task, precision=precision, **shared)
        ]


def from_yaml(path: str | Path) -> Study:
    """The study that a YAML file describes: a mapping with the fields of `Study`.

    A method among `names` is a name, or a mapping with its `kind` and settings; `decoding` is a mapping.
    Raises ValueError for a key that no study has, and for a value of another kind; FileNotFoundError.
    """
    given = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(given, dict):
        raise ValueError(f"{path} must hold a mapping with model, task and what else a study has; got {given!r}")
    _known(given, Study, str(path))
    if missing := [name for name in ("model", "task") if name not in given]:
        raise ValueError(f"{path} has no {' and no '.join(missing)}; a study needs model and task")
    if isinstance(given.get("names"), list):
        given["names"] = [_method(each) if isinstance(each, dict) else each for each in given["names"]]
    if isinstance(given.get("decoding"), dict):
        given["decoding"] = Decoding(**_known(_numbers(given["decoding"], Decoding), Decoding, "decoding"))
    return Study(**given)


def to_yaml(study: Study, path: str | Path) -> Path:
    """Writes what differs from the defaults, for `from_yaml` to read."""
    written = {name: value for name, value in _changed(study).items() if name != "names"}
    if study.names:
        written["names"] = [each if isinstance(each, str) else _plain(each) for each in study.names]
    if study.decoding:
        written["decoding"] = asdict(study.decoding)
    text = yaml.safe_dump({name: _plain_list(value) for name, value in written.items()}, sort_keys=False)
    Path(path).write_text(text, encoding="utf-8")
    return Path(path)


def _method(given: dict) -> spec.Method:
    settings = {name: value for name, value in given.items() if name != "kind"}
    if not isinstance(given.get("kind"), str):
        raise ValueError(f"a method needs a kind, such as {{kind: lora, r: 8}}; got {given!r}")
    plain = spec.method(given["kind"])
    return spec.method(given["kind"], **_numbers(settings, type(plain)))


def _numbers(given: Mapping[str, Any], kind: type) -> dict:
    """YAML takes 1e-3 for a text: where a number belongs it is one."""
    numbers = {each.name for each in fields(kind) if "float" in str(each.type)}
    found = dict(given)
    for name in numbers & set(found):
        try:
            found[name] = None if found[name] is None else float(found[name])
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be a number; got {found[name]!r}") from None
    return found


def _known(given: dict, kind: type, where: str) -> dict:
    names = [each.name for each in fields(kind)]
    for name in given:
        if name not in names:
            raise ValueError(f"{where} has an unknown key {name!r}; it may have {', '.join(names)}")
    return given


def _listed(name: str, value: Any, kinds: tuple[Any, ...], allowed: str) -> tuple:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(_is(each, *kinds) for each in value):
        raise ValueError(f"{name} must be {allowed}; got {value!r}")
    return tuple(value)


def _is(value: Any, *kinds: Any) -> bool:
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _several(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _changed(part: Any) -> dict:
    found = {each.name: (getattr(part, each.name), each.default) for each in fields(part)}
    return {name: value for name, (value, default) in found.items() if default is MISSING or value != default}


def _plain(method: spec.Method) -> dict:
    return {"kind": method.kind} | {name: _plain_list(value) for name, value in _changed(method).items()}


def _plain_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value

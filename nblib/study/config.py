"""A study as plain values, in Python or in a YAML file, and its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from nblib import spec
from nblib.spec import Decoding, Run
from nblib.study.planning import compare

# Field -> what it may hold, in words and as types; lists become tuples.
TEXTS = ("a text or a list of texts", (str,))
LISTS: dict[str, tuple] = {"names": (str, spec.Method), "shots": (int,), "seeds": (int,)}
PLAIN: dict[str, tuple[str, type]] = {
    "preset": ("a text", str),
    "limit": ("a whole number", int),
    "data_dir": ("a text", str),
    "train_task": ("a text", str),
    "shape_only": ("true or false", bool),
    "trust_remote_code": ("true or false", bool),
    "max_train": ("a whole number", int),
}


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
    max_train: int | None = None  # only the first training rows

    def __post_init__(self):
        for name in ("model", "task", "precision"):
            if not isinstance(getattr(self, name), str):
                object.__setattr__(self, name, _tuple(name, getattr(self, name), *TEXTS))
        for name, kinds in LISTS.items():
            object.__setattr__(self, name, _tuple(name, getattr(self, name), "a list", kinds))
        for name, (allowed, kind) in PLAIN.items():
            value = getattr(self, name)
            if value is not None and not _is(value, kind):
                raise ValueError(f"{name} must be {allowed}; got {value!r}")
        if not (self.decoding is None or isinstance(self.decoding, Decoding)):
            raise ValueError(f"decoding must be a spec.Decoding; got {self.decoding!r}")

    def runs(self) -> list[Run]:
        """Every run, model by model. Raises ValueError as `compare` does."""
        several = {name: getattr(self, name) for name in ("model", "task", "precision")}
        models, tasks, precisions = ((each,) if isinstance(each, str) else each for each in several.values())
        shared = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in several}
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
    _check_keys(given, Study, str(path))
    if missing := [name for name in ("model", "task") if name not in given]:
        raise ValueError(f"{path} has no {' and no '.join(missing)}; a study needs model and task")
    if isinstance(given.get("names"), list):
        given["names"] = [_method(each) if isinstance(each, dict) else each for each in given["names"]]
    if isinstance(given.get("decoding"), dict):
        _check_keys(given["decoding"], Decoding, "decoding")
        given["decoding"] = Decoding(**_with_numbers(given["decoding"], Decoding))
    return Study(**given)


def to_yaml(study: Study, path: str | Path) -> Path:
    """Writes what differs from the defaults, for `from_yaml` to read."""
    written = _changed(study)
    if study.names:
        written["names"] = [
            each if isinstance(each, str) else {"kind": each.kind} | _changed(each) for each in study.names
        ]
    if study.decoding:
        written["decoding"] = asdict(study.decoding)
    Path(path).write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
    return Path(path)


def _method(given: dict) -> spec.Method:
    settings = dict(given)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str):
        raise ValueError(f"a method needs a kind, such as {{kind: lora, r: 8}}; got {given!r}")
    return spec.method(kind, **_with_numbers(settings, type(spec.method(kind))))


def _with_numbers(given: Mapping[str, Any], kind: type) -> dict:
    """YAML takes 1e-3 for a text: where a number belongs it is one."""
    found = dict(given)
    for name in {each.name for each in fields(kind) if "float" in str(each.type)} & set(found):
        try:
            found[name] = None if found[name] is None else float(found[name])
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be a number; got {found[name]!r}") from None
    return found


def _check_keys(given: dict, kind: type, where: str) -> None:
    names = [each.name for each in fields(kind)]
    for name in given:
        if name not in names:
            raise ValueError(f"{where} has an unknown key {name!r}; it may have {', '.join(names)}")


def _tuple(name: str, value: Any, allowed: str, kinds: tuple) -> tuple:
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(_is(each, *kinds) for each in value):
        raise ValueError(f"{name} must be {allowed}; got {value!r}")
    return tuple(value)


def _is(value: Any, *kinds: Any) -> bool:
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _changed(part: Any) -> dict:
    """Fields that differ from their defaults, as YAML has them."""
    found = {each.name: (getattr(part, each.name), each.default) for each in fields(part)}
    changed = {name: value for name, (value, default) in found.items() if default is MISSING or value != default}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()}

"""Plain data as JSON and back, so that reading it executes nothing and gives exact builtin types.

`encode` runs in either process; `decode` must be safe against whatever the other process sends. Objects that are no
plain data go through `opaque`, which each side brings. JSON scalars stand for themselves, all else is `[tag, …]`.
"""

import collections
import datetime
import decimal
import fractions
import pathlib
import re
import time
import uuid
from collections.abc import Callable

from nblib.sandbox.inside import frames

_SMALL = 2**53
_FACTORIES: dict[str | None, type] = {
    "int": int,
    "list": list,
    "set": set,
    "dict": dict,
    "str": str,
    "float": float,
    "tuple": tuple,
}
_BUILTIN_TYPES: dict[str, type] = {
    each.__name__: each
    for each in (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, range, object)
}
_PATHS = {each.__name__: each for each in (pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath)}
_VIEWS = {"keys": type({}.keys()), "values": type({}.values()), "items": type({}.items())}


class CannotCrossError(Exception):
    """A value that is no plain data."""


def _no_opaque(value):
    raise CannotCrossError(f"{type(value).__name__} is no plain data")


class Codec:
    """Both directions; `opaque` turns other objects into JSON, `known` turns that back."""

    def __init__(self, opaque: Callable = _no_opaque, known: Callable = _no_opaque):
        self.opaque, self.known = opaque, known
        self.shared: dict[int, Callable] = {}  # by id: objects that the other process has too

    # --- to JSON --------------------------------------------------------------------------------------------------

    def encode(self, value):
        if id(value) in self.shared:
            return self.shared[id(value)](value)
        return self.content(value)

    def content(self, value):
        """As `encode`, but never by reference."""
        kind = type(value)
        if value is None or kind is bool or kind is str or kind is float:
            return value
        writer = _WRITERS.get(kind)
        if writer is not None:
            return writer(self, value)
        for base in kind.__mro__[1:-1]:  # a subclass crosses as what it extends
            if base in _WRITERS and kind.__name__ not in _VIEWS:
                return _WRITERS[base](self, value)
        return frames.encode(self, value) or self.opaque(value)

    def encode_all(self, values) -> list:
        return [self.encode(each) for each in values]

    # --- from JSON ------------------------------------------------------------------------------------------------

    def decode(self, data):
        if data is None or isinstance(data, bool | int | float | str):
            return data
        tag, *rest = data
        if tag in _READERS:
            return _READERS[tag](self, *rest)
        if tag in frames.READERS:
            return frames.READERS[tag](self, *rest)
        return self.known(data)

    def decode_all(self, data) -> list:
        return [self.decode(each) for each in data]


def _write_int(codec, value):
    exact = int.__add__(value, 0)
    return exact if -_SMALL < exact < _SMALL else ["int", hex(exact)]


def _write_tuple(codec, value):
    fields = getattr(type(value), "_fields", None)
    if fields is not None and type(value) is not tuple:
        return ["named", type(value).__name__, list(fields), codec.encode_all(tuple.__iter__(value))]
    return ["tuple", codec.encode_all(tuple.__iter__(value))]


def _write_defaults(codec, value):
    factory = getattr(value.default_factory, "__name__", None)
    name = factory if _FACTORIES.get(factory) is value.default_factory else None
    return ["defaultdict", name, _pairs(codec, value)]


def _pairs(codec, value) -> list:
    return [[codec.encode(key), codec.encode(each)] for key, each in dict.items(value)]


def _write_type(codec, value: type):
    if _BUILTIN_TYPES.get(value.__name__) is value:
        return ["type", value.__name__]
    return codec.opaque(value)


def _write_time(codec, value):
    """A time zone crosses as its offset, which is all that comparing needs."""
    kind = "datetime" if isinstance(value, datetime.datetime) else "time"
    return [kind, value.isoformat(), value.fold]


_WRITERS: dict[type, Callable] = {
    bool: lambda codec, value: bool(value),
    int: _write_int,
    float: lambda codec, value: float.__add__(value, 0.0),
    str: lambda codec, value: str.__str__(value),
    complex: lambda codec, value: ["complex", value.real, value.imag],
    bytes: lambda codec, value: ["bytes", value.decode("latin-1")],
    bytearray: lambda codec, value: ["bytearray", value.decode("latin-1")],
    list: lambda codec, value: ["list", codec.encode_all(list.__iter__(value))],
    tuple: _write_tuple,
    set: lambda codec, value: ["set", codec.encode_all(set.__iter__(value))],
    frozenset: lambda codec, value: ["frozenset", codec.encode_all(frozenset.__iter__(value))],
    dict: lambda codec, value: ["dict", _pairs(codec, value)],
    range: lambda codec, value: ["range", *codec.encode_all((value.start, value.stop, value.step))],
    slice: lambda codec, value: ["slice", *codec.encode_all((value.start, value.stop, value.step))],
    type(Ellipsis): lambda codec, value: ["ellipsis"],
    type(NotImplemented): lambda codec, value: ["not implemented"],
    collections.Counter: lambda codec, value: ["Counter", _pairs(codec, value)],
    collections.OrderedDict: lambda codec, value: ["OrderedDict", _pairs(codec, value)],
    collections.defaultdict: _write_defaults,
    collections.deque: lambda codec, value: ["deque", codec.encode_all(value), value.maxlen],
    _VIEWS["keys"]: lambda codec, value: ["view", "keys", [[codec.encode(each), None] for each in value]],
    _VIEWS["values"]: lambda codec, value: ["view", "values", [[n, codec.encode(x)] for n, x in enumerate(value)]],
    _VIEWS["items"]: lambda codec, value: ["view", "items", [codec.encode_all(pair) for pair in value]],
    datetime.datetime: _write_time,
    datetime.time: _write_time,
    datetime.date: lambda codec, value: ["date", value.isoformat()],
    datetime.timedelta: lambda codec, value: ["timedelta", value.days, value.seconds, value.microseconds],
    datetime.timezone: lambda codec, value: ["timezone", value.utcoffset(None).total_seconds()],
    time.struct_time: lambda codec, value: ["struct_time", list(value)],
    decimal.Decimal: lambda codec, value: ["Decimal", str(value)],
    fractions.Fraction: lambda codec, value: ["Fraction", *codec.encode_all((value.numerator, value.denominator))],
    uuid.UUID: lambda codec, value: ["UUID", value.hex],
    re.Pattern: lambda codec, value: ["Pattern", codec.encode(value.pattern), value.flags],
    re.Match: lambda codec, value: [
        "Match",
        codec.encode(value.re.pattern),
        value.re.flags,
        codec.encode(value.string),
        value.pos,
        value.endpos,
        value.start(),
        value.end(),
    ],
    type: _write_type,
    **dict.fromkeys(_PATHS.values(), lambda codec, value: ["path", type(value).__name__, str(value)]),
}


def _read_int(codec, text):
    return int(text, 16)


def _read_named(codec, name, fields, values):
    return collections.namedtuple(name, fields)(*codec.decode_all(values))


def _dict(codec, pairs) -> dict:
    return {codec.decode(key): codec.decode(value) for key, value in pairs}


def _read_view(codec, kind, pairs):
    return getattr(_dict(codec, pairs), kind if kind in _VIEWS else "keys")()


def _read_time(codec, text, fold):
    return datetime.time.fromisoformat(text).replace(fold=int(fold))


def _read_datetime(codec, text, fold):
    return datetime.datetime.fromisoformat(text).replace(fold=int(fold))


def _read_timezone(codec, seconds):
    offset = datetime.timedelta(seconds=seconds)
    return datetime.timezone(offset) if offset else datetime.UTC


def _pattern(codec, pattern, flags):
    return re.compile(codec.decode(pattern), flags & ~re.DEBUG)


def _read_match(codec, pattern, flags, text, position, limit, start, end):
    """Matched again on this side, at the place where the other says it was."""
    text, compiled = codec.decode(text), _pattern(codec, pattern, flags)
    for attempt in (compiled.search, compiled.match, compiled.fullmatch):
        found = attempt(text, position, limit)
        if found is not None and found.span() == (start, end):
            return found
    return compiled.match(text, start, end)


_READERS: dict[str, Callable] = {
    "int": _read_int,
    "complex": lambda codec, real, imaginary: complex(real, imaginary),
    "bytes": lambda codec, text: text.encode("latin-1"),
    "bytearray": lambda codec, text: bytearray(text.encode("latin-1")),
    "list": lambda codec, values: codec.decode_all(values),
    "tuple": lambda codec, values: tuple(codec.decode_all(values)),
    "named": _read_named,
    "set": lambda codec, values: set(codec.decode_all(values)),
    "frozenset": lambda codec, values: frozenset(codec.decode_all(values)),
    "dict": _dict,
    "range": lambda codec, *parts: range(*codec.decode_all(parts)),
    "slice": lambda codec, *parts: slice(*codec.decode_all(parts)),
    "ellipsis": lambda codec: Ellipsis,
    "not implemented": lambda codec: NotImplemented,
    "Counter": lambda codec, pairs: collections.Counter(_dict(codec, pairs)),
    "OrderedDict": lambda codec, pairs: collections.OrderedDict(_dict(codec, pairs)),
    "defaultdict": lambda codec, name, pairs: collections.defaultdict(_FACTORIES.get(name), _dict(codec, pairs)),
    "deque": lambda codec, values, limit: collections.deque(codec.decode_all(values), limit),
    "view": _read_view,
    "datetime": _read_datetime,
    "time": _read_time,
    "date": lambda codec, text: datetime.date.fromisoformat(text),
    "timedelta": lambda codec, *parts: datetime.timedelta(*parts),
    "timezone": _read_timezone,
    "struct_time": lambda codec, parts: time.struct_time(codec.decode_all(parts)),
    "Decimal": lambda codec, text: decimal.Decimal(text),
    "Fraction": lambda codec, *parts: fractions.Fraction(*codec.decode_all(parts)),
    "UUID": lambda codec, text: uuid.UUID(text),
    "Pattern": _pattern,
    "Match": _read_match,
    "type": lambda codec, name: _BUILTIN_TYPES[name],
    "path": lambda codec, name, text: _PATHS[name](text),
}


def overwrite(old, new) -> bool:
    """Makes the old object equal to the new one in place, and says whether that could be done."""
    if type(old) is not type(new):
        return False
    if isinstance(old, list | collections.deque):
        kept = [_kept(before, after) for before, after in zip(old, new, strict=False)] + list(new)[len(old) :]
        old.clear()
        old.extend(kept)
    elif isinstance(old, dict):
        pairs = {key: _kept(old[key], value) if key in old else value for key, value in new.items()}
        old.clear()
        old.update(pairs)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif isinstance(old, bytearray):
        old[:] = new
    else:
        return frames.overwrite(old, new)
    return True


def _kept(old, new):
    """The old element, so that others who hold it see the change; the new one where it cannot be changed."""
    return old if old is new or overwrite(old, new) else new

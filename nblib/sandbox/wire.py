"""What crosses between processes: frames of JSON over a socket, with open files attached, and plain data as JSON.

Reading runs nothing of the sender's. What is read has exact builtin types. An object of a class that the reader does
not have itself comes as an `Instance`: its type's name and its fields. Small numbers, texts and None stand for
themselves, all else is `[form, *parts]`.
"""

import base64
import builtins
import collections
import datetime
import decimal
import fractions
import io
import json
import os
import pathlib
import socket
import struct
import sys
import time
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from itertools import chain, islice
from typing import ClassVar, NoReturn

_HEADER = struct.Struct("!Q")
_FILES = 8  # open files with one frame at most
_SMALL = 2**53
_MOST_ITEMS = 10_000  # of an iterator, which may have no end
_TYPES = (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, range, object)
_PLAIN_TYPES: dict[str | None, Callable] = {kind.__name__: kind for kind in (*_TYPES, type(None))}


class ClosedError(Exception):
    """The other end has closed, or sent something that is not a frame."""


def send(channel: socket.socket, message, files: tuple[int, ...] = ()) -> None:
    """One frame, whole."""
    try:
        body = json.dumps(message).encode()
        header = _HEADER.pack(len(body))
        if files:
            socket.send_fds(channel, [header], files)
        channel.sendall(body if files else header + body)
    except (OSError, RecursionError) as error:
        raise ClosedError(str(error)) from error


def receive(channel: socket.socket, files: list[int] | None = None):
    """One frame; waits for it. Open files that come with it are added to the list."""
    try:
        header, received, _, _ = socket.recv_fds(channel, _HEADER.size, _FILES if files is not None else 0)
        if files is not None:
            files += received
        header += _exactly(channel, _HEADER.size - len(header))
        return json.loads(_exactly(channel, *_HEADER.unpack(header)))
    except (OSError, ValueError, RecursionError) as error:
        raise ClosedError(str(error)) from error


def _exactly(channel: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = channel.recv(min(length - len(data), 2**20))
        if not part:
            raise ClosedError("end of the channel")
        data += part
    return bytes(data)


def serve(channel: socket.socket, answer: Callable[[dict], dict]) -> NoReturn:
    """Answers each frame with one, and ends this process when the other end closes."""
    while True:
        try:
            question = receive(channel)
        except ClosedError:
            os._exit(0)
        send(channel, answer(question))


class Frames:
    """Takes bytes as they come and gives whole frames, from an end that must not be waited for nor trusted."""

    def __init__(self, maximum_bytes: int):
        self.bytes, self.maximum_bytes = bytearray(), maximum_bytes

    def feed(self, data: bytes) -> list:
        self.bytes += data
        found = []
        while len(self.bytes) >= _HEADER.size:
            end = _HEADER.size + _HEADER.unpack_from(self.bytes)[0]
            if end > self.maximum_bytes:
                raise ClosedError(f"a frame of {end} bytes; at most {self.maximum_bytes}")
            if len(self.bytes) < end:
                break
            try:
                found.append(json.loads(self.bytes[_HEADER.size : end]))
            except (ValueError, RecursionError) as error:
                raise ClosedError(str(error)) from error
            del self.bytes[:end]
        return found


# --- plain data between a program and the judge -----------------------------------------------------------------------


class CannotCrossError(Exception):
    """A value that is no plain data."""


class Instance:
    """An object of a class that only the other process has: its fields, none of its methods."""

    missed: ClassVar[list[str]] = []  # what checks looked for in vain: they have not seen the object as it is

    def __init__(self, kind: str, fields: dict, whole: bool, by_value: bool):
        vars(self).update(_kind=kind, _fields=fields, _whole=whole, _by_value=by_value)

    def __getattr__(self, name: str):
        if name in self._fields:
            return self._fields[name]
        if not name.startswith("__"):
            self.missed.append(f"{self._kind}.{name} is no data that crosses")
        raise AttributeError(f"{self._kind!r} object has no data {name!r}")

    def __eq__(self, other):
        """As dataclasses compare; other objects are equal to themselves only."""
        if not (isinstance(other, Instance) and self._by_value):
            return NotImplemented
        return (self._kind, self._fields) == (other._kind, other._fields)

    __hash__ = object.__hash__


class Crossing:
    """Both directions for one process: `incoming` and `outgoing` are the classes and functions, by name, of the setup.

    `incoming` has what the other side may name, `outgoing` what it knows too; `builtin` are the builtins that it may
    name.
    """

    def __init__(self, incoming: Mapping, outgoing: Mapping, builtin: Mapping = _PLAIN_TYPES):
        self.incoming, self.outgoing, self.builtin = incoming, outgoing, builtin

    def write(self, value):
        """JSON for the value; CannotCrossError for what is no data."""
        kind = type(value)
        if value is None or kind in (bool, str, float) or (kind is int and -_SMALL < value < _SMALL):
            return value
        forms = _forms("numpy" in sys.modules, "pandas" in sys.modules)
        for base in kind.__mro__[:-1]:  # a subclass crosses as what it extends
            if base in forms:
                name, parts, _ = _NAMED if base is tuple and hasattr(kind, "_fields") else forms[base]
                return [name, *map(self.write, parts(value))]
        if isinstance(value, types.FunctionType | types.BuiltinFunctionType | type):
            name = str(getattr(value, "__name__", ""))
            if self.outgoing.get(name) is value:
                return ["own", name]
            if vars(builtins).get(name) is value:
                return ["builtin", name]
        if hasattr(kind, "__next__") and not isinstance(value, io.IOBase):
            items = list(islice(value, _MOST_ITEMS + 1))
            if len(items) > _MOST_ITEMS:
                raise CannotCrossError(f"{kind.__name__} has more than {_MOST_ITEMS} items")
            return ["iterator", *map(self.write, items)]
        return self._write_object(value, kind)

    def _write_object(self, value, kind: type) -> list:
        if kind is Instance:
            if not value._whole:
                raise CannotCrossError(f"{value._kind} is known here in part only")
            return ["instance", value._kind, self._fields(value._fields), True, value._by_value]
        found = getattr(value, "__dict__", {}) if kind.__module__ == "program" else {}
        fields = self._fields(found)
        whole = len(fields) == len(found) and all(base.__module__ == "program" for base in kind.__mro__[:-1])
        return ["instance", kind.__name__, fields, whole, hasattr(kind, "__dataclass_fields__")]

    def _fields(self, found: dict) -> dict:
        fields = {}
        for name, value in found.items():
            with suppress(CannotCrossError):
                fields[str(name)] = self.write(value)
        return fields

    def read(self, data):
        """The value; any exception means that the other process sent what is none."""
        if data is None or isinstance(data, bool | int | float | str):
            return data
        name, *parts = data
        if name == "instance":
            return self._read_instance(*parts)
        if name in ("own", "builtin"):
            return (self.incoming if name == "own" else self.builtin)[parts[0]]
        return _maker(name)(*map(self.read, parts))

    def _read_instance(self, kind: str, fields: dict, whole: bool, by_value: bool):
        read = {name: self.read(value) for name, value in fields.items()}
        own = self.incoming.get(kind)
        if not (isinstance(own, type) and whole):
            return Instance(kind, read, whole, by_value)
        made: object = object.__new__(own)
        vars(made).update(read)
        return made


def overwrite(old, new) -> None:
    """Makes the old object equal to the new one in place, where both are of one type that can change."""
    if type(old) is not type(new):
        return
    if isinstance(old, list | collections.deque):
        kept = [_kept(before, after) for before, after in zip(old, new, strict=False)] + list(new)[len(old) :]
        old.clear()
        old.extend(kept)
    elif isinstance(old, dict | set):
        pairs = {key: _kept(old[key], value) for key, value in new.items() if key in old} if type(old) is dict else {}
        old.clear()
        old.update(new)
        old.update(pairs)
    elif isinstance(old, bytearray):
        old[:] = new
    elif type(old).__module__ == "numpy" and hasattr(old, "flags") and old.shape == new.shape and old.flags.writeable:
        old[...] = new
    elif hasattr(old, "_mgr"):  # a table of pandas: what its own in-place methods do
        old._mgr = new._mgr
    elif type(old).__module__ == "program":
        vars(old).update(vars(new))


def _kept(old, new):
    """The old element, so that others who hold it see the change; the new one where it cannot be changed."""
    overwrite(old, new)
    return old if type(old) is type(new) and isinstance(old, list | dict | set | collections.deque) else new


Form = tuple[str, Callable, Callable]  # of a type: a name, its parts, and how it is made of them


def _pairs(value) -> Iterator:
    return chain.from_iterable(dict.items(value))


def _dict(*parts) -> dict:
    return dict(zip(parts[::2], parts[1::2], strict=True))


_NAMED: Form = ("named", lambda v: [type(v).__name__, list(type(v)._fields), *tuple.__iter__(v)],
    lambda name, fields, *values: collections.namedtuple(name, fields)(*values))  # fmt: skip
_PLAIN: dict[type, Form] = {
    bool: ("bool", lambda v: [int(v)], bool),
    int: ("int", lambda v: [hex(int.__add__(v, 0))], lambda text: int(text, 16)),
    float: ("float", lambda v: [float.__add__(v, 0.0)], float),
    str: ("str", lambda v: [str.__str__(v)], str),
    complex: ("complex", lambda v: [v.real, v.imag], complex),
    bytes: ("bytes", lambda v: [v.decode("latin-1")], lambda text: text.encode("latin-1")),
    bytearray: ("bytearray", lambda v: [v.decode("latin-1")], lambda text: bytearray(text.encode("latin-1"))),
    **{kind: (kind.__name__, kind.__iter__, lambda *items, kind=kind: kind(items))
       for kind in (list, tuple, set, frozenset, time.struct_time)},
    dict: ("dict", _pairs, _dict),
    **{kind: (kind.__name__, lambda v: [v.start, v.stop, v.step], kind) for kind in (range, slice)},
    type(...): ("ellipsis", lambda v: [], lambda: ...),
    collections.Counter: ("Counter", _pairs, lambda *parts: collections.Counter(_dict(*parts))),
    collections.OrderedDict: ("OrderedDict", _pairs, lambda *parts: collections.OrderedDict(_dict(*parts))),
    collections.defaultdict: ("defaultdict", lambda v: [getattr(v.default_factory, "__name__", None), *_pairs(v)],
        lambda name, *parts: collections.defaultdict(_PLAIN_TYPES.get(name), _dict(*parts))),
    collections.deque: ("deque", lambda v: [v.maxlen, *v], lambda longest, *v: collections.deque(v, longest)),
    type({}.keys()): ("keys", list, lambda *keys: dict.fromkeys(keys).keys()),
    type({}.values()): ("values", list, lambda *items: dict(enumerate(items)).values()),
    type({}.items()): ("items", list, lambda *pairs: dict(pairs).items()),
    **{kind: (kind.__name__, lambda v: [v.isoformat(), v.fold],  # a time zone crosses as its offset
        lambda text, fold, kind=kind: kind.fromisoformat(text).replace(fold=fold))
       for kind in (datetime.datetime, datetime.time)},
    datetime.date: ("date", lambda v: [v.isoformat()], datetime.date.fromisoformat),
    datetime.timedelta: ("timedelta", lambda v: [v.days, v.seconds, v.microseconds], datetime.timedelta),
    datetime.timezone: ("timezone", lambda v: [v.utcoffset(None)], datetime.timezone),
    fractions.Fraction: ("Fraction", lambda v: [v.numerator, v.denominator], fractions.Fraction),
    **{kind: (kind.__name__, lambda v: [str(v)], kind) for kind in (
        decimal.Decimal, uuid.UUID, pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.PosixPath)},
}  # fmt: skip


def _numpy_forms() -> dict[type, Form]:
    import numpy

    def parts(value) -> list:
        if value.dtype.hasobject:
            return [list(value.shape), *value.ravel().tolist()]
        file = io.BytesIO()
        numpy.lib.format.write_array(file, numpy.asarray(value), allow_pickle=False)
        return [base64.b64encode(file.getvalue()).decode()]

    def array(first, *values):
        if isinstance(first, str):
            return numpy.lib.format.read_array(io.BytesIO(base64.b64decode(first)), allow_pickle=False)
        flat = numpy.empty(len(values), object)
        flat[:] = numpy.fromiter(values, object, len(values))
        return flat.reshape(first)

    def plain(value) -> list:
        return [numpy.asarray(value)]

    def refuse(value):
        raise CannotCrossError(f"{type(value).__name__} is no plain data")

    return {
        numpy.ma.MaskedArray: ("masked", refuse, refuse),
        numpy.matrix: ("matrix", plain, numpy.asmatrix),
        numpy.ndarray: ("array", parts, array),
        numpy.generic: ("scalar", plain, lambda value: value[()]),
    }


def _pandas_forms() -> dict[type, Form]:
    import pandas

    def values(column):
        return column.to_numpy() if type(column.dtype).__module__.startswith("numpy") else column.array

    def index(content, name, frequency):
        made = pandas.Index(content, name=name)
        if frequency is not None and hasattr(made, "freq"):
            made.freq = frequency
        return made

    return {
        type(pandas.NaT): ("NaT", lambda v: [], lambda: pandas.NaT),
        type(pandas.NA): ("NA", lambda v: [], lambda: pandas.NA),
        pandas.Timestamp: ("timestamp", lambda v: [v.isoformat(), v.tz and str(v.tz)],
            lambda text, zone: pandas.Timestamp(text, tz=zone)),
        pandas.Timedelta: ("delta", lambda v: [v.value], pandas.Timedelta),
        pandas.Categorical: ("categorical", lambda v: [v.tolist(), v.categories, bool(v.ordered)], pandas.Categorical),
        pandas.api.extensions.ExtensionArray: ("extension", lambda v: [str(v.dtype), list(v)],
            lambda kind, items: pandas.array(items, dtype=kind)),
        pandas.RangeIndex: ("steps", lambda v: [v.start, v.stop, v.step, v.name],
            lambda *steps: pandas.RangeIndex(*steps[:3], name=steps[3])),
        pandas.MultiIndex: ("levels", lambda v: [list(v), list(v.names)],
            lambda rows, names: pandas.MultiIndex.from_tuples(rows, names=names)),
        pandas.Index: ("index", lambda v: [values(v), v.name, getattr(v, "freqstr", None)], index),
        pandas.Series: ("series", lambda v: [values(v), v.index, v.name],
            lambda content, rows, name: pandas.Series(content, rows, name=name)),
        pandas.DataFrame: (
            "frame", lambda v: [[values(v.iloc[:, n]) for n in range(v.shape[1])], v.index, v.columns],
            lambda columns, rows, names: pandas.DataFrame(dict(enumerate(columns)), rows).set_axis(names, axis=1)),
    }  # fmt: skip


@cache
def _forms(numpy: bool, pandas: bool) -> dict[type, Form]:
    return _PLAIN | (_numpy_forms() if numpy else {}) | (_pandas_forms() if pandas else {})


@cache
def _makers(numpy: bool, pandas: bool) -> dict[str, Callable]:
    known = {name: make for name, _, make in (_NAMED, *_forms(numpy, pandas).values())}
    return known | {"iterator": lambda *items: iter(items)}


def _maker(name: str) -> Callable:
    """How a value of that form is made; the libraries are imported where one of their forms comes."""
    for libraries in ((False, False), (True, False), (True, True)):
        if make := _makers(*libraries).get(name):
            return make
    raise ValueError(f"no form {name!r}")

"""The program's side of a check: answers what the judge asks about what the code left behind. Knows no check."""

import builtins
import io
import json
import sys
import types
from collections.abc import Callable

from nblib.sandbox.inside import checks, codec

_SPECIAL: dict[str, Callable] = {
    "__len__": len, "__iter__": iter, "__next__": next, "__str__": str, "__repr__": repr, "__bool__": bool,
    "__hash__": hash, "__instancecheck__": lambda kind, value: isinstance(value, kind),
    "__subclasscheck__": lambda kind, value: issubclass(value, kind),
}  # fmt: skip


class Printed(io.TextIOWrapper):
    """Standard output of a checked program: kept, and sent along with the next answer."""

    def __init__(self, maximum_bytes: int):
        self.kept = _Bounded(maximum_bytes)
        super().__init__(self.kept, encoding="utf-8", errors="surrogateescape", write_through=True)
        sys.stdout = sys.__stdout__ = self  # type: ignore[misc]

    def take(self) -> str:
        text = self.kept.getvalue().decode("utf-8", "replace")
        self.kept.seek(0)
        self.kept.truncate()
        return text


class _Bounded(io.BytesIO):
    def __init__(self, maximum_bytes: int):
        super().__init__()
        self.left = maximum_bytes

    def write(self, data) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise OSError("too much output")
        return super().write(data)


class Desk:
    """Answers one question at a time."""

    def __init__(self, space: dict, printed: Printed, setup_names: dict):
        self.space, self.printed = space, printed
        self.objects: dict[int, object] = {}  # what the judge holds handles of
        self.numbers: dict[int, int] = {}
        self.sent: dict[str, str] = {}  # data under a name, as the judge last saw it
        own = (type, types.FunctionType)
        self.setup = {id(value): name for name, value in setup_names.items() if isinstance(value, own)}
        self.codec = codec.Codec(self._opaque, self._known)

    def answer(self, question: dict) -> dict:
        try:
            self._take(question.get("changes", {}))
            reply = getattr(self, "_" + question["op"])(question)
        except BaseException as error:
            reply = {"raise": self._raised(error)}
        try:
            return reply | {"changes": self._changes(), "printed": self.printed.take()}
        except BaseException as error:
            return {"raise": self._raised(error), "changes": {}, "printed": ""}

    # --- questions ------------------------------------------------------------------------------------------------

    def _names(self, question: dict) -> dict:
        self.sent = {}
        values = {}
        for name in question["names"]:
            if name in self.space:
                values[name] = self.codec.encode(self.space[name])
                if _is_data(values[name]):
                    self.sent[name] = json.dumps(values[name])
        return {"value": values}

    def _call(self, question: dict) -> dict:
        target = self.codec.decode(question["target"])
        arguments = self.codec.decode_all(question["arguments"])
        keywords = {name: self.codec.decode(value) for name, value in question["keywords"].items()}
        try:
            reply = {"value": self.codec.encode(target(*arguments, **keywords))}
        except BaseException as error:
            reply = {"raise": self._raised(error)}
        after = {name: self._mutable(value) for name, value in keywords.items()}
        return reply | {"arguments": [self._mutable(each) for each in arguments], "keywords": after}

    def _attribute(self, question: dict) -> dict:
        return {"value": self.codec.encode(getattr(self.codec.decode(question["target"]), question["name"]))}

    def _set(self, question: dict) -> dict:
        setattr(self.codec.decode(question["target"]), question["name"], self.codec.decode(question["value"]))
        return {"value": None}

    def _special(self, question: dict) -> dict:
        target, name = self.codec.decode(question["target"]), question["name"]
        arguments = self.codec.decode_all(question["arguments"])
        call = _SPECIAL.get(name) or getattr(type(target), name)
        return {"value": self.codec.encode(call(target, *arguments))}

    def _inside(self, question: dict) -> dict:
        """A check that works in this process only; the secret is given back if its end was reached."""
        reached: list = []
        space = self.space
        if question["candidate"] is not None:
            space["candidate"] = space[question["candidate"]]
        space["__reached__"] = reached.append
        tree = checks.parse(question["check"])
        tree.body += checks.parse(f"__reached__({question['secret']!r})").body
        exec(compile(tree, "check", "exec", dont_inherit=True), space)
        return {"value": reached[-1] if reached else None}

    # --- values ---------------------------------------------------------------------------------------------------

    def _take(self, changes: dict) -> None:
        """What the check has done to the program's data, before it goes on."""
        for name, value in changes.items():
            new = self.codec.decode(value)
            if not codec.overwrite(self.space.get(name), new):
                self.space[name] = new
            self.sent[name] = json.dumps(value)

    def _changes(self) -> dict:
        """Data under a name that is no longer as the judge last saw it."""
        found = {}
        for name, before in self.sent.items():
            now = self.codec.encode(self.space.get(name))
            text = json.dumps(now)
            if text != before:
                found[name], self.sent[name] = now, text
        return found

    def _mutable(self, value):
        """An argument after the call; None for what cannot have changed."""
        if value is None or isinstance(value, bool | int | float | str | bytes | tuple | frozenset):
            return None
        return self.codec.encode(value)

    def _opaque(self, value) -> list:
        if isinstance(value, types.ModuleType):
            return ["module", value.__name__]
        if id(value) in self.setup:
            return ["setup", self.setup[id(value)]]
        if id(type(value)) in self.setup and hasattr(value, "__dict__"):
            return ["instance", self.setup[id(type(value))], self.codec.encode(dict(vars(value)))]
        kind = value if isinstance(value, type) else type(value)
        names = [str(getattr(kind, "__module__", "")), str(getattr(kind, "__qualname__", ""))]
        return ["handle", self._number(value), _kind(value), *names, _builtin_base(value), self._number(kind)]

    def _number(self, value) -> int:
        if id(value) not in self.numbers:
            number = len(self.objects)
            self.objects[number], self.numbers[id(value)] = value, number
        return self.numbers[id(value)]

    def _known(self, data: list):
        tag, key, *rest = data
        if tag == "handle":
            return self.objects[key]
        if tag == "module":
            return sys.modules[key]
        if tag == "setup":
            return self.space.get(key)
        if tag == "instance":
            kind = next(value for value in self.space.values() if self.setup.get(id(value)) == key)
            made = kind.__new__(kind)
            made.__dict__.update(self.codec.decode(rest[0]))
            return made
        if tag == "shared":
            old, new = self.space[key], self.codec.decode(rest[0])
            return old if codec.overwrite(old, new) else new
        raise codec.CannotCrossError(f"unknown value {tag}")

    def _raised(self, error: BaseException) -> dict:
        kind = type(error)
        try:
            arguments = self.codec.encode(error.args)
        except BaseException:
            arguments = ["tuple", []]
        try:
            text = str(error)[:1000]
        except BaseException:
            text = ""
        names = {"name": kind.__name__, "module": kind.__module__, "arguments": arguments, "text": text}
        return names | {"kind": self._opaque(kind)}


def _kind(value) -> str:
    if isinstance(value, type):
        return "exception" if issubclass(value, BaseException) else "class"
    if hasattr(type(value), "__next__"):
        return "iterator"
    return "callable" if callable(value) and not hasattr(value, "__dataclass_fields__") else "object"


def _builtin_base(value) -> str | None:
    """The nearest exception that every Python has."""
    if not (isinstance(value, type) and issubclass(value, BaseException)):
        return None
    return next(each.__name__ for each in value.__mro__ if vars(builtins).get(each.__name__) is each)


def _is_data(encoded) -> bool:
    return not (isinstance(encoded, list) and encoded[0] in ("handle", "module", "setup"))

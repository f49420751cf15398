"""The judge's side of a check: the program's names as stand-ins that ask over the pipe. Trusts nothing it is told."""

import builtins
import importlib
import json
import socket
import sys
import types
from contextlib import suppress

from nblib.sandbox.inside import codec, wire


class EndedError(BaseException):
    """The program is gone; no check may catch this by `except Exception`."""


class Link:
    """The pipe to the program, and what is known of its names."""

    def __init__(self, channel: socket.socket, setup: dict):
        self.channel, self.setup = channel, setup
        self.ended = False  # a check that swallows EndedError does not pass
        self.stuck = ""  # why a value could not cross to the program; the check must run in its process
        self.space: dict = {}
        self.seen: dict[str, str] = {}  # the program's data by name, as this side last knew it
        self.named_classes: set[int] = set()  # handles of classes that the checks name
        self.handles: dict[int, object] = {}
        self.codec = codec.Codec(self._opaque, self._known)
        own = (type, types.FunctionType)
        self.setup_names = {id(value): name for name, value in setup.items() if isinstance(value, own)}

    def ask(self, operation: str, **question) -> dict:
        """The program's answer; its exception is raised here, as the same builtin type where it has one."""
        if self.ended:
            raise EndedError
        try:
            wire.send(self.channel, {"op": operation, "changes": self._changes()} | question)
            reply = wire.receive(self.channel)
            changes = {name: self.codec.decode(value) for name, value in reply["changes"].items()}
            printed = str(reply["printed"])
        except (wire.ClosedError, LookupError, TypeError, ValueError, AttributeError) as error:
            self.ended = True
            raise EndedError(str(error)) from None
        self._take(changes)
        if printed:
            sys.stdout.write(printed)
        return reply

    def value(self, reply: dict):
        if "raise" in reply:
            raise self._exception(reply["raise"]) from None
        return self._decoded(reply.get("value"))

    def call(self, target, arguments: tuple, keywords: dict):
        sent = {name: self.encode(value) for name, value in keywords.items()}
        reply = self.ask("call", target=self.encode(target), arguments=self.encode_all(arguments), keywords=sent)
        self._update(arguments, reply.get("arguments"))
        after = reply.get("keywords")
        if isinstance(after, dict):
            self._update(tuple(keywords.values()), [after.get(name) for name in keywords])
        return self.value(reply)

    def names(self, wanted: list[str], function: str | None) -> dict:
        """The program's values of these names, for those that it has; `function` is none of its classes."""
        values = self.ask("names", names=wanted).get("value")
        if not isinstance(values, dict):
            self.ended = True
            raise EndedError
        found = {name: self._decoded(values[name]) for name in wanted if name in values}
        for name, value in found.items():
            if isinstance(value, Handle) and value._kind == "class" and name != function:
                self.named_classes.add(value._number)
        return found

    def use(self, space: dict) -> None:
        """The namespace in which a check runs."""
        self.space, self.seen = space, {}
        self.codec.shared.clear()

    def share(self, name: str, value) -> None:
        """Data of the program's: what the check does to it is done there too, and it goes back by reference."""
        if isinstance(value, Handle | types.ModuleType | type):
            return
        self.seen[name] = json.dumps(self.codec.content(value))
        if not _immutable(value):
            self.codec.shared[id(value)] = lambda each: ["shared", name, self.codec.content(each)]

    def encode(self, value):
        try:
            return self.codec.encode(value)
        except (codec.CannotCrossError, RecursionError) as error:
            self.stuck = str(error)
            raise

    def encode_all(self, values) -> list:
        return [self.encode(each) for each in values]

    # --- what comes back ------------------------------------------------------------------------------------------

    def _decoded(self, data):
        try:
            return self.codec.decode(data)
        except EndedError:
            raise
        except Exception as error:  # whatever a hostile answer makes of it
            self.ended = True
            raise EndedError(f"an answer that is no value: {type(error).__name__}") from None

    def _take(self, changes: dict) -> None:
        for name, new in changes.items():
            if name in self.seen and not codec.overwrite(self.space.get(name), new):
                self.space[name] = new
            if name in self.seen:
                self.share(name, self.space[name])

    def _changes(self) -> dict:
        """What the check has done to the program's data since the last question."""
        found = {}
        for name in self.seen.keys() & self.space.keys():
            with suppress(codec.CannotCrossError, RecursionError):  # the check has put something else under the name
                now = self.codec.content(self.space[name])
                if (text := json.dumps(now)) != self.seen[name]:
                    found[name], self.seen[name] = now, text
        return found

    def _update(self, before: tuple, after) -> None:
        """What the call has changed in its arguments."""
        if isinstance(after, list) and len(after) == len(before):
            for old, new in zip(before, after, strict=True):
                if new is not None and id(old) not in self.codec.shared:
                    _overwrite(old, self._decoded(new))

    def _opaque(self, value) -> list:
        if isinstance(value, Handle):
            return ["handle", value._number]
        if isinstance(value, types.ModuleType):
            return ["module", value.__name__]
        if id(value) in self.setup_names:
            return ["setup", self.setup_names[id(value)]]
        if id(type(value)) in self.setup_names and hasattr(value, "__dict__"):
            return ["instance", self.setup_names[id(type(value))], self.codec.encode(vars(value))]
        raise codec.CannotCrossError(f"{type(value).__name__} is no plain data")

    def _known(self, data: list):
        tag, key, *rest = data
        if tag == "handle":
            return self._handle(int(key), *rest)
        if tag == "module":
            return importlib.import_module(key)
        if tag == "setup":
            return self.setup[key]
        if tag == "instance":
            kind = self.setup[key]
            made = object.__new__(kind)
            made.__dict__.update(self.codec.decode(rest[0]))
            return made
        raise codec.CannotCrossError(f"unknown value {tag}")

    def _handle(self, number: int, kind: str, module: str, name: str, base: str | None, of: int):
        if number not in self.handles:
            if kind == "exception":
                self.handles[number] = _exception_class(name, base)
            else:
                self.handles[number] = _handle_class(module, name)(self, number, kind, of)
        return self.handles[number]

    def _exception(self, raised: dict) -> BaseException:
        try:
            arguments = self.codec.decode(raised["arguments"])
            kind = self._exception_kind(raised)
            error = kind.__new__(kind, *arguments)
            error.args = arguments
        except Exception:
            error = RuntimeError(str(raised)[:500])
        error.__dict__["of_the_program"] = True
        return error

    def _exception_kind(self, raised: dict) -> type[BaseException]:
        name, module = raised["name"], raised["module"]
        found = getattr(builtins if module == "builtins" else sys.modules.get(module), name, None)
        if not (isinstance(found, type) and issubclass(found, BaseException)):
            found = self.codec.decode(raised["kind"])
        return found if issubclass(found, BaseException) else RuntimeError


class Handle:
    """An object of the program: its data can be read; its methods only where a check names its class.

    It never equals plain data, whatever its own class says of itself.
    """

    def __init__(self, link: Link, number: int, kind: str, of: int):
        self.__dict__.update(_link=link, _number=number, _kind=kind, _of=of)

    @property
    def _methods(self) -> bool:
        return self._of in self._link.named_classes

    def __call__(self, *arguments, **keywords):
        return self._link.call(self, arguments, keywords)

    def __getattr__(self, name: str):
        value = self._link.value(self._link.ask("attribute", target=["handle", self._number], name=name))
        if not (isinstance(value, Handle) and value._kind == "callable") or self._methods:
            return value
        if hasattr(_installed_class(type(self)), name):
            return lambda: _read(value())
        raise TypeError(f"{name} is a method of an object of the program's own; the check does not name its class")

    def __setattr__(self, name: str, value) -> None:
        self._link.value(
            self._link.ask("set", target=["handle", self._number], name=name, value=self._link.encode(value))
        )

    def __eq__(self, other) -> bool:
        if self is other or not (isinstance(other, Handle) and self._methods and other._methods):
            return self is other
        return self._special("__eq__", other) is True

    def __instancecheck__(self, value) -> bool:
        return isinstance(value, Handle) and self._special("__instancecheck__", value) is True

    def __subclasscheck__(self, value) -> bool:
        return isinstance(value, Handle) and self._special("__subclasscheck__", value) is True

    def __hash__(self) -> int:
        return hash(self._number)

    def __bool__(self) -> bool:
        return self._special("__bool__") is True if self._methods else True

    def __iter__(self):
        return self if self._kind == "iterator" else self._special("__iter__")

    def __len__(self) -> int:
        return self._special("__len__")

    def __str__(self) -> str:
        return self._special("__str__")

    def __repr__(self) -> str:
        return self._special("__repr__")

    def _special(self, name: str, *arguments):
        target = ["handle", self._number]
        reply = self._link.ask("special", target=target, name=name, arguments=self._link.encode_all(arguments))
        return self._link.value(reply)


def _forward(name: str, *, only_with_methods: bool, only_with_handles: bool = False):
    def method(self, *arguments):
        if only_with_methods and not self._methods:
            return NotImplemented
        if only_with_handles and not all(isinstance(each, Handle) and each._methods for each in arguments):
            return NotImplemented
        return self._special(name, *arguments)

    return method


for _name in ("next", "getitem", "setitem", "delitem", "enter", "exit"):
    setattr(Handle, f"__{_name}__", _forward(f"__{_name}__", only_with_methods=False))
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "abs", "contains"):
    setattr(Handle, f"__{_name}__", _forward(f"__{_name}__", only_with_methods=True))
for _name in ("lt", "le", "gt", "ge"):
    setattr(Handle, f"__{_name}__", _forward(f"__{_name}__", only_with_methods=True, only_with_handles=True))


def _handle_class(module: str, name: str) -> type[Handle]:
    """A class that prints as the program's own, for checks on `type(x)`."""
    return type(name.rpartition(".")[2], (Handle,), {"__module__": module, "__qualname__": name})


def _installed_class(stand_in: type) -> type | None:
    """The class of a package that an object says it is of, where this side has it."""
    found: object = sys.modules.get(stand_in.__module__) if stand_in.__module__ != "program" else None
    for part in stand_in.__qualname__.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _read(value):
    """What a method without arguments gives away: data that a check has to compare, no ready verdict."""
    if value is None or isinstance(value, bool | int | Handle):
        raise TypeError("an object of the program's own cannot answer a check with yes or no")
    return value


def _exception_class(name: str, base: str | None) -> type[BaseException]:
    found = getattr(builtins, base or "Exception", Exception)
    return type(name, (found if issubclass(found, BaseException) else Exception,), {"__module__": "builtins"})


def _overwrite(old, new) -> None:
    if isinstance(old, Handle) or _immutable(old):
        return
    if type(old) is type(new) and hasattr(old, "__dict__") and not codec.overwrite(old, new):
        old.__dict__.update(vars(new))  # an instance of a class of the setup's
    else:
        codec.overwrite(old, new)


def _immutable(value) -> bool:
    return value is None or isinstance(value, bool | int | float | complex | str | bytes | tuple | frozenset | type)

"""What runs in a program's process: takes the code from its channel, runs it, answers calls. Holds no verdict."""

import ast
import atexit
import builtins
import gc
import json
import linecache
import os
import socket
import sys
import threading
import traceback
import types
import warnings
from collections import ChainMap
from contextlib import suppress
from functools import cached_property

from nblib.sandbox import wire

FILE = "program.py"
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def main(control: socket.socket, limits: dict) -> None:
    """Never returns."""
    begin = wire.receive(control)
    sys.set_int_max_str_digits(0)
    _standard_files()
    for name in [name for name in sys.modules if name.partition(".")[0] == "nblib"]:
        del sys.modules[name]
    if begin["mode"] == "asked":
        _run_asked(control, begin, limits["output_bytes"])
    code = _compiled(control, begin["code"], wrap=True)
    control.close()
    space = _space("__main__", begin["code"])
    sys.argv = [FILE]
    _leave(_run(lambda: exec(code, space)), space)


def _run_asked(control: socket.socket, begin: dict, output_bytes: int) -> None:
    """Runs set-up and code, then answers questions until nobody is there to ask."""
    code = _compiled(control, begin["code"], setup=begin["setup"])
    space = _space("program", begin["code"])
    known: dict = {}
    if status := _run(lambda: known.update(_defined(begin["setup"], code, space))):
        _leave(status, space)
    wire.send(control, {"ready": True})
    wire.serve(control, Program(space, known, begin["name"], output_bytes).answer)


def _defined(setup: str, code: types.CodeType, space: dict) -> dict:
    """Runs both; what the set-up has defined. A set-up that needs a class of the code's runs again after it."""
    first = compile(setup, "setup", "exec", dont_inherit=True)
    try:
        exec(first, space)
    except NameError:
        exec(code, space)
        exec(first, space)
        return {}
    known = dict(space)
    exec(code, space)
    return known


class Program:
    """What the code has left behind, and the questions that it answers about it."""

    def __init__(self, space: dict, known: dict, name: str | None, output_bytes: int):
        self.space, self.name, self.output_bytes = space, name, output_bytes
        self.crossing = wire.Crossing(ChainMap(space, known), known, vars(builtins))

    def answer(self, question: dict) -> dict:
        (kind,) = question
        try:
            return getattr(self, "_" + kind)(question[kind])
        except MemoryError as error:
            return _error(error)
        except wire.CannotCrossError as error:
            return {"cannot": str(error)}
        except RecursionError:
            return {"cannot": "a value lies too deep, or holds itself"}
        except BaseException as error:  # of a generator, for one
            return self._raised(error)

    def _names(self, names: list[str]) -> dict:
        """Data by name, and the names of what can be called."""
        found: dict = {"data": {}, "callable": []}
        for name in names:
            if name in self.space:
                data = self.crossing.write(self.space[name])
                called = callable(self.space[name]) and data[0] in ("instance", "own", "builtin")
                found["callable"].append(name) if called else found["data"].update({name: data})
        return found

    def _call(self, question: list) -> dict:
        name, arguments, keywords = question
        given = [self.crossing.read(data) for data in arguments]
        named = {key: self.crossing.read(data) for key, data in keywords.items()}
        try:
            value = self.space[name](*given, **named)
        except BaseException as error:
            reply = self._raised(error)
        else:
            reply = {"value": self.crossing.write(value)}
        changed = {}
        both = zip([*arguments, *keywords.values()], [*given, *named.values()], strict=True)
        for place, (sent, value) in enumerate(both):
            if isinstance(sent, list) and sent[0] != "iterator" and (now := self.crossing.write(value)) != sent:
                changed[str(place)] = now
        return reply | {"changed": changed}

    def _raised(self, error: BaseException) -> dict:
        """The nearest exception that every Python has, with its arguments where they are data."""
        kind = next(kind.__name__ for kind in type(error).__mro__ if vars(builtins).get(kind.__name__) is kind)
        try:
            arguments = [self.crossing.write(value) for value in error.args]
        except Exception:
            arguments = []
        return {"raised": [kind, arguments], "line": last_line(error)}

    def _json(self, text: str) -> dict:
        """A call as in the published APPS metric: of a method of `class Solution`, else of a function."""
        try:
            arguments = json.loads(text)
            if arguments and isinstance(arguments[0], dict):
                with suppress(ValueError):
                    arguments[0] = {int(key): value for key, value in arguments[0].items()}
            value = self._target(*arguments)
        except BaseException as error:
            return _error(error)
        try:
            result = json.dumps(value, default=_plain)
        except MemoryError:
            raise
        except Exception as error:
            return {"none": f"the returned {type(value).__name__} has no JSON form: {last_line(error)}"}
        if len(result) > self.output_bytes:
            return {"error": f"more than {self.output_bytes} bytes of output"}
        return {"value": result}

    @cached_property
    def _target(self):
        solution = self.space.get("Solution")
        if isinstance(solution, type) and hasattr(solution, str(self.name)):
            return getattr(solution(), str(self.name))
        if self.name not in self.space:
            raise NameError(f"name {self.name!r} is not defined")
        return self.space[self.name]

    def _check(self, question: dict) -> dict:
        """A check that works in this process only; the secret is given back if its end was reached."""
        reached: list = []
        if self.name is not None:
            self.space["candidate"] = self.space.get(self.name)
        self.space["__reached__"] = reached.append
        tree = parse_check(question["text"])
        tree.body += ast.parse(f"__reached__({question['secret']!r})").body
        try:
            exec(compile(tree, "check", "exec", dont_inherit=True), self.space)
        except AssertionError as error:
            return {"failed": last_line(error)}
        except BaseException as error:
            return _error(error)
        return {"reached": reached[-1] if reached else None}


def _error(error: BaseException) -> dict:
    return {"error": last_line(error), "memory": isinstance(error, MemoryError)}


def _plain(value):
    """Numbers of other types as numbers, by value: numpy's scalars, Decimal, Fraction."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool | int | float):
        return value
    if hasattr(value, "as_integer_ratio"):
        return int(value) if value == int(value) else float(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _standard_files() -> None:
    settings = {"encoding": "utf-8", "errors": "surrogateescape", "closefd": False}
    sys.stdin = sys.__stdin__ = open(0, **settings)  # type: ignore[call-overload,misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", **settings)  # type: ignore[call-overload,misc]  # noqa: SIM115
    settings |= {"errors": "backslashreplace", "buffering": 1}
    sys.stderr = sys.__stderr__ = open(2, "w", **settings)  # type: ignore[call-overload,misc]  # noqa: SIM115


def _compiled(control: socket.socket, text: str, *, setup: str = "", wrap: bool = False) -> types.CodeType:
    """The code object; says on the channel whether there is one, and ends the process where not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(setup, "setup", "exec", dont_inherit=True)
            code = _compile(text.removeprefix("\ufeff"), wrap)
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
        wire.send(control, {"compile_error": last_line(error)})
        os._exit(1)
    wire.send(control, {"compiled": True})
    return code


def _compile(text: str, wrap: bool) -> types.CodeType:
    """`wrap` makes the program the body of a function, where it needs to be: for a top-level `return` or `nonlocal`."""
    try:
        return compile(text, FILE, "exec", dont_inherit=True)
    except SyntaxError:
        if wrap:
            with suppress(SyntaxError, ValueError):
                return compile(_wrapped(ast.parse(text, FILE)), FILE, "exec", dont_inherit=True)
        raise


def _wrapped(tree: ast.Module) -> ast.Module:
    """All in a function but imports that are not allowed there."""
    frame = ast.parse("def main(): pass\nmain()")
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    outside = [node for node in imports if node.module == "__future__" or node.names[0].name == "*"]
    frame.body[0].body += [node for node in tree.body if node not in outside]  # type: ignore[attr-defined]
    return ast.fix_missing_locations(ast.Module(outside + frame.body, []))


def _space(name: str, text: str) -> dict:
    """The namespace of a fresh module, registered so that pickle, dataclasses and inspect find it."""
    module = types.ModuleType(name)
    module.__file__ = FILE
    sys.modules[name] = module
    linecache.cache[FILE] = (len(text), None, text.splitlines(keepends=True), FILE)
    return module.__dict__


def _run(action) -> int:
    """An exit status, as the interpreter gives it; `sys.exit` is a normal end whatever its code."""
    try:
        action()
    except SystemExit as error:
        if isinstance(error.code, str):
            os.write(2, error.code.encode(errors="replace")[:500] + b"\n")
        return 0
    except BaseException as error:
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        try:
            lines = traceback.format_exception(type(error), error, trace, limit=-20)
        except BaseException:
            lines = [type(error).__name__ + "\n"]
        os.write(2, "".join(lines)[-4000:].encode(errors="replace"))
        return 1
    return 0


def _leave(status: int, space: dict) -> None:
    """What the interpreter does at its end: waits for threads, calls exit handlers, closes files that are left open.

    The interpreter's own end would take as long as a small program, to free all that every program has in common.
    """
    for action in (threading._shutdown, atexit._run_exitfuncs):  # type: ignore[attr-defined]
        _run(action)
    for name in [name for name in space if name != "__builtins__"]:
        space[name] = None
    for action in (gc.collect, sys.stdout.flush, sys.__stdout__.flush):  # type: ignore[union-attr]
        with suppress(Exception):  # closed by the program
            action()
    os._exit(status)


def last_line(error: BaseException) -> str:
    """What a traceback would end with."""
    try:
        return traceback.format_exception_only(type(error), error)[-1].strip()
    except BaseException:
        return type(error).__name__


# --- what a check's text says, read without running it ----------------------------------------------------------------


def parse_check(text: str) -> ast.Module:
    """A check's statements; one that only defines `check` is called with the candidate. SyntaxError, as compile."""
    tree = ast.parse(text, "check")
    defined = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)
    if defined and "check" not in called_names(tree):
        tree.body += ast.parse("check(candidate)").body
    return tree


def free_names(tree: ast.AST) -> set[str]:
    """Names that the text reads and nowhere binds itself, builtins among them."""
    nodes = list(ast.walk(tree))
    read = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return read - {_binds(node) for node in nodes}


def called_names(tree: ast.AST) -> set[str]:
    return {str(name_of(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def name_of(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def bound_names(tree: ast.Module) -> dict[str, bool]:
    """Names that the text binds outside of functions and classes, and whether it binds them to one of these."""
    found: dict[str, bool] = {}
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if name := _binds(node):
            found[name] = isinstance(node, _DEFINITIONS)
        if not isinstance(node, (*_DEFINITIONS, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return found


def _binds(node: ast.AST) -> str | None:
    """The name that a node gives a value to."""
    if isinstance(node, ast.Name):
        return None if isinstance(node.ctx, ast.Load) else node.id
    if isinstance(node, ast.alias):
        return (node.asname or node.name).partition(".")[0]
    if isinstance(node, ast.arg):
        return node.arg
    return node.name if isinstance(node, (*_DEFINITIONS, ast.ExceptHandler)) else None

"""What runs in a program's process: takes the code from its channel, runs it, answers calls. Holds no verdict."""

import ast
import atexit
import json
import linecache
import os
import socket
import sys
import threading
import traceback
import types
import warnings

from nblib.sandbox.inside import desk, wire

FILE = "program.py"


def main(control: socket.socket, peer: socket.socket | None, limits: dict) -> None:
    """Never returns."""
    message = wire.receive(control)
    sys.set_int_max_str_digits(0)
    _standard_files()
    for name in [each for each in sys.modules if each.partition(".")[0] == "nblib"]:
        del sys.modules[name]
    _MODES[message["mode"]](control, message, limits)


# --- three ways to run ----------------------------------------------------------------------------------------------


def _run_script(control: socket.socket, message: dict, limits: dict) -> None:
    code = _compiled(control, message["code"], wrap=True)
    control.close()
    space = _space("__main__", message["code"])
    sys.argv = [FILE]
    _leave(_run(lambda: exec(code, space)))


def _run_function(control: socket.socket, message: dict, limits: dict) -> None:
    call = _defined(control, message)
    while True:
        wire.send(control, _called(call, _wait(control)["arguments"], limits["output_bytes"]))


def _run_checked(control: socket.socket, message: dict, limits: dict) -> None:
    setup = _compiled(control, message["setup"], file="setup", quiet=True)
    code = _compiled(control, message["code"])
    space = _space("program", message["code"])
    printed = desk.Printed(limits["output_bytes"])
    if status := _run(lambda: exec(setup, space)):
        _leave(status)
    answers = desk.Desk(space, printed, setup_names=dict(space))
    if status := _run(lambda: exec(code, space)):
        _leave(status)
    printed.take()
    wire.send(control, {"ready": True})
    while True:
        wire.send(control, answers.answer(_wait(control)))


_MODES = {"script": _run_script, "function": _run_function, "checked": _run_checked}


def _wait(control: socket.socket) -> dict:
    try:
        return wire.receive(control)
    except wire.ClosedError:
        os._exit(0)


# --- functions ------------------------------------------------------------------------------------------------------


def _defined(control: socket.socket, message: dict):
    """Runs the code and gives what its name stands for: a method of `class Solution`, else a function."""
    code, name, found = _compiled(control, message["code"]), message["name"], []
    space = _space("program", message["code"])

    def define() -> None:
        exec(code, space)
        solution = space.get("Solution")
        if isinstance(solution, type) and hasattr(solution, name):
            found.append(getattr(solution(), name))
        elif name in space:
            found.append(space[name])
        else:
            raise NameError(f"name '{name}' is not defined")

    status = _run(define)
    if not found:
        _leave(status or 1)
    wire.send(control, {"ready": True})
    return found[0]


def _called(call, text: str, output_bytes: int) -> dict:
    try:
        arguments = json.loads(text)
        if arguments and isinstance(arguments[0], dict):  # as the published APPS metric
            arguments[0] = _whole_keys(arguments[0])
        value = call(*arguments)
    except BaseException as error:
        return {"error": _last_line(error), "memory": isinstance(error, MemoryError)}
    try:
        result = json.dumps(value, default=_plain)
    except MemoryError as error:
        return {"error": _last_line(error), "memory": True}
    except Exception as error:
        return {"none": f"the returned {type(value).__name__} has no JSON form: {_last_line(error)}"}
    if len(result) > output_bytes:
        return {"error": f"more than {output_bytes} bytes of output", "memory": False}
    return {"value": result}


def _whole_keys(value: dict) -> dict:
    try:
        return {int(key): each for key, each in value.items()}
    except ValueError:
        return value


def _plain(value):
    """Numbers of other types as numbers, by value: numpy's scalars, Decimal, Fraction."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool | int | float):
        return value
    if hasattr(value, "as_integer_ratio"):
        return int(value) if value == int(value) else float(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


# --- shared ---------------------------------------------------------------------------------------------------------


def _standard_files() -> None:
    settings = {"encoding": "utf-8", "errors": "surrogateescape", "closefd": False}
    sys.stdin = sys.__stdin__ = open(0, **settings)  # type: ignore[call-overload,misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", **settings)  # type: ignore[call-overload,misc]  # noqa: SIM115
    settings |= {"errors": "backslashreplace", "buffering": 1}
    sys.stderr = sys.__stderr__ = open(2, "w", **settings)  # type: ignore[call-overload,misc]  # noqa: SIM115


def _compiled(control: socket.socket, text: str, *, wrap: bool = False, file: str = FILE, quiet: bool = False):
    """The code object; says on the channel whether there is one, and ends the process where not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = _compile(text.removeprefix("\ufeff"), file, wrap)
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
        wire.send(control, {"compile_error": _last_line(error)})
        os._exit(1)
    if not quiet:
        wire.send(control, {"compiled": True})
    return code


def _compile(text: str, file: str, wrap: bool):
    try:
        return compile(text, file, "exec", dont_inherit=True)
    except SyntaxError:
        if not wrap:
            raise
        try:
            return compile(_wrapped(ast.parse(text, file)), file, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            pass
        raise


def _wrapped(tree: ast.Module) -> ast.Module:
    """The program as the body of a function, in which a top-level `return` or `nonlocal` is allowed."""
    outside = [each for each in tree.body if _stays_outside(each)]
    inside = [each for each in tree.body if not _stays_outside(each)]
    frame = ast.parse("def main(): pass\nmain()")
    frame.body[0].body = inside or frame.body[0].body  # type: ignore[attr-defined]
    return ast.fix_missing_locations(ast.Module(outside + frame.body, []))


def _stays_outside(node: ast.stmt) -> bool:
    """Imports that are not allowed in a function."""
    return isinstance(node, ast.ImportFrom) and (node.module == "__future__" or node.names[0].name == "*")


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
    except MemoryError:
        os.write(2, b"MemoryError\n")
        return 1
    except BaseException as error:
        trace = error.__traceback__.tb_next if error.__traceback__ else None
        try:
            lines = traceback.format_exception(type(error), error, trace, limit=-20)
        except BaseException:
            lines = [type(error).__name__ + "\n"]
        os.write(2, "".join(lines)[-4000:].encode(errors="replace"))
        return 1
    return 0


def _leave(status: int) -> None:
    """What the interpreter does at its end: waits for threads, calls exit handlers, flushes."""
    for action in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush):  # type: ignore[attr-defined]
        status = _run(action) or status
    os._exit(status)


def _last_line(error: BaseException) -> str:
    try:
        return traceback.format_exception_only(type(error), error)[-1].strip()
    except BaseException:
        return type(error).__name__

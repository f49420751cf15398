"""What runs in the judge's process: checks, on stand-ins for the program's names. Runs nothing of the program's."""

import ast
import builtins
import os
import secrets
import socket
import sys
import traceback
import types

from nblib.sandbox.inside import checks, remote, wire

_INSIDE = "checked in the program's own process: "
_TYPES_OF_SETUP = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)


def main(control: socket.socket, peer: socket.socket, limits: dict) -> None:
    """Never returns."""
    sys.set_int_max_str_digits(0)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    begin = wire.receive(control)
    try:
        judge = Judge(peer, begin["setup"], begin["name"])
        wire.send(control, {"ready": True})
    except BaseException as error:
        wire.send(control, {"setup_error": _line(error)})
        os._exit(0)
    while True:
        try:
            question = wire.receive(control)
        except wire.ClosedError:
            os._exit(0)
        wire.send(control, judge.verdict(question["check"], inside=question["inside"]))


class Judge:
    """Holds the names of the setup, and the link to one program."""

    def __init__(self, peer: socket.socket, setup: str, name: str | None):
        module = types.ModuleType("program")
        sys.modules["program"] = module
        self.setup, self.name = module.__dict__, name
        exec(compile(setup, "setup", "exec", dont_inherit=True), self.setup)
        self.link = remote.Link(peer, dict(self.setup))

    def verdict(self, text: str, *, inside: bool) -> dict:
        """`ok`, `failed`, `raised` by the program, `ended` program, or `inside`: this check cannot cross."""
        try:
            tree = checks.parse(text)
        except SyntaxError as error:
            return {"verdict": "failed", "message": f"the check does not compile: {_line(error)}"}
        output, self.link.stuck = sys.stdout, ""
        try:
            if inside:
                return self._inside(text)
            return self._outside(tree)
        except remote.EndedError as error:
            return {"verdict": "ended", "message": str(error)}
        finally:
            sys.stdout = output

    def _outside(self, tree: ast.Module) -> dict:
        space = self._space(tree)
        modules = {name for name, value in space.items() if isinstance(value, types.ModuleType)}
        if checks.reaches_into_the_process(tree, modules):
            return {"verdict": "inside", "message": _INSIDE + "it patches or reads what the process holds"}
        failure = None
        try:
            exec(compile(tree, "check", "exec", dont_inherit=True), space)
        except remote.EndedError:
            raise
        except BaseException as error:
            failure = error
        if self.link.ended:
            return {"verdict": "ended", "message": ""}
        if self.link.stuck:
            return {"verdict": "inside", "message": _INSIDE + self.link.stuck}
        if failure is None:
            return {"verdict": "ok", "message": ""}
        raised = getattr(failure, "of_the_program", False)
        return {"verdict": "raised" if raised else "failed", "message": _line(failure)}

    def _inside(self, text: str) -> dict:
        """The program's process runs the check and can give back the secret only from behind its end."""
        secret = secrets.token_hex(16)
        reply = self.link.ask("inside", check=text, secret=secret, candidate=self.name)
        try:
            value = self.link.value(reply)
        except remote.EndedError:
            raise
        except BaseException as error:
            kind = "failed" if isinstance(error, AssertionError) else "raised"
            return {"verdict": kind, "message": _line(error)}
        if isinstance(value, str) and secrets.compare_digest(value.encode(), secret.encode()):
            return {"verdict": "ok", "message": ""}
        return {"verdict": "failed", "message": "the check did not run to its end"}

    def _space(self, tree: ast.Module) -> dict:
        """What the check sees: the setup's names, and over them what the code left behind."""
        wanted = {*checks.names(tree), *([self.name] if self.name else [])} - {"candidate"}
        found = self.link.names(sorted(wanted), self.name)
        space = {**self.setup, "__builtins__": builtins}
        self.link.use(space)
        tested = [name for name, value in found.items() if not hasattr(builtins, name) and name not in self.setup]
        for name, value in found.items():
            if self._may_replace(name, tested):
                space[name] = value
                self.link.share(name, value)
        if self.name in found:
            space["candidate"] = found[self.name]
        return space

    def _may_replace(self, name: str, tested: list[str]) -> bool:
        """The program cannot put its own `abs` or `math` under a check that tests something else."""
        if name == self.name:
            return True
        if name in self.setup:
            return not isinstance(self.setup[name], _TYPES_OF_SETUP)
        return not hasattr(builtins, name) or not (tested or self.name)


def _line(error: BaseException) -> str:
    try:
        return traceback.format_exception_only(type(error), error)[-1].strip()[:500]
    except BaseException:
        return type(error).__name__

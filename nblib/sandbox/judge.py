"""What runs in the judge's process: checks. The program's functions are called by way of the worker, data only crosses.

Nothing of the program's runs here, no module is imported because a program names it, and its folder is not there.
"""

import ast
import builtins
import os
import socket
import sys
import types

from nblib.sandbox import wire
from nblib.sandbox.program import called_names, free_names, last_line, parse_check

_DEFINED = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)  # a set-up's own; never replaced


def main(control: socket.socket, limits: dict) -> None:
    """Never returns."""
    sys.set_int_max_str_digits(0)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    begin = wire.receive(control)
    try:
        judge = Judge(control, **begin)
    except BaseException as error:
        wire.send(control, {"setup_error": last_line(error)})
        os._exit(0)
    wire.send(control, {"ready": True})
    wire.serve(control, judge.verdict)


class Judge:
    """Holds the names of the set-up, and asks the program."""

    def __init__(self, control: socket.socket, setup: str, name: str | None, data: list[str] | None):
        module = types.ModuleType("program")
        sys.modules["program"] = module
        self.control, self.name, self.data = control, name, data
        self.setup = module.__dict__
        exec(compile(setup, "setup", "exec", dont_inherit=True), self.setup)
        self.crossing = wire.Crossing(self.setup, dict(self.setup))
        self.stuck: list[str] = []  # why a check has not seen what it tested for; it cannot pass then

    def verdict(self, question: dict) -> dict:
        """Whether the check holds; an error that the program raised is a runtime_error."""
        try:
            tree = parse_check(question["check"])
            code = compile(tree, "check", "exec", dont_inherit=True)
        except SyntaxError as error:
            return {"status": "failed", "message": f"the check does not compile: {last_line(error)}"}
        self.stuck = wire.Instance.missed = []
        output, failure = sys.stdout, None
        try:
            exec(code, self._space(tree))
        except BaseException as error:
            failure = error
        finally:
            sys.stdout = output
        if self.stuck:
            return {"status": "failed", "message": self.stuck[0]}
        if failure is None:
            return {"status": "ok", "message": ""}
        raised = getattr(failure, "of_the_program", None)
        return {"status": "runtime_error" if raised else "failed", "message": raised or last_line(failure)}

    def _space(self, tree: ast.Module) -> dict:
        """What the check sees: the set-up's names, and of the program's those that it tests."""
        names = free_names(tree)
        tested = [name for name in names if self._of_the_program(name, names, tree)]
        found = self._ask({"names": sorted({*tested, *([self.name] if self.name else [])})})
        from_program = {name: self._read(data) for name, data in found["data"].items()}
        from_program |= {name: self._function(name) for name in found["callable"]}
        space = {**self.setup, "__builtins__": builtins}
        space |= {name: value for name, value in from_program.items() if name in tested}
        return space | ({"candidate": from_program[self.name]} if self.name in found["callable"] else {})

    def _of_the_program(self, name: str, names: set[str], tree: ast.Module) -> bool:
        """Whether a check's name is what it tests: a program cannot put its own `abs`, `math` or `want` under it."""
        if name == self.name:
            return True
        defined = {*self.setup, *vars(builtins), "candidate"}
        if name not in defined:
            return True
        if name == "candidate" or isinstance(self.setup.get(name), _DEFINED):
            return False
        if self.data is not None:
            return name in self.data
        others = (names - defined) or ({self.name} & names)
        return not ((others & called_names(tree)) if name in self.setup else others or self.name)

    def _ask(self, question: dict) -> dict:
        """The answer, of which nothing is believed but that it is JSON."""
        wire.send(self.control, {"ask": question})
        reply = wire.receive(self.control)
        for kind in {"cannot", "error"} & reply.keys():
            self._give_up(str(reply[kind]))
        return reply

    def _function(self, name: str):
        def call(*arguments, **keywords):
            given = [*arguments, *keywords.values()]
            try:
                sent = [self.crossing.write(value) for value in given]
            except (wire.CannotCrossError, RecursionError) as error:
                self._give_up(str(error))
            named = dict(zip(keywords, sent[len(arguments) :], strict=True))
            reply = self._ask({"call": [name, sent[: len(arguments)], named]})
            changed = reply.get("changed", {})
            for place in changed if isinstance(changed, dict) else ():
                wire.overwrite(given[int(place)], self._read(changed[place]))
            if "raised" in reply:
                raise self._exception(reply)
            return self._read(reply.get("value"))

        call.__name__ = call.__qualname__ = name
        return call

    def _read(self, data):
        try:
            return self.crossing.read(data)
        except Exception as error:  # whatever a hostile answer makes of it
            self._give_up(f"an answer that is no value: {type(error).__name__}")

    def _exception(self, reply: dict) -> BaseException:
        kind, arguments = reply["raised"]
        known = vars(builtins).get(kind)
        known = known if isinstance(known, type) and issubclass(known, BaseException) else Exception
        try:
            error = known(*[self._read(data) for data in arguments])
        except TypeError:
            error = known()
        error.of_the_program = str(reply.get("line"))[:500]  # type: ignore[attr-defined]
        return error

    def _give_up(self, reason: str):
        self.stuck.append(reason)
        raise wire.CannotCrossError(reason)

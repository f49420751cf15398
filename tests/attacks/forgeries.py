"""Programs that want a check to pass without meeting it."""

from textwrap import dedent

from attacks.programs import ASLEEP, BRIEF, Attack

from nblib.sandbox import Checked

CHECK = "assert f(3) == 918273645"
NEAR = "assert abs(f(3) - 9.5) < 1e-6"
CAUGHT = ("failed", "runtime_error", "time_out", "out_of_memory")
INSIDE = "from unittest.mock import Mock\nassert f() == 1"  # such a check runs in the program's own process


def forgery(name: str, code: str, check: str = CHECK, *, setup: str = "", **limits) -> Attack:
    return Attack(name, Checked(dedent(code), (check,), setup=setup, name="f"), CAUGHT, limits)


def answering(name: str, body: str) -> Attack:
    """Writes a frame of its own making to every open file instead of an answer."""
    code = f"""
        import json, os, struct
        def f(x):
            body = {body}
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            for number in range(3, 64):
                try: os.write(number, struct.pack("!Q", len(body)) + body)
                except OSError: pass
            return 1
    """
    return forgery(name, code)


def dressed(name: str, base: str, value: str, check: str) -> Attack:
    """A subclass that says that it equals everything."""
    code = f"""
        class Dressed({base}):
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __contains__(self, other): return True
            __hash__ = {base}.__hash__
        def f(x): return Dressed({value})
    """
    return forgery(name, code, check)


EXITS = [
    forgery("exit before the check", "import os\ndef f(x): return 1\nos._exit(0)"),
    forgery("exit in the call", "import os\ndef f(x): os._exit(0)"),
    forgery("sys.exit before the check", "import sys\ndef f(x): return 1\nsys.exit(0)"),
    forgery("sys.exit in the call", "import sys\ndef f(x): sys.exit(0)"),
    forgery("quits", "def f(x): quit()"),
    forgery("exit under a check that catches all",
            "import os\ndef f(x): os._exit(0)", "try:\n    f(3)\nexcept:\n    pass"),
    forgery("dies by a signal", "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGKILL)"),
    forgery("becomes another program", "import os\ndef f(x): os.execv('/bin/true', ['true'])"),
    forgery("leaves a child to answer", "import os\ndef f(x):\n    if os.fork(): os._exit(0)\n    return 1"),
    forgery("prints a result",
            "print('ok')\ndef f(x): print('ok', '{\"verdict\": \"ok\"}', 'OK', 'passed', flush=True)"),
]  # fmt: skip

DISGUISES = [
    dressed("equal object", "object", "", CHECK),
    dressed("whole number", "int", "1", CHECK),
    dressed("floating number", "float", "1", NEAR),
    dressed("text", "str", "'x'", "assert f(3) == 'hidden'"),
    dressed("list", "list", "[1]", "assert f(3) == [9, 8, 7]"),
    dressed("tuple", "tuple", "(1,)", "assert f(3) == (9, 8, 7)"),
    dressed("dict", "dict", "{}", "assert f(3) == {'a': 1}"),
    dressed("set", "set", "()", "assert 7 in f(3)"),
    dressed("unequal object", "object", "", "assert not f(3) != 918273645"),
    forgery("equal elements", "class All:\n    def __eq__(self, other): return True\ndef f(x): return [All()] * 3",
            "assert f(3) == [9, 8, 7]"),
    forgery("near to everything",
            "class Near(float):\n    def __sub__(self, other): return 0.0\n    __rsub__ = __sub__\n"
            "def f(x): return Near(1)", NEAR),
    forgery("less than everything",
            "class All:\n    def __lt__(self, other): return True\n    def __sub__(self, other): return self\n"
            "    def __abs__(self): return self\ndef f(x): return All()", NEAR),
    forgery("answers all methods",
            "class All:\n    def __getattr__(self, name): return lambda *a: True\ndef f(x): return All()",
            "assert f(3).startswith('lamp')"),
    forgery("claims to be of a class", "class All:\n    def isdigit(self): return True\n"
            "All.__module__, All.__qualname__, All.__name__ = 'builtins', 'str', 'str'\ndef f(x): return All()",
            "assert f(3).isdigit()"),
    forgery("a class for a function",
            "class f:\n    def __init__(self, x): pass\n    def __eq__(self, other): return True"),
    forgery("a metaclass",
            "class Meta(type):\n    def __call__(self, *a): return self\n    def __eq__(self, other): return True\n"
            "    __hash__ = type.__hash__\nclass f(metaclass=Meta): pass"),
]  # fmt: skip

PATCHES = [
    forgery("patches builtins",
            "import builtins\nfor name in ('abs', 'all', 'any', 'isinstance', 'len', 'sorted', 'bool'):\n"
            "    setattr(builtins, name, lambda *a, **k: True)\ndef f(x): return 1", NEAR),
    forgery("shadows builtins",
            "abs = len = lambda *a: 0\nall = isinstance = lambda *a: True\ndef f(x): return 1", NEAR),
    forgery("shadows a module", "class math:\n    isclose = staticmethod(lambda *a: True)\ndef f(x): return 1.5",
            "assert math.isclose(f(3), 9.5)", setup="import math"),
    forgery("patches a module", "import math\nmath.isclose = lambda *a, **k: True\ndef f(x): return 1.5",
            "assert math.isclose(f(3), 9.5)", setup="import math"),
    forgery("patches AssertionError", "import builtins\nbuiltins.AssertionError = type('A', (BaseException,), {})\n"
            "def f(x): return 1"),
    forgery("brings its own check", "def check(candidate): pass\ncandidate = check\ndef f(x): return 1",
            "def check(candidate):\n    assert candidate(3) == 918273645"),
    forgery("patches what answers",
            "import json\njson.dumps = lambda *a, **k: '{\"value\": true}'\ndef f(x): return 1"),
    forgery("patches every check's module",
            "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef f(x): return 1",
            "unittest.TestCase().assertEqual(f(3), 918273645)", setup="import unittest"),
]  # fmt: skip

SEARCHES = [
    forgery("walks frames and objects", """
        import gc, re, sys
        def f(x):
            texts, frame = gc.get_objects(), sys._getframe()
            while frame:
                texts += [*frame.f_locals.values(), *frame.f_globals.values(), frame.f_locals]
                frame = frame.f_back
            for each in texts:
                values = each.values() if type(each) is dict else each if type(each) in (list, tuple) else [each]
                for value in list(values):
                    found = re.search(r"ass[e]rt f.3. == (\\d+)", value) if type(value) is str else None
                    if found: return int(found[1])
        """),
    forgery("searches its memory", """
        import re
        def f(x):
            for line in open("/proc/self/maps"):
                area, rights = line.split()[:2]
                begin, end = (int(each, 16) for each in area.split("-"))
                if "w" not in rights: continue
                with open("/proc/self/mem", "rb", 0) as memory:
                    try:
                        memory.seek(begin)
                        found = re.search(rb"ass[e]rt f.3. == (\\d+)", memory.read(end - begin))
                    except OSError: continue
                if found: return int(found[1])
        """, cpu_seconds=3.0),
    forgery("reads the files of others", """
        import glob, re
        def f(x):
            for path in glob.glob("/proc/*/fd/*") + glob.glob("/proc/*/mem") + glob.glob("/proc/*/cmdline"):
                try: found = re.search(r"ass[e]rt f.3. == (\\d+)", open(path, errors="replace").read(1000))
                except OSError: continue
                if found: return int(found[1])
        """, **ASLEEP),
]  # fmt: skip

ANSWERS = [
    answering("sends a verdict", "{'verdict': 'ok', 'message': ''}"),
    answering("sends an end", "{'ended': 1, 'status': 0, 'cpu': 0, 'reason': None, 'peak_bytes': 0}"),
    answering("sends nonsense", "b'nonsense'"),
    answering("sends a huge length", "b'x' * 8 + struct.pack('!Q', 2**62)"),
    answering("sends a module", "{'value': ['module', 'antigravity'], 'changes': {}, 'printed': ''}"),
    answering("sends a false type",
              "{'value': ['named', 'x', ['__eq__'], [['type', 'object']]], 'changes': {}, 'printed': ''}"),
    answering("sends changes", "{'value': 1, 'changes': {'f': 1, 'abs': 2, '__builtins__': 3}, 'printed': 'x'}"),
    answering("sends a deep value", "b'[' * 10**5"),
    answering("sends an exception",
              "{'raise': {'name': 'SystemExit', 'module': 'builtins', 'arguments': ['tuple', [0]], "
              "'text': '', 'kind': None}, 'changes': {}, 'printed': ''}"),
    answering("sends an instance",
              "{'value': ['instance', 'object', ['dict', [['__eq__', 1]]]], 'changes': {}, 'printed': ''}"),
    forgery("closes its files", "import os\ndef f(x): os.closerange(0, 999)"),
    forgery("answers without end",
            "import itertools\ndef f(x): return itertools.count()", "assert list(f(3)) == [1, 2]", **BRIEF),
    forgery("answers from a thread", """
        import os, struct, threading
        def spam():
            body = b'{"value": true, "changes": {}, "printed": ""}'
            while True:
                try: os.write(3, struct.pack("!Q", len(body)) + body)
                except OSError: return
        threading.Thread(target=spam, daemon=True).start()
        def f(x): return 1
        """, **BRIEF),
]  # fmt: skip

INSIDE_FORGERIES = [
    forgery("inside: exits", "import os\ndef f(): os._exit(0)", INSIDE),
    forgery("inside: sys.exit", "import sys\ndef f(): sys.exit(0)", INSIDE),
    forgery("inside: its own mark", "def f(): return 2\n__reached__ = print", INSIDE),
    forgery("inside: a guessed secret", """
        import json, os, struct
        def f():
            body = json.dumps({"value": "0" * 32, "changes": {}, "printed": ""}).encode()
            os.write(3, struct.pack("!Q", len(body)) + body)
            return 2
        """, INSIDE),
]  # fmt: skip

FORGERIES = EXITS + DISGUISES + PATCHES + SEARCHES + ANSWERS + INSIDE_FORGERIES

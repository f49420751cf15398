"""What a check's text says, read without running it."""

import ast

# Names that stand for tests which change modules or objects of the program's own process.
_MOCKS = {"mock", "Mock", "MagicMock", "AsyncMock", "patch", "monkeypatch"}
# Parts of the interpreter that a program changes and a check then reads.
_STATE = {("sys", "path"), ("sys", "modules"), ("os", "environ"), ("os", "getcwd"), ("warnings", "filters")}


def parse(text: str) -> ast.Module:
    """A check's statements; one that only defines `check` is called with the candidate. SyntaxError, as compile."""
    tree = ast.parse(text, "check")
    defined = any(isinstance(each, ast.FunctionDef) and each.name == "check" for each in tree.body)
    called = any(isinstance(each, ast.Call) and _name(each.func) == "check" for each in ast.walk(tree))
    if defined and not called:
        tree.body += ast.parse("check(candidate)").body
    return tree


def names(tree: ast.Module) -> list[str]:
    """All names that a check reads or writes, in the order of the alphabet."""
    return sorted({each.id for each in ast.walk(tree) if isinstance(each, ast.Name)})


def reaches_into_the_process(tree: ast.Module, modules: set[str]) -> bool:
    """Whether a check works only in the program's own process: it patches modules, or reads what the program changed.

    `modules` are the names that stand for modules there.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(each.name.split(".")[-1] in _MOCKS for each in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] == "mock":
            return True
        if isinstance(node, ast.Name) and node.id in _MOCKS:
            return True
        if isinstance(node, ast.Attribute):
            if (_name(node.value), node.attr) in _STATE:
                return True
            if isinstance(node.ctx, ast.Store) and _root(node) in modules:
                return True
    return False


def _name(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return _name(node)

"""What a check's text says, read without running it."""

import ast

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def parse(text: str) -> ast.Module:
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

"""What a check's text says, read without running it."""

import ast


def parse(text: str) -> ast.Module:
    """A check's statements; one that only defines `check` is called with the candidate. SyntaxError, as compile."""
    tree = ast.parse(text, "check")
    defined = any(isinstance(each, ast.FunctionDef) and each.name == "check" for each in tree.body)
    called = any(isinstance(each, ast.Call) and name_of(each.func) == "check" for each in ast.walk(tree))
    if defined and not called:
        tree.body += ast.parse("check(candidate)").body
    return tree


def free_names(tree: ast.AST) -> set[str]:
    """Names that the text reads and nowhere binds itself, builtins among them."""
    read, bound = set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
    return read - bound


def called_names(tree: ast.AST) -> set[str]:
    return {str(name_of(each.func)) for each in ast.walk(tree) if isinstance(each, ast.Call)}


def name_of(node: ast.expr) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def bound_names(tree: ast.Module) -> dict[str, bool]:
    """Names that the text binds outside of functions and classes, and whether it binds them to one of these."""
    found: dict[str, bool] = {}
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = True
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = isinstance(getattr(node, "value", None), ast.Lambda)
        elif isinstance(node, ast.alias):
            found[(node.asname or node.name).partition(".")[0]] = False
        elif not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return found

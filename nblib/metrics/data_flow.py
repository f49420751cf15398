"""Data flow of Python code for CodeBLEU (Ren et al. 2020, section 3.3): which variables get their values from which.

It gives what the package codebleu 0.7 gives, with its peculiarities: constants count as variables; the two sides of an
assignment are read in pairs wherever they have as many children; the body of a `for` that has an `else` is not read.
Names come in the order of arrival, where the package takes that of a set, which changes from process to process.
"""

from collections import Counter
from collections.abc import Callable, Iterator

from tree_sitter import Node

States = dict[str, set[int]]  # the places of the tokens that may have given each variable its value
ONE_TOKEN = ("string", "string_literal", "character_literal")  # though they have children


class _Flow:
    """The tokens of a text, and the edges that are found."""

    def __init__(self, code: str, root: Node):
        lines = code.split("\n")
        self.tokens = {_span(leaf): (place, _text(leaf, lines)) for place, leaf in enumerate(_leaves(root))}
        self.edges: dict[int, tuple[str, str, list[str]]] = {}  # by place: a variable, the relation, its sources
        self.used: set[int] = set()  # places of variables with sources, and of sources

    def variables(self, node: Node) -> list[tuple[int, str]]:
        """Places and texts of all tokens but keywords and punctuation, whose type is their text."""
        tokens = [(leaf.type, *self.tokens[_span(leaf)]) for leaf in _leaves(node)]
        return [(place, text) for kind, place, text in tokens if kind != text]

    def add(self, place: int, name: str, relation: str, sources: list[str], places: set[int]) -> None:
        """Adds an edge; the sources of a token that is read more than once come together."""
        if place in self.edges:
            sources = list(dict.fromkeys(self.edges[place][2] + sources))
        self.edges[place] = name, relation, sources
        self.used |= {place, *places} if places else places

    def assign(self, left: Node, right: Node, states: States) -> None:
        """Every variable on the left is computed from all on the right."""
        sources = self.variables(right)
        for place, name in self.variables(left):
            self.add(place, name, "computedFrom", [text for _, text in sources], {source for source, _ in sources})
            states[name] = {place}


def edges(code: str, root: Node) -> Counter[tuple]:
    """How often the code has each (variable, relation, variables it comes from), with neutral names."""
    flow = _Flow(code, root)
    try:
        _reader(root)(flow, root, {})
    except (AttributeError, KeyError, RecursionError):  # broken code that lacks a part, `a.b = "text"`, deep code
        return Counter()
    neutral: dict[str, str] = {}
    found: Counter[tuple] = Counter()
    for place, (variable, relation, sources) in sorted(flow.edges.items()):
        if place in flow.used:
            *others, own = [neutral.setdefault(name, f"var_{len(neutral)}") for name in (*sources, variable)]
            found[own, relation, tuple(others)] += 1
    return found


def _leaves(node: Node) -> Iterator[Node]:
    left = [node]
    while left:
        node = left.pop()
        if node.children and node.type not in ONE_TOKEN:
            left += reversed(node.children)
        elif node.type != "comment":
            yield node


def _span(node: Node) -> tuple:
    return node.start_point, node.end_point


def _text(node: Node, lines: list[str]) -> str:
    """A token without its line ends; as in the package, columns are those of bytes, though characters are counted."""
    (first, start), (last, end) = _span(node)
    if first == last:
        return lines[first][start:end]
    return "".join([lines[first][start:], *lines[first + 1 : last], lines[last][:end]])


# --- reading: what each kind of node adds, and the states after it; one call for each level of the tree ---------------


def _part(node: Node, name: str) -> Node:
    child = node.child_by_field_name(name)
    assert child is not None  # the grammar has it
    return child


def _reader(node: Node) -> Callable[[_Flow, Node, States], States]:
    return READERS.get(node.type, _read_all) if node.children and node.type not in ONE_TOKEN else _read_token


def _read_token(flow: _Flow, node: Node, states: States) -> States:
    if node.type == "comment":
        return states
    place, text = flow.tokens[_span(node)]
    if text == node.type:
        return states
    known = states.get(text, set())
    flow.add(place, text, "comesFrom", [text] if text in states else [], known)
    return states if text in states or node.type != "identifier" else states | {text: {place}}


def _read_all(flow: _Flow, node: Node, states: States) -> States:
    """Loops of comprehensions first, which give the rest its variables."""
    for child in sorted(node.children, key=lambda child: child.type != "for_in_clause"):
        states = _reader(child)(flow, child, states)
    return states


def _read_default(flow: _Flow, node: Node, states: States) -> States:
    name, value = _part(node, "name"), _part(node, "value")
    states = dict(_reader(value)(flow, value, states))
    for place, text in flow.variables(name):
        for source, source_text in flow.variables(value):
            flow.add(place, text, "comesFrom", [source_text], {source})
        states[text] = {place}
    return states


def _read_assignment(flow: _Flow, node: Node, states: States) -> States:
    pairs = _pairs(node)
    for _, right in pairs:
        states = _reader(right)(flow, right, states)
    states = dict(states)
    for left, right in pairs:
        flow.assign(left, right, states)
    return states


def _pairs(node: Node) -> list[tuple[Node, Node]]:
    """The sides of an assignment or a loop, part by part where both have as many; none of a type alone."""
    left = _part(node, "left")
    if node.type == "for_in_clause":
        return [(left, node.children[-1])]
    if node.child_by_field_name("right") is None:
        return []
    right = _part(node, "right")
    lefts, rights = ([child for child in side.children if child.type != ","] for side in (left, right))
    return list(zip(lefts, rights, strict=True)) if len(lefts) == len(rights) > 0 else [(left, right)]


def _read_if(flow: _Flow, node: Node, states: States) -> States:
    """Afterwards a variable may have its value from any branch, and without an `else` from before."""
    first, ends = states, []
    for child in node.children:
        if child.type in ("elif_clause", "else_clause"):
            ends.append(_reader(child)(flow, child, states))
        else:
            first = _reader(child)(flow, child, first)
    ends += [first] if any(child.type == "else_clause" for child in node.children) else [first, states]
    return {name: set().union(*(end.get(name, ()) for end in ends)) for end in ends for name in end}


def _read_loop(flow: _Flow, node: Node, states: States) -> States:
    """Twice, since values go round."""
    for _ in range(2):
        if node.type == "while_statement":
            states = _read_all(flow, node, states)
            continue
        states, body = _read_assignment(flow, node, states), node.children[-1]
        if body.type == "block":
            states = _reader(body)(flow, body, states)
    return states


READERS = {
    "default_parameter": _read_default,
    **dict.fromkeys(("assignment", "augmented_assignment", "for_in_clause"), _read_assignment),
    "if_statement": _read_if,
    **dict.fromkeys(("for_statement", "while_statement"), _read_loop),
}

"""CodeBLEU (Ren et al. 2020), the number that papers print beside a corrected one.

For Python it is computed here, equal to the package codebleu 0.7; other languages need that package.
The published number has faults that weigh on one-liners; on CoNaLa's test split 56 references of 100 have no data flow
and 66 have fewer than four words, so that perfect answers score 0.76 on average and empty ones 0.25:
- where no data flow matches, because the reference has none or the answer misses it, it counts as fully matched;
- words are split at spaces; n-grams longer than the text count as missed, and so does a part of few words;
- its data flow depends on the order of a set of strings, which changes from process to process (codebleu #35).
The first two are kept in `codebleu`, for comparison with papers, and mended in `codebleu_corrected`. The third would
make every number unrepeatable: here names come in the order of arrival, one of the orders the package may take.
"""

import keyword
import math
import re
import tokenize
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from io import StringIO
from statistics import geometric_mean

import tree_sitter_python
from tree_sitter import Language, Node, Parser

PARTS = ("codebleu_ngram", "codebleu_weighted_ngram", "codebleu_syntax", "codebleu_dataflow")
NAMES = ("codebleu", "codebleu_corrected", *PARTS)
OTHERS = ("c", "c_sharp", "cpp", "go", "java", "javascript", "php", "ruby", "rust")  # over the package codebleu
KEYWORDS = frozenset({*keyword.kwlist, "case", "match", "type"})  # of Python
ORDERS = 4  # words in the longest n-gram
SMOOTHING = 0.1  # n-grams counted as found where a longer order has none, as in the package
# The subtrees of a text without code, such as a lone comment, in the grammars of the languages.
EMPTY = {hash(f"({root})") for root in ("module", "program", "source_file", "translation_unit", "compilation_unit")}

# Bounds against hostile text; within a study's token limits no answer comes near them.
MOST_CHARACTERS = 10_000  # the rest is not read
MOST_DEPTH = 500  # nested nodes; deeper texts match nothing: the package's memory grows with the square
MOST_LOOPS = 8  # nested loops; beyond, no data flow is read: the package's time doubles with each


@dataclass(frozen=True)
class _Reading:
    """What CodeBLEU compares of one text."""

    words: list[str]
    subtrees: list[int]  # hashes of the S-expressions
    flow: Counter[tuple]  # (variable, relation, variables it comes from), names made neutral
    keywords: frozenset[str]  # of the language


_Pairs = list[tuple[_Reading, _Reading]]  # reference and answer
_Overlap = tuple[list[str], list[str], frozenset[str] | None]  # words wanted, words given, keywords that weigh more


def gap(language: str) -> str:
    """Why there is no CodeBLEU of a language; empty where there is."""
    if language not in ("python", *OTHERS):
        return f"CodeBLEU is left out: there is one of python, {', '.join(OTHERS)}, and none of {language}."
    try:
        _parser(language)
    except (ImportError, TypeError, ValueError):  # no package or grammar, or one that this tree-sitter cannot read
        grammar = f"'tree-sitter-{language.replace('_', '-')}<0.24'"
        return f"CodeBLEU is left out: for {language} run `pip install {grammar} && pip install --no-deps codebleu`."
    return ""


def score(reference: str, answer: str, language: str = "python") -> dict[str, float | None]:
    """All of NAMES for one example, each from 0 to 1; the data flow is None where the reference has none.

    `codebleu` is what the package gives for this example alone. `codebleu_corrected` is the mean of the parts that
    are defined: n-grams up to the length of the text, syntax only where the reference has code, and data flow only
    where it has some. Where both texts have five words or more it is the mean of the four parts, None left out.
    """
    pair = _read(reference, language), _read(answer, language)
    parts = _parts([pair])
    return {"codebleu": _published(parts), "codebleu_corrected": _corrected(*pair, parts)} | parts


def corpus(references: Sequence[str], answers: Sequence[str], language: str = "python") -> dict[str, float | None]:
    """The published number and its parts over all answers at once: counts are pooled before the division."""
    texts = zip(references, answers, strict=True)
    parts = _parts([(_read(reference, language), _read(answer, language)) for reference, answer in texts])
    return {"codebleu": _published(parts)} | parts


# --- the parts ------------------------------------------------------------------------------------------------------


def _parts(pairs: _Pairs) -> dict[str, float | None]:
    values = (_ngram(pairs), _weighted_ngram(pairs), _syntax(pairs), _dataflow(pairs))
    return dict(zip(PARTS, values, strict=True))


def _published(parts: dict[str, float | None]) -> float:
    """The package's sum, with its fault: data flow that is absent or never matched counts as 1."""
    *others, flow = parts.values()
    return sum(0.25 * (part or 0.0) for part in (*others, flow or 1.0))


def _corrected(reference: _Reading, answer: _Reading, parts: dict[str, float | None]) -> float:
    values = [
        _ngram([(reference, answer)], orders=min(ORDERS, len(answer.words))),
        _recall(reference, answer),
        parts["codebleu_syntax"] if set(reference.subtrees) - EMPTY else None,
        parts["codebleu_dataflow"],
    ]
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined)


def _ngram(pairs: _Pairs, *, orders: int = ORDERS) -> float:
    """BLEU (Papineni et al. 2002): precision over n-grams of 1 to `orders` words, lowered for short answers."""
    expected, given = (sum(len(one.words) for one in side) for side in zip(*pairs, strict=True))
    found = _found([(answer.words, reference.words, None) for reference, answer in pairs], orders)
    return _brevity(expected, given) * found


def _weighted_ngram(pairs: _Pairs) -> float:
    """Recall over n-grams of 1 to 4 words; the package takes every reference to be two words long for short answers."""
    found = _found([(reference.words, answer.words, reference.keywords) for reference, answer in pairs], ORDERS)
    return _brevity(2 * len(pairs), sum(len(answer.words) for _, answer in pairs)) * found


def _recall(reference: _Reading, answer: _Reading) -> float:
    """The same for one example, with orders up to the reference's length; nothing else lowers a full match.

    The package divides by 1 at least, which fewer than five common words do not weigh, and punishes short answers,
    which recall does by itself.
    """
    orders = min(ORDERS, len(reference.words))
    return _found([(reference.words, answer.words, reference.keywords)], orders, least=0.0)


def _found(overlaps: Sequence[_Overlap], orders: int, *, least: float = 1.0) -> float:
    """Share of the wanted n-grams that are given, pooled over the texts: the geometric mean of orders 1 to `orders`.

    Among single words a keyword weighs five times as much as another one, where there are keywords. A text weighs
    `least` or more in the divisor, and an order without a find counts a tenth of one, but for single words.
    """
    shares = []
    for order in range(1, orders + 1):
        found = total = 0.0
        for wanted, given, keywords in overlaps:
            counts, weights = _ngrams(wanted, order), keywords if order == 1 else None
            found += _weight(counts & _ngrams(given, order), weights)
            total += max(least, _weight(counts, weights))
        if order == 1 and not found:
            return 0.0
        shares.append((found or SMOOTHING) / total)
    return geometric_mean(shares) if shares else 0.0


def _ngrams(words: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def _weight(counts: Counter[tuple[str, ...]], keywords: frozenset[str] | None) -> float:
    if keywords is None:
        return float(counts.total())
    return sum(count if word in keywords else 0.2 * count for (word,), count in counts.items())


def _brevity(expected: int, given: int) -> float:
    """BLEU's penalty for answers of fewer words than expected."""
    return 1.0 if given > expected else math.exp(1 - expected / given) if given else 0.0


def _syntax(pairs: _Pairs) -> float:
    """Share of the references' subtrees that the answer has too; only the kinds of nodes count, not the names."""
    found = total = 0
    for reference, answer in pairs:
        known = set(answer.subtrees)
        found += sum(subtree in known for subtree in reference.subtrees)
        total += len(reference.subtrees)
    return found / total if total else 0.0


def _dataflow(pairs: _Pairs) -> float | None:
    """Share of the references' data flow that the answer has too; None where no reference has any."""
    total = sum(reference.flow.total() for reference, _ in pairs)
    return sum((reference.flow & answer.flow).total() for reference, answer in pairs) / total if total else None


# --- reading a text -------------------------------------------------------------------------------------------------


def _read(code: str, language: str) -> _Reading:
    code = code.strip()[:MOST_CHARACTERS].encode("utf-8", "replace").decode()  # lone surrogates become ?
    words = code.split()
    with suppress(Exception):  # as the package does: a text that cannot be tokenized is read as it is
        python = language == "python"
        code = _without_comments(code) if python else _package("parser").remove_comments_and_docstrings(code, language)
    root = _parser(language).parse(code.encode()).root_node
    nodes, depth, loops = _inner_nodes(root)
    if depth > MOST_DEPTH:
        return _Reading(words, [], Counter(), _keywords(language))
    flow: Counter[tuple] = Counter()
    if loops <= MOST_LOOPS:
        flow = _edges(code, root) if language == "python" else _package_flow(code, language)
    return _Reading(words, [hash(str(node)) for node in nodes], flow, _keywords(language))


def _without_comments(code: str) -> str:
    """Python code without comments, blank lines and strings that stand alone.

    Raises what the tokenizer does for broken code, of which it takes less since Python 3.12.
    """
    lines, parts = ["", *code.split("\n"), ""], []  # rows count from 1, and the end is on one more
    (row, column), before = (0, 0), tokenize.INDENT
    for kind, text, start, end, _ in tokenize.generate_tokens(StringIO(code).readline):
        gap = lines[row][column : start[1]] if start[0] == row else " " * start[1]
        parts.append(re.sub(r"[^{}]", " ", gap))  # braces: those that Python 3.12 takes from the middle of f-strings
        alone = kind == tokenize.STRING and (before in (tokenize.INDENT, tokenize.NEWLINE) or not start[1])
        parts.append("" if kind == tokenize.COMMENT or alone else text)
        (row, column), before = end, kind
    return "\n".join(line for line in "".join(parts).split("\n") if line.strip())


def _inner_nodes(root: Node) -> tuple[list[Node], int, int]:
    """The root and all nodes with children, the greatest depth, and the deepest nesting of loops."""
    nodes, deepest, most_loops = [], 0, 0
    left = [(root, 1, 0)]
    while left:
        node, depth, loops = left.pop()
        loops += node.type in ("for_statement", "while_statement")
        nodes.append(node)
        deepest, most_loops = max(deepest, depth), max(most_loops, loops)
        left += [(child, depth + 1, loops) for child in node.children if child.children]
    return nodes, deepest, most_loops


@cache
def _parser(language: str) -> Parser:
    if language != "python":
        return Parser(_package("utils").get_tree_sitter_language(language))
    with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):  # the grammar is older than the parser
        return Parser(Language(tree_sitter_python.language()))


@cache
def _keywords(language: str) -> frozenset[str]:
    if language == "python":
        return KEYWORDS
    return frozenset((_package("codebleu").PACKAGE_DIR / f"keywords/{language}.txt").read_text().split())


# --- the package codebleu, for other languages ------------------------------------------------------------------------


class OrderedSet(dict):
    """Stands in for `set` in the package's code, and keeps the order of arrival."""

    def __init__(self, items=()):
        super().__init__(dict.fromkeys(items))

    add = dict.setdefault


def _package(module: str):
    """A module of the package, whose data flow is the same in every process from here on."""
    for name in ("dataflow_match", "parser.DFG"):
        import_module(f"codebleu.{name}").__dict__["set"] = OrderedSet
    return import_module(f"codebleu.{module}")


def _package_flow(code: str, language: str) -> Counter[tuple]:
    package = _package("dataflow_match")
    flow = package.get_data_flow(code, [_parser(language), package.dfg_function[language]])
    return Counter((name, relation, tuple(sources)) for name, relation, sources in package.normalize_dataflow(flow))


# --- data flow of Python (section 3.3): which variables get their values from which -----------------------------------
# As the package has it, peculiarities and all: constants count as variables; the two sides of an assignment are read in
# pairs wherever they have as many children; the body of a `for` that has an `else` is not read.

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


def _edges(code: str, root: Node) -> Counter[tuple]:
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


# What each kind of node adds, and the states after it; one call for each level of the tree.


def _field(node: Node, name: str) -> Node:
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
    name, value = _field(node, "name"), _field(node, "value")
    states = dict(_reader(value)(flow, value, states))
    for place, text in flow.variables(name):
        for source, source_text in flow.variables(value):
            flow.add(place, text, "comesFrom", [source_text], {source})
        states[text] = {place}
    return states


def _read_assignment(flow: _Flow, node: Node, states: States) -> States:
    pairs = _sides(node)
    for _, right in pairs:
        states = _reader(right)(flow, right, states)
    states = dict(states)
    for left, right in pairs:
        flow.assign(left, right, states)
    return states


def _sides(node: Node) -> list[tuple[Node, Node]]:
    """The sides of an assignment or a loop, part by part where both have as many; none of a type alone."""
    left = _field(node, "left")
    if node.type == "for_in_clause":
        return [(left, node.children[-1])]
    if node.child_by_field_name("right") is None:
        return []
    right = _field(node, "right")
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

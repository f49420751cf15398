"""CodeBLEU (Ren et al. 2020), the published number beside a corrected one, over the package codebleu.

The published number has faults that weigh on one-liners; on CoNaLa's test split 56 references of 100 have no data flow
and 66 have fewer than four words, so that perfect answers score 0.76 on average and empty ones 0.25:
- where no data flow matches, because the reference has none or the answer misses it, it counts as fully matched;
- words are split at spaces; n-grams longer than the text count as missed, and so does a part of few words;
- its data flow depends on the order of a set of strings, which changes from process to process (codebleu #35).
The first two are kept in `codebleu`, for comparison with papers, and mended in `codebleu_corrected`. The third would
make every number unrepeatable: here names come in the order of arrival, one of the orders the package may take.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from statistics import geometric_mean
from types import FunctionType
from typing import Any

from codebleu import AVAILABLE_LANGS, bleu, dataflow_match, weighted_ngram_match
from codebleu.codebleu import PACKAGE_DIR
from codebleu.parser import remove_comments_and_docstrings
from codebleu.utils import get_tree_sitter_language, ngrams
from tree_sitter import Node, Parser

PARTS = ("codebleu_ngram", "codebleu_weighted_ngram", "codebleu_syntax", "codebleu_dataflow")
NAMES = ("codebleu", "codebleu_corrected", *PARTS)
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


def gap(language: str) -> str:
    """Why there is no CodeBLEU of a language; empty where there is."""
    if language not in AVAILABLE_LANGS:
        return f"CodeBLEU is left out: the package codebleu has {', '.join(AVAILABLE_LANGS)}, and not {language}."
    try:
        _parser(language)
    except (ImportError, TypeError, ValueError):  # no grammar, or one that this tree-sitter cannot read
        package = f"tree-sitter-{language.replace('_', '-')}"
        return f"CodeBLEU is left out: its grammar of {language} is missing; run `pip install '{package}<0.22'`."
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
    """BLEU: precision over n-grams of 1 to `orders` words."""
    if not orders:
        return 0.0
    references, answers = [[reference.words] for reference, _ in pairs], [answer.words for _, answer in pairs]
    return float(bleu.corpus_bleu(references, answers, weights=(1 / orders,) * orders))


def _weighted_ngram(pairs: _Pairs) -> float:
    """Recall over n-grams of 1 to 4 words; among single words keywords weigh five times as much."""
    references = [[[one.words, {word: _weight(word, one) for word in one.words}]] for one, _ in pairs]
    return float(weighted_ngram_match.corpus_bleu(references, [answer.words for _, answer in pairs]))


def _recall(reference: _Reading, answer: _Reading) -> float:
    """The same for one example, with orders up to the reference's length; nothing else lowers a full match.

    The package divides by 1 at least, which fewer than five common words do not weigh, and takes every reference to
    be two words long when it punishes short answers, which recall does by itself.
    """
    shares = []
    for order in range(1, min(ORDERS, len(reference.words)) + 1):
        wanted, given = Counter(ngrams(reference.words, order)), Counter(ngrams(answer.words, order))
        weights = {ngram: _weight(ngram[0], reference) if order == 1 else 1 for ngram in wanted}
        found = sum(weights[ngram] * count for ngram, count in (wanted & given).items())
        if order == 1 and not found:
            return 0.0
        shares.append((found or SMOOTHING) / sum(weights[ngram] * count for ngram, count in wanted.items()))
    return geometric_mean(shares) if shares else 0.0


def _weight(word: str, reference: _Reading) -> float:
    return 1.0 if word in reference.keywords else 0.2


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
        code = remove_comments_and_docstrings(code, language)
    nodes, depth, loops = _inner_nodes(_parser(language).parse(code.encode()).root_node)
    if depth > MOST_DEPTH:
        return _Reading(words, [], Counter(), _keywords(language))
    get_data_flow, find_flow = _flow_functions(language)
    flow = get_data_flow(code, [_parser(language), find_flow]) if loops <= MOST_LOOPS else []
    flow = [(name, relation, tuple(sources)) for name, relation, sources in dataflow_match.normalize_dataflow(flow)]
    return _Reading(words, [hash(str(node)) for node in nodes], Counter(flow), _keywords(language))


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
    return Parser(get_tree_sitter_language(language))


@cache
def _keywords(language: str) -> frozenset[str]:
    return frozenset(word.strip() for word in (PACKAGE_DIR / f"keywords/{language}.txt").read_text().splitlines())


class OrderedSet(dict):
    """Stands in for `set` in the package's code, and keeps the order of arrival."""

    def __init__(self, items=()):
        super().__init__(dict.fromkeys(items))

    def add(self, item) -> None:
        self[item] = None


@cache
def _flow_functions(language: str) -> list[Callable]:
    """The package's data flow and its finder for a language, copied so that `set` keeps its order in them."""
    copies = []
    for function in (dataflow_match.get_data_flow, dataflow_match.dfg_function[language]):
        names: dict[str, Any] = function.__globals__ | {"set": OrderedSet}
        names[function.__name__] = FunctionType(function.__code__, names)  # it may call itself
        copies.append(names[function.__name__])
    return copies

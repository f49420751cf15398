"""Answers as text: exact match at k, chrF, whether an answer is Python, and the study's own scores."""

import ast
import re
import warnings
from collections.abc import Sequence
from functools import cache

from sacrebleu.metrics import CHRF

from nblib.metrics import code_bleu
from nblib.metrics.verdicts import reached

CHRF_NAMES = ("chrf", "chrf++")
EM_STUDY, CODEBLEU_STUDY = "em_study", "codebleu_study"
# What ast raises on hostile text: null bytes, lone surrogates, deep nesting, integers of over 4300 digits.
_REFUSALS = (SyntaxError, ValueError, RecursionError, MemoryError, SystemError)
_STUDY_END = re.compile("<|endoftext|>")


def exact_match(reference: str, answers: Sequence[str], ks: Sequence[int]) -> dict[str, float]:
    """`em@k` (texts are equal but for the spaces around them) and `em_ast@k` (normal forms are equal), each 0 or 1.

    A k beyond the number of answers is left out: what was not generated cannot be judged.
    """
    plain, normal = [answer.strip() for answer in answers], [normal_form(answer) for answer in answers]
    wanted, wanted_normal = reference.strip(), normal_form(reference)
    em = {f"em@{k}": float(wanted in plain[:k]) for k in reached(ks, answers)}
    return em | {f"em_ast@{k}": float(wanted_normal in normal[:k]) for k in reached(ks, answers)}


def normal_form(code: str) -> str:
    """The code as Python itself would write it: quotes, spacing and comments do not count.

    A text that is not Python stays as it is, without the spaces around it.
    """
    tree = _parse(code)
    try:
        return code.strip() if tree is None else ast.unparse(tree)
    except _REFUSALS:
        return code.strip()


def house_style(reference: str, answers: Sequence[str], ks: Sequence[int]) -> dict[str, float | None]:
    """`em_expression@k`, `em_ast@k` whatever is done with the expression's value, and `style_match`: the first answer
    does with its value what the reference does, whatever the expression; None where the reference has no such style.
    """
    (wanted, style), given = apart(reference), [apart(answer) for answer in answers]
    scores: dict[str, float | None] = {
        f"em_expression@{k}": float(wanted in [expression for expression, _ in given[:k]]) for k in reached(ks, answers)
    }
    return scores | {"style_match": float(given[0][1] == style) if style and given else None}


def apart(code: str) -> tuple[str, str]:
    """The normal form of an expression, and what is done with its value: `sorted(xs)` and `answer = …`.

    It is assigned, printed, returned, or nothing is; in a function it may be held in a variable before it is returned.
    Any other line or function of one line is `…`, and longer code has no style.
    """
    tree, head = _parse(code), ""
    body = tree.body if tree else []
    try:
        if len(body) == 1 and isinstance(body[0], ast.FunctionDef):
            head, body = f"def {body[0].name}({ast.unparse(body[0].args)}): ", body[0].body
        expression, style = _value(body)
    except _REFUSALS:
        return code.strip(), ""
    return (head + expression, style) if style else (normal_form(code), "")


def _value(body: list[ast.stmt]) -> tuple[str, str]:
    match body:
        case [ast.Assign([ast.Name(held)], value), ast.Return(ast.Name(returned))] if held == returned:
            return ast.unparse(value), f"{held} = …; return {held}"
        case [ast.Assign([ast.Name(name)], value)]:
            return ast.unparse(value), f"{name} = …"
        case [ast.Expr(ast.Call(ast.Name("print"), [value], []))]:
            return ast.unparse(value), "print(…)"
        case [ast.Return(ast.expr() as value)]:
            return ast.unparse(value), "return …"
        case [line]:
            return ast.unparse(line), "…"
    return "", ""


def syntax_valid(answer: str) -> dict[str, float]:
    """1 where the answer parses and holds a statement: an empty answer is no program."""
    tree = _parse(answer)
    return {"syntax_valid": float(tree is not None and bool(tree.body))}


def _parse(code: str) -> ast.Module | None:
    """The syntax tree; None where the text is not Python. Spaces around the text do not count."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes, `1 is 1`: the model's business, not the reader's
        try:
            return ast.parse(code.strip())
        except _REFUSALS:
            return None


# --- chrF, overlap of characters (Popović 2015, 2017) ---------------------------------------------------------------


def chrf(reference: str, answer: str) -> dict[str, float]:
    """chrF and chrF++ (two word orders and six of characters) of one answer, from 0 to 1."""
    return {name: measure.sentence_score(answer, [reference]).score / 100 for name, measure in _chrf().items()}


def chrf_corpus(references: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    """The published numbers over all answers at once: n-grams are pooled, so it is not the mean of the scores."""
    given = list(answers), [list(references)]
    return {name: measure.corpus_score(*given).score / 100 for name, measure in _chrf().items()}


@cache
def _chrf() -> dict[str, CHRF]:
    return dict(zip(CHRF_NAMES, (CHRF(), CHRF(word_order=2)), strict=True))


# --- as the study's own package scored ------------------------------------------------------------------------------
# It joins its end token `<|endoftext|>` into a regular expression without escaping it, and cuts each answer where one
# of the three parts is found: `<`, `endoftext` or `>`. The reference is not cut. So 3.1 % of CoNaLa's test references
# and 13.4 % of CodeAlpacaPy's, those with such a sign, can never be matched, while text after a right answer may do
# less harm. Some methods gain by it and others lose: these scores are for comparing with published numbers only.


def study_scores(reference: str, answers: Sequence[str], ks: Sequence[int]) -> dict[str, float | None]:
    """`em_study@k`, 0 or 1, for each k that the answers reach, and `codebleu_study` of the first."""
    answers = [study_cut(answer) for answer in answers]
    matched = exact_match(reference, answers, ks)
    scores: dict[str, float | None] = {f"{EM_STUDY}@{k}": matched[f"em@{k}"] for k in reached(ks, answers)}
    return scores | {CODEBLEU_STUDY: code_bleu.score(reference, answers[0])["codebleu"] if answers else None}


def study_corpus(references: Sequence[str], answers: Sequence[str]) -> dict[str, float | None]:
    """`codebleu_study` over all first answers at once, as papers print it."""
    return {CODEBLEU_STUDY: code_bleu.corpus(references, [study_cut(answer) for answer in answers])["codebleu"]}


def study_cut(answer: str) -> str:
    """The answer up to where the study's package ended it."""
    return _STUDY_END.split(answer, maxsplit=1)[0]

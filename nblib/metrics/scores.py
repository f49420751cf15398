"""Examples and predictions to scores that need no execution, and the means of all scores."""

import ast
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from sacrebleu.metrics import CHRF

from nblib.metrics import code_bleu, verdicts
from nblib.metrics.verdicts import reached
from nblib.results import Prediction
from nblib.tasks import DIFFICULTIES, Example, unix_lines

CHRF_NAMES = ("chrf", "chrf++")
EM_STUDY, CODEBLEU_STUDY = "em_study", "codebleu_study"
# What ast raises on hostile text: null bytes, lone surrogates, deep nesting, integers of over 4300 digits.
_REFUSALS = (SyntaxError, ValueError, RecursionError, MemoryError, SystemError)
_STUDY_END = re.compile("<|endoftext|>")


def pairs(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[tuple[Example, Prediction]]:
    """Each prediction with its example, in the order of the predictions.

    Raises ValueError, with an id, unless each example has exactly one prediction.
    """
    expected, answered = Counter(row.id for row in examples), Counter(row.example for row in predictions)
    for id in expected | answered:
        if not expected[id] == answered[id] == 1:
            raise ValueError(
                f"example {id!r} comes {expected[id]} times among the examples and {answered[id]} times among the "
                "predictions; it must be once in each"
            )
    by_id = {row.id: row for row in examples}
    return [(by_id[row.example], row) for row in predictions]


def score(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    ks: Sequence[int] = (1, 2, 5, 10),
    study_scores: bool = False,
    house_style: bool = False,
) -> list[Prediction]:
    """The predictions in their order, with their scores that need no execution; others that they have are kept.

    With `study_scores` they also have `em_study@k` and `codebleu_study`, which end answers as the study's package did;
    with `house_style` also `em_expression@k` and `style_match`, which tell an expression from what is done with it.

    Examples and predictions are matched by id, one to one; ValueError names the id where they do not fit. A k above
    the number of answers is left out; a prediction without answers has None for what reads the first. Of other
    languages than Python there are exact match, chrF and, where the package has the language, CodeBLEU.
    """
    return [
        replace(row, scores=row.scores | _scores(example, row.codes, ks, study_scores, house_style))
        for example, row in pairs(examples, predictions)
    ]


def summary(predictions: Sequence[Prediction], examples: Sequence[Example]) -> dict[str, dict]:
    """Metric -> mean over the n examples where it is defined, and how many are missing.

    Where papers print a number over the whole corpus (CodeBLEU and its parts, chrF), it stands under "corpus", over
    all predictions with an answer. Takes the predictions as `score` returns them.
    """
    matched = pairs(examples, predictions)
    if predictions and not any(row.scores for row in predictions):
        raise ValueError("the predictions have no scores: pass what metrics.score returns")
    table = _means(predictions)
    answered = [(unix_lines(example.code), unix_lines(row.codes[0])) for example, row in matched if row.codes]
    language = examples[0].language if examples else "python"
    for name, value in _corpus(answered, language, study_scores=CODEBLEU_STUDY in table).items():
        if name in table:
            table[name]["corpus"] = value
    return table


def by_difficulty(predictions: Sequence[Prediction], examples: Sequence[Example]) -> dict[str, dict]:
    """What execution found, for "all" and for each difficulty from easy to hard, as plain values for a row's notes.

    "examples" counts them, "scores" is the summary of the execution scores, "first_answer" and "all_answers" count
    how answers ended (verdicts.KINDS). Where tests ran in the answers' own process, where they can be forged,
    "checked_inside" counts their examples; "undecided" names those that are left out of the strict scores because their
    tests pass whatever the answer. Takes the predictions as `execute` returns them.
    """
    groups: dict[str, list[Prediction]] = {"all": list(predictions)} | {name: [] for name in DIFFICULTIES}
    for example, row in pairs(examples, predictions):
        if example.difficulty:
            groups.setdefault(example.difficulty, []).append(row)
    return {name: _ends(group) for name, group in groups.items() if group or name == "all"}


def _ends(predictions: list[Prediction]) -> dict:
    executed = [row.verdicts for row in predictions if row.verdicts]
    checked_inside = [row.example for row in predictions if verdicts.marked(sum(row.verdicts, ()))]
    undecided = [row.example for row in predictions if verdicts.marked(sum(row.verdicts, ()), verdicts.UNDECIDED)]
    inside = {"checked_inside": len(checked_inside), "undecided": undecided} if checked_inside or undecided else {}
    means = _means(predictions).items()
    return inside | {
        "examples": len(predictions),
        "scores": {name: mean for name, mean in means if name in verdicts.FIRST_ANSWER or name.startswith("pass@")},
        "first_answer": verdicts.counts([answers[0] for answers in executed]),
        "all_answers": verdicts.counts([answer for answers in executed for answer in answers]),
    }


def _scores(
    example: Example, answers: Sequence[str], ks: Sequence[int], study_scores: bool, house_style: bool
) -> dict[str, float | None]:
    reference, answers, python = unix_lines(example.code), list(map(unix_lines, answers)), example.language == "python"
    found: dict[str, float | None] = {**exact_match(reference, answers, ks)}
    if not python:
        found = {name: value for name, value in found.items() if not name.startswith("em_ast")}
    else:
        found |= house_style_scores(reference, answers, ks) if house_style else {}
        found |= as_studied(reference, answers, ks) if study_scores else {}
    first = answers[0] if answers else ""
    of_first = {} if code_bleu.gap(example.language) else code_bleu.score(reference, first, example.language)
    of_first |= chrf(reference, first) | (syntax_valid(first) if python else {})
    return found | (of_first if answers else dict.fromkeys(of_first))


def _corpus(answered: list[tuple[str, str]], language: str, *, study_scores: bool) -> dict[str, float | None]:
    """Of references and first answers."""
    if not answered:
        return dict.fromkeys(("codebleu", *code_bleu.PARTS, *CHRF_NAMES, CODEBLEU_STUDY))
    references, answers = zip(*answered, strict=True)
    found = {} if code_bleu.gap(language) else code_bleu.corpus(references, answers, language)
    found |= chrf_corpus(references, answers)
    if study_scores:
        found[CODEBLEU_STUDY] = code_bleu.corpus(references, list(map(study_cut, answers)))["codebleu"]
    return found


def _means(predictions: Sequence[Prediction]) -> dict[str, dict]:
    """Each score's mean, over how many it is defined, and how many are missing."""
    table: dict[str, dict] = {}
    for name in dict.fromkeys(name for row in predictions for name in row.scores):
        values = [value for row in predictions if (value := row.scores.get(name)) is not None]
        mean = sum(values) / len(values) if values else None
        table[name] = {"mean": mean, "n": len(values), "missing": len(predictions) - len(values)}
    return table


# --- answers as text ------------------------------------------------------------------------------------------------


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


def house_style_scores(reference: str, answers: Sequence[str], ks: Sequence[int]) -> dict[str, float | None]:
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


def as_studied(reference: str, answers: Sequence[str], ks: Sequence[int]) -> dict[str, float | None]:
    """`em_study@k`, 0 or 1, for each k that the answers reach, and `codebleu_study` of the first."""
    answers = [study_cut(answer) for answer in answers]
    matched = exact_match(reference, answers, ks)
    scores: dict[str, float | None] = {f"{EM_STUDY}@{k}": matched[f"em@{k}"] for k in reached(ks, answers)}
    return scores | {CODEBLEU_STUDY: code_bleu.score(reference, answers[0])["codebleu"] if answers else None}


def study_cut(answer: str) -> str:
    """The answer up to where the study's package ended it."""
    return _STUDY_END.split(answer, maxsplit=1)[0]

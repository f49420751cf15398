"""Predictions with their examples, their scores that need no execution, and the means of all scores."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from nblib.metrics import code_bleu, text, verdicts
from nblib.results import Prediction
from nblib.tasks import DIFFICULTIES, Example, unix_lines


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
    for name, value in _corpus(answered, language, study_scores=text.CODEBLEU_STUDY in table).items():
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
    found: dict[str, float | None] = {**text.exact_match(reference, answers, ks)}
    if not python:
        found = {name: value for name, value in found.items() if not name.startswith("em_ast")}
    else:
        found |= text.house_style(reference, answers, ks) if house_style else {}
        found |= text.study_scores(reference, answers, ks) if study_scores else {}
    first = answers[0] if answers else ""
    of_first = {} if code_bleu.gap(example.language) else code_bleu.score(reference, first, example.language)
    of_first |= text.chrf(reference, first) | (text.syntax_valid(first) if python else {})
    return found | (of_first if answers else dict.fromkeys(of_first))


def _corpus(answered: list[tuple[str, str]], language: str, *, study_scores: bool) -> dict[str, float | None]:
    """Of references and first answers."""
    if not answered:
        return dict.fromkeys(("codebleu", *code_bleu.PARTS, *text.CHRF_NAMES, text.CODEBLEU_STUDY))
    references, answers = zip(*answered, strict=True)
    found = {} if code_bleu.gap(language) else code_bleu.corpus(references, answers, language)
    found |= text.chrf_corpus(references, answers)
    return found | text.study_corpus(references, answers) if study_scores else found


def _means(predictions: Sequence[Prediction]) -> dict[str, dict]:
    """Each score's mean, over how many it is defined, and how many are missing."""
    table: dict[str, dict] = {}
    for name in dict.fromkeys(name for row in predictions for name in row.scores):
        values = [value for row in predictions if (value := row.scores.get(name)) is not None]
        mean = sum(values) / len(values) if values else None
        table[name] = {"mean": mean, "n": len(values), "missing": len(predictions) - len(values)}
    return table

"""Scores of predictions that need no execution, and means over all kinds of scores. Runs no program."""

from collections.abc import Sequence
from dataclasses import replace

from nblib.metrics import as_studied, chr_f, code_bleu, exact_match_at_k, execution, syntax
from nblib.metrics.pairs import pairs
from nblib.results import Prediction
from nblib.tasks import DIFFICULTIES, Example, unix_lines

FIRST_ANSWER = (*code_bleu.NAMES, *chr_f.NAMES, *syntax.NAMES)  # scores that read the first answer only


def score(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    ks: Sequence[int] = (1, 2, 5, 10),
    study_scores: bool = False,
) -> list[Prediction]:
    """The predictions in their order, with their scores; scores that they had already are kept.

    With `study_scores` they also have `em_study@k` and `codebleu_study`, which end answers as the study's package did.

    Examples and predictions are matched by id, one to one; ValueError names the id where they do not fit. A k above
    the number of answers is left out; a prediction without answers has None for what reads the first.
    """
    return [
        replace(each, scores=each.scores | _scores(example.code, each.codes, ks, study_scores=study_scores))
        for example, each in pairs(examples, predictions)
    ]


def summary(predictions: Sequence[Prediction], examples: Sequence[Example]) -> dict[str, dict]:
    """Metric -> mean over the n examples where it is defined, and how many are missing.

    Where papers print a number over the whole corpus (CodeBLEU and its parts, chrF), it stands under "corpus", over
    all predictions with an answer. Takes the predictions as `score` returns them.
    """
    matched = pairs(examples, predictions)
    if predictions and not any(each.scores for each in predictions):
        raise ValueError("the predictions have no scores: pass what metrics.score returns")
    table = {name: _mean([each.scores.get(name) for each in predictions]) for name in _names(predictions)}
    answered = [(unix_lines(example.code), unix_lines(each.codes[0])) for example, each in matched if each.codes]
    for name, value in _corpus(answered, study_scores=as_studied.CODEBLEU in table).items():
        if name in table:
            table[name]["corpus"] = value
    return table


def by_difficulty(predictions: Sequence[Prediction], examples: Sequence[Example]) -> dict[str, dict]:
    """What execution found, for "all" and for each difficulty, as plain values for a row's notes.

    "examples" counts them, "scores" is the summary of the execution scores, "first_answer" and "all_answers" count
    how answers ended (execution.KINDS), for a stacked bar. Where tests ran in the answers' own process, where they can
    be forged, "checked_inside" counts their examples; "undecided" names those that are left out of the strict scores
    because their tests pass whatever the answer. Takes the predictions as `execute` returns them.
    """
    return {name: _ends(each) for name, each in ({"all": list(predictions)} | groups(predictions, examples)).items()}


def groups(predictions: Sequence[Prediction], examples: Sequence[Example]) -> dict[str, list[Prediction]]:
    """Difficulty -> its predictions, APPS's difficulties from easy to hard; examples without one are left out."""
    matched = pairs(examples, predictions)
    names = dict.fromkeys([*DIFFICULTIES, *(example.difficulty for example, _ in matched if example.difficulty)])
    found = {name: [each for example, each in matched if example.difficulty == name] for name in names}
    return {name: members for name, members in found.items() if members}


def _ends(predictions: list[Prediction]) -> dict:
    names = [each for each in _names(predictions) if each in execution.FIRST_ANSWER or each.startswith("pass@")]
    executed = [each.verdicts for each in predictions if each.verdicts]
    checked_inside = [each.example for each in predictions if execution.marked(sum(each.verdicts, ()))]
    undecided = [each.example for each in predictions if execution.marked(sum(each.verdicts, ()), execution.UNDECIDED)]
    inside = {"checked_inside": len(checked_inside), "undecided": undecided} if checked_inside or undecided else {}
    return inside | {
        "examples": len(predictions),
        "scores": {name: _mean([each.scores.get(name) for each in predictions]) for name in names},
        "first_answer": execution.counts([each[0] for each in executed]),
        "all_answers": execution.counts([answer for each in executed for answer in each]),
    }


def _scores(
    reference: str, answers: Sequence[str], ks: Sequence[int], *, study_scores: bool
) -> dict[str, float | None]:
    reference, answers = unix_lines(reference), list(map(unix_lines, answers))
    found: dict[str, float | None] = {**exact_match_at_k.score(reference, answers, ks)}
    if study_scores:
        found |= as_studied.score(reference, answers, ks)
    if not answers:
        return found | dict.fromkeys(FIRST_ANSWER)
    first = answers[0]
    return found | code_bleu.score(reference, first) | chr_f.score(reference, first) | syntax.score(first)


def _corpus(answered: list[tuple[str, str]], *, study_scores: bool) -> dict[str, float | None]:
    """Of references and first answers."""
    if not answered:
        return dict.fromkeys(("codebleu", *code_bleu.PARTS, *chr_f.NAMES, as_studied.CODEBLEU))
    references, answers = zip(*answered, strict=True)
    studied = as_studied.corpus(references, answers) if study_scores else {}
    return code_bleu.corpus(references, answers) | chr_f.corpus(references, answers) | studied


def _mean(values: list[float | None]) -> dict:
    known = [each for each in values if each is not None]
    return {
        "mean": sum(known) / len(known) if known else None,
        "n": len(known),
        "missing": len(values) - len(known),
    }


def _names(predictions: Sequence[Prediction]) -> list[str]:
    return list(dict.fromkeys(name for each in predictions for name in each.scores))

"""Examples and predictions to scores. Runs no code: whether answers pass tests is the sandbox's affair."""

import importlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nblib.metrics import chr_f, code_bleu, exact_match_at_k, syntax
from nblib.results import Prediction
from nblib.tasks import Example


@dataclass(frozen=True)
class Metric:
    """Where a score comes from, and how to read it."""

    module: str  # folder of the `evaluate` module that computes it
    meaning: str


# All run from 0 to 1, and higher is better. A score is called by its name here; em and em_ast with `@k` after it.
METRICS: dict[str, Metric] = {
    "em": Metric("exact_match_at_k", "the reference is among the first k answers, letter by letter"),
    "em_ast": Metric("exact_match_at_k", "the same as Python reads it: quotes, spacing and comments do not count"),
    "codebleu": Metric("code_bleu", "CodeBLEU of the first answer, as papers print it"),
    "codebleu_corrected": Metric("code_bleu", "CodeBLEU without credit for absent data flow or loss for short lines"),
    "codebleu_ngram": Metric("code_bleu", "part of CodeBLEU: the answer's words found in the reference (BLEU)"),
    "codebleu_weighted_ngram": Metric("code_bleu", "part of CodeBLEU: the reference's words found, keywords first"),
    "codebleu_syntax": Metric("code_bleu", "part of CodeBLEU: the reference's subtrees found, names aside"),
    "codebleu_dataflow": Metric("code_bleu", "part of CodeBLEU: the reference's data flow found, where it has any"),
    "chrf": Metric("chr_f", "overlap of characters of the first answer"),
    "chrf++": Metric("chr_f", "overlap of characters and words of the first answer"),
    "syntax_valid": Metric("syntax", "the first answer is Python"),
}
FIRST_ANSWER = (*code_bleu.NAMES, *chr_f.NAMES, *syntax.NAMES)  # scores that read the first answer only


def folder(name: str) -> Path:
    """The folder of a metric's module; `evaluate.load(str(folder(name)))` works offline."""
    if name not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}; got {name!r}")
    return Path(__file__).parent / METRICS[name].module


def load(name: str):
    """The `evaluate` module that computes a metric: `load("em").compute(predictions=…, references=…, k=(1, 5))`.

    Nothing is fetched, and nothing stays on disk: evaluate.load would copy the script to the Hub's cache, which a
    read-only home refuses. Importing evaluate takes seconds (it imports transformers and torch), and its Arrow tables
    refuse lone surrogates; `score` and `summary` need neither.
    """
    module = folder(name).name
    loading = importlib.import_module("evaluate.loading")
    made = loading.import_main_class(f"nblib.metrics.{module}.{module}")
    with tempfile.TemporaryDirectory() as unused:  # evaluate makes a folder even where it keeps all in memory
        return made(keep_in_memory=True, cache_dir=unused)


def score(
    examples: Sequence[Example], predictions: Sequence[Prediction], *, ks: Sequence[int] = (1, 2, 5, 10)
) -> list[Prediction]:
    """The predictions in their order, with their scores; scores that they had already are kept.

    Examples and predictions are matched by id, one to one; ValueError names the id where they do not fit. A k above
    the number of answers is left out; a prediction without answers has None for what reads the first.
    """
    references = _references(examples, predictions)
    return [
        replace(each, scores=each.scores | _scores(references[each.example], each.codes, ks)) for each in predictions
    ]


def summary(predictions: Sequence[Prediction], examples: Sequence[Example]) -> dict[str, dict]:
    """Metric -> mean over the n examples where it is defined, and how many are missing.

    Where papers print a number over the whole corpus (CodeBLEU and its parts, chrF), it stands under "corpus", over
    all predictions with an answer. Takes the predictions as `score` returns them.
    """
    references = _references(examples, predictions)
    if predictions and not any(each.scores for each in predictions):
        raise ValueError("the predictions have no scores: pass what metrics.score returns")
    names = dict.fromkeys(name for each in predictions for name in each.scores)
    table = {name: _mean([each.scores.get(name) for each in predictions]) for name in names}
    for name, value in _corpus(references, [each for each in predictions if each.codes]).items():
        if name in table:
            table[name]["corpus"] = value
    return table


def _scores(reference: str, answers: Sequence[str], ks: Sequence[int]) -> dict[str, float | None]:
    found = exact_match_at_k.score(reference, answers, ks)
    if not answers:
        return found | dict.fromkeys(FIRST_ANSWER)
    first = answers[0]
    return found | code_bleu.score(reference, first) | chr_f.score(reference, first) | syntax.score(first)


def _corpus(references: dict[str, str], predictions: list[Prediction]) -> dict[str, float | None]:
    if not predictions:
        return dict.fromkeys(("codebleu", *code_bleu.PARTS, *chr_f.NAMES))
    pair = [references[each.example] for each in predictions], [each.codes[0] for each in predictions]
    return code_bleu.corpus(*pair) | chr_f.corpus(*pair)


def _mean(values: list[float | None]) -> dict:
    known = [each for each in values if each is not None]
    return {
        "mean": sum(known) / len(known) if known else None,
        "n": len(known),
        "missing": len(values) - len(known),
    }


def _references(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, str]:
    """Id -> reference, where each example has exactly one prediction; ValueError otherwise."""
    references = {each.id: each.code for each in examples}
    answered = {each.example for each in predictions}
    _refuse(_twice(each.id for each in examples), "comes twice among the examples")
    _refuse(_twice(each.example for each in predictions), "comes twice among the predictions")
    _refuse([each for each in references if each not in answered], "has no prediction")
    _refuse([each for each in answered if each not in references], "has a prediction but is not among the examples")
    return references


def _twice(ids: Iterable[str]) -> list[str]:
    return [each for each, count in Counter(ids).items() if count > 1]


def _refuse(ids: list[str], fault: str) -> None:
    if ids:
        more = f" (and {len(ids) - 1} more)" if len(ids) > 1 else ""
        raise ValueError(f"example {ids[0]!r} {fault}{more}; examples and predictions must fit one to one, by id")

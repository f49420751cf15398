"""Examples and predictions to scores. Runs no program itself: `execute` asks the sandbox to."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from nblib.metrics.execution import execute, first_failure
from nblib.metrics.scores import by_difficulty, score, summary

SCRIPT = Path(__file__).parent / "evaluated.py"  # `evaluate.load(str(SCRIPT), "em")` works offline


@dataclass(frozen=True)
class Metric:
    """Where a score comes from, and how to read it."""

    group: str  # the scores that are computed together
    meaning: str


# All run from 0 to 1, and higher is better. A score is called by its name here; em, em_ast,
# em_expression, em_study and pass with `@k` after it.
METRICS: dict[str, Metric] = {
    "em": Metric("exact_match", "the reference is among the first k answers, letter by letter"),
    "em_ast": Metric("exact_match", "the same as Python reads it: quotes, spacing and comments do not count"),
    "em_expression": Metric("house_style", "em_ast whatever is done with the value: assigned, printed, returned"),
    "style_match": Metric("house_style", "the first answer does with its value what the reference does with its own"),
    "codebleu": Metric("code_bleu", "CodeBLEU of the first answer, as papers print it"),
    "codebleu_corrected": Metric("code_bleu", "CodeBLEU without credit for absent data flow or loss for short lines"),
    "codebleu_ngram": Metric("code_bleu", "part of CodeBLEU: the answer's words found in the reference (BLEU)"),
    "codebleu_weighted_ngram": Metric("code_bleu", "part of CodeBLEU: the reference's words found, keywords first"),
    "codebleu_syntax": Metric("code_bleu", "part of CodeBLEU: the reference's subtrees found, names aside"),
    "codebleu_dataflow": Metric("code_bleu", "part of CodeBLEU: the reference's data flow found, where it has any"),
    "em_study": Metric("as_studied", "em as the study's package scored: answers end at their first < or >; on request"),
    "codebleu_study": Metric("as_studied", "CodeBLEU of the first answer, cut in the same way; on request"),
    "chrf": Metric("chrf", "overlap of characters of the first answer"),
    "chrf++": Metric("chrf", "overlap of characters and words of the first answer"),
    "syntax_valid": Metric("syntax", "the first answer is Python"),
    "test_accuracy": Metric("execution", "the share of tests that the first answer passes"),
    "test_accuracy_ordered": Metric("execution", "the same; order, repetition, nearly right integers are not forgiven"),
    "strict_accuracy": Metric("execution", "the first answer passes all tests"),
    "strict_accuracy_ordered": Metric("execution", "the same; neither order nor nearly right integers are forgiven"),
    "pass": Metric("execution", "the chance that one of k sampled answers passes all tests, without bias"),
}


def load(name: str):
    """A metric as a module of `evaluate`: `load("em").compute(predictions=…, references=…, k=(1, 5))`.

    Nothing is fetched, and nothing stays on disk: evaluate.load would copy the script to the Hub's cache, which a
    read-only home refuses. Importing evaluate takes seconds (it imports transformers and torch), and its Arrow tables
    refuse lone surrogates; `score` and `summary` need neither.
    """
    from nblib.metrics.evaluated import Scores

    with tempfile.TemporaryDirectory() as unused:  # evaluate makes a folder even where it keeps all in memory
        return Scores(config_name=name, keep_in_memory=True, cache_dir=unused)

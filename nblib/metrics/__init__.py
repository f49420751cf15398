"""Examples and predictions to scores. Runs no program itself: `execute` asks the sandbox to."""

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nblib.metrics.execution import execute
from nblib.metrics.execution.failure import first_failure
from nblib.metrics.scores import by_difficulty, groups, score, summary
from nblib.metrics.stored import read, rescore

__all__ = [
    "METRICS", "Metric", "by_difficulty", "execute", "first_failure", "folder", "groups", "load", "read", "rescore",
    "score", "summary",
]  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """Where a score comes from, and how to read it."""

    module: str  # folder of the `evaluate` module that computes it
    meaning: str


# All run from 0 to 1, and higher is better. A score is called by its name here; em, em_ast, em_study and pass with `@k`
# after it.
METRICS: dict[str, Metric] = {
    "em": Metric("exact_match_at_k", "the reference is among the first k answers, letter by letter"),
    "em_ast": Metric("exact_match_at_k", "the same as Python reads it: quotes, spacing and comments do not count"),
    "codebleu": Metric("code_bleu", "CodeBLEU of the first answer, as papers print it"),
    "codebleu_corrected": Metric("code_bleu", "CodeBLEU without credit for absent data flow or loss for short lines"),
    "codebleu_ngram": Metric("code_bleu", "part of CodeBLEU: the answer's words found in the reference (BLEU)"),
    "codebleu_weighted_ngram": Metric("code_bleu", "part of CodeBLEU: the reference's words found, keywords first"),
    "codebleu_syntax": Metric("code_bleu", "part of CodeBLEU: the reference's subtrees found, names aside"),
    "codebleu_dataflow": Metric("code_bleu", "part of CodeBLEU: the reference's data flow found, where it has any"),
    "em_study": Metric("as_studied", "em as the study's package scored: answers end at their first < or >; on request"),
    "codebleu_study": Metric("as_studied", "CodeBLEU of the first answer, cut in the same way; on request"),
    "chrf": Metric("chr_f", "overlap of characters of the first answer"),
    "chrf++": Metric("chr_f", "overlap of characters and words of the first answer"),
    "syntax_valid": Metric("syntax", "the first answer is Python"),
    "test_accuracy": Metric("execution", "the share of tests that the first answer passes"),
    "test_accuracy_ordered": Metric(
        "execution", "the same without forgiving order, repetition or nearly right integers"
    ),
    "strict_accuracy": Metric("execution", "the first answer passes all tests"),
    "strict_accuracy_ordered": Metric(
        "execution", "the same without forgiving order, repetition or nearly right integers"
    ),
    "pass": Metric("execution", "the chance that one of k sampled answers passes all tests, without bias"),
}


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

"""Exact match at k, as a module of `evaluate`. The work is done in nblib.metrics.exact_match_at_k."""

import datasets
import evaluate

from nblib.metrics import exact_match_at_k

TEXT = datasets.Value("string")


class ExactMatchAtK(evaluate.Metric):
    """Share of examples whose reference is among the first k answers."""

    def _info(self):
        return evaluate.MetricInfo(
            description="Share of examples whose reference is among the first k answers: as text (em) and as Python "
            "(em_ast: quotes, spacing and comments do not count).",
            citation="",
            inputs_description="predictions: a list of answers an example, best first; references: one text an "
            "example; k: one or more numbers, each at most the number of answers of every example.",
            features=datasets.Features({"predictions": datasets.Sequence(TEXT), "references": TEXT}),
        )

    def _compute(self, predictions, references, k=(1,)):
        ks = (k,) if isinstance(k, int) else tuple(k)
        if not predictions:
            raise ValueError("exact_match_at_k needs at least one example; got none")
        fewest = min(len(answers) for answers in predictions)
        for each in ks:
            if each > fewest:
                raise ValueError(
                    f"k must be at most the number of answers; got k {each} where an example has {fewest}: "
                    "ask for a smaller k or generate more answers"
                )
        rows = [exact_match_at_k.score(one, answers, ks) for one, answers in zip(references, predictions, strict=True)]
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

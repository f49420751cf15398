"""Share of answers that are Python, as a module of `evaluate`. The work is done in nblib.metrics.syntax."""

import datasets
import evaluate

from nblib.metrics import syntax

TEXT = datasets.Value("string")


class Syntax(evaluate.Metric):
    """Share of answers that parse; the references are not read."""

    def _info(self):
        return evaluate.MetricInfo(
            description="Share of answers that Python's own parser accepts and that hold a statement.",
            citation="",
            inputs_description="predictions: one answer an example; references: not read.",
            features=datasets.Features({"predictions": TEXT, "references": TEXT}),
        )

    def _compute(self, predictions, references):
        if not predictions:
            raise ValueError("syntax needs at least one example; got none")
        return {"syntax_valid": sum(syntax.score(each)["syntax_valid"] for each in predictions) / len(predictions)}

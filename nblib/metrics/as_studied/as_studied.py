"""The study's own exact match and CodeBLEU, as a module of `evaluate`. The work is done in nblib.metrics.as_studied."""

import datasets
import evaluate

from nblib.metrics import as_studied

TEXT = datasets.Value("string")


class AsStudied(evaluate.Metric):
    """Exact match at k and corpus CodeBLEU of answers that are cut as the study's package cut them."""

    def _info(self):
        return evaluate.MetricInfo(
            description="Share of examples whose reference is among the first k answers (em_study) and CodeBLEU of the "
            "first answers (codebleu_study), each answer cut at its first < or > as the study's package did.",
            citation="Weyssow et al. 2025, doi 10.1145/3714461",
            inputs_description="predictions: a list of answers an example, best first; references: one text an "
            "example; k: one or more numbers, each at most the number of answers of every example.",
            features=datasets.Features({"predictions": datasets.Sequence(TEXT), "references": TEXT}),
        )

    def _compute(self, predictions, references, k=(1,)):
        ks = (k,) if isinstance(k, int) else tuple(k)
        fewest = min((len(answers) for answers in predictions), default=0)
        if max(ks) > fewest:
            raise ValueError(
                f"k must be at most the number of answers; got k {max(ks)} where an example has {fewest}: "
                "ask for a smaller k or generate more answers"
            )
        rows = [as_studied.score(one, answers, ks) for one, answers in zip(references, predictions, strict=True)]
        means = {
            f"{as_studied.EM}@{k}": sum(row[f"{as_studied.EM}@{k}"] or 0.0 for row in rows) / len(rows) for k in ks
        }
        return means | as_studied.corpus(references, [answers[0] for answers in predictions])

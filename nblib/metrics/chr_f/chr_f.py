"""chrF over a corpus, as a module of `evaluate`. The work is done in nblib.metrics.chr_f."""

import datasets
import evaluate

from nblib.metrics import chr_f

TEXT = datasets.Value("string")


class ChrF(evaluate.Metric):
    """chrF and chrF++ over all answers, from 0 to 1."""

    def _info(self):
        return evaluate.MetricInfo(
            description="chrF and chrF++ as sacrebleu computes them over a corpus, from 0 to 1.",
            citation="Popović 2015, https://aclanthology.org/W15-3049; Popović 2017, https://aclanthology.org/W17-4770",
            inputs_description="predictions: one answer an example; references: one text an example.",
            features=datasets.Features({"predictions": TEXT, "references": TEXT}),
        )

    def _compute(self, predictions, references):
        if not predictions:
            raise ValueError("chr_f needs at least one example; got none")
        return chr_f.corpus(references, predictions)

"""CodeBLEU over a corpus, as a module of `evaluate`. The work is done in nblib.metrics.code_bleu."""

import datasets
import evaluate

from nblib.metrics import code_bleu

TEXT = datasets.Value("string")


class CodeBleu(evaluate.Metric):
    """CodeBLEU of Python over all answers: the published number with its parts, and the corrected one."""

    def _info(self):
        return evaluate.MetricInfo(
            description="CodeBLEU of Python as the package codebleu publishes it, its four parts (the data flow None "
            "where no reference has any), and the mean of the corrected number.",
            citation="Ren et al. 2020, https://arxiv.org/abs/2009.10297",
            inputs_description="predictions: one answer an example; references: one text an example.",
            features=datasets.Features({"predictions": TEXT, "references": TEXT}),
        )

    def _compute(self, predictions, references):
        if not predictions:
            raise ValueError("code_bleu needs at least one example; got none")
        pairs = zip(references, predictions, strict=True)
        corrected = [code_bleu.score(*each)["codebleu_corrected"] or 0.0 for each in pairs]
        return code_bleu.corpus(references, predictions) | {"codebleu_corrected": sum(corrected) / len(corrected)}

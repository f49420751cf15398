"""Scores by running tests, as a module of `evaluate`. The work is done in nblib.metrics.execution."""

import datasets
import evaluate

from nblib.metrics import execution
from nblib.metrics.execution import references as given
from nblib.metrics.scores import summary
from nblib.results import Prediction
from nblib.sandbox import Limits

TEXT = datasets.Value("string")


class Execution(evaluate.Metric):
    """Means of test accuracy, strict accuracy and pass@k over the examples."""

    def _info(self):
        return evaluate.MetricInfo(
            description="Runs answers in a sandbox: the share of tests that the first answer passes (test_accuracy), "
            "whether it passes all (strict_accuracy), both also without forgiving order and nearly right integers "
            "(ordered), and the unbiased chance that one of k answers passes (pass@k).",
            citation="Hendrycks et al. 2021, arXiv 2105.09938; Chen et al. 2021, arXiv 2107.03374",
            inputs_description="predictions: a list of programs an example; references: its tests as text, either "
            "Python that asserts or JSON with APPS's inputs, outputs and fn_name; k: one or more numbers, each at "
            "most the number of answers of every example; sampled: whether answers are independent samples, which "
            "k above 1 needs; allow_code_execution: consent to run the programs where the isolation is weak; "
            "cpu_seconds: the limit of each test; workers: programs at a time.",
            features=datasets.Features({"predictions": datasets.Sequence(TEXT), "references": TEXT}),
        )

    def _compute(
        self,
        predictions,
        references,
        k=(1,),
        sampled=False,
        allow_code_execution=False,
        cpu_seconds=execution.LIMITS.cpu_seconds,
        workers=None,
    ):
        ks = (k,) if isinstance(k, int) else tuple(k)
        if not predictions:
            raise ValueError("execution needs at least one example; got none")
        fewest = min(len(answers) for answers in predictions)
        for each in ks:
            if each > fewest:
                raise ValueError(
                    f"k must be at most the number of answers; got k {each} where an example has {fewest}: "
                    "ask for a smaller k or generate more answers"
                )
        examples = [given.example(str(at), tests) for at, tests in enumerate(references)]
        judged = execution.execute(
            examples,
            [Prediction(str(at), (), tuple(answers), 0, 0) for at, answers in enumerate(predictions)],
            sampled=sampled,
            ks=ks,
            limits=Limits(cpu_seconds=cpu_seconds),
            workers=workers,
            allow_code_execution=allow_code_execution,
        )
        return {name: each["mean"] for name, each in summary(judged, examples).items()}

"""The metrics as modules of `evaluate`: one class, configured by the name of a metric."""

import json
from collections.abc import Sequence

import datasets
import evaluate

from nblib import metrics
from nblib.metrics.execution import LIMITS
from nblib.results import Prediction
from nblib.sandbox import Limits
from nblib.tasks import Example

TEXT = datasets.Value("string")
SEVERAL_ANSWERS = ("exact_match", "house_style", "as_studied", "execution")  # groups that read more than the first


class Scores(evaluate.Metric):
    """A metric and those of its group: the corpus's number where papers print one, else the mean over examples.

    references: one text an example, for execution its tests: Python that asserts, or JSON with APPS's inputs, outputs
    and fn_name. predictions: one answer an example, or a list with the best first where the metric has a k.
    k: one or more numbers, each at most the number of answers of every example. For execution also sampled: whether
    answers are independent samples, which k above 1 needs; allow_code_execution: consent to run programs where the
    isolation is weak; cpu_seconds: of each test; workers: programs at a time.
    """

    def _info(self):
        name, known = self.config_name, metrics.METRICS
        if name not in known:
            raise ValueError(f"metric must be one of {', '.join(known)}; got {name!r}")
        answers = datasets.Sequence(TEXT) if known[name].group in SEVERAL_ANSWERS else TEXT
        return evaluate.MetricInfo(
            description=known[name].meaning,
            citation="",  # in the modules that compute the scores
            inputs_description=str(self.__doc__),
            features=datasets.Features({"predictions": answers, "references": TEXT}),
        )

    def _compute(self, predictions, references, k=(1,), **settings):
        group = metrics.METRICS[self.config_name].group
        if not predictions:
            raise ValueError(f"{self.config_name} needs at least one example; got none")
        answers = predictions if group in SEVERAL_ANSWERS else [[answer] for answer in predictions]
        given = [Prediction(str(number), (), tuple(codes), 0, 0) for number, codes in enumerate(answers)]
        compute = _executed if group == "execution" else _scored
        table = compute(references, given, _ks(k, answers), **settings)
        names = {name for name, metric in metrics.METRICS.items() if metric.group == group}
        table = {name: column for name, column in table.items() if name.partition("@")[0] in names}
        return {name: column.get("corpus", column["mean"]) for name, column in table.items()}


def _scored(references: Sequence[str], predictions: list[Prediction], ks: Sequence[int]) -> dict[str, dict]:
    examples = [Example(str(number), intent="", code=reference) for number, reference in enumerate(references)]
    return metrics.summary(metrics.score(examples, predictions, ks=ks, study_scores=True, house_style=True), examples)


def _executed(
    references, predictions, ks, *, sampled: bool = False, cpu_seconds: float = LIMITS.cpu_seconds, **settings
) -> dict[str, dict]:
    examples = [example(str(number), tests) for number, tests in enumerate(references)]
    limits = Limits(cpu_seconds=cpu_seconds)
    executed = metrics.execute(examples, predictions, sampled=sampled, ks=ks, limits=limits, **settings)
    return metrics.summary(executed, examples)


def _ks(k: int | Sequence[int], answers: Sequence[Sequence[str]]) -> tuple[int, ...]:
    ks, fewest = (k,) if isinstance(k, int) else tuple(k), min(map(len, answers))
    if max(ks) > fewest:
        raise ValueError(
            f"k must be at most the number of answers; got k {max(ks)} where an example has {fewest}: "
            "ask for a smaller k or generate more answers"
        )
    return ks


def example(id: str, tests: str) -> Example:
    """An example with only its tests: Python that asserts, as for `code_eval`, or JSON as APPS has it.

    Raises ValueError where the JSON has not as many "inputs" as "outputs".
    """
    try:
        given = json.loads(tests)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        return Example(id, intent="", code="", tests=(tests,))
    inputs, outputs, name = given.get("inputs"), given.get("outputs"), given.get("fn_name") or ""
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise ValueError(f"reference {id} must have as many inputs as outputs, both in lists")
    form = json.dumps if name else _stream
    return Example(id, "", "", entry_point=name, inputs=tuple(map(form, inputs)), outputs=tuple(map(form, outputs)))


def _stream(text: str | Sequence[str]) -> str:
    """Standard input or output, which APPS has as text or as a list of lines."""
    return text if isinstance(text, str) else "\n".join(text)

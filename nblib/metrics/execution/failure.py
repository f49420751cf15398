"""One answer that fails, with the test that it fails, for a person to look at. Scores nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from nblib import sandbox
from nblib.metrics.execution.compare import WRONG
from nblib.metrics.execution.judge import LIMITS
from nblib.metrics.execution.program import job
from nblib.metrics.execution.verdicts import kind, marked, passes, plain
from nblib.metrics.pairs import pairs
from nblib.results import Prediction
from nblib.tasks import Example


@dataclass(frozen=True)
class Failure:
    """A first answer that does not pass, and the first test that says so."""

    example: str  # its id
    intent: str
    program: str
    test: str  # the input, the arguments or the assertion
    expected: str
    got: str  # what came out, or the error
    verdict: str


def first_failure(
    examples: Sequence[Example], predictions: Sequence[Prediction], *, allow_code_execution: bool = False
) -> Failure | None:
    """The first answer that runs and is wrong, else the first that fails in another way; None where all pass.

    Takes the predictions as `execute` returns them; the one program is run once more to see what it gives.
    """
    failed = [
        (example, each)
        for example, each in pairs(examples, predictions)
        if each.verdicts and not passes(each.verdicts[0])
    ]
    if not failed:
        return None
    example, prediction = next((pair for pair in failed if kind(pair[1].verdicts[0]) == WRONG), failed[0])
    verdict = kind(prediction.verdicts[0])
    number = [plain(each) for each in prediction.verdicts[0]].index(verdict)
    program = prediction.codes[0]
    inside = tuple(at for at, each in enumerate(prediction.verdicts[0]) if marked((each,)))
    (outcomes,) = sandbox.run_all(
        [job(example, program, inside)], limits=LIMITS, allow_code_execution=allow_code_execution
    )
    return Failure(
        example=example.id,
        intent=example.intent,
        program=program,
        test=(example.tests or example.inputs)[number],
        expected="it holds" if example.tests else example.outputs[number],
        got=(outcomes[number].output or "") + outcomes[number].message,
        verdict=verdict,
    )

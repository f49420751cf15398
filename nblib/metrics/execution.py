"""Whether answers pass the tests of their examples: the sandbox runs them, `compare` judges what came out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, groupby
from math import ceil, log2

from nblib import sandbox
from nblib.metrics.compare import PASSED, WRONG, printed, returned
from nblib.metrics.jobs import OUTSIDE, Inside, Run, find_inside, has_tests, hopeless, job
from nblib.metrics.scores import pairs
from nblib.metrics.verdicts import INSIDE, UNDECIDED, Verdicts, kind, passes, plain, reached, scores
from nblib.results import Prediction
from nblib.sandbox import Limits, Outcome
from nblib.tasks import Example

Answer = tuple[Example, str]  # an example and one answer to it
Found = dict[tuple[str, str], Verdicts]  # by the example's id and the answer

LIMITS = Limits()  # of each test
KS = (1, 2, 5, 10, 100)  # of pass@k, up to the number of answers
AT_ONCE = 512  # tests whose outputs are in memory together, about; each may be as long as the limits allow
REFERENCE_SHARE = 3  # an answer may take that many times the reference's own CPU seconds…
REFERENCE_LIMIT = 10  # …which are measured up to that many times the given limit


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


def execute(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    sampled: bool,
    ks: Sequence[int] | None = None,
    limits: Limits = LIMITS,
    workers: int | None = None,
    allow_code_execution: bool = False,
) -> list[Prediction]:
    """The predictions in their order, with a verdict for each test of each answer, and the scores of these.

    `sampled` says that the answers of an example are independent samples, as pass@k with k above 1 needs them;
    otherwise pass@1 is whether the first answer passes. An example without tests has None for each score. Nothing is
    run, and nothing changes, where no example has tests.
    What runs out of CPU time is run again with more where the example's own reference is slow, so that the limit is
    the larger of the given one and REFERENCE_SHARE times the reference's seconds.
    Raises ValueError for ids that do not fit and for a k that the answers do not allow, and what the sandbox raises
    where it may not run code.
    """
    ks = ks or (KS if sampled else (1,))
    if max(ks) > 1 and not sampled:
        raise ValueError(
            f"pass@{max(ks)} needs independent samples; answers of greedy decoding or a beam search are none: ask for "
            "k 1 or sample with a temperature"
        )
    reached(ks, predictions)  # refuses a k below 1 before anything is run
    matched = pairs(examples, predictions)
    if not any(has_tests(row) for row in examples):
        return list(predictions)
    answers = {(example.id, code): (example, code) for example, row in matched for code in row.codes}

    def run(jobs: Sequence[sandbox.Job], limits: Limits) -> list[tuple[Outcome, ...]]:
        if not jobs:
            return []
        return sandbox.run_all(jobs, limits=limits, workers=workers, allow_code_execution=allow_code_execution)

    found = _judge([(example, code) for example, code in answers.values() if has_tests(example)], limits, run)
    executed = []
    for example, row in matched:
        verdicts = tuple(found.get((example.id, code), ()) for code in row.codes)
        own = scores(verdicts, sampled=sampled, ks=ks)
        executed.append(replace(row, verdicts=verdicts if any(verdicts) else (), scores=row.scores | own))
    return executed


def first_failure(
    examples: Sequence[Example], predictions: Sequence[Prediction], *, allow_code_execution: bool = False
) -> Failure | None:
    """The first answer that runs and is wrong, else the first that fails in another way; None where all pass.

    Takes the predictions as `execute` returns them; the one program is run once more to see what it gives.
    """
    judged = [(example, row, row.verdicts[0]) for example, row in pairs(examples, predictions) if row.verdicts]
    failed = [(example, row, verdicts) for example, row, verdicts in judged if not passes(verdicts)]
    if not failed:
        return None
    example, row, verdicts = next((one for one in failed if kind(one[2]) == WRONG), failed[0])
    number = [plain(verdict) for verdict in verdicts].index(kind(verdicts))
    inside = tuple(place for place, verdict in enumerate(verdicts) if INSIDE in verdict)
    program = job(example, row.codes[0], inside)
    (outcomes,) = sandbox.run_all([program], limits=LIMITS, allow_code_execution=allow_code_execution)
    return Failure(
        example=example.id,
        intent=example.intent,
        program=row.codes[0],
        test=(example.tests or example.inputs)[number],
        expected="it holds" if example.tests else example.outputs[number],
        got=(outcomes[number].output or "") + outcomes[number].message,
        verdict=kind(verdicts),
    )


# --- answers to verdicts --------------------------------------------------------------------------------------------


def _judge(answers: Sequence[Answer], limits: Limits, run: Run) -> Found:
    """The verdicts of all answers, one a test."""
    examples = list({example.id: example for example, _ in answers}.values())
    inside = find_inside(examples, partial(run, limits=_times(limits, REFERENCE_LIMIT)))
    found = _verdicts(answers, inside, partial(run, limits=limits))
    late = [(example, code) for example, code in answers if sandbox.TIME_OUT in map(plain, found[example.id, code])]
    for larger, group in _by_limits(late, inside, limits, run).items():
        found |= _verdicts(group, inside, partial(run, limits=larger))
    return found


def _verdicts(answers: Sequence[Answer], inside: dict[str, Inside], run: Run) -> Found:
    found = {
        (example.id, code): (verdict,) * _tests(example)
        for example, code in answers
        if (verdict := hopeless(example, code))
    }
    for part in _parts([(example, code) for example, code in answers if (example.id, code) not in found]):
        for (example, code), outcomes in zip(part, run(_jobs(part, inside)), strict=True):
            found[example.id, code] = _compared(example, outcomes)
    return {(id, code): _marked(verdicts, inside.get(id, OUTSIDE)) for (id, code), verdicts in found.items()}


def _parts(answers: Sequence[Answer]) -> Iterator[list[Answer]]:
    """The answers in groups of about AT_ONCE tests."""
    before = [0, *accumulate(_tests(example) for example, _ in answers)][: len(answers)]
    for _, group in groupby(zip(before, answers, strict=True), key=lambda pair: pair[0] // AT_ONCE):
        yield [answer for _, answer in group]


def _jobs(answers: Sequence[Answer], inside: dict[str, Inside]) -> list[sandbox.Job]:
    return [job(example, code, inside.get(example.id, OUTSIDE).tests) for example, code in answers]


def _by_limits(
    late: Sequence[Answer], inside: dict[str, Inside], limits: Limits, run: Run
) -> dict[Limits, list[Answer]]:
    """The answers by their larger limits; those whose reference is fast, or unknown, are left out."""
    references = list({example.id: (example, example.code) for example, _ in late if example.code.strip()}.values())
    timed = run(_jobs(references, inside), limits=_times(limits, REFERENCE_LIMIT))
    seconds = {
        example.id: max((one.cpu_seconds for one in outcomes if one.status == sandbox.OK), default=0.0)
        for (example, _), outcomes in zip(references, timed, strict=True)
    }
    grouped: dict[Limits, list[Answer]] = {}
    for example, code in late:
        needed = REFERENCE_SHARE * seconds.get(example.id, 0.0) / limits.cpu_seconds
        if needed > 1:  # doubled as often as needed, so that few limits differ and programs run side by side
            grouped.setdefault(_times(limits, 2 ** ceil(log2(needed))), []).append((example, code))
    return grouped


def _times(limits: Limits, factor: int) -> Limits:
    return replace(limits, cpu_seconds=limits.cpu_seconds * factor, wall_seconds=limits.wall_seconds * factor)


def _tests(example: Example) -> int:
    return len(example.tests or example.inputs)


def _compared(example: Example, outcomes: Sequence[Outcome]) -> Verdicts:
    expected = (None,) * len(example.tests) if example.tests else example.outputs
    if len(expected) != len(outcomes):
        raise ValueError(f"example {example.id!r} has {len(outcomes)} tests, but {len(expected)} expected outputs")
    return tuple(_verdict(example, *pair) for pair in zip(outcomes, expected, strict=True))


def _verdict(example: Example, outcome: Outcome, expected: str | None) -> str:
    if outcome.status == sandbox.FAILED:
        return WRONG
    if outcome.status != sandbox.OK:
        return outcome.status
    if expected is None:  # an assertion, which the sandbox judges
        return PASSED
    if outcome.output is None:
        return WRONG
    return returned(outcome.output, expected) if example.entry_point else printed(outcome.output, expected)


def _marked(verdicts: Verdicts, inside: Inside) -> Verdicts:
    """With a mark before those of tests that ran inside, and before all that decide nothing."""
    own = UNDECIDED if inside.undecided else ""
    return tuple((INSIDE if number in inside.tests else "") + own + one for number, one in enumerate(verdicts))

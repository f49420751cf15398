"""Answers to verdicts: the sandbox runs them, the comparison judges what came out. Computes no scores."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, log2

from nblib import sandbox
from nblib.metrics.execution.compare import PASSED, WRONG, printed, returned
from nblib.metrics.execution.inside import OUTSIDE, Inside, inside
from nblib.metrics.execution.program import hopeless, job
from nblib.metrics.execution.verdicts import INSIDE, UNDECIDED, Verdicts, plain
from nblib.sandbox import Limits, Outcome
from nblib.tasks import Example

Asked = tuple[Example, str]  # an example and one answer to it
Found = dict[tuple[str, str], Verdicts]  # by the example's id and the answer

LIMITS = Limits()
AT_ONCE = 512  # tests whose outputs are in memory together; each may be as long as the limits allow
REFERENCE_SHARE = 3  # an answer may take that many times the reference's own CPU seconds…
REFERENCE_LIMIT = 10  # …which are measured up to that many times the given limit
FIRST_PASS = 0.9  # of the progress shown; the rest is for what timed out


@dataclass(frozen=True)
class Setting:
    """How programs are run."""

    limits: Limits = LIMITS  # of each test; cpu_seconds grows for examples whose own reference is slow
    workers: int | None = None  # programs at a time; None: as the sandbox says
    allow_code_execution: bool = False  # consent where the isolation is weak


def verdicts_of(asked: Sequence[Asked], setting: Setting, report: Callable[[float], None]) -> Found:
    """The verdicts of all answers, one a test. Equal answers to an example are run once.

    What ran out of CPU time is run again with more where the example's own reference is slow, so that the limit is
    the larger of the given one and REFERENCE_SHARE times the reference's seconds.
    """
    waiting = list({(example.id, answer): (example, answer) for example, answer in asked}.values())
    places = inside(
        list({example.id: example for example, _ in asked}.values()),
        _times(setting.limits, REFERENCE_LIMIT),
        workers=setting.workers,
        allow_code_execution=setting.allow_code_execution,
    )
    found = _run(waiting, setting, places, lambda share: report(FIRST_PASS * share))
    late = [each for each in waiting if sandbox.TIME_OUT in map(plain, found[each[0].id, each[1]])]
    for limits, group in _by_limits(late, setting, places).items():
        found |= _run(group, replace(setting, limits=limits), places)
    report(1.0)
    return found


def _run(
    asked: Sequence[Asked],
    setting: Setting,
    places: dict[str, Inside],
    report: Callable[[float], None] = lambda share: None,
) -> Found:
    found: Found = {}
    programs: list[Asked] = []
    for example, answer in asked:
        if verdict := hopeless(example, answer):
            found[example.id, answer] = _marked((verdict,) * _tests(example), places.get(example.id, OUTSIDE))
        else:
            programs.append((example, answer))
    done = 0
    for part in _parts(programs):
        step = partial(_report, report, done, len(part), len(programs))
        for (example, answer), outcomes in zip(part, _outcomes(part, setting, places, step), strict=True):
            found[example.id, answer] = _marked(_verdicts(example, outcomes), places.get(example.id, OUTSIDE))
        done += len(part)
    return found


def _parts(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    """The answers in groups of at most AT_ONCE tests, or of one answer."""
    part: list[Asked] = []
    for each in asked:
        if part and sum(_tests(example) for example, _ in [*part, each]) > AT_ONCE:
            yield part
            part = []
        part.append(each)
    if part:
        yield part


def _report(report: Callable[[float], None], done: int, size: int, total: int, share: float) -> None:
    report((done + share * size) / total)


def _outcomes(
    asked: Sequence[Asked], setting: Setting, places: dict[str, Inside], report: Callable[[float], None]
) -> list[tuple[Outcome, ...]]:
    return sandbox.run_all(
        [job(example, answer, places.get(example.id, OUTSIDE).tests) for example, answer in asked],
        limits=setting.limits,
        workers=setting.workers,
        allow_code_execution=setting.allow_code_execution,
        report=report,
    )


# --- more time where the reference needs it -------------------------------------------------------------------------


def _by_limits(late: Sequence[Asked], setting: Setting, places: dict[str, Inside]) -> dict[Limits, list[Asked]]:
    """The answers by their larger limits; those whose reference is fast, or unknown, are left out."""
    references = list({example.id: (example, example.code) for example, _ in late if example.code.strip()}.values())
    longest = replace(setting, limits=_times(setting.limits, REFERENCE_LIMIT))
    done = _outcomes(references, longest, places, lambda share: None) if references else []
    seconds = {
        example.id: max((each.cpu_seconds for each in outcomes if each.status == sandbox.OK), default=0.0)
        for (example, _), outcomes in zip(references, done, strict=True)
    }
    grouped: dict[Limits, list[Asked]] = {}
    for example, answer in late:
        needed = REFERENCE_SHARE * seconds.get(example.id, 0.0) / setting.limits.cpu_seconds
        if needed > 1:  # doubled as often as needed, so that few limits differ and programs run side by side
            limits = _times(setting.limits, 2 ** ceil(log2(needed)))
            grouped.setdefault(limits, []).append((example, answer))
    return grouped


def _times(limits: Limits, factor: int) -> Limits:
    return replace(limits, cpu_seconds=limits.cpu_seconds * factor, wall_seconds=limits.wall_seconds * factor)


# --- outcomes to verdicts -------------------------------------------------------------------------------------------


def _tests(example: Example) -> int:
    return len(example.tests or example.inputs)


def _verdicts(example: Example, outcomes: Sequence[Outcome]) -> Verdicts:
    expected = (None,) * len(example.tests) if example.tests else example.outputs
    if len(expected) != len(outcomes):
        raise ValueError(
            f"example {example.id!r} has {_tests(example)} tests, {len(expected)} expected outputs and {len(outcomes)} "
            "outcomes; there must be one of each for a test"
        )
    return tuple(_verdict(example, *each) for each in zip(outcomes, expected, strict=True))


def _marked(verdicts: Verdicts, place: Inside) -> Verdicts:
    """With a mark before those of tests that ran inside, and before all that decide nothing."""
    own = UNDECIDED if place.undecided else ""
    return tuple((INSIDE if number in place.tests else "") + own + each for number, each in enumerate(verdicts))


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

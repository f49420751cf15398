"""What an adapter does on the task that it was not trained on: rows of several tasks. Runs nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from nblib import results, stats
from nblib.results import Row
from nblib.tables import frame as framing
from nblib.tables import words
from nblib.tables.groups import Group, apart, compared, examples
from nblib.tables.shown import NOTHING, Shown, table

NOTHING_TRAINED = "nothing (zero-shot)"
MARGIN = 0.05  # a loss below this share counts as none; "does not lose" needs an interval that excludes a larger one
TESTED = ("difference", "low", "high", "p", "verdict")
CLAIM = "The claim that one joint adapter does not lose to one for each task"


def transfer(rows: Iterable[Row], folder: str | Path, metric: str = "em@1") -> pd.DataFrame:
    """One line a task that is asked (`task`) and what was `trained_on`: nothing, one task, or several jointly.

    `own` marks the adapter of the asked task, `joint` those of several tasks with the asked one among them; then
    `label`, `status`, `seeds` and the score with `_sd`, `_low`, `_high`, `_n` and `_missing`.
    `own_difference`, `own_low`, `own_high`, `own_p` and `own_verdict` are the line minus the own adapter;
    `nothing_difference` and so on, minus zero-shot: paired over the same examples, with Holm's correction over the
    lines of that task. Raises ValueError for more than one trained method, for rows that differ in more than their
    tasks, and for an unknown metric.
    """
    framing.check(metric)
    cells = _cells(rows, folder)
    tasks = _tasks(cells)
    lines = []
    for task in [each for each in tasks if any(asked == each for _, asked in cells)]:
        column = {trained: cells[trained, asked] for trained, asked in cells if asked == task}
        lines += _column(task, {key: column[key] for key in [None, *tasks] if key in column}, metric)
    frame = pd.DataFrame(lines)
    numbers = [name for name in frame if name.startswith((metric, "own_", "nothing_")) and "verdict" not in name]
    return frame.astype(dict.fromkeys(numbers, float))


def shown_transfer(frame: pd.DataFrame, metric: str = "em@1") -> Shown:
    """The matrix of a `transfer`, in percent: trained on down, asked across; the tests in words below."""
    asked, trained = (list(dict.fromkeys(frame[name])) if len(frame) else [] for name in ("task", "trained_on"))
    cells = {(row["trained_on"], row["task"]): row for _, row in frame.iterrows()}
    trained.sort(key=lambda name: (name != NOTHING_TRAINED, name.count("+")))
    rows = [{task: _cell(cells.get((name, task)), metric) for task in asked} for name in trained]
    lines = [{"trained on": name} | row for name, row in zip(trained, rows, strict=True)]
    notes = [f"{words.name(metric)} in percent, means over seeds with 95 % intervals; [ ]: trained on the asked task."]
    tested = [row for _, row in frame.iterrows() if row["joint"] and not pd.isna(row["own_p"])]
    notes += [f"{row['task']}, {row['trained_on']} minus its own: {_test(row, 'own')}." for row in tested]
    notes += ["Only the first examples: a partial result."] if len(frame) and frame["limit"].notna().any() else []
    notes += ["Tests are paired over the same examples, with Holm's correction."] if tested else []
    return table(lines, notes)


def answer_transfer(rows: Iterable[Row], folder: str | Path, metric: str = "em@1") -> str:
    """Whether one joint adapter does without loss, and what an adapter does on a task that it has not seen."""
    rows = list(rows)
    frame = transfer(rows, folder, metric)
    if frame.empty:
        return "There are no runs yet, so the question stays open."
    trained = [str(label) for label in frame.loc[frame["trained_on"] != NOTHING_TRAINED, "label"]]
    place = f"With {rows[0].settings['model']}" + (f" and {trained[0]}" if trained else "")
    lines = [row for _, row in frame.iterrows()]
    joint = [row for row in lines if row["joint"]]
    foreign = [row for row in lines if not (row["own"] or row["joint"] or row["trained_on"] == NOTHING_TRAINED)]
    opening = "; ".join(_joint(row, metric) for row in joint) or "no adapter was trained on several tasks jointly"
    return " ".join(
        [
            f"{place}, {opening}.",
            f"{CLAIM} {_verdict(joint)} here{_reason(joint)}.",
            *(_foreign(row, metric) for row in foreign),
            _basis(frame, metric) + _lost(frame),
        ]
    )


def _cells(rows: Iterable[Row], folder: str | Path) -> dict[tuple[str | None, str], Group]:
    """One group a pair of trained task and asked task."""
    parts = apart(rows, folder, "train_task", "task")
    trained = {(group.label, str(_method(group))) for key, found in parts.items() if key[0] for group in found}
    if len(trained) > 1 or any(len(found) > 1 for found in parts.values()):
        several = sorted({group.label for found in parts.values() for group in found} - {"zero-shot"})
        raise ValueError(
            f"a transfer table has one trained method with one setting, beside zero-shot; got {', '.join(several)}: "
            "make a table for each"
        )
    return {key: found[0] for key, found in parts.items()}


def _method(group: Group) -> dict:
    return group.settings["method"] | {"precision": group.settings.get("precision")}


def _tasks(cells: dict[tuple[str | None, str], Group]) -> list[str]:
    """All tasks, trained on or asked, in the order of the joint task's name where there is one; joint ones last."""
    names = {name for key in cells for name in key if name is not None}
    joint = sorted(name for name in names if "+" in name)
    order = [part for name in joint for part in name.split("+")]
    single = sorted((name for name in names if "+" not in name), key=lambda name: ([*order, name].index(name), name))
    return single + joint


def _column(task: str, column: dict[str | None, Group], metric: str) -> list[dict]:
    """The lines of one asked task."""
    # labels must differ for the tests: here it is what was trained on that differs
    named = {key: replace(group, label=str(key or NOTHING_TRAINED)) for key, group in column.items()}
    ids = examples(named.values())
    own = _against(named, task, metric)
    nothing = _against(named, None, metric)
    return [
        {
            "task": task,
            "trained_on": group.label,
            "own": key == task,
            "joint": key is not None and key != task and task in key.split("+"),
            "label": column[key].label,
            "status": group.status,
            "seeds": len(group.rows),
            "limit": group.settings.get("limit"),
            **framing.score(group, metric, ids),
            **_difference("own", own.get(group.label)),
            **_difference("nothing", nothing.get(group.label)),
        }
        for key, group in named.items()
    ]


def _against(named: dict[str | None, Group], center: str | None, metric: str) -> dict[str, stats.Difference | None]:
    """Every other line minus that one."""
    if center not in named or named[center].mean(metric) is None:
        return {}
    others = [group for key, group in named.items() if key != center and group.mean(metric) is not None]
    found = compared(named[center], others, metric)
    return {label: None if each is None else stats.reverse(each) for label, each in found.items()}


def _difference(name: str, tested: stats.Difference | None) -> dict:
    if tested is None or tested.p is None:
        return dict.fromkeys([f"{name}_{each}" for each in TESTED])
    values = (tested.mean, tested.low, tested.high, tested.p, stats.decide(tested))
    return {f"{name}_{each}": value for each, value in zip(TESTED, values, strict=True)}


def _cell(row: pd.Series | None, metric: str) -> str:
    """`[45.2] (40.1 to 50.3)`; or why there is nothing."""
    if row is None:
        return NOTHING
    if pd.isna(row[metric]):
        return words.STATUS.get(row["status"], NOTHING)
    score = f"{100 * row[metric]:.1f}"
    score = f"[{score}]" if row["own"] else score
    if pd.isna(row[f"{metric}_low"]):
        return score
    return f"{score} ({100 * row[f'{metric}_low']:.1f} to {100 * row[f'{metric}_high']:.1f})"


def _test(row: pd.Series, name: str) -> str:
    """`+3.1 points, 95 % interval +1.0 to +5.2, p = 0.004`; or that there is none."""
    if pd.isna(row[f"{name}_p"]):
        return "not tested"
    between = f"{words.points(row[f'{name}_low'])} to {words.points(row[f'{name}_high'])}"
    return (
        f"{words.points(row[f'{name}_difference'])} points, 95 % interval {between}, {words.p_value(row[f'{name}_p'])}"
    )


def _joint(row: pd.Series, metric: str) -> str:
    if pd.isna(row[metric]):
        return f"on {row['task']} the joint adapter ({row['trained_on']}) has no result"
    return (
        f"on {row['task']} the joint adapter ({row['trained_on']}) reaches {words.percent(row[metric])} "
        f"{words.name(metric)} (beside the task's own adapter: {_test(row, 'own')})"
    )


def _verdict(joint: Sequence[pd.Series]) -> str:
    """Does not hold where a task loses; holds where every task excludes a loss of more than the margin."""
    if any(row["own_verdict"] == "lower" for row in joint):
        return words.FAILS
    safe = [not pd.isna(row["own_low"]) and row["own_low"] >= -MARGIN for row in joint]
    return words.HOLDS if safe and all(safe) else words.OPEN


def _reason(joint: Sequence[pd.Series]) -> str:
    tested = [row for row in joint if not pd.isna(row["own_p"])]
    if not tested or len(tested) < len(joint):
        return ": not every task has predictions of both"
    losing = [str(row["task"]) for row in tested if row["own_verdict"] == "lower"]
    if losing:
        return f": it loses on {words.listed(losing)}"
    worst = min(row["own_low"] for row in tested)
    if worst >= -MARGIN:
        return f": a loss of more than {100 * MARGIN:.0f} points is excluded on every task"
    return (
        f": no loss is shown, but one of {-100 * worst:.1f} points is not excluded either (up to "
        f"{100 * MARGIN:.0f} would count as none)"
    )


def _foreign(row: pd.Series, metric: str) -> str:
    """What training on another task does: beside zero-shot, and beside the own adapter."""
    pair = f"trained on {row['trained_on']} and asked on {row['task']}"
    if pd.isna(row[metric]):
        return f"The adapter {pair} has no result."
    said = {
        "higher": "what it learned transfers",
        "lower": "it is worse than no training",
        "tie": "no transfer that this data can show",
    }.get(row["nothing_verdict"], "whether it transfers is not known")
    own = f"{words.points(row['own_difference'])} points, {words.p_value(row['own_p'])}" if row["own_verdict"] else ""
    beside = f"; beside the task's own adapter: {own}" if own else ""
    return (
        f"The adapter {pair} reaches {words.percent(row[metric])}: {said} (beside zero-shot: {_test(row, 'nothing')}"
        f"{beside})."
    )


def _basis(frame: pd.DataFrame, metric: str) -> str:
    seeds = sorted({int(row["seeds"]) for _, row in frame.iterrows() if row["seeds"]})
    counts = sorted({int(each) for each in frame[f"{metric}_n"].dropna()})
    if not seeds or not counts:
        return "No run gave a result."
    many = f"{seeds[0]} to {seeds[-1]} seeds" if len(seeds) > 1 else words.counted(seeds[0], "seed")
    asked = f"{counts[0]:,} to " * (len(counts) > 1) + words.counted(counts[-1], "test example")
    alone = " How another seed would change them is not known." if seeds[0] == seeds[-1] == 1 else ""
    partial = " Only the first examples were used, so the result is partial." if frame["limit"].notna().any() else ""
    return (
        f"This rests on {many} and {asked} a task; p values are of paired tests with Holm's correction.{partial}{alone}"
    )


def _lost(frame: pd.DataFrame) -> str:
    lost = [
        f"{row['trained_on']} asked on {row['task']} ({words.STATUS[row['status']]})"
        for _, row in frame.iterrows()
        if row["status"] != results.OK
    ]
    return f" Without a result: {', '.join(lost)}." if lost else ""

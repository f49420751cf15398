"""Whether scores that run nothing tell what running an answer tells."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nblib import stats
from nblib.columns import SCORES
from nblib.tables.labels import labelled
from nblib.tables.scores import has
from nblib.tables.show import Table, paragraph

CHEAP = ("em@1", "codebleu", "codebleu_corrected", "chrf")
WITHIN, BETWEEN = "answers of one method", "means of methods"  # levels
LEAST = 5  # methods: so few are in the very same or opposite order by chance in 2 of 5!, 1.7 %; four in 8.3 %
RESAMPLES = 1000
NAMES = ("pearson", "spearman", "kendall")


def agreement(
    runs: pd.DataFrame, answers: pd.DataFrame, *, cheap: Sequence[str] = CHEAP, passed: str = "strict_accuracy"
) -> Table:
    """One line per level and cheap score: its correlation with `passed`, whether a first answer passes all its tests.

    `pearson` (with 0 and 1 point-biserial), `spearman` and `kendall` (tau-b), with `_low` and `_high`, 95 % intervals
    over problems, resampled with all their answers. WITHIN, over the `n` problems of a run, is the mean over runs;
    BETWEEN is of the means of `n` methods, without an interval for fewer than LEAST. NaN: one of both does not vary.
    Raises ValueError for runs that do not belong in one table.
    """
    runs, answers = labelled(runs, answers)
    cheap = [metric for metric in cheap if has(runs, metric)] if has(runs, passed) else []
    table = answers.pivot(index="example", columns="run", values=[*cheap, passed]) if cheap else pd.DataFrame()
    if (whole := table.dropna()).empty:
        return paragraph("No problem of these runs has both tests and scores that need none.")
    n, own = len(whole), pd.get_dummies(runs.loc[whole[passed].columns, "method"].astype(str), dtype=float).to_numpy()
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    counts, lines = np.vstack([np.ones(n, dtype=int), draws]), []  # the first is the estimate itself
    for metric in cheap:
        pair = [whole[name].to_numpy() for name in (metric, passed)]  # each (problems, runs)
        each = [stats.correlations(x, y, counts) for x, y in zip(pair[0].T, pair[1].T, strict=True)]
        means = [counts @ one @ own / own.sum(0) / n for one in pair]  # a line a resample
        between = [stats.correlations(x, y, np.ones((1, own.shape[1]))) for x, y in zip(*means, strict=True)]
        within = np.ma.masked_invalid(each).mean(axis=0).filled(np.nan)
        for level, size, found in ((WITHIN, n, within), (BETWEEN, own.shape[1], np.hstack(between))):
            lines.append({"level": level, "score": SCORES[metric], "n": size} | _ends(found, size >= LEAST))
    about = {"method": f"with {SCORES[passed]}", "kind": ""} | dict(runs[["task", "model"]].iloc[0])
    notes = (
        f"Correlation with {SCORES[passed]} of the same answers; intervals of 95 % are over problems.",
        f"Between fewer than {LEAST} methods a correlation says nothing, so it has no interval.",
        f"Left out: {len(table) - n} problems without one of the scores." if len(table) > n else "",
    )
    frame = pd.DataFrame(lines).sort_values("level", kind="stable")
    shown, wide = (("level", "score", *names, "n") for names in (NAMES[:2], NAMES))
    return Table(frame.assign(**about), notes, columns=shown, wide=wide, heads={"score": "score"}, group="level")


def _ends(found: np.ndarray, is_enough: bool) -> dict[str, float]:
    low, high = pd.DataFrame(found[:, 1:].T).quantile([stats.ERROR / 2, 1 - stats.ERROR / 2]).to_numpy()
    ends = {"": found[:, 0], "_low": low, "_high": high}
    values = {f"{name}{end}": own[place] for end, own in ends.items() for place, name in enumerate(NAMES)}
    return values if is_enough else values | {name: np.nan for name in values if name not in NAMES}

"""A larger model that is partly tuned beside a smaller one tuned in full: rows of several models. Runs nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from nblib import spec, stats
from nblib.results import Row
from nblib.tables import frame as framing
from nblib.tables import words
from nblib.tables.groups import Group, apart, best, compared, examples, family
from nblib.tables.shown import NOTHING, Shown, size, table

LORA = ("lora", *spec.QLORA)
STUDY = "39.8 to 72.3 %"  # what Weyssow et al. 2025 report for EM@k
NOT_DECIDED = f"The claim that a larger model tuned with LoRA beats a smaller one tuned in full {words.OPEN} here"


def across_models(rows: Iterable[Row], folder: str | Path, metric: str = "em@1") -> pd.DataFrame:
    """One line a model and method, the smallest model first.

    `model`, `method`, `kind`, `status`, `seeds`; `total_parameters` of the model, `trainable_parameters` and their
    `trained_share`; the score with `_sd`, `_low`, `_high`, `_n` and `_missing`; `train_seconds` and `adapter_bytes`
    (means over seeds), `peak_bytes` (highest). `reference` marks the smallest model that was tuned in full with a
    result; `difference`, `difference_low`, `difference_high`, `p` and `verdict` (higher, lower, tie) are every other
    line minus it, paired over the same examples, with Holm's correction over all lines.
    Raises ValueError for rows that differ in more than model and method, and for an unknown metric.
    """
    framing.check(metric)
    rows = list(rows)
    sizes, found = _sizes(rows), _groups(rows, folder)
    reference = _reference(found, sizes, metric)
    tested = _tested(found, reference, metric)
    ids = examples(found)
    lines = []
    for group in found:
        line = _identity(group, sizes) | framing.score(group, metric, ids)
        lines.append(line | {"reference": group is reference} | _difference(tested.get(group.label)))
    frame = pd.DataFrame(lines)
    texts = ("model", "method", "kind", "family", "task", "status", "verdict", "limit", "reference")
    return frame.astype({name: float for name in frame if name not in (*texts, "seeds")})


def shown_across_models(frame: pd.DataFrame, metric: str = "em@1") -> Shown:
    """The table of an `across_models`: percent, points and GiB."""
    lines = [_shown(row, metric) for _, row in frame.iterrows()]
    if all(line["saved adapter"] == NOTHING for line in lines):
        lines = [{key: each for key, each in line.items() if key != "saved adapter"} for line in lines]
    notes = ["In parentheses: 95 % intervals."]
    if len(frame) and frame["limit"].notna().any():
        notes.append("Only the first examples: a partial result.")
    marked = frame[frame["reference"]] if len(frame) else frame
    if not len(marked):
        return table(lines, ["No model was tuned in full with a result, so nothing is tested.", *notes])
    tested = (
        f"Tested against {marked['model'].iloc[0]} tuned in full, the smallest such model: paired over the same "
        "examples, over all seeds, Holm's correction over the lines."
    )
    return table(lines, [tested, *notes])


def answer_models(rows: Iterable[Row], folder: str | Path, metric: str = "em@1") -> str:
    """Whether larger models tuned with LoRA beat the smallest one tuned in full, by how much, at what cost."""
    framing.check(metric)
    rows = list(rows)
    if not rows:
        return "There are no runs yet, so the question stays open."
    sizes, found = _sizes(rows), _groups(rows, folder)
    reference = _reference(found, sizes, metric)
    place = f"On {rows[0].settings['task']}"
    if reference is None:
        return f"{place}, no model was tuned in full with a result. {NOT_DECIDED}.{words.lost(found)}"
    larger = _larger(found, reference, sizes, metric)
    opening = (
        f"{place}, the smaller model is {reference.settings['model']} ({words.amount(_size(reference, sizes))} "
        f"parameters); tuned in full, it reaches {words.percent(reference.mean(metric))} {words.name(metric)}."
    )
    if not larger:
        return f"{opening} No larger model was tuned with LoRA with a result. {NOT_DECIDED}.{words.lost(found)}"
    tested = _tested(found, reference, metric)
    gains = [_gain(group, reference, tested[group.label], sizes, metric) for group in larger]
    costs = "; ".join(_cost(group) for group in (larger[0], reference))
    verdict = _verdict({group.settings["model"]: tested[group.label] for group in larger})
    return " ".join(
        [
            opening,
            *gains,
            f"The study reports {STUDY} for its models, in EM@k.",
            f"{costs}.",
            f"The claim that a larger model tuned with LoRA beats a smaller one tuned in full {verdict} here.",
            words.basis([*larger, reference], metric) + words.lost(found),
        ]
    )


def _sizes(rows: Sequence[Row]) -> dict[str, float]:
    """Parameters of each model, also where only a run that failed says it."""
    sizes: dict[str, float] = {}
    for row in rows:
        if total := row.costs.get("total_parameters"):
            sizes[row.settings["model"]] = max(total, sizes.get(row.settings["model"], 0))
    return sizes


def _groups(rows: Sequence[Row], folder: str | Path) -> list[Group]:
    """All groups, their labels with the model; small models first, of unknown size last."""
    parts = apart(rows, folder, "model")
    sizes = _sizes(rows)
    order = sorted(parts, key=lambda key: (sizes.get(key[0], float("inf")), key[0]))
    return [replace(group, label=f"{group.label} on {key[0]}") for key in order for group in parts[key]]


def _size(group: Group, sizes: dict[str, float]) -> float | None:
    return sizes.get(group.settings["model"])


def _reference(found: list[Group], sizes: dict[str, float], metric: str) -> Group | None:
    """The smallest model's full tuning, the best one where there are several."""
    full = [group for group in found if group.kind == "full" and group.mean(metric) is not None and _size(group, sizes)]
    return min(full, key=lambda group: (_size(group, sizes), -(group.mean(metric) or 0)), default=None)


def _tested(found: list[Group], reference: Group | None, metric: str) -> dict[str, stats.Difference | None]:
    """Every other line minus the reference."""
    if reference is None:
        return {}
    others = [group for group in found if group is not reference and group.mean(metric) is not None]
    return {
        label: None if each is None else stats.reverse(each)
        for label, each in compared(reference, others, metric).items()
    }


def _larger(found: list[Group], reference: Group, sizes: dict[str, float], metric: str) -> list[Group]:
    """The best LoRA of each model that is larger than the reference's, the best of all first."""
    by_model: dict[str, list[Group]] = {}
    for group in found:
        if group.kind in LORA and (_size(group, sizes) or 0) > (_size(reference, sizes) or 0):
            by_model.setdefault(group.settings["model"], []).append(group)
    leading = [best(team, metric) for team in by_model.values()]
    return sorted((group for group in leading if group), key=lambda group: -(group.mean(metric) or 0))


def _identity(group: Group, sizes: dict[str, float]) -> dict:
    total, trained = _size(group, sizes), group.cost("trainable_parameters")
    model = group.settings["model"]
    return {
        "model": model,
        "method": group.label.removesuffix(f" on {model}"),
        "kind": group.kind,
        "family": family(group.kind),
        "task": group.settings["task"],
        "limit": group.settings.get("limit"),
        "status": group.status,
        "seeds": len(group.rows),
        "total_parameters": total,
        "trainable_parameters": trained,
        "trained_share": None if total is None or trained is None else trained / total,
        "train_seconds": group.cost("train_seconds"),
        "adapter_bytes": group.cost("adapter_bytes"),
        "peak_bytes": group.peak_bytes(),
    }


def _difference(tested: stats.Difference | None) -> dict:
    if tested is None or tested.p is None:
        return {"difference": None, "difference_low": None, "difference_high": None, "p": None, "verdict": None}
    return {
        "difference": tested.mean,
        "difference_low": tested.low,
        "difference_high": tested.high,
        "p": tested.p,
        "verdict": stats.decide(tested),
    }


def _shown(row: pd.Series, metric: str) -> dict[str, str]:
    def known(name: str, form) -> str:
        return NOTHING if pd.isna(row[name]) else form(row[name])

    score = words.STATUS.get(row["status"], NOTHING) if pd.isna(row[metric]) else f"{100 * row[metric]:.1f}"
    if not pd.isna(row[f"{metric}_low"]):
        score += f" ({100 * row[f'{metric}_low']:.1f} to {100 * row[f'{metric}_high']:.1f})"
    beside = known("difference", words.points)
    if not pd.isna(row["difference_low"]):
        beside += f" ({words.points(row['difference_low'])} to {words.points(row['difference_high'])})"
    return {
        "model": row["model"],
        "parameters": known("total_parameters", words.amount),
        "method": row["method"],
        "trained parameters": known("trainable_parameters", "{:,.0f}".format),
        "share trained (%)": known("trained_share", lambda share: f"{100 * share:.3g}"),
        f"{words.name(metric)} (%)": score,
        "training (s)": known("train_seconds", "{:,.1f}".format),
        "saved adapter": known("adapter_bytes", size),
        "peak memory (GiB)": known("peak_bytes", lambda count: f"{count / 2**30:,.2f}"),
        "beside the smaller model (points)": "the reference" if row["reference"] else beside,
        "p (Holm)": known("p", "{:.3f}".format),
        "so it is": known("verdict", lambda verdict: {"tie": "no difference shown"}.get(verdict, verdict)),
        "seeds": str(row["seeds"]),
    }


def _gain(group: Group, reference: Group, tested, sizes: dict[str, float], metric: str) -> str:
    """`lora on large (10M parameters, 0.98 % of them trained) reaches 55.0 %, +15.0 points (38 % relative) …`"""
    ours, theirs = group.mean(metric) or 0.0, reference.mean(metric) or 0.0
    total, trained = _size(group, sizes), group.cost("trainable_parameters")
    share = f", {100 * trained / total:.3g} % of them trained" if total and trained is not None else ""
    relative = f" ({100 * (ours / theirs - 1):+.1f} % relative)".replace("-", "−") if theirs else ""
    verdict = "untested" if tested is None or tested.p is None else stats.decide(tested)
    noise = {"tie": "which this data cannot tell from noise", "untested": "which cannot be tested"}
    return (
        f"{group.label} ({words.amount(total)} parameters{share}) reaches {words.percent(ours)}: "
        f"{words.points(ours - theirs)} points{relative}, {noise.get(verdict, 'which is more than the noise')} "
        f"({words.doubt(tested)})."
    )


def _cost(group: Group) -> str:
    seconds, peak = group.cost("train_seconds"), group.peak_bytes()
    said = "" if seconds is None else f" in {seconds:,.0f} s a seed"
    said += "" if peak is None else f" at a peak of {peak / 2**30:,.2f} GiB"
    return f"{group.label} trains {words.amount(group.cost('trainable_parameters'))} parameters{said}"


def _verdict(tested: dict[str, stats.Difference | None]) -> str:
    """Over the larger models: holds where each wins, does not hold where each loses."""
    said = {model: "tie" if each is None else stats.decide(each) for model, each in tested.items()}
    won = [model for model, each in said.items() if each == "higher"]
    if won:
        return words.HOLDS if len(won) == len(said) else f"{words.HOLDS} for {words.listed(won)} only"
    return words.FAILS if set(said.values()) == {"lower"} else words.OPEN

"""Methods over several benchmarks: mean ranks, and a score that counts costs. Loads no model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nblib import stats
from nblib.tables.groups import Group, examples, family
from nblib.tables.report import REPORTED, Benchmark, group_memory, models
from nblib.tables.shown import NOTHING, Shown, table

# PEFT-Bench (Belanec et al. 2025, arXiv 2511.21285): what halves the score, each exponent 1. Its script calls them
# 5e8 parameters, 10 TFLOP more than the base model's forward pass, and the 94 GB of one H100 NVL.
HALVING = {"parameters": 5e8, "teraflops": 10.0, "gigabytes": 94.0}
READ = ("prompt-tuning", "p-tuning")  # their virtual tokens pass through every layer, as those of a prompt do
MERGED = ("full",)  # no weights beside the model's own


def mean_ranks(parts: Sequence[Benchmark], folder: str | Path, *, least: int = 1) -> pd.DataFrame:
    """The mean rank of each method over all pairs of model and benchmark, indexed by its label, the best first.

    `mean_rank`, `low`, `high` (95 % interval over other examples of the same benchmarks), `benchmarks`, and `kind`.
    A pair with fewer methods than `least` is left out; of the others, methods with a result in every pair are ranked.
    `frame.attrs` names the pairs (`places`), those with too few (`too_few`), and the methods that are left out
    (`left_out`). A method's score is the one that decides on each benchmark.
    """
    cells = {
        f"{part.name} with {model}": ({group.label: group for group in team}, part.metric)
        for part in parts
        for model, team in models(part, folder).items()
    }
    scored = {
        name: {label: group for label, group in team.items() if _is_scored(group, metric)}
        for name, (team, metric) in cells.items()
    }
    with_scores = {name: team for name, team in scored.items() if len(team) >= least}
    everywhere = [
        label for label in next(iter(with_scores.values()), {}) if all(label in team for team in with_scores.values())
    ]
    scores = [_by_example([team[label] for label in everywhere], cells[name][1]) for name, team in with_scores.items()]
    ranks = stats.mean_ranks(scores) if everywhere else []
    kinds = [next(iter(with_scores.values()))[label].kind for label in everywhere]
    frame = pd.DataFrame(
        [
            {"kind": kind, "mean_rank": each.mean, "low": each.low, "high": each.high, "benchmarks": each.benchmarks}
            for kind, each in zip(kinds, ranks, strict=True)
        ],
        index=pd.Index(everywhere, name="method", dtype=object),
        columns=["kind", "mean_rank", "low", "high", "benchmarks"],
    ).sort_values("mean_rank", kind="stable")
    others = {label for team in with_scores.values() for label in team} - set(everywhere)
    too_few = [name for name in scored if name not in with_scores]
    frame.attrs = {"places": list(with_scores), "too_few": too_few, "left_out": sorted(others)}
    return frame


def shown_mean_ranks(frame: pd.DataFrame) -> Shown:
    """The table of `mean_ranks`."""
    lines = [
        {
            "method": label,
            "mean rank": f"{row['mean_rank']:.2f}",
            "95 % interval": f"{row['low']:.2f} to {row['high']:.2f}",
            "benchmarks": str(row["benchmarks"]),
        }
        for label, row in frame.iterrows()
    ]
    left_out = frame.attrs.get("left_out", [])
    notes = [
        f"1 is the best. Over: {'; '.join(frame.attrs.get('places', []))}. Intervals are over other examples of these "
        "benchmarks, not over other benchmarks or seeds."
    ]
    notes += [f"Not in all of them, so not ranked: {', '.join(left_out)}."] if left_out else []
    too_few = frame.attrs.get("too_few", [])
    notes += [f"With too few methods to rank: {'; '.join(too_few)}."] if too_few else []
    return table(lines, notes)


def soft_cost(benchmark: Benchmark, folder: str | Path) -> pd.DataFrame:
    """PEFT-Bench's PSCP for each trained method of each model: a score that costs shrink.

    P × (1 + parameters / 5e8)⁻¹ × (1 + teraflops / 10)⁻¹ × (1 + gigabytes / 94)⁻¹, with P the deciding score in
    percent; `parameters` are the trained ones, `gigabytes` (of 10⁹ bytes) the memory of training, both measured.
    `teraflops` are those of reading one prompt beyond what the model itself needs for the zero-shot prompt: two
    for each weight and token, computed from the measured tokens and weights. None where something is not known.
    """
    lines = []
    for model, team in models(benchmark, folder).items():
        base = next((group for group in team if group.kind == "zero-shot"), None)
        for group in [each for each in team if family(each.kind) in ("PEFT", "full fine-tuning") and each.rows]:
            held = group_memory(group)[0]
            costs = {
                "parameters": group.cost("trainable_parameters"),
                "teraflops": _teraflops(group, base),
                "gigabytes": None if held is None else held / 1e9,
            }
            score = group.mean(benchmark.metric)
            line = {"model": model, "method": group.label, "metric": benchmark.metric, "score": score}
            lines.append(line | costs | {"pscp": _pscp(score, costs)})
    names = ["model", "method", "metric", "score", *HALVING, "pscp"]
    return pd.DataFrame(lines, columns=names).sort_values(["model", "pscp"], ascending=[True, False], kind="stable")


def shown_soft_cost(frame: pd.DataFrame) -> Shown:
    """The table of `soft_cost`."""
    forms = {"parameters": "{:,.0f}", "teraflops": "{:.3g}", "gigabytes": "{:.3f}", "pscp": "{:.2f}"}
    heads = {"parameters": "trained parameters", "teraflops": "more TFLOP", "gigabytes": "GB", "pscp": "PSCP"}
    lines = []
    for _, row in frame.iterrows():
        line = {"model": row["model"], "method": row["method"], "score": row["metric"]}
        line["score"] = f"{REPORTED[row['metric']]} {NOTHING if pd.isna(row['score']) else f'{100 * row.score:.1f}'}"
        known = {heads[name]: NOTHING if pd.isna(row[name]) else form.format(row[name]) for name, form in forms.items()}
        lines.append(line | known)
    return table(
        lines,
        [
            "PSCP of PEFT-Bench: percent × 1/(1 + parameters/5e8) × 1/(1 + TFLOP/10) × 1/(1 + GB/94). Its constants "
            "are made for models of billions of parameters: of a small one it leaves the score nearly as it is."
        ],
    )


def _is_scored(group: Group, metric: str) -> bool:
    return group.mean(metric) is not None and group.by_seed(metric, []) is not None


def _by_example(team: Sequence[Group], metric: str) -> list[list[float]]:
    """One list a method, of means over seeds; only examples that every method has a score of."""
    ids = examples(team)
    tables = [np.array(group.by_seed(metric, ids), dtype=float) for group in team]
    there = np.all([~np.isnan(each).any(axis=0) for each in tables], axis=0)
    return [each[:, there].mean(axis=0).tolist() for each in tables]


def _teraflops(group: Group, base: Group | None) -> float | None:
    weights, tokens = group.cost("total_parameters"), group.cost("prompt_tokens")
    before = base.cost("prompt_tokens") if base else tokens
    if weights is None or tokens is None or before is None:
        return None
    method = group.settings["method"]
    added = 0.0 if group.kind in (*MERGED, *READ, "prefix-tuning") else group.cost("trainable_parameters") or 0.0
    tokens += method.get("virtual_tokens", 0) if group.kind in READ else 0
    return max(0.0, 2 * ((weights + added) * tokens - weights * before) / 1e12)


def _pscp(score: float | None, costs: dict[str, float | None]) -> float | None:
    if score is None or any(each is None for each in costs.values()):
        return None
    result = 100 * score
    for name, value in costs.items():
        result /= 1 + (value or 0.0) / HALVING[name]
    return result

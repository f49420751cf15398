"""Tables of bytes, seconds and tokens, also against scores. Measures nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nblib import results, spec, stats
from nblib.columns import GIB, SCORES, number
from nblib.tables.labels import KINDS, Benchmark, counts, labelled, named, names
from nblib.tables.scores import comparison, tests, turned
from nblib.tables.show import Table

PARTS = [f"{part}_bytes" for part in results.PARTS]
TRAINED = ("PEFT", "full fine-tuning")  # families
PROMPTING = ("ICL", "RAG")  # families whose prompts are longer than the question
PASSES = 3  # forward passes that a training token costs: its own, and two for the backward pass, as is usual to count
UNITS = {"tokens": "tokens of forward passes", "seconds": "seconds"}
BREAK_EVEN = (
    f"Training costs once: every training token, all epochs, as {PASSES} forward passes (the backward pass costs "
    "about two), without validation; in seconds as measured, validation included. A query counts its prompt "
    "once and the tokens of all its answers. Differences are paired over the same examples; p with Holm's correction "
    "over the lines."
)
PAID = ("train", "generate")  # phases
PRICED = "Money: seconds times your price of an hour; the machine is paid for as long as it works, and not as it waits."
RANDOM = "*: the real architecture with random weights, which need the same memory."
# PEFT-Bench (Belanec et al. 2025, arXiv 2511.21285): what halves the score, each exponent 1. Its script calls them
# 5e8 parameters, 10 TFLOP more than the base model's forward pass, and the 94 GB of one H100 NVL.
HALVING = {"parameters": 5e8, "teraflops": 10.0, "gigabytes": 94.0}
READ = ("prompt-tuning", "p-tuning")  # their virtual tokens pass through every layer, as those of a prompt do
MERGED = ("full", *READ, "prefix-tuning")  # no weights that a token passes through besides the model's own


def memory(runs: pd.DataFrame) -> Table:
    """One line per model, trained method and precision, the smallest model first: means over seeds, in bytes.

    The parts are tensors of a training step. On a GPU, `memory_bytes` is the allocated peak of training, and
    `other_bytes` is what the tensors do not explain; on a CPU it is their sum (`measured` says which). `step_seconds`
    includes validation losses. `saving_lora_share` and `saving_full_share` say how much less than unquantized LoRA and
    than full tuning of the same model it is. Random weights (`shape_only`) need the same bytes.
    """
    runs = runs[runs["training"].notna()]
    runs = runs.assign(method=_plain_labels(runs), label=_labels(runs))
    runs["step_seconds"] = runs.get("train_seconds", np.nan) / runs.get("train_steps", np.nan)
    by = ["model", "method", "label", "precision", "shape_only", "device"]
    parts = {f"train_{part}": part for part in PARTS}
    frame = counts(runs, by, ["memory_bytes", "total_parameters", "step_seconds", *parts]).reset_index()
    return _memory_table(frame.rename(columns=parts).assign(measured=frame["device"].map(_measured)))


def predicted_memory(entries: Sequence[tuple[str, spec.Method, str, Any]], *, device: str) -> Table:
    """The same for predictions: each a model, a method, a precision, and their memory.Prediction on `device`.

    Parts of a prediction need not peak at the same time, so on a GPU they may add up to more than `memory_bytes`.
    """
    about = {"device": device, "measured": "predicted", "status": results.OK, "seeds": 0, "shape_only": False}
    lines = [
        {"model": model, "method": spec.label(method), "kind": spec.kind(method, precision), "precision": precision}
        | {"settings": {"method": {"kind": method.kind, **vars(method)}, "precision": precision}}
        | {part: getattr(predicted, part) for part in PARTS}
        | {"memory_bytes": predicted.train_peak_bytes, **about}
        for model, method, precision, predicted in entries
    ]
    names = ["model", "method", "kind", "precision", "settings", *PARTS, *about]
    frame = pd.DataFrame(lines, columns=None if lines else names).assign(label=_labels)
    if device != "cuda":
        frame["memory_bytes"] = frame[[*PARTS]].astype(float).sum(axis=1, skipna=False)
    return _memory_table(frame)


def measured_vs_predicted(measured: pd.DataFrame, predicted: pd.DataFrame) -> Table:
    """The lines of `memory` that `predicted_memory` has, too: `memory_bytes`, `predicted_bytes` and their `error`.

    The error is a share of the measured value, above 0 if we predicted too much. On a CPU, both exclude logits: we
    measure those that a step keeps, and predict the most that exist at once.
    """
    keys = ["model", "method", "precision"]
    measured, predicted = (
        table.assign(memory_bytes=table["memory_bytes"] - table["logits_bytes"].where(table["device"] != "cuda", 0))
        for table in (measured, predicted)
    )
    predicted = predicted[[*keys, "memory_bytes"]].rename(columns={"memory_bytes": "predicted_bytes"})
    both = measured.dropna(subset="memory_bytes").merge(predicted, on=keys)
    both["measured"] = both["measured"].where(both["device"] == "cuda", "tensors without logits")
    both["error"] = both["predicted_bytes"] / both["memory_bytes"] - 1
    frame = both[[*keys, "label", "kind", "device", "measured", "memory_bytes", "predicted_bytes", "error"]]
    heads = {"label": "method", "memory_bytes": "measured", "error": "predicted minus measured (%)"}
    note = f"Measured: {' and '.join(frame['measured'].unique()) or 'nothing'}."
    return Table(frame, (note,), columns=("model", "label", "memory_bytes", "predicted_bytes", "error"), heads=heads)


def quality_memory(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Table:
    """A `comparison` of trained methods with the `memory_bytes` of each, and whether it is on the `pareto` front.

    No other method is better in score or memory without being worse in the other than one on the front.
    """
    runs = runs[runs["training"].notna() & ~runs["shape_only"].astype(bool)]
    frame = comparison(runs, answers, metrics=[metric]).frame
    if frame.empty:
        return Table(frame)
    groups = named(runs.assign(measured=runs["device"].map(_measured))).astype({"method": object}).groupby("method")
    frame = frame.join(groups[["precision", "measured"]].first()).join(groups["memory_bytes"].mean())
    points = frame.reindex(columns=[metric, "memory_bytes"]).astype(float) * [1, -1]
    frame["pareto"] = stats.front(points.to_numpy())
    return Table(frame, columns=("method", metric, "memory_bytes", "pareto", "seeds"))


def cards(plans: Mapping[str, list[Any] | str], sizes: Mapping[str, float]) -> Table:
    """One line per card and way that fits, from memory.plan: card -> its options, or the sentence why nothing fits.

    `sizes` are the cards' GiB.
    """
    names = ("precision", "device_batch", "accumulation", "gradient_checkpointing", "optimizer", "peak_bytes")
    lines = []
    for card, options in sorted(plans.items(), key=lambda item: (sizes[item[0]], item[0])):
        whole = {"card": card, "card_bytes": sizes[card] * GIB}
        if isinstance(options, str):
            lines.append(whole | {"method": "nothing fits", "why": options})
            continue
        for option in options:
            own = {name: getattr(option, name) for name in names}
            lines.append(whole | {"method": option.method.kind, "card_share": option.share} | own)
    frame = pd.DataFrame(lines, columns=["card", "card_bytes", "method", *names, "card_share", "why"])
    heads = {"card_bytes": "memory", "device_batch": "rows a pass", "accumulation": "passes a step"}
    heads |= {"card_share": "of the card (%)", "peak_bytes": "peak", "gradient_checkpointing": "checkpointing"}
    note = "Predicted from the configuration. We keep 8 % of a card and 0.5 GiB free."
    shown = ("card", "method", "precision", "device_batch", "gradient_checkpointing", "peak_bytes", "why")
    return Table(frame, (note,), columns=shown, heads=heads, group="card")


def break_even(runs: pd.DataFrame, answers: pd.DataFrame, *, metric: str = "em@1") -> Table:
    """One line per ICL or RAG method: after how many questions training `base` and asking it costs no more.

    `base` is LoRA where it has run, else the first PEFT method. In tokens and in seconds, means over seeds:
    `tokens_once` for training, `tokens_base` and `tokens_method` per question, `tokens_queries` (None:
    `tokens_queries_why` gives the reason). The line also has `base` minus the method in `metric`. What `priced` gives
    is counted in `money`, too, and what a device told in `joules`, which the short table leaves out.
    """
    units = UNITS | ({"money": "of your money"} if "train_money" in runs else {})
    told = {"joules": "joules"} if runs.get("generate_joules", pd.Series(dtype=float)).notna().any() else {}
    runs, answers = labelled(runs, answers)
    runs = runs[runs["status"] == results.OK]
    peft = runs.loc[runs["family"] == "PEFT", "method"].sort_values().unique()  # in the house order
    trained, runs = results.stand_in(list(peft)), runs.astype({"method": object})
    frame = counts(runs[runs["family"].isin(PROMPTING)], ["method"])[["kind", "family", "seeds"]]
    frame = frame if trained else frame[:0]
    means = _query_costs(runs, metric)
    own, base_kind = means.reindex([trained]).iloc[0], runs.loc[runs["method"] == trained, "kind"].max()
    frame = frame.assign(
        base=trained, base_kind=base_kind, score=means["score"].reindex(frame.index), base_score=own["score"]
    )
    machines = runs["provenance"].map(_machines).groupby(runs["method"]).agg(lambda sets: set().union(*sets))
    mixed = [len(machines[trained] | machines[label]) > 1 for label in frame.index]
    for unit in units | told:
        frame = frame.assign(**_even(own, means[unit].reindex(frame.index), unit, [] if unit == "tokens" else mixed))
    answers = answers[answers["method"].isin([trained, *frame.index])]
    frame = frame.join(turned(tests(answers, "method", metric, {"method": trained})))
    if frame.empty:
        note = "There is nothing to compare: it takes a trained method and one that prompts."
        return Table(frame, (note,), columns=())
    once = [f"{number(own[f'{unit}_once'])} {words}" for unit, words in units.items() if pd.notna(own[f"{unit}_once"])]
    spent = f"Training {trained} once costs {' or '.join(once)}." if once else "Training's cost is not known."
    heads = {"difference": f"{SCORES[metric]} of {trained} against it (points)", "verdict": f"so {trained} is"}
    for unit in units | told:
        heads[f"{unit}_queries"] = f"cheaper in {unit} from (queries)"
        heads |= {f"{unit}_base": f"{unit} per query, {trained}", f"{unit}_method": f"{unit} per query"}
    shown = [unit for unit in units if unit != "seconds" or "money" not in units]  # which cost the same everywhere
    columns = ("method", *(f"{unit}_queries" for unit in shown), "difference", "verdict")
    notes = (f"{spent} For PEFT stands {trained}, whatever it scores.", BREAK_EVEN, PRICED * ("money" in units))
    return Table(frame, notes, columns=columns, heads=heads)


def check_price(price: float) -> None:
    """Raises ValueError where it is no price."""
    if isinstance(price, bool | str) or not 0 <= price < np.inf:
        raise ValueError(f"price must be that of an hour, above 0, or 0 for none; got {price!r}")


def priced(runs: pd.DataFrame, price: float) -> pd.DataFrame:
    """The runs with what their seconds cost at the `price` of an hour of the machine: `train_money`, `generate_money`.

    In any currency; 0: the runs as they are. Runs side by side share an hour.
    """
    check_price(price)
    if not price:
        return runs
    a_second = price / 3600 / runs["provenance"].map(lambda made: made.get("processes") or 1)
    return runs.assign(**{f"{phase}_money": runs.get(f"{phase}_seconds", np.nan) * a_second for phase in PAID})


def soft_cost(benchmark: Benchmark) -> Table:
    """PEFT-Bench's PSCP for each trained method of each model: a score that costs lower.

    P × (1 + parameters / 5e8)⁻¹ × (1 + teraflops / 10)⁻¹ × (1 + gigabytes / 94)⁻¹, with P the deciding score in
    percent; `parameters` are the trained ones, `gigabytes` (of 10⁹ bytes) the memory of training, both measured.
    `teraflops` count reading one prompt, beyond what the model alone needs for the zero-shot prompt: two for each
    weight and token, computed from measured tokens and weights. NaN if something is unknown.
    """
    metric, by, runs = benchmark.metric, ["model", "method"], benchmark.runs.astype({"method": object})
    virtual = runs["settings"].map(lambda settings: settings["method"].get("virtual_tokens", 0))
    groups = runs.assign(score=runs.get(metric), virtual=virtual).where(runs["status"] == results.OK).groupby(by)
    frame = counts(benchmark.runs, by).join(groups.agg({"score": "mean", "memory_bytes": "max", "virtual": "first"}))
    frame = frame.rename(columns={"trainable_parameters": "parameters"}).assign(metric=metric).reset_index()
    frame["gigabytes"] = frame["memory_bytes"] / 1e9
    zero_tokens = frame["model"].map(frame[frame["kind"] == "zero-shot"].set_index("model")["prompt_tokens"])
    added = frame["parameters"].mask(frame["kind"].isin(MERGED), 0.0)
    tokens = frame["prompt_tokens"] + frame["virtual"].where(frame["kind"].isin(READ), 0)
    base_flops = 2 * frame["total_parameters"] * zero_tokens.fillna(frame["prompt_tokens"])
    flops = 2 * (frame["total_parameters"] + added) * tokens - base_flops
    frame = frame.assign(teraflops=(flops / 1e12).clip(lower=0.0), pscp=100 * frame["score"])
    for name, halving in HALVING.items():
        frame["pscp"] /= 1 + frame[name] / halving
    frame = frame[frame["family"].isin(TRAINED) & (frame["status"] == results.OK)]
    frame = frame[["model", "method", "metric", "score", *HALVING, "pscp", "seeds"]]
    frame = frame.sort_values(["model", "pscp"], ascending=[True, False], kind="stable", ignore_index=True)
    note = (
        "PSCP of PEFT-Bench: percent × 1/(1 + parameters/5e8) × 1/(1 + TFLOP/10) × 1/(1 + GB/94). Its constants are "
        "made for models of billions of parameters: of a small one it leaves the score nearly as it is."
    )
    heads = {"parameters": "trained parameters", "score": f"{SCORES[metric]} (%)"}
    columns = ("model", "method", "score", *HALVING, "pscp", "seeds")
    return Table(frame, (note,), columns=columns, heads=heads, group="model")


def unquantized(lines: pd.DataFrame) -> pd.Series | None:
    """The line of these that quantized ones are compared with: of the type that they compute in.

    That is half precision on a GPU, and fp32 on a CPU; the other one where that was not run.
    """
    lines = lines[lines["memory_bytes"].notna() & ~lines["precision"].isin(spec.QUANTIZED)]
    if lines.empty:
        return None
    wanted = ("bf16", "fp16", "fp32") if lines["device"].iloc[0] == "cuda" else ("fp32", "bf16", "fp16")
    return lines.iloc[int(np.argmin([wanted.index(precision) for precision in lines["precision"]]))]


def _measured(device: str) -> str:
    return "allocated peak" if device == "cuda" else "sum of tensors"


def _plain_labels(runs: pd.DataFrame) -> pd.Series:
    """The methods' names without their precisions: QLoRA is lora."""
    return runs["settings"].map(lambda settings: results.label({**settings, "precision": "fp32"})).astype(object)


def _labels(runs: pd.DataFrame) -> pd.Series:
    """The methods' names among those of the same model: QLoRA is qlora-4bit, and `lora bf16` is not the usual lora."""
    settings = runs["settings"].map(lambda own: {name: own[name] for name in ("method", "precision")})
    return settings.groupby(runs["model"]).transform(lambda own: pd.Series(names(list(own)), own.index, dtype=object))


def _memory_table(frame: pd.DataFrame) -> Table:
    """With labels, what is left for `other`, and savings; in order of size, method and precision."""
    about = ["model", "method", "label", "kind", "precision", "device", "measured", "status", "shape_only", "seeds"]
    measures = [*PARTS, "other_bytes", "memory_bytes", "step_seconds", "step_seconds_sd", "total_parameters"]
    frame = frame.reindex(columns=[*about, *measures]).astype(dict.fromkeys(measures, float))
    other = (frame["memory_bytes"] - frame[PARTS].sum(axis=1, skipna=False)).clip(lower=0.0)
    frame["other_bytes"] = other.where(frame["device"] == "cuda", 0 * other)
    sizes = frame.groupby("model")["total_parameters"].transform("max")
    sizes = sizes.fillna(frame.groupby("model")["weights_bytes"].transform("max")).fillna(0)
    kinds = [[*KINDS, method].index(method) for method in frame["method"].str.split(" ").str[0]]
    precisions = [spec.PRECISIONS.index(precision) for precision in frame["precision"]]
    order = np.lexsort((precisions, kinds, frame["model"].astype(str), sizes))
    frame = frame.iloc[order].reset_index(drop=True).assign(saving_lora_share=np.nan, saving_full_share=np.nan)
    for _, lines in frame.groupby("model"):
        for method in ("lora", "full"):
            base = unquantized(lines[lines["method"] == method])
            if base is not None:
                saving = 1 - lines["memory_bytes"] / base["memory_bytes"]
                frame.loc[lines.index, f"saving_{method}_share"] = saving
    frame["name"] = frame["model"] + frame["shape_only"].map({True: "*", False: ""})
    notes = (
        "GiB, MiB and KiB are powers of two: 1 GiB is 2^30 bytes. On a CPU memory is the sum of a step's tensors, so "
        "nothing is left for other; on a GPU it is the allocated peak, and other is what these tensors do not explain.",
        RANDOM if frame["shape_only"].any() else "",
    )
    columns = ("name", "label", "precision", "memory_bytes", "saving_lora_share", "saving_full_share", "step_seconds")
    heads = {"name": "model", "label": "method", "memory_bytes": "memory"}
    return Table(frame, notes, columns=columns, heads=heads, group="name")


def _even(own: pd.Series, others: pd.Series, unit: str, mixed: Sequence[bool]) -> dict[str, Any]:
    """When methods with those costs a query have cost as much as the trained one, or why there is no such number."""
    once, ours = own[f"{unit}_once"], own[unit]
    why = pd.Series(None, index=others.index, dtype=object)
    why[others <= ours] = f"never: {own.name} is not cheaper per query"
    why[list(mixed) or [False] * len(why)] = "measured on different machines"
    why[others.isna() | pd.isna(once + ours)] = "not measured"
    queries = np.ceil(once / (others - ours)).where(why.isna())
    costs = {"once": once, "base": ours, "method": others, "queries": queries, "queries_why": why}
    return {f"{unit}_{name}": values for name, values in costs.items()}


def _query_costs(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Means over the seeds of each method: its score, what a query costs, and what training costs once.

    A run has tokens as means over queries already, but seconds of all of them.
    """
    units = ("seconds", "money", "joules")
    phases = [f"{phase}_{unit}" for phase in PAID for unit in units]
    names = ["prompt_tokens", "new_tokens", "examples", "train_tokens", *phases, metric]
    costs = runs.reindex(columns=names).astype(float)
    query = {"tokens": costs["prompt_tokens"] + costs["new_tokens"]}
    query |= {unit: costs[f"generate_{unit}"] / costs["examples"].replace(0, np.nan) for unit in units}
    once = {"tokens_once": PASSES * costs["train_tokens"]} | {f"{unit}_once": costs[f"train_{unit}"] for unit in units}
    return pd.DataFrame({"score": costs[metric], **query, **once}).groupby(runs["method"]).mean()


def _machines(provenance: Mapping) -> set[str]:
    """The machine of a run, if it says one; seconds of different ones do not compare."""
    names = ("device", "device_name", "threads", "processes")
    return {str([provenance.get(name) for name in names])} if provenance.get("device") else set()

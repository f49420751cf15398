"""Bytes, seconds and tokens of runs as tables, also beside their scores. Measures nothing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from nblib import results, spec, stats
from nblib.tables.labels import KINDS, labelled, named
from nblib.tables.scores import TESTED, comparison, has
from nblib.tables.show import SCORES, Table, listed, number

PARTS = ("weights", "adapter", "gradients", "optimizer", "activations", "logits")
COLUMNS = [f"{part}_bytes" for part in (*PARTS, "other")]
MEASURED = {  # by device: an allocator tells what was there at once, a CPU's resident set is that of all of Python
    "cuda": "allocated peak",
    "cpu": "sum of tensors",
}
WITHOUT_LOGITS = "tensors without logits"
NUMBERS = (*COLUMNS, "memory_bytes", "step_seconds", "total_parameters", "saving_lora_share", "saving_full_share")
PROMPTING = ("ICL", "RAG")  # families whose prompts are longer than the question
PASSES = 3  # forward passes that a training token costs: its own, and two for the backward pass, as is usual to count
UNITS = ("tokens", "seconds")
GIB = 2**30


class Predicted(Protocol):
    """What is read of a memory.Prediction."""

    @property
    def train_peak_bytes(self) -> int | None: ...


def memory_bytes(runs: pd.DataFrame) -> pd.Series:
    """What training held: the allocated peak on a GPU, the sum of a step's tensors on a CPU; NaN: not measured."""
    parts = runs.reindex(columns=[f"train_{part}_bytes" for part in PARTS]).astype(float).sum(axis=1, skipna=False)
    peaks = runs.reindex(columns=["train_peak_bytes"])["train_peak_bytes"].astype(float)
    return peaks.where(_device(runs) == "cuda", parts).where(runs["status"] == results.OK)


def memory(runs: pd.DataFrame) -> Table:
    """One line a model, trained method and precision, the smallest model first: means over seeds, in bytes.

    `weights_bytes`, `adapter_bytes`, `gradients_bytes`, `optimizer_bytes`, `activations_bytes` and `logits_bytes` are
    tensors of a training step. `memory_bytes` is the allocated peak of training on a GPU, of which `other_bytes` are
    none of these; on a CPU it is their sum (`measured` says which). `step_seconds` has the validation losses in it.
    `saving_lora_share` and `saving_full_share` are the shares of `memory_bytes` less than LoRA without quantization and
    than full tuning need, of the same model. Runs of random weights (`shape_only`) are taken: they need the same bytes.
    """
    trained = runs[runs["training"].notna()].sort_index()
    trained = trained.assign(
        memory_bytes=memory_bytes(trained),
        device=_device(trained),
        text=trained["settings"].map(lambda settings: str(settings["method"])),
    )
    found = [
        _memory_line(part)
        for _, part in trained.groupby(["model", "text", "precision", "shape_only", "device"], sort=False)
    ]
    return _memory_table(found)


def foreseen(entries: Sequence[tuple[str, spec.Method, str, Predicted]], *, device: str) -> Table:
    """The same of predictions: each a model, a method, a precision, and what memory.predict says of them on `device`.

    Kinds of a prediction need not be there at the same time: they may add up to more than `memory_bytes` on a GPU.
    """
    lines = []
    for model, method, precision, predicted in entries:
        parts = {f"{part}_bytes": getattr(predicted, f"{part}_bytes") for part in PARTS}
        called, kind = spec.label(method), spec.kind(method, precision)
        line = {"model": model, "method": called, "kind": kind, "precision": precision} | parts
        line |= {"label": f"{called} {precision}"}
        whole = None if any(each is None for each in parts.values()) else sum(parts.values())
        line |= {"memory_bytes": predicted.train_peak_bytes if device == "cuda" else whole, "device": device}
        lines.append(line | {"measured": "predicted", "status": results.OK, "seeds": 0, "shape_only": False})
    return _memory_table(lines)


def beside_predicted(measured: pd.DataFrame, predicted: pd.DataFrame) -> Table:
    """The lines of a `memory` that a `foreseen` has, too: `memory_bytes`, `predicted_bytes` and their `error_share`.

    The error is a share of what was measured: above 0 where too much was predicted. On a CPU both are without logits:
    what is measured are those that a step keeps, and what is predicted is the most that there is of them at once.
    """
    keys = ["model", "method", "precision"]
    known = predicted[keys].assign(predicted_bytes=_comparable(predicted))
    both = measured.assign(memory_bytes=_comparable(measured)).merge(known, on=keys, how="inner")
    both = both[both["memory_bytes"].notna()].reset_index(drop=True)
    both.loc[both["device"] != "cuda", "measured"] = WITHOUT_LOGITS
    both["error"] = both["predicted_bytes"] / both["memory_bytes"] - 1
    frame = both[[*keys, "label", "kind", "device", "measured", "memory_bytes", "predicted_bytes", "error"]]
    heads = {"label": "method", "memory_bytes": "measured", "error": "predicted minus measured (%)"}
    measures = listed([str(each) for each in frame["measured"].unique()]) if len(frame) else "nothing"
    columns = ("model", "label", "memory_bytes", "predicted_bytes", "error")
    return Table(frame, (f"Measured: {measures}.",), columns=columns, heads=heads)


def quality_memory(runs: pd.DataFrame, answers: pd.DataFrame, metric: str = "em@1") -> Table:
    """A `comparison` of trained methods with the `memory_bytes` of each, and whether it is on the `pareto` front.

    On the front is what no other method beats in one of score and memory without being worse in the other. Runs of
    random weights have no quality and are left out. Raises ValueError as `comparison` does.
    """
    has(runs, metric)
    runs = runs[runs["training"].notna() & ~runs["shape_only"].astype(bool)]
    frame = comparison(runs, answers, metrics=[metric]).frame
    if frame.empty:
        return Table(frame)
    about = named(runs).assign(memory_bytes=memory_bytes(runs), device=_device(runs)).groupby("method", observed=True)
    frame["precision"] = about["precision"].first().astype(object)
    frame["measured"] = about["device"].first().map(_measured).astype(object)
    frame["memory_bytes"] = about["memory_bytes"].mean()
    own = about["settings"].first().map(lambda settings: results.label({**settings, "precision": "fp32"}))
    names = [f"{own[label]} {precision}" for label, precision in frame["precision"].items()]
    if len(set(names)) == len(names):
        frame.index = pd.Index(names, name="method")
    frame["pareto"] = [metric in frame and _is_best(frame, metric, place) for place in range(len(frame))]
    return Table(frame, columns=("method", metric, "memory_bytes", "pareto", "seeds"))


def cards(plans: Mapping[str, Sequence[Any] | str], sizes: Mapping[str, float]) -> Table:
    """One line a card and way that fits: card -> the options of memory.plan, or the sentence of why there is none.

    `card_bytes` from `sizes` (card -> GiB); `method`, `precision`, `device_batch`, `accumulation`,
    `gradient_checkpointing`, `optimizer`, `peak_bytes` and `card_share` are those of memory.Option; `why` the sentence.
    """
    names = ("precision", "device_batch", "accumulation", "gradient_checkpointing", "optimizer", "peak_bytes")
    lines = []
    for card, options in sorted(plans.items(), key=lambda each: (sizes[each[0]], each[0])):
        whole = {"card": card, "card_bytes": sizes[card] * GIB}
        for option in [options] if isinstance(options, str) else options:
            if isinstance(option, str):
                lines.append(whole | {"method": "nothing fits", "why": option})
            else:
                about = {"method": option.method.kind, "card_share": option.share}
                lines.append(whole | about | {name: getattr(option, name) for name in names})
    frame = pd.DataFrame(lines, columns=["card", "card_bytes", "method", *names, "card_share", "why"])
    heads = {"card_bytes": "memory", "device_batch": "rows a pass", "accumulation": "passes a step"}
    heads |= {"card_share": "of the card (%)", "peak_bytes": "peak"}
    shown = tuple(name for name in frame if name != "why" or frame["why"].notna().any())
    note = "Predicted from the configuration; 8 % of a card and 0.5 GiB stay free."
    return Table(frame, (note,), columns=shown, heads=heads)


def break_even(runs: pd.DataFrame, answers: pd.DataFrame, *, base: str | None = None, metric: str = "em@1") -> Table:
    """One line an ICL or RAG method: from how many queries on one training of `base` and its queries cost no more.

    `base` is the label of a trained method; None: the PEFT method that scores best. In tokens and in seconds, means
    over seeds: `tokens_once` of training, `tokens_base` and `tokens_method` a query, `tokens_queries` (None:
    `tokens_why` says the reason). Beside it `base` minus the method in `metric`, with interval, p after Holm over the
    lines, and verdict. Without a trained method or without a prompting one the frame is empty.
    Raises ValueError for a base that is no trained method with a result.
    """
    runs, answers = labelled(runs, answers)
    runs = runs[runs["status"] == results.OK].copy()
    trained = _trained_base(runs, base, metric)
    prompting = runs[runs["family"].isin(PROMPTING)]
    columns = [f"{unit}_{name}" for unit in UNITS for name in ("once", "base", "method", "queries", "why")]
    names = ["kind", "family", "base", "base_kind", "score", "base_score", *columns, *TESTED[:4], "n", "verdict"]
    if trained is None or prompting.empty:
        frame = pd.DataFrame(columns=names, index=pd.Index([], name="method", dtype=object))
        return Table(
            frame, ("There is nothing to compare: it takes a trained method and one that prompts.",), columns=()
        )
    mine = runs[runs["method"] == trained]
    lines = {}
    for label, part in prompting.groupby("method", observed=True):
        line = {"kind": part["kind"].iloc[0], "family": part["family"].iloc[0], "base": trained}
        line |= {"base_kind": mine["kind"].iloc[0], "score": _mean(part, metric), "base_score": _mean(mine, metric)}
        lines[label] = line | _even(mine, part, "tokens") | _even(mine, part, "seconds")
    frame = pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")
    asked = answers[answers["run"].isin([*mine.index, *prompting.index])]
    tests = stats.summarise(asked, "method", metric, base={"method": trained}).astype({"method": object})
    tests = tests.set_index("method").rename(columns={"pairs": "n"})
    low, high = -tests["difference_high"], -tests["difference_low"]
    tests = tests.assign(difference=-tests["difference"], difference_low=low, difference_high=high)
    tests["verdict"] = tests["verdict"].map({"higher": "lower", "lower": "higher", "tie": "tie"})
    frame = frame.join(tests[[*TESTED[:4], "n", "verdict"]]).reindex(columns=names)
    first = frame.iloc[0]
    once = [
        f"{number(first[f'{unit}_once'])} {said}" for unit, said in _ONCE.items() if pd.notna(first[f"{unit}_once"])
    ]
    spent = f"Training {trained} once costs {' or '.join(once)}." if once else "Training's cost is not known."
    heads = {f"{unit}_queries": f"cheaper in {unit} from (queries)" for unit in UNITS}
    heads |= {f"{unit}_base": f"{unit} a query, {trained}" for unit in UNITS}
    heads |= {f"{unit}_method": f"{unit} a query" for unit in UNITS}
    heads |= {f"{unit}_why": f"why none in {unit}" for unit in UNITS if frame[f"{unit}_why"].notna().any()}
    heads |= {"difference": f"{SCORES[metric]} of {trained} beside it (points)", "verdict": f"so {trained} is"}
    told = [f"{unit}_{name}" for unit in UNITS for name in ("queries", "why", "base", "method")]
    shown = ("method", *(name for name in told if frame[name].notna().any()), "difference", "p", "verdict")
    return Table(frame, (spent, CAPTION), columns=shown, heads=heads)


CAPTION = (
    f"Training counts once: every training token, all epochs, as {PASSES} forward passes (the backward pass costs "
    "about two), without validation; in seconds as measured, validation included. A query counts its prompt "
    "once and the tokens of all its answers. Differences are paired over the same examples; p with Holm's correction "
    "over the lines."
)
_ONCE = {"tokens": "tokens of forward passes", "seconds": "seconds"}


def _device(runs: pd.DataFrame) -> pd.Series:
    return runs["provenance"].map(lambda origin: str(origin.get("device", "cpu"))).astype(object)


def _measured(device: str) -> str:
    return MEASURED.get(device, MEASURED["cpu"])


def _memory_line(runs: pd.DataFrame) -> dict:
    """One line of runs that differ in their seed only."""
    well, first = runs[runs["status"] == results.OK], runs.iloc[0]
    plain = results.label({**first["settings"], "precision": "fp32"})
    bad = results.OUT_OF_MEMORY if (runs["status"] == results.OUT_OF_MEMORY).any() else results.FAILED
    line = {"model": first["model"], "method": plain, "kind": first["kind"], "precision": first["precision"]}
    line |= {"label": f"{plain} {first['precision']}", "shape_only": bool(first["shape_only"])}
    line |= {"device": first["device"], "measured": _measured(first["device"])}
    line |= {"status": results.OK if len(well) else bad, "seeds": len(well)}
    line |= {f"{part}_bytes": _mean(well, f"train_{part}_bytes") for part in PARTS}
    seconds, steps = _mean(well, "train_seconds"), _mean(well, "train_steps")
    line |= {"step_seconds": seconds / steps if seconds is not None and steps else None}
    return line | {"memory_bytes": _mean(well, "memory_bytes"), "total_parameters": _mean(well, "total_parameters")}


def _memory_table(lines: list[dict]) -> Table:
    texts = ["model", "method", "kind", "precision", "label", "device", "measured", "status", "shape_only", "seeds"]
    frame = pd.DataFrame(lines, columns=[*texts, *NUMBERS]).astype(dict.fromkeys(NUMBERS, float))
    rest = frame["memory_bytes"] - frame[[f"{part}_bytes" for part in PARTS]].sum(axis=1, skipna=False)
    frame["other_bytes"] = rest.clip(lower=0.0).where((frame["device"] == "cuda") | rest.isna(), 0.0)
    sizes = frame.groupby("model")["total_parameters"].max().fillna(frame.groupby("model")["weights_bytes"].max())
    order = frame.assign(
        _size=frame["model"].map(sizes).fillna(0),
        _method=[[*KINDS, each].index(each) for each in frame["method"].str.split(" ").str[0]],
        _precision=[spec.PRECISIONS.index(each) for each in frame["precision"]],
    ).sort_values(["_size", "model", "_method", "_precision"], kind="stable")
    frame = frame.loc[order.index].reset_index(drop=True)
    for model, members in frame.groupby("model"):
        for column, reference in (("saving_lora_share", "lora"), ("saving_full_share", "full")):
            base = unquantized(members[members["method"] == reference])
            if base is not None:
                own = frame["model"] == model
                frame.loc[own, column] = 1 - frame.loc[own, "memory_bytes"] / base["memory_bytes"]
    shown = frame.assign(name=frame["model"] + ["*" * each for each in frame["shape_only"].astype(bool)])
    notes = ["GiB, MiB and KiB are powers of two: 1 GiB is 2^30 bytes."]
    notes += ["On a CPU memory is the sum of a step's tensors, so nothing is left for other."] * bool(
        (frame["measured"] == MEASURED["cpu"]).any()
    )
    notes += ["On a GPU memory is the allocated peak of training; other is what its tensors do not explain."] * bool(
        (frame["measured"] == MEASURED["cuda"]).any()
    )
    notes += ["*: the real architecture with random weights, which need the same memory."] * bool(
        frame["shape_only"].any()
    )
    columns = ("name", "method", "precision", "memory_bytes", *COLUMNS, "saving_lora_share", "saving_full_share")
    return Table(
        shown, tuple(notes), columns=(*columns, "step_seconds"), heads={"name": "model", "memory_bytes": "memory"}
    )


def unquantized(members: pd.DataFrame) -> pd.Series | None:
    """The line of these that quantized ones are compared with: of the type that they compute in.

    That is half precision on a GPU, and fp32 on a CPU; the other one where that was not run.
    """
    there = members[members["memory_bytes"].notna() & ~members["precision"].isin(spec.QUANTIZED)]
    if there.empty:
        return None
    wanted = ("bf16", "fp16", "fp32") if there["device"].iloc[0] == "cuda" else ("fp32", "bf16", "fp16")
    return there.iloc[int(min(range(len(there)), key=lambda place: wanted.index(there["precision"].iloc[place])))]


def _comparable(frame: pd.DataFrame) -> pd.Series:
    return frame["memory_bytes"].where(frame["device"] == "cuda", frame["memory_bytes"] - frame["logits_bytes"])


def _is_best(frame: pd.DataFrame, metric: str, place: int) -> bool:
    scores, needed = frame[metric], frame["memory_bytes"]
    score, memory = scores.iloc[place], needed.iloc[place]
    as_good = (scores >= score) & (needed <= memory)
    return bool(pd.notna(score) and pd.notna(memory) and not (as_good & ((scores > score) | (needed < memory))).any())


def _mean(runs: pd.DataFrame, name: str) -> float | None:
    """Mean over seeds; None where no run says it."""
    value = runs[name].astype(float).mean() if name in runs and len(runs) else math.nan
    return None if math.isnan(value) else float(value)


def _trained_base(runs: pd.DataFrame, label: str | None, metric: str) -> str | None:
    if label is None:
        peft = runs[runs["family"] == "PEFT"]
        means = (
            peft.groupby("method", observed=True)[metric].mean().dropna() if metric in peft else pd.Series(dtype=float)
        )
        return None if means.empty else str(means.idxmax())
    trained = runs[runs["family"].isin(("PEFT", "full fine-tuning"))]["method"].sort_values()
    if label not in set(trained):
        known = ", ".join(dict.fromkeys(trained)) or "none, because no trained method has a result"
        raise ValueError(f"base must be a trained method with a result ({known}); got {label!r}")
    return label


def _even(base: pd.DataFrame, method: pd.DataFrame, unit: str) -> dict:
    """What one training costs, what a query of both costs, and how many queries make up for it."""
    tokens = _mean(base, "train_tokens")
    once = _mean(base, "train_seconds") if unit == "seconds" else None if tokens is None else PASSES * tokens
    ours, theirs = _a_query(base, unit), _a_query(method, unit)
    queries, why = None, None
    if once is None or ours is None or theirs is None:
        why = "not measured"
    elif unit == "seconds" and len(_machines(base) | _machines(method)) > 1:
        why = "measured on different devices, or numbers of threads or processes"
    elif theirs <= ours:
        why = f"never: {base['method'].iloc[0]} is not cheaper a query"
    else:
        queries = math.ceil(once / (theirs - ours))
    values = {"once": once, "base": ours, "method": theirs, "queries": queries, "why": why}
    return {f"{unit}_{name}": value for name, value in values.items()}


def _a_query(runs: pd.DataFrame, unit: str) -> float | None:
    """Mean over seeds; a run has tokens as means over queries already, but seconds of all of them."""
    if unit == "seconds":
        pair = runs.reindex(columns=["generate_seconds", "examples"]).astype(float)
        return _mean(pair.assign(seconds=pair["generate_seconds"] / pair["examples"].replace(0, math.nan)), "seconds")
    prompt, new = _mean(runs, "prompt_tokens"), _mean(runs, "new_tokens")
    return None if prompt is None or new is None else prompt + new


def _machines(runs: pd.DataFrame) -> set[str]:
    """Of the runs that say it; seconds of different ones do not compare."""
    names = ("device", "device_name", "threads", "processes")
    return {str([each.get(name) for name in names]) for each in runs["provenance"] if each.get("device")}

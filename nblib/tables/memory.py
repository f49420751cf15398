"""Bytes of training by model, precision and method, and what quantization saves of them. Runs nothing."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from nblib import results, spec, stats
from nblib.results import Row
from nblib.tables import frame as framing
from nblib.tables.groups import KINDS, groups, kind
from nblib.tables.shown import NOTHING, STATUS, Shown, size, table

PARTS = ("weights", "adapter", "gradients", "optimizer", "activations", "logits")
COLUMNS = [f"{part}_bytes" for part in (*PARTS, "other")]
MEASURED = {  # by device: an allocator tells what was there at once, a CPU's resident set is that of all of Python
    "cuda": "allocated peak",
    "cpu": "sum of tensors",
}
WITHOUT_LOGITS = "tensors without logits"
NUMBERS = (*COLUMNS, "memory_bytes", "step_seconds", "total_parameters", "saving_lora", "saving_full")


class Predicted(Protocol):
    """What is read of a memory.Prediction."""

    @property
    def train_peak_bytes(self) -> int | None: ...


def memory(rows: Iterable[Row]) -> pd.DataFrame:
    """One line a model, trained method and precision, the smallest model first: means over seeds, in bytes.

    `weights_bytes`, `adapter_bytes`, `gradients_bytes`, `optimizer_bytes`, `activations_bytes` and `logits_bytes` are
    tensors of a training step. `memory_bytes` is the allocated peak of training on a GPU, of which `other_bytes` are
    none of these; on a CPU it is their sum (`measured` says which). `step_seconds` has the validation losses in it.
    `saving_lora` and `saving_full` are the shares of `memory_bytes` less than LoRA without quantization and than full
    tuning need, of the same model. Rows of random weights (`shape_only`) are taken, as they need the same bytes.
    """
    collected: dict[tuple, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        if row.settings.get("training"):
            collected.setdefault(_key(row), []).append(row)
    return _framed([_line(members) for members in collected.values()])


def foreseen(entries: Sequence[tuple[str, spec.Method, str, Predicted]], *, device: str) -> pd.DataFrame:
    """The same of predictions: each a model, a method, a precision, and what memory.predict says of them on `device`.

    Kinds of a prediction need not be there at the same time: they may add up to more than `memory_bytes` on a GPU.
    """
    lines = []
    for model, method, precision, predicted in entries:
        known = {part: getattr(predicted, f"{part}_bytes") for part in PARTS}
        settings = {"model": model, "method": {"kind": method.kind}, "precision": precision}
        line = _identity(settings, method) | {"device": device, "measured": "predicted", "status": results.OK}
        lines.append(line | _bytes(known, predicted.train_peak_bytes, device) | {"seeds": 0, "shape_only": False})
    return _framed(lines)


def beside_predicted(measured: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """The lines of a `memory` that a `foreseen` has, too: `memory_bytes`, `predicted_bytes` and their `error`.

    The error is a share of what was measured: above 0 where too much was predicted. On a CPU both are without logits:
    what is measured are those that a step keeps, and what is predicted is the most that there is of them at once.
    """
    keys = ["model", "method", "precision"]
    known = predicted[keys].assign(predicted_bytes=_comparable(predicted))
    both = measured.assign(memory_bytes=_comparable(measured)).merge(known, on=keys, how="inner")
    both = both[both["memory_bytes"].notna()].reset_index(drop=True)
    both.loc[both["device"] != "cuda", "measured"] = WITHOUT_LOGITS
    both["error"] = both["predicted_bytes"] / both["memory_bytes"] - 1
    return both[[*keys, "label", "kind", "device", "measured", "memory_bytes", "predicted_bytes", "error"]]


def quality_memory(rows: Iterable[Row], folder: str | Path, metric: str = "em@1") -> pd.DataFrame:
    """A `comparison` of trained methods with the `memory_bytes` of each, and whether it is on the `pareto` front.

    On the front is what no other method beats in one of score and memory without being worse in the other. Rows of
    random weights have no quality and are left out. Raises ValueError as `comparison` does.
    """
    framing.check(metric)
    trained = [row for row in rows if row.settings.get("training") and not row.settings.get("shape_only")]
    table = framing.comparison(trained, folder, metrics=[metric])
    if table.empty:
        return table
    needed = memory(trained).set_index(["kind", "precision"])
    found = groups(trained, folder)
    keys = [(group.kind, group.settings["precision"]) for group in found]
    table["precision"] = [precision for _, precision in keys]
    table["measured"] = [needed.loc[[key], "measured"].iloc[0] for key in keys]
    table["memory_bytes"] = [_group_bytes(group.rows) for group in found]
    names = [f"{name(spec.method(**group.settings['method']))} {group.settings['precision']}" for group in found]
    if len(set(names)) == len(names):
        table.index = pd.Index(names, name="method")
    table["pareto"] = [metric in table and _is_best(table, place, metric) for place in range(len(table))]
    return table


def _comparable(frame: pd.DataFrame) -> pd.Series:
    return frame["memory_bytes"].where(frame["device"] == "cuda", frame["memory_bytes"] - frame["logits_bytes"])


def shown_memory(frame: pd.DataFrame) -> Shown:
    """The table of a `memory` or a `foreseen`: GiB, or MiB and KiB where GiB would say nothing."""
    notes = ["GiB, MiB and KiB are powers of two: 1 GiB is 2^30 bytes."]
    if (frame["measured"] == MEASURED["cpu"]).any():
        notes.append("On a CPU memory is the sum of a step's tensors, so nothing is left for other.")
    if (frame["measured"] == MEASURED["cuda"]).any():
        notes.append("On a GPU memory is the allocated peak of training; other is what its tensors do not explain.")
    if frame["shape_only"].any():
        notes.append("*: the real architecture with random weights, which need the same memory.")
    return table([_shown(row) for _, row in frame.iterrows()], notes)


def shown_beside_predicted(frame: pd.DataFrame) -> Shown:
    """The table of a `beside_predicted`."""
    lines = [
        {
            "model": row["model"],
            "method": row["label"],
            row["measured"]: size(row["memory_bytes"]),
            "predicted": size(row["predicted_bytes"]),
            "predicted minus measured (%)": f"{100 * row['error']:+.1f}".replace("-", "−"),
        }
        for _, row in frame.iterrows()
    ]
    return table(lines)


def held_bytes(row: Row) -> float | None:
    """What `memory_bytes` is of one row; None where it was not measured."""
    if row.status != results.OK:
        return None
    known = {part: row.costs.get(f"train_{part}_bytes") for part in PARTS}
    device = str(row.provenance.get("device", "cpu"))
    return _bytes(known, row.costs.get("train_peak_bytes"), device)["memory_bytes"]


def name(method: spec.Method) -> str:
    """A method's name without its precision: `lora`, also of a QLoRA."""
    return spec.label(method, "fp32")


def _group_bytes(rows: Iterable[Row]) -> float | None:
    return stats.spread([held_bytes(row) for row in rows]).mean


def _key(row: Row) -> tuple:
    asked = row.settings
    return asked["model"], str(asked["method"]), asked["precision"], bool(asked.get("shape_only")), _device(row)


def _device(row: Row) -> str:
    return str(row.provenance.get("device", "cpu"))


def _identity(settings: dict, method: spec.Method | None) -> dict:
    called = name(method) if method else settings["method"]["kind"]
    return {
        "model": settings["model"],
        "method": called,
        "kind": kind(settings) if method is None else spec.kind(method, settings["precision"]),
        "precision": settings["precision"],
        "label": f"{called} {settings['precision']}",
    }


def _line(rows: Sequence[Row]) -> dict:
    """One line of rows that differ in their seed only."""
    asked = rows[0].settings
    known = asked["method"]["kind"] in spec.METHODS
    well = [row for row in rows if row.status == results.OK]
    costs = {each: stats.spread([row.costs.get(each) for row in well]).mean for row in well for each in row.costs}
    device = _device(rows[0])
    lost = results.OUT_OF_MEMORY if any(row.status == results.OUT_OF_MEMORY for row in rows) else results.FAILED
    seconds, steps = costs.get("train_seconds"), costs.get("train_steps")
    line = _identity(asked, spec.method(**asked["method"]) if known else None) | {
        "shape_only": bool(asked.get("shape_only")),
        "device": device,
        "measured": MEASURED.get(device, MEASURED["cpu"]),
        "status": results.OK if well else lost,
        "seeds": len(well),
        "total_parameters": costs.get("total_parameters"),
        "step_seconds": seconds / steps if seconds is not None and steps else None,
    }
    parts = {part: costs.get(f"train_{part}_bytes") for part in PARTS}
    return line | _bytes(parts, costs.get("train_peak_bytes"), device)


def _bytes(parts: dict, peak: float | None, device: str) -> dict:
    """The parts, what they leave unexplained, and the whole."""
    known = [each for each in parts.values() if each is not None]
    whole = sum(known) if len(known) == len(PARTS) else None
    found = {f"{part}_bytes": each for part, each in parts.items()}
    if device == "cuda":
        other = None if peak is None or whole is None else max(0.0, peak - whole)
        return found | {"other_bytes": other, "memory_bytes": peak}
    return found | {"other_bytes": None if whole is None else 0.0, "memory_bytes": whole}


def _framed(lines: list[dict]) -> pd.DataFrame:
    texts = ["model", "method", "kind", "precision", "label", "device", "measured", "status", "shape_only", "seeds"]
    frame = pd.DataFrame(lines, columns=[*texts, *NUMBERS])
    frame = frame.astype(dict.fromkeys(NUMBERS, float))
    if frame.empty:
        return frame
    weights = frame.groupby("model")["weights_bytes"].max()
    sizes = frame.groupby("model")["total_parameters"].max().fillna(weights)
    order = frame.assign(
        _size=frame["model"].map(sizes).fillna(0),
        _method=[[*KINDS, each].index(each) for each in frame["method"].str.split(" ").str[0]],
        _precision=frame["precision"].map(spec.PRECISIONS.index),
    ).sort_values(["_size", "model", "_method", "_precision"], kind="stable")
    frame = frame.loc[order.index].reset_index(drop=True)
    return _with_savings(frame)


def _with_savings(frame: pd.DataFrame) -> pd.DataFrame:
    for model, members in frame.groupby("model"):
        for column, reference in (("saving_lora", "lora"), ("saving_full", "full")):
            base = unquantized(members[members["method"] == reference])
            if base is not None:
                own = frame["model"] == model
                frame.loc[own, column] = 1 - frame.loc[own, "memory_bytes"] / base["memory_bytes"]
    return frame


def unquantized(members: pd.DataFrame) -> pd.Series | None:
    """The line of these that quantized ones are compared with: of the type that they compute in.

    That is half precision on a GPU, and fp32 on a CPU; the other one where that was not run.
    """
    there = members[members["memory_bytes"].notna() & ~members["precision"].isin(spec.QUANTIZED)]
    if there.empty:
        return None
    wanted = ("bf16", "fp16", "fp32") if there["device"].iloc[0] == "cuda" else ("fp32", "bf16", "fp16")
    return there.iloc[int(min(range(len(there)), key=lambda place: wanted.index(there["precision"].iloc[place])))]


def _is_best(table: pd.DataFrame, place: int, metric: str) -> bool:
    scores, needed = table[metric], table["memory_bytes"]
    score, memory = scores.iloc[place], needed.iloc[place]
    if pd.isna(score) or pd.isna(memory):
        return False
    as_good = (scores >= score) & (needed <= memory)
    return not (as_good & ((scores > score) | (needed < memory))).any()


def _shown(row: pd.Series) -> dict[str, str]:
    lost = STATUS.get(row["status"], NOTHING) if row["status"] != results.OK else "missing"
    line = {"model": f"{row['model']}{'*' * bool(row['shape_only'])}", "method": row["method"]}
    line |= {
        "precision": row["precision"],
        "memory": lost if pd.isna(row["memory_bytes"]) else size(row["memory_bytes"]),
    }
    for column in COLUMNS:
        line[column.removesuffix("_bytes")] = NOTHING if pd.isna(row[column]) else size(row[column])
    for column, base in (("saving_lora", "LoRA, not quantized"), ("saving_full", "full tuning")):
        value = row[column]
        line[f"beside {base} (%)"] = (
            NOTHING if pd.isna(value) else f"{-round(100 * value):+d}".replace("-", "−").replace("+0", "0")
        )
    line["seconds a step"] = NOTHING if pd.isna(row["step_seconds"]) else f"{row['step_seconds']:.3g}"
    return line


def _change(saving: float) -> str:
    """A saving of 0.44 as `−44`."""
    percent = -round(100 * saving)
    return f"{percent:+d}".replace("-", "−") if percent else "0"

"""What to train with on which card: plans as a table. Plans nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from nblib.tables.shown import NOTHING, Shown, table
from nblib.tables.words import counted

GIB = 2**30


def cards(plans: Mapping[str, Sequence[Any] | str], sizes: Mapping[str, float]) -> pd.DataFrame:
    """One line a card and way that fits: card -> the options of memory.plan, or the sentence of why there is none.

    `card_bytes` from `sizes` (card -> GiB); `method`, `precision`, `device_batch`, `accumulation`,
    `gradient_checkpointing`, `optimizer`, `peak_bytes` and `share` (of the card) are those of memory.Option; `why` is
    the sentence.
    """
    lines = []
    for card, options in sorted(plans.items(), key=lambda each: (sizes[each[0]], each[0])):
        whole = {"card": card, "card_bytes": sizes[card] * GIB}
        if isinstance(options, str):
            lines.append(whole | {"why": options})
        else:
            lines += [whole | _option(each) for each in options]
    names = ["card", "card_bytes", "method", "precision", "device_batch", "accumulation", "gradient_checkpointing"]
    return pd.DataFrame(lines, columns=[*names, "optimizer", "peak_bytes", "share", "why"])


def shown_cards(frame: pd.DataFrame) -> Shown:
    """The table of a `cards`."""
    lines = []
    for _, row in frame.iterrows():
        line = {"card": row["card"], "GiB": f"{row['card_bytes'] / GIB:g}"}
        if pd.isna(row["peak_bytes"]):
            lines.append(line | dict.fromkeys(_HEADS, NOTHING) | {"method": "nothing fits", "how": row["why"]})
            continue
        how = f"{counted(row['device_batch'], 'row')} a pass"
        how += f", {int(row['accumulation'])} passes a step" if row["accumulation"] > 1 else ""
        how += ", gradient checkpointing" if row["gradient_checkpointing"] else ""
        how += f", {row['optimizer']}" if row["method"] == "full" else ""
        told = [row["method"], row["precision"], how, f"{row['peak_bytes'] / GIB:,.1f}", f"{100 * row['share']:.0f}"]
        lines.append(line | dict(zip(_HEADS, told, strict=True)))
    return table(lines, ["Predicted from the configuration; 8 % of a card and 0.5 GiB stay free."])


_HEADS = ("method", "precision", "how", "peak (GiB)", "of the card (%)")


def _option(option: Any) -> dict:
    names = ("precision", "device_batch", "accumulation", "gradient_checkpointing", "optimizer", "peak_bytes", "share")
    return {"method": option.method.kind} | {name: getattr(option, name) for name in names}

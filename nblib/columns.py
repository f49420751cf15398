"""Columns of frames: what tables and figures call them, and how their numbers are written. Reads no frame.

The end of a column's name says what it holds: a share (`_share`, a score), a `_difference` of shares, `_seconds`,
`_bytes`, `_tokens`, a `p`.
"""

from collections.abc import Iterable

GIB, MIB, KIB = 2**30, 2**20, 2**10
EXECUTION = {  # scores of tasks whose answers are run
    "test_accuracy": "average accuracy",
    "strict_accuracy": "strict accuracy",
    **{f"pass@{k}": f"pass@{k}" for k in (1, 2, 5)},
}
SCORES = {  # every score, and what it is called; all are shares, and higher is better
    **EXECUTION,
    **{f"em@{k}": f"EM@{k}" for k in (1, 2, 5, 10)},
    "em_expression@1": "EM@1 of the expression",  # of tasks with a house style
    "style_match": "house style",
    "codebleu": "CodeBLEU",
    "codebleu_corrected": "CodeBLEU (corrected)",
    "chrf": "chrF",
    "chrf++": "chrF++",
}
COSTS = {  # those that a figure may have as an axis
    "train_seconds": "training",
    "generate_seconds": "generation",
    "prompt_tokens": "prompt tokens per query",
    "trainable_parameters": "trained parameters",
    "peak_bytes": "peak memory",
}
NAMES = (
    SCORES
    | COSTS
    | {
        "total_parameters": "parameters",
        "step_seconds": "training step",
        "adapter_bytes": "saved adapter",
        "memory_bytes": "training memory",
        "predicted_bytes": "predicted memory",
        "saving_lora_share": "less than LoRA, not quantized",
        "saving_full_share": "less than full tuning",
        "train_joules": "energy of training",
        "generate_joules": "energy of generation",
        "train_money": "price of training",
        "generate_money": "price of generation",
        "p": "p (Holm)",
        "effect": "effect (d)",
        "teraflops": "more TFLOP",
        "gigabytes": "GB",
        "pscp": "PSCP",
        "loss": "validation loss",
        "elsewhere_rise_nats": "rise of loss elsewhere",
        "pearson": "Pearson's r",
        "spearman": "Spearman's ρ",
        "kendall": "Kendall's τ",
    }
)
MEANINGS = {  # what the axis of a figure adds
    "em@1": "first answers that equal the reference",
    "em@10": "references found among ten answers",
    "em_expression@1": "first answers whose expression equals the reference's",
    "style_match": "first answers in the house style",
    "test_accuracy": "tests that the first answer passes",
    "strict_accuracy": "first answers that pass all their tests",
    "pass@1": "chance that one sampled answer passes all tests",
    "pass@5": "chance that one of five sampled answers passes all tests",
    "mean_rank": "1 is the best on every benchmark",
    "train_seconds": "of one seed",
    "generate_seconds": "of one seed",
    "step_seconds": "with its share of validation",
    "difference": "gain over zero-shot",
}
DIGITS = {"mean_rank": ".2f", "loss": ".3f", "seed": "d", "pearson": ".2f", "spearman": ".2f", "kendall": ".2f"}
ENDS = ("_bytes", "_seconds", "_share", "_tokens", "_error", "_nats")


def is_share(name: str) -> bool:
    """Whether its numbers are shown in percent."""
    return name in SCORES or name.endswith(("score", "_share", "error")) or name.startswith("ended ")


def unit(name: str) -> str:
    """`%`, `points`, `s`, or nothing: bytes have theirs in each number."""
    ends = {"difference": "points", "_seconds": "s", "_nats": "nats", "_joules": "Wh"}
    return "%" if is_share(name) else next((sign for end, sign in ends.items() if name.endswith(end)), "")


def short(name: str) -> str:
    """`EM@1`, `training`, without a unit."""
    end = next((end for end in ENDS if name.endswith(end)), "")
    return NAMES.get(name) or name.removesuffix(end).replace("_", " ").strip()


def head(name: str) -> str:
    """What stands above a column and beside an axis: `EM@1 (%)`, `training (s)`."""
    if name.endswith("_n"):
        return "n"
    return short(name) + (f" ({unit(name)})" if unit(name) else "")


def scale(name: str, largest: float) -> tuple[float, str]:
    """What one on an axis is in the frame, and its unit: bytes in GiB, of less than one in MiB."""
    if name.endswith("_bytes"):
        return (GIB, "GiB") if largest >= GIB else (MIB, "MiB")
    return (0.01 if is_share(name) or name == "difference" else 1), unit(name)


def written(value, name: str, *, beside: float | None = None) -> str:
    """A number as a cell has it, by its column: `45.2`, `+3.1`, `1.5 GiB`, `< 0.001`; True is a dot.

    A spread has as many digits as the number that it stands `beside`.
    """
    if isinstance(value, bool):
        return "●" if value else ""
    if name in DIGITS:
        return f"{value:{DIGITS[name]}}"
    if is_share(name):
        is_tiny = name.endswith(("trained_share", "error")) and 0 < abs(value) < 0.01
        return f"{100 * value:{'.2g' if is_tiny else '.1f'}}".replace("-", "−")
    if name.endswith("difference"):
        return points(value)
    if name.endswith("_bytes"):
        return size(value)
    if name.endswith("_nats"):
        return f"{value:{'+' if 'rise' in name else ''}.3f}".replace("-", "−").replace("+0.000", "0.000")
    if name.endswith("_joules"):
        return number(value / 3600)  # watt-hours
    if name == "p" or name.endswith("_p"):
        return p_value(value)
    if name.endswith("_seconds"):
        whole = beside or value
        return f"{value:,.{3 if 0 < whole < 1 else 1 if whole < 100 else 0}f}"
    return f"{value:,.0f}" if name.endswith("_tokens") else number(value)


def size(count: float) -> str:
    """Bytes for a person: `812 B`, `393.2 KiB`, `12.6 MiB`, `1.2 GiB`."""
    units = {GIB: "GiB", MIB: "MiB", KIB: "KiB"}
    one = next((one for one in units if count >= one), 0)
    return f"{count / one:,.1f} {units[one]}" if one else f"{count:,.0f} B"


def points(share: float) -> str:
    """A difference of two shares in points with its sign: `+3.1`, `−0.4`."""
    return f"{100 * share:+.1f}".replace("-", "−").replace("−0.0", "0.0").replace("+0.0", "0.0")


def p_value(p: float) -> str:
    """`0.012`; very small ones as `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def number(value: float) -> str:
    """Three digits, or all before the point: `0.0287`, `9.85`, `67,404`."""
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def listed(names: Iterable[object]) -> str:
    """`a, b and c`."""
    *first, last = [str(name) for name in names] or [""]
    return f"{', '.join(first)} and {last}" if first else last

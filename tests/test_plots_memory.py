"""Figures of memory: every kind has a colour for all readers, nothing is cut off, every number is in words."""

import itertools

import numpy as np
import pandas as pd
import pytest
import test_plots as base
from test_plots_methods import covered

from nblib import plots

GIB = 2.0**30
CARDS = {"A": 12, "B": 16, "C": 16, "D": 80}


def line(model: str, precision: str, whole: float | None, **changed) -> dict:
    """A line of tables.memory; what is not said is shared out evenly."""
    kinds = dict.fromkeys((f"{kind}_bytes" for kind in plots.KINDS), None if whole is None else whole / 7)
    known = {"model": model, "method": "lora", "kind": "lora", "precision": precision, "label": f"lora {precision}"}
    known |= {"device": "cuda", "measured": "allocated peak", "shape_only": False, "seeds": 1}
    known |= {"status": "out_of_memory" if whole is None else "ok", "memory_bytes": whole, "step_seconds": 0.5}
    return known | kinds | {"predicted_bytes": whole, "error": 0.1} | changed


def frame(*lines: dict) -> pd.DataFrame:
    table = pd.DataFrame(lines)
    return table.astype({name: float for name in table if name.endswith(("_bytes", "_seconds"))})


TWO = [line("small", "bf16", 0.02 * GIB), line("small", "nf4", 0.01 * GIB), line("large", "bf16", 14 * GIB)]
LOST = line("large", "fp32", None)


def scored(*needs: float) -> pd.DataFrame:
    """What tables.quality_memory makes."""
    table = base.frame().iloc[: len(needs)].copy()
    return table.assign(memory_bytes=needs, measured="allocated peak", pareto=[True] + [False] * (len(needs) - 1))


FIGURES = {
    "one bar": lambda: plots.memory_by_kind(frame(TWO[2])),
    "two models and a loss": lambda: plots.memory_by_kind(frame(*TWO, LOST), cards=CARDS),
    "predicted": lambda: plots.memory_by_kind(
        frame(line("large", "bf16", 10 * GIB, measured="predicted", logits_bytes=4 * GIB)), cards=CARDS
    ),
    "steps": lambda: plots.step_seconds(frame(*TWO)),
    "predicted beside measured": lambda: plots.predicted_memory(frame(*TWO)),
    "quality": lambda: plots.quality_memory(scored(2 * GIB, 3 * GIB, 9 * GIB)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_or_covered(name):
    figure = FIGURES[name]()
    assert len(base.texts(figure)) >= 2
    assert base.cut_off(figure) == []
    assert covered(figure) == []
    assert len(plots.alternative(figure)) > 20


@pytest.mark.parametrize("sight", base.SIGHT)
def test_kinds_differ_for_all_readers(sight):
    linear = base.TestColours.linear
    seen = [base.TestColours.lab(base.SIGHT[sight] @ linear(shade)) for shade in plots.KINDS.values()]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) > 10


def test_small_models_are_in_mib_and_large_ones_in_gib():
    said = base.written(plots.memory_by_kind(frame(*TWO)))
    assert {"20.5 MiB", "14.0 GiB"} <= set(said)


def test_cards_are_lines_up_to_the_next_larger_one():
    figure = plots.memory_by_kind(frame(TWO[2]), cards=CARDS)
    assert {"12", "16"} <= set(base.written(figure))
    assert "16 GiB (B, C)" in " ".join(base.written(figure)).replace("\n", " ")
    assert "80" not in base.written(figure)


def test_what_ran_out_of_memory_is_said():
    figure = plots.memory_by_kind(frame(TWO[2], LOST))
    assert "out of memory" in base.written(figure)
    assert "large lora fp32: out of memory" in plots.alternative(figure)


def test_kinds_add_up_to_the_bar():
    axes = plots.memory_by_kind(frame(TWO[2])).axes[0]
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(14)


def test_words_hold_the_numbers():
    assert "large lora bf16 measured 14.00, predicted 14.00 GiB (+10.0 %)" in plots.alternative(
        plots.predicted_memory(frame(TWO[2]))
    )
    assert "small lora nf4 0.5 s" in plots.alternative(plots.step_seconds(frame(*TWO)))
    assert "at 2.0 GiB (Pareto front)" in plots.alternative(plots.quality_memory(scored(2 * GIB, 3 * GIB)))


def test_an_unknown_score_is_refused():
    with pytest.raises(ValueError, match="the column must be one of"):
        plots.quality_memory(scored(2 * GIB), "bleu")


def test_nothing_to_show():
    assert "no memory to show" in plots.alternative(plots.memory_by_kind(frame(TWO[0]).iloc[:0]))
    assert plots.alternative(plots.step_seconds(frame(TWO[0]).iloc[:0])) == "Seconds a training step: not measured."

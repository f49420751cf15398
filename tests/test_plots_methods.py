"""Figures of many methods, several models and several tasks: nothing cut off or covered, every number in words."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import test_plots as base
from matplotlib.figure import Figure

from nblib import plots, spec

KINDS = [*spec.METHODS, *spec.QLORA]
NAMES = ["lora", "rslora", "dora", "adalora", "ia3", "prompt-tuning", "prefix-tuning", "p-tuning"]
NAMES += ["adapter", "llama-adapter", "vera", "oft", "ln-tuning", "peft", "full", "a-very-long-name-of-a-method"]


def scored(score: float | None, status: str = "ok") -> dict:
    known = score is not None
    return {
        "status": status,
        "seeds": 3 if known else 0,
        "limit": None,
        "em@1": score,
        "em@1_low": max(0.0, score - 0.05) if known else None,
        "em@1_high": min(1.0, score + 0.05) if known else None,
        "em@1_n": 120 if known else None,
    }


def frame(lines: list[dict]) -> pd.DataFrame:
    table = pd.DataFrame(lines)
    return table.astype({name: float for name in table if name.startswith("em@1")})


def models(names: list[str], count: int = 2) -> pd.DataFrame:
    """What tables.across_models makes."""
    lines = []
    for place in range(count):
        for number, name in enumerate(names):
            lost = place == 1 and number == 0
            line = {"model": f"owner/model-{place}", "method": name, "kind": name, "task": "conala"}
            line |= {"total_parameters": 10.0 ** (6 + place), "reference": not place and name == "full"}
            lines.append(line | scored(None if lost else 0.9 - 0.05 * number, "failed" if lost else "ok"))
    return frame(lines)


def curves(names: list[str], seeds: int = 3, scale: float = 1.0) -> pd.DataFrame:
    """What tables.learning_curves makes."""
    return pd.DataFrame(
        [
            {
                "method": name,
                "kind": name,
                "seed": seed,
                "model": "tiny",
                "task": "conala-mini",
                "epoch": step / 2,
                "loss": scale * (0.5 + 0.1 * number + 2 / step + 0.01 * seed),
                "kept": step == 8,
            }
            for number, name in enumerate(names)
            for seed in range(seeds)
            for step in range(1, 9)
        ]
    )


def rates(names: list[str], count: int = 5) -> pd.DataFrame:
    """What tables.sensitivity makes; the highest rate of the first method failed."""
    return frame(
        [
            {"method": name, "kind": name, "model": "tiny", "task": "conala-mini", "split": "validation"}
            | {"learning_rate": 10.0 ** (step - 5 + number % 3)}
            | scored(
                None if not number and step == count - 1 and count > 1 else 0.6 - 0.1 * abs(step - 2) - 0.01 * number
            )
            for number, name in enumerate(names)
            for step in range(count)
        ]
    )


def matrix(tasks: list[str], lost: bool = False) -> pd.DataFrame:
    """What tables.transfer makes."""
    lines = []
    for task in tasks:
        for place, trained in enumerate(["nothing (zero-shot)", *tasks, "+".join(tasks)]):
            if lost and (task, trained) == (tasks[1], tasks[0]):
                continue
            gone = lost and (task, trained) == (tasks[0], tasks[1])
            line = {"task": task, "trained_on": trained, "own": trained == task, "joint": "+" in trained}
            line["label"] = "lora" if place else "zero-shot"
            lines.append(line | scored(None if gone else 0.1 + 0.1 * place, "out_of_memory" if gone else "ok"))
    return frame(lines)


FIGURES = {
    "two models": lambda: plots.across_models(models(["full", "lora", "ia3"])),
    "sixteen methods of three models": lambda: plots.across_models(models(NAMES, 3)),
    "one model without numbers": lambda: plots.across_models(models(["full"], 2).iloc[1:]),
    "one curve": lambda: plots.learning_curves(curves(["lora"], 1)),
    "five curves": lambda: plots.learning_curves(curves(NAMES[:5])),
    "sixteen curves": lambda: plots.learning_curves(curves(NAMES)),
    "small losses": lambda: plots.learning_curves(curves(NAMES[:3], scale=1e-3)),
    "no curves": lambda: plots.learning_curves(curves(["lora"]).iloc[:0]),
    "one method's rates": lambda: plots.sensitivity(rates(["lora"]), chosen={"lora": 1e-3}),
    "one rate": lambda: plots.sensitivity(rates(["lora"], 1)),
    "sixteen methods' rates": lambda: plots.sensitivity(rates(NAMES), chosen=dict.fromkeys(NAMES, 1e-3)),
    "no rates": lambda: plots.sensitivity(rates(["lora"]).iloc[:0]),
    "two tasks": lambda: plots.heat_map(matrix(["conala-mini", "codealpaca-mini"])),
    "four tasks with gaps": lambda: plots.heat_map(matrix(["conala-mini", "codealpaca-mini", "odex", "mbpp"], True)),
    "no tasks": lambda: plots.heat_map(matrix(["a", "b"]).iloc[:0]),
}


def covered(figure: Figure) -> list[tuple[str, str]]:
    """Texts that cover one another."""
    boxes = [(each.get_text(), each.get_window_extent().padded(-1)) for each in base.texts(figure)]
    return [(a, b) for (a, first), (b, second) in itertools.combinations(boxes, 2) if first.overlaps(second)]


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_or_covered(name):
    figure = FIGURES[name]()
    assert len(base.texts(figure)) >= 2
    assert base.cut_off(figure) == []
    assert covered(figure) == []
    assert len(plots.alternative(figure)) > 20


def test_what_is_covered_is_found():
    figure = FIGURES["two tasks"]()
    figure.axes[0].text(0, 0, "in the way")
    assert covered(figure) != []


def test_panels_fill_the_page():
    for name in ("sixteen curves", "sixteen methods' rates", "one rate"):
        figure = FIGURES[name]()
        places = [axes.get_position() for axes in figure.axes if axes.get_visible()]
        assert max(each.x1 for each in places) - min(each.x0 for each in places) > 0.8


class TestColours:
    def test_every_kind_has_its_own(self):
        assert set(plots.COLOURS) == set(KINDS)
        assert len({*map(plots.colour, KINDS), plots.OTHER}) == len(KINDS) + 1

    @pytest.mark.parametrize("kind", KINDS)
    def test_stands_out_from_white(self, kind):
        luminance = base.TestColours.linear(plots.colour(kind)) @ np.array([0.2126, 0.7152, 0.0722])
        assert 1.05 / (luminance + 0.05) >= 3  # WCAG 2.2, 1.4.11

    @pytest.mark.parametrize("sight", base.SIGHT)
    def test_kinds_differ_for_all_readers(self, sight):
        linear = base.TestColours.linear
        seen = {kind: base.TestColours.lab(base.SIGHT[sight] @ linear(plots.colour(kind))) for kind in KINDS}
        nearest = min(float(np.linalg.norm(seen[a] - seen[b])) for a, b in itertools.combinations(seen, 2))
        assert nearest > 10  # a just noticeable difference is about 2.3


class TestAcrossModels:
    def test_methods_stand_under_their_model_and_losses_are_said(self):
        said = base.written(plots.across_models(models(["full", "lora"])))
        assert {"owner/model-0, 1 million parameters", "owner/model-1, 10 million parameters"} <= {
            each.strip() for each in said
        }
        assert {"90.0 %", "85.0–95.0", "failed"} <= set(said)
        assert "dashed: owner/model-0, fully tuned" in " ".join(said).replace("\n", " ")

    def test_its_words_hold_the_numbers(self):
        words = plots.alternative(plots.across_models(models(["full", "lora"])))
        assert "owner/model-0 full 90.0 % (85.0 to 95.0); owner/model-0 lora 85.0 %" in words
        assert "owner/model-1 full failed" in words

    def test_an_unknown_score_is_refused(self):
        with pytest.raises(ValueError, match="the column must be one of em@1; got 'bleu'"):
            plots.across_models(models(["full"]), "bleu")


class TestLearningCurves:
    def test_the_lowest_loss_comes_first_with_its_number(self):
        figure = plots.learning_curves(curves(NAMES[::-1]))
        assert figure.axes[0].get_title(loc="left").startswith("a-very-long")
        assert figure.axes[0].get_title(loc="right") == "0.760"  # 0.5 + 2 / 8, and the mean of the seeds' 0.01
        assert figure.axes[-1].get_title(loc="left") == "lora"

    def test_each_panel_has_its_method_in_colour_and_its_kept_checkpoints(self):
        axes = plots.learning_curves(curves(["lora", "ia3"])).axes[1]
        shades = [mpl.colors.to_hex(each.get_color()).upper() for each in axes.lines]
        assert shades == ["#C9C9C9", plots.colour("ia3"), plots.colour("ia3")]
        assert list(axes.lines[-1].get_xdata()) == [4.0, 4.0, 4.0]

    def test_a_loss_far_above_the_others_does_not_flatten_them(self):
        table = curves(NAMES[:4])
        table.loc[0, "loss"] = 1e6
        assert plots.learning_curves(table).axes[0].get_ylim()[1] < 10

    def test_its_words_hold_the_numbers(self):
        words = plots.alternative(plots.learning_curves(curves(["lora"], 1)))
        assert (
            words == "Validation loss by epoch, lowest first: lora from 2.500 to 0.750, lowest 0.750, kept at epoch 4."
        )


class TestSensitivity:
    def test_says_the_spread_and_rings_the_chosen_rate(self):
        axes = plots.sensitivity(rates(["ia3", "lora"]), chosen={"lora": 1e-2}).axes[0]
        assert (axes.get_title(loc="left"), axes.get_title(loc="right")) == ("ia3", "20.0")
        axes = plots.sensitivity(rates(["ia3", "lora"]), chosen={"lora": 1e-2}).axes[1]
        ring = axes.lines[-1]
        assert (list(ring.get_xdata()), ring.get_ydata()[0]) == ([1e-2], pytest.approx(59))
        assert axes.get_xscale() == "log"

    def test_a_single_rate_is_named_on_the_axis(self):
        table = rates(["lora"], 1).assign(learning_rate=1.5e-4)
        axes = plots.sensitivity(table).axes[0]
        assert [each.get_text() for each in axes.get_xticklabels()] == ["1.5e-4"]

    def test_a_rate_without_a_score_is_a_cross(self):
        axes = plots.sensitivity(rates(["lora"])).axes[0]
        crosses = [line for line in axes.lines if line.get_marker() == "x"]
        assert [list(line.get_xdata()) for line in crosses] == [[0.1]]

    def test_its_words_hold_the_numbers(self):
        words = plots.alternative(plots.sensitivity(rates(["lora"]), chosen={"lora": 1e-3}))
        assert "lora (chosen 0.001): 1e-05 40.0 %, 0.0001 50.0 %, 0.001 60.0 %, 0.01 50.0 %, 0.1 no score." in words


class TestHeatMap:
    def test_every_cell_has_its_number_and_its_interval(self):
        said = base.written(plots.heat_map(matrix(["a", "b"])))
        assert said.count("40.0 %") == 2
        assert said.count("35.0–45.0") == 2
        assert {"nothing (zero-shot)", "a + b", "trained on", "asked"} <= set(said)

    def test_the_own_adapter_is_outlined(self):
        axes = plots.heat_map(matrix(["a", "b"])).axes[0]
        outlined = [each.get_xy() for each in axes.patches if not each.get_fill()]
        assert [(round(x), round(y)) for x, y in outlined] == [(0, 1), (1, 2)]

    def test_numbers_stand_out_from_their_cell(self):
        figure = plots.heat_map(matrix([f"task-{number}" for number in range(5)]))
        axes, linear = figure.axes[0], base.TestColours.linear
        weights = np.array([0.2126, 0.7152, 0.0722])
        cells = {each.get_xy(): each for each in axes.patches if each.get_fill()}
        for text in axes.texts:
            across, down = (round(each) for each in text.get_position())
            cell = linear(cells[across - 0.5, down - 0.5].get_facecolor()[:3]) @ weights
            ink = linear(text.get_color()) @ weights
            assert (max(cell, ink) + 0.05) / (min(cell, ink) + 0.05) > 3.5

    def test_gaps_are_said(self):
        figure = plots.heat_map(matrix(["a", "b"], lost=True))
        assert "out of memory" in base.written(figure)
        assert "trained on b, asked a: out of memory" in plots.alternative(figure)
        hatched = [each for each in figure.axes[0].patches if each.get_hatch()]
        assert len(hatched) == 2

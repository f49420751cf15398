"""Figures show the numbers of their frames, also in words, cut nothing off, and are read on light and dark pages."""

import base64
import io
import itertools
from collections.abc import Iterable, Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from nblib import columns, plots, spec
from nblib.plots import style
from nblib.plots.scores import ENDINGS

GIB = 2.0**30
KINDS = [*spec.METHODS, *spec.QLORA]
NAMES = ["lora", "rslora", "dora", "adalora", "ia3", "prompt-tuning", "prefix-tuning", "p-tuning"]
NAMES += ["adapter", "llama-adapter", "vera", "oft", "ln-tuning", "peft", "full", "a-very-long-name-of-a-method"]
CARDS = {"A": 12, "B": 16, "C": 16, "D": 80}


# --- frames as tables, results.load and stats.summarise make them ---------------------------------------------------


def scored(score: float | None, status: str = "ok", **more) -> dict:
    """The columns of a score, and what most frames have besides."""
    ends = (None, None) if score is None else (max(0.0, score - 0.06), min(1.0, score + 0.06))
    numbers = {"em@1": score, "em@1_low": ends[0], "em@1_high": ends[1], "em@1_n": None if score is None else 200}
    return {"model": "tiny", "task": "conala-mini", "limit": None, "status": status, "seeds": 3} | numbers | more


def table(lines: Iterable[dict]) -> pd.DataFrame:
    frame = pd.DataFrame(lines)
    ends = ("_bytes", "_seconds", "em@1", "_low", "_high", "_n")
    return frame.astype({name: float for name in frame if name.endswith(ends)})


def method(kind: str, family: str, score: float | None, seconds=None, tokens=23.0, parameters=0.0, **more) -> dict:
    costs = {"train_seconds": seconds, "prompt_tokens": tokens, "trainable_parameters": parameters, "peak_bytes": GIB}
    return {"kind": kind, "family": family, "generate_seconds": 2 * tokens} | costs | scored(score, **more)


METHODS = {
    "zero-shot": method("zero-shot", "zero-shot", 0.111, seeds=1),
    "icl-1": method("icl", "ICL", 0.193, None, 58.0),
    "icl-3": method("icl", "ICL", 0.278, None, 131.0),
    "lora": method("lora", "PEFT", 0.452, 41.3, parameters=98_304.0),
    "ia3": method("ia3", "PEFT", 0.251, 38.0, parameters=3_200.0),
    "prompt-tuning": method("prompt-tuning", "PEFT", 0.268, 44.0, parameters=3_840.0),
    "full": method("full", "full fine-tuning", 0.443, 62.0, parameters=2_500_000.0),
}
LOST = {
    "prefix-tuning": method("prefix-tuning", "PEFT", None, status="out_of_memory"),
    "adapter": method("adapter", "other", None, status="failed"),
    "icl-2": method("icl", "ICL", None, status="missing"),
}
RAG = {f"rag-{shots}": method("rag", "RAG", 0.4 + 0.01 * shots, None, 25.0 + 42 * shots) for shots in (1, 2, 3)}
CROWD = {f"icl-{n}": method("icl", "ICL", 0.2 + 0.01 * n, None, 50.0 * n, pareto=n == 24) for n in range(1, 25)}


def methods(**changed: dict) -> pd.DataFrame:
    """A line a method, by which it is indexed; `changed` adds or replaces some."""
    lines = METHODS | changed
    return table(list(lines.values())).set_axis(pd.Index(list(lines), name="method"))


def models(names: list[str]) -> pd.DataFrame:
    return table(
        {"method": name, "kind": name, "total_parameters": 10.0**size, "reference": (size, name) == (6, "full")}
        | scored(None if (size, place) == (7, 0) else 0.9 - 0.05 * place, "failed" if size == 7 else "ok")
        | {"model": f"owner/model-{size}"}
        for size in (6, 7)
        for place, name in enumerate(names)
    )


def grouped(groups=("known operation", "new operation"), names=("zero-shot", "icl-1", "rag-1", "lora")) -> pd.DataFrame:
    return table(
        {"group": g, "method": m, "kind": m} | scored(0.1 + 0.1 * n) for g in groups for n, m in enumerate(names)
    )


def ranks(count: int) -> pd.DataFrame:
    lines = [{"mean_rank": n + 1.5, "mean_rank_low": n + 1.0, "mean_rank_high": n + 2.25} for n in range(count)]
    return pd.DataFrame(lines, index=pd.Index(NAMES[:count], name="method")).assign(kind=NAMES[:count])


def matrix(tasks: list[str]) -> pd.DataFrame:
    """The first task's answers of the second one's adapter ran out of memory; the other way round there are none."""
    lines = []
    for task, (place, trained) in itertools.product(tasks, enumerate(["nothing (zero-shot)", *tasks, "+".join(tasks)])):
        missing = (task, trained) == (tasks[0], tasks[1])
        line = scored(None if missing else 0.1 + 0.15 * place, "out_of_memory" if missing else "ok", task=task)
        if (task, trained) != (tasks[1], tasks[0]):
            lines.append(line | {"trained_on": trained, "label": "lora" if place else "zero-shot"})
    return table(lines)


def losses(names: list[str], seeds: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {"method": name, "kind": name, "seed": seed, "model": "tiny", "task": "conala-mini", "epoch": step / 2}
        | {"loss": 0.5 + 0.1 * number + 2 / step + 0.01 * seed, "kept": step == 8}
        for number, name in enumerate(names)
        for seed in range(seeds)
        for step in range(1, 9)
    )


def rates(names: list[str], count: int = 5) -> pd.DataFrame:
    """The highest rate of the first method failed."""
    return table(
        {"method": name, "kind": name, "split": "validation", "learning_rate": 10.0 ** (step - 5 + number % 3)}
        | scored(None if not number and step == 4 else 0.6 - 0.1 * abs(step - 2) - 0.01 * number)
        for number, name in enumerate(names)
        for step in range(count)
    )


def training() -> pd.DataFrame:
    lines = [{"of": "training", "epoch": step / 20, "loss": 2 - step / 25, "kept": False} for step in range(1, 41)]
    lines += [{"of": "validation", "epoch": n, "loss": 1.2 / n, "kept": n == 2} for n in (1, 2)]
    return pd.DataFrame(lines).assign(method="lora", kind="lora", model="tiny", task="conala-mini")


def memory(model: str, precision: str, whole: float | None, **changed) -> dict:
    kinds = dict.fromkeys((f"{kind}_bytes" for kind in plots.KINDS), None if whole is None else whole / 7)
    line = {"model": model, "method": "lora", "kind": "lora", "label": f"lora {precision}", "device": "cuda"}
    line |= {"measured": "allocated peak", "shape_only": False, "status": "out_of_memory" if whole is None else "ok"}
    line |= {"memory_bytes": whole, "step_seconds": 0.5, "predicted_bytes": None if whole is None else 1.1 * whole}
    return line | kinds | changed


THREE = [memory("small", "bf16", 0.02 * GIB), memory("small", "nf4", 0.01 * GIB), memory("large", "bf16", 14 * GIB)]
OUT = memory("large", "fp32", None)
PREDICTED = memory("large", "bf16", 10 * GIB, measured="predicted", logits_bytes=4 * GIB)
BESIDE = {"metric": "memory_bytes", "beside": "predicted_bytes", "name": "label", "sections": "model"}
RATES = {"x": "learning_rate", "y": "em@1"}


def pays(**changed: dict) -> pd.DataFrame:
    lines = {}
    for label, tokens, score in (
        ("icl-2", 270.0, 0.3),
        ("icl-3", 311.0, 0.25),
        ("rag-1", 225.0, 0.4),
        ("rag-3", 310.0, 0.5),
    ):
        line = {"kind": label[:3], "family": label[:3].upper(), "base": "lora", "base_kind": "lora", "score": score}
        for unit, once, base, cost in (("tokens", 200_000.0, 184.0, tokens), ("seconds", 11.0, 0.05, tokens / 2500)):
            values = {"once": once, "base": base, "method": cost, "queries": np.ceil(once / (cost - base)), "why": None}
            line |= {f"{unit}_{name}": value for name, value in values.items()}
        lines[label] = line | changed.get(label.replace("-", "_"), {})
    return pd.DataFrame(lines.values(), index=pd.Index(list(lines), name="method"))


NEVER = {"tokens_queries": None, "tokens_queries_why": "never: lora is not cheaper per query", "tokens_method": 150.0}
UNMEASURED = dict.fromkeys([f"seconds_{name}" for name in ("once", "base", "method", "queries")])
UNMEASURED["seconds_queries_why"] = "not measured"


def near(similarities, scores, unknown=0) -> pd.DataFrame:
    frame = pd.DataFrame({"similarity": similarities, "score": scores, "unknown": unknown}, dtype=float)
    return frame.assign(method="rag-1", kind="rag", model="tiny", task="conala-mini")


ENDED = pd.DataFrame(
    {"group": difficulty, "method": name, "n": 67}
    | {f"ended {kind}": share for kind, share in zip(ENDINGS, shares, strict=False)}
    for difficulty in ("all", "introductory", "interview", "competition")
    for name, shares in (("zero-shot", (0.2, 0.5, 0.1, 0.1, 0.1)), ("qlora-4bit", (0.9, 0.0, 0.1, 0.0, 0.0)))
)
LONG = {"lora r=16, alpha=32, learning_rate=0.0003, epochs=12": method("lora", "PEFT", 0.4)}
RANDOM = np.random.default_rng(0)
FIGURES = {  # shape, frame, settings
    "forest with lost runs and a long name": (plots.forest, methods(**LOST, **LONG), {}),
    "forest by model": (plots.forest, models(NAMES), {"sections": "model"}),
    "forest by long groups": (
        plots.forest,
        grouped([f"a rather long group {n}" for n in range(6)]),
        {"marks": "group"},
    ),
    "forest of ranks": (plots.forest, ranks(16), {"metric": "mean_rank"}),
    "forest of predictions": (plots.forest, table(THREE), BESIDE),
    "four tasks with gaps": (plots.heat_map, matrix(["conala-mini", "codealpaca-mini", "odex", "mbpp"]), {}),
    "sixteen curves": (plots.curves, losses(NAMES), {}),
    "sixteen methods' rates": (plots.curves, rates(NAMES), RATES),
    "one rate": (plots.curves, rates(["lora"], 1), RATES),
    "training": (plots.loss_curve, training(), {}),
    "scatter with lost runs": (plots.scatter, methods(**LOST), {}),
    "scatter over parameters": (plots.scatter, methods(), {"x": "trainable_parameters"}),
    "equal points": (plots.scatter, methods(), {"x": "peak_bytes"}),
    "crowd": (plots.scatter, table(CROWD.values()), {"x": "prompt_tokens", "name": "family", "chosen": 3}),
    "lines": (plots.scatter, methods(**RAG), {"x": "prompt_tokens", "lines": True}),
    "break-even": (plots.break_even, pays(), {}),
    "break-even never": (plots.break_even, pays(rag_3=NEVER | UNMEASURED, icl_3=UNMEASURED), {}),
    "memory with cards": (plots.memory_by_kind, table([*THREE, OUT, PREDICTED]), {"cards": CARDS}),
    "lengths": (plots.lengths, {"intent": [3, 9, 12], "code": range(90)}, {"limits": {"code": 64}}),
    "similarities": (plots.similarities, near(RANDOM.beta(3, 2, 200), RANDOM.integers(0, 2, 200)), {}),
    "far similarities": (plots.similarities, near([-30.0, 5.0, 90.0], [1.0, None, 0.0], unknown=3), {}),
    "endings": (plots.endings, ENDED, {"subtitle": "apps-mini with tiny"}),
}


def drawn(name: str) -> Figure:
    shape, frame, settings = FIGURES[name]
    return shape(frame, **settings)


# --- what is seen ---------------------------------------------------------------------------------------------------


def texts(figure: Figure) -> list[Text]:
    """All that is written and seen; ticks beyond the limits of an axis are not."""
    figure.canvas.draw()
    beyond = set()
    for axes in figure.axes:
        box = axes.get_window_extent().padded(1)
        for labels, which in ((axes.get_xticklabels(), 0), (axes.get_yticklabels(), 1)):
            places = [label.get_transform().transform(label.get_position())[which] for label in labels]
            low, high = box.get_points()[:, which]
            beyond |= {label for label, place in zip(labels, places, strict=True) if not low <= place <= high}
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in found if text not in beyond]


def written(figure: Figure) -> str:
    return " | ".join(text.get_text().replace("\n", " ").strip() for text in texts(figure))


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_or_covered_and_all_is_in_words(name):
    figure = drawn(name)
    boxes = [(text.get_text(), Text.get_window_extent(text).padded(-1)) for text in texts(figure)]
    page = figure.bbox
    assert [text for text, box in boxes if not (page.contains(*box.p0) and page.contains(*box.p1))] == []
    assert [(a, b) for (a, one), (b, other) in itertools.combinations(boxes, 2) if one.overlaps(other)] == []
    assert len(plots.alternative(figure)) > 20
    assert figure.get_size_inches()[0] == 8


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "lengths"])
def test_a_figure_of_nothing_says_so(name):
    shape, frame, settings = FIGURES[name]
    words = plots.alternative(shape(frame.iloc[:0], **settings))
    assert any(text in words.lower() for text in ("nothing", "no step", "no answers"))


def test_nothing_global_changes():
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    for name in ("forest by model", "four tasks with gaps", "lines", "memory with cards", "lengths"):
        plots.shown(drawn(name))
    assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == []


class TestShapes:
    def test_a_forest_runs_from_best_to_worst_and_lost_runs_stand_below(self):
        frame = methods(**LOST)
        words = plots.alternative(plots.forest(frame))
        assert words.startswith("Highest EM@1: lora 45.2 %. lora 45.2 % (39.2 to 51.2); full 44.3 %")
        assert words.endswith("prefix-tuning out of memory; adapter failed; icl-2 not run.")
        figure = plots.forest(frame.iloc[::-1].assign(limit=20.0))
        assert plots.alternative(plots.forest(methods().iloc[::-1])) == plots.alternative(plots.forest(methods()))
        assert "45.2 % (39.2 to 51.2)" in written(figure)
        assert "conala-mini with tiny · n = 200, 1 to 3 seeds · bars: 95 % intervals over examples" in written(figure)
        assert "only the first examples: a partial result" in written(figure)
        with pytest.raises(ValueError, match="the column must be one of em@1, .*; got 'codebleu'"):
            plots.forest(methods(), "codebleu")

    def test_no_title_calls_a_method_with_one_seed_the_best(self):
        ranks, ties = {"lora": None, "full": 1.0, "icl-3": 2.0}, {"lora": None, "full": None, "icl-3": True}
        columns = {"em@1_rank": ranks, "em@1_tie": ties}
        frame = methods().assign(**{name: [known.get(label) for label in METHODS] for name, known in columns.items()})
        assert plots.alternative(plots.scatter(frame)).startswith("Highest EM@1: full 44.3 %; icl-3 not told apart.")
        assert "with one seed not ranked" in written(plots.forest(frame))

    def test_methods_stand_under_their_model_and_the_reference_goes_through_all(self):
        figure = plots.forest(models(["lora", "full"]), sections="model")
        assert "owner/model-6, 1 million parameters" in written(figure)
        assert "dashed: owner/model-6, full" in written(figure)
        assert [axes.lines[0].get_xdata()[0] for axes in figure.axes[:2]] == pytest.approx([85, 85])
        assert "owner/model-7, lora: failed; owner/model-7, full: 85.0 %" in plots.alternative(figure)

    def test_groups_stand_together_with_their_sizes(self):
        figure = plots.forest(grouped(), marks="group")
        assert "known operation (n = 200)" in written(figure)
        assert "(n = " not in written(plots.forest(grouped().drop(columns="em@1_n"), marks="group"))
        assert "zero-shot, known operation: 10.0 % (4.0 to 16.0); zero-shot, new operation" in plots.alternative(figure)
        with pytest.raises(ValueError, match="at most 8 groups apart; got 9"):
            plots.forest(grouped([f"group {number}" for number in range(9)]), marks="group")

    def test_a_prediction_stands_beside_what_was_measured(self):
        figure = drawn("forest of predictions")
        assert "+10.0 %" in written(figure)
        assert "large, lora bf16: 14.0 GiB (15.4 GiB predicted)" in plots.alternative(figure)

    def test_a_heat_map_outlines_the_own_adapter_and_says_gaps(self):
        figure = plots.heat_map(matrix(["a", "b"]))
        outlined = sorted(patch.get_xy() for patch in figure.axes[0].patches if not patch.get_fill())
        assert [(int(x), int(y)) for x, y in outlined] == [(0, 1), (1, 2)]
        assert "55.0 % (49.0 to 61.0)" in written(figure)
        assert "b, a: out of memory" in plots.alternative(figure)

    def test_curves_begin_with_the_lowest_loss_and_mark_what_was_kept(self):
        figure = plots.curves(losses(["ia3", "lora"][::-1]))
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["lora", "ia3"]
        assert figure.axes[0].get_title(loc="right") == "0.760"  # 0.5 + 2 / 8, and the mean of the seeds' 0.01
        kept = [list(line.get_xdata()) for line in figure.axes[1].lines if line.get_markersize() == 5.5]
        assert kept == [[4.0, 4.0, 4.0]]
        assert plots.alternative(figure).startswith("Lowest validation loss: lora 0.760, best first. lora 0.750 at 4")

    def test_neither_an_outlier_nor_a_seed_that_stopped_early_bends_a_curve(self):
        frame = losses(NAMES[:4])
        frame.loc[0, "loss"] = 1e6
        assert plots.curves(frame).axes[0].get_ylim()[1] < 10
        frame = losses(["lora"], 2)
        frame = frame[(frame["seed"] == 0) | (frame["epoch"] <= 2)]
        assert plots.curves(frame).axes[0].get_title(loc="right") == "1.005"  # of epoch 2, where both have a loss

    def test_curves_of_scores_say_their_spread_and_ring_the_chosen_rate(self):
        figure = plots.curves(rates(["ia3", "lora"]), "learning_rate", "em@1", chosen={"lora": 1e-2})
        first, second = figure.axes
        assert (first.get_title(loc="left"), first.get_title(loc="right")) == ("ia3", "20.0")
        (ring,) = (line for line in second.lines if line.get_markersize() == 11 and len(line.get_xdata()))
        assert (list(ring.get_xdata()), ring.get_ydata()[0]) == ([1e-2], pytest.approx(59))
        assert "lora 59.0 % (53.0 to 65.0) at 0.01" in plots.alternative(figure)
        assert "ia3 no score at 0.1" in plots.alternative(figure)

    def test_a_training_says_where_it_ended_and_what_is_kept(self):
        words = plots.alternative(plots.loss_curve(training()))
        assert words.startswith("lora: validation loss from 1.20 to 0.60. training from 1.96 to ")
        assert words.endswith("validation from 1.20 to 0.60, the checkpoint of epoch 2 is kept.")

    @pytest.mark.parametrize("cost", columns.COSTS)
    def test_a_scatter_names_every_point_once(self, cost):
        found = [text.get_text() for axes in plots.scatter(methods(), cost).axes for text in axes.texts]
        assert sorted(filter(None, found)) == sorted(METHODS)

    def test_what_trains_nothing_has_a_panel_of_its_own_and_what_has_no_point_is_told(self):
        figure = plots.scatter(methods(**LOST))
        assert "icl-3 27.8 % (21.8 to 33.8) at 0.0 s" in plots.alternative(figure)
        assert "without a point: prefix-tuning, adapter, icl-2" in written(figure)
        free, trained = plots.scatter(methods(), "trainable_parameters").axes
        assert [len([line for line in axes.lines if line.get_gid()]) for axes in (free, trained)] == [3, 4]
        assert trained.get_xscale() == "log"  # since it spans far
        with pytest.raises(ValueError, match="one of em@1, train_seconds, .*; got 'money'"):
            plots.scatter(methods(), "money")

    def test_the_front_is_filled_and_said(self):
        figure = plots.scatter(methods().assign(pareto=[name in ("zero-shot", "lora") for name in METHODS]))
        assert "Highest EM@1 for its training: zero-shot and lora" in written(figure)
        lines = [line for axes in figure.axes for line in axes.lines if line.get_gid()]
        faces = {line.get_gid(): line.get_markerfacecolor() for line in lines}
        assert len(faces) == 7
        assert list(faces.values()).count("#FFFFFF") == 5

    def test_examples_in_prompts_are_lines_by_length_and_the_best_peft_a_level(self):
        figure = plots.scatter(methods(**RAG).iloc[::-1], "prompt_tokens", lines=True)
        drawn = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_linewidth() == 1.6]
        assert sorted(drawn) == [[58.0, 131.0], [67.0, 109.0, 151.0]]
        assert "dotted: lora, which stands for PEFT" in written(figure)

    def test_break_even_shows_what_stands_for_each_family_and_lines_cross_where_the_number_says(self):
        words = plots.alternative(plots.break_even(pays()))
        assert "icl-3 in tokens: more expensive from 1,575 queries on; rag-3 in tokens: more expensive" in words
        assert "more expensive from 1,588 queries on" in words
        assert "icl-2" not in words  # which scores higher
        assert "for ICL and RAG, whatever they score: icl-3 and rag-3" in written(plots.break_even(pays()))
        in_money = pays().rename(columns=lambda name: name.replace("seconds", "money"))
        assert "icl-3 in money: " in plots.alternative(plots.break_even(in_money))
        axes = plots.break_even(pays()).axes[0]
        lines = {line.get_color(): line for line in axes.lines if len(line.get_xdata()) == 200}
        cheaper = lines[plots.colour("lora")].get_ydata() < lines[plots.colour("rag")].get_ydata()
        assert lines[plots.colour("rag")].get_xdata()[np.argmax(cheaper)] == pytest.approx(1588, rel=0.05)
        words = written(drawn("break-even never"))
        assert "rag-3: never: lora is not cheaper per query" in words
        assert "not measured" in words

    def test_seconds_have_bars_and_memory_ends_at_its_peak(self):
        frame = table(
            [THREE[0] | {"step_seconds": 0.0927, "step_seconds_sd": 0.004}, THREE[1] | {"step_seconds": 0.103}]
        )
        words = plots.alternative(plots.forest(frame, "step_seconds", name="label"))
        assert words.startswith("Training step: 0.093 s (lora bf16) to 0.103 s (lora nf4). lora bf16 0.093 ± 0.004 s")
        (axes,) = plots.memory_by_kind(table([PREDICTED])).axes[:1]
        assert max(bar.get_x() + bar.get_width() for bar in axes.patches) == pytest.approx(10)

    def test_memory_has_units_cards_and_what_ran_out_of_it(self):
        figure = plots.memory_by_kind(table([*THREE, OUT]), cards=CARDS)
        words = written(figure)
        assert all(f"| {text} |" in words for text in ("20.5 MiB", "14.0 GiB", "out of memory", "12", "16"))
        assert "| 80 |" not in words
        assert "16 GiB (B, C)" in words
        assert "large, lora fp32: out of memory" in plots.alternative(figure)
        whole = memory("large", "int8", 7 * GIB) | {f"{kind}_bytes": None for kind in plots.KINDS}
        (axes,) = plots.memory_by_kind(table([THREE[2], whole])).axes
        assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(14 + 7)

    def test_lengths_count_every_text_and_say_what_is_too_long(self):
        figure = plots.lengths({"intent": [3, 3, 9], "code": [*range(60), 64, 70, 400]}, limits={"code": 64})
        assert [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes] == [3, 62]
        about = "code: 63 texts, median 31, longest 400 tokens, 2 above the limit of 64 (dashed), 1 beyond the axis"
        assert about in plots.alternative(figure)

    def test_every_query_is_in_a_bar_and_the_share_right_above_it(self):
        figure = plots.similarities(near([0.0, 0.05, 0.55, 1.0], [1.0, 0.0, 1.0, None], unknown=3))
        assert sum(bar.get_height() for bar in figure.axes[0].patches) == 4
        assert [text.get_text() for text in figure.axes[0].texts] == ["50 %", "100 %"]  # not above one without a score
        assert "rag-1 · conala-mini with tiny · 4 queries of one seed, 3 more without a similarity" in written(figure)
        assert "0.00 to 0.10: 50 % of 2 right" in plots.alternative(figure)


# --- colours --------------------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes 2009, severity 1; from linear RGB to linear RGB
SIGHT = {
    "all cones": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def seen(colour: str, sight: str) -> np.ndarray:
    """CIELAB of a colour as a reader with that sight sees it."""
    value = np.array(mpl.colors.to_rgb(colour))
    linear = np.array(SIGHT[sight]) @ np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(linear, 0, 1) / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.fixture(params=style.PAGES)
def page(request) -> Iterator[style.Page]:
    """Each page, with figures made for it."""
    plots.use(request.param)
    yield style.PAGES[request.param]
    plots.use("light")


@pytest.mark.parametrize("sight", SIGHT)
def test_every_kind_has_a_colour_that_differs_for_all_readers_and_stands_out_from_both_pages(sight):
    assert set(plots.COLOURS) == set(KINDS)
    for shades in (map(plots.colour, KINDS), plots.KINDS.values()):
        pairs = itertools.combinations([seen(shade, sight) for shade in shades], 2)
        assert min(float(np.linalg.norm(a - b)) for a, b in pairs) > 9  # a just noticeable difference is about 2.3
    for kind, shown in itertools.product([*KINDS, "something-new"], style.PAGES.values()):
        assert style.contrast(plots.colour(kind), shown.ground) >= 3  # WCAG 2.2, 1.4.11


@pytest.mark.parametrize("name", ["forest by model", "one rate", "lines", "crowd", "break-even", "lengths"])
def test_all_text_is_read_on_its_page(name, page):
    contrasts = {text.get_text(): style.contrast(text.get_color(), page.ground) for text in texts(drawn(name))}
    assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}  # WCAG 2.2, 1.4.3


def test_numbers_in_bars_and_cells_stand_out_from_them(page):
    for axes in plots.endings(ENDED.assign(strict_accuracy=0.5)).axes:  # as tables.by_group gives it
        inside = {text.get_color() for text in axes.texts if text.get_text().strip()}
        for bars in axes.containers:
            shade = mpl.colors.to_hex(bars[0].get_facecolor())
            assert style.contrast(shade, page.ground) >= (3 if page == style.PAGES["dark"] else 1)
            assert max(style.contrast(ink, shade) for ink in inside) >= 4.5
    axes = plots.heat_map(matrix([f"task-{number}" for number in range(4)])).axes[0]
    cells = axes.collections[0].get_facecolors().reshape(6, 4, 4)
    for text in axes.texts:
        x, y = text.get_position()
        assert style.contrast(text.get_color(), mpl.colors.to_hex(cells[int(y), int(x)])) >= 4.5


# --- files ----------------------------------------------------------------------------------------------------------


def test_writes_png_and_svg_on_the_ground_of_the_page_the_same_each_time(page, tmp_path):
    paths = plots.save(plots.scatter(methods()), tmp_path / "figures", "rq1")
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["rq1.png", "rq1.svg"]
    with Image.open(paths[0]) as picture:
        assert (picture.width, picture.mode) == (1200, "P")
        pixels = np.asarray(picture.convert("RGBA"))
        assert picture.info["Description"].startswith("Highest EM@1: lora 45.2 %")
    assert tuple(pixels[0, 0]) == (*bytes.fromhex(page.ground[1:]), 255)
    assert f"fill: {page.ground.lower()}" in paths[1].read_text(encoding="utf-8")
    again = plots.save(plots.scatter(methods()), tmp_path / "again", "rq1")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_a_picture_is_small_and_has_the_figures_colours_and_words():
    figure, plain = plots.forest(models(NAMES), sections="model"), io.BytesIO()
    with style.context():
        figure.savefig(plain, dpi=150)
    picture = plots.shown(figure)
    data, metadata = picture._repr_mimebundle_()
    small = base64.b64decode(data["image/png"])
    drawn, kept = (
        np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int) for png in (plain.getvalue(), small)
    )
    assert len(small) < 0.6 * len(plain.getvalue())
    assert (np.abs(drawn - kept).max(axis=-1) <= 8).mean() > 0.99
    of_kinds = {tuple(bytes.fromhex(plots.colour(name)[1:])) for name in NAMES}
    assert of_kinds <= {*map(tuple, kept.reshape(-1, 3).tolist())}
    assert metadata["image/png"]["alt"] == plots.alternative(figure) == repr(picture)


def test_svg_keeps_text_as_text_and_describes_itself():
    figure = plots.forest(methods())
    figure.set_label(r"LoRA <wins> & more\1")
    svg = plots.svg(figure)
    assert ">prompt-tuning</text>" in svg
    assert r"<desc>LoRA &lt;wins&gt; &amp; more\1</desc>" in svg
    assert 'role="img"' in svg
    assert "dc:date" not in svg

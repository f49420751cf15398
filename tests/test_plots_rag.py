"""Figures of prompt length, break-even, groups and similarities show every number and cut nothing off."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation, Text
from test_plots import cut_off, frame, line, texts, written

from nblib import plots

RAG = {f"rag-{shots}": line("rag", "RAG", 0.4 + 0.01 * shots, None, 25.0 + 42 * shots) for shots in (1, 2, 3)}
MANY = {
    f"{kind}-{shots}": line(kind, kind.upper(), 0.1 + 0.02 * shots, None, 25.0 + 45 * shots)
    for kind in ("icl", "rag")
    for shots in (1, 2, 3, 4, 8, 16)
}
TRAINED = {
    kind: line(kind, "PEFT", 0.2 + 0.02 * place, 40.0, 23.0)
    for place, kind in enumerate(kind for kind in plots.COLOURS if kind not in ("zero-shot", "icl", "rag", "full"))
}


def costs(unit: str, once: float, base: float, method: float) -> dict:
    values = {"once": once, "base": base, "method": method, "queries": np.ceil(once / (method - base)), "why": None}
    return {f"{unit}_{name}": value for name, value in values.items()}


def pays(**changed: dict) -> pd.DataFrame:
    """What tables.break_even makes."""
    lines = {
        label: {
            "kind": label[:3],
            "family": label[:3].upper(),
            "base": "lora",
            "base_kind": "lora",
            "score": score,
        }
        | costs("tokens", 200_000.0, 184.0, tokens)
        | costs("seconds", 11.0, 0.05, tokens / 2500)
        for label, tokens, score in [
            *(("icl-1", 228.0, 0.2), ("icl-2", 270.0, 0.3), ("icl-3", 311.0, 0.25)),
            *(("rag-1", 225.0, 0.4), ("rag-2", 265.0, 0.45), ("rag-3", 310.0, 0.5)),
        ]
    }
    for label, values in changed.items():
        lines[label.replace("_", "-")] |= values
    return pd.DataFrame(lines.values(), index=pd.Index(list(lines), name="method"))


NEVER = {"tokens_queries": None, "tokens_why": "never: lora is not cheaper a query", "tokens_method": 150.0}
NOT_MEASURED = {
    f"seconds_{name}": "not measured" if name == "why" else None
    for name in ("once", "base", "method", "queries", "why")
}


def grouped(groups=("known operation", "new operation"), methods=("zero-shot", "icl-1", "rag-1", "lora")):
    """What tables.by_group makes."""
    return pd.DataFrame(
        [
            {"group": group, "method": method} | line(method.split("-")[0], "any", 0.1 + 0.1 * place)
            for group in groups
            for place, method in enumerate(methods)
        ]
    )


def near(similarities, scores, unknown=0) -> pd.DataFrame:
    """What tables.nearest makes."""
    values = {"similarity": similarities, "score": scores, "unknown": unknown, "method": "rag-1", "kind": "rag"}
    columns = ["method", "kind", "model", "task", "example", "similarity", "score", "unknown"]
    named = pd.DataFrame(values | {"model": "tiny", "task": "conala-mini"}).assign(example="e")
    return named[columns].astype({"similarity": float, "score": float})


def overlapping(figure) -> list[tuple[str, str]]:
    """Notes that cover one another, a panel at a time; only the text counts."""
    figure.canvas.draw()
    found = []
    for axes in figure.axes:
        notes = [each for each in axes.texts if isinstance(each, Annotation)]
        boxes = [(each.get_text(), Text.get_window_extent(each).padded(-1)) for each in notes]
        found += [(a, b) for (a, one), (b, other) in itertools.combinations(boxes, 2) if one.overlaps(other)]
    return found


RANDOM = np.random.default_rng(0)
FIGURES = {
    "length": lambda: plots.quality_by_length(frame(**RAG)),
    "length of many": lambda: plots.quality_by_length(frame(**MANY, **TRAINED)),
    "length of ties": lambda: plots.quality_by_length(frame(**{n: v | {"em@1": 0.452} for n, v in RAG.items()})),
    "length with lost runs": lambda: plots.quality_by_length(
        frame(**RAG | {"rag-2": line("rag", "RAG", None, status="failed")})
    ),
    "one length": lambda: plots.quality_by_length(frame(**RAG).loc[["rag-3"]]),
    "length without prompts": lambda: plots.quality_by_length(frame().loc[["lora", "full"]]),
    "no length": lambda: plots.quality_by_length(frame().iloc[:0]),
    "break-even": lambda: plots.break_even(pays()),
    "break-even of all": lambda: plots.break_even(pays(), methods=list(pays().index), subtitle="conala-mini with tiny"),
    "break-even never": lambda: plots.break_even(pays(rag_3=NEVER)),
    "break-even not measured": lambda: plots.break_even(pays(rag_3=NOT_MEASURED, icl_2=NOT_MEASURED)),
    "no break-even": lambda: plots.break_even(pays().iloc[:0]),
    "groups": lambda: plots.by_group(grouped()),
    "six long groups": lambda: plots.by_group(grouped([f"a rather long name of a group {n}" for n in range(6)])),
    "one group": lambda: plots.by_group(grouped(["all"], ["lora"])),
    "similarities": lambda: plots.similarities(near(RANDOM.beta(3, 2, 200), RANDOM.integers(0, 2, 200))),
    "one similarity": lambda: plots.similarities(near([1.0], [1.0])),
    "equal similarities": lambda: plots.similarities(near([0.5] * 200, [1.0, 0.0] * 100)),
    "far similarities": lambda: plots.similarities(near([-30.0, 5.0, 90.0], [1.0, None, 0.0], unknown=3)),
    "no similarities": lambda: plots.similarities(near([], [])),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_or_covered_and_all_is_said(name):
    figure = FIGURES[name]()
    assert len(texts(figure)) >= 3
    assert cut_off(figure) == []
    assert overlapping(figure) == []
    assert len(plots.alternative(figure)) > 20


class TestQualityByLength:
    def test_the_numbers_of_examples_stand_at_the_points(self):
        notes = [each.get_text() for each in plots.quality_by_length(frame(**RAG)).axes[0].texts]
        assert sorted(each for each in notes if each.isdigit()) == ["1", "1", "2", "3", "3"]
        assert {"ICL", "RAG", "zero-shot", "full", "lora 45.2 %"} <= set(notes)

    def test_the_best_peft_method_is_the_level(self):
        notes = [each.get_text() for each in plots.quality_by_length(frame(ia3=line("ia3", "PEFT", 0.7))).axes[0].texts]
        assert "ia3 70.0 %" in notes
        assert "lora" in notes

    def test_shots_run_by_length_whatever_the_order_of_lines(self):
        table = frame(**MANY)
        figures = [plots.quality_by_length(each) for each in (table, table.iloc[::-1])]
        lines = [
            sorted(tuple(each.get_xdata()) for each in figure.axes[0].lines if len(each.get_xdata()) == 6)
            for figure in figures
        ]
        assert lines[0] == lines[1]
        assert len(lines[0]) == 2
        assert all(list(each) == sorted(each) for each in lines[0])

    def test_two_retrievers_are_two_lines(self):
        rows = {f"rag-{shots} retriever={name}": RAG[f"rag-{shots}"] for shots in (1, 3) for name in ("bm25", "tfidf")}
        said = written(plots.quality_by_length(frame(**rows)))
        assert {"RAG retriever=bm25", "RAG retriever=tfidf"} <= set(said)

    def test_what_has_no_name_or_no_point_is_told(self):
        lost = {"rag-2": line("rag", "RAG", None, status="failed")}
        said = " ".join(written(plots.quality_by_length(frame(**TRAINED, **lost))))
        assert "points without a name: lora, ia3" in said
        assert "without a point: rag-2" in said

    def test_without_intervals_lines_are_drawn(self):
        table = frame(**RAG).assign(**{"em@1_low": np.nan, "em@1_high": np.nan})
        assert "rag-3 43.0 % at 151 tokens" in plots.alternative(plots.quality_by_length(table))

    def test_an_unknown_score_is_refused(self):
        with pytest.raises(ValueError, match="the column must be one of em@1; got 'em@2'"):
            plots.quality_by_length(frame(), "em@2")


class TestBreakEven:
    def test_the_best_of_each_family_is_shown_with_its_number(self):
        said = written(plots.break_even(pays()))
        assert {"icl-2", "rag-3", "lora", "2,326 queries", "1,588 queries"} <= set(said)
        assert not {"icl-1", "rag-1"} & set(said)

    def test_lines_cross_where_the_number_says(self):
        axes = plots.break_even(pays(), methods=["rag-3"]).axes[0]
        drawn = {(each.get_color(), len(each.get_xdata())): each for each in axes.lines}
        lora, rag = (drawn[plots.colour(kind), 200] for kind in ("lora", "rag"))
        cheaper = lora.get_ydata() < rag.get_ydata()
        first = lora.get_xdata()[np.argmax(cheaper)]
        assert first == pytest.approx(1588, rel=0.05)
        assert not cheaper[0]
        assert cheaper[-1]

    def test_never_is_said_and_not_marked(self):
        said = " ".join(written(plots.break_even(pays(rag_3=NEVER), methods=["rag-3"])))
        assert "rag-3 in tokens: never: lora is not cheaper a query" in said
        assert said.count("queries") == 2  # the axis and the crossing in seconds

    def test_what_was_not_measured_is_said(self):
        assert "not measured" in written(plots.break_even(pays(rag_3=NOT_MEASURED, icl_2=NOT_MEASURED)))

    def test_an_unknown_method_is_refused(self):
        with pytest.raises(ValueError, match="methods must be of icl-1, .*rag-3; got 'icl-9'"):
            plots.break_even(pays(), methods=["icl-9"])


class TestByGroup:
    def test_says_every_number_and_the_size_of_each_group(self):
        said = written(plots.by_group(grouped()))
        assert {"10.0 %", "40.0 %", "34.0–46.0", "known operation (n = 200)", "new operation (n = 200)"} <= set(said)
        assert said.count("40.0 %") == 2

    def test_lost_runs_say_why(self):
        table = pd.concat([grouped(), pd.DataFrame([{"group": "new operation", "method": "ia3"} | LOST])])
        assert "out of memory" in written(plots.by_group(table))

    def test_more_groups_than_marks_are_refused(self):
        with pytest.raises(ValueError, match="at most 8 groups apart; got 9"):
            plots.by_group(grouped([f"group {number}" for number in range(9)]))


LOST = line("ia3", "PEFT", None, status="out_of_memory") | {"em@1_n": 0}


class TestSimilarities:
    def test_every_query_is_in_a_bar_and_the_share_right_above_it(self):
        figure = plots.similarities(near([0.0, 0.05, 0.55, 1.0], [1.0, 0.0, 1.0, None]))
        bars = figure.axes[0].patches
        assert sum(each.get_height() for each in bars) == 4
        notes = [each.get_text() for each in figure.axes[0].texts]
        assert notes == ["50 %", "100 %"]  # not above the bar of one answer without a score

    def test_says_the_run_and_what_is_left_out(self):
        said = " ".join(written(plots.similarities(near([0.5], [1.0], unknown=3))))
        assert "rag-1, conala-mini with tiny · 1 query of one seed, 3 more without a similarity" in said

    def test_its_words_hold_the_numbers(self):
        words = plots.alternative(plots.similarities(near([0.12, 0.13, 0.9], [1.0, 0.0, 1.0])))
        assert "0.10 to 0.20, 1 of 2 right" in words

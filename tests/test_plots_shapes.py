"""Each shape shows the numbers of its frame, says why one is missing, and refuses what it cannot draw."""

import numpy as np
import pandas as pd
import pytest
from test_plots import (
    CARDS,
    LOST,
    NAMES,
    NEVER,
    OUT,
    RAG,
    THREE,
    UNMEASURED,
    grouped,
    losses,
    matrix,
    memory,
    methods,
    models,
    near,
    pays,
    rates,
    scored,
    table,
    training,
    written,
)

from nblib import plots, stats


def said(figure) -> str:
    return " ".join(written(figure)).replace("\n", " ")


class TestForest:
    def test_runs_from_best_to_worst_and_lost_runs_stand_below(self):
        (axes,) = plots.forest(methods(**LOST)).axes
        assert [each.get_text() for each in axes.get_yticklabels()] == [
            *("lora", "full", "icl-3", "prompt-tuning", "ia3", "icl-1", "zero-shot"),
            *("prefix-tuning", "adapter", "icl-2"),
        ]
        low, high = axes.get_ylim()
        assert low > high  # the first at the top

    def test_says_every_number_and_every_loss_also_in_words(self):
        figure = plots.forest(methods(**LOST))
        assert {"45.2 %", "39.2–51.2", "11.1 %", "out of memory", "failed", "not run"} <= set(written(figure))
        words = plots.alternative(figure)
        assert words.startswith("EM@1 by method. lora 45.2 % (39.2 to 51.2); full 44.3 %")
        assert words.endswith("prefix-tuning out of memory; adapter failed; icl-2 not run.")

    def test_says_on_what_it_rests(self):
        words = said(plots.forest(methods().assign(limit=20.0)))
        assert "conala-mini with tiny · n = 200, 1 to 3 seeds · bars: 95 % intervals over examples and seeds" in words
        assert "only the first examples: a partial result" in words

    def test_takes_what_summarise_returns(self):
        answers = pd.DataFrame(
            {"run": name, "method": name, "seed": 1, "example": str(n), "em@1": float(n < right)}
            for name, right in (("icl-3", 10), ("lora", 15))
            for n in range(20)
        )
        figure = plots.forest(stats.summarise(answers, "method", "em@1"))
        assert plots.alternative(figure).startswith("EM@1 by method. lora 75.0 % (")
        shades = [line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_marker() == "o"]
        assert shades == [plots.colour("lora"), plots.colour("icl")]

    def test_scores_without_intervals_are_drawn(self):
        figure = plots.forest(methods().drop(columns=["em@1_low", "em@1_high"]))
        assert "45.2 %" in written(figure)
        assert "95 %" not in said(figure)

    @pytest.mark.parametrize("metric", ["em@2", "codebleu"])
    def test_a_score_that_is_not_there_is_refused(self, metric):
        with pytest.raises(ValueError, match="the column must be one of em@1, .*; got "):
            plots.forest(methods(), metric)

    def test_methods_stand_under_their_model_and_the_reference_goes_through_all(self):
        figure = plots.forest(models(["full", "lora"]), sections="model")
        headings = {"owner/model-0, 1 million parameters", "owner/model-1, 10 million parameters"}
        assert headings <= {each.strip() for each in written(figure)}
        assert "dashed: owner/model-0, full" in said(figure)
        words = plots.alternative(figure)
        assert "owner/model-0, full: 90.0 % (84.0 to 96.0); owner/model-0, lora: 85.0 %" in words
        assert "owner/model-1, full: failed" in words

    def test_groups_have_their_sizes_and_every_number(self):
        words = written(plots.forest(grouped(), marks="group"))
        assert {"10.0 %", "34.0–46.0", "known operation (n = 200)", "new operation (n = 200)"} <= set(words)
        assert words.count("40.0 %") == 2
        lost = table([{"group": "new operation", "method": "ia3"} | scored(None, "failed")])
        assert "failed" in written(plots.forest(pd.concat([grouped(), lost]), marks="group"))

    def test_more_groups_than_marks_are_refused(self):
        with pytest.raises(ValueError, match="at most 8 groups apart; got 9"):
            plots.forest(grouped([f"group {number}" for number in range(9)]), marks="group")

    def test_a_prediction_stands_beside_what_was_measured(self):
        by = {"name": "label", "sections": "model", "beside": "predicted_bytes"}
        figure = plots.forest(table(THREE[2:]), "memory_bytes", **by)
        assert "+10.0 %" in written(figure)
        assert "large, lora bf16: 14.0 GiB (15.4 GiB predicted)" in plots.alternative(figure)


class TestHeatMap:
    def test_every_cell_has_its_number_and_its_interval(self):
        words = written(plots.heat_map(matrix(["a", "b"])))
        assert words.count("40.0 %\n(34.0 to 46.0)") == 2
        assert {"nothing (zero-shot)", "a + b", "trained on", "asked"} <= set(words)

    def test_the_own_adapter_is_outlined_and_gaps_are_said(self):
        figure = plots.heat_map(matrix(["a", "b"], lost=True))
        outlined = [each.get_xy() for each in figure.axes[0].patches if not each.get_fill()]
        assert [(int(x), int(y)) for x, y in outlined] == [(0, 1), (1, 2)]
        assert "out of memory" in written(figure)
        assert "b, a: out of memory" in plots.alternative(figure)


class TestCurves:
    def test_the_lowest_loss_comes_first_with_its_number(self):
        figure = plots.curves(losses(NAMES[::-1]))
        assert figure.axes[0].get_title(loc="left").startswith("a-very-long")
        assert figure.axes[0].get_title(loc="right") == "0.760"  # 0.5 + 2 / 8, and the mean of the seeds' 0.01
        assert figure.axes[-1].get_title(loc="left") == "lora"
        assert plots.alternative(figure).startswith(
            "Validation loss by epoch, best first. a-very-long-name-of-a-method"
        )

    def test_each_panel_has_its_method_in_colour_and_its_kept_checkpoints(self):
        axes = plots.curves(losses(["lora", "ia3"])).axes[1]
        shades = [line.get_color() for line in axes.lines if len(line.get_xdata())]
        assert shades[-2:] == [plots.colour("ia3")] * 2
        assert [list(line.get_xdata()) for line in axes.lines if line.get_markersize() == 5.5] == [[4.0, 4.0, 4.0]]

    def test_a_loss_far_above_the_others_does_not_flatten_them(self):
        frame = losses(NAMES[:4])
        frame.loc[0, "loss"] = 1e6
        assert plots.curves(frame).axes[0].get_ylim()[1] < 10

    def test_a_seed_that_stopped_early_does_not_bend_the_mean(self):
        frame = losses(["lora"], 2)
        frame = frame[(frame["seed"] == 0) | (frame["epoch"] <= 2)]
        assert max(plots.curves(frame).axes[0].lines[-2].get_xdata(), default=0) <= 4
        assert plots.curves(frame).axes[0].get_title(loc="right") == "1.005"  # of epoch 2, where both have a loss

    def test_says_the_spread_of_scores_and_rings_the_chosen_rate(self):
        figure = plots.curves(rates(["ia3", "lora"]), "learning_rate", "em@1", chosen={"lora": 1e-2})
        first, second = figure.axes
        assert (first.get_title(loc="left"), first.get_title(loc="right")) == ("ia3", "20.0")
        (ring,) = (line for line in second.lines if line.get_markersize() == 11 and len(line.get_xdata()))
        assert (list(ring.get_xdata()), ring.get_ydata()[0]) == ([1e-2], pytest.approx(59))
        assert second.get_xscale() == "log"
        (crosses,) = (line for line in first.lines if line.get_marker() == "x")
        assert list(crosses.get_xdata()) == [0.1]
        assert "lora 59.0 % (53.0 to 65.0) at 0.01" in plots.alternative(figure)
        assert "ia3 no score at 0.1" in plots.alternative(figure)

    def test_a_training_says_where_it_ended_and_what_is_kept(self):
        words = plots.alternative(plots.loss_curve(training()))
        assert words.startswith("Loss of lora by epoch: training from 1.96 to ")
        assert words.endswith("validation from 1.20 to 0.60, the checkpoint of epoch 2 is kept.")
        assert "validation" not in plots.alternative(plots.loss_curve(training(validated=False)))


class TestScatter:
    @pytest.mark.parametrize("cost", plots.COSTS)
    def test_names_every_point_once(self, cost):
        (axes,) = plots.scatter(methods(), cost).axes
        assert sorted(each.get_text() for each in axes.texts if each.get_text()) == sorted(methods().index)

    def test_prompting_trains_for_no_time_and_what_has_no_point_is_told(self):
        figure = plots.scatter(methods(**LOST))
        assert "icl-3 27.8 % (21.8 to 33.8) at 0 s" in plots.alternative(figure)
        assert "lora 45.2 % (39.2 to 51.2) at 41.3 s" in plots.alternative(figure)
        assert "without a point: prefix-tuning, adapter, icl-2" in said(figure)

    def test_a_cost_that_spans_far_has_a_log_axis_with_a_zero(self):
        (axes,) = plots.scatter(methods(), "trainable_parameters").axes
        assert axes.get_xscale() == "symlog"
        assert 0 in axes.get_xticks()
        assert plots.scatter(methods()).axes[0].get_xscale() == "linear"

    def test_memory_is_in_gib(self):
        figure = plots.scatter(methods(), "peak_bytes")
        assert figure.axes[0].get_xlabel() == "peak memory (GiB)"
        assert "lora 45.2 % (39.2 to 51.2) at 1.0 GiB" in plots.alternative(figure)

    def test_the_front_is_filled_and_said(self):
        frame = methods().assign(pareto=[name in ("zero-shot", "lora") for name in methods().index])
        figure = plots.scatter(frame)
        assert "7 points, filled: the Pareto front, which no other beats in both (zero-shot and lora)" in said(figure)
        faces = {line.get_gid(): line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_gid()}
        assert len(faces) == 7
        assert list(faces.values()).count("#FFFFFF") == 5

    def test_examples_in_prompts_are_lines_by_length_and_the_best_peft_a_level(self):
        for frame in (methods(**RAG), methods(**RAG).iloc[::-1]):
            figure = plots.scatter(frame, "prompt_tokens", lines=True)
            drawn = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_linewidth() == 1.6]
            assert sorted(drawn) == [[58.0, 131.0], [67.0, 109.0, 151.0]]
            assert "dotted: lora, the best PEFT method" in said(figure)

    def test_two_retrievers_are_two_lines(self):
        rows = {f"rag-{shots} retriever={name}": RAG[f"rag-{shots}"] for shots in (1, 3) for name in ("bm25", "tfidf")}
        (axes,) = plots.scatter(methods(**rows), "prompt_tokens", lines=True).axes
        assert len([line for line in axes.lines if line.get_linewidth() == 1.6]) == 3

    def test_an_unknown_cost_is_refused(self):
        with pytest.raises(ValueError, match="one of em@1, train_seconds, .*; got 'money'"):
            plots.scatter(methods(), "money")


class TestBreakEven:
    def test_the_best_of_each_family_is_shown_with_its_number(self):
        words = plots.alternative(plots.break_even(pays()))
        assert "icl-2 in tokens: dearer from 2,326 queries on; rag-3 in tokens: dearer from 1,588 queries on" in words
        assert "icl-1" not in words

    def test_lines_cross_where_the_number_says(self):
        axes = plots.break_even(pays(), methods=["rag-3"]).axes[0]
        drawn = {each.get_color(): each for each in axes.lines if len(each.get_xdata()) == 200}
        lora, rag = (drawn[plots.colour(kind)] for kind in ("lora", "rag"))
        cheaper = lora.get_ydata() < rag.get_ydata()
        assert lora.get_xdata()[np.argmax(cheaper)] == pytest.approx(1588, rel=0.05)
        assert (cheaper[0], cheaper[-1]) == (False, True)

    def test_never_and_not_measured_are_said(self):
        axes = plots.break_even(pays(rag_3=NEVER), methods=["rag-3"]).axes[0]
        labels = [each.get_text() for each in axes.get_legend().get_texts()]
        assert labels == ["rag-3: never: lora is not cheaper a query", "lora, trained once"]
        assert "not measured" in written(plots.break_even(pays(rag_3=UNMEASURED, icl_2=UNMEASURED)))

    def test_an_unknown_method_is_refused(self):
        with pytest.raises(ValueError, match="methods must be of icl-1, .*rag-3; got 'icl-9'"):
            plots.break_even(pays(), methods=["icl-9"])


class TestMemory:
    def test_small_models_are_in_mib_and_large_ones_in_gib(self):
        assert {"20.5 MiB", "14.0 GiB"} <= set(written(plots.memory_by_kind(table(THREE))))

    def test_cards_are_lines_up_to_the_next_larger_one(self):
        words = written(plots.memory_by_kind(table(THREE[2:]), cards=CARDS))
        assert {"12", "16"} <= set(words)
        assert "80" not in words
        assert "16 GiB (B, C)" in " ".join(words).replace("\n", " ")

    def test_what_ran_out_of_memory_is_said(self):
        figure = plots.memory_by_kind(table([THREE[2], OUT]))
        assert "out of memory" in written(figure)
        assert "large, lora fp32: out of memory" in plots.alternative(figure)

    def test_kinds_add_up_to_the_bar_and_a_whole_without_kinds_is_drawn(self):
        whole = memory("large", "int8", 7 * 2.0**30) | {f"{kind}_bytes": None for kind in plots.KINDS}
        (axes,) = plots.memory_by_kind(table([THREE[2], whole])).axes
        assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(14 + 7)


class TestData:
    def test_counts_every_text_and_says_what_is_too_long(self):
        figure = plots.lengths(
            {"intent": [3, 3, 9], "code": [*range(60), 64, 70, 400]}, limits={"code": 64, "other": 5}
        )
        assert [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes] == [3, 62]
        about = "code: 63 texts, median 31, longest 400 tokens, 2 above the limit of 64 (dashed), 1 beyond the axis"
        assert about in plots.alternative(figure)
        assert about in said(figure)

    def test_a_column_without_texts_is_refused(self):
        with pytest.raises(ValueError, match="got none for code"):
            plots.lengths({"intent": [1], "code": []})
        with pytest.raises(ValueError, match="got none for no column"):
            plots.lengths({})

    def test_every_query_is_in_a_bar_and_the_share_right_above_it(self):
        figure = plots.similarities(near([0.0, 0.05, 0.55, 1.0], [1.0, 0.0, 1.0, None], unknown=3))
        assert sum(each.get_height() for each in figure.axes[0].patches) == 4
        notes = [each.get_text() for each in figure.axes[0].texts]
        assert notes == ["50 %", "100 %"]  # not above the bar of one answer without a score
        assert "rag-1 · conala-mini with tiny · 4 queries of one seed, 3 more without a similarity" in said(figure)
        assert "0.00 to 0.10: 50 % of 2 right" in plots.alternative(figure)

"""The explorer filters a store, finds its Pareto front, sets runs beside one another, and exports what it shows."""

from xml.etree import ElementTree

import pandas as pd
import pytest
from matplotlib.text import Text

from nblib import plots, results, spec
from nblib.provenance import REVISIONS
from nblib.results import Prediction, Row
from nblib.spec import Run, Training
from nblib.tasks import Example
from nblib.widgets import explorer

MADE_NOW = {"revisions": dict(REVISIONS)}  # provenance

EXAMPLES = tuple(Example(f"q{number}", f"intent <{number}>", f"answer = {number}") for number in range(4))


def write(folder, method, *, right, task="conala-mini", seed=42, train_seconds=None, tokens=20.0, **settings):
    """A run that answers the first `right` of four examples rightly."""
    run = Run("tiny", task, method, training=Training() if method.trained else None, seed=seed, **settings)
    predictions = [
        Prediction(each.id, (code,), (code,), 20, 5, scores={"em@1": float(code == each.code)})
        for number, each in enumerate(EXAMPLES)
        for code in [each.code if number < right else f"{spec.label(method)} = {number}"]
    ]
    id = f"{spec.label(method)}.{run.precision}.{task}.{run.split}.seed{seed}"
    scores = {"em@1": {"mean": right / 4, "n": 4, "missing": 0}}
    costs = {"prompt_tokens": tokens, "train_seconds": train_seconds, "generate_peak_bytes": 2**30}
    results.write(folder, Row(id, spec.settings(run), "ok", scores, costs, {}, MADE_NOW), predictions)
    return id


@pytest.fixture
def store(tmp_path):
    """Six runs: on the front of EM@1 over training seconds are rag, lora and full; icl, ia3 and zero-shot are not."""
    write(tmp_path, spec.ZeroShot(), right=0)
    write(tmp_path, spec.InContext(2), right=1, tokens=60.0)
    write(tmp_path, spec.Retrieved(2), right=2, tokens=70.0)
    write(tmp_path, spec.Lora(), right=3, train_seconds=10.0)
    write(tmp_path, spec.Ia3(), right=2, train_seconds=12.0)
    write(tmp_path, spec.FullTuning(), right=4, train_seconds=30.0)
    return tmp_path


def test_the_front_has_every_run_that_no_other_beats(store):
    frame = explorer.runs(store)
    found = explorer.front(frame, "train_seconds", "em@1")
    assert list(frame.loc[found, "kind"]) == ["rag", "lora", "full"]
    assert list(frame.loc[explorer.front(frame, "prompt_tokens", "em@1"), "kind"]) == ["full"]


def test_equal_runs_are_both_on_the_front(store):
    write(store, spec.FullTuning(), right=4, train_seconds=30.0, seed=777)
    frame = explorer.runs(store)
    assert len(explorer.front(frame, "train_seconds", "em@1")) == 4


def test_scores_of_several_tasks_have_no_front(store):
    write(store, spec.Lora(), right=4, task="codealpaca-mini", train_seconds=1.0)
    frame = explorer.runs(store)
    assert explorer.front(frame, "train_seconds", "em@1") == []
    assert "no front" in explorer.table(frame).text
    assert len(explorer.front(explorer.runs(store, task="conala-mini"), "train_seconds", "em@1")) == 3


def test_an_axis_that_is_none_is_refused(store):
    with pytest.raises(ValueError, match="an axis must be one of em@1, .*; got 'colour'"):
        explorer.front(explorer.runs(store), "colour", "em@1")


def test_filters_leave_what_was_asked_for(store):
    write(store, spec.Lora(), right=1, train_seconds=9.0, precision="nf4-dq")
    assert set(explorer.runs(store, method="lora")["kind"]) == {"lora", "qlora-4bit"}
    assert list(explorer.runs(store, method="lora", precision="nf4-dq")["label"]) == ["qlora-4bit"]
    assert len(explorer.runs(store, model="tiny", task="conala-mini")) == 7
    assert explorer.runs(store, model="codellama-7b").empty


def test_searches_failures_and_random_weights_are_no_points(store):
    write(store, spec.Lora(learning_rate=1.0), right=4, train_seconds=0.1, split="validation")
    write(store, spec.Lora(r=2), right=4, train_seconds=0.1, shape_only=True, seed=1)
    run = Run("tiny", "conala-mini", spec.ZeroShot(), seed=3)
    results.write(
        store,
        Row("lost", spec.settings(run), "failed", {}, {}, {}, MADE_NOW, error="RuntimeError: no"),
    )
    assert len(explorer.runs(store)) == 6


def test_an_adapter_of_another_task_says_so(store):
    write(store, spec.Lora(), right=1, seed=7, train_seconds=10.0, train_task="codealpaca-mini")
    assert "lora, from codealpaca-mini" in set(explorer.runs(store)["label"])


def test_the_figure_says_its_front_in_words_and_names_what_is_chosen(store):
    frame = explorer.runs(store)
    chosen = frame.index[frame["kind"] == "icl"][0]
    figure = explorer.figure(frame, "train_seconds", "em@1", chosen=chosen)
    said = plots.alternative(figure)
    assert said.startswith(
        "EM@1 against training time, 6 points, with a Pareto front. full 100.0 % at 30 s; ia3 50.0 % at 12 s;"
    )
    written = " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")
    assert "6 points, filled: the Pareto front, which no other beats in both (rag-2, lora and full)" in written
    assert "ringed: icl-2" in written
    names = {text.get_text() for text in figure.axes[0].texts}
    assert {"rag-2", "lora", "full", "icl-2", "ia3", "zero-shot"} == names


@pytest.mark.parametrize(("x", "y"), [("peak_bytes", "train_seconds"), ("chrf", "em@1"), ("em@1", "prompt_tokens")])
def test_any_two_numbers_can_be_drawn_even_where_runs_lack_one(store, x, y):
    assert plots.shown(explorer.figure(explorer.runs(store), x, y)).png.startswith(b"\x89PNG")


def test_differences_count_and_put_right_against_wrong_first(store):
    lora, rag = (explorer.runs(store, method=each).index[0] for each in ("lora", "rag"))
    shown = explorer.differences(store, rag, lora, examples=EXAMPLES)
    assert (
        "4 common examples: 2 both right, 0 only the first right, 1 only the second right, 1 both wrong" in shown.text
    )
    assert list(shown.frame["example"]) == ["q2", "q3"]
    assert "[-rag-2-]{+answer+} = 2" in shown.text
    assert "intent &lt;2&gt;" in shown.html


def test_runs_without_a_common_example_cannot_be_set_beside_one_another(store):
    run = Run("tiny", "conala-mini", spec.ZeroShot(), seed=9)
    other = Prediction("elsewhere", ("x",), ("x",), 1, 1, scores={"em@1": 0.0})
    results.write(store, Row("other", spec.settings(run), "ok", {}, {}, {}, MADE_NOW), [other])
    with pytest.raises(ValueError, match="answered no common example"):
        explorer.differences(store, "other", explorer.runs(store, method="lora").index[0])


def test_a_run_that_is_not_there_is_named(store):
    with pytest.raises(ValueError, match="no sound run 'nowhere'"):
        explorer.run(store, "nowhere")


def test_a_run_shows_its_settings_scores_and_answers(store):
    (id,) = explorer.runs(store, method="rag").index
    told = dict(explorer.run(store, id).frame.to_numpy().tolist())
    assert told["method.shots"] == "2"
    assert told["em@1"] == "50.0 % of 4"
    shown = explorer.predictions(store, id, examples=EXAMPLES, count=3)
    assert list(shown.frame[""]) == ["✓", "✓", "✗"]
    assert shown.frame["answer"][0] == "answer = 0"


def test_an_export_is_what_is_shown(store, tmp_path):
    frame = explorer.runs(store)
    written = explorer.export(frame, "train_seconds", "em@1", folder=tmp_path / "out", name="mine")
    assert [each.name for each in written] == ["mine.csv", "mine.png", "mine.svg", "mine.tex"]
    read = pd.read_csv(written[0], index_col=0)
    assert list(read.index) == list(frame.index)
    assert list(read["em@1"]) == list(frame["em@1"])
    assert written[1].read_bytes() == plots.shown(explorer.figure(frame, "train_seconds", "em@1")).png
    tex = written[3].read_text()
    assert tex.count(r" \\") == 1 + len(frame)
    assert r"EM@1 (\%)" in tex
    with pytest.raises(ValueError, match="a kind of export is one of csv, png, tex; got 'pdf'"):
        explorer.export(frame, "train_seconds", "em@1", folder=tmp_path, kinds=["pdf"])


# --- the widget -------------------------------------------------------------------------------------------------------


def test_a_chosen_run_is_ringed_and_told(store):
    widget = explorer.show(store, examples=EXAMPLES)
    assert [name for _, name in widget.x.options] == [
        "em@1",
        "train_seconds",
        "prompt_tokens",
        "trainable_parameters",
        "peak_bytes",
    ]
    before = widget.picture.svg
    assert 'aria-label="EM@1 against training time, 6 points' in before
    lora, rag = (explorer.runs(store, method=each).index[0] for each in ("lora", "rag"))
    widget.chosen.value = lora
    assert widget.picture.svg != before
    assert widget.picture.chosen == lora
    assert explorer.run(store, lora).html in widget.detail.value
    assert explorer.predictions(store, lora, examples=EXAMPLES, count=8).html in widget.detail.value
    widget.other.value = rag
    assert explorer.differences(store, lora, rag, examples=EXAMPLES).html in widget.detail.value


def test_a_click_on_a_point_chooses_its_run_in_the_list_and_a_choice_in_the_list_its_point(store):
    widget = explorer.show(store, examples=EXAMPLES)
    points = {each.get("id") for each in ElementTree.fromstring(widget.picture.svg).iter() if each.get("id")}
    assert {f"run:{id}" for id in explorer.runs(store).index} <= points
    lora, rag = (explorer.runs(store, method=each).index[0] for each in ("lora", "rag"))
    widget.picture.chosen = lora  # what points.js does
    assert widget.chosen.value == lora
    assert explorer.run(store, lora).html in widget.detail.value
    assert widget.picture.names[lora].startswith("lora, conala-mini, tiny")
    widget.chosen.value = rag
    assert widget.picture.chosen == rag
    widget.filters["method"].value = "ia3"  # which leaves rag out
    assert (widget.chosen.value, widget.picture.chosen) == (None, "")


def test_of_several_tasks_the_one_with_most_runs_comes_first(store):
    write(store, spec.Lora(), right=4, task="codealpaca-mini", train_seconds=1.0)
    widget = explorer.show(store)
    assert widget.filters["task"].value == "conala-mini"
    assert "time, 6 points" in widget.picture.svg
    widget.filters["task"].value = "all"
    assert "without a Pareto front" in widget.picture.svg


def test_a_filter_changes_figure_and_list(store):
    widget = explorer.show(store)
    widget.filters["method"].value = "icl"
    assert "time, 1 points" in widget.picture.svg
    assert len(widget.chosen.options) == 1
    widget.filters["method"].value = "all"
    assert len(widget.chosen.options) == 6


def test_buttons_export_what_the_filters_leave(store):
    widget = explorer.show(store)
    widget.filters["method"].value = "lora"
    for kind, files in (
        ("csv", {".csv"}),
        ("png", {".csv", ".png", ".svg"}),
        ("tex", {".csv", ".png", ".svg", ".tex"}),
    ):
        widget.exports[kind].click()
        assert {each.suffix for each in (store / "exports").iterdir()} == files
        assert widget.status.value.startswith("wrote explorer.")
    assert len(pd.read_csv(store / "exports" / "explorer.csv")) == 1


def test_an_export_that_fails_is_a_sentence(store):
    (store / "exports").write_text("in the way")
    widget = explorer.show(store)
    widget.exports["csv"].click()
    assert "exports" in widget.status.value
    assert "\n" not in widget.status.value


def test_an_empty_store_says_so(tmp_path):
    widget = explorer.show(tmp_path)
    assert widget.hint.value.startswith("There are no runs yet")
    assert explorer.table(explorer.runs(tmp_path)).text == "There are no such runs."
    assert "nothing to show" in plots.alternative(explorer.figure(explorer.runs(tmp_path)))

"""The explorer filters a store, finds its Pareto front, sets runs beside one another, and exports what it shows."""

import io
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
    codes = [example.code if n < right else f"{spec.label(method)} = {n}" for n, example in enumerate(EXAMPLES)]
    predictions = [
        Prediction(example.id, (code,), (code,), 20, 5, scores={"em@1": float(code == example.code)})
        for code, example in zip(codes, EXAMPLES, strict=True)
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


def only(store, method) -> str:
    (id,) = explorer.runs(store, method=method).index
    return id


def test_the_front_has_every_run_that_no_other_beats(store):
    frame = explorer.runs(store)
    assert list(frame.loc[explorer.front(frame, "train_seconds", "em@1"), "kind"]) == ["rag", "lora", "full"]
    assert list(frame.loc[explorer.front(frame, "prompt_tokens", "em@1"), "kind"]) == ["full"]
    write(store, spec.FullTuning(), right=4, train_seconds=30.0, seed=777)  # an equal one is on it too
    assert len(explorer.front(explorer.runs(store), "train_seconds", "em@1")) == 4
    with pytest.raises(ValueError, match="an axis must be one of .*, em@1, .*; got 'colour'"):
        explorer.front(frame, "colour", "em@1")


def test_scores_of_several_tasks_have_no_front(store):
    write(store, spec.Lora(), right=4, task="codealpaca-mini", train_seconds=1.0)
    frame = explorer.runs(store)
    assert explorer.front(frame, "train_seconds", "em@1") == []
    assert "no front" in explorer.table(frame).text
    assert len(explorer.front(explorer.runs(store, task="conala-mini"), "train_seconds", "em@1")) == 3


def test_filters_leave_what_was_asked_for(store):
    write(store, spec.Lora(), right=1, train_seconds=9.0, precision="nf4-dq")
    write(store, spec.Ia3(), right=1, seed=7, train_seconds=10.0, train_task="codealpaca-mini")
    assert set(explorer.runs(store, method="lora")["kind"]) == {"lora", "qlora-4bit"}
    assert list(explorer.runs(store, method="lora", precision="nf4-dq")["label"]) == ["qlora-4bit"]
    assert set(explorer.runs(store, method="ia3")["label"]) == {"ia3", "ia3, from codealpaca-mini"}
    assert len(explorer.runs(store, model="tiny", task="conala-mini")) == 8
    assert explorer.runs(store, model="codellama-7b").empty


def test_searches_failures_and_random_weights_are_no_points(store):
    write(store, spec.Lora(learning_rate=1.0), right=4, train_seconds=0.1, split="validation")
    write(store, spec.Lora(r=2), right=4, train_seconds=0.1, shape_only=True, seed=1)
    run = Run("tiny", "conala-mini", spec.ZeroShot(), seed=3)
    results.write(store, Row("lost", spec.settings(run), "failed", {}, {}, {}, MADE_NOW, error="RuntimeError: no"))
    assert len(explorer.runs(store)) == 6


def test_the_figure_says_its_front_and_what_is_chosen(store):
    figure = explorer.figure(explorer.runs(store), "train_seconds", "em@1", chosen=only(store, "icl"))
    told = "Highest EM@1 for its training: rag-2, lora and full, 6 points, with a Pareto front. full 100.0 % at 30.0 s"
    assert plots.alternative(figure).startswith(told)
    written = " ".join(text.get_text() for text in figure.findobj(Text)).replace("\n", " ")
    assert "filled: the Pareto front, which no other beats in both" in written
    assert "ringed: icl-2" in written
    for x, y in (("peak_bytes", "train_seconds"), ("chrf", "em@1"), ("em@1", "prompt_tokens")):  # some runs lack one
        assert explorer.figure(explorer.runs(store), x, y).axes


def test_every_point_on_the_front_has_its_name_in_a_crowd_too(store):
    for seed in range(20):
        write(store, spec.Retrieved(2), right=1, seed=seed)
    figure = explorer.figure(frame := explorer.runs(store), "train_seconds", "em@1")
    assert len(frame) == 26
    named = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert named == {"rag-2", "lora", "full"} == set(frame.loc[explorer.front(frame, "train_seconds", "em@1"), "label"])


def test_differences_count_and_put_right_against_wrong_first(store):
    shown = explorer.differences(store, only(store, "rag"), only(store, "lora"), examples=EXAMPLES)
    counts = "2 both right, 0 only the first right, 1 only the second right, 1 both wrong; 2 with different answers"
    assert f"4 common examples: {counts}" in shown.text
    assert list(shown.frame["example"]) == ["q2", "q3"]
    assert "[-rag-2-]{+answer+} = 2" in shown.text
    assert "intent &lt;2&gt;" in shown.html


def test_what_cannot_be_compared_or_is_not_there_is_said(store):
    run = Run("tiny", "conala-mini", spec.ZeroShot(), seed=9)
    other = Prediction("elsewhere", ("x",), ("x",), 1, 1, scores={"em@1": 0.0})
    results.write(store, Row("other", spec.settings(run), "ok", {}, {}, {}, MADE_NOW), [other])
    with pytest.raises(ValueError, match="answered no common example"):
        explorer.differences(store, "other", only(store, "lora"))
    with pytest.raises(ValueError, match="no sound run 'nowhere'"):
        explorer.run(store, "nowhere")


def test_a_run_shows_its_settings_scores_and_answers(store):
    facts = dict(explorer.run(store, only(store, "rag")).frame.to_numpy().tolist())
    assert facts["method.shots"] == "2"
    assert facts["em@1"] == "50.0 % of 4"
    assert facts["generate_peak_bytes"] == "1.0 GiB"
    shown = explorer.predictions(store, only(store, "rag"), examples=EXAMPLES, count=3)
    assert list(shown.frame["verdict"]) == ["✓", "✓", "✗"]
    assert (shown.html.count("✓"), shown.html.count("✗")) == (2, 1)
    assert shown.frame["answer"][0] == "answer = 0"


def test_an_export_is_what_is_shown(store, tmp_path):
    frame = explorer.runs(store)
    written = explorer.export(frame, "train_seconds", "em@1", folder=tmp_path / "out", name="mine")
    assert [path.name for path in written] == ["mine.csv", "mine.png", "mine.svg", "mine.tex"]
    read = pd.read_csv(written[0], index_col=0)
    assert list(read.index) == list(frame.index)
    assert list(read["em@1"]) == list(frame["em@1"])
    tex = written[3].read_text()
    assert tex.count(r" \\") == 1 + len(frame)
    assert r"EM@1 (\%)" in tex
    with pytest.raises(ValueError, match="a kind of export is one of csv, png, svg, tex; got 'pdf'"):
        explorer.export(frame, "train_seconds", "em@1", folder=tmp_path, kinds=["pdf"])


# --- the widget -------------------------------------------------------------------------------------------------------


def test_a_run_is_chosen_in_the_list_or_by_its_point_and_told(store):
    widget = explorer.show(store, task="conala-mini", examples=EXAMPLES)
    points = {node.get("id") for node in ElementTree.fromstring(widget.picture.svg).iter() if node.get("id")}
    assert {f"run:{id}" for id in explorer.runs(store).index} <= points
    before, lora, rag = widget.picture.svg, only(store, "lora"), only(store, "rag")
    assert 'aria-label="Highest EM@1 for its training: rag-2, lora and full, 6 points' in before
    widget.chosen.value = lora
    assert widget.picture.svg != before
    assert widget.picture.chosen == lora
    assert widget.picture.names[lora].startswith("lora, conala-mini, tiny")
    assert explorer.run(store, lora).html in widget.detail.value
    assert explorer.predictions(store, lora, examples=EXAMPLES, count=8).html in widget.detail.value
    widget.other.value = rag
    assert explorer.differences(store, lora, rag, examples=EXAMPLES).html in widget.detail.value
    widget.picture.chosen = rag  # what clickable.js does
    assert widget.chosen.value == rag
    assert explorer.run(store, rag).html in widget.detail.value
    widget.filters["method"].value = "ia3"  # which leaves rag out
    assert (widget.chosen.value, widget.picture.chosen) == (None, "")
    assert ", 1 points" in widget.picture.svg
    assert len(widget.chosen.options) == 1


def test_of_several_tasks_the_one_with_most_runs_comes_first(store):
    write(store, spec.Lora(), right=4, task="codealpaca-mini", train_seconds=1.0)
    widget = explorer.show(store)
    assert widget.filters["task"].value == "conala-mini"
    assert ", 6 points" in widget.picture.svg
    widget.filters["task"].value = "all"
    assert "without a Pareto front" in widget.picture.svg


def test_examples_are_shown_beside_runs_of_their_own_task_only(store):
    other = write(store, spec.Lora(), right=4, task="codealpaca-mini", train_seconds=1.0)  # examples of the same ids
    widget = explorer.show(store, task="conala-mini", examples=EXAMPLES)
    widget.chosen.value = only(store, "rag")
    assert "intent &lt;2&gt;" in widget.detail.value
    widget.filters["task"].value = "all"
    widget.chosen.value = other
    assert "4 of 4 answers of lora" in widget.detail.value
    assert "intent" not in widget.detail.value


def test_it_opens_on_the_axes_that_are_asked_for(store):
    widget = explorer.show(store, x="prompt_tokens", y="em@1")
    assert (widget.x.description, widget.x.value) == ("x", "prompt_tokens")
    assert (widget.y.description, widget.y.value) == ("y", "em@1")


def test_buttons_hand_the_browser_a_file_of_what_the_filters_leave(store, monkeypatch):
    widget, sent = explorer.show(store), {}
    monkeypatch.setattr(widget.picture, "send", lambda content, buffers: sent.update({content["name"]: buffers[0]}))
    widget.filters["method"].value = "lora"
    for button in widget.downloads.values():
        button.click()
    assert list(sent) == ["explorer.csv", "explorer.png", "explorer.svg", "explorer.tex"]
    assert len(pd.read_csv(io.BytesIO(sent["explorer.csv"]))) == 1
    assert sent["explorer.png"].startswith(b"\x89PNG")
    assert ElementTree.fromstring(sent["explorer.svg"]).tag.endswith("svg")
    assert widget.status.value == "Your browser has explorer.tex."


def test_an_empty_filter_and_an_empty_store_say_so(store, tmp_path_factory):
    widget = explorer.show(store)
    widget.filters["method"].value, widget.filters["precision"].value = "lora", "fp32"
    assert "Choose a run" in widget.hint.value
    write(store, spec.Ia3(), right=1, precision="nf4-dq")
    widget = explorer.show(store)
    widget.filters["method"].value, widget.filters["precision"].value = "lora", "nf4-dq"
    assert (widget.hint.value, widget.picture.svg) == ("<b>No run passes all filters: set one of them to all.</b>", "")
    empty = tmp_path_factory.mktemp("empty")
    assert "There are no runs yet" in explorer.show(empty).hint.value
    assert explorer.table(explorer.runs(empty)).text == "There are no such runs."
    assert "nothing to show" in plots.alternative(explorer.figure(explorer.runs(empty)))

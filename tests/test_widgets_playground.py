"""The playground answers as the study does, tells what it does meanwhile, can be stopped, and says errors in words."""

import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
import small
import torch

import nblib
from nblib import deploy, generate, results, study, tasks
from nblib.spec import Decoding
from nblib.study import locks
from nblib.widgets import inference, playground
from nblib.widgets.answers import marked
from nblib.widgets.inference import Watch
from nblib.widgets.jobs import CancelledError, Job, pace, sentence

TASK = "conala-mini"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with small models and a small task."""
    folder = tmp_path_factory.mktemp("playground")
    small.folder(folder / "llama")
    small.folder(folder / "t5", "t5")
    small.rows(folder / "data")
    return folder


@pytest.fixture
def settings(place, tmp_path):
    return {"data_dir": place / "data", "results_dir": tmp_path}


@pytest.fixture
def model(place):
    return str(place / "llama")


@pytest.fixture
def example(place):
    return playground.examples(TASK, place / "data")[0].id


@pytest.mark.parametrize(("family", "method"), [("llama", "rag-2"), ("t5", "zero-shot")])
def test_what_streams_becomes_the_answer_of_a_greedy_run(place, settings, example, tmp_path, family, method):
    streamed = []
    watch = Watch(written=lambda label, text: streamed.append((label, text)))
    model, data = str(place / family), str(place / "data")
    (answer,) = playground.answer(model, TASK, [method], example=example, watch=watch, **settings).answers
    assert streamed[-1] == (method, answer.prediction.completions[0])
    assert all(later.startswith(text) for (_, text), (_, later) in pairwise(streamed))
    shots = [2] if method == "rag-2" else []
    (run,) = study.compare(model, TASK, names=[method.removesuffix("-2")], shots=shots, data_dir=data)
    (planned,) = study.plan([replace(run, decoding=Decoding(beams=1, returned=1))])
    row = study.run_one(planned, tmp_path)
    (first, *_) = results.predictions(tmp_path, row.id)
    assert replace(answer.prediction, scores={}) == replace(first, scores={})
    assert answer.prediction.scores == pytest.approx(first.scores)


def test_beams_give_a_list_and_no_stream(model, settings, example):
    streamed = []
    watch = Watch(written=lambda *args: streamed.append(args))
    given = playground.answer(model, TASK, ["zero-shot"], example=example, beams=3, watch=watch, **settings)
    assert streamed == []
    assert len(given.answers[0].prediction.codes) == 3
    assert list(playground.top(given).frame["place"]) == ["1", "2", "3"]


def test_the_prompt_is_exact_and_counted(model, settings, example):
    given = playground.answer(model, TASK, ["zero-shot", "icl-2", "rag-2"], example=example, **settings)
    tokenizer = small.tokenizer()
    for answer in given.answers:
        assert answer.prediction.prompt_tokens == len(tokenizer(answer.prompt)["input_ids"])
        assert all(shot.code in answer.prompt for shot in answer.shots)
        assert answer.prompt.count("### Instruction:") == len(answer.shots) + 1
    assert [len(answer.shots) for answer in given.answers] == [0, 2, 2]
    shown = playground.prompts(given)
    assert given.answers[2].prompt in list(shown.frame["prompt"])
    assert len(given.answers[2].prediction.similarities) == 2


def test_an_own_question_has_no_verdict(model, settings):
    given = playground.answer(model, TASK, ["zero-shot"], intent=" sort `xs` ", **settings)
    assert given.question.intent == "sort `xs`"
    assert given.answers[0].prediction.scores == {}
    assert "right" not in repr(given)
    assert "wrong" not in repr(given)


def test_a_method_that_trains_is_trained_briefly_once_then_read_and_a_whole_run_comes_first(model, settings, example):
    shares, base = [], playground.Base()
    watch = Watch(status=lambda text, share: shares.append(share) if "training" in text else None)
    settings = {"example": example, "base": base, "watch": watch} | settings
    first = playground.answer(model, TASK, ["zero-shot", "ia3"], **settings)
    assert first.answers[1].trained.startswith("1 epoch, trained here")
    assert shares[-1] == 1.0
    shares.clear()
    again = playground.answer(model, TASK, ["ia3", "zero-shot"], **settings)
    assert shares == []
    assert again.answers[0].trained == "1 epoch, an adapter of the results folder"
    assert again.answers[0].prediction == first.answers[1].prediction
    assert again.answers[1].prediction == first.answers[0].prediction  # the adapter came off again
    (run,) = study.compare(model, TASK, names=["ia3"], seeds=[42], limit=1, data_dir=str(settings["data_dir"]))
    study.run_one(study.plan([run])[0], settings["results_dir"])
    given = playground.answer(model, TASK, ["ia3"], **settings)
    assert given.answers[0].trained == f"{run.training.epochs} epochs, an adapter of the results folder"


def test_an_adapter_of_ones_own_is_asked_by_its_folder(model, settings, example, tmp_path):
    (run,) = study.compare(model, TASK, names=["ia3"], seeds=[7], data_dir=str(settings["data_dir"]))
    (planned,) = study.plan([replace(run, training=replace(run.training, epochs=2))])
    row = study.run_one(planned, tmp_path / "trained")
    folder = tmp_path / "trained" / "adapters" / row.notes["adapter"]
    assert deploy.origin(folder) == (model, TASK, "fp32", str(settings["data_dir"]))
    shutil.move(folder, tmp_path / "mine")
    asked = {"example": example} | settings
    given = playground.answer(model, TASK, ["ia3", str(tmp_path / "mine")], **asked)
    assert [answer.label for answer in given.answers] == ["ia3", "ia3 (mine)"]
    assert given.answers[1].trained == "2 epochs, your adapter"
    code = nblib.use(tmp_path / "mine").ask(given.question.intent)
    assert given.answers[1].prediction.codes == (code,)
    with pytest.raises(ValueError, match=r"the adapter in .*mine was made for .*llama, and this model is another"):
        playground.answer("micro", TASK, [str(tmp_path / "mine")], **asked)


@pytest.mark.parametrize("beams", [1, 3])
def test_an_answer_stops_at_the_next_token_and_leaves_the_model_as_it_was(model, settings, example, beams):
    base, checks = playground.Base(), []

    def check():
        checks.append(1)
        if len(checks) == 6:
            raise CancelledError("cancelled")

    settings = {"example": example, "beams": beams} | settings
    with pytest.raises(CancelledError):
        playground.answer(model, TASK, ["zero-shot"], base=base, watch=Watch(check=check), **settings)
    assert len(checks) == 6
    after = playground.answer(model, TASK, ["zero-shot"], base=base, **settings)
    fresh = playground.answer(model, TASK, ["zero-shot"], **settings)
    assert after.answers[0].prediction == fresh.answers[0].prediction


def test_training_stops_at_the_next_step_and_leaves_nothing_behind(model, settings, tmp_path, example):
    base, shares = playground.Base(), []

    def check():
        if any(share is not None for share in shares):
            raise CancelledError("cancelled")

    watch = Watch(status=lambda text, share: shares.append(share), check=check)
    with pytest.raises(CancelledError):
        playground.answer(model, TASK, ["lora"], example=example, base=base, watch=watch, **settings)
    assert not list(tmp_path.glob("adapters/*/adapter_model.safetensors"))
    given = playground.answer(model, TASK, ["zero-shot"], example=example, base=base, **settings)
    fresh = playground.answer(model, TASK, ["zero-shot"], example=example, **settings)
    assert given.answers[0].prediction == fresh.answers[0].prediction


def test_waiting_for_another_that_trains_the_same_can_be_cancelled(model, settings, tmp_path, example):
    texts = []

    def check():
        if texts and "waiting for another process" in texts[-1]:
            raise CancelledError("cancelled")

    watch = Watch(status=lambda text, share: texts.append(text), check=check)
    (run,) = study.compare(model, TASK, names=["lora"], seeds=[42], data_dir=str(settings["data_dir"]))
    (brief,) = study.plan([replace(run, training=replace(run.training, epochs=inference.BRIEF_EPOCHS))])
    with locks.lock(tmp_path, f"{brief.training}.training") as free:
        assert free
        with pytest.raises(CancelledError):
            playground.answer(model, TASK, ["lora"], example=example, watch=watch, **settings)


@pytest.mark.parametrize(
    ("methods", "question", "message"),
    [
        (["lorra"], {"intent": "x"}, "method must be one of zero-shot"),
        ([], {"intent": "x"}, "methods must be 1 to 4; got 0"),
        (["icl-1", "icl-2", "icl-3", "icl-4", "icl-8"], {"intent": "x"}, "methods must be 1 to 4; got 5"),
        (["icl", "icl-3"], {"intent": "x"}, "methods must differ; got icl-3, icl-3"),
        (["zero-shot"], {}, "give an intent or choose an example; got neither"),
        (["zero-shot"], {"intent": "x", "example": "1"}, "give an intent or choose an example; got both"),
        (["zero-shot"], {"example": "no such"}, "id of a test example of conala-mini, such as"),
        (["icl-99"], {"intent": "x"}, "shots must be at most 24"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(model, settings, methods, question, message):
    with pytest.raises(ValueError, match=message):
        playground.answer(model, TASK, methods, **question, **settings)


def test_no_memory_left_is_a_sentence_and_frees_the_model(model, settings, example, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    base = playground.Base()
    monkeypatch.setattr(generate, "completions", full)
    with pytest.raises(MemoryError, match="zero-shot found no memory left: take a smaller model"):
        playground.answer(model, TASK, ["zero-shot"], example=example, base=base, **settings)
    assert base.model is None


# --- the widget -------------------------------------------------------------------------------------------------------


@pytest.fixture
def widget(model, settings):
    shown = playground.show(model, TASK, methods=["zero-shot", "rag-2"], **settings)
    assert shown.reading.wait(600)
    return shown


def test_a_chosen_example_is_answered_side_by_side(widget, model, settings, example):
    widget.example.value = example
    assert widget.intent.value == playground.examples(TASK, settings["data_dir"])[0].intent
    with inference.TURN:  # so that it does not end before we look
        widget.ask.click()
        assert (widget.ask.disabled, widget.cancel.disabled) == (True, False)
    assert widget.job.wait(600)
    assert widget.status.value == "Done."
    assert (widget.ask.disabled, widget.cancel.disabled) == (False, True)
    plain = playground.answer(model, TASK, ["zero-shot", "rag-2"], example=example, **settings)
    for column, answer in zip(widget.columns, plain.answers, strict=False):
        for text in (answer.label, "the exact prompt", answer.tokens, f"{answer.prediction.new_tokens} new tokens"):
            assert text in column.value
    assert [column.value == "" for column in widget.columns] == [False, False, True, True]
    without_seconds = [
        "\n".join(line.rpartition("<td")[0] for line in html.split("\n"))  # which stand last in a line
        for html in (widget.summary.value, plain._repr_html_())
    ]
    assert without_seconds[0] == without_seconds[1]
    widget.intent.value += " twice"  # which makes it a question of one's own
    assert widget.example.value == ""
    widget.ask.click()
    assert widget.job.wait(600)
    assert "your own question" in widget.summary.value


def test_a_click_on_cancel_stops_it(widget):
    widget.intent.value = "sort `xs`"
    with inference.TURN:  # somebody else is asking
        widget.ask.click()
        widget.cancel.click()
        assert widget.job.wait(600)
    assert widget.status.value == "Cancelled."
    assert not widget.ask.disabled
    widget.ask.click()
    assert widget.job.wait(600)
    assert widget.status.value == "Done."


def test_an_error_looks_like_one_leaves_the_earlier_answers_and_another_choice_mends_it(widget):
    widget.intent.value = "sort `xs`"
    widget.ask.click()
    assert widget.job.wait(600)
    shown = [part.value for part in (*widget.columns, widget.asked, widget.summary)]
    assert f"{TASK}</b>: sort `xs`" in widget.asked.value
    widget.intent.value = " "
    widget.ask.click()
    assert widget.job.wait(600)
    assert 'role="alert"' in widget.status.value
    assert "give an intent or choose an example; got neither" in widget.status.value
    assert [part.value for part in (*widget.columns, widget.asked, widget.summary)] == shown
    assert not widget.ask.disabled
    widget.task.value = "conla"
    assert widget.reading.wait(600)
    assert "⚠ Error:</b> task must be one of" in widget.status.value
    assert "\n" not in widget.status.value
    assert len(widget.example.options) == 1
    for own in (TASK, ""):  # typed in, or left as it was given
        widget.task.value = own
        assert widget.reading.wait(600)
        assert len(widget.example.options) == 1 + len(small.DATA.test)


def test_it_opens_on_what_it_is_given_offers_what_is_known_and_takes_ones_own_data(model, tmp_path):
    path = tmp_path / "my_pairs.csv"
    path.write_text("frage,loesung\n" + "".join(f"count to {n},count({n})\n" for n in range(30)))
    own = tasks.resolve(str(path), columns={"intent": "frage", "code": "loesung"})
    widget = playground.show(model, own, methods=["rag-2"], intent="count to 99", results_dir=tmp_path)
    assert widget.reading.wait(600)
    assert (widget.task.placeholder, widget.task.value, widget.intent.value) == ("my_pairs", "", "count to 99")
    assert {"conala-mini", "apps"} < set(widget.task.options)
    assert {"tiny", "codellama-7b"} < set(widget.model.options)
    widget.ask.click()
    assert widget.job.wait(600)
    assert widget.status.value == "Done."
    assert "count to" in widget.columns[0].value


# --- the parts --------------------------------------------------------------------------------------------------------


def test_differences_are_marked_word_by_word():
    cell = marked("xs.sort(key=len)", "xs.sort(reverse=True)")
    assert cell == "xs.sort([-reverse-]{+key+}=[-True-]{+len+})"
    assert cell.html.count("<ins>") == cell.html.count("<del>") == 2
    assert "a &lt; b" in marked("a < b", "a < b").html
    assert marked("", "x") == "(empty)"


def test_a_training_says_its_share_and_the_time_that_is_left():
    assert [pace(*so_far) for so_far in ((0.1, 0.0), (0.3, 6.0), (1.0, 20.0))] == [
        "10 %", "30 %, about 0:14 left", "100 %",
    ]  # fmt: skip


def test_one_job_at_a_time():
    job, ends = Job(), []
    with inference.TURN:

        def wait():
            with inference.TURN:
                pass

        assert job.start(wait, ended=ends.append)
        assert not job.start(wait, ended=ends.append)
    assert job.wait(600)
    assert ends == [""]


def test_an_unexpected_error_names_its_type_in_one_line():
    assert sentence(KeyError("a\n b")) == "KeyError: 'a\\n b'"
    assert sentence(RuntimeError("first\n  second")) == "RuntimeError: first second"
    assert sentence(ValueError("beams must be above 0")) == "beams must be above 0"

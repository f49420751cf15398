"""The playground answers as the study does, tells what it does meanwhile, can be stopped, and says errors in words."""

from dataclasses import replace

import pytest
import small
import torch

from nblib import generate, results, study
from nblib.spec import Decoding
from nblib.study import locks
from nblib.widgets import answers, asking, playground
from nblib.widgets.differences import marked
from nblib.widgets.work import CancelledError, Work, sentence

TASK = "conala-mini"
EXAMPLE = "1"  # of the test split, as rows are numbered


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small model and a small task."""
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
    heard = []
    given = playground.answer(
        str(place / family),
        TASK,
        [method],
        example=example,
        watch=asking.Watch(written=lambda label, text: heard.append((label, text))),
        **settings,
    )
    (answer,) = given.answers
    assert heard[-1] == (method, answer.prediction.completions[0])
    assert len({text for _, text in heard}) > 3
    kind, _, count = method.partition("-") if method.startswith("rag") else (method, "", "")
    (run,) = study.compare(
        str(place / family), TASK, names=[kind], shots=[int(count)] if count else [], data_dir=str(place / "data")
    )
    (planned,) = study.plan([replace(run, decoding=Decoding(beams=1, returned=1))])
    row = study.run_one(planned, tmp_path)
    (first, *_) = results.predictions(tmp_path, row.id)
    assert answer.prediction == replace(first, scores=answer.prediction.scores)
    assert answer.prediction.scores == pytest.approx(first.scores)


def test_beams_give_a_list_and_no_stream(model, settings, example):
    heard = []
    given = playground.answer(model, TASK, ["zero-shot"], example=example, beams=3, watch=_listening(heard), **settings)
    assert heard == []
    assert len(given.answers[0].prediction.codes) == 3
    assert list(playground.top(given).frame["place"]) == ["1", "2", "3"]


def test_the_prompt_is_exact_and_counted(model, settings, example):
    given = playground.answer(model, TASK, ["zero-shot", "icl-2", "rag-2"], example=example, **settings)
    tokenizer = small.tokenizer()
    for each in given.answers:
        assert each.asked.prompt_tokens == len(tokenizer(each.asked.prompt)["input_ids"])
        assert all(shot.code in each.asked.prompt for shot in each.asked.shots)
        assert each.asked.prompt.count("### Instruction:") == len(each.asked.shots) + 1
    assert [len(each.asked.shots) for each in given.answers] == [0, 2, 2]
    assert len(given.answers[2].asked.similarities) == 2
    shown = playground.prompts(given)
    assert given.answers[2].asked.prompt in list(shown.frame["prompt"])


def test_an_own_question_has_no_verdict(model, settings):
    given = playground.answer(model, TASK, ["zero-shot"], intent=" sort `xs` ", **settings)
    assert given.question.intent == "sort `xs`"
    assert given.answers[0].prediction.scores == {}
    assert "right" not in given._repr_html_()
    assert "wrong" not in given._repr_html_()


def test_a_method_that_trains_is_trained_briefly_once_and_then_read(model, settings, example):
    bench = playground.Bench()
    said = []
    watch = asking.Watch(status=lambda text, share: said.append(share) if "training" in text else None)
    asked = {"example": example, "bench": bench, "watch": watch}
    first = playground.answer(model, TASK, ["zero-shot", "lora"], **asked, **settings)
    assert first.answers[1].trained.startswith("1 epoch here")
    assert said[-1] == 1.0
    said.clear()
    again = playground.answer(model, TASK, ["lora", "zero-shot"], **asked, **settings)
    assert said == []
    assert again.answers[0].trained == "1 epoch, an adapter of the results folder"
    assert again.answers[0].prediction == first.answers[1].prediction
    assert again.answers[1].prediction == first.answers[0].prediction  # the adapter came off again


def test_the_adapter_of_a_whole_run_comes_first(model, place, settings, tmp_path, example):
    playground.answer(model, TASK, ["ia3"], example=example, **settings)  # one epoch
    (run,) = study.compare(model, TASK, names=["ia3"], seeds=[42], limit=1, data_dir=str(place / "data"))
    study.run_one(study.plan([run])[0], tmp_path)
    given = playground.answer(model, TASK, ["ia3"], example=example, **settings)
    assert given.answers[0].trained == f"{run.training.epochs} epochs, an adapter of the results folder"


@pytest.mark.parametrize("beams", [1, 3])
def test_an_answer_stops_at_the_next_token(model, settings, example, beams):
    bench, checks = playground.Bench(), []

    def check():
        checks.append(1)
        if len(checks) == 6:
            raise CancelledError("cancelled")

    asked = {"example": example, "bench": bench, "beams": beams}
    with pytest.raises(CancelledError):
        playground.answer(model, TASK, ["zero-shot"], **asked, watch=asking.Watch(check=check), **settings)
    assert len(checks) == 6
    after = playground.answer(model, TASK, ["zero-shot"], **asked, **settings)
    fresh = playground.answer(model, TASK, ["zero-shot"], **asked | {"bench": None}, **settings)
    assert after.answers[0].prediction == fresh.answers[0].prediction


def test_training_stops_at_the_next_step_and_leaves_nothing_behind(model, settings, tmp_path, example):
    bench, shares = playground.Bench(), []

    def status(text, share):
        if share is not None:
            shares.append(share)

    def check():
        if shares:
            raise CancelledError("cancelled")

    watch = asking.Watch(status=status, check=check)
    with pytest.raises(CancelledError):
        playground.answer(model, TASK, ["lora"], example=example, bench=bench, watch=watch, **settings)
    assert len(shares) == 1
    assert not list(tmp_path.glob("adapters/*/adapter_model.safetensors"))
    given = playground.answer(model, TASK, ["zero-shot"], example=example, bench=bench, **settings)
    fresh = playground.answer(model, TASK, ["zero-shot"], example=example, **settings)
    assert given.answers[0].prediction == fresh.answers[0].prediction


def test_waiting_for_another_that_trains_the_same_can_be_cancelled(model, settings, tmp_path, example):
    said = []

    def status(text, share):
        said.append(text)

    def check():
        if said and "waiting for another process" in said[-1]:
            raise CancelledError("cancelled")

    watch = asking.Watch(status=status, check=check)
    (run,) = study.compare(model, TASK, names=["lora"], seeds=[42], data_dir=str(settings["data_dir"]))
    (brief,) = study.plan([replace(run, training=replace(run.training, epochs=asking.BRIEF_EPOCHS))])
    with locks.lock(tmp_path, f"{brief.training}.training") as free:
        assert free
        with pytest.raises(CancelledError):
            playground.answer(model, TASK, ["lora"], example=example, watch=watch, **settings)
    assert not (tmp_path / "adapters").exists()


@pytest.mark.parametrize(
    ("methods", "question", "message"),
    [
        (["lorra"], {"intent": "x"}, "method must be one of zero-shot"),
        ([], {"intent": "x"}, "methods must be 1 to 4; got 0"),
        (["icl-1", "icl-2", "icl-3", "icl-4", "icl-8"], {"intent": "x"}, "methods must be 1 to 4; got 5"),
        (["icl", "icl-3"], {"intent": "x"}, "methods must differ; got icl-3, icl-3"),
        (["zero-shot"], {}, "give one of the two"),
        (["zero-shot"], {"intent": "x", "example": "1"}, "give one of the two"),
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

    bench = playground.Bench()
    monkeypatch.setattr(generate, "completions", full)
    with pytest.raises(MemoryError, match="zero-shot found no memory left: take a smaller model"):
        playground.answer(model, TASK, ["zero-shot"], example=example, bench=bench, **settings)
    assert bench.base.model is None


# --- the widget -------------------------------------------------------------------------------------------------------


@pytest.fixture
def widget(model, settings):
    shown = playground.show(model, TASK, methods=["zero-shot", "rag-2"], **settings)
    assert shown.reading.wait(60)
    return shown


def test_a_chosen_example_is_answered_side_by_side(widget, model, settings, example):
    widget.example.value = example
    assert widget.intent.value == playground.examples(TASK, settings["data_dir"])[0].intent
    widget.ask.click()
    assert (widget.ask.disabled, widget.cancel.disabled) == (True, False)
    assert widget.work.wait(120)
    assert widget.status.value == "Done."
    assert (widget.ask.disabled, widget.cancel.disabled) == (False, True)
    plain = playground.answer(model, TASK, ["zero-shot", "rag-2"], example=example, **settings)
    for column, answer in zip(widget.columns, plain.answers, strict=False):
        assert f"<h4>{answer.asked.label}</h4>" in column.value
        assert f"{answers.tokens(answer.asked)} tokens" in column.value
        assert f"{answer.prediction.new_tokens} new tokens" in column.value
    assert [each.value == "" for each in widget.columns] == [False, False, True, True]
    assert _without_seconds(widget.summary.value) == _without_seconds(plain._repr_html_())


def test_an_intent_that_was_edited_is_a_question_of_ones_own(widget, example):
    widget.example.value = example
    widget.intent.value += " twice"
    assert widget.example.value == ""
    widget.ask.click()
    assert widget.work.wait(120)
    assert "your own question" in widget.summary.value


def test_a_click_on_cancel_stops_it(widget):
    widget.intent.value = "sort `xs`"
    with asking.TURN:  # somebody else is asking
        widget.ask.click()
        widget.cancel.click()
        assert widget.work.wait(60)
    assert widget.status.value == "Cancelled."
    assert not widget.ask.disabled
    widget.ask.click()
    assert widget.work.wait(120)
    assert widget.status.value == "Done."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "no-such-model"}, "model must be one of"),
        ({"intent": " "}, "a question is an intent or the id of a test example"),
    ],
)
def test_an_error_is_one_sentence_in_the_widget(widget, change, message):
    for name, value in ({"intent": "sort `xs`"} | change).items():
        getattr(widget, name).value = value
    widget.ask.click()
    assert widget.work.wait(60)
    assert widget.status.value.startswith(message)
    assert "\n" not in widget.status.value
    assert not widget.ask.disabled


def test_a_task_that_is_none_is_said_and_another_can_be_chosen(widget):
    widget.task.value = "conla"
    assert widget.reading.wait(60)
    assert widget.status.value.startswith("task must be one of")
    assert len(widget.example.options) == 1
    widget.task.value = TASK
    assert widget.reading.wait(60)
    assert len(widget.example.options) == 1 + len(small.DATA.test)


# --- the parts --------------------------------------------------------------------------------------------------------


def test_differences_are_marked_word_by_word():
    html, text = marked("xs.sort(key=len)", "xs.sort(reverse=True)")
    assert text == "xs.sort([-reverse-]{+key+}=[-True-]{+len+})"
    assert html.count("<ins>") == html.count("<del>") == 2
    assert marked("a < b", "a < b") == ("a &lt; b", "a < b")
    assert marked("", "x")[1] == "[-x-]"


def test_one_job_at_a_time():
    work, ends = Work(), []
    with asking.TURN:

        def job():
            with asking._turn(asking.Watch(check=work.check)):
                pass

        assert work.start(job, ended=ends.append)
        assert not work.start(job, ended=ends.append)
    assert work.wait(60)
    assert ends == [""]


def test_an_unexpected_error_names_its_type_in_one_line():
    assert sentence(KeyError("a\n b")) == "KeyError: 'a\\n b'"
    assert sentence(RuntimeError("first\n  second")) == "RuntimeError: first second"
    assert sentence(ValueError("beams must be above 0")) == "beams must be above 0"


def _listening(heard):
    return asking.Watch(written=lambda label, text: heard.append(text))


def _without_seconds(html: str) -> str:
    """Seconds stand last in a line."""
    return "\n".join(line.rpartition("<td")[0] for line in html.split("\n"))

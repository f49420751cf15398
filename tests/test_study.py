"""Plans and runs of a small model: rows, failures, what is shared, searches and transfers."""

import gc
import json
import weakref
from dataclasses import replace
from importlib import metadata

import pytest
import small
import torch

from nblib import generate, methods, metrics, models, presets, prompts, provenance, results, spec, study, tasks, train
from nblib.study import estimates, fitting

QUICK = presets.Preset(
    methods=(spec.ZeroShot(), spec.InContext(1), spec.Retrieved(2), spec.Lora(learning_rate=1e-2)),
    compared=("zero-shot", "icl", "lora"),
    shots=(1,),
    seeds=(1, 2),
    icl_seeds=(1, 2),
    training=spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=1),
    decoding=spec.Decoding(beams=2, returned=2),
)
ZERO_SHOT, ICL, LORA = 0, 1, 3  # of `runs`


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    """Which is most of the time of such small runs."""
    monkeypatch.setattr(fitting, "free", lambda: None)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    small.folder(folder / "model")
    small.rows(folder / "data")
    return folder


@pytest.fixture
def compare(place, monkeypatch):
    """study.compare with the small model and its data."""
    monkeypatch.setitem(presets.PRESETS, "quick", QUICK)
    settings = {"preset": "quick", "precision": "fp32", "data_dir": str(place / "data")}
    return lambda **more: study.compare(str(place / "model"), "conala", **settings | more)


@pytest.fixture
def runs(compare):
    return compare()


def counted(monkeypatch, module, name):
    """The calls of a function from now on."""
    calls, whole = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **named: calls.append(args) or whole(*args, **named))
    return calls


def answers(folder, planned):
    return [results.predictions(folder, one.id) for one in planned]


def test_a_study_writes_a_row_a_run_with_scores_costs_and_provenance(compare, tmp_path, monkeypatch):
    found = compare(names=["zero-shot", "icl", "rag", "lora"])
    labels = [(spec.label(run.method), run.seed) for run in found]
    lora = [("lora", 1), ("lora", 2)]
    assert labels == [("zero-shot", 1), ("icl-1", 1), ("icl-1", 2), ("rag-1", 1), *lora]
    assert len({run.decoding for run in found}) == 1
    planned = study.plan([*found[:2], *found[3:5]])
    rows = study.run_all(planned, tmp_path)
    assert [row.status for row in rows] == ["ok"] * 4
    lora = rows[3]
    assert lora.settings["method"].items() >= {"kind": "lora", "learning_rate": 0.01, "r": 16, "alpha": 32}.items()
    assert lora.scores["em@1"]["n"] == 8
    assert lora.scores["em@2"]["mean"] >= lora.scores["em@1"]["mean"]
    assert lora.costs["trainable_parameters"] > 0 == rows[0].costs["trainable_parameters"]
    assert all(lora.costs[f"{phase}_seconds"] > 0 for phase in ("load", "train", "generate"))
    assert all(lora.costs[f"{phase}_peak_bytes"] > 1e7 for phase in ("load", "train", "generate"))
    assert rows[1].costs["prompt_tokens"] > rows[0].costs["prompt_tokens"]
    assert {"commit", "clean", "python", "packages", "device", "data", "weights"} <= set(lora.provenance)
    kept = answers(tmp_path, planned)
    assert [prediction.example[0] for prediction in kept[3]] == list("12345678")
    assert all(len(prediction.codes) == 2 for prediction in kept[3])
    assert rows[2].costs["retrieve_seconds"] > 0
    known = {example.id for example in planned[2].data.train}
    assert all(len(prediction.shots) == 1 and set(prediction.shots) <= known for prediction in kept[2])
    calls = counted(monkeypatch, study.run, "run_one")
    assert study.run_all(planned, tmp_path) == rows
    assert calls == []
    again = study.run_all(planned[3:], tmp_path, force=True)
    assert len(calls) == 1
    assert (again[0].scores, answers(tmp_path, planned)) == (lora.scores, kept)


def test_a_run_that_fails_is_a_row_that_says_why_and_the_study_goes_on(runs, tmp_path, monkeypatch):
    diverging = replace(runs[LORA], method=spec.Lora(learning_rate=1e30))
    with monkeypatch.context() as patch:
        patch.setattr(methods, "attach", lambda *args, **named: (_ for _ in ()).throw(torch.OutOfMemoryError("40 GiB")))
        (full,) = study.run_all(study.plan([runs[LORA]]), tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(train, "steps", lambda *args, **named: {}["labels"])
        (unforeseen,) = study.run_all(study.plan([replace(runs[LORA], seed=9)]), tmp_path)
    rows = study.run_all(study.plan([diverging, runs[ZERO_SHOT]]), tmp_path)
    assert [row.status for row in (full, unforeseen, *rows)] == ["out_of_memory", "failed", "failed", "ok"]
    assert "40 GiB" in full.error
    assert full.costs["train_seconds"] >= 0
    assert not results.finished(tmp_path, full.id)
    assert unforeseen.error == "KeyError: 'labels'"
    assert "train.steps" in unforeseen.notes["traceback"]
    assert "lower the learning rate" in rows[0].error


def test_answers_of_a_run_that_could_not_be_scored_are_not_lost(runs, tmp_path, monkeypatch):
    planned = study.plan([runs[ZERO_SHOT]])
    with monkeypatch.context() as broken:
        broken.setattr(metrics, "score", lambda *args, **named: 1 / 0)
        assert study.run_all(planned, tmp_path)[0].status == "failed"
    monkeypatch.setattr(
        generate, "completions", lambda *args, done, **named: pytest.fail("asked again") if len(done) < 8 else ()
    )
    assert study.run_all(planned, tmp_path)[0].status == "ok"


# --- revisions --------------------------------------------------------------------------------------------------------


def test_a_row_of_an_earlier_scorer_is_scored_again_from_its_answers(runs, tmp_path, monkeypatch):
    planned = study.plan(runs[:1])
    before = study.run_all(planned, tmp_path)
    monkeypatch.setitem(provenance.REVISIONS, "scores", provenance.REVISIONS["scores"] + 1)
    assert set(results.problems(tmp_path)) == {f"{planned[0].id}.json"}
    monkeypatch.setattr(prompts, "extract", lambda text, stops, **named: "xs")
    monkeypatch.setattr(models, "load", lambda *args: pytest.fail("answers were there"))
    after = study.run_all(planned, tmp_path)
    assert [row.id for row in after] == [row.id for row in before]
    assert {prediction.codes for prediction in answers(tmp_path, planned)[0]} == {("xs", "xs")}
    assert after[0].provenance["scored"]["revisions"]["scores"] == provenance.REVISIONS["scores"]
    assert results.problems(tmp_path) == {}


@pytest.mark.parametrize("changed", ["decoding", "training"])
def test_a_row_of_an_earlier_revision_is_run_again_and_its_adapter_trained_again(runs, tmp_path, monkeypatch, changed):
    planned = study.plan([runs[ZERO_SHOT], runs[LORA]])
    study.run_all(planned, tmp_path)
    stamps = [results.written(tmp_path, one.id) for one in planned]
    fits = counted(monkeypatch, train, "fit")
    monkeypatch.setitem(provenance.REVISIONS, changed, provenance.REVISIONS[changed] + 1)
    rows = study.run_all(planned, tmp_path)
    again = [before != results.written(tmp_path, one.id) for before, one in zip(stamps, planned, strict=True)]
    assert again == [changed != "training", True]
    assert bool(fits) == (changed != "decoding")
    assert [row.status for row in rows] == ["ok", "ok"]


SECOND = {"revisions": {"prompts": 2, "training": 2, "decoding": 2, "scores": 2, "execution": 2}}
LEAKY = {"data_checks": {"overlaps": [{"splits": ["train", "test"], "near": 1}]}}
TRAINED = {"training": spec.Training()}


@pytest.mark.parametrize(
    ("method", "settings", "facts", "older"),
    [
        (spec.Lora(), TRAINED, {}, []),
        (spec.Retrieved(), {}, {"data_checks": {"overlaps": []}}, []),
        (spec.Retrieved(), {}, LEAKY, ["prompts"]),
        (spec.Retrieved(), {"drop_leaked": True}, LEAKY, []),
        (spec.AdaLora(), TRAINED, {}, []),
        (spec.AdaLora(), {"training": spec.Training(device_batch=4)}, {}, ["training"]),
        (spec.ZeroShot(), {"decoding": spec.Decoding(1, 5, temperature=0.6)}, {}, ["decoding"]),
        (spec.Lora(), TRAINED | {"precision": "int8"}, {"device": "cpu"}, ["training", "decoding"]),
        (spec.Lora(), TRAINED | {"precision": "int8"}, {"device": "cuda"}, []),
        (spec.ZeroShot(), {"model": "codellama-7b"}, {}, ["decoding"]),
        (spec.ZeroShot(), {"model": "deepseek-coder-1.3b"}, {}, ["prompts"]),
    ],
)
def test_a_revision_ages_the_rows_that_it_can_have_changed(method, settings, facts, older):
    run = spec.Run(**{"model": "smollm2-135m-instruct", "task": "conala", "method": method} | settings)
    assert list(results.older(spec.settings(run), SECOND | facts)) == older


# --- plans ------------------------------------------------------------------------------------------------------------


def test_everything_wrong_is_said_before_any_work(runs, tmp_path, monkeypatch):
    lora, zero_shot = runs[LORA], runs[ZERO_SHOT]
    t5 = small.folder(tmp_path / "t5", "t5")
    for name in ("config.json", "generation_config.json"):
        found = json.loads((tmp_path / "t5" / name).read_text())
        found.pop("decoder_start_token_id", None)
        (tmp_path / "t5" / name).write_text(json.dumps(found))
    refused = {
        "shots must be at most 24": replace(runs[ICL], method=spec.InContext(25)),
        "model must be one of": replace(zero_shot, model="codelama"),
        "task must be one of": replace(zero_shot, task="conla"),
        "which has down_proj, .*; got 'q_project'": replace(lora, method=spec.Lora(targets="q_project")),
        "an encoder": replace(zero_shot, method=spec.Retrieved(2, retriever="/nowhere/encoder")),
        "t5' has no decoder_start_token_id in its config.json": replace(zero_shot, model=t5),
        "optimizer must be one .*; got 'adamw'": replace(lora, training=replace(lora.training, optimizer="adamw")),
        "schedule must be one .*; got 'cosin'": replace(lora, training=replace(lora.training, schedule="cosin")),
    }
    for message, run in refused.items():
        with pytest.raises(ValueError, match=message):
            study.plan([zero_shot, run])
    with pytest.raises(FileNotFoundError, match="is missing"):
        study.plan([replace(zero_shot, data_dir=str(tmp_path / "nowhere"))])
    monkeypatch.setitem(tasks.TASKS, "conala", replace(tasks.TASKS["conala"], output_tokens=1))
    with pytest.raises(ValueError, match="no train row of conala is within its limits of 64 tokens for an intent and"):
        study.plan([lora])
    for name in ("force", "allow_code_execution"):
        with pytest.raises(ValueError, match=f"{name} must be True or False; got 'false'"):
            study.run_all([], tmp_path, **{name: "false"})


def test_limits_make_other_runs(runs, monkeypatch):
    whole, part = study.plan([runs[ZERO_SHOT], replace(runs[ZERO_SHOT], limit=3)])
    assert whole.id != part.id
    assert len(part.data.test) == 3
    monkeypatch.setitem(tasks.TASKS, "conala", replace(tasks.TASKS["conala"], output_tokens=32))
    assert study.plan([runs[ZERO_SHOT]])[0].id != whole.id


def test_max_train_leaves_the_first_training_rows_to_every_method(compare, tmp_path):
    planned = study.plan(compare(names=["zero-shot", "icl", "rag", "lora"], seeds=[1], max_train=5))
    whole = tasks.load("conala", planned[0].run.data_dir)
    assert [one.run.max_train for one in planned] == [None, 5, 5, 5]
    assert [one.data.train for one in planned] == [whole.train] + 3 * [whole.train[:5]]
    assert {one.data.test for one in planned} == {whole.test}
    assert study.run_all(planned[3:], tmp_path)[0].costs["train_steps"] == 1


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "sizes"), [(3, [8, 4, 2, 2, 2, 2]), (0, [8, 4, 2, 1])])
def test_without_memory_for_all_of_a_batch_answers_come_half_as_many_at_a_time(
    runs, tmp_path, monkeypatch, most, sizes
):
    planned, seen = study.plan([runs[ICL]]), []
    study.run_all(planned, tmp_path / "roomy")
    whole = generate.prefill

    def read(model, rows, *others):
        seen.append(len(rows))
        if len(rows) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(model, rows, *others)

    monkeypatch.setattr(generate, "prefill", read)
    (row,) = study.run_all(planned, tmp_path / "narrow")
    assert seen == sizes
    if most:
        assert row.notes["answered_at_a_time"] == 2
        assert answers(tmp_path / "narrow", planned) == answers(tmp_path / "roomy", planned)
    else:
        assert (row.status, row.error[-8:]) == ("out_of_memory", "2.00 GiB")


@pytest.mark.parametrize(
    ("chat", "ending", "stops", "code"),
    [
        (True, "task", ("\n",), "import re"),
        (True, "fence", (), "import re\nre.split(x)"),
        (False, "fence", ("\n",), "import re"),  # nothing opened a fence
    ],
)
def test_a_chat_models_answer_may_go_on_to_its_closing_fence(place, tmp_path, monkeypatch, chat, ending, stops, code):
    model = small.folder(tmp_path / "small")
    if chat:
        template = "{% for turn in messages %}{{ turn.content }}{{ eos_token }}{% endfor %}"
        (tmp_path / "small" / "chat_template.jinja").write_text(template)
    calls = []

    def completions(*args, stops, **named):
        calls.append(stops)
        return [(index, ["import re\nre.split(x)\n```\nIt splits."], 9) for index in range(8)]

    monkeypatch.setattr(generate, "completions", completions)
    decoding = spec.Decoding(beams=1, returned=1, ending=ending)
    run = spec.Run(model, "conala", spec.ZeroShot(), decoding=decoding, data_dir=str(place / "data"))
    planned = study.plan([run])
    study.run_all(planned, tmp_path)
    assert calls == [stops]
    assert {prediction.codes for prediction in answers(tmp_path, planned)[0]} == {(code,)}


# --- one base, many methods; what was trained is kept -----------------------------------------------------------------


def test_one_base_serves_many_methods_and_answers_as_a_fresh_one(runs, tmp_path, monkeypatch):
    loads = counted(monkeypatch, models, "load")
    ways = [spec.Lora(learning_rate=1e-2), spec.Ia3(learning_rate=1e-2), spec.FullTuning(learning_rate=1e-2)]
    planned = study.plan([*(replace(runs[LORA], method=method) for method in ways), runs[ZERO_SHOT]])
    shared = study.run_all(planned, tmp_path / "shared")
    assert len(loads) == 2  # full tuning leaves no base behind
    alone = [study.run_one(one, tmp_path / "alone") for one in planned]
    assert [row.scores for row in shared] == [row.scores for row in alone]
    assert answers(tmp_path / "shared", planned) == answers(tmp_path / "alone", planned)


def test_runs_that_train_the_same_train_once_and_its_card_has_every_score(runs, tmp_path, monkeypatch):
    trained, pushed = counted(monkeypatch, train, "fit"), []
    other = {"decoding": spec.Decoding(beams=3, returned=1), "split": "validation"}
    first, again = study.plan([runs[LORA], replace(runs[LORA], **other)])
    monkeypatch.setattr(methods, "push", lambda path, repository: pushed.append(repository))
    rows = [*study.run_all([first], tmp_path), *study.run_all([again], tmp_path)]
    assert (len(trained), pushed) == (1, [])
    assert rows[0].costs["train_seconds"] == rows[1].costs["train_seconds"]
    assert rows[0].notes["validation_losses"] == rows[1].notes["validation_losses"]
    (adapter,) = (tmp_path / "adapters").iterdir()
    assert rows[0].costs["adapter_bytes"] == (adapter / "adapter_model.safetensors").stat().st_size
    card = (adapter / "README.md").read_text()
    assert "em@1 on conala (test)" in card
    assert "em@1 on conala (validation)" in card
    assert methods.load(models.load(first.run.model)[0], adapter).peft_config["default"].r == 16
    study.run_all([first, again], tmp_path, force=True, push_to="someone")
    assert (len(trained), pushed) == (2, [f"someone/{first.training}"])


# --- search, transfer, methods of one's own ---------------------------------------------------------------------------


def test_a_search_asks_the_validation_split_with_five_rates_a_method(compare, place, tmp_path):
    settings = {"preset": "quick", "names": ["lora"], "precision": "fp32", "data_dir": str(place / "data")}
    found = study.search(str(place / "model"), "conala", limit=2, max_train=8, **settings)
    assert sorted(run.method.learning_rate for run in found) == sorted(presets.RATES["lora"])
    assert {(run.limit, run.max_train, run.split) for run in found} == {(2, 8, "validation")}
    assert study.plan(found[:1])[0].data.test == tasks.load("conala", place / "data").validation[:2]


def test_a_transfer_trains_each_adapter_once_and_asks_every_task(place, compare, tmp_path, monkeypatch):
    folder = tmp_path / "tasks"
    for name, examples in (("conala", small.DATA.train[:12]), ("codealpacapy", small.DATA.train[12:])):
        (folder / name).mkdir(parents=True)
        lines = "".join(json.dumps({"nl": example.intent, "cmd": example.code}) + "\n" for example in examples)
        for split in ("train", "validation", "test"):
            (folder / name / f"{split}.jsonl").write_text(lines)
    trained, two = counted(monkeypatch, train, "fit"), ["conala", "codealpacapy"]
    settings = {"preset": "quick", "seeds": [1], "precision": "fp32", "data_dir": str(folder), "limit": 2}
    rows = study.run_all(study.plan(study.transfer(str(place / "model"), two, two, **settings)), tmp_path / "results")
    both = "conala+codealpacapy"
    assert [(row.settings["task"], row.settings["train_task"]) for row in rows] == [
        *(("conala", source) for source in (None, None, "codealpacapy", both)),
        *(("codealpacapy", source) for source in (None, "conala", None, both)),
    ]
    assert [row.status for row in rows] == ["ok"] * 8
    assert sorted(len(args[2].train) for args in trained) == [12, 12, 24]


def test_checkpointing_is_switched_off_where_a_method_cannot_have_it_and_the_row_says_so(runs, tmp_path):
    training = replace(runs[LORA].training, gradient_checkpointing=True)
    prefix = replace(runs[LORA], method=spec.PrefixTuning(learning_rate=1e-2), training=training)
    (row,) = study.run_all(study.plan([prefix]), tmp_path)
    assert row.status == "ok"
    assert row.notes["gradient_checkpointing"] == "off: prefix-tuning cannot be trained with it"


# --- what a plan will cost --------------------------------------------------------------------------------------------


def test_a_run_takes_what_its_kind_took_here_for_as_many_examples_and_a_shared_training_counts_once(runs, tmp_path):
    def made(one, device="cpu", **costs):
        here = {"revisions": dict(provenance.REVISIONS), "device": device, "device_name": None}
        return results.Row(one.id, spec.settings(one.run), "ok", {}, {"examples": 8, **costs}, {}, here)

    def seconds():
        return [cost.seconds for cost in study.costs(planned, tmp_path)]

    zero_shot, lora = runs[ZERO_SHOT], runs[LORA + 1]
    planned = study.plan([zero_shot, runs[LORA], lora, replace(lora, split="validation"), replace(zero_shot, limit=4)])
    results.write(tmp_path, replace(made(planned[0], "another", generate_seconds=1.0), id="elsewhere"))
    costs = study.costs(planned, tmp_path)
    assert seconds() == [None] * 5
    weights, known = estimates.weights(planned, tmp_path)
    assert not known
    assert weights[planned[1].id] > 3 * weights[planned[0].id] > 0  # a training is no question
    assert costs[2].peak_bytes == costs[1].peak_bytes > costs[0].peak_bytes > 1e5
    results.write(tmp_path, made(planned[0], load_seconds=1.0, generate_seconds=16.0))
    steps = len(planned[1].data.train) / lora.training.batch_size
    trained = made(planned[1], load_seconds=1.0, train_seconds=50.0, train_steps=steps, generate_seconds=8.0)
    results.write(tmp_path, trained)
    assert seconds() == [0.0, 0.0, 59.0, 9.0, 9.0]
    longer = replace(lora, method=spec.Lora(r=4), training=replace(lora.training, epochs=2))  # of no kind that ran
    planned = study.plan([longer, runs[ICL]])
    assert seconds() == [109.0, 17.0]
    assert estimates.weights(planned, tmp_path) == ({planned[0].id: 109.0, planned[1].id: 17.0}, True)


@pytest.mark.skipif(models.device() != "cpu", reason="the shipped rows are a CPU's")
def test_in_an_empty_folder_a_run_takes_what_the_shipped_one_took(tmp_path):
    planned = study.plan(study.compare("tiny", "conala-mini", names=["zero-shot", "lora"], seeds=[42]))
    quick, trained = (cost.seconds for cost in study.costs(planned, tmp_path))
    assert 0 < quick < trained


@small.needs_torchao
def test_lora_over_torchaos_weights_is_trained_measured_kept_and_answers_the_same_again(compare, tmp_path):
    (run,) = compare(names=["lora"], seeds=[1], precision="ao-int8")
    assert spec.label(run.method, run.precision) == "qlora-8bit"
    planned = study.plan([run, replace(run, decoding=replace(run.decoding, returned=1))])
    row, greedy = study.run_all(planned, tmp_path)
    assert (row.status, greedy.status, row.error) == ("ok", "ok", None)
    assert row.provenance["torchao"] == metadata.version("torchao")
    assert row.notes["best_step"] > 0
    runs, _ = results.load(tmp_path)
    plain = compare(names=["lora"], seeds=[1])
    assert (
        runs["train_weights_bytes"].max() < study.run_all(study.plan(plain), tmp_path)[0].costs["train_weights_bytes"]
    )
    first = [[prediction.codes[0] for prediction in found] for found in answers(tmp_path, planned)]
    assert first[0] == first[1]  # the second run read the first one's adapter
    assert greedy.notes["adapter"] == row.notes["adapter"] is not None


def test_a_study_frees_each_model_before_the_next_and_leaves_nothing_frozen(runs, tmp_path, monkeypatch):
    """Also a model that only a collection can free, as some are that hold themselves."""
    monkeypatch.undo()  # collections are made here
    known, alive, load = [], [], models.load

    def counted_load(*args, **named):
        alive.append(sum(one() is not None for one in known))
        model, tokenizer = load(*args, **named)
        model.itself = [model]
        known.append(weakref.ref(model))
        return model, tokenizer

    gc.unfreeze()
    monkeypatch.setattr(models, "load", counted_load)
    asked = [replace(runs[ZERO_SHOT], precision=precision) for precision in ("fp32", "bf16", "fp32")]
    asked = [replace(run, seed=seed) for seed, run in enumerate(asked)]
    study.run_all(study.plan(asked), tmp_path)
    assert alive == [0, 0, 0]
    assert known[-1]() is None
    assert gc.get_freeze_count() == 0
    gc.freeze()  # as for all tests

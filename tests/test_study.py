import gc
import json
from dataclasses import replace

import peft
import pytest
import small
import torch

from nblib import (
    generate,
    methods,
    metrics,
    models,
    presets,
    prompts,
    provenance,
    results,
    spec,
    study,
    tasks,
    train,
)
from nblib.study import fitting

TENSORS = (torch.Tensor, torch.nn.Parameter)

QUICK = presets.Preset(
    methods=(spec.ZeroShot(), spec.InContext(1), spec.Retrieved(2), spec.Lora(learning_rate=1e-2)),
    compared=("zero-shot", "icl", "lora"),
    shots=(1,),
    seeds=(1, 2),
    icl_seeds=(1, 2),
    training=spec.Training(epochs=1, optimizer="adamw_torch", evaluations_an_epoch=1),
    decoding=spec.Decoding(beams=2, returned=2),
)


@pytest.fixture
def model(tmp_path):
    return small.folder(tmp_path / "small")


@pytest.fixture
def data_dir(tmp_path):
    return small.rows(tmp_path / "data")


@pytest.fixture
def runs(model, data_dir, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "quick", QUICK)
    return study.compare(model, "conala", preset="quick", precision="fp32", data_dir=data_dir)


def test_a_comparison_gives_every_method_its_seeds_and_the_same_settings(runs):
    assert [(spec.label(run.method), run.seed) for run in runs] == [
        ("zero-shot", 1),
        ("icl-1", 1),
        ("icl-1", 2),
        ("lora", 1),
        ("lora", 2),
    ]
    assert len({run.decoding for run in runs}) == 1


def test_a_study_writes_a_row_a_run_with_scores_costs_and_provenance(runs, tmp_path):
    rows = study.run_all(study.plan(runs), tmp_path / "results")
    assert [row.status for row in rows] == ["ok"] * 5
    lora = rows[3]
    assert lora.settings["method"].items() >= {"kind": "lora", "learning_rate": 0.01, "r": 16, "alpha": 32}.items()
    assert lora.scores["em@1"]["n"] == 8
    assert lora.scores["em@2"]["mean"] >= lora.scores["em@1"]["mean"]
    assert lora.costs["trainable_parameters"] > 0 == rows[0].costs["trainable_parameters"]
    for phase in ("load", "train", "generate"):
        assert lora.costs[f"{phase}_seconds"] > 0
        assert lora.costs[f"{phase}_peak_bytes"] > 1e7
    assert rows[1].costs["prompt_tokens"] > rows[0].costs["prompt_tokens"]
    assert {"commit", "clean", "python", "packages", "device", "data", "weights"} <= set(lora.provenance)
    predictions = results.predictions(tmp_path / "results", lora.id)
    assert [each.example[0] for each in predictions] == list("12345678")
    assert all(len(each.codes) == 2 for each in predictions)


def test_a_finished_run_is_not_run_again_and_force_runs_it(runs, tmp_path, monkeypatch):
    planned = study.plan(runs[:2])
    first = study.run_all(planned, tmp_path)
    called = []
    whole = study.run_one
    monkeypatch.setattr(study.run, "run_one", lambda *given, **named: called.append(given) or whole(*given, **named))
    assert study.run_all(planned, tmp_path) == first
    assert called == []
    again = study.run_all(planned, tmp_path, force=True)
    assert len(called) == 2
    assert [row.scores for row in again] == [row.scores for row in first]


def test_the_same_seed_gives_the_same_predictions_twice(runs, tmp_path):
    for folder in ("one", "two"):
        study.run_all(study.plan(runs[3:4]), tmp_path / folder)
    one, two = (results.predictions(tmp_path / folder, study.plan(runs[3:4])[0].id) for folder in ("one", "two"))
    assert one == two


def test_out_of_memory_is_a_row_and_the_study_goes_on(runs, tmp_path, monkeypatch):
    def attach(*given, **named):
        raise torch.OutOfMemoryError("tried to allocate 40 GiB")

    monkeypatch.setattr(methods, "attach", attach)
    rows = study.run_all(study.plan([runs[3], runs[0]]), tmp_path)
    assert [row.status for row in rows] == ["out_of_memory", "ok"]
    assert "40 GiB" in rows[0].error
    assert rows[0].costs["train_seconds"] >= 0
    assert not results.finished(tmp_path, rows[0].id)


def test_a_run_that_fails_is_a_row_that_says_why(runs, tmp_path):
    diverging = replace(runs[3], method=spec.Lora(learning_rate=1e30))
    (row,) = study.run_all(study.plan([diverging]), tmp_path)
    assert row.status == "failed"
    assert "lower the learning rate" in row.error


def test_a_fault_that_nobody_foresaw_is_a_row_too(runs, tmp_path, monkeypatch):
    def steps(*given, **named):
        raise KeyError("labels")

    monkeypatch.setattr(train, "steps", steps)
    rows = study.run_all(study.plan([runs[3], runs[0]]), tmp_path)
    assert [row.status for row in rows] == ["failed", "ok"]
    assert rows[0].error == "KeyError: 'labels'"
    assert "in steps" in rows[0].notes["traceback"]


def test_answers_of_a_run_that_could_not_be_scored_are_not_lost(runs, tmp_path, monkeypatch):
    planned = study.plan([runs[0]])
    with monkeypatch.context() as broken:
        broken.setattr(metrics, "score", lambda *given: 1 / 0)
        (row,) = study.run_all(planned, tmp_path)
    assert row.status == "failed"
    monkeypatch.setattr(
        generate, "completions", lambda *given, done, **named: pytest.fail("asked again") if len(done) < 8 else ()
    )
    (row,) = study.run_all(planned, tmp_path)
    assert row.status == "ok"


def rows_of(results_dir):
    return {path.name: path.read_bytes() for path in results_dir.glob("*.predictions.jsonl")}


def test_a_row_of_an_earlier_scorer_is_scored_again_from_its_answers(runs, tmp_path, monkeypatch):
    planned = study.plan(runs[:2])
    before = study.run_all(planned, tmp_path)
    monkeypatch.setitem(provenance.REVISIONS, "scores", provenance.REVISIONS["scores"] + 1)
    assert set(results.problems(tmp_path)) == {f"{each.id}.json" for each in planned}
    assert not any(results.finished(tmp_path, each.id) for each in planned)
    monkeypatch.setattr(prompts, "extract", lambda text, stops, **named: "xs")
    monkeypatch.setattr(models, "load", lambda *given: pytest.fail("answers were there"))
    after = study.run_all(planned, tmp_path)
    assert [row.id for row in after] == [row.id for row in before]
    assert {each.codes for each in results.predictions(tmp_path, after[0].id)} == {("xs", "xs")}
    assert after[0].provenance["scored"]["revisions"]["scores"] == provenance.REVISIONS["scores"]
    assert results.problems(tmp_path) == {}


@pytest.mark.parametrize("changed", ["prompts", "decoding", "training"])
def test_a_row_of_an_earlier_revision_is_run_again_and_its_adapter_trained_again(runs, tmp_path, monkeypatch, changed):
    planned = study.plan([runs[0], runs[3]])
    study.run_all(planned, tmp_path)
    stamps = [results.written(tmp_path, each.id) for each in planned]
    fits = []
    fit = train.fit
    monkeypatch.setattr(train, "fit", lambda *given, **named: fits.append(1) or fit(*given, **named))
    monkeypatch.setitem(provenance.REVISIONS, changed, provenance.REVISIONS[changed] + 1)
    rows = study.run_all(planned, tmp_path)
    again = [before != results.written(tmp_path, each.id) for before, each in zip(stamps, planned, strict=True)]
    assert again == [changed != "training", True]
    assert bool(fits) == (changed != "decoding")
    assert [row.status for row in rows] == ["ok", "ok"]


def test_rows_of_the_sample_tasks_outlast_revisions_that_their_texts_cannot_meet(tmp_path):
    first = {"revisions": dict.fromkeys(provenance.REVISIONS, 1) | {"scores": provenance.REVISIONS["scores"]}}
    asked = {
        "tiny": spec.Run("tiny", "conala-mini", spec.ZeroShot()),
        "other": spec.Run("a/b", "conala", spec.ZeroShot()),
    }
    asked["own data"] = replace(asked["tiny"], data_dir="/data")
    for name, run in asked.items():
        results.write(tmp_path, results.Row(name, spec.settings(run), "ok", {}, {}, {}, first))
    assert {name: results.finished(tmp_path, name) for name in asked} == {
        "tiny": True,
        "other": False,
        "own data": False,
    }


def test_a_later_nblibs_row_is_refused_by_name(runs, tmp_path, monkeypatch):
    planned = study.plan(runs[:1])
    with monkeypatch.context() as later:
        later.setitem(provenance.REVISIONS, "scores", 99)
        study.run_all(planned, tmp_path)
    assert list(results.problems(tmp_path).values()) == ["has scores of a later revision: a newer nblib wrote it"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adamw"}, "optimizer must be one that transformers knows, such as .*adamw.*; got 'adamw'"),
        ({"schedule": "cosin"}, "schedule must be one that transformers knows, such as cosine.*; got 'cosin'"),
    ],
)
def test_names_that_transformers_does_not_know_are_refused_in_the_plan(runs, change, message):
    with pytest.raises(ValueError, match=message):
        study.plan([replace(runs[3], training=replace(runs[3].training, **change))])


def test_rows_that_are_all_too_long_are_refused_in_the_plan(runs, monkeypatch):
    monkeypatch.setitem(tasks.TASKS, "conala", replace(tasks.TASKS["conala"], output_tokens=1))
    with pytest.raises(
        ValueError, match="no train row of conala is within its limits of 64 tokens for an intent and 1"
    ):
        study.plan([runs[3]])


def test_an_encoder_decoder_without_a_first_token_is_refused_in_the_plan(runs, tmp_path):
    folder = small.folder(tmp_path / "t5", "t5")
    for name in ("config.json", "generation_config.json"):
        found = json.loads((tmp_path / "t5" / name).read_text())
        found.pop("decoder_start_token_id", None)
        (tmp_path / "t5" / name).write_text(json.dumps(found))
    with pytest.raises(ValueError, match="t5' has no decoder_start_token_id in its config.json"):
        study.plan([replace(runs[0], model=folder)])


@pytest.mark.parametrize("name", ["force", "allow_code_execution"])
def test_the_text_false_is_no_consent(runs, tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} must be True or False; got 'false'"):
        study.run_all(study.plan(runs[:1]), tmp_path, **{name: "false"})


def test_everything_wrong_is_said_before_any_work(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(study.run, "run_one", lambda *given, **named: pytest.fail("work was started"))
    with pytest.raises(ValueError, match="shots must be at most 24"):
        study.plan([*runs, replace(runs[1], method=spec.InContext(25))])
    with pytest.raises(ValueError, match="model must be one of"):
        study.plan([*runs, replace(runs[0], model="codelama")])
    with pytest.raises(ValueError, match="task must be one of"):
        study.plan([*runs, replace(runs[0], task="conla")])
    with pytest.raises(FileNotFoundError, match="is missing"):
        study.plan([*runs, replace(runs[0], data_dir=str(tmp_path / "nowhere"))])


def test_limited_rows_are_other_runs(runs):
    whole, part = study.plan([runs[0], replace(runs[0], limit=3)])
    assert whole.id != part.id
    assert len(part.data.test) == 3


def test_shots_that_do_not_fit_the_context_are_dropped_and_counted(runs, tmp_path):
    many = replace(runs[1], method=spec.InContext(24))
    (row,) = study.run_all(study.plan([many]), tmp_path)
    assert row.status == "ok"
    assert row.notes["queries_with_dropped_shots"] == 8 or row.costs["prompt_tokens"] < 1984


class TestAnswersWithoutMemoryForAllOfABatch:
    @pytest.fixture
    def room(self, monkeypatch):
        """A device that reads so many prompts at a time; the sizes of the batches that it was given."""
        sizes, whole = [], generate.prefill

        def give(most):
            def read(model, rows, *others):
                sizes.append(len(rows))
                if len(rows) > most:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
                return whole(model, rows, *others)

            monkeypatch.setattr(generate, "prefill", read)
            return sizes

        return give

    def test_come_half_as_many_at_a_time_and_are_the_same(self, runs, tmp_path, room):
        planned = study.plan([runs[1]])
        (at_once,) = study.run_all(planned, tmp_path / "roomy")
        sizes = room(3)
        (row,) = study.run_all(planned, tmp_path / "narrow")
        assert sizes == [8, 4, 2, 2, 2, 2]
        assert row.status == "ok"
        assert row.notes["answered_at_a_time"] == 2
        assert "answered_at_a_time" not in at_once.notes
        assert row.scores == at_once.scores
        assert results.predictions(tmp_path / "narrow", row.id) == results.predictions(tmp_path / "roomy", row.id)

    def test_are_out_of_memory_where_there_is_room_for_none(self, runs, tmp_path, room):
        sizes = room(0)
        (row,) = study.run_all(study.plan([runs[1]]), tmp_path)
        assert sizes == [8, 4, 2, 1]
        assert row.status == "out_of_memory"
        assert row.costs["requested_bytes"] == 2 * 2**30


def test_another_length_limit_of_the_task_is_another_run(runs, monkeypatch):
    before = [each.id for each in study.plan(runs)]
    monkeypatch.setitem(tasks.TASKS, "conala", replace(tasks.TASKS["conala"], output_tokens=32))
    assert not {each.id for each in study.plan(runs)} & set(before)


# --- one base, many methods -----------------------------------------------------------------------------------------


@pytest.fixture
def loads(monkeypatch):
    """The models that were loaded, in their order."""
    seen = []
    whole = models.load
    monkeypatch.setattr(models, "load", lambda *given, **named: seen.append(given) or whole(*given, **named))
    return seen


def test_one_base_serves_many_methods_and_answers_as_a_fresh_one(runs, tmp_path, loads):
    tuned = replace(runs[3], method=spec.Ia3(learning_rate=1e-2))
    planned = study.plan([runs[3], tuned, runs[0]])
    shared = study.run_all(planned, tmp_path / "shared")
    assert len(loads) == 1
    alone = [study.run_one(each, tmp_path / "alone") for each in planned]
    assert len(loads) == 4
    assert [row.scores for row in shared] == [row.scores for row in alone]
    for each in planned:
        assert results.predictions(tmp_path / "shared", each.id) == results.predictions(tmp_path / "alone", each.id)


def test_full_tuning_leaves_no_base_behind(runs, tmp_path, loads):
    full = replace(runs[3], method=spec.FullTuning(learning_rate=1e-2))
    study.run_all(study.plan([full, runs[0]]), tmp_path / "after")
    assert len(loads) == 2
    zero_shot = study.plan(runs[:1])[0]
    study.run_one(zero_shot, tmp_path / "alone")
    answers = [results.predictions(tmp_path / folder, zero_shot.id) for folder in ("after", "alone")]
    assert answers[0] == answers[1]


def _is_float(each):
    return type(each) in TENSORS and each.is_floating_point()


def test_memory_returns_to_the_bases_between_ten_adapters(runs, tmp_path):
    """Counted in bytes of live floats: the process's memory would blur them, and transformers caches stop strings."""
    planned = study.plan([replace(runs[3], seed=seed, limit=2) for seed in range(10)])
    base, held = fitting.Base(), []
    for each in planned:
        study.run_one(each, tmp_path, base=base)
        gc.collect()
        tensors = {each.data_ptr(): each.nbytes for each in gc.get_objects() if _is_float(each)}
        held.append(sum(tensors.values()))
    assert held[-1] <= held[0] + 1000


# --- what was trained is kept ---------------------------------------------------------------------------------------


def test_runs_that_train_the_same_train_once_and_answer_alike(runs, tmp_path, monkeypatch):
    trained = []
    whole = train.fit
    monkeypatch.setattr(train, "fit", lambda *given, **named: trained.append(given) or whole(*given, **named))
    first, again = study.plan([runs[3], replace(runs[3], decoding=spec.Decoding(beams=3, returned=1))])
    rows = study.run_all([first], tmp_path)
    rows += study.run_all([again], tmp_path)
    assert len(trained) == 1
    assert rows[0].costs["train_seconds"] == rows[1].costs["train_seconds"]
    assert rows[0].notes["validation_losses"] == rows[1].notes["validation_losses"]
    (tmp_path / f"{first.id}.json").unlink()
    answers = results.predictions(tmp_path, first.id)
    study.run_all([first], tmp_path)
    assert results.predictions(tmp_path, first.id) == answers
    study.run_all([first, again], tmp_path, force=True)
    assert len(trained) == 2


def test_a_trained_adapter_is_kept_with_a_card_that_has_every_score(runs, tmp_path):
    planned = study.plan([runs[3], replace(runs[3], split="validation")])
    rows = study.run_all(planned, tmp_path)
    (adapter,) = (tmp_path / "adapters").iterdir()
    assert rows[0].costs["adapter_bytes"] == (adapter / "adapter_model.safetensors").stat().st_size
    card = (adapter / "README.md").read_text()
    assert "em@1 on conala (test)" in card
    assert "em@1 on conala (validation)" in card
    base, _ = models.load(runs[3].model)
    loaded = methods.load(base, adapter)
    assert loaded.peft_config["default"].r == 16


def test_adapters_are_uploaded_only_where_that_is_asked_for(runs, tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(methods, "push", lambda place, repository: pushed.append(repository))
    planned = study.plan(runs[:4])
    study.run_all(planned, tmp_path)
    assert pushed == []
    study.run_all(planned, tmp_path, push_to="someone")
    assert pushed == [f"someone/{planned[3].training}"]


@pytest.mark.parametrize(
    ("chat", "ending", "stops", "code"),
    [
        (True, "task", ("\n",), "import re"),
        (True, "fence", (), "import re\nre.split(x)"),
        (False, "fence", ("\n",), "import re"),  # nothing opened a fence
    ],
)
def test_a_chat_models_answer_may_go_on_to_its_closing_fence(
    model, data_dir, tmp_path, monkeypatch, chat, ending, stops, code
):
    if chat:
        template = "{% for turn in messages %}{{ turn.content }}{{ eos_token }}{% endfor %}"
        (tmp_path / "small" / "chat_template.jinja").write_text(template)
    asked = []

    def completions(*given, stops, **named):
        asked.append(stops)
        return [(index, ["import re\nre.split(x)\n```\nIt splits."], 9) for index in range(8)]

    monkeypatch.setattr(generate, "completions", completions)
    decoding = spec.Decoding(beams=1, returned=1, ending=ending)
    run = spec.Run(model, "conala", spec.ZeroShot(), decoding=decoding, data_dir=data_dir)
    (row,) = study.run_all(study.plan([run]), tmp_path / "results")
    assert asked == [stops]
    assert {each.codes for each in results.predictions(tmp_path / "results", row.id)} == {(code,)}


# --- retrieval, search, transfer ------------------------------------------------------------------------------------


def test_retrieved_shots_are_kept_with_each_prediction_and_are_the_nearest_last(runs, model, data_dir, tmp_path):
    (run,) = study.compare(
        model, "conala", preset="quick", names=["rag"], shots=[2], precision="fp32", data_dir=data_dir
    )
    (row,) = study.run_all(study.plan([run]), tmp_path)
    assert row.status == "ok"
    assert row.costs["retrieve_seconds"] > 0
    known = {each.id: each for each in study.plan([run])[0].data.train}
    for each in results.predictions(tmp_path, row.id):
        assert len(each.shots) == 2
        assert set(each.shots) <= set(known)
        assert each.similarities[0] <= each.similarities[1]


def test_a_search_asks_the_validation_split_with_five_rates_a_method(model, data_dir, runs, tmp_path):
    found = study.search(model, "conala", preset="quick", names=["lora"], precision="fp32", data_dir=data_dir)
    assert sorted(run.method.learning_rate for run in found) == sorted(presets.RATES["lora"])
    fewer = study.search(
        model, "conala", preset="quick", names=["lora"], precision="fp32", data_dir=data_dir, limit=2, max_train=8
    )
    assert {(run.limit, run.max_train) for run in fewer} == {(2, 8)}
    planned = study.plan(found[:1])
    whole = tasks.load("conala", data_dir)
    assert planned[0].data.test == whole.validation
    (row,) = study.run_all(planned, tmp_path)
    assert row.settings["split"] == "validation"
    assert row.scores["em@1"]["n"] == len(whole.validation)


def test_max_train_leaves_the_first_training_rows_to_every_method(model, data_dir, runs, tmp_path):
    names = ["zero-shot", "icl", "rag", "lora"]
    found = study.compare(
        model, "conala", preset="quick", names=names, seeds=[1], precision="fp32", data_dir=data_dir, max_train=5
    )
    planned = study.plan(found)
    whole = tasks.load("conala", data_dir)
    assert [each.run.max_train for each in planned] == [None, 5, 5, 5]
    assert [each.data.train for each in planned] == [whole.train] + 3 * [whole.train[:5]]
    assert {each.data.test for each in planned} == {whole.test}
    assert {each.id for each in planned[1:]}.isdisjoint(each.id for each in study.plan(runs))
    rows = study.run_all(planned, tmp_path)
    assert rows[3].costs["train_steps"] == 1
    known = {each.id for each in whole.train[:5]}
    assert all(set(each.shots) <= known for row in rows for each in results.predictions(tmp_path, row.id))


def test_max_train_counts_in_each_of_joined_tasks(tmp_path):
    for name in ("conala", "codealpacapy"):
        small.rows(tmp_path / name)
    joined = tasks.load("conala+codealpacapy", tmp_path)
    kept = tasks.first_trained(joined, 3).train
    assert [each.source for each in kept] == 3 * ["conala"] + 3 * ["codealpacapy"]


def test_a_transfer_trains_each_adapter_once_and_asks_every_task(model, runs, tmp_path, monkeypatch):
    folder = tmp_path / "tasks"
    for name, examples in (("conala", small.DATA.train[:12]), ("codealpacapy", small.DATA.train[12:])):
        (folder / name).mkdir(parents=True)
        rows = [{"nl": each.intent, "cmd": each.code} for each in examples]
        for split in ("train", "validation", "test"):
            (folder / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained = []
    whole = train.fit

    def fit(*given, **named):
        trained.append(len(given[2].train))
        return whole(*given, **named)

    monkeypatch.setattr(train, "fit", fit)
    two = ["conala", "codealpacapy"]
    asked = study.transfer(model, two, two, preset="quick", seeds=[1], precision="fp32", data_dir=str(folder), limit=2)
    rows = study.run_all(study.plan(asked), tmp_path / "results")
    assert [(row.settings["task"], row.settings["train_task"]) for row in rows] == [
        ("conala", None),
        ("conala", None),
        ("conala", "codealpacapy"),
        ("conala", "conala+codealpacapy"),
        ("codealpacapy", None),
        ("codealpacapy", "conala"),
        ("codealpacapy", None),
        ("codealpacapy", "conala+codealpacapy"),
    ]
    assert [row.status for row in rows] == ["ok"] * 8
    assert sorted(trained) == [12, 12, 24]


def test_what_a_model_or_precision_cannot_take_is_refused_before_any_work(runs, tmp_path):
    with pytest.raises(ValueError, match="which has down_proj, .*; got 'q_project'"):
        study.plan([replace(runs[3], method=spec.Lora(targets="q_project"))])
    with pytest.raises(ValueError, match="an encoder"):
        study.plan([replace(runs[0], method=spec.Retrieved(2, retriever="/nowhere/encoder"))])


def test_any_config_of_peft_can_stand_in_a_comparison(model, data_dir, runs, tmp_path):
    loha = methods.custom(peft.LoHaConfig(r=4, target_modules=["q_proj", "v_proj"]), name="loha", learning_rate=1e-2)
    found = study.compare(
        model, "conala", preset="quick", names=["zero-shot", loha], seeds=[1], precision="fp32", data_dir=data_dir
    )
    rows = study.run_all(study.plan(found), tmp_path)
    assert [spec.label(run.method) for run in found] == ["zero-shot", "loha"]
    assert rows[1].status == "ok"
    assert 0 < rows[1].costs["trainable_parameters"] < rows[1].costs["total_parameters"] / 4


def test_checkpointing_is_switched_off_where_a_method_cannot_have_it_and_the_row_says_so(runs, tmp_path):
    training = replace(runs[3].training, gradient_checkpointing=True)
    prefix = replace(runs[3], method=spec.PrefixTuning(learning_rate=1e-2), training=training)
    (row,) = study.run_all(study.plan([prefix]), tmp_path)
    assert row.status == "ok"
    assert row.notes["gradient_checkpointing"] == "off: prefix-tuning cannot be trained with it"

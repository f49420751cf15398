import re
from dataclasses import replace

import pytest

from nblib import presets, spec, study

RUN = spec.Run("tiny", "conala-mini", spec.InContext(3))


def identity(run, data="d", weights="w"):
    return spec.run_id(run, data=data, weights=weights)


def test_an_id_reads_as_what_was_run():
    assert identity(RUN).startswith("tiny.conala-mini.icl-3.fp32.seed42.")


def test_everything_that_determines_a_result_changes_the_id():
    trained = spec.Run("tiny", "conala-mini", spec.Lora(), training=spec.Training())
    others = [
        RUN,
        replace(RUN, model="codellama-7b"),
        replace(RUN, task="conala"),
        replace(RUN, method=spec.InContext(2)),
        replace(RUN, precision="bf16"),
        replace(RUN, decoding=spec.Decoding(beams=12)),
        replace(RUN, decoding=spec.Decoding(length_rule="with-prompt")),
        replace(RUN, decoding=spec.Decoding(ending="fence")),
        replace(RUN, seed=1),
        replace(RUN, limit=5),
        replace(RUN, max_train=5),
        replace(RUN, study_scores=True),
        replace(RUN, split="validation"),
        replace(RUN, train_task="conala"),
        replace(RUN, method=spec.Retrieved(3)),
        replace(RUN, method=spec.Retrieved(3, retriever="tfidf")),
        trained,
        replace(trained, method=spec.Lora(r=8)),
        replace(trained, training=spec.Training(epochs=6)),
    ]
    ids = [identity(each) for each in others] + [identity(RUN, data="e"), identity(RUN, weights="v")]
    assert len(set(ids)) == len(ids)


def test_the_place_of_data_and_model_does_not_change_the_id():
    assert identity(replace(RUN, data_dir="/here")) == identity(replace(RUN, data_dir="/there"))
    here, there = (identity(replace(RUN, model=folder)) for folder in ("/here/tiny", "/there/tiny"))
    assert here == there


def test_ids_are_kept_over_versions():
    """A new field must have a default that means "as before"; this id was made by version 0.1."""
    assert identity(RUN) == "tiny.conala-mini.icl-3.fp32.seed42.e2be2bb351"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: replace(RUN, precision="int4"),
            "precision must be one of fp32, bf16, fp16, int8, nf4, nf4-dq, fp4; got 'int4'",
        ),
        (lambda: replace(RUN, limit=0), "limit must be a whole number, 1 or more; got 0"),
        (lambda: replace(RUN, max_train=0), "max_train must be a whole number, 1 or more; got 0"),
        (lambda: spec.Run("m", "t", spec.ZeroShot(), max_train=9), "max_train must be None; got 9"),
        (lambda: spec.method("lorra"), "method must be one of zero-shot, icl, rag, lora"),
        (lambda: spec.method("lora", rank=3), "lora has no setting 'rank'; it has learning_rate, r, alpha, dropout"),
        (lambda: spec.InContext(0), "shots must be a whole number, 1 or more; got 0"),
        (lambda: spec.Lora(r=-1), "r must be a whole number, 1 or more; got -1"),
        (lambda: spec.InContext(True), "shots must be a whole number, 1 or more; got True"),
        (lambda: spec.Lora(learning_rate=float("nan")), "learning_rate must be above 0; got nan"),
        (lambda: spec.Lora(dropout=float("nan")), "dropout must be at least 0 and below 1; got nan"),
        (lambda: spec.Training(epochs=0.5), "epochs must be a whole number, 1 or more; got 0.5"),
        (lambda: spec.Training(weight_decay=float("nan")), "weight_decay must be 0 or more; got nan"),
        (lambda: replace(RUN, seed=-1), "seed must be a whole number, 0 or more; got -1"),
        (lambda: replace(RUN, seed=2**32), "seed must be below 2**32, which NumPy can take; got 4294967296"),
        (lambda: replace(RUN, seed="1"), "seed must be a whole number, 0 or more; got '1'"),
        (lambda: spec.Lora(targets="q_proj,,v_proj"), "targets must be all-linear, attention-inputs, or names"),
        (lambda: spec.AdaLora(initial_r=8), "initial_r must be at least r, from which it is pruned; got 8 and 16"),
        (lambda: spec.Adapter(placement="top"), "placement must be one of pfeiffer, houlsby; got 'top'"),
        (lambda: spec.Retrieved(3, diversity=1.0), "diversity must be at least 0 and below 1; got 1.0"),
        (lambda: spec.method("zero-shot", shots=3), "zero-shot has no setting 'shots'; it has none"),
        (lambda: spec.Custom(), "config must be a PeftConfig as JSON"),
        (lambda: replace(RUN, split="train"), "split must be one of validation, test; got 'train'"),
        (lambda: spec.Run("m", "t", spec.ZeroShot(), train_task="u"), "zero-shot reads no training examples"),
        (lambda: spec.Lora(dropout=1.0), "dropout must be at least 0 and below 1"),
        (lambda: spec.PromptTuning(virtual_tokens=0), "virtual_tokens must be a whole number, 1 or more"),
        (lambda: spec.Decoding(beams=2, returned=5), "returned must be at most beams without sampling; got 5"),
        (lambda: spec.Decoding(temperature=0.0), "temperature must be above 0"),
        (lambda: spec.Decoding(temperature=float("nan")), "temperature must be above 0; got nan"),
        (lambda: spec.Decoding(temperature=float("inf")), "temperature must be above 0; got inf"),
        (lambda: spec.Decoding(temperature="warm"), "temperature must be above 0; got 'warm'"),
        (lambda: spec.Decoding(temperature=1.0, top_p=0), "top_p must be above 0 and at most 1; got 0"),
        (lambda: spec.Decoding(temperature=1.0, top_p=2), "top_p must be above 0 and at most 1; got 2"),
        (lambda: spec.Decoding(temperature=1.0, top_p=float("nan")), "top_p must be above 0 and at most 1; got nan"),
        (lambda: spec.Decoding(beams=2.5), "beams must be a whole number, 1 or more; got 2.5"),
        (lambda: spec.Decoding(returned=True), "returned must be a whole number, 1 or more; got True"),
        (lambda: spec.Decoding(early_stopping="never"), "early_stopping must be True or False; got 'never'"),
        (lambda: spec.Decoding(ending="line"), "ending must be one of task, fence; got 'line'"),
        (lambda: spec.Decoding(length_rule="all"), "length_rule must be one of answer, with-prompt; got 'all'"),
        (lambda: spec.Training(batch_size=8, device_batch=3), "batch_size must be a multiple of device_batch"),
        (
            lambda: spec.Run("tiny", "conala-mini", spec.Lora()),
            "training of lora must be settings, as it is trained; got None",
        ),
        (lambda: presets.get("papr"), "preset must be one of default, paper, paper-v1, cpu-real; got 'papr'"),
        (lambda: presets.methods(presets.get("default"), ["lora"], [2]), "shots need the method icl or rag"),
        (lambda: presets.methods(presets.get("default"), ["lora", "lora"], []), "methods must be named once each"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_the_paper_preset_has_the_values_of_the_study():
    paper = presets.get("paper")
    own = {spec.label(each): each for each in paper.methods}
    assert own["lora"] == spec.Lora(learning_rate=3e-4, r=16, alpha=32, dropout=0.05)
    assert own["ia3"].learning_rate == own["prompt-tuning"].learning_rate == 3e-3
    assert own["prompt-tuning"].virtual_tokens == 20
    assert (own["prefix-tuning"].learning_rate, own["prefix-tuning"].virtual_tokens) == (3e-2, 10)
    assert (paper.training.epochs, paper.training.batch_size, paper.training.optimizer) == (5, 8, "adafactor")
    assert (paper.training.schedule, paper.training.warmup_share) == ("linear", 0.05)
    assert (paper.decoding.beams, paper.decoding.returned) == (10, 10)
    assert paper.icl_seeds == (42, 777, 5432, 55555, 97)


def test_the_first_version_of_the_paper_decodes_and_scores_as_its_package_did():
    first = presets.get("paper-v1")
    own = {spec.label(each): each for each in first.methods}
    assert own["lora"] == spec.Lora(learning_rate=3e-4, r=16, alpha=32, dropout=0.05, targets="attention-inputs")
    assert (first.decoding.stop, first.decoding.length_rule) == ("all-beams", "with-prompt")
    assert (first.decoding.beams, first.decoding.returned, first.decoding.early_stopping) == (10, 10, False)
    assert first.icl_seeds == (42, 777, 5432, 55555, 97)
    assert first.shots == first.many_shots == (1, 2, 3)
    assert first.training == presets.get("paper").training
    chosen = presets.methods(first, ["lora", "qlora-4bit", "full"], [])
    assert [(method.kind, precision) for method, precision in chosen] == [
        ("lora", None),
        ("lora", "nf4-dq"),
        ("full", None),
    ]
    assert all(run.study_scores for run in study.compare("tiny", "conala-mini", preset="paper-v1"))
    assert not any(run.study_scores for run in study.compare("tiny", "conala-mini", preset="paper"))


def test_a_setting_that_was_added_later_is_told_where_it_is_not_as_before():
    usual = spec.settings(RUN)
    assert ("study_scores" in usual, "length_rule" in usual["decoding"]) == (False, False)
    other = spec.settings(replace(RUN, study_scores=True, decoding=spec.Decoding(length_rule="with-prompt")))
    assert (other["study_scores"], other["decoding"]["length_rule"]) == (True, "with-prompt")
    assert usual["decoding"].items() < other["decoding"].items()


def test_icl_appears_once_for_each_number_of_shots():
    chosen = presets.methods(presets.get("default"), ["zero-shot", "icl"], [1, 4])
    assert [spec.label(each) for each, _ in chosen] == ["zero-shot", "icl-1", "icl-4"]


def test_runs_that_train_the_same_share_their_training():
    run = spec.Run("tiny", "conala-mini", spec.Lora(), training=spec.Training())

    def trained(run):
        return spec.training_id(run, data="d", weights="w")

    same = [
        replace(run, decoding=spec.Decoding(beams=12)),
        replace(run, limit=3),
        replace(run, split="validation"),
        replace(run, task="odex", train_task="conala-mini"),
    ]
    assert {trained(each) for each in same} == {trained(run)}
    others = [replace(run, seed=1), replace(run, precision="nf4"), replace(run, method=spec.Lora(r=8))]
    others += [replace(run, training=spec.Training(epochs=6)), replace(run, max_train=9)]
    assert len({trained(each) for each in [run, *others]}) == 6


@pytest.mark.parametrize(
    "name", ["", " ", "lora/8", "../../up", "C:\\up", "a\nb", "a\x00", "\ud800", ".hidden", "x" * 260, "é" * 33]
)
def test_a_name_that_no_file_can_have_is_refused_before_any_training(name):
    with pytest.raises(ValueError, match="^name must be a short text of at most 64 bytes without .*; got '"):
        spec.Custom('{"peft_type": "LORA"}', name=name)


@pytest.mark.parametrize("name", ["olora", "lora+ r=8", "LoRA (late)", "x" * 64])
def test_other_names_of_a_custom_method_are_taken(name):
    assert spec.label(spec.Custom('{"peft_type": "LORA"}', name=name)) == name


def test_code_that_may_be_run_is_in_the_ids_and_without_it_they_stay_what_they_were():
    run = replace(RUN, method=spec.Lora(), training=spec.Training())
    trusted = replace(run, trust_remote_code=True)
    for made in (spec.run_id, spec.training_id):
        assert made(run, data="d", weights="w") != made(trusted, data="d", weights="w")
    with pytest.raises(ValueError, match="trust_remote_code must be True or False; got 'false'"):
        replace(run, trust_remote_code="false")

"""Settings: what they refuse, how ids are made of them, and the presets."""

import re
from dataclasses import replace

import pytest

from nblib import presets, spec, study

RUN = spec.Run("tiny", "conala-mini", spec.InContext(3))
TRAINED = spec.Run("tiny", "conala-mini", spec.Lora(), training=spec.Training())


def identity(run, data="d", weights="w"):
    return spec.run_id(run, data=data, weights=weights)


def test_everything_that_determines_a_result_changes_the_id():
    changes = {"model": "codellama-7b", "task": "conala", "precision": "bf16", "seed": 1, "limit": 5, "max_train": 5}
    changes |= {"study_scores": True, "split": "validation", "train_task": "conala", "trust_remote_code": True}
    changes |= {"threads": 2}
    others = [RUN, TRAINED, *(replace(RUN, **{name: value}) for name, value in changes.items())]
    decodings = (spec.Decoding(beams=12), spec.Decoding(length_rule="with-prompt"), spec.Decoding(ending="fence"))
    others += [replace(RUN, decoding=decoding) for decoding in decodings]
    methods = (spec.InContext(2), spec.Retrieved(3), spec.Retrieved(3, retriever="tfidf"))
    others += [replace(RUN, method=method) for method in methods]
    others += [replace(TRAINED, method=spec.Lora(r=8)), replace(TRAINED, training=spec.Training(epochs=6))]
    ids = [identity(run) for run in others] + [identity(RUN, data="e"), identity(RUN, weights="v")]
    assert len(set(ids)) == len(ids)


def test_ids_are_kept_over_versions_and_the_place_of_data_and_model_does_not_change_them():
    """A new field must have a default that means "as before"; this id was made by version 0.1."""
    assert identity(RUN) == "tiny.conala-mini.icl-3.fp32.seed42.e2be2bb351"
    assert identity(replace(RUN, data_dir="/here")) == identity(RUN)
    first, second = (identity(replace(RUN, model=folder)) for folder in ("/here/tiny", "/there/tiny"))
    assert first == second


def test_runs_that_train_the_same_share_their_training():
    def trained(run):
        return spec.training_id(run, data="d", weights="w")

    same = [{"decoding": spec.Decoding(beams=12)}, {"limit": 3}, {"split": "validation"}]
    same += [{"task": "odex", "train_task": "conala-mini"}]
    assert {trained(replace(TRAINED, **change)) for change in same} == {trained(TRAINED)}
    others = [{"seed": 1}, {"precision": "nf4"}, {"method": spec.Lora(r=8)}, {"training": spec.Training(epochs=6)}]
    others += [{"max_train": 9}, {"trust_remote_code": True}, {"threads": 2}, {}]
    assert len({trained(replace(TRAINED, **change)) for change in others}) == 8


def test_a_setting_that_was_added_later_is_told_where_it_is_not_as_before():
    usual = spec.settings(RUN)
    assert ("study_scores" in usual, "length_rule" in usual["decoding"]) == (False, False)
    other = spec.settings(replace(RUN, study_scores=True, decoding=spec.Decoding(length_rule="with-prompt")))
    assert (other["study_scores"], other["decoding"]["length_rule"]) == (True, "with-prompt")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(RUN, precision="int4"), "precision must be one of fp32, bf16, fp16, int8, ao-int8, nf4"),
        (lambda: replace(RUN, limit=0), "limit must be a whole number, 1 or more; got 0"),
        (lambda: replace(RUN, seed="1"), "seed must be a whole number, 0 or more; got '1'"),
        (lambda: replace(RUN, seed=2**32), "seed must be below 2**32, which NumPy can take; got 4294967296"),
        (lambda: replace(RUN, trust_remote_code="false"), "trust_remote_code must be True or False; got 'false'"),
        (lambda: spec.Run("m", "t", spec.ZeroShot(), max_train=9), "max_train must be None; got 9"),
        (lambda: spec.Run("m", "t", spec.Lora()), "training of lora must be settings, as it is trained; got None"),
        (lambda: spec.method("lorra"), "method must be one of zero-shot, icl, rag, lora"),
        (lambda: spec.method("lora", rank=3), "lora has no setting 'rank'; it has learning_rate, r, alpha, dropout"),
        (lambda: spec.method("zero-shot", shots=3), "zero-shot has no setting 'shots'; it has none"),
        (lambda: spec.InContext(True), "shots must be a whole number, 1 or more; got True"),
        (lambda: spec.Lora(learning_rate=float("nan")), "learning_rate must be above 0; got nan"),
        (lambda: spec.Lora(learning_rate=True), "learning_rate must be above 0; got True"),
        (lambda: spec.Lora(dropout=1.0), "dropout must be at least 0 and below 1; got 1.0"),
        (
            lambda: spec.Lora(targets="q_proj,,v_proj"),
            "targets must be all-linear, attention, attention-inputs, or names",
        ),
        (lambda: spec.AdaLora(initial_r=8), "initial_r must be at least r, from which it is pruned; got 8 and 16"),
        (lambda: spec.Custom(), "config must be a PeftConfig as JSON"),
        (lambda: spec.Training(weight_decay=-1.0), "weight_decay must be 0 or more; got -1.0"),
        (lambda: spec.Training(batch_size=8, device_batch=3), "batch_size must be a multiple of device_batch"),
        (lambda: spec.Decoding(beams=2, returned=5), "returned must be at most beams without sampling; got 5"),
        (lambda: spec.Decoding(temperature=1.0, top_p=2), "top_p must be above 0 and at most 1; got 2"),
        (lambda: spec.Decoding(stop="all-beams", beams=1, returned=1), "stop all-beams needs beam search"),
        (lambda: presets.get("papr"), "preset must be one of default, paper, paper-v1, cpu-real; got 'papr'"),
        (lambda: presets.methods(presets.get("default"), ["lora"], [2]), "shots need the method icl or rag"),
        (lambda: presets.methods(presets.get("default"), ["lora", "lora"], []), "methods must be named once each"),
        (lambda: presets.methods(presets.get("default"), ["peft"], []), "method must be one of zero-shot, icl"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        make()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["", " ", "lora/8", "../../up", "a\nb", "\ud800", ".hidden", "x" * 260, "é" * 33])
def test_a_name_that_no_file_can_have_is_refused_before_any_training(name):
    with pytest.raises(ValueError, match="^name must be a short text of at most 64 bytes without"):
        spec.Custom('{"peft_type": "LORA"}', name=name)
    assert spec.label(spec.Custom('{"peft_type": "LORA"}', name="LoRA+ (late)")) == "LoRA+ (late)"


def test_the_paper_preset_has_the_values_of_the_study():
    paper, first = presets.get("paper"), presets.get("paper-v1")
    own = {spec.label(method): method for method in paper.methods}
    assert own["lora"] == spec.Lora(learning_rate=3e-4, r=16, alpha=32, dropout=0.05)
    assert own["ia3"].learning_rate == own["prompt-tuning"].learning_rate == 3e-3
    assert own["prompt-tuning"].virtual_tokens == 20
    assert (own["prefix-tuning"].learning_rate, own["prefix-tuning"].virtual_tokens) == (3e-2, 10)
    assert (paper.training.epochs, paper.training.batch_size, paper.training.optimizer) == (5, 8, "adafactor")
    assert (paper.training.schedule, paper.training.warmup_share) == ("linear", 0.05)
    assert (paper.decoding.beams, paper.decoding.returned) == (10, 10)
    assert paper.icl_seeds == first.icl_seeds == (42, 777, 5432, 55555, 97)
    assert next(method for method in first.methods if method.kind == "lora").targets == "attention-inputs"
    assert (first.decoding.stop, first.decoding.length_rule) == ("all-beams", "with-prompt")
    assert first.training == paper.training
    assert all(run.study_scores for run in study.compare("tiny", "conala-mini", preset="paper-v1"))


def test_lora_over_quantized_weights_is_qlora_whoever_quantizes_them():
    labels = {precision: spec.label(spec.Lora(), precision) for precision in spec.PRECISIONS}
    eight, four = (
        dict.fromkeys(names.split(), f"qlora-{bits}bit")
        for names, bits in (("int8 ao-int8", 8), ("nf4 nf4-dq fp4 ao-int4", 4))
    )
    assert labels == dict.fromkeys(("fp32", "bf16", "fp16"), "lora") | eight | four
    assert spec.label(spec.Dora(), "ao-int8") == "dora"
    with pytest.raises(ValueError, match="full trains every weight, and ao-int8 weights cannot be trained"):
        replace(TRAINED, method=spec.FullTuning(), precision="ao-int8")


def test_names_stand_for_methods_at_numbers_of_shots_and_at_precisions():
    chosen = presets.methods(presets.get("default"), ["zero-shot", "icl", "lora", "qlora-4bit"], [1, 4])
    assert [(spec.label(method), precision) for method, precision in chosen] == [
        ("zero-shot", None),
        ("icl-1", None),
        ("icl-4", None),
        ("lora", None),
        ("lora", "nf4-dq"),
    ]

import re
from dataclasses import replace

import pytest

from nblib import presets, spec

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
        replace(RUN, seed=1),
        replace(RUN, limit=5),
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
        (lambda: replace(RUN, limit=0), "limit must be above 0; got 0"),
        (lambda: spec.method("lorra"), "method must be one of zero-shot, icl, lora"),
        (lambda: spec.method("lora", rank=3), "lora has no setting 'rank'; it has learning_rate, r, alpha, dropout"),
        (lambda: spec.InContext(0), "shots must be above 0"),
        (lambda: spec.Lora(r=-1), "r must be above 0"),
        (lambda: spec.Lora(dropout=1.0), "dropout must be at least 0 and below 1"),
        (lambda: spec.PromptTuning(virtual_tokens=0), "virtual_tokens must be above 0"),
        (lambda: spec.Decoding(beams=2, returned=5), "returned must be at most beams without sampling; got 5"),
        (lambda: spec.Decoding(temperature=0.0), "temperature must be above 0"),
        (lambda: spec.Training(batch_size=8, device_batch=3), "batch_size must be a multiple of device_batch"),
        (lambda: spec.Run("tiny", "conala-mini", spec.Lora()), "lora is trained, so it needs training settings"),
        (lambda: presets.get("papr"), "preset must be one of default, paper; got 'papr'"),
        (lambda: presets.methods(presets.get("default"), ["lora"], [2]), "shots need the method icl"),
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


def test_icl_appears_once_for_each_number_of_shots():
    chosen = presets.methods(presets.get("default"), ["zero-shot", "icl"], [1, 4])
    assert [spec.label(each) for each, _ in chosen] == ["zero-shot", "icl-1", "icl-4"]

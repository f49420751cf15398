"""A study as plain values: in Python, in YAML, and its runs."""

import pytest

from nblib import spec, study


def written(tmp_path, text):
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    return tmp_path / "study.yaml"


def test_yaml_as_a_person_writes_it_gives_the_runs_of_compare(tmp_path):
    text = """
        model: tiny
        task: conala-mini  # the small sample
        names: [zero-shot, {kind: lora, r: 8, learning_rate: 1e-3}]
        seeds: [7]
        precision: [fp32, bf16]
        decoding: {beams: 1, returned: 3, temperature: 8e-1}
        """
    decoding = spec.Decoding(beams=1, returned=3, temperature=0.8)
    settings = {"names": ["zero-shot", spec.Lora(r=8, learning_rate=1e-3)], "seeds": [7], "decoding": decoding}
    runs = [study.compare("tiny", "conala-mini", precision=precision, **settings) for precision in ("fp32", "bf16")]
    assert study.from_yaml(written(tmp_path, text)).runs() == runs[0] + runs[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model: tiny\ntask: conala-mini\nmetods: [lora]", "unknown key 'metods'; it may have model, task, preset"),
        ("model: tiny", "has no task; a study needs model and task"),
        ("- tiny", "must hold a mapping"),
        ("model: tiny\ntask: conala-mini\nseeds: 42", "seeds must be a list of whole numbers; got 42"),
        ("model: 7\ntask: conala-mini", "model must be a text or a list of texts; got 7"),
        ("model: tiny\ntask: conala-mini\nlimit: many", "limit must be a whole number, 1 or more; got 'many'"),
        ("model: tiny\ntask: conala-mini\nshape_only: 3", "shape_only must be True or False; got 3"),
        ("model: tiny\ntask: conala-mini\nnames: [{r: 8}]", "a method needs a kind"),
        ("model: tiny\ntask: conala-mini\nnames: [{kind: lora, rank: 8}]", "lora has no setting 'rank'"),
        ("model: tiny\ntask: conala-mini\nnames: [{kind: lora, learning_rate: fast}]", "learning_rate must be"),
        ("model: tiny\ntask: conala-mini\ndecoding: {beam: 3}", "decoding has an unknown key .beam."),
        ("model: tiny\ntask: conala-mini\ndecoding: 3", "decoding must be a spec.Decoding; got 3"),
    ],
)
def test_what_no_study_has_is_refused_in_one_sentence(text, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        study.from_yaml(written(tmp_path, text))


def test_a_grid_varies_rates_layers_ranks_and_batches_one_at_a_time():
    runs = study.tuning("tiny", "conala-mini", seeds=[7])
    settings = {
        (run.method.kind, *(getattr(run.method, name, None) for name in ("targets", "r")), run.training.batch_size)
        for run in runs
    }
    assert settings == {
        ("lora", "all-linear", 16, 8),
        ("lora", "attention", 48, 8),
        ("lora", "all-linear", 4, 8),
        ("lora", "all-linear", 64, 8),
        ("lora", "all-linear", 16, 32),
        ("full", None, None, 8),
        ("full", None, None, 32),
    }
    assert len(set(runs)) == len(runs) == 5 * len(settings)  # each at five rates
    assert {run.split for run in runs} == {"validation"}


def test_a_search_with_the_studys_settings_tries_rates_around_the_studys_own():
    runs = study.search("codegen-350m-mono", "conala", preset="paper", names=["lora", "full"])
    rates = [run.method.learning_rate for run in runs]
    assert rates == [3e-5, 9e-5, 3e-4, 9e-4, 3e-3, 5e-6, 1.5e-5, 5e-5, 1.5e-4, 5e-4]

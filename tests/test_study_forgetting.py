"""What a training costs elsewhere: measured once around it, changes nothing of a run, and shown against its gain."""

from dataclasses import replace

import hub
import made_rows
import numpy as np
import pytest
import small
import torch

from nblib import methods, plots, results, spec, study, tables, tasks, train
from nblib.study import fitting, forgetting, resume

QUICK = spec.Training(epochs=1, batch_size=8, device_batch=8, evaluations_an_epoch=1, optimizer="adamw_torch")
GREEDY = spec.Decoding(beams=1, returned=1)
WRONG = [{"instruction": f"get the absolute value of {number}", "output": "xs = 9"} for number in range(-40, 40)]


def planned(task="conala-mini", name="lora", **settings):
    """One run of the small embedded model, which knows the kind `code` well."""
    (run,) = study.compare("micro", task, names=[name], seeds=[42], limit=2, decoding=GREEDY, **settings)
    return study.plan([replace(run, training=run.training and QUICK)])[0]


@pytest.fixture(scope="module")
def loaded():
    base = fitting.Base()
    base.load(planned(), fitting.Record())
    return base


def test_an_adapter_that_adds_nothing_forgets_exactly_nothing(loaded):
    one, record = planned(), fitting.Record()
    kinds = forgetting.before(one, loaded, record)
    attached = methods.attach(loaded.model, spec.Lora(), loaded.tokenizer, seed=1)
    forgetting.after(one, loaded, attached, kinds, record)
    noted, loaded.model = record.notes["elsewhere"], methods.detach(attached)
    assert set(noted) == {"code", "codealpaca-mini", "apps-mini"}  # of English it knows less than a guess
    assert all(kind["after"] == kind["before"] > 0 for kind in noted.values())


def test_full_tuning_on_wrong_answers_raises_the_loss_elsewhere_and_the_row_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("NBLIB_CACHE", str(tmp_path / "cache"))
    own = tasks.resolve(WRONG, name="wrong")
    one = planned(own, spec.FullTuning(learning_rate=1e-2))
    row = study.run_one(one, tmp_path / "rows")
    assert row.status == "ok"
    noted = row.notes["elsewhere"]
    assert set(noted) == {"code", "conala-mini", "codealpaca-mini", "apps-mini"}  # it is none of the sample tasks
    assert noted["code"]["after"] > noted["code"]["before"] + 1
    runs, _ = results.load(tmp_path / "rows")
    rise = np.mean([kind["after"] - kind["before"] for kind in noted.values()])
    assert runs["elsewhere_rise_nats"].item() == pytest.approx(rise)
    assert row.costs["elsewhere_seconds"] > 0


def test_a_run_answers_the_same_with_and_without_it_and_keeps_its_id(tmp_path, monkeypatch):
    one = planned()
    row = study.run_one(one, tmp_path / "with")
    monkeypatch.setattr(forgetting, "before", lambda *args: {})
    without = study.run_one(one, tmp_path / "without")
    assert (row.id, row.scores) == (without.id, without.scores)
    assert "elsewhere" in row.notes.keys() - without.notes.keys()
    assert row.notes["validation_losses"] == without.notes["validation_losses"]
    kept = [results.predictions(tmp_path / name, one.id) for name in ("with", "without")]
    assert kept[0] == kept[1] != []
    assert resume.FOLDER not in {path.name for path in (tmp_path / "with").iterdir()}


def test_an_adapter_that_is_there_already_is_measured_without_being_trained_again(tmp_path, monkeypatch):
    first = study.run_one(planned(), tmp_path)
    monkeypatch.setattr(train, "fit", lambda *args, **named: pytest.fail("trained again"))
    other = study.run_one(planned("codealpaca-mini", train_task="conala-mini"), tmp_path)
    assert other.id != first.id
    assert other.notes["elsewhere"] == first.notes["elsewhere"]


def test_measuring_draws_no_random_number_and_reads_the_base_once(loaded, monkeypatch):
    state = torch.get_rng_state()
    kinds = forgetting.before(planned(), loaded, fitting.Record())
    assert torch.equal(torch.get_rng_state(), state)
    assert len(kinds) == 3
    monkeypatch.setattr(train, "mean_loss", lambda *args, **named: pytest.fail("read again"))
    assert forgetting.before(planned(name="ia3"), loaded, fitting.Record()) == kinds


def test_it_reads_no_more_tokens_at_a_time_than_the_training_may(loaded):
    one = planned()
    limits = sum((tasks.get("conala-mini").input_tokens, tasks.get("conala-mini").output_tokens))
    for batches, _, _ in forgetting.before(one, loaded, fitting.Record()).values():
        assert all(len(batch) <= QUICK.device_batch for batch in batches)
        longest = max(len(batch) * max(map(train.tokens, batch)) for batch in batches)
        assert longest <= QUICK.device_batch * (limits + 30)  # the template's own tokens


@pytest.mark.parametrize("settings", [{"name": "zero-shot"}, {"shape_only": True}])
def test_what_trains_nothing_and_random_weights_are_not_measured(loaded, settings):
    record = fitting.Record()
    assert forgetting.before(planned(**settings), loaded, record) == {}
    assert record.costs == {}


def test_the_mean_loss_is_that_of_the_model_itself_over_all_answer_tokens(loaded):
    rows = train.encode_all(tasks.load("conala-mini").validation[:5], loaded.tokenizer, tasks.get("conala-mini"))
    own = []
    for row in rows:
        logits = loaded.model(torch.tensor([row["input_ids"]])).logits[0, :-1].log_softmax(-1)
        labels = torch.tensor(row["labels"][1:])
        own += [-logits[place, label].item() for place, label in enumerate(labels) if label != train.IGNORED]
    mean = train.mean_loss(loaded.model, [rows[:2], rows[2:]], loaded.tokenizer.pad_token_id, precision="fp32")
    assert mean == pytest.approx(sum(own) / len(own), rel=1e-5)


# --- which texts ------------------------------------------------------------------------------------------------------

CONTENTS = {  # changes with the texts, and rows of before and after do not compare then
    "code": "13911ce8ab61fd5a",
    "english": "d4234c67fdc1452d",
    "conala-mini": "1b18f32bf55ccb7c",
    "codealpaca-mini": "835d5dd6c8a4b693",
    "apps-mini": "60a85679741303b4",
}


def test_the_texts_are_always_the_same_and_never_of_the_task_itself_nor_its_test_rows():
    found = tasks.elsewhere("")
    assert {name: tasks.content([rows]) for name, (_, rows) in found.items()} == CONTENTS
    assert set(tasks.elsewhere("conala-mini+apps-mini")) == {"code", "english", "codealpaca-mini"}
    for name in ("conala-mini", "codealpaca-mini", "apps-mini"):
        assert set(found[name][1]) <= set(tasks.load(name).validation)


def test_other_benchmarks_count_where_they_are_on_this_machine(tmp_path):
    for name in ("conala", "codealpacapy"):
        small.rows(tmp_path / name)
    assert set(tasks.elsewhere("conala", tmp_path / "conala")) - set(CONTENTS) == {"codealpacapy"}
    (tmp_path / "codealpacapy" / "validation.jsonl").write_text("no JSON")
    assert set(tasks.elsewhere("conala", tmp_path / "conala")) == set(CONTENTS)


def test_other_benchmarks_count_where_the_cache_has_them_and_nothing_is_fetched(tmp_path):
    server = hub.Hub()
    try:
        for name in ("conala", "codealpacapy"):
            rows = hub.lines({"nl": "add 1", "cmd": "x + 1", "question_id": "1-1"})
            files = (
                tasks.get(name).files
                if name == "conala"
                else [file.replace("*", "0") for file in tasks.get(name).files]
            )
            packed = rows if name == "conala" else hub.parquet({"nl": "add 1", "cmd": "x + 1"})
            server.add_task(name, dict.fromkeys(files, packed))
        asked = "sorted(set(tasks.elsewhere('mbpp')) & {'conala', 'codealpacapy'})"
        before, _, after = hub.ask(server.endpoint, tmp_path, asked, "about(tasks.load('conala'))", asked)
        assert (before, after) == ([], ["conala"])
        assert not any("codealpaca" in request for request in server.requests)
    finally:
        server.close()


# --- tables and figure ------------------------------------------------------------------------------------------------


def note(rise, content="c"):
    return {"elsewhere": {"code": {"before": 1.0, "after": 1.0 + rise, "content": content}}}


@pytest.fixture
def rows(tmp_path):
    """Zero-shot, examples, LoRA that forgets 0.1, 0.2 and 0.3 nats, and IA3 of older rows."""
    for method, share in ((spec.ZeroShot(), 0.2), (spec.Retrieved(3), 0.5)):
        made_rows.put(tmp_path, made_rows.run(method), made_rows.right(share))
    for seed, rise in zip(made_rows.SEEDS, (0.1, 0.2, 0.3), strict=True):
        made_rows.put(tmp_path, made_rows.run(spec.Lora(), seed), made_rows.right(0.7, seed), notes=note(rise))
        made_rows.put(tmp_path, made_rows.run(spec.Ia3(), seed), made_rows.right(0.4, seed))
    return tmp_path


def test_the_table_has_gain_and_rise_with_an_interval_over_seeds_as_solved_by_hand(rows):
    table = tables.forgetting(*results.load(rows))
    lora = table.frame.loc["lora"]
    assert lora["difference"] == pytest.approx(0.5)
    assert lora["elsewhere_rise_nats"] == pytest.approx(0.2)
    half = 4.302653 * 0.1 / 3**0.5  # Student's t of two degrees of freedom
    assert lora["elsewhere_rise_nats_low"] == pytest.approx(0.2 - half, abs=1e-5)
    assert table.frame.loc[["zero-shot", "rag-3"], "elsewhere_rise_nats"].tolist() == [0, 0]
    assert np.isnan(table.frame.loc["ia3", "elsewhere_rise_nats"])
    assert "+0.200 (−0.048 to +0.448)" in str(table)
    assert "code rise" in str(tables.full(table))
    figure = plots.scatter(table.frame, "difference", "elsewhere_rise_nats")
    assert "lora +0.200 nats (−0.048 to +0.448) at +50.0 points" in plots.alternative(figure)
    assert "without a point: ia3" in "".join(text.get_text() for text in figure.texts)


def test_a_comparison_has_it_as_a_column_of_its_full_table_only_where_it_was_measured(rows, tmp_path):
    comparison = tables.comparison(*results.load(rows))
    assert "rise of loss elsewhere (nats)" in str(tables.full(comparison))
    assert "rise of loss" not in str(comparison)
    older = made_rows.put(tmp_path / "older", made_rows.run(spec.Lora()), made_rows.right(0.7))
    runs, answers = results.load(tmp_path / "older")
    assert list(runs.index) == [older.id]
    assert "rise" not in str(tables.full(tables.comparison(runs, answers)))
    assert "No run has a loss elsewhere" in str(tables.forgetting(runs, answers))


def test_a_kind_that_not_every_run_has_is_in_no_mean(rows):
    noted = note(0.5)["elsewhere"]
    noted["conala"] = noted["code"] | {"after": 9.0}
    made_rows.put(rows, made_rows.run(spec.FullTuning()), made_rows.right(0.6), notes={"elsewhere": noted})
    runs, answers = results.load(rows)
    frame = tables.forgetting(runs, answers).frame
    assert frame.loc["full", "elsewhere_rise_nats"] == pytest.approx(0.5)
    assert runs.loc[runs["kind"] == "full", "conala_rise_nats"].item() == pytest.approx(8.0)
    assert "conala_rise_nats" not in frame


def test_shipped_rows_are_read_as_before():
    runs, _ = results.load(results.SHIPPED / "tiny")
    assert len(runs) > 100
    assert runs.loc[runs["precision"] == "fp32", "elsewhere_rise_nats"].isna().all()


# --- intruder dimensions ----------------------------------------------------------------------------------------------


def with_direction(direction, scale=100.0):
    """A model whose first query weight has the unit vectors as its directions, with LoRA of rank 1 along another."""
    model = small.model()
    layer = model.model.layers[0].self_attn.q_proj
    layer.weight.data = torch.diag(torch.arange(32, 0, -1.0))
    attached = methods.attach(model, spec.Lora(r=1, alpha=1, targets="q_proj"), None, seed=0)
    name, tuned = next((name, each) for name, each in attached.named_modules() if hasattr(each, "lora_A"))
    tuned.lora_B["default"].weight.data = scale * torch.tensor(direction).reshape(32, 1)
    return attached, name


def test_a_direction_that_mixes_those_of_the_base_is_an_intruder_and_one_of_them_is_none(capsys):
    even = [1 / 32**0.5] * 32  # its cosine with each unit vector is 0.18
    mixed, name = with_direction(even)
    assert methods.intruders(mixed)[name] == 1
    assert sum(methods.intruders(with_direction(even, 0.0)[0]).values()) == 0
    assert methods.intruders(with_direction([1.0] + [0.0] * 31)[0], top=1)[name] == 0
    counted = methods.intruders(mixed)
    reduce = pytest.importorskip("peft.tuners.lora.intruders").reduce_intruder_dimension
    reduce(mixed)
    said = capsys.readouterr().out
    assert f"{name}: Intruders: 1" in said
    assert said.count("Intruders: ") == sum(count > 0 for count in counted.values())
    assert methods.intruders(small.model()) == {}

"""Verdicts follow the tests, and those of the shipped rows stay."""

import pytest
from made_rows import put, right, run, study

from nblib import provenance, results, tables
from nblib.spec import Adapter, FullTuning, Ia3, InContext, LnTuning, Lora, Retrieved, ZeroShot

HOLDS, FAILS, OPEN = "holds", "does not hold", "is not decided"
SHIPPED = [
    ("1", "tiny", "codealpaca-mini", HOLDS),
    ("1", "tiny", "conala-mini", HOLDS),
    ("1, LoRA", "tiny", "codealpaca-mini", OPEN),
    ("1, LoRA", "tiny", "conala-mini", OPEN),
    ("2", "tiny", "conala-mini", HOLDS),
    ("3", "tiny", "apps-mini", FAILS),
    ("3", "tiny", "conala-mini", FAILS),
    ("4", "tiny", "apps-mini", HOLDS),
    ("5", "tiny", "codealpaca-mini and conala-mini", OPEN),
]


@pytest.mark.slow
def test_the_shipped_rows_keep_their_verdicts():
    found = tables.verdicts(*results.load(provenance.ROOT / "data" / "results" / "tiny"))
    assert [(verdict.claim, verdict.model, verdict.task, verdict.verdict) for verdict in found] == SHIPPED


@pytest.mark.parametrize(("lora", "icl", "rag", "verdict"), [(0.6, 0.2, 0.3, HOLDS), (0.3, 0.2, 0.6, FAILS)])
def test_peft_beside_examples(tmp_path, lora, icl, rag, verdict):
    study(tmp_path, {Lora(): lora, InContext(shots=2): icl, Retrieved(shots=2): rag}, seeds=(1, 2))
    assert tables.claim_1(*results.load(tmp_path)).verdict == verdict


def test_what_is_missing_leaves_a_claim_open_and_is_said(tmp_path):
    study(tmp_path, {Lora(): 0.6, InContext(shots=2): 0.2})
    found = tables.claim_1(*results.load(tmp_path))
    assert (found.verdict, "no RAG run" in found.sentence) == (OPEN, True)
    row = put(tmp_path, run(Retrieved(1)), right(0.1))
    results.write(tmp_path, row)  # its predictions are no longer part of it
    (tmp_path / f"{row.id}.predictions.jsonl").unlink()
    found = tables.claim_1(*results.load(tmp_path))
    assert (found.verdict, "not tested" in found.sentence) == (OPEN, True)


def test_a_family_beside_others_has_its_numbers_and_one_sentence(tmp_path):
    study(tmp_path, {Lora(): 0.6, Ia3(): 0.3, InContext(1): 0.2, InContext(3): 0.3, ZeroShot(): 0.1})
    put(tmp_path, run(FullTuning()), [], status=results.OUT_OF_MEMORY)
    found = tables.beats(*results.load(tmp_path))
    assert found.sentence.startswith(
        "“PEFT beats ICL and zero-shot” holds on a with tiny in EM@1: lora 60.0 % against icl-3 30.0 % (+30.0 points"
    )
    assert "This rests on 120 examples and 1 to 3 seeds per method. Without a result: full (OOM)." in found.sentence
    numbers = found.numbers.set_index("base")
    assert numbers.loc["icl-3", "relative_share"] == pytest.approx(1.0)
    assert numbers.loc["icl-3", "trainable_parameters"] == 98_304
    assert "<blockquote><b>Yes.</b> “PEFT beats" in found._repr_html_()
    with pytest.raises(ValueError, match="a family must be one of"):
        tables.beats(*results.load(tmp_path), against=("icl",))


@pytest.mark.parametrize(("ia3", "verdict"), [(0.2, HOLDS), (0.8, FAILS), (0.5, OPEN)])
def test_lora_as_the_best_of_four_whose_rival_qlora_is_not(tmp_path, ia3, verdict):
    put(tmp_path, run(Lora(), precision="nf4-dq"), right(0.5))
    for method, share in ((Lora(), 0.5), (Ia3(), ia3), (LnTuning(), 0.2), (ZeroShot(), 0.1)):
        put(tmp_path, run(method), right(share))
    found = tables.claim_lora(*results.load(tmp_path))
    assert (found.verdict, found.answer) == (OPEN, "Not decided")
    assert "3 PEFT methods were compared, of at least 4 that it takes." in found.sentence
    put(tmp_path, run(Adapter()), right(0.1))
    found = tables.claim_lora(*results.load(tmp_path))
    assert (found.verdict, "4 PEFT methods were compared." in found.sentence) == (verdict, True)
    gains = found.numbers.set_index("line")["points_per_1000_parameters"]
    assert verdict != HOLDS or gains["ia3"] == pytest.approx(100 * 0.1 / 3.2)


def test_a_larger_model_beside_a_smaller_one_and_only_the_models_that_win_are_named(tmp_path):
    put(tmp_path, run(FullTuning()), right(0.5))
    put(tmp_path, run(Lora(), model="large"), right(0.8))
    assert tables.claim_2(*results.load(tmp_path)).verdict == HOLDS
    put(tmp_path, run(Lora(), model="huge"), right(0.2), costs={"total_parameters": 2e7})
    assert tables.claim_2(*results.load(tmp_path)).verdict == "holds for large only"


@pytest.mark.parametrize(
    ("share", "weights", "verdict"), [(0.75, 50.0, HOLDS), (0.3, 50.0, FAILS), (0.75, 400.0, FAILS), (0.48, 50.0, OPEN)]
)
def test_quantization(tmp_path, share, weights, verdict):
    put(tmp_path, run(Lora()), right(0.5))
    put(tmp_path, run(Lora(), precision="nf4-dq"), right(share, seed=1), costs={"train_weights_bytes": weights})
    put(tmp_path, run(FullTuning()), right(0.5), costs={"train_weights_bytes": 800.0})
    found = tables.claim_3(*results.load(tmp_path))
    assert found.verdict == verdict
    assert found.numbers["memory_share"].item() == (weights + 200) / 500
    assert found.numbers["full_memory_share"].item() == (weights + 200) / 1000


@pytest.mark.parametrize(
    ("shares", "verdict"), [((0.6, 0.6), HOLDS), ((0.6, 0.2), OPEN), ((0.6, 0.02), FAILS), ((0.6,), OPEN)]
)
def test_programs_that_run(tmp_path, shares, verdict):
    metrics = ("strict_accuracy", "test_accuracy")
    put(tmp_path, run(ZeroShot()), right(0.2), metrics=metrics)
    for precision, share in zip(("fp32", "nf4-dq"), shares, strict=False):
        put(tmp_path, run(Lora(), precision=precision), right(share), metrics=metrics)
    assert tables.claim_4(*results.load(tmp_path)).verdict == verdict


@pytest.mark.parametrize(("joint", "verdict"), [(0.5, HOLDS), (0.1, FAILS), (0.46, OPEN)])
def test_one_adapter_for_two_tasks(tmp_path, joint, verdict):
    for task in ("a", "b"):
        put(tmp_path, run(Lora(), task=task), right(0.5))
        put(tmp_path, run(Lora(), task=task, train_task="a+b"), right(joint, seed=int(verdict == OPEN)))
    (found,) = (found for found in tables.verdicts(*results.load(tmp_path)) if found.claim == "5")
    assert (found.verdict, found.task) == (verdict, "a and b")


def test_every_claim_is_spoken_of_even_without_rows(tmp_path):
    found = tables.verdicts(*results.load(tmp_path))
    assert [verdict.claim for verdict in found] == list(tables.CLAIMS)
    assert {verdict.verdict for verdict in found} == {OPEN}
    assert "is not decided by this data" in tables.verdict_table(found).text
    for claim in (tables.claim_1, tables.claim_lora, tables.claim_2, tables.claim_3, tables.claim_4, tables.claim_5):
        assert "There are no runs yet" in claim(*results.load(tmp_path)).sentence

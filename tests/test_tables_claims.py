"""Verdicts follow the tests, and those of the shipped rows stay."""

import pytest
from made_rows import put, right, run, study

from nblib import provenance, results, tables
from nblib.spec import FullTuning, Ia3, InContext, Lora, Retrieved, ZeroShot

SHIPPED = [
    ("1", "tiny", "codealpaca-mini", "holds"),
    ("1", "tiny", "conala-mini", "holds"),
    ("1, LoRA", "tiny", "codealpaca-mini", "holds"),
    ("1, LoRA", "tiny", "conala-mini", "is not decided"),
    ("2", "tiny", "conala-mini", "holds"),
    ("3", "tiny", "apps-mini", "does not hold"),
    ("3", "tiny", "conala-mini", "does not hold"),
    ("4", "tiny", "apps-mini", "holds"),
    ("5", "tiny", "codealpaca-mini and conala-mini", "is not decided"),
]


def verdict(folder, claim: str) -> str:
    (found,) = (each for each in tables.verdicts(*results.load(folder)) if each.claim == claim)
    return found.verdict


@pytest.mark.slow
def test_the_shipped_rows_keep_their_verdicts():
    found = tables.verdicts(*results.load(provenance.ROOT / "data" / "results" / "tiny"))
    assert [(each.claim, each.model, each.task, each.verdict) for each in found] == SHIPPED


@pytest.mark.parametrize(
    ("lora", "icl", "rag", "said"),
    [(0.6, 0.2, 0.3, "holds"), (0.3, 0.2, 0.6, "does not hold"), (0.5, 0.2, 0.5, "is not decided")],
)
def test_peft_beside_examples(tmp_path, lora, icl, rag, said):
    study(tmp_path, {Lora(): lora, InContext(shots=2): icl, Retrieved(shots=2): rag})
    assert verdict(tmp_path, "1") == said


def test_without_retrieval_the_first_claim_stays_open(tmp_path):
    study(tmp_path, {Lora(): 0.6, InContext(shots=2): 0.2})
    found = tables.claim_1(*results.load(tmp_path))
    assert found.verdict == "is not decided"
    assert "no RAG run" in found.sentence


def test_a_family_beside_others_has_its_numbers_and_one_sentence(tmp_path):
    study(tmp_path, {Lora(): 0.6, Ia3(): 0.3, InContext(1): 0.2, InContext(3): 0.3, ZeroShot(): 0.1})
    put(tmp_path, run(FullTuning()), [], status=results.OUT_OF_MEMORY)
    found = tables.beats(*results.load(tmp_path))
    assert found.sentence.startswith(
        "“PEFT beats ICL and zero-shot” holds on a with tiny in EM@1: lora 60.0 % beside icl-3 30.0 % (+30.0 points"
    )
    assert "This rests on 120 examples and 1 to 3 seeds a line. Without a result: full (OOM)." in found.sentence
    numbers = found.numbers.set_index("base")
    assert numbers.loc["icl-3", "relative_share"] == pytest.approx(1.0)
    assert numbers.loc["icl-3", "trainable_parameters"] == 98_304
    assert "<blockquote>“PEFT beats" in found._repr_html_()
    with pytest.raises(ValueError, match="a family must be one of"):
        tables.beats(*results.load(tmp_path), against=("icl",))


@pytest.mark.parametrize(("ia3", "said"), [(0.2, "holds"), (0.8, "does not hold"), (0.5, "is not decided")])
def test_lora_as_the_best(tmp_path, ia3, said):
    study(tmp_path, {Lora(): 0.5, Ia3(): ia3, ZeroShot(): 0.1})
    assert verdict(tmp_path, "1, LoRA") == said
    numbers = tables.claim_lora(*results.load(tmp_path)).numbers.set_index("line")
    if said == "holds":
        assert numbers.loc["ia3", "points_per_1000_parameters"] == pytest.approx(100 * 0.1 / 3.2)


def test_qlora_is_no_rival_of_lora(tmp_path):
    put(tmp_path, run(Lora()), right(0.5))
    put(tmp_path, run(Lora(), precision="nf4-dq"), right(0.9))
    assert tables.claim_lora(*results.load(tmp_path)).numbers.empty


@pytest.mark.parametrize(("small", "said"), [(0.2, "holds"), (0.8, "does not hold"), (0.5, "is not decided")])
def test_a_larger_model_beside_a_smaller_one(tmp_path, small, said):
    study(tmp_path, {FullTuning(): small})
    study(tmp_path, {Lora(): 0.5}, model="large")
    assert verdict(tmp_path, "2") == said


def test_only_the_models_that_win_are_named(tmp_path):
    study(tmp_path, {FullTuning(): 0.5})
    study(tmp_path, {Lora(): 0.8}, model="large")
    for seed in (1, 2):
        put(tmp_path, run(Lora(), seed, model="huge"), right(0.2), costs={"total_parameters": 2e7})
    assert tables.claim_2(*results.load(tmp_path)).verdict == "holds for large only"


@pytest.mark.parametrize(
    ("share", "weights", "said"),
    [
        (0.75, 50.0, "holds"),
        (0.3, 50.0, "does not hold"),
        (0.75, 400.0, "does not hold"),
        (0.5, 50.0, "is not decided"),
    ],
)
def test_quantization(tmp_path, share, weights, said):
    put(tmp_path, run(Lora()), right(0.5))
    put(tmp_path, run(Lora(), precision="nf4-dq"), right(share, seed=1), costs={"train_weights_bytes": weights})
    put(tmp_path, run(FullTuning()), right(0.5), costs={"train_weights_bytes": 800.0})
    found = tables.claim_3(*results.load(tmp_path))
    assert found.verdict == said == verdict(tmp_path, "3")
    assert found.numbers["memory_share"].item() == (weights + 200) / 500
    assert found.numbers["full_memory_share"].item() == (weights + 200) / 1000


def test_the_same_answers_in_half_the_memory_hold(tmp_path):
    put(tmp_path, run(Lora()), right(0.5))
    put(tmp_path, run(Lora(), precision="nf4-dq"), right(0.5), costs={"train_weights_bytes": 50.0})
    assert verdict(tmp_path, "3") == "holds"


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((0.6, 0.6), "holds"),
        ((0.6, 0.2), "is not decided"),
        ((0.6, 0.02), "does not hold"),
        ((0.6,), "is not decided"),
    ],
)
def test_programs_that_run(tmp_path, shares, said):
    metrics = ("strict_accuracy", "test_accuracy")
    put(tmp_path, run(ZeroShot()), right(0.2), metrics=metrics)
    for precision, share in zip(("fp32", "nf4-dq"), shares, strict=False):
        put(tmp_path, run(Lora(), precision=precision), right(share), metrics=metrics)
    assert verdict(tmp_path, "4") == said


@pytest.mark.parametrize(("joint", "said"), [(0.5, "holds"), (0.1, "does not hold"), (0.46, "is not decided")])
def test_one_adapter_for_two_tasks(tmp_path, joint, said):
    for task in ("a", "b"):
        put(tmp_path, run(Lora(), task=task), right(0.5))
        put(tmp_path, run(Lora(), task=task, train_task="a+b"), right(joint, seed=int(said == "is not decided")))
    assert verdict(tmp_path, "5") == said


def test_every_claim_is_spoken_of_even_without_rows(tmp_path):
    found = tables.verdicts(*results.load(tmp_path))
    assert [each.claim for each in found] == list(tables.CLAIMS)
    assert {each.verdict for each in found} == {"is not decided"}
    assert "is not decided by this data" in tables.verdict_table(found).text
    for claim in (tables.claim_1, tables.claim_lora, tables.claim_2, tables.claim_3, tables.claim_4, tables.claim_5):
        assert "There are no runs yet" in claim(*results.load(tmp_path)).sentence


def test_without_answers_nothing_is_claimed(tmp_path):
    for method, share in ((Lora(), 0.9), (InContext(1), 0.1), (Retrieved(1), 0.1)):
        row = put(tmp_path, run(method), right(share))
        results.write(tmp_path, row)  # its predictions are no longer part of it
        (tmp_path / f"{row.id}.predictions.jsonl").unlink()
    found = tables.claim_1(*results.load(tmp_path))
    assert found.verdict == "is not decided"
    assert found.numbers["p"].isna().all()
    assert "not tested" in found.sentence

"""Methods over families and precisions: each learns, is taken off, and answers the same from disk."""

from itertools import product
from pathlib import Path

import pytest
import small
import small_methods
import torch

from nblib import methods, models

# What takes seconds: each precision, methods of each nature.
QUICK = {
    "llama": {"fp32": ("llama-adapter", "dora", "randlora"), "nf4": ("lora", "adapter", "trainable-tokens")},
    "t5": {"int8": ("adalora", "prefix-tuning")},
    "gpt2": {"fp32": ("prompt-tuning", "vera")},
}


def every_pair() -> dict[str, dict[str, list[str]]]:
    """Each family with each method at one precision, which takes turns: each method and family at each precision."""
    chosen: dict[str, dict[str, list[str]]] = {}
    for (turn, family), (number, precision) in product(
        enumerate(sorted(small.CONFIGS)), enumerate(small_methods.PRECISIONS)
    ):
        kinds = small_methods.ADDED[(number + turn) % 3 :: 3]
        possible = [kind for kind in kinds if not small_methods.refused(family, kind, precision)]
        chosen.setdefault(family, {})[precision] = possible
    return chosen


TORCHAO = {"codegen": {"ao-int4": ("lora",)}, "t5": {"ao-int8": ("dora",)}}
EVERY = "lora rslora dora adalora ia3 prompt-tuning prefix-tuning p-tuning adapter vera oft ln-tuning".split()
EVERY_TORCHAO = {"phi3": {"ao-int8": EVERY}, "codegen": {"ao-int4": EVERY}}
CHOSEN = [
    pytest.param(QUICK, id="some"),
    pytest.param(every_pair(), marks=pytest.mark.slow, id="all"),
    pytest.param(TORCHAO, marks=small.needs_torchao, id="some over torchao"),
    pytest.param(EVERY_TORCHAO, marks=[small.needs_torchao, pytest.mark.slow], id="all over torchao"),
]


@pytest.mark.parametrize("chosen", CHOSEN)
def test_methods_learn_come_off_and_answer_the_same_from_disk(tmp_path, chosen):
    for family, by_precision in chosen.items():
        place = small.folder(tmp_path / family / "base", family)
        for precision, kinds in by_precision.items():
            go_through(place, tmp_path / family, precision, kinds)
    answered = small.said_by("small_methods.py", *(tmp_path / family for family in chosen))
    assert len(answered) == sum(len(kinds) for by_precision in chosen.values() for kinds in by_precision.values())
    assert [name for name, same in answered.items() if not same] == []


def go_through(place: str, folder: Path, precision: str, kinds) -> None:
    """Attaches one after the other to the same loaded base, and leaves each on disk with what it answered."""
    base, tokenizer = models.load(place, precision)
    rows = small_methods.batch(base, tokenizer)
    with torch.inference_mode():
        logits = base(**rows).logits.clone()
    before = small_methods.state(base)
    for kind in kinds:
        case = f"{folder.name}: {kind} at {precision}"
        method = small_methods.method(kind)
        methods.check(method, place, precision)
        attached = methods.attach(base, method, tokenizer, seed=1, steps=small_methods.STEPS, batches=[rows, rows])
        trained = [parameter for parameter in attached.parameters() if parameter.requires_grad]
        assert trained, case
        assert {parameter.dtype for parameter in trained} == {torch.float32}, case
        first, last = small_methods.train(attached, rows, learning_rate=max(1e-2, method.learning_rate))
        assert last < first, case
        name = f"{kind}@{precision}"
        torch.save(small_methods.answers(attached, rows), folder / f"{name}.pt")
        methods.save(attached, folder / "adapters" / name, base=place, precision=precision, facts={})
        assert methods.detach(attached) is base
        after = small_methods.state(base)
        assert list(after) == list(before), case
        assert all(map(torch.equal, before.values(), after.values())), case
        with torch.inference_mode():
            assert base(**rows).logits.equal(logits), case

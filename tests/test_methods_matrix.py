"""Every method over every family at every precision: it learns, is taken off, and answers the same from disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import small
import small_methods
import torch

from nblib import methods, models

# A diagonal that takes seconds: each family once, each precision, methods of each nature.
QUICK = {
    "llama": {"fp32": ("llama-adapter", "dora"), "nf4": ("lora", "adapter")},
    "t5": {"fp32": ("prefix-tuning", "ia3"), "int8": ("adalora", "p-tuning")},
    "gpt2": {"fp32": ("prompt-tuning", "vera")},
    "phi3": {"nf4": ("oft", "ln-tuning")},
    "codegen": {"int8": ("rslora",)},
    "starcoder2": {"fp32": ("peft",)},
}


def test_methods_learn_come_off_and_answer_the_same_from_disk(tmp_path):
    for family, by_precision in QUICK.items():
        place = small.folder(tmp_path / family / "base", family)
        for precision, kinds in by_precision.items():
            go_through(place, tmp_path / family, precision, kinds)
    answered = answered_in_a_new_process([tmp_path / family for family in QUICK])
    assert len(answered) == sum(len(kinds) for group in QUICK.values() for kinds in group.values())
    assert [name for name, same in answered.items() if not same] == []


@pytest.mark.slow
@pytest.mark.parametrize("family", small.CONFIGS)
def test_every_method_learns_comes_off_and_answers_the_same_from_disk_or_is_refused(tmp_path, family):
    place = small.folder(tmp_path / "base", family)
    for precision in small_methods.PRECISIONS:
        possible = []
        for kind in small_methods.TRAINED:
            if reason := small_methods.refused(family, kind, precision):
                with pytest.raises(ValueError, match=reason):
                    methods.check(small_methods.method(kind), place, precision)
            else:
                possible.append(kind)
        go_through(place, tmp_path, precision, [kind for kind in possible if kind != "full"])
    answered = answered_in_a_new_process([tmp_path])
    assert len(answered) >= 3 * (len(small_methods.ADDED) - 1) - 1  # llama-adapter and oft may be refused
    assert [name for name, same in answered.items() if not same] == []


def go_through(place: str, folder: Path, precision: str, kinds) -> None:
    """Attaches one after the other to the same loaded base, and leaves each on disk with what it answered."""
    base, tokenizer = models.load(place, precision)
    rows = small_methods.batch(base, tokenizer)
    with torch.inference_mode():
        logits = base(**rows).logits.clone()
    before = small_methods.state(base)
    for kind in kinds:
        method = small_methods.method(kind)
        methods.check(method, place, precision)
        attached = methods.attach(base, method, tokenizer, seed=1, steps=small_methods.STEPS)
        trained = [parameter for parameter in attached.parameters() if parameter.requires_grad]
        assert trained, kind
        assert {parameter.dtype for parameter in trained} == {torch.float32}, kind
        first, last = small_methods.train(attached, rows, learning_rate=max(1e-2, method.learning_rate))
        assert last < first, kind
        name = f"{kind}@{precision}"
        torch.save(small_methods.answers(attached, rows), folder / f"{name}.pt")
        methods.save(attached, folder / "adapters" / name, base=place, precision=precision, facts={})
        assert methods.detach(attached) is base
        after = small_methods.state(base)
        assert list(after) == list(before), kind
        assert all(tensor.equal(after[key]) for key, tensor in before.items()), kind
        with torch.inference_mode():
            assert base(**rows).logits.equal(logits), kind


def answered_in_a_new_process(folders: list[Path]) -> dict[str, bool]:
    """Adapter -> whether it answers as it did."""
    done = subprocess.run(
        [sys.executable, small_methods.__file__, *map(str, folders)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])

"""Whoever changes how results are made is told to count it: fixed probes of prompts, training, decoding, scores."""

import hashlib
from dataclasses import replace

import pytest
import small
from test_generate import PROMPTS, answers
from test_prompts import CHATML
from test_train import fit

from nblib import methods, metrics, prompts, spec, tasks
from nblib.provenance import REVISIONS
from nblib.results import Prediction
from nblib.sandbox import Limits
from nblib.tasks import Example

CALLED = Example(
    "0", "Add one.", "def f(x):\n    return x + 1", ("assert f(1) == 2", "assert f(2) == 3"), entry_point="f"
)
READ = Example("1", "Print it twice.", "x = input()\nprint(x, x)", inputs=("a",), outputs=("a a",))
ANSWERS = (
    ("def f(x):\n    return x + 1", "def f(x):\n    return 2 * x", "def f(x) return x", "def f(x):\n    return y"),
    ("print('a a')", "x = input()\nprint(x,x)", "while True: pass", "print(input())"),
)
SAID = ("x = 1\nprint(x)", "Sure:\n```python\nx = 1\n```\nDone.", "    return x\n", "```\nx\n```", "a </s> b # ```\n\n")


def hashed(*parts) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def prompted() -> str:
    """Requests, trained rows and what is taken out of answers, of a base and of a chat model."""
    ours, found = small.tokenizer(), []
    for template in (None, CHATML.replace("<|im_end|>", "</s>")):
        ours.chat_template = template
        for task in (prompts.PLAIN, tasks.TASKS["apps-mini"], replace(prompts.PLAIN, language="sql", instruction="Do")):
            found += [prompts.build(CALLED, (READ,) * shots, ours, max_tokens=2000, task=task).ids for shots in (0, 2)]
            found += [prompts.encode(prompts.query_text(READ, ours, task) + prompts.answer_text(READ, ours), ours)]
        found += [prompts.extract(text, ("\n\n",), opened=opened) for text in SAID for opened in (False, True)]
    return hashed(found)


def trained() -> list[float]:
    losses = []
    for method in (spec.Lora(r=4), spec.AdaLora(r=2, initial_r=4), spec.PrefixTuning()):
        tuned = methods.attach(small.model(), method, small.tokenizer(), seed=1, steps=6)
        fitted = fit(tuned, small.tokenizer(), training=spec.Training(epochs=2, device_batch=4, evaluations_an_epoch=1))
        losses += [fitted.train_loss, *(loss for _, loss in fitted.validation_losses)]
    return losses


def decoded() -> str:
    model = small.model(seed=3)
    model.lm_head.weight.data.mul_(40)  # so that rounding decides nowhere
    ways = ({}, {"beams": 4, "returned": 4}, {"temperature": 0.8, "top_p": 0.9, "returned": 3})
    return hashed([sorted(answers(model, small.tokenizer(), PROMPTS, **way).items()) for way in ways])


def predictions() -> list[Prediction]:
    return [Prediction(row.id, codes, codes, 9, 9) for row, codes in zip((CALLED, READ), ANSWERS, strict=True)]


def scored() -> str:
    found = metrics.score((CALLED, READ), predictions(), study_scores=True)
    return hashed([{name: score and round(score, 6) for name, score in sorted(one.scores.items())} for one in found])


def executed() -> str:
    found = metrics.execute(
        (CALLED, READ), predictions(), sampled=True, limits=Limits(cpu_seconds=0.5), allow_code_execution=True
    )
    return hashed([" ".join(tests) for one in found for tests in one.verdicts])


PROBES = {"prompts": prompted, "training": trained, "decoding": decoded, "scores": scored, "execution": executed}
KNOWN = {  # of each the revision, and what its probe gave then
    "prompts": (3, "3865861c3501"),
    "training": (3, [5.93724, 5.84219, 5.72847, 6.98764, 6.02800, 6.02178, 6.02899, 6.02583, 6.02120]),
    "decoding": (3, "3addcbcf3167"),
    "scores": (2, "6bd161b77bed"),
    "execution": (2, "65722f4a5d26"),
}


@pytest.mark.parametrize("name", REVISIONS)
def test_what_results_are_made_by_is_as_it_was_when_its_revision_was_counted(name):
    revision, then = KNOWN[name]
    now = PROBES[name]()
    changed = now != (pytest.approx(then, rel=1e-3) if name == "training" else then)
    assert not changed, (
        f"{name} came out otherwise. If nblib changed: raise REVISIONS[{name!r}] in nblib/provenance.py, say in "
        f"results.older which rows it concerns, and note {REVISIONS[name]}, {now!r} here. A package did? Note it."
    )
    assert revision == REVISIONS[name]

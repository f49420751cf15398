"""What the embedded model must be able to do, measured on questions it never saw; no training."""

import random
from collections.abc import Callable

import torch

from nblib.prompts import SEPARATOR
from nblib.tools import questions, text
from nblib.tools.recipes import KNOWN, NEW, Operation

QUESTIONS = 150
_EXPRESSIONS = [operation for operation in KNOWN if not operation.statement]
_UNSEEN_STYLE = questions.line("answer = {code}")  # no document of the pre-training text uses it
Operations = Callable[[random.Random], list[Operation]]  # of the examples in the prompt, then of the question


def _among(rng: random.Random, shown: list[Operation]) -> list[Operation]:
    """All of them as examples in random order, then the first as the question."""
    return [*rng.sample(shown, len(shown)), shown[0]]


# What each one shows is said in data/recipes/model_card.md.
PROBES: dict[str, tuple[questions.Style, Operations]] = {
    "known_operation": (questions.bare, lambda rng: [rng.choice(KNOWN)]),
    "style_from_shots": (_UNSEEN_STYLE, lambda rng: rng.sample(_EXPRESSIONS, 4)),
    "copied_syllables": (questions.bare, lambda rng: [text.syllable_operation(rng)] * 2),
    "copied_words": (questions.bare, lambda rng: _among(rng, [text.realistic_operation(rng), rng.choice(KNOWN)])),
    "copied_library": (_UNSEEN_STYLE, lambda rng: _among(rng, [rng.choice(NEW), *rng.sample(KNOWN, 2)])),
    "unseen_library": (questions.bare, lambda rng: [rng.choice(NEW)]),
}


def measure(model, tokenizer) -> dict[str, float]:
    """Share of questions answered exactly by greedy decoding, by the probe's name, 0 to 1."""
    model.eval()
    shares = {name: _exact_share(model, tokenizer, name) for name in PROBES}
    model.train()
    return shares


def draw(name: str) -> list[tuple[str, str]]:
    """A probe's questions as prompts with the expected answers, always the same ones."""
    rng = random.Random(f"probe _{name}")
    style, operations = PROBES[name]
    drawn = []
    for _ in range(QUESTIONS):
        *shots, asked = [text.block(rng, operation, style) for operation in operations(rng)]
        drawn.append(("".join(shot.prompt + shot.answer + SEPARATOR for shot in shots) + asked.prompt, asked.answer))
    return drawn


@torch.inference_mode()
def _exact_share(model, tokenizer, name: str) -> float:
    """Greedy decoding gives the answer exactly where each of its tokens is the likeliest one after the true prefix."""
    correct = 0
    for prompt, answer in draw(name):
        prefix = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        expected = tokenizer(answer, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prefix + expected], device=model.device)
        logits = model(input_ids=ids, logits_to_keep=len(expected) + 1).logits[0, :-1]
        correct += logits.argmax(-1).tolist() == expected
    return round(correct / QUESTIONS, 3)

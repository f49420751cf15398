"""What the embedded model must be able to do, measured on questions it never saw; no training."""

import random
from collections.abc import Callable

import torch

from nblib.prompts import INSTRUCTION, SEPARATOR
from nblib.tiny import invented, styles, text
from nblib.tiny.operations import KNOWN, NEW, Operation

QUESTIONS = 150
ANSWER_STYLE = styles.wrapped("answer = {}")  # no document of the pre-training text uses it


def measure(model, tokenizer) -> dict[str, float]:
    """Share of questions answered exactly by greedy decoding, by ability, 0 to 1."""
    model.eval()
    scores = {name: _exact_share(model, tokenizer, make) for name, make in PROBES.items()}
    model.train()
    return scores


def _known_operation(rng: random.Random) -> tuple[str, str]:
    """(a) an operation it has seen, in the bare style"""
    return _question(rng, [], rng.choice(KNOWN), styles.bare)


def _style_from_shots(rng: random.Random) -> tuple[str, str]:
    """(b) a known operation in a style that only the three shots show"""
    shots = rng.sample([each for each in KNOWN if not each.statement], 4)
    return _question(rng, shots[:3], shots[3], ANSWER_STYLE)


def _copied_syllables(rng: random.Random) -> tuple[str, str]:
    """(c) a made-up API of syllables, shown once"""
    operation = invented.syllable_operation(rng)
    return _question(rng, [operation], operation, styles.bare)


def _copied_words(rng: random.Random) -> tuple[str, str]:
    """(c) a made-up API of real words, shown once, beside a known operation"""
    operation = invented.realistic_operation(rng)
    return _question(rng, _shuffled(rng, [operation, rng.choice(KNOWN)]), operation, styles.bare)


def _copied_library(rng: random.Random) -> tuple[str, str]:
    """(c) a real API that the pre-training text lacks, shown once among three shots, in the new style"""
    operation = rng.choice(NEW)
    shots = _shuffled(rng, [operation, *rng.sample(KNOWN, 2)])
    return _question(rng, shots, operation, ANSWER_STYLE)


def _unseen_library(rng: random.Random) -> tuple[str, str]:
    """the same without a shot: how much of it could be guessed"""
    return _question(rng, [], rng.choice(NEW), styles.bare)


PROBES: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "known_operation": _known_operation,
    "style_from_shots": _style_from_shots,
    "copied_syllables": _copied_syllables,
    "copied_words": _copied_words,
    "copied_library": _copied_library,
    "unseen_library": _unseen_library,
}


def _shuffled(rng: random.Random, items: list) -> list:
    return rng.sample(items, len(items))


def _question(rng: random.Random, shots: list[Operation], asked: Operation, style: styles.Style) -> tuple[str, str]:
    """Prompt and expected answer."""
    prompt = ""
    for shot in shots:
        intent, answer = text.write(rng, shot, rng.choice(shot.intents[:-1]), style)
        prompt += INSTRUCTION.format(intent=intent) + answer + SEPARATOR
    intent, answer = text.write(rng, asked, rng.choice(asked.intents[:-1]), style)
    return prompt + INSTRUCTION.format(intent=intent), answer


@torch.inference_mode()
def _exact_share(model, tokenizer, make: Callable[[random.Random], tuple[str, str]]) -> float:
    """Greedy decoding gives the answer exactly where each of its tokens is the likeliest one after the true prefix."""
    rng = random.Random(f"probe {make.__name__}")
    correct = 0
    for _ in range(QUESTIONS):
        prompt, answer = make(rng)
        given = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        expected = tokenizer(answer, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([given + expected], device=model.device)
        logits = model(input_ids=ids, logits_to_keep=len(expected) + 1).logits[0, :-1]
        correct += logits.argmax(-1).tolist() == expected
    return round(correct / QUESTIONS, 3)

"""Pre-training documents: blocks of instruction and answer in one style; no tokens, no model.

Four decisions, each with its reason:
- One answer style a document, so that examples in the prompt tell how to answer.
- A share of documents has a single block, or zero-shot prompts would be unknown ground.
- Invented operations recur inside a document, so that copying an unseen API from the prompt pays. Their first
  occurrence cannot be known, hence is not learned from.
- Syllables first, then words that look real: copying appears on the first and is carried over to the second.
"""

import random
from dataclasses import dataclass

from nblib.prompts import INSTRUCTION
from nblib.tiny import invented, programs, slots, styles
from nblib.tiny.operations import KNOWN, Operation


@dataclass(frozen=True)
class Block:
    """One instruction with its answer."""

    prompt: str  # the instruction in the study's template
    answer: str
    learned: bool  # False where nothing before it could tell the answer


def document(rng: random.Random, progress: float) -> list[Block]:
    """A document at a moment of training; `progress` runs from 0 to 1 and sets the share of realistic words."""
    count = 1 if rng.random() < 0.2 else rng.choice((2, 2, 3, 3, 4, 4, 5, 6, 8))
    kind = rng.random()
    if kind < 0.1:
        return _program_blocks(rng, min(count, 3))
    style = styles.short_function(rng) if kind < 0.25 else styles.one_line(rng)
    return _operation_blocks(rng, style, count, progress)


def _operation_blocks(rng: random.Random, style: styles.Style, count: int, progress: float) -> list[Block]:
    recurring: list[Operation] = []
    blocks = []
    known_share = rng.choice((0.9, 0.3, 0.1)) if count > 1 else 1.0
    for _ in range(count):
        learned = True
        if recurring and rng.random() < 0.7:
            operation = rng.choice(recurring)
        elif rng.random() < known_share:
            operation = rng.choice(KNOWN)
        else:
            operation, learned = _invented_operation(rng, progress), False
            recurring.append(operation)
        phrasings = operation.intents[:-1]  # the last one belongs to the sample tasks
        intent, answer = write(rng, operation, rng.choice(phrasings), style)
        blocks.append(Block(INSTRUCTION.format(intent=intent), answer, learned))
    return blocks


def write(rng: random.Random, operation: Operation, phrasing: str, style: styles.Style) -> tuple[str, str]:
    """Intent and answer of an operation with its slots filled, in a style."""
    variables = ", ".join(f"{{{slot}}}" for slot in "lwsd" if f"{{{slot}}}" in operation.code)
    intent, code, variables = slots.fill(rng, phrasing, operation.code, variables)
    return style(intent, code, variables, operation.statement)


def _invented_operation(rng: random.Random, progress: float) -> Operation:
    realistic = min(0.9, max(0.05, (progress - 0.06) / 0.25))
    if rng.random() > realistic:
        return invented.syllable_operation(rng)
    return invented.remapped_operation(rng) if rng.random() < 0.2 else invented.realistic_operation(rng)


def _program_blocks(rng: random.Random, count: int) -> list[Block]:
    blocks = []
    by_call = rng.random() < 0.5
    for _ in range(count):
        problem = programs.problem(
            rng, stages=programs.KNOWN_STAGES, ends=programs.KNOWN_ENDS, length=rng.choice((0, 1, 1, 2, 3))
        )
        if by_call:
            question, code = programs.call_based(problem, styles.rng_name(rng))
        else:
            question, code = programs.standard_input(problem)
        blocks.append(Block(INSTRUCTION.format(intent=question), code, learned=True))
    return blocks

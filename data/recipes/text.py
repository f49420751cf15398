"""Pre-training documents: blocks of instruction and answer in one style; no tokens, no model.

Four decisions, each with its reason:
- One answer style a document, so that examples in the prompt tell how to answer.
- A share of documents has a single block, or zero-shot prompts would be unknown ground.
- Invented operations recur inside a document, so that copying an unseen API from the prompt pays. Their first
  occurrence cannot be known, hence is not learned from.
- Made-up syllables first, then words that look real: copying appears on the first, but learned on them alone it does
  not carry over to the second.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from nblib.prompts import INSTRUCTION
from recipes import questions
from recipes.questions import KNOWN, NEW, VARIABLES, Operation, pick

_TABLE = questions.table("invented")
_OBJECTS, _ARGUMENTS, _REQUESTS, _SPELLING = (_TABLE[name] for name in ("objects", "arguments", "requests", "spelling"))
_CALLS = {kind: questions.weighted(rows) for kind, rows in _TABLE["calls"].items()}
_KEPT_OUT = {name for operation in NEW for name in re.findall(r"^([\w.]+)\(", operation.code)} - {"list"}


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
    style = questions.random_function(rng) if kind < 0.25 else questions.random_line(rng)
    return _operation_blocks(rng, style, count, progress)


def block(rng: random.Random, operation: Operation, style: questions.Style, *, learned: bool = True) -> Block:
    """An operation asked for and answered in a style; its last phrasing belongs to the sample tasks."""
    question = questions.ask(rng, operation, rng.choice(operation.phrasings[:-1]))
    request, answer = style(question)
    return Block(INSTRUCTION.format(intent=request), answer, learned)


def _operation_blocks(rng: random.Random, style: questions.Style, count: int, progress: float) -> list[Block]:
    recurring: list[Operation] = []
    blocks = []
    known_share = rng.choice((0.9, 0.3, 0.1)) if count > 1 else 1.0
    for _ in range(count):
        again = bool(recurring) and rng.random() < 0.7
        if learned := again or rng.random() < known_share:
            operation = rng.choice(recurring if again else KNOWN)
        else:
            recurring.append(operation := _invented_operation(rng, progress))
        blocks.append(block(rng, operation, style, learned=learned))
    return blocks


def _invented_operation(rng: random.Random, progress: float) -> Operation:
    realistic_share = min(0.9, max(0.05, (progress - 0.06) / 0.25))
    if rng.random() > realistic_share:
        return syllable_operation(rng)
    return remapped_operation(rng) if rng.random() < 0.2 else realistic_operation(rng)


def _program_blocks(rng: random.Random, count: int) -> list[Block]:
    blocks, by_call = [], rng.random() < 0.5
    for _ in range(count):
        problem = questions.problem(rng, rng.choice((0, 1, 1, 2, 3)), new=False)
        name = questions.function_name(rng) if by_call else ""
        request, code = questions.call_based(problem, name) if by_call else questions.standard_input(problem)
        blocks.append(Block(INSTRUCTION.format(intent=request), code, learned=True))
    return blocks


# Operations that no library has, as templates like the real ones: only an example in the prompt can tell their code.


def syllable_operation(rng: random.Random) -> Operation:
    """An operation with a made-up verb and a made-up function: the easiest kind to copy."""
    slot = rng.choice(VARIABLES)
    verb, function, module = (questions.syllables(rng) for _ in range(3))
    calls = (f"{function}({{{slot}}})", f"{{{slot}}}.{function}()", f"{module}.{function}({{{slot}}})")
    return Operation(rng.choice(calls), tuple(f"{verb} {name}" for name in _OBJECTS[slot][:3]))


def realistic_operation(rng: random.Random) -> Operation:
    """An operation in words and API shapes of the kind that real libraries have."""
    verb, noun = pick(rng, "verbs"), pick(rng, "nouns")
    topic = noun if rng.random() < 0.5 else f"{pick(rng, 'adjectives')} {noun}"
    slot = rng.choice((*VARIABLES, "f", ""))
    arguments = rng.choice(list(_ARGUMENTS)) if rng.random() < 0.45 else ""
    if arguments == slot:
        arguments = ""
    code = _code(rng, verb, noun, slot, arguments.split())
    return Operation(code, _phrasings(rng, verb, topic, slot, arguments), statement=rng.random() < 0.1)


def remapped_operation(rng: random.Random) -> Operation:
    """A known request answered by another API, so that the prompt has to win over memory."""
    known = rng.choice(KNOWN)
    slots = re.findall(r"{(\w+)}", known.code)
    first = next((slot for slot in slots if slot in _OBJECTS), "")
    others = [slot for slot in dict.fromkeys(slots) if slot != first]
    code = _code(rng, pick(rng, "verbs"), pick(rng, "nouns"), first, others)
    return Operation(code, known.phrasings[:-1], statement=known.statement)


def _phrasings(rng: random.Random, verb: str, topic: str, slot: str, arguments: str) -> tuple[str, ...]:
    objects = _OBJECTS[slot or "none"]
    tail = " " + rng.choice(_ARGUMENTS[arguments]) if arguments else ""
    other = pick(rng, "verbs")
    requests = rng.sample(_REQUESTS["with_object" if slot else "without_object"], 3)
    return tuple(
        request.format(verb=verb, other=other, topic=topic, object=rng.choice(objects), tail=tail)
        for request in requests
    )


def _code(rng: random.Random, verb: str, noun: str, slot: str, others: list[str]) -> str:
    """A call; its names share words with the request in about half of the cases."""
    verb = pick(rng, "verbs") if rng.random() < 0.5 else verb
    noun = pick(rng, "nouns") if rng.random() < 0.5 else noun
    verb, noun = _spelled(rng, verb), _spelled(rng, noun)
    function = rng.choice((verb, noun, noun, f"{verb}_{noun}", f"{verb}{noun}", f"{noun}_{verb}", verb + noun.title()))
    module, inner = _module(rng), _module(rng)
    target = [f"{{{slot}}}"] if slot else []
    arguments = _call_arguments(rng, others)
    target_last = rng.random() < 0.3 and not any("=" in argument for argument in arguments)
    inputs = [*arguments, *target] if target_last else [*target, *arguments]
    code = rng.choice(_call_templates(slot, arguments)).format(
        module=module,
        inner=inner,
        function=function,
        verb=verb,
        Noun=noun.title(),
        object="".join(target),
        inputs=", ".join(inputs),
        arguments=", ".join(arguments),
        arguments_or_inner=", ".join(arguments) or inner,
    )
    is_kept_out = any(f"{name}(" in code for name in _KEPT_OUT)
    return _code(rng, verb, noun, slot, others) if is_kept_out else code


def _call_arguments(rng: random.Random, slots: list[str]) -> list[str]:
    """The further arguments of a call, keywords last."""
    arguments = [(f"{pick(rng, 'nouns')}=" if rng.random() < 0.2 else "") + f"{{{slot}}}" for slot in slots]
    if rng.random() < 0.15:
        arguments.append(rng.choice(_SPELLING["constants"]))
    return sorted(arguments, key=lambda argument: "=" in argument)


def _call_templates(slot: str, arguments: list[str]) -> list[str]:
    fitting = {
        "always": True,
        "object": slot != "",
        "variable": slot in VARIABLES,
        "list": slot in ("l", "w") and not arguments,
    }
    return [template for kind, templates in _CALLS.items() if fitting[kind] for template in templates]


def _module(rng: random.Random) -> str:
    return _spelled(rng, pick(rng, "nouns" if rng.random() < 0.8 else "verbs"))


def _spelled(rng: random.Random, word: str) -> str:
    """The word as an API would spell it: whole, cut short, longer, or glued to another one.

    A model that only copies whole words of its vocabulary does not copy `pstdev` or `nlargest`.
    """
    kind = rng.random()
    spellings: tuple[tuple[float, Callable[[], str]], ...] = (
        (0.45, lambda: word),
        (0.55, lambda: word[: rng.randint(2, 4)]),
        (0.63, lambda: word[0] + "".join(letter for letter in word[1:] if letter not in "aeiou")),
        (0.71, lambda: rng.choice(_SPELLING["prefixes"]) + word),
        (0.82, lambda: word + rng.choice(_SPELLING["endings"])),
        (0.9, lambda: word[: rng.randint(2, 5)] + pick(rng, "nouns")[: rng.randint(2, 6)]),
        (1.0, lambda: word[: rng.randint(1, 4)] + questions.syllables(rng)[: rng.randint(2, 5)]),
    )
    return next(spelled() for limit, spelled in spellings if kind < limit)

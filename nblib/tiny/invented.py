"""Operations that no library has, as templates like the real ones: only an example in the prompt can tell their code.

Copying learned on syllables alone does not carry over to words that look real, so both kinds exist; a curriculum in
`text` moves from the first to the second.
"""

import random
import re

from nblib.tiny import slots, words
from nblib.tiny.operations import KNOWN, NEW, Operation

_OBJECTS = {
    "l": ("list `{l}`", "`{l}`", "the numbers in `{l}`", "the values of `{l}`"),
    "w": ("list `{w}`", "`{w}`", "the words in `{w}`", "the strings of `{w}`"),
    "s": ("string `{s}`", "`{s}`", "text `{s}`"),
    "d": ("dictionary `{d}`", "`{d}`", "dict `{d}`"),
    "f": ("file {f}", "{f}", "path {f}"),
}
_EXTRAS = {  # further arguments, as they are said; the code takes them in the same order
    "n": ("by {n}", "with {n}", "at {n}", "using {n}", "to {n}"),
    "q": ("by {q}", "with {q}", "at {q}", "using {q}"),
    "k": ("for {k}", "under {k}", "with key {k}"),
    "n n2": ("by {n} and {n2}", "between {n} and {n2}", "with {n} then {n2}"),
    "q q2": ("from {q} to {q2}", "with {q} and {q2}"),
    "k n": ("for {k} by {n}", "with {k} as {n}"),
    "w": ("in `{w}`", "with list `{w}`"),
}
_NEW = {name for each in NEW for name in re.findall(r"^([\w.]+)\(", each.code)} - {"list"}  # kept from the text
_CONSTANTS = ("True", "None", "0", "1", "16", "'utf-8'", "'*'", "'backup'", "exist_ok=True", "reverse=True")
_PREFIXES = ("n", "un", "re", "is_", "get_", "from", "to", "as", "b", "iter", "multi")
_ENDINGS = ("s", "er", "ed", "ize", "able", "ing", "lib", "tools", "64", "2", "_left", "_map", "text")


def syllable_operation(rng: random.Random) -> Operation:
    """An operation with a made-up verb and a made-up function: the easiest kind to copy."""
    slot = rng.choice("lwsd")
    verb, function = slots.syllables(rng), slots.syllables(rng)
    target = "{" + slot + "}"
    code = rng.choice(
        (f"{function}({target})", f"{target}.{function}()", f"{slots.syllables(rng)}.{function}({target})")
    )
    return Operation(code, tuple(f"{verb} {said}" for said in _OBJECTS[slot][:3]))


def realistic_operation(rng: random.Random) -> Operation:
    """An operation in words and API shapes of the kind that real libraries have."""
    verb, noun = rng.choice(words.VERBS), rng.choice(words.NOUNS)
    topic = noun if rng.random() < 0.5 else f"{rng.choice(words.ADJECTIVES)} {noun}"
    slot = rng.choice(("l", "w", "s", "d", "f", ""))
    extra = rng.choice(list(_EXTRAS)) if rng.random() < 0.45 else ""
    if extra == slot:
        extra = ""
    return Operation(
        _code(rng, verb, noun, slot, extra.split()),
        _intents(rng, verb, topic, slot, extra),
        statement=rng.random() < 0.1,
    )


def remapped_operation(rng: random.Random) -> Operation:
    """A known request answered by another API, so that the prompt has to win over memory."""
    known = rng.choice(KNOWN)
    fields = list(dict.fromkeys(re.findall(r"{(\w+)}", known.code)))
    slot = next((each for each in fields if each in _OBJECTS), "")
    extras = [each for each in fields if each != slot]
    code = _code(rng, rng.choice(words.VERBS), rng.choice(words.NOUNS), slot, extras)
    return Operation(code, known.intents[:-1], statement=known.statement)


def _intents(rng: random.Random, verb: str, topic: str, slot: str, extra: str) -> tuple[str, ...]:
    said = _OBJECTS[slot] if slot else ("",)
    tail = " " + rng.choice(_EXTRAS[extra]) if extra else ""
    other = rng.choice(words.VERBS)
    shapes: tuple[str, ...] = (
        "{verb} the {topic} of {object}{tail}",
        "{other} the {topic} of {object}{tail}",
        "{verb} {object}{tail} as {topic}",
        "please {verb} the {topic} of {object}{tail}",
        "{verb} {topic} from {object}{tail}",
        "get the {topic} of {object}{tail}",
    )
    if not slot:
        shapes = (
            "{verb} the {topic}{tail}",
            "{other} the {topic}{tail}",
            "get the {topic}{tail}",
            "please {verb} the {topic}{tail}",
        )
    chosen = rng.sample(shapes, 3)
    return tuple(
        shape.format(verb=verb, other=other, topic=topic, object=rng.choice(said), tail=tail) for shape in chosen
    )


def _code(rng: random.Random, verb: str, noun: str, slot: str, extras: list[str]) -> str:
    """A call; its names share words with the request in about half of the cases."""
    verb, noun = (_spelled(rng, word) for word in _names(rng, verb, noun))
    function = rng.choice((verb, noun, noun, f"{verb}_{noun}", f"{verb}{noun}", f"{noun}_{verb}", verb + noun.title()))
    module, inner = _module(rng), _module(rng)
    target = ["{" + slot + "}"] if slot else []
    rest = [(f"{rng.choice(words.NOUNS)}=" if rng.random() < 0.2 else "") + "{" + each + "}" for each in extras]
    if rng.random() < 0.15:
        rest.append(rng.choice(_CONSTANTS))
    rest.sort(key=lambda argument: "=" in argument)
    first = rng.random() < 0.3 and not any("=" in each for each in rest)
    inside, others = ", ".join([*rest, *target] if first else [*target, *rest]), ", ".join(rest)
    shapes = [f"{module}.{function}({inside})"] * 6 + [
        f"{function}({inside})",
        f"{function}({inside})",
        f"{module}.{inner}.{function}({inside})",
        f"list({module}.{function}({inside}))",
        f"{module}.{noun.title()}({inside}).{verb}",
    ]
    if slot:
        shapes += [
            f"{module}.{noun.title()}({', '.join(target)}).{verb}({others})",
            f"{module}.{function}({others or inner})({', '.join(target)})",
            f"{function}({module}.{verb}, {inside})",
        ]
    if slot in ("l", "w", "s", "d"):
        shapes += ["{" + slot + "}." + f"{function}({others})"] * 3
        if slot in ("l", "w") and not rest:
            shapes.append(f"[{module}.{function}(x) for x in {{{slot}}}]")
    code = rng.choice(shapes)
    real = any(f"{api}(" in code for api in _NEW)
    return _code(rng, verb, noun, slot, extras) if real else code


def _names(rng: random.Random, verb: str, noun: str) -> tuple[str, str]:
    return (
        rng.choice(words.VERBS) if rng.random() < 0.5 else verb,
        rng.choice(words.NOUNS) if rng.random() < 0.5 else noun,
    )


def _module(rng: random.Random) -> str:
    return _spelled(rng, rng.choice(words.NOUNS if rng.random() < 0.8 else words.VERBS))


def _spelled(rng: random.Random, word: str) -> str:
    """The word as an API would spell it: whole, cut short, longer, or glued to another one.

    A model that only copies whole words of its vocabulary does not copy `pstdev` or `nlargest`.
    """
    kind = rng.random()
    if kind < 0.45:
        return word
    if kind < 0.55:
        return word[: rng.randint(2, 4)]
    if kind < 0.63:
        return word[0] + "".join(letter for letter in word[1:] if letter not in "aeiou")
    if kind < 0.71:
        return rng.choice(_PREFIXES) + word
    if kind < 0.82:
        return word + rng.choice(_ENDINGS)
    if kind < 0.9:
        return word[: rng.randint(2, 5)] + rng.choice(words.NOUNS)[: rng.randint(2, 6)]
    return word[: rng.randint(1, 4)] + slots.syllables(rng)[: rng.randint(2, 5)]

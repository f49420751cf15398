"""Operations that no library has, as templates like the real ones: only an example in the prompt can tell their code.

Copying learned on syllables alone does not carry over to words that look real, so both kinds exist; a curriculum in
`text` moves from the first to the second.
"""

import random

from nblib.tiny import slots, words
from nblib.tiny.operations import KNOWN, Operation

_OBJECTS = {
    "l": ("list `{l}`", "`{l}`", "the numbers in `{l}`", "the values of `{l}`"),
    "w": ("list `{w}`", "`{w}`", "the words in `{w}`", "the strings of `{w}`"),
    "s": ("string `{s}`", "`{s}`", "text `{s}`"),
    "d": ("dictionary `{d}`", "`{d}`", "dict `{d}`"),
    "f": ("file {f}", "{f}", "path {f}"),
}
_EXTRAS = {  # a second argument, as it is said and as it is written
    "n": ("by {n}", "with {n}", "at {n}", "using {n}", "to {n}"),
    "q": ("by {q}", "with {q}", "at {q}", "using {q}"),
    "k": ("for {k}", "under {k}", "with key {k}"),
}


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
    extra = rng.choice(("n", "q", "k")) if rng.random() < 0.4 else ""
    return Operation(
        _code(rng, verb, noun, slot, extra),
        _intents(rng, verb, topic, slot, extra),
        statement=rng.random() < 0.1,
    )


def remapped_operation(rng: random.Random) -> Operation:
    """A known request answered by another API, so that the prompt has to win over memory."""
    known = rng.choice(KNOWN)
    fields = [part.split("}")[0] for part in known.code.split("{") if part.split("}")[0] in ("l", "w", "s", "d", "f")]
    extras = [part.split("}")[0] for part in known.code.split("{") if part.split("}")[0] in ("n", "q", "k")]
    code = _code(
        rng,
        rng.choice(words.VERBS),
        rng.choice(words.NOUNS),
        fields[0] if fields else "",
        extras[0] if extras else "",
    )
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


def _code(rng: random.Random, verb: str, noun: str, slot: str, extra: str) -> str:
    """A call; its names share words with the request in about half of the cases."""
    if rng.random() < 0.5:
        verb = rng.choice(words.VERBS)
    if rng.random() < 0.5:
        noun = rng.choice(words.NOUNS)
    function = rng.choice((verb, noun, f"{verb}_{noun}", f"{verb}{noun}", f"{noun}_{verb}", verb + noun.title()))
    module = (
        rng.choice(words.NOUNS) if rng.random() < 0.8 else rng.choice(words.VERBS) + rng.choice(("", "lib", "tools"))
    )
    arguments = ["{" + slot + "}"] if slot else []
    if extra:
        keyword = f"{rng.choice(words.NOUNS)}=" if rng.random() < 0.4 else ""
        arguments.insert(rng.randint(0, len(arguments)) if not keyword else len(arguments), keyword + "{" + extra + "}")
    inside = ", ".join(arguments)
    shapes = [f"{module}.{function}({inside})"] * 4 + [
        f"{function}({inside})",
        f"{module}.{rng.choice(words.NOUNS)}.{function}({inside})",
        f"{noun.title()}({inside}).{verb}()",
        f"list({module}.{function}({inside}))",
    ]
    if slot in ("l", "w", "s", "d"):
        rest = ", ".join(arguments[1:] if arguments[0].startswith("{" + slot) else arguments[:-1])
        shapes += ["{" + slot + "}." + f"{function}({rest})"] * 2
        if slot in ("l", "w") and not extra:
            shapes.append(f"[{module}.{function}(x) for x in {{{slot}}}]")
    return rng.choice(shapes)

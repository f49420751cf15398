"""The ways in which an answer can be written down: wrappers around an operation's code, one drawn a document."""

import random
from collections.abc import Callable

from nblib.tiny import slots, words

# (intent, code, names of its variables, statement) -> (intent, answer)
Style = Callable[[str, str, str, bool], tuple[str, str]]


def bare(intent: str, code: str, variables: str, statement: bool) -> tuple[str, str]:
    """The code as it is."""
    return intent, code


def wrapped(wrapper: str) -> Style:
    """Expressions go into `wrapper`, a template with `{}`; statements stay as they are."""

    def style(intent: str, code: str, variables: str, statement: bool) -> tuple[str, str]:
        return intent, code if statement else wrapper.replace("{}", code)

    return style


def function(name_of: Callable[[str], str], opening: str, result: str | None) -> Style:
    """A short function; `result` names the variable that holds its value, None returns it directly."""

    def style(intent: str, code: str, variables: str, statement: bool) -> tuple[str, str]:
        name = name_of(intent)
        if statement:
            body = f"    {code}"
        elif result is None:
            body = f"    return {code}"
        else:
            body = f"    {result} = {code}\n    return {result}"
        return opening.format(name=name, intent=intent), f"def {name}({variables}):\n{body}"

    return style


def one_line(rng: random.Random) -> Style:
    """A style for one-line answers; the bare one is the most frequent."""
    if rng.random() < 0.35:
        return bare
    noun, other = _style_name(rng), _style_name(rng)
    wrapper = rng.choice(
        [f"{noun} = {{}}"] * 5
        + [f"{noun}({{}})"] * 2
        + [f"{noun}.{rng.choice(words.VERBS)}({{}})"] * 2
        + [
            "print({})",
            "return {}",
            f"self.{noun} = {{}}",
            f"{noun}['{other}'] = {{}}",
            f"{noun}, {other} = {{}}",
            f"{noun} += {{}}",
            f"{{}}  # {noun}",
            f"{noun}_{other} = {{}}",
            f"{noun} = {other}({{}})",
        ]
    )
    return wrapped(wrapper)


def short_function(rng: random.Random) -> Style:
    """A style for short functions."""
    openings = (
        "Write a function `{name}` to {intent}",
        "Create a Python function `{name}` to {intent}",
        "Define `{name}`, a function to {intent}",
    )
    result = None if rng.random() < 0.5 else _style_name(rng)
    seed = rng.random()

    def name_of(intent: str) -> str:
        drawn = random.Random(f"{seed} {intent}")
        return rng_name(drawn)

    return function(name_of, rng.choice(openings), result)


def rng_name(rng: random.Random) -> str:
    """A function's name, as people invent them."""
    return rng.choice((f"{rng.choice(words.VERBS)}_{rng.choice(words.NOUNS)}", rng.choice(words.VERBS), "f", "solve"))


def _style_name(rng: random.Random) -> str:
    if rng.random() < 0.25:
        return slots.syllables(rng)
    drawn = rng.choice(words.NOUNS if rng.random() < 0.8 else words.VERBS)
    return drawn if drawn not in words.SAMPLE_STYLE_NAMES else "found"

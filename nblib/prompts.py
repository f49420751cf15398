"""Example and shots to the text a model sees; completion to the code that is scored. Generates nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

INSTRUCTION = "### Instruction:\n{intent}\n### Response:\n"  # the study's template
SEPARATOR = "\n\n"  # between a shot's code and the next instruction


@dataclass(frozen=True)
class Prompt:
    """What a model sees for one query."""

    text: str
    tokens: int
    dropped_shots: int = 0  # left out because the prompt would not fit


def build(query, shots: Sequence, tokenizer, *, room: int) -> Prompt:
    """The query after its shots, in at most `room` tokens; the first shots are dropped where it would not fit.

    `query` and `shots` are examples (`intent`, and `code` for shots). The query itself is never cut.
    Raises ValueError where the query alone does not fit.
    """
    asked = INSTRUCTION.format(intent=query.intent)
    for dropped in range(len(shots) + 1):
        text = "".join(shown(shot) for shot in shots[dropped:]) + asked
        tokens = len(tokenizer(text)["input_ids"])
        if tokens <= room:
            return Prompt(text, tokens, dropped)
    raise ValueError(
        f"the query of example {query.id!r} has {tokens} tokens, but the model's context leaves room for {room}; "
        "take a model with a longer context or leave the example out"
    )


def shown(shot) -> str:
    """An example as it stands before a query."""
    return INSTRUCTION.format(intent=shot.intent) + shot.code + SEPARATOR


def extract(completion: str, stops: Sequence[str]) -> str:
    """The code in a completion: what stands before the first stop string, without outer white space."""
    ends = [completion.find(stop) for stop in stops]
    return completion[: min((end for end in ends if end >= 0), default=len(completion))].strip()

"""Two fixed sets of text that no task trains on, for what a training costs elsewhere: code, and English about code.

Drawn as the embedded model's pre-training text is, from a seed of their own: it knows the operations and steps. Short
lines may be in that text as they are; its programs have too many variants for that.
"""

import json
import random
from pathlib import Path

from nblib import files
from recipes import questions

SEED, ROWS = 2024, 32  # of each set: half lines, half programs


def make() -> dict[str, list[dict]]:
    """Rows by the name of their set, with CoNaLa's columns: what is asked (`nl`) and what is answered (`cmd`)."""
    pairs = _pairs(random.Random(SEED))
    described = _pairs(random.Random(SEED + 1))
    return {
        "code": [{"nl": request, "cmd": code} for request, code in pairs],
        "english": [{"nl": code, "cmd": request} for request, code in described],
    }


def write(folder: Path) -> None:
    """Writes each set as `folder/elsewhere/<set>.jsonl`."""
    for name, rows in make().items():
        files.write(Path(folder) / "elsewhere" / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def _pairs(rng: random.Random) -> list[tuple[str, str]]:
    """Requests with their code, no two alike: lines without an answer style, then programs of one to three steps."""
    found: dict[str, str] = {}
    while len(found) < ROWS:
        if len(found) < ROWS // 2:
            operation = rng.choice(questions.KNOWN)
            question = questions.ask(rng, operation, rng.choice(operation.phrasings[:-1]))
            found[question.intent] = question.code
        else:
            request, code = questions.standard_input(questions.problem(rng, rng.choice((1, 2, 3)), new=False))
            found[request] = code
    return list(found.items())

"""Exact match and CodeBLEU as the study's own package scored: on answers that end at the first < or >. Runs nothing.

That package joins its end token `<|endoftext|>` into a regular expression without escaping it, and cuts each answer
where one of the three parts is found: `<`, `endoftext` or `>`. The reference is not cut. So 3.1 % of CoNaLa's test
references and 13.4 % of CodeAlpacaPy's, those with such a sign, can never be matched, while text after a right answer
may do less harm. Some methods gain by it and others lose: these scores are for comparing with published numbers only.
"""

import re
from collections.abc import Sequence

from nblib.metrics import code_bleu, exact_match_at_k

EM, CODEBLEU = "em_study", "codebleu_study"
_END = re.compile("<|endoftext|>")


def cut(answer: str) -> str:
    """The answer up to where the study's package ended it."""
    return _END.split(answer, maxsplit=1)[0]


def score(reference: str, answers: Sequence[str], ks: Sequence[int]) -> dict[str, float | None]:
    """`em_study@k`, 0 or 1, for each k that the answers reach, and `codebleu_study` of the first."""
    left = [cut(each) for each in answers]
    matched = exact_match_at_k.score(reference, left, ks)
    found: dict[str, float | None] = {f"{EM}@{k}": matched[f"em@{k}"] for k in ks if k <= len(left)}
    return found | {CODEBLEU: code_bleu.score(reference, left[0])["codebleu"] if left else None}


def corpus(references: Sequence[str], answers: Sequence[str]) -> dict[str, float | None]:
    """`codebleu_study` over all first answers at once, as papers print it."""
    return {CODEBLEU: code_bleu.corpus(references, [cut(each) for each in answers])["codebleu"]}

"""Rows to the paragraph that says whether fine-tuning beats retrieved examples, computed. Holds no results."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from nblib import stats
from nblib.results import Row
from nblib.spec import Run
from nblib.tables import groups as grouping
from nblib.tables import words
from nblib.tables.answer import _basis, _best, _costs, _difference, _lost, _nothing, _opening, _versus
from nblib.tables.break_even import UNITS, break_even, pays
from nblib.tables.groups import Group

TEAMS = ("PEFT", "RAG", "ICL")
PAIRS = (("RAG", "ICL"), ("PEFT", "RAG"))


def answer_rag(rows: Iterable[Row], folder: str | Path, *, metric: str = "em@1", expected: Iterable[Run] = ()) -> str:
    """Which method is best; the best RAG beside the best ICL, and the best PEFT beside the best RAG, tested; whether
    PEFT is better than RAG; from how many queries on it is cheaper; on how much data this rests; what is missing.

    Tests are those of `answer`: the same examples, Holm's correction over all methods compared with the better one.
    """
    rows = list(rows)
    found = grouping.groups(rows, folder, expected)
    scored = [group for group in found if group.mean(metric) is not None]
    if not scored:
        return " ".join([_nothing(found), *_lost(found)])
    teams = {name: [group for group in scored if grouping.family(group.kind) == name] for name in TEAMS}
    sentences = [_opening(scored, metric), *(f"No {name} method has a result." for name in TEAMS if not teams[name])]
    sentences += [
        _versus(teams, ours, theirs, scored, metric, again=False)
        for ours, theirs in PAIRS
        if teams[ours] and teams[theirs]
    ]
    if teams["PEFT"] and teams["RAG"]:
        peft, rag = _best(teams["PEFT"], metric), _best(teams["RAG"], metric)
        sentences.append(f"That PEFT is better than RAG {_verdict(peft, rag, scored, metric)} here.")
        sentences.append(_costs([peft, rag]))
        sentences.append(_pays(break_even(rows, folder, base=peft.label, metric=metric).loc[rag.label], rag.label))
    return " ".join([*sentences, _basis(scored, metric), *_lost(found)])


def _verdict(peft: Group, rag: Group, scored: list[Group], metric: str) -> str:
    difference = _difference(peft, rag, scored, metric)
    decided = "tie" if difference is None else stats.decide(difference)
    return {"higher": words.HOLDS, "lower": words.FAILS, "tie": words.OPEN}[decided]


def _pays(row: pd.Series, rag: str) -> str:
    """`Training lora once costs less than the longer prompts of rag-3 from 1,520 queries on in tokens, …`"""
    said = []
    for unit in UNITS:
        if pd.isna(row[f"{unit}_queries"]):
            said.append(f"{_why(row, unit)} in {unit}")
        else:
            said.append(f"from {pays(row, unit)} on in {unit}")
    return f"Training {row['base']} once costs less than the longer prompts of {rag} {words.listed(said)}."


def _why(row: pd.Series, unit: str) -> str:
    why = str(row[f"{unit}_why"])
    return "never" if why.startswith("never") else f"from an unknown number of queries on ({why})"

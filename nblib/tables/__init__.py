"""Rows to what a person reads: a numeric frame, a table, answers side by side, a paragraph. Loads no model.

frame = tables.comparison(rows, folder)    one row a method, plain numbers (shares, bytes, seconds)
tables.write_csv(frame, path)
tables.styled(frame)                       percent and GiB, best and ties marked
tables.side_by_side(examples, predictions_by_label, count)
tables.plan(runs, done), data_checks(checks), examples(…), layers(there), fairness(rows, folder), provenance(rows)
tables.by_difficulty(rows, folder, difficulties)   execution results, one line a method and difficulty
tables.versus(rows, folder, base, metric)  every method minus one of them, tested
tables.answer(rows, folder)                the paragraph that answers the question, computed
"""

from nblib.tables.about import data_checks, examples, failure, fairness, layers, paragraph, plan, provenance
from nblib.tables.answer import answer
from nblib.tables.difficulty import by_difficulty, shown_by_difficulty
from nblib.tables.frame import EXECUTION, METRICS, comparison, write_csv
from nblib.tables.groups import Group, compared, family, groups
from nblib.tables.shown import Shown, styled
from nblib.tables.side_by_side import side_by_side
from nblib.tables.versus import shown_versus, versus

__all__ = [
    "EXECUTION",
    "METRICS",
    "Group",
    "Shown",
    "answer",
    "by_difficulty",
    "compared",
    "comparison",
    "data_checks",
    "examples",
    "failure",
    "fairness",
    "family",
    "groups",
    "layers",
    "paragraph",
    "plan",
    "provenance",
    "shown_by_difficulty",
    "shown_versus",
    "side_by_side",
    "styled",
    "versus",
    "write_csv",
]

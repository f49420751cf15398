"""Rows to what a person reads: a numeric frame, a table, answers side by side, a paragraph. Loads no model.

frame = tables.comparison(rows, folder)    one row a method, plain numbers (shares, bytes, seconds)
tables.write_csv(frame, path)
tables.styled(frame)                       percent and GiB, best and ties marked
tables.side_by_side(examples, predictions_by_label, count)
tables.plan(runs, done), data_checks(checks), examples(…), layers(there), fairness(rows, folder), provenance(rows)
tables.by_difficulty(rows, folder, difficulties)   execution results, one line a method and difficulty
tables.versus(rows, folder, base, metric)  every method minus one of them, tested
tables.answer(rows, folder)                the paragraph that answers the question, computed
tables.answer_rag(rows, folder)            the same for retrieved examples
tables.break_even(rows, folder)            from how many queries on training costs less than longer prompts
tables.by_group(rows, folder, groups)      scores on named groups of examples
tables.retrieval(rows, folder, asked=…, shown=…), nearest(rows, folder)   what stood before the queries
tables.answer_methods(rows, folder)        the paragraph about the PEFT methods: their ranking, is LoRA the best
tables.across_models(rows, folder)         rows of several models: one line a model and method; answer_models(…)
tables.transfer(rows, folder)              rows of several tasks: what was trained on, what is asked; answer_transfer(…)
tables.memory(rows)                        bytes of training by kind; foreseen(…) the same of predictions
tables.quality_memory(rows, folder)        a score beside memory; answer_memory(…), beside_predicted(…), cards(…)
tables.benchmarks(rows)                    a whole folder: report(benchmark, folder), tested(…), difficulties(…)
tables.claims(rows, folder)                a verdict on each claim of the study; mean_ranks(…), soft_cost(…)
tables.appendix(rows), leakage(rows), skipped(problems)   what stands behind the numbers
tables.compare(a, b)                       two folders, run by run
tables.latex(shown), write_latex(shown, path)   any shown table as LaTeX
tables.learning_curves(rows, folder), sensitivity(rows, folder)   losses by epoch, scores by learning rate
"""

from nblib.tables.about import data_checks, examples, failure, fairness, layers, paragraph, plan, provenance
from nblib.tables.answer import answer
from nblib.tables.answer_rag import answer_rag
from nblib.tables.appendix import appendix, leakage, shown_appendix, shown_leakage, skipped
from nblib.tables.break_even import break_even, shown_break_even
from nblib.tables.claims import CLAIMS, claims, claims_frame, shown_claims
from nblib.tables.compare import compare
from nblib.tables.curves import learning_curves, sensitivity, shown_sensitivity
from nblib.tables.difficulty import by_difficulty, shown_by_difficulty
from nblib.tables.exports import latex, markdown, write_latex
from nblib.tables.frame import EXECUTION, METRICS, comparison, write_csv
from nblib.tables.groups import Group, compared, family, groups
from nblib.tables.mean_ranks import mean_ranks, shown_mean_ranks, shown_soft_cost, soft_cost
from nblib.tables.memory import (
    beside_predicted,
    foreseen,
    memory,
    quality_memory,
    shown_beside_predicted,
    shown_memory,
)
from nblib.tables.memory_answer import answer_memory
from nblib.tables.memory_cards import cards, shown_cards
from nblib.tables.methods import answer_methods
from nblib.tables.models import across_models, answer_models, shown_across_models
from nblib.tables.report import benchmarks, difficulties, quality_rows, report, shown_difficulties, shown_report
from nblib.tables.retrieval import nearest, retrieval, shown_retrieval
from nblib.tables.shown import Shown, styled
from nblib.tables.side_by_side import side_by_side
from nblib.tables.subsets import by_group, shown_by_group
from nblib.tables.tested import shown_tested, tested
from nblib.tables.transfer import answer_transfer, shown_transfer, transfer
from nblib.tables.versus import shown_versus, versus

__all__ = [
    "CLAIMS",
    "EXECUTION",
    "METRICS",
    "Group",
    "Shown",
    "across_models",
    "answer",
    "answer_memory",
    "answer_methods",
    "answer_models",
    "answer_rag",
    "answer_transfer",
    "appendix",
    "benchmarks",
    "beside_predicted",
    "break_even",
    "by_difficulty",
    "by_group",
    "cards",
    "claims",
    "claims_frame",
    "compare",
    "compared",
    "comparison",
    "data_checks",
    "difficulties",
    "examples",
    "failure",
    "fairness",
    "family",
    "foreseen",
    "groups",
    "latex",
    "layers",
    "leakage",
    "learning_curves",
    "markdown",
    "mean_ranks",
    "memory",
    "nearest",
    "paragraph",
    "plan",
    "provenance",
    "quality_memory",
    "quality_rows",
    "report",
    "retrieval",
    "sensitivity",
    "shown_across_models",
    "shown_appendix",
    "shown_beside_predicted",
    "shown_break_even",
    "shown_by_difficulty",
    "shown_by_group",
    "shown_cards",
    "shown_claims",
    "shown_difficulties",
    "shown_leakage",
    "shown_mean_ranks",
    "shown_memory",
    "shown_report",
    "shown_retrieval",
    "shown_sensitivity",
    "shown_soft_cost",
    "shown_tested",
    "shown_transfer",
    "shown_versus",
    "side_by_side",
    "skipped",
    "soft_cost",
    "styled",
    "tested",
    "transfer",
    "versus",
    "write_csv",
    "write_latex",
]

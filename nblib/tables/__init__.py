"""Runs and answers to what a person reads: one kind of table that shows itself, and verdicts. Loads no model.

    runs, answers = results.load(folder)
    table = tables.comparison(runs, answers)   one line a method; `table` alone shows it, `table.frame` has the numbers
    table.to_csv(path), table.write_latex(path), table.to_markdown()
    tables.claim_1(runs, answers)              a verdict with its sentence and its numbers; `verdicts` has all of them

show.py: Table. scores.py: by method, difficulty, group, model, task, learning rate. costs.py: memory, break-even.
overview.py: a whole folder. claims.py: verdicts. protocol.py: plan, data, fairness, examples, origin, two stores.
"""

from nblib.tables.claims import (
    CLAIMS,
    Verdict,
    beats,
    claim_1,
    claim_2,
    claim_3,
    claim_4,
    claim_5,
    claim_lora,
    verdict_table,
    verdicts,
)
from nblib.tables.costs import beside_predicted, break_even, cards, foreseen, memory, memory_bytes, quality_memory
from nblib.tables.labels import labelled, names
from nblib.tables.overview import (
    Benchmark,
    benchmarks,
    difficulties,
    mean_ranks,
    report,
    says_quality,
    soft_cost,
    tested,
)
from nblib.tables.protocol import (
    appendix,
    compare,
    data_checks,
    examples,
    failure,
    fairness,
    layers,
    leakage,
    plan,
    provenance,
    side_by_side,
    skipped,
)
from nblib.tables.scores import (
    METRICS,
    across_models,
    by_difficulty,
    by_group,
    comparison,
    learning_curves,
    nearest,
    retrieval,
    sensitivity,
    transfer,
    versus,
)
from nblib.tables.show import EXECUTION, SCORES, Marked, Table, paragraph, size

__all__ = [
    "CLAIMS",
    "EXECUTION",
    "METRICS",
    "SCORES",
    "Benchmark",
    "Marked",
    "Table",
    "Verdict",
    "across_models",
    "appendix",
    "beats",
    "benchmarks",
    "beside_predicted",
    "break_even",
    "by_difficulty",
    "by_group",
    "cards",
    "claim_1",
    "claim_2",
    "claim_3",
    "claim_4",
    "claim_5",
    "claim_lora",
    "compare",
    "comparison",
    "data_checks",
    "difficulties",
    "examples",
    "failure",
    "fairness",
    "foreseen",
    "labelled",
    "layers",
    "leakage",
    "learning_curves",
    "mean_ranks",
    "memory",
    "memory_bytes",
    "names",
    "nearest",
    "paragraph",
    "plan",
    "provenance",
    "quality_memory",
    "report",
    "retrieval",
    "says_quality",
    "sensitivity",
    "side_by_side",
    "size",
    "skipped",
    "soft_cost",
    "tested",
    "transfer",
    "verdict_table",
    "verdicts",
    "versus",
]

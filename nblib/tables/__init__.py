"""Turns runs and answers into what a person reads: tables that show themselves, and verdicts. Loads no model.

    runs, answers = results.load(folder)
    table = tables.comparison(runs, answers)   one line per method; `table` alone shows a few columns
    tables.full(table), table.frame            all of them, as a table and as plain numbers
    table.to_csv(path), table.write_latex(path), table.to_markdown()
    tables.claim_1(runs, answers)              a verdict with its sentence and its numbers; `verdicts` has all of them

show.py: Table. labels.py: which runs may share a table. scores.py: by method, model, task, learning rate.
groups.py: some of the examples. agreement.py: cheap scores against tests. costs.py: memory, break-even.
claims.py: verdicts; tuning.py: those on LoRA's rate, layers, rank and batches. protocol.py: plan, data, origin.
"""

from nblib.columns import EXECUTION, SCORES, size
from nblib.tables.agreement import agreement
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
    shipped,
    verdict_table,
    verdicts,
)
from nblib.tables.costs import (
    break_even,
    cards,
    check_price,
    measured_vs_predicted,
    memory,
    predicted_memory,
    priced,
    quality_memory,
    soft_cost,
)
from nblib.tables.groups import by_group, difficulties, nearest, retrieval
from nblib.tables.labels import Benchmark, benchmarks, names
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
    LEARNED,
    across_models,
    community,
    comparison,
    forgetting,
    learning_curves,
    mean_ranks,
    report,
    sensitivity,
    tested,
    transfer,
)
from nblib.tables.show import Marked, Table, full, paragraph
from nblib.tables.tuning import tuned, tuning, tuning_curves

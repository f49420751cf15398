"""The whole way of a run: plan, run one, run all; a study as plain values. The only room that knows it."""

from nblib.study.config import Study, from_yaml, to_yaml
from nblib.study.costs import Cost, costs
from nblib.study.planning import Planned, adjusted, compare, plan, search, sizes, transfer
from nblib.study.running import run_all, run_one

__all__ = [
    "Cost",
    "Planned",
    "Study",
    "adjusted",
    "compare",
    "costs",
    "from_yaml",
    "plan",
    "run_all",
    "run_one",
    "search",
    "sizes",
    "to_yaml",
    "transfer",
]

"""The whole way of a run: plan, run one, run all; a study as plain values. Only this module knows every step."""

from nblib.study.comparing import Study, adjusted, compare, from_yaml, search, sizes, transfer, tuning
from nblib.study.estimates import Cost, costs
from nblib.study.parallel import groups, run_all
from nblib.study.planning import Planned, plan
from nblib.study.run import run_one

__all__ = [
    "Cost", "Planned", "Study", "adjusted", "compare", "costs", "from_yaml", "groups", "plan", "run_all", "run_one",
    "search", "sizes", "transfer", "tuning",
]  # fmt: skip

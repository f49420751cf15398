"""A dataset's name to examples in one schema, by split, from folder or Hub."""

from nblib.tasks.checks import Checks, checks, near_duplicate
from nblib.tasks.known import TASKS, get, settings, source
from nblib.tasks.loading import EMBEDDED, load, read
from nblib.tasks.schema import (
    DIFFICULTIES,
    SPLITS,
    Data,
    Example,
    Task,
    content,
    first,
    first_trained,
    program,
    require_training,
    unix_lines,
)

__all__ = [
    "DIFFICULTIES", "EMBEDDED", "SPLITS", "TASKS", "Checks", "Data", "Example", "Task", "checks", "content", "first",
    "first_trained", "get", "load", "near_duplicate", "program", "read", "require_training", "settings", "source",
    "unix_lines",
]  # fmt: skip

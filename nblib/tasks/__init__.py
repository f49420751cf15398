"""A dataset's name to examples in one schema, by split, from folder or Hub."""

from nblib.tasks.checks import checks, without_leaked
from nblib.tasks.known import TASKS, get, of, settings, source, trained
from nblib.tasks.loading import EMBEDDED, load, read
from nblib.tasks.own import resolve
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
    "DIFFICULTIES", "EMBEDDED", "SPLITS", "TASKS", "Data", "Example", "Task", "checks", "content", "first",
    "first_trained", "get", "load", "of", "program", "read", "require_training", "resolve",
    "settings", "source", "trained", "unix_lines", "without_leaked",
]  # fmt: skip

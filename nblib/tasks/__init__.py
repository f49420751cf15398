"""A dataset's name to examples in one schema, by split, from folder or Hub. Draws no shots, builds no prompts."""

from nblib.tasks.checking import Checks, checks, near_duplicate
from nblib.tasks.examples import SPLITS, Data, Example, first, first_trained, program, require_training, unix_lines
from nblib.tasks.known import TASKS, Task, get, settings, source
from nblib.tasks.loading import EMBEDDED, load, read

__all__ = [
    "EMBEDDED",
    "SPLITS",
    "TASKS",
    "Checks",
    "Data",
    "Example",
    "Task",
    "checks",
    "first",
    "first_trained",
    "get",
    "load",
    "near_duplicate",
    "program",
    "read",
    "require_training",
    "settings",
    "source",
    "unix_lines",
]

"""A dataset's name to examples in one schema, by split, from folder or Hub."""

from nblib.tasks.checks import checks, without_leaked
from nblib.tasks.loading import EMBEDDED, elsewhere, load, read
from nblib.tasks.own import resolve
from nblib.tasks.schema import (
    DIFFICULTIES,
    SPLITS,
    TASKS,
    Data,
    Example,
    Task,
    content,
    first,
    first_trained,
    get,
    of,
    program,
    require_training,
    settings,
    source,
    trained,
    unix_lines,
)

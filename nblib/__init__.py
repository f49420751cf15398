"""Fine-tuning beside in-context learning for code generation, each step in a room of its own.

Rooms load when they are first named (`nblib.study`, `from nblib import tables`), so that this import costs nothing.
It downloads nothing, checks no device, sets no seed.
"""

import importlib

__version__ = "0.1.0"

ROOMS = (
    "generate",
    "memory",
    "methods",
    "metrics",
    "models",
    "plots",
    "prompts",
    "results",
    "sandbox",
    "spec",
    "stats",
    "study",
    "tables",
    "tasks",
    "train",
    "widgets",
)
FUNCTIONS = {"compare": "tables", "use": "deploy", "export": "deploy"}  # nblib.compare(a, b), nblib.use(adapter)…


def __getattr__(name: str):
    if name in FUNCTIONS:
        return getattr(importlib.import_module(f"nblib.{FUNCTIONS[name]}"), name)
    if name in ROOMS:
        return importlib.import_module(f"nblib.{name}")
    raise AttributeError(f"nblib has no room {name!r}; it has {', '.join(ROOMS)}")


def __dir__() -> list[str]:
    return sorted((*ROOMS, *FUNCTIONS, "__version__"))

"""Compares ways to adapt a code model: fine-tuning, examples in the prompt, and retrieval.

Modules load when you first name them (`nblib.study`, `from nblib import tables`), so `import nblib` costs nothing. It
downloads nothing, checks no device and sets no seed.
"""

import importlib
import logging

__version__ = "0.1.0"

# torchao, where it is installed, and bitsandbytes miss kernels that nblib does not use.
for name in ("torchao", "torch.utils._pytree", "bitsandbytes.backends.cpu.ops"):
    logging.getLogger(name).setLevel(logging.ERROR)

MODULES = (
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
    if name in MODULES:
        return importlib.import_module(f"nblib.{name}")
    raise AttributeError(f"nblib has no module {name!r}; it has {', '.join(MODULES)}")


def __dir__() -> list[str]:
    return sorted((*MODULES, *FUNCTIONS, "__version__"))

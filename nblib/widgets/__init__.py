"""What a person plays with in a notebook, and beside each widget the plain function that gives the same.

    from nblib.widgets import explorer, playground

    playground.answer("tiny", "conala-mini", ["zero-shot", "rag-3"], intent="sort list `xs`")
    playground.show()                          the same to type and click
    explorer.figure(explorer.runs(folder), "train_seconds", "em@1")
    explorer.show(folder)                      the same to type and click

The explorer reads rows only; the playground loads models, so only naming it loads torch. Nothing else imports them.
"""

import importlib

SHOWN = ("explorer", "playground", "training")


def __getattr__(name: str):
    if name in SHOWN:
        return importlib.import_module(f"nblib.widgets.{name}")
    raise AttributeError(f"nblib.widgets has no {name!r}; it has {', '.join(SHOWN)}")

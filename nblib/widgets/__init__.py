"""What a person plays with in a notebook, and beside each widget the plain function that gives the same.

    from nblib.widgets import explorer, playground

    playground.answer("tiny", "conala-mini", ["zero-shot", "rag-3"], intent="sort list `xs`")
    playground.show()                          the same to type and click
    explorer.figure(explorer.runs(folder), "train_seconds", "em@1")
    explorer.show(folder)                      the same to type and click

The explorer reads rows only; the playground and the training load models, so only importing them loads torch.
"""

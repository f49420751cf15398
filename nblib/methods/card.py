"""A saved adapter for others: its model card, and the way to the Hub. Trains and loads nothing."""

from pathlib import Path

from nblib import models
from nblib.methods.saved import read

HEADER = """---
base_model: {base}
library_name: peft
pipeline_tag: {pipeline}
tags:
- {method}
- code
---

# {title}

{method} for {base}, trained on {task} with nblib; {precision} weights of the base stayed as they are.
"""
LOADING = """
## How to load it

```python
{lines}
```

The adapter is not merged into the base: merged into quantized weights it would be rounded with them, and answers would
change.
"""


def card(folder: str | Path, *, facts: dict, scores: dict[str, dict]) -> Path:
    """Writes the folder's README.md as the Hub's model card; its license is left to you.

    `facts` are plain values as a row has them: `settings` (with `method`, `task`…), `costs`, `notes` (with
    `validation_losses`); what is missing is left out. `scores` are a row's: metric -> mean, n, missing.
    Raises ValueError where the folder holds no adapter that `methods.save` finished.
    """
    known = read(folder)
    settings = facts.get("settings", {})
    base = models.MODELS.get(known["base"], known["base"])
    method = settings.get("method", {}).get("kind", "adapter")
    text = HEADER.format(
        base=base,
        pipeline="text2text-generation" if _seq2seq(known) else "text-generation",
        method=method,
        title=f"{Path(folder).name}",
        task=settings.get("train_task") or settings.get("task", "its own data"),
        precision=known["precision"],
    )
    text += _scores(scores) + _losses(facts.get("notes", {}).get("validation_losses", ()))
    text += _table("Settings", _flat(settings)) + _table("Costs", facts.get("costs", {}))
    text += LOADING.format(lines=_loading(base, Path(folder).name, method, known))
    text += f"\nBase revision: `{known['revision']}`.\n"
    path = Path(folder) / "README.md"
    path.write_text(text, encoding="utf-8")
    return path


def push(folder: str | Path, repo_id: str) -> str:
    """Uploads a saved adapter with its card to the Hub, into a repository that is made if need be; returns its address.

    Never called by a notebook of its own accord.
    Raises ValueError where the folder holds no adapter, ConnectionError where the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi  # slow to import, and only needed here

    read(folder)
    try:
        HfApi().create_repo(repo_id, exist_ok=True)
        HfApi().upload_folder(repo_id=repo_id, folder_path=folder)
    except Exception as error:  # the Hub's client and its HTTP library each raise their own kinds
        said = str(error).strip().split("\n")[0]
        raise ConnectionError(
            f"{folder} could not be uploaded to {repo_id} ({type(error).__name__}: {said}): check name and network, "
            "and run `hf auth login` with a token that may write"
        ) from error
    return f"https://huggingface.co/{repo_id}"


def _seq2seq(known: dict) -> bool:
    return known["identity"]["encoder_decoder"]


def _scores(scores: dict[str, dict]) -> str:
    rows = [f"| {name} | {_number(each['mean'])} | {each['n']} |" for name, each in scores.items()]
    return "\n".join(["\n## Scores\n", "| metric | mean | n |", "| --- | ---: | ---: |", *rows, ""]) if rows else ""


def _losses(losses: list) -> str:
    rows = [f"| {step} | {_number(loss)} |" for step, loss in losses]
    head = ["\n## Validation loss\n", "The weights of the lowest are kept.\n", "| step | loss |", "| ---: | ---: |"]
    return "\n".join([*head, *rows, ""]) if rows else ""


def _table(title: str, values: dict) -> str:
    rows = [f"| {name} | {_number(value)} |" for name, value in values.items() if value is not None]
    return "\n".join([f"\n## {title}\n", "| | |", "| --- | --- |", *rows, ""]) if rows else ""


def _flat(values: dict, prefix: str = "") -> dict:
    """Nested settings under names such as `method.r`."""
    found: dict = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def _number(value) -> str:
    if value is None:
        return "not defined"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("\n", " ").replace("|", "\\|")


def _loading(base: str, name: str, method: str, known: dict) -> str:
    """In three lines, with PEFT alone where that can be."""
    # PEFT 0.21 does not find in an encoder-decoder of transformers 5.23 what it looks for, and CodeGen2's weights are
    # read in another order by transformers alone: nblib minds both.
    if _seq2seq(known) or known["identity"]["model_type"] == "codegen":
        return (
            "from nblib import methods, models\n\n"
            f'base, tokenizer = models.load("{known["base"]}", "{known["precision"]}")\n'
            f'model = methods.load(base, "{name}")'
        )
    imports = "import nblib.adapters  # teaches PEFT this method\n" if method == "adapter" else ""
    return (
        f"{imports}from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'base = AutoModelForCausalLM.from_pretrained("{base}")\n'
        f'model = PeftModel.from_pretrained(base, "{name}")'
    )

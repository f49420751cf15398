"""The text of an adapter's model card: what was done, what came of it, how to load, merge and serve it."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import peft
from huggingface_hub import EvalResult, ModelCardData

from nblib import models
from nblib.methods.bottleneck import BottleneckConfig, BottleneckModel

Scores = Mapping[tuple[str, str], dict[str, dict]]  # (task, split) -> metric -> mean, n, missing

PEFT_ALONE = """
With PEFT alone:

```python
{imports}from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({base})
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({base}{dtype}), adapter)
```
"""
NBLIB = """
With nblib, which loads the base as in training and checks that it is the right one:

```python
from nblib import methods, models

base, tokenizer = models.load("{base}", "{precision}")
model = methods.load(base, adapter)
```

`nblib.use(adapter).ask("an instruction")` answers with the task's template and stop strings.
"""
MERGING = """
`nblib.export(adapter, "merged")`, or with PEFT `model.merge_and_unload().save_pretrained("merged")`, writes an ordinary
model. Merge into unquantized weights: quantized ones would round the adapter, and answers would change.
"""
SERVING = """
vLLM serves several adapters over one base (we have not run this):

```bash
vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules {name}={folder} other=path/to/another
```
"""


def text(folder: Path, contents: Path, noted: dict, scores: Scores) -> str:
    """The card of an adapter that is to be in `folder`, whose files are in `contents` now.

    `noted` is as `saving.read` gives it, `scores` as `saving.card` takes them.
    """
    config, facts = peft.PeftConfig.from_pretrained(contents), noted["facts"]
    settings, precision = facts.get("settings", {}), noted["precision"]
    method = settings.get("method", {}).get("kind", config.peft_type.lower())
    pipeline = "text2text-generation" if noted["identity"]["encoder_decoder"] else "text-generation"
    place = models.locate(noted["base"])
    data = ModelCardData(
        base_model=None if Path(place).exists() else place.partition("@")[0],  # the Hub takes its own ids only
        library_name="peft",
        pipeline_tag=pipeline,
        tags=[method, "code"],
        model_name=folder.name,
        eval_results=_results(pipeline, scores),
    )
    name = models.MODELS.get(noted["base"], noted["base"])
    task = settings.get("train_task") or settings.get("task", "its own data")
    means = [
        (f"{metric} on {task} ({split})", "not defined" if score["mean"] is None else score["mean"], score["n"])
        for task, split, metric, score in _flat_scores(scores)
    ]
    parts = [
        f"---\n{data.to_yaml()}\n---\n\n# {folder.name}\n\n{method} for {name} (revision `{noted['revision']}`), "
        f"trained on {task} with nblib; the {precision} weights of the base stayed frozen.\n",
        _table("Scores", ("metric", "mean", "n"), means),
        _table("Validation loss", ("step", "loss"), facts.get("notes", {}).get("validation_losses", ())),
        _table("Settings", ("", ""), _flat(settings)),
        _table("Costs", ("", ""), facts.get("costs", {}).items()),
        _loading(folder, config, noted, place),
    ]
    return "".join(parts)


def for_the_hub(text: str, repo_id: str) -> str:
    """The card of a local adapter, whose code loads it from its repository instead."""
    fetched = f'from huggingface_hub import snapshot_download\n\nadapter = snapshot_download("{repo_id}")'
    return "\n".join(fetched if line.startswith("adapter = ") else line for line in text.split("\n"))


def _results(pipeline: str, scores: Scores) -> list[EvalResult] | None:
    """The scores for the model index, from which the Hub makes its tables; None where there are none."""
    found = [
        EvalResult(pipeline, task, task, metric, score["mean"], dataset_split=split)
        for task, split, metric, score in _flat_scores(scores)
        if score["mean"] is not None
    ]
    return found or None


def _flat_scores(scores: Scores) -> list[tuple[str, str, str, dict]]:
    return [(*of, metric, score) for of, metrics in scores.items() for metric, score in metrics.items()]


def _loading(folder: Path, config: peft.PeftConfig, noted: dict, place: str) -> str:
    local = models.folder_of(place) if Path(place).exists() else place.partition("@")[0]
    base = f'"{local}"' if Path(place).exists() else f'"{local}", revision="{noted["revision"]}"'
    written = f'\n## How to load it\n\n```python\nadapter = "{folder.resolve()}"\n```\n'
    # PEFT 0.21 does not find in an encoder-decoder of transformers 5.23 what it looks for, and CodeGen2's weights are
    # read in another order by transformers alone: nblib minds both.
    if not noted["identity"]["encoder_decoder"] and noted["identity"]["model_type"] != "codegen":
        own = "import nblib.methods  # teaches PEFT this method\n" if isinstance(config, BottleneckConfig) else ""
        # Weights may be stored in other bits than they were held in.
        dtype = str(models.DTYPES.get(noted["precision"], "")).removeprefix("torch.")
        written += PEFT_ALONE.format(imports=own, base=base, dtype=f', dtype="{dtype}"' if dtype else "")
    written += NBLIB.format(base=noted["base"], precision=noted["precision"])
    if _can_be_merged(config):
        written += MERGING
    if config.peft_type == peft.PeftType.LORA:
        written += SERVING.format(base=local, rank=config.r, name=folder.name, folder=folder.resolve())
    return written


def _can_be_merged(config: peft.PeftConfig) -> bool:
    tuner = peft.mapping.PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]
    return hasattr(tuner, "merge_and_unload") and tuner is not BottleneckModel


def _table(title: str, heads: tuple, rows: Iterable[tuple]) -> str:
    """A section with the rows whose last value is known; nothing where there is none."""
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows if row[-1] is not None]
    head = [f"\n## {title}\n", f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    return "\n".join([*head, *lines, ""]) if lines else ""


def _cell(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("\n", " ").replace("|", "\\|")


def _flat(values: dict) -> Iterable[tuple]:
    """Nested settings under names such as `method.r`."""
    return pd.json_normalize(values).iloc[0].items() if values else ()

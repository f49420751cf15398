"""An adapter on disk, an ordinary PEFT folder with a card and a file of ours: written, read, sent to the Hub."""

import copy
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import peft
from huggingface_hub import EvalResult, ModelCardData
from torch import nn
from transformers import PreTrainedModel

from nblib import files, models
from nblib.methods.base import difference, identity, prepared, quiet
from nblib.methods.bottleneck import BottleneckConfig, BottleneckModel
from nblib.methods.initializing import as_plain_lora

FACTS = "nblib.json"  # written last: where it is, the folder is complete
CONFIG = "adapter_config.json"  # PEFT's
CARD = "README.md"  # as the Hub names a model card

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


def save(model: nn.Module, folder: str | Path, *, base: str, precision: str, facts: dict) -> Path:
    """Writes an attached method's weights and card whole or not at all, over what was there.

    `base` is the short key, Hub id or folder that the model was loaded from, `precision` what it was held in; `facts`,
    plain JSON such as settings and costs, are for readers.
    Raises ValueError for a model without an adapter: what full tuning trains is the whole model.
    """
    if not isinstance(model, peft.PeftModel):
        raise ValueError(
            "save takes a model with an adapter; what full tuning trained is the whole model, which its own "
            f"save_pretrained writes: got a {type(model).__name__}"
        )
    # Of the base as it was before the method: some write to its embeddings, or stand in their place.
    known = model.before.identity if hasattr(model, "before") else identity(model.get_base_model())
    noted = {"base": base, "revision": models.revision(base), "precision": precision, "identity": known, "facts": facts}
    text = json.dumps(noted, indent=1) + "\n"  # what is no JSON fails before anything is written
    with files.new_folder(folder) as unfinished:
        _write_weights(model, unfinished, base)
        (unfinished / CARD).write_text(_card_text(Path(folder), unfinished, noted, {}), encoding="utf-8")
        (unfinished / FACTS).write_text(text, encoding="utf-8")
    return Path(folder)


def load(model: PreTrainedModel, folder: str | Path) -> nn.Module:
    """The base model with a saved adapter on it, to answer with; `detach` gives the base back.

    Raises ValueError for a folder that `save` did not finish, and for one that was made for another base.
    """
    noted = read(folder)
    if reason := difference(noted["identity"], model):
        raise ValueError(f"the adapter in {folder} was made for {noted['base']}, and this model is another: {reason}")
    own = {id(parameter) for parameter in model.parameters()}
    with prepared(model) as before:
        attached = peft.PeftModel.from_pretrained(model, folder)
    for parameter in attached.parameters():
        if id(parameter) not in own and parameter.is_floating_point():
            parameter.data = parameter.data.float()  # as they were trained, also over a half-precision base
    if isinstance(attached.base_model, peft.AdaLoraModel):
        attached.base_model.trainable_adapter_name = "default"  # PEFT asks for it where a loss is computed
    attached.before = before
    return attached.eval()


def read(folder: str | Path) -> dict:
    """What `save` noted next to an adapter: base, revision, precision, facts.

    Raises ValueError where the folder holds no adapter that it finished.
    """
    folder = Path(folder)
    if not (folder / CONFIG).exists():
        raise ValueError(f"{folder} holds no adapter: it has no {CONFIG}; give a folder that methods.save wrote")
    if not (folder / FACTS).exists():
        raise ValueError(
            f"{folder} has no {FACTS}: it is incomplete, or not by methods.save; "
            "peft.PeftModel.from_pretrained reads any adapter"
        )
    return json.loads((folder / FACTS).read_text(encoding="utf-8"))


def card(folder: str | Path, *, scores: Scores) -> Path:
    """Writes a saved adapter's model card again, with its scores; you choose its license.

    `scores` are by task and split those of a row: metric -> mean, n, missing.
    Raises ValueError where the folder holds no adapter that `save` finished.
    """
    folder = Path(folder)
    return files.write(folder / CARD, _card_text(folder, folder, read(folder), scores))


def push(folder: str | Path, repo_id: str) -> str:
    """Uploads a saved adapter to the Hub, into a repository that is made if need be; returns its address.

    Its card tells there how to load it from the Hub. Never called by a notebook of its own accord.
    Raises ValueError where the folder holds no adapter, ConnectionError where the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi  # slow to import, and only needed here

    read(folder)
    text = _for_the_hub((Path(folder) / CARD).read_text(encoding="utf-8"), repo_id)
    try:
        HfApi().create_repo(repo_id, exist_ok=True)
        HfApi().upload_folder(repo_id=repo_id, folder_path=folder, ignore_patterns=CARD)
        HfApi().upload_file(repo_id=repo_id, path_in_repo=CARD, path_or_fileobj=text.encode())
    except Exception as error:  # the Hub's client and its HTTP library each raise their own kinds
        reason = str(error).strip().split("\n")[0]
        raise ConnectionError(
            f"{folder} could not be uploaded to {repo_id} ({type(error).__name__}: {reason}): check name and network, "
            "and run `hf auth login` with a token that may write"
        ) from error
    return f"https://huggingface.co/{repo_id}"


def _write_weights(model: peft.PeftModel, folder: Path, base: str) -> None:
    config, state = model.peft_config["default"], None
    config.base_model_name_or_path = models.MODELS.get(base, base).partition("@")[0]
    written = copy.copy(config)
    if isinstance(model.base_model, peft.AdaLoraModel):
        # Pruned ranks are kept as the zeros they are: PEFT would leave out those of the last pruning, which the best
        # checkpoint may be older than.
        written.rank_pattern = None
    if begun := getattr(model, "begun", {}):
        state, written = as_plain_lora(model, begun)
    with patch.dict(model.peft_config, {"default": written}):
        # Embeddings are never trained; "auto" would ask the Hub whether there are as many as its base has.
        model.save_pretrained(folder, save_embedding_layers=False, state_dict=state)


# --- the card: what was done, what came of it, how to load, merge and serve it ----------------------------------------


def _card_text(folder: Path, contents: Path, noted: dict, scores: Scores) -> str:
    """The card of an adapter that is to be in `folder`, whose files are in `contents` now."""
    with quiet():
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


def _for_the_hub(text: str, repo_id: str) -> str:
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
        rank = max([config.r, *config.rank_pattern.values()])  # EVA gives layers ranks of their own
        written += SERVING.format(base=local, rank=rank, name=folder.name, folder=folder.resolve())
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

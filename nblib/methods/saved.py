"""An adapter on disk: write it, read it onto its base. An ordinary PEFT folder, with a file of ours beside."""

import copy
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peft
from torch import nn
from transformers import PreTrainedModel

from nblib import models
from nblib.methods.attaching import made_ready
from nblib.methods.detaching import remember
from nblib.methods.identity import difference, identity
from nblib.methods.initializing import as_plain_lora

FACTS = "nblib.json"  # written last: where it is, the folder is complete
CONFIG = "adapter_config.json"  # PEFT's


def save(model: nn.Module, folder: str | Path, *, base: str, precision: str, facts: dict) -> Path:
    """Writes an attached method's weights whole or not at all, over what was there.

    `base` is the short key, Hub id or folder that the model was loaded from, `precision` what it was held in; `facts`,
    plain JSON such as settings and costs, are for readers.
    Raises ValueError for a model without an adapter: what full tuning trains is the whole model.
    """
    if not isinstance(model, peft.PeftModel):
        raise ValueError(
            "save takes a model with an adapter; what full tuning trained is the whole model, which its own "
            f"save_pretrained writes: got a {type(model).__name__}"
        )
    known: dict = {"base": base, "revision": models.revision(base), "precision": precision}
    known |= {"identity": _base_identity(model), "facts": facts}
    text = json.dumps(known, indent=1) + "\n"  # what is no JSON fails before anything is written
    with _whole(Path(folder)) as unfinished:
        _write(model, unfinished, base)
        (unfinished / FACTS).write_text(text, encoding="utf-8")
    return Path(folder)


def load(model: PreTrainedModel, folder: str | Path) -> nn.Module:
    """The base model with a saved adapter on it, to answer with; `detach` gives the base back.

    Raises ValueError for a folder that `save` did not finish, and for one that was made for another base.
    """
    found = read(folder)
    if reason := difference(found["identity"], model):
        raise ValueError(f"the adapter in {folder} was made for {found['base']}, and this model is another: {reason}")
    before = remember(model)
    own = {id(each) for each in model.parameters()}
    try:
        with made_ready(model):
            attached = peft.PeftModel.from_pretrained(model, folder)
    except Exception:
        before.restore()
        raise
    for parameter in attached.parameters():
        if id(parameter) not in own and parameter.is_floating_point():
            parameter.data = parameter.data.float()  # as they were trained, also over a half-precision base
    if isinstance(attached.base_model, peft.AdaLoraModel):
        attached.base_model.trainable_adapter_name = "default"  # PEFT asks for it where a loss is computed
    attached.before = before
    return attached.eval()


def read(folder: str | Path) -> dict:
    """What `save` noted beside an adapter: base, revision, precision, facts.

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


def _base_identity(model: peft.PeftModel) -> dict:
    """Of the base as it was before a method was put on it: some write to its embeddings, or stand in their place."""
    before = getattr(model, "before", None)
    return before.identity if before else identity(model.get_base_model())


def _write(model: peft.PeftModel, folder: Path, base: str) -> None:
    config, state = model.peft_config["default"], None
    config.base_model_name_or_path = models.MODELS.get(base, base).partition("@")[0]
    written = config
    if isinstance(model.base_model, peft.AdaLoraModel):
        # Pruned ranks are kept as the zeros they are: PEFT would leave out those of the last pruning, which the best
        # checkpoint may be older than.
        written = copy.copy(config)
        written.rank_pattern = None
    if begun := getattr(model, "begun", {}):
        state, written = as_plain_lora(model, begun)
    model.peft_config["default"] = written
    try:
        # Embeddings are never trained; "auto" would ask the Hub whether there are as many as its base has.
        model.save_pretrained(folder, save_embedding_layers=False, state_dict=state)
    finally:
        model.peft_config["default"] = config
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's, with every section empty


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of the given one only when all went well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        unfinished, replaced = Path(place) / "new", Path(place) / "old"
        unfinished.mkdir()
        yield unfinished
        if folder.exists():
            shutil.move(folder, replaced)
        unfinished.rename(folder)

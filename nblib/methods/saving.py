"""An adapter on disk, an ordinary PEFT folder with a card and a file of ours: written, read, sent to the Hub."""

import copy
import json
from pathlib import Path

import peft
from torch import nn
from transformers import PreTrainedModel

from nblib import files, models
from nblib.methods import model_card
from nblib.methods.base import difference, identity, prepared
from nblib.methods.initializing import as_plain_lora

FACTS = "nblib.json"  # written last: where it is, the folder is complete
CONFIG = "adapter_config.json"  # PEFT's
CARD = "README.md"  # as the Hub names a model card


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
        (unfinished / CARD).write_text(model_card.text(Path(folder), unfinished, noted, {}), encoding="utf-8")
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


def card(folder: str | Path, *, scores: model_card.Scores) -> Path:
    """Writes a saved adapter's model card again, with its scores; you choose its license.

    `scores` are by task and split those of a row: metric -> mean, n, missing.
    Raises ValueError where the folder holds no adapter that `save` finished.
    """
    folder = Path(folder)
    return files.write(folder / CARD, model_card.text(folder, folder, read(folder), scores))


def push(folder: str | Path, repo_id: str) -> str:
    """Uploads a saved adapter to the Hub, into a repository that is made if need be; returns its address.

    Its card tells there how to load it from the Hub. Never called by a notebook of its own accord.
    Raises ValueError where the folder holds no adapter, ConnectionError where the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi  # slow to import, and only needed here

    read(folder)
    text = model_card.for_the_hub((Path(folder) / CARD).read_text(encoding="utf-8"), repo_id)
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
    model.peft_config["default"] = written
    try:
        # Embeddings are never trained; "auto" would ask the Hub whether there are as many as its base has.
        model.save_pretrained(folder, save_embedding_layers=False, state_dict=state)
    finally:
        model.peft_config["default"] = config

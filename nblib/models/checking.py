"""Refuse a checkpoint that would not be what was asked for, from its config.json alone. Loads no weights."""

import json
from pathlib import Path

from nblib.models import codegen2
from nblib.models.places import folder_of, hub_errors, locate
from nblib.spec import QUANTIZED

# (model_type, class) whose own code and transformers' compute the same: it was taken over from there.
NATIVE = (("falcon", "FalconForCausalLM"), ("phi", "PhiForCausalLM"), ("phi3", "Phi3ForCausalLM"))
LOADED_AS = ("AutoModel", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM")  # of an auto_map


def check(model: str, precision: str, *, trust_remote_code: bool = False) -> None:
    """Raises ValueError where the model computes with code of its own that is not run, or is stored in other bits.

    `trust_remote_code` says that its code may be run.
    """
    facts = read(model, trust_remote_code=trust_remote_code)
    _check_code(model, facts, trust_remote_code)
    held = stored_precision(facts)
    if held not in (None, precision):
        other = f"take precision {held}, or" if held in QUANTIZED else "no precision here is that: take"
        raise ValueError(
            f"{model!r} is stored quantized, as {held}, and loads as nothing else; got precision {precision!r}: "
            f"{other} the model that it was made of"
        )


def read(model: str, *, trust_remote_code: bool = False) -> dict:
    """The model's config.json, as it is."""
    place = locate(model)
    with hub_errors(place):
        folder = folder_of(place, code=trust_remote_code)
    return json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))


def stored_precision(facts: dict) -> str | None:
    """The precision that the checkpoint's weights are stored in, where they are quantized: nf4, or another's name."""
    found = facts.get("quantization_config")
    if not found:
        return None
    if found.get("load_in_8bit"):
        return "int8"
    if found.get("load_in_4bit"):
        double = "-dq" if found.get("bnb_4bit_use_double_quant") else ""
        return found.get("bnb_4bit_quant_type", "fp4") + double
    return str(found.get("quant_method", "something unknown"))


def _check_code(model: str, facts: dict, trusted: bool) -> None:
    names = [name for key, name in (facts.get("auto_map") or {}).items() if key in LOADED_AS]
    if trusted:
        if elsewhere := [name for name in names if "--" in name]:
            raise ValueError(
                f"the code of {model!r} is in another repository, {elsewhere[0].partition('--')[0]}, at no commit that "
                "could be noted: copy it into a local folder beside the weights, and name it there without `--`"
            )
        return
    kind = facts.get("model_type")
    other = [name for name in names if (kind, name.rpartition(".")[2]) not in NATIVE]
    if other and not codegen2.is_one(facts):
        raise ValueError(
            f"{model!r} computes with code of its own, {other[0]}, which is not run: what transformers' {kind} would "
            "compute from its weights may be something else; read the code, and allow it with trust_remote_code=True"
        )

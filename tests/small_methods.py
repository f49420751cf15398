"""Every method that trains, in sizes that fit small models; how it is trained for a moment; what it then answers."""

import gc
import json
import sys
import warnings
from pathlib import Path

import small
import torch

from nblib import methods, models, spec

TRAINED = [kind for kind, method in spec.METHODS.items() if method.trained]
OUT_OF_BASE = ("pissa", "corda")  # begin with a part of the base's weights
ADDED = [kind for kind in TRAINED if kind not in ("full", *OUT_OF_BASE)]  # that leave the base's own weights alone
PRECISIONS = ("fp32", "int8", "nf4")
STEPS = 8
SETTINGS: dict[str, dict] = {
    "adalora": {"r": 4, "initial_r": 8},
    "vera": {"r": 16},
    "oft": {"block_size": 16},
    "eva": {"r": 4},
    "corda": {"r": 4},
    "randlora": {"r": 8, "alpha": 80},
    "road": {"group_size": 16},
    "trainable-tokens": {"tokens": 20},
    "adapter": {"placement": "houlsby"},
}


def method(kind: str) -> spec.Trained:
    if kind == "peft":
        import peft  # after nblib.methods, which quiets what it says at import

        return methods.custom(peft.HiraConfig(r=4, target_modules="all-linear"), name="hira", learning_rate=1e-2)
    return spec.method(kind, **SETTINGS.get(kind, {}))


def refused(family: str, kind: str, precision: str) -> str | None:
    """The beginning of the reason why that cannot be."""
    if kind == "llama-adapter" and family not in ("llama", "gpt2"):
        return "llama-adapter cannot be attached to a model of type"
    if kind in ("oft", "miss", "road") and family == "gpt2" and precision == "fp32":
        return f"{kind} cannot be attached to a model of type gpt2: Target module"
    if kind == "eva" and family == "t5":
        return "eva looks at one text a row"
    if kind in ("pissa", "gralora") and precision not in ("fp32", "bf16"):
        return f"{kind} does not work over {precision} weights"
    if kind == "corda" and precision not in ("fp32", "bf16"):
        return f"corda reads whole weights, and {precision} weights are not"
    if kind == "full" and precision != "fp32":
        return "full trains every weight"
    return None


def batch(model, tokenizer) -> dict[str, torch.Tensor]:
    """Eight examples, padded on the right, with their loss on what is not padding."""
    examples = small.EXAMPLES[:8]
    whole = [
        example.intent if model.config.is_encoder_decoder else f"{example.intent}\n{example.code}"
        for example in examples
    ]
    inputs = tokenizer(whole, return_tensors="pt", padding=True, padding_side="right")
    labels = inputs["input_ids"]
    if model.config.is_encoder_decoder:
        labels = tokenizer(
            [example.code for example in examples], return_tensors="pt", padding=True, padding_side="right"
        )
        labels = labels["input_ids"]
    labels = labels.masked_fill(labels == tokenizer.pad_token_id, -100)
    return {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"], "labels": labels}


def train(attached, rows: dict, *, learning_rate: float = 1e-2) -> tuple[float, float]:
    """The loss before and after a few steps."""
    trained = [weight for weight in attached.parameters() if weight.requires_grad]
    usual, settings = torch.optim.AdamW, {"lr": learning_rate}
    optimizer = methods.optimizer(attached, usual, settings, weight_decay=0.0) or usual(trained, **settings)
    losses = [loss(attached, rows)]
    attached.train()
    for step in range(1, STEPS + 1):
        attached(**rows).loss.backward()
        optimizer.step()
        methods.after_step(attached, step)
        optimizer.zero_grad()
    losses.append(loss(attached, rows))
    return losses[0], losses[1]


@torch.inference_mode()
def loss(model, rows: dict) -> float:
    return model.eval()(**rows).loss.item()


@torch.inference_mode()
def answers(model, rows: dict) -> list[torch.Tensor]:
    """Logits, and tokens of a beam search, which read a cache."""
    model.eval()
    inputs = {name: rows[name][:2, :6] for name in ("input_ids", "attention_mask")}
    settings = {"max_new_tokens": 5, "num_beams": 2, "do_sample": False}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Position ids are not supported", UserWarning)  # as generate.completions does
        return [model(**rows).logits.clone(), model.generate(**inputs, **settings)]


def state(model) -> dict[str, torch.Tensor]:
    """The model's tensors by name; those that quantized ones of torchao are made of, one by one."""
    held = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, torch.Tensor)}
    numbered = {name: enumerate(models.parts(tensor)) for name, tensor in held.items()}
    return {f"{name} {number}": part.clone() for name, parts in numbered.items() for number, part in parts}


def live_bytes() -> int:
    """What tensors hold that anything still refers to."""
    gc.collect()
    found = {}
    for item in gc.get_objects():
        if issubclass(type(item), torch.Tensor) and item.device.type != "meta":
            found[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
    return sum(found.values())


def answer_again(folder: Path) -> dict[str, bool]:
    """Adapter -> whether it answers as it did, loaded onto its base."""
    same = {}
    for place in sorted(folder.glob("adapters/*")):
        model, tokenizer = models.load(str(folder / "base"), place.name.split("@")[1])
        found = answers(methods.load(model, place), batch(model, tokenizer))
        expected = torch.load(folder / f"{place.name}.pt")
        same[f"{folder.name} {place.name}"] = all(map(torch.equal, expected, found))
    return same


if __name__ == "__main__":
    print(json.dumps({name: same for path in sys.argv[1:] for name, same in answer_again(Path(path)).items()}))

"""What tells a base model from others, and its weights from what they were. Changes nothing."""

import math

import torch
from transformers import PreTrainedModel

SAMPLES = 64  # values of the base's embeddings that are kept, to know it again
ROUNDING = 2**-7  # relative; the same base in bf16 or fp16 is still the same base
ROW = 4096  # at most so many integers have one sum
_WIDEST = ((8, torch.int64), (4, torch.int32), (2, torch.int16), (1, torch.uint8))  # bytes of an integer


def identity(model: PreTrainedModel) -> dict:
    """What tells a bare base from others at any precision: type, sizes, and some of its embeddings' values.

    Rows that `models.load` added for a pad token are not looked at: they are no part of the checkpoint.
    """
    words = model.get_input_embeddings().weight
    own = words[: getattr(model, "checkpoint_rows", len(words))]
    places = torch.linspace(0, own.numel() - 1, SAMPLES, dtype=torch.float64).long().tolist()
    samples = [[place // own.shape[1], place % own.shape[1]] for place in places]
    return {**_sizes(model), "places": samples, "values": _values(model, samples)}


def difference(known: dict, model: PreTrainedModel) -> str | None:
    """The first thing in which a bare model is not the base of that identity; None where there is none."""
    for name, value in _sizes(model).items():
        if value != known[name]:
            return f"its {name} is {value} instead of {known[name]}"
    rows = model.get_input_embeddings().num_embeddings
    if max(row for row, _ in known["places"]) >= rows:
        return "it has fewer embeddings"
    own = getattr(model, "checkpoint_rows", rows)
    kept = [number for number, (row, _) in enumerate(known["places"]) if row < own]  # older adapters sampled all rows
    found = torch.tensor(_values(model, [known["places"][number] for number in kept]))
    expected = torch.tensor([known["values"][number] for number in kept])
    return None if torch.allclose(found, expected, rtol=ROUNDING, atol=1e-6) else "its embeddings have other values"


def checksum(tensor: torch.Tensor) -> int:
    """Of a tensor's content: sums of bits by row, weighted by the row's place. 100 million numbers take 0.1 s.

    A write to `weight.data` moves no address and counts no version, so only the content tells of it.
    """
    flat = tensor.detach().contiguous().flatten()
    size = flat.numel() * flat.element_size()
    flat = flat.view(next(kind for width, kind in _WIDEST if size % width == 0 and width >= flat.element_size()))
    rows = flat.view(-1, math.gcd(len(flat), ROW)).sum(-1, dtype=torch.int64)
    return int((rows * (2 * torch.arange(len(rows), device=rows.device) + 1)).sum())


def _sizes(model: PreTrainedModel) -> dict:
    return {
        "model_type": model.config.model_type,
        "layers": model.config.num_hidden_layers,
        "encoder_decoder": bool(model.config.is_encoder_decoder),
        "width": model.get_input_embeddings().weight.shape[1],
    }


def _values(model: PreTrainedModel, places: list[list[int]]) -> list[float]:
    words = model.get_input_embeddings().weight
    rows, columns = torch.tensor(places, device=words.device).T
    return words.detach()[rows, columns].float().tolist()

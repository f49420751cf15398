"""Which ways of training a model fit on a device, the best first. Runs nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from nblib import methods as room
from nblib import spec
from nblib.memory import cards
from nblib.memory.cards import CARDS, Card
from nblib.memory.measuring import GIB
from nblib.memory.predicting import Prediction, least_bytes, predict

METHODS = (spec.Lora(), spec.FullTuning())
OPTIMIZERS = ("adamw_torch", "adamw_8bit", "paged_adamw_8bit")  # each keeps less on the device than the one before
SHORTEST = 32  # tokens; nobody trains on less


@dataclass(frozen=True)
class Option:
    """A way that fits, and what it needs."""

    method: spec.Trained
    precision: str
    device_batch: int  # rows a pass
    accumulation: int  # passes a step
    gradient_checkpointing: bool
    optimizer: str
    peak_bytes: int  # of loading, training and generating
    share: float  # of the whole card
    prediction: Prediction

    @property
    def label(self) -> str:
        return spec.label(self.method, self.precision)


def plan(
    model: str,
    device: str | float,
    *,
    length: int,
    methods: Sequence[spec.Trained] = METHODS,
    precisions: Sequence[str] = (),
    batch_size: int = 8,
    answer_tokens: int | None = None,
    beams: int = 1,
    new_tokens: int = 64,
) -> list[Option]:
    """For every method at every precision the fastest way that fits; the least quantized first, then as methods stand.

    `device` is a name in CARDS or a number of GiB, of which a reserve stays free. Rows have up to `length` tokens, and
    an optimizer's step `batch_size` of them, split where they do not fit at once; answers of `new_tokens` are generated
    as many at a time, with `beams`. `answer_tokens` are those of a row that a loss is taken from, its code and the end
    token: a decoder's are the last of its `length`, an encoder-decoder's stand beside it; None stands for `new_tokens`,
    the longest answer that may be generated. Without `precisions`, all are tried that the device can do but fp32, which
    costs twice as much as bf16 and is hardly better.
    Slower is what needs more passes, then what computes activations twice (checkpointing); 8-bit and paged optimizers
    come last.
    Raises ValueError for what cannot be, and where nothing fits with the smallest change that would.
    """
    card = cards.card(device)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number from 1 on; got {batch_size!r}")
    if not methods:
        raise ValueError("methods must name at least one that is trained; got none")
    for method in methods:
        if not isinstance(method, spec.Trained):
            raise ValueError(f"{method.kind} trains nothing, and a plan is for training: take predict")
    for precision in precisions:
        cards.check(card, precision)
    texts = {"answer_tokens": answer_tokens, "beams": beams, "new_tokens": new_tokens}
    tried = list(precisions) or [each for each in card.precisions if each != "fp32"]
    found = _fitting(model, card, methods, tried, batch_size, {"length": length, **texts})
    if not found:
        raise ValueError(_smallest_change(model, card, methods, tried, batch_size, {"length": length, **texts}))
    return found


def _fitting(
    model: str, card: Card, methods: Sequence[spec.Trained], precisions: Sequence[str], batch_size: int, texts: dict
) -> list[Option]:
    order = sorted(precisions, key=spec.PRECISIONS.index)
    found = []
    for precision, method in product(order, methods):
        if isinstance(method, spec.FullTuning) and precision in spec.QUANTIZED:
            continue
        if option := next(_options(model, card, method, precision, batch_size, texts), None):
            found.append(option)
    return found


def _options(
    model: str, card: Card, method: spec.Trained, precision: str, batch_size: int, texts: dict
) -> Iterator[Option]:
    """Ways of training it that fit, the fastest first."""
    if least_bytes(model, method, precision) > card.usable_bytes:
        return
    for training in _trainings(method, batch_size):
        predicted = predict(model, method, precision, batch=training.device_batch, training=training, **texts)
        if predicted.peak_bytes <= card.usable_bytes:
            yield Option(
                method=method,
                precision=precision,
                device_batch=training.device_batch,
                accumulation=batch_size // training.device_batch,
                gradient_checkpointing=training.gradient_checkpointing,
                optimizer=training.optimizer,
                peak_bytes=predicted.peak_bytes,
                share=predicted.peak_bytes / (card.gib * GIB),
                prediction=predicted,
            )


def _trainings(method: spec.Trained, batch_size: int) -> Iterator[spec.Training]:
    """Ways to make the same step, the fastest first; the states of small adapters are not worth a lesser optimizer."""
    batches = [size for size in range(batch_size, 0, -1) if batch_size % size == 0]
    optimizers = OPTIMIZERS if isinstance(method, spec.FullTuning) else OPTIMIZERS[:1]
    checkpointing = (False, True) if room.keeps_checkpointing(method) else (False,)
    for optimizer, checkpoints, device_batch in product(optimizers, checkpointing, batches):
        yield spec.Training(
            batch_size=batch_size,
            device_batch=device_batch,
            optimizer=optimizer,
            gradient_checkpointing=checkpoints,
        )


def _smallest_change(
    model: str, card: Card, methods: Sequence[spec.Trained], precisions: Sequence[str], batch_size: int, texts: dict
) -> str:
    """What does not fit, and the first of these that would: a smaller precision, shorter texts, a larger card."""
    names = " or ".join(spec.label(each) for each in methods)
    nothing = f"{names} with {model} at {' or '.join(precisions)} and {texts['length']} tokens does not fit on {card}"
    smaller = [each for each in card.precisions if each not in precisions and each in spec.QUANTIZED]
    for precision in smaller:
        if _fitting(model, card, methods, [precision], batch_size, texts):
            return f"{nothing}: precision {precision} would"
    shorter = texts["length"] // 2
    while shorter >= SHORTEST:
        if _fitting(model, card, methods, precisions, batch_size, texts | {"length": shorter}):
            return f"{nothing}: texts of {shorter} tokens would"
        shorter //= 2
    for name, gib in sorted(CARDS.items(), key=lambda each: each[1]):
        larger = Card(gib, name)
        able = [each for each in precisions if each in larger.precisions]
        if gib > card.gib and able and _fitting(model, larger, methods, able, batch_size, texts):
            return f"{nothing}: {larger} would do"
    return f"{nothing}, nor on any known card: take a smaller model or a method that trains fewer weights"

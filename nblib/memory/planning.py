"""Which ways of training a model fit on a device, the best first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from nblib import spec
from nblib.columns import GIB
from nblib.memory import shapes
from nblib.memory.predicting import Prediction, compute_dtype, least_bytes, predict
from nblib.methods import keeps_checkpointing
from nblib.rules import one_of, whole

METHODS = (spec.Lora(), spec.FullTuning())
OPTIMIZERS = ("adamw_torch", "adamw_8bit", "paged_adamw_8bit")  # each keeps less on the device than the one before
SHORTEST = 32  # tokens; nobody trains on less
RESERVED_SHARE = 0.08  # of a card, for what the allocator keeps in pieces and predictions miss
DRIVER_BYTES = GIB // 2  # the driver's own, on every card
CARDS = {  # GiB
    "T4": 16,
    "RTX 3060": 12,
    "RTX A5000": 24,
    "RTX 4090": 24,
    "A100 40": 40,
    "A100 80": 80,
    "H100": 80,
}
NO_BF16 = ("T4",)


@dataclass(frozen=True)
class Card:
    """A device of that size; one without a name is taken to be as able as today's are."""

    gib: float
    name: str = ""

    @property
    def usable_bytes(self) -> int:
        """What a run may need at most: a reserve stays free."""
        return int(self.gib * GIB * (1 - RESERVED_SHARE)) - DRIVER_BYTES

    @property
    def precisions(self) -> tuple[str, ...]:
        """What its base models can be held in, the most exact first; fp16 only where there is no bf16."""
        return ("fp32", "fp16" if self.name in NO_BF16 else "bf16", "int8", "nf4", "nf4-dq")

    def __str__(self) -> str:
        return f"{self.name} with {self.gib:g} GiB" if self.name else f"a card of {self.gib:g} GiB"


def card(device: str | float) -> Card:
    """The card of that name, or one of so many GiB.

    Raises ValueError for an unknown name, and for a size that leaves nothing but the reserve.
    """
    if isinstance(device, str):
        if device not in CARDS:
            raise ValueError(f"device must be one of {', '.join(CARDS)}, or a number of GiB; got {device!r}")
        return Card(CARDS[device], device)
    if isinstance(device, bool) or not isinstance(device, int | float) or Card(device).usable_bytes <= 0:
        raise ValueError(f"device must have more than 0.6 GiB, of which a reserve stays free; got {device!r}")
    return Card(device)


@dataclass(frozen=True)
class Option:
    """A way that fits, and what it needs."""

    method: spec.Trained
    precision: str
    device_batch: int  # rows a pass
    accumulation: int  # passes a step, on each card
    gradient_checkpointing: bool
    optimizer: str
    peak_bytes: int  # of loading, training and generating
    share: float  # of the whole card
    prediction: Prediction  # for one card
    is_split: bool = False  # over cards, of which each holds a part of the weights

    @property
    def label(self) -> str:
        return spec.label(self.method, self.precision)


@dataclass(frozen=True)
class _Search:
    """What is to be trained: a step of `batch_size` rows, with texts as `predict` takes them."""

    model: str
    methods: Sequence[spec.Trained]
    batch_size: int
    cards: int  # that share each step's rows
    texts: dict

    def options(self, card: Card, precisions: Sequence[str], **texts: Any) -> list[Option]:
        """For each precision and method the fastest way that fits."""
        pairs = product(sorted(precisions, key=spec.PRECISIONS.index), self.methods)
        ways = (self._ways(card, method, precision, self.texts | texts) for precision, method in pairs)
        return [option for way in ways if (option := next(way, None))]

    def _ways(self, card: Card, method: spec.Trained, precision: str, texts: dict) -> Iterator[Option]:
        """Ways of training it that fit, the fastest first."""
        if isinstance(method, spec.FullTuning) and precision in spec.QUANTIZED:
            return
        fits = least_bytes(self.model, method, precision) <= card.usable_bytes
        for is_split, training in product((False, True), self._trainings(method)):
            if (is_split and self.cards == 1) or not (is_split or fits):
                continue
            batch = training.device_batch
            predicted = predict(self.model, method, precision, training=training, batch=batch, **texts)
            predicted = self._on_a_card(predicted, precision, is_split)
            if predicted.peak_bytes <= card.usable_bytes:
                yield Option(
                    method=method,
                    precision=precision,
                    device_batch=batch,
                    accumulation=training.batch_size // batch,
                    gradient_checkpointing=training.gradient_checkpointing,
                    optimizer=training.optimizer,
                    peak_bytes=predicted.peak_bytes,
                    share=predicted.peak_bytes / (card.gib * GIB),
                    prediction=predicted,
                    is_split=is_split,
                )

    def _on_a_card(self, predicted: Prediction, precision: str, is_split: bool) -> Prediction:
        """What one of the cards needs: gradients once more, to exchange them; or a part of all that stays (FSDP).

        Of split weights, two layers and the embeddings are there whole.
        """
        if not is_split:
            exchanged = predicted.gradients_bytes if self.cards > 1 else 0
            return replace(predicted, train_peak_bytes=(predicted.train_peak_bytes or 0) + exchanged)
        config = shapes.configuration(self.model)
        embeddings = 2 * config.vocab_size * config.hidden_size * compute_dtype(precision, "cuda").itemsize
        gathered = 2 * predicted.weights_bytes // config.num_hidden_layers + embeddings
        return predicted.split(self.cards, gathered, quantized=precision in spec.QUANTIZED)

    def _trainings(self, method: spec.Trained) -> Iterator[spec.Training]:
        """Ways to make the same step, the fastest first; small adapters' states are not worth a lesser optimizer."""
        own = self.batch_size // self.cards
        batches = [size for size in range(own, 0, -1) if own % size == 0]
        optimizers = OPTIMIZERS if isinstance(method, spec.FullTuning) else OPTIMIZERS[:1]
        checkpointing = (False, True) if keeps_checkpointing(method) else (False,)
        for optimizer, checkpoints, device_batch in product(optimizers, checkpointing, batches):
            yield spec.Training(
                batch_size=own,
                device_batch=device_batch,
                optimizer=optimizer,
                gradient_checkpointing=checkpoints,
            )

    def smallest_change(self, card: Card, precisions: Sequence[str]) -> str:
        """What does not fit, and the first of these that would: a smaller precision, shorter texts, a larger card."""
        names, length = " or ".join(spec.label(method) for method in self.methods), self.texts["length"]
        nothing = f"{names} with {self.model} at {' or '.join(precisions)} and {length} tokens does not fit on {card}"
        for precision in card.precisions:
            if precision in spec.QUANTIZED and precision not in precisions and self.options(card, [precision]):
                return f"{nothing}: precision {precision} would"
        while (length := length // 2) >= SHORTEST:
            if self.options(card, precisions, length=length):
                return f"{nothing}: texts of {length} tokens would"
        for name, gib in sorted(CARDS.items(), key=lambda item: item[1]):
            larger = Card(gib, name)
            able = [precision for precision in precisions if precision in larger.precisions]
            if gib > card.gib and self.options(larger, able):
                return f"{nothing}: {larger} would do"
        return f"{nothing}, nor on any known card: take a smaller model or a method that trains fewer weights"


def plan(
    model: str,
    device: str | float,
    *,
    methods: Sequence[spec.Trained] = METHODS,
    precisions: Sequence[str] = (),
    batch_size: int = 8,
    cards: int = 1,
    **texts: Any,
) -> list[Option]:
    """The fastest way that fits, for every method at every precision; the least quantized first.

    `device` is a name in CARDS or a number of GiB; we keep a reserve free. An optimizer step takes `batch_size` rows,
    split if they do not fit at once. Several such `cards` take equal parts of them; each holds the whole model, or
    where that fits none, a part of it (estimated from what one card needs). `texts` are as in `predict`, `length` at
    least. Without `precisions`, we try all that the device can do except fp32, which costs twice as much as bf16 and is
    hardly better. Ways that need more passes are slower, then those that compute activations twice (checkpointing);
    8-bit and paged optimizers come last.
    Raises ValueError for what cannot be, and if nothing fits: then it names the smallest change that would.
    """
    own = card(device)
    for name, value in {"batch_size": batch_size, "cards": cards}.items():
        whole(at_least=1).check(name, value)
    if batch_size % cards:
        raise ValueError(f"batch_size must be a multiple of cards; got {batch_size}, {cards}")
    if not methods:
        raise ValueError("methods must name at least one that is trained; got none")
    for method in methods:
        if not method.trained:
            raise ValueError(f"{method.kind} trains nothing, and a plan is for training: take predict")
    for precision in precisions:
        one_of(*spec.PRECISIONS).check("precision", precision)
        if precision == "bf16" and own.name in NO_BF16:
            raise ValueError(f"precision bf16 needs a newer card than the {own.name}: take fp16")
    tried = list(precisions) or [precision for precision in own.precisions if precision != "fp32"]
    search = _Search(model, methods, batch_size, cards, texts)
    if found := search.options(own, tried):
        return found
    raise ValueError(search.smallest_change(own, tried))

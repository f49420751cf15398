"""Bytes that loading, training and generating will need, from a model's configuration alone. Loads no weights."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from nblib import methods, models, spec
from nblib.memory import shapes, tracing
from nblib.memory.tracing import Deepening, Pass, Sizes
from nblib.rules import Count, Settings, one_of

DEVICES = ("cuda", "cpu")
SHALLOW = 3  # layers of the model that is tried: a first, a last, one between; one more tells what each further adds
SCORED, GREEDY = 4, 2  # tensors over the vocabulary, in fp32, held for every row: transformers' beam search, without
FP32 = 4  # bytes; trained weights, gradients and states are fp32
VIRTUAL = spec.PromptTuning | spec.PrefixTuning | spec.PTuning  # their cache is PEFT's
SMALLEST_8BIT, BLOCK = 4096, 256  # bitsandbytes keeps smaller tensors in fp32; larger ones have constants by block
SMALLEST_PAGED = 100_000  # numbers


@dataclass(frozen=True)
class Prediction:
    """Bytes by kind, each the most that there is of it, and by phase, of what is there at once. None: nothing trained.

    The kinds of a phase need not be there at the same time, so they add up to at least its peak. What the allocator
    keeps in reserve and the driver's own memory are not in it.
    """

    weights_bytes: int  # of the base, with the constants of quantized layers
    adapter_bytes: int  # what the method adds, in fp32
    gradients_bytes: int
    optimizer_bytes: int  # states on the device; paged ones are not counted on a GPU
    activations_bytes: int  # kept for the backward pass
    logits_bytes: int  # over the vocabulary: the model's of answers, and the fp32 copy of a chunk of them
    cache_bytes: int  # keys and values of all beams at the end of an answer
    load_peak_bytes: int
    train_peak_bytes: int | None
    generate_peak_bytes: int
    trainable_parameters: int
    train_peak_at: str | None  # the stage of training that needs the most

    @property
    def peak_bytes(self) -> int:
        """The most of any phase."""
        return max(self.load_peak_bytes, self.train_peak_bytes or 0, self.generate_peak_bytes)

    def split(self, cards: int, gathered_bytes: int, *, quantized: bool) -> "Prediction":
        """Of one of several cards that each hold a part of what stays (FSDP); `gathered_bytes` of it are there whole.

        Answers come from layers on all cards. Quantized weights are loaded whole first, others by the host.
        """
        stays, trained = self.weights_bytes + self.adapter_bytes, self.optimizer_bytes + self.gradients_bytes
        passed = max((self.train_peak_bytes or 0) - stays - trained, self.activations_bytes + self.logits_bytes)
        return replace(
            self,
            load_peak_bytes=self.load_peak_bytes if quantized else 0,
            train_peak_bytes=(stays + trained) // cards + gathered_bytes + passed,
            generate_peak_bytes=self.generate_peak_bytes - stays + stays // cards,
        )


@dataclass(frozen=True)
class Texts(Settings):
    """How much text goes through: rows of a training pass, and prompts that are answered at a time."""

    batch: Count  # rows
    length: Count  # tokens of a row
    # Tokens of a row that a loss is taken from, its code and the end token: there are logits of so many. A decoder's
    # are the last ones of its `length`, an encoder-decoder writes them beside it. None: `new_tokens`, which is too many
    # rather than too few.
    answer_tokens: Count | None = None
    beams: Count = 1
    new_tokens: Count = 64  # of an answer
    prompt_length: Count | None = None  # tokens; None: `length`
    generation_batch: Count | None = None  # prompts; None: `batch`


@dataclass(frozen=True)
class Setup:
    """A model with a method at a precision on a device."""

    configuration: str  # JSON
    method: spec.Method
    precision: str
    device: str

    @property
    def dtype(self) -> torch.dtype:
        return compute_dtype(self.precision, self.device)

    @property
    def config(self) -> PretrainedConfig:
        return AutoConfig.for_model(**json.loads(self.configuration))

    def deepened(self, of: Callable[[PretrainedConfig], Any]) -> Any:
        """What `of` says of the model: of two shallow ones where its layers are alike and the method takes them all."""
        config, method = self.config, self.method
        depth = config.num_hidden_layers
        some_layers = isinstance(method, spec.Custom) or (isinstance(method, spec.LlamaAdapter) and method.layers > 0)
        if depth <= SHALLOW + 1 or some_layers or not shapes.can_be_shallower(config):
            return of(config)
        low, high = (of(shapes.shallower(config, layers)) for layers in (SHALLOW, SHALLOW + 1))
        return low.deeper(high, depth - SHALLOW)

    def passed(self, through: Callable[..., Pass], sizes: Sizes, **how: Any) -> Pass:
        """A pass of `tracing` through the model with the method on it."""
        how |= {"autocast": None if self.dtype == torch.float32 else self.dtype, "device": self.device}

        def passed(config: PretrainedConfig) -> Pass:
            def make() -> nn.Module:
                return shapes.attach(shapes.build(config, self.precision, self.dtype), self.method)

            return through(make, sizes, vocabulary=config.vocab_size, **how)

        return self.deepened(passed)


@dataclass(frozen=True)
class _Static(Deepening):
    """What is there all the time, in bytes but where said."""

    weights: int
    loaded: int  # weights before a method is attached
    adapter: int
    trainable: int  # numbers
    states: int  # of the optimizer
    step: int  # of which it holds more while it steps
    unpacked: int  # numbers of the largest quantized layer


@dataclass(frozen=True)
class _Generated:
    cache: int
    peak: int  # the cache included
    logits: int


def predict(
    model: str,
    method: spec.Method,
    precision: str = "fp32",
    *,
    training: spec.Training | None = None,
    device: str = "cuda",
    **texts: Any,
) -> Prediction:
    """Predicts what a run on one device will need, with `texts` as in `Texts`: at least `batch` and `length`.

    We read the optimizer, gradient checkpointing and whether steps accumulate in `training` (None: its defaults).
    Raises ValueError for what cannot be, ConnectionError if the configuration has to come from the Hub and cannot,
    ImportError without torchao for its precisions.
    """
    one_of(*spec.PRECISIONS).check("precision", precision)
    one_of(*DEVICES).check("device", device)
    if precision == "fp16" and device == "cpu":
        raise ValueError("precision fp16 needs a GPU: take fp32 or bf16 on a CPU")
    sizes = Texts(**texts)
    training = training or spec.Training(batch_size=sizes.batch, device_batch=sizes.batch)
    _check_method(method, precision, training)
    rows = Sizes(sizes.batch, sizes.length, sizes.answer_tokens or sizes.new_tokens)
    prompts = Sizes(sizes.generation_batch or sizes.batch, sizes.prompt_length or sizes.length, sizes.new_tokens)
    config = shapes.configuration(model)
    setup = Setup(config.to_json_string(use_diff=False), method, precision, device)
    accumulates = training.batch_size > sizes.batch
    with _explained(method, config):
        static = _static(setup, "adamw_torch" if isinstance(method, spec.LoraFa) else training.optimizer)
        generated = _generate(setup, prompts, sizes.beams)
        trained = _train(setup, rows, training.gradient_checkpointing, accumulates) if method.trained else None
    return _composed(setup, static, trained, generated)


def least_bytes(model: str, method: spec.Trained, precision: str, *, device: str = "cuda") -> int:
    """What training needs however it is done: the model as it is loaded, then with adapter and gradients. Quick."""
    _check_method(method, precision, spec.Training())
    config = shapes.configuration(model)
    with _explained(method, config):
        static = _static(Setup(config.to_json_string(use_diff=False), method, precision, device), "sgd")
    return max(static.loaded, static.weights + static.adapter + FP32 * static.trainable)


def compute_dtype(precision: str, device: str) -> torch.dtype:
    """What a model of that precision computes in on such a device: bf16 or its like over quantized weights on a GPU."""
    return models.DTYPES.get(precision) or (torch.bfloat16 if device == "cuda" else torch.float32)


def _check_method(method: spec.Method, precision: str, training: spec.Training) -> None:
    if precision in spec.TORCHAO:
        models.require_torchao(precision)
    if training.optimizer not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise ValueError(f"optimizer must be one of {known}, whose states are known; got {training.optimizer!r}")
    if isinstance(method, spec.FullTuning) and precision in spec.QUANTIZED:
        raise ValueError(f"full trains every weight, and {precision} weights cannot be trained: take fp32 or bf16")
    if isinstance(method, spec.Trained) and training.gradient_checkpointing and not methods.keeps_checkpointing(method):
        raise ValueError(f"{method.kind} cannot be trained with gradient_checkpointing: switch it off")


@lru_cache(maxsize=64)  # a plan asks for the same with other sizes
def _static(setup: Setup, optimizer: str) -> _Static:
    method = setup.method

    def counted(config: PretrainedConfig) -> _Static:
        base = shapes.build(config, setup.precision, setup.dtype)
        loaded, unpacked = _bytes(base), shapes.largest_quantized(base)
        attached = shapes.attach(base, method)
        trained = [weight.shape for weight in attached.parameters() if weight.requires_grad]
        weights = _bytes(attached) if isinstance(method, spec.FullTuning) else loaded  # trained weights are fp32
        states = state_bytes(optimizer, trained, device=setup.device)
        if isinstance(method, spec.AdaLora):  # three numbers for each of its own, by which it prunes
            states += 3 * FP32 * methods.trainable_parameters(attached)
        return _Static(
            weights=weights,
            loaded=loaded,
            adapter=_bytes(attached) - weights,
            trainable=sum(shape.numel() for shape in trained),
            states=states,
            step=step_bytes(optimizer, trained, device=setup.device),
            unpacked=unpacked,
        )

    return setup.deepened(counted)


def _bytes(model: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in shapes.tensors(model))


@lru_cache(maxsize=64)
def _train(setup: Setup, rows: Sizes, checkpointing: bool, accumulates: bool) -> Pass:
    return setup.passed(tracing.train, rows, checkpointing=checkpointing, accumulates=accumulates)


@lru_cache(maxsize=64)
def _generate(setup: Setup, sizes: Sizes, beams: int) -> _Generated:
    """Bytes of `generate.completions` for one batch, without the model."""
    config, rows, virtual = setup.config, sizes.batch * beams, isinstance(setup.method, VIRTUAL)
    stepping = replace(setup, method=spec.ZeroShot()) if virtual else setup  # virtual tokens are read before the first
    step = stepping.passed(tracing.read, Sizes(rows, 1, 1))
    scores = rows * config.vocab_size * FP32 * (SCORED if beams > 1 and config.is_encoder_decoder else GREEDY)
    if beams > 1 and not config.is_encoder_decoder:
        prompt = setup.passed(tracing.read, Sizes(sizes.batch, sizes.length, 1))
        return _searched(prompt, step, scores, sizes, beams, copied=virtual)
    begun = rows if virtual else sizes.batch  # PEFT reads the prompt of its virtual tokens once a beam
    prompt = setup.passed(tracing.read, Sizes(begun, sizes.length, 1))
    full = prompt.growing * rows // begun * (prompt.tokens + sizes.answer) // prompt.tokens
    full += prompt.fixed * rows // begun
    # A prompt that is read once stays next to the cache of its beams, into which it is copied layer by layer; that of
    # PEFT and of encoder-decoders is copied to grow.
    own = virtual or config.is_encoder_decoder
    cache = full if own else prompt.growing + full
    moved = (full if own else prompt.growing * beams) // config.num_hidden_layers
    last = max(moved, max(step.peaks.values()), scores)
    return _Generated(cache, max(*prompt.peaks.values(), cache + last), max(scores, prompt.logits))


def _searched(prompt: Pass, step: Pass, scores: int, sizes: Sizes, beams: int, *, copied: bool) -> _Generated:
    """Beam search, whose beams share the prompt; `copied` is what PEFT has read, into a cache with room for them."""
    cache = prompt.growing * (prompt.tokens + beams * (sizes.answer - 1)) // prompt.tokens
    reading = max(prompt.peaks.values()) + (0 if copied else cache - prompt.growing)
    copying = prompt.growing + cache if copied else 0
    peak = max(reading, copying, cache + max(*step.peaks.values(), scores))
    return _Generated(cache, peak, max(scores, prompt.logits))


def _composed(setup: Setup, static: _Static, trained: Pass | None, generated: _Generated) -> Prediction:
    stays = static.weights + static.adapter
    gradients = static.trainable * FP32
    phases: dict[str, int] = {}
    if trained:
        # `train.fit` keeps the best weights so far in the host's memory, which on a CPU is the same.
        stays_in_training = stays + static.states + (gradients if setup.device == "cpu" else 0)
        phases = {stage: stays_in_training + peak for stage, peak in trained.peaks.items()}
        phases["optimizer"] = stays_in_training + gradients + static.step
    return Prediction(
        weights_bytes=static.weights,
        adapter_bytes=static.adapter,
        gradients_bytes=gradients if trained else 0,
        optimizer_bytes=static.states if trained else 0,
        activations_bytes=trained.activations if trained else 0,
        logits_bytes=max(trained.logits if trained else 0, generated.logits),
        cache_bytes=generated.cache,
        load_peak_bytes=static.loaded + static.unpacked * setup.dtype.itemsize,
        train_peak_bytes=max(phases.values(), default=None),
        generate_peak_bytes=stays + generated.peak,
        trainable_parameters=static.trainable if trained else 0,
        train_peak_at=max(phases, key=lambda stage: phases[stage], default=None),
    )


@contextmanager
def _explained(method: spec.Method, config: PretrainedConfig) -> Iterator[None]:
    """Quiet, and with one sentence where the method cannot be attached to such a model."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as problem:  # PEFT and torch fail in many ways
        sentence = str(problem).strip().split("\n")[0].split(". ")[0].rstrip(".")
        raise ValueError(
            f"memory of {method.kind} on a model of type {config.model_type} cannot be predicted: {sentence}"
        ) from problem


# --- optimizers of transformers' TrainingArguments, by what their states take of a tensor's shape ---------------------


def _two_moments(shape: torch.Size) -> int:
    return 2 * shape.numel() * FP32


def _factored(shape: torch.Size) -> int:
    """Adafactor keeps sums over rows and columns."""
    if len(shape) < 2:
        return shape.numel() * FP32
    return (shape[:-1].numel() + (shape[:-2] + shape[-1:]).numel()) * FP32


def _two_bytes(shape: torch.Size) -> int:
    if shape.numel() < SMALLEST_8BIT:
        return _two_moments(shape)
    return 2 * (shape.numel() + -(-shape.numel() // BLOCK) * FP32)


OPTIMIZERS: dict[str, Callable[[torch.Size], int]] = {
    "adamw_torch": _two_moments,
    "adamw_torch_fused": _two_moments,
    "adafactor": _factored,
    "adamw_8bit": _two_bytes,
    "adamw_bnb_8bit": _two_bytes,
    "paged_adamw": _two_moments,
    "paged_adamw_32bit": _two_moments,
    "paged_adamw_8bit": _two_bytes,
    "sgd": lambda shape: 0,
}
ALL_AT_ONCE, ONE_BY_ONE = ("adamw_torch",), ("adafactor",)  # that copy tensors while they step, on a GPU


def state_bytes(optimizer: str, shapes: list[torch.Size], *, device: str) -> int:
    """Bytes of the states on the device; large paged ones move from a GPU to the host where its memory is short."""
    moves = optimizer.startswith("paged") and device == "cuda"
    return sum(OPTIMIZERS[optimizer](shape) for shape in shapes if not (moves and shape.numel() >= SMALLEST_PAGED))


def step_bytes(optimizer: str, shapes: list[torch.Size], *, device: str) -> int:
    """The most that a step holds besides the states: copies of one tensor at a time, or of all of them at once."""
    sizes = [shape.numel() * FP32 for shape in shapes]
    if device == "cuda" and optimizer in ALL_AT_ONCE:
        return sum(sizes)
    if device == "cuda" and optimizer not in ONE_BY_ONE:
        return 0
    # Two copies of a tensor, while the last one of the tensor before is not let go yet.
    return max((before + 2 * size for before, size in zip([0, *sizes], sizes, strict=False)), default=0)

"""Bytes that loading, training and generating will need, from a model's configuration alone. Loads no weights."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from nblib import methods, models, spec
from nblib.memory import optimizers, shapes, tracing
from nblib.memory.tracing import Deepening, Pass, Sizes

DEVICES = ("cuda", "cpu")
SHALLOW = 3  # layers of the model that is tried: a first, a last, one between; one more tells what each further adds
SCORED, GREEDY = 4, 2  # tensors over the vocabulary, in fp32, held for every row: transformers' beam search, without
FP32 = 4  # bytes
VIRTUAL = spec.PromptTuning | spec.PrefixTuning | spec.PTuning  # their cache is PEFT's


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
    temporary_bytes: int  # the largest quantized layer, unpacked
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
    batch: int,
    length: int,
    training: spec.Training | None = None,
    answer_tokens: int | None = None,
    beams: int = 1,
    new_tokens: int = 64,
    prompt_length: int | None = None,
    generation_batch: int | None = None,
    device: str = "cuda",
) -> Prediction:
    """What a run on one device will need.

    `batch` rows of `length` tokens are trained on in a pass, of which the optimizer, gradient checkpointing and whether
    steps accumulate are read in `training` (None: its defaults).
    `answer_tokens` are the tokens of a row that a loss is taken from, its code and the end token: there are logits of
    so many. In a decoder they are the last ones of its `length`, and a number above that counts as all of it; an
    encoder-decoder writes them beside its `length`. None stands for `new_tokens`: rows whose code is as long as the
    longest answer that may be generated, which is too much rather than too little.
    Prompts of `prompt_length` (None: `length`) are answered `generation_batch` (None: `batch`) at a time with `beams`,
    each answer being of `new_tokens`.
    Raises ValueError for what cannot be, ConnectionError where the configuration has to come from the Hub and cannot.
    """
    sizes = Sizes(batch, length, new_tokens if answer_tokens is None else answer_tokens)
    asked = Sizes(
        batch if generation_batch is None else generation_batch,
        length if prompt_length is None else prompt_length,
        new_tokens,
    )
    _check(precision, device, beams, sizes, asked)
    training = training or spec.Training(batch_size=batch, device_batch=batch)
    _check_method(method, precision, training)
    config = shapes.configuration(model)
    what = (_text(config), method, precision, device)
    with _explained(method, config):
        static = _static(*what, training.optimizer)
        generated = _generate(*what, asked, beams)
        trained = None
        if method.trained:
            trained = _train(*what, sizes, training.gradient_checkpointing, training.batch_size > batch)
    return _composed(static, trained, generated, compute_dtype(precision, device), device)


def least_bytes(model: str, method: spec.Trained, precision: str, *, device: str = "cuda") -> int:
    """What training needs however it is done: the model as it is loaded, then with adapter and gradients. Quick."""
    _check_method(method, precision, spec.Training())
    config = shapes.configuration(model)
    with _explained(method, config):
        static = _static(_text(config), method, precision, device, "sgd")
    return max(static.loaded, static.weights + static.adapter + FP32 * static.trainable)


def _text(config: PretrainedConfig) -> str:
    return config.to_json_string(use_diff=False)


def compute_dtype(precision: str, device: str) -> torch.dtype:
    """What a model of that precision computes in on such a device: bf16 or its like over quantized weights on a GPU."""
    return models.DTYPES.get(precision) or (torch.bfloat16 if device == "cuda" else torch.float32)


def _check(precision: str, device: str, beams: int, sizes: Sizes, asked: Sizes) -> None:
    if precision not in spec.PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(spec.PRECISIONS)}; got {precision!r}")
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}; got {device!r}")
    if precision == "fp16" and device == "cpu":
        raise ValueError("precision fp16 needs a GPU: take fp32 or bf16 on a CPU")
    numbers = {
        "batch": sizes.batch,
        "length": sizes.length,
        "beams": beams,
        "new_tokens": asked.answer,
        "answer_tokens": sizes.answer,
        "prompt_length": asked.length,
        "generation_batch": asked.batch,
    }
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1 on; got {value!r}")


def _check_method(method: spec.Method, precision: str, training: spec.Training) -> None:
    optimizers.get(training.optimizer)
    if isinstance(method, spec.FullTuning) and precision in spec.QUANTIZED:
        raise ValueError(f"full trains every weight, and {precision} weights cannot be trained: take fp32 or bf16")
    if isinstance(method, spec.Trained) and training.gradient_checkpointing and not methods.keeps_checkpointing(method):
        raise ValueError(f"{method.kind} cannot be trained with gradient_checkpointing: switch it off")


@lru_cache(maxsize=64)  # a plan asks for the same with other sizes
def _static(configuration: str, method: spec.Method, precision: str, device: str, optimizer: str) -> _Static:
    dtype = compute_dtype(precision, device)

    def counted(config: PretrainedConfig) -> _Static:
        base = shapes.build(config, precision, dtype)
        loaded, unpacked = _bytes(base), shapes.largest_quantized(base)
        attached = shapes.attach(base, method)
        trained = [each.shape for each in attached.parameters() if each.requires_grad]
        weights = _bytes(attached) if isinstance(method, spec.FullTuning) else loaded  # trained weights are fp32
        return _Static(
            weights=weights,
            loaded=loaded,
            adapter=_bytes(attached) - weights,
            trainable=sum(shape.numel() for shape in trained),
            states=optimizers.state_bytes(optimizer, trained, device=device) + _importance(method, attached),
            step=optimizers.step_bytes(optimizer, trained, device=device),
            unpacked=unpacked,
        )

    return _deepened(configuration, method, counted)


def _importance(method: spec.Method, attached: nn.Module) -> int:
    """AdaLoRA keeps three numbers for each of its own, by which it prunes."""
    return 3 * FP32 * methods.trainable_parameters(attached) if isinstance(method, spec.AdaLora) else 0


def _bytes(model: nn.Module) -> int:
    return sum(each.nbytes for each in shapes.tensors(model))


def _deepened(configuration: str, method: spec.Method, of: Callable[[PretrainedConfig], Any]) -> Any:
    """What `of` says of the model, from two shallow ones where all its layers are alike and the method takes all."""
    config = AutoConfig.for_model(**json.loads(configuration))
    depth = config.num_hidden_layers
    some_layers = isinstance(method, spec.Custom) or (isinstance(method, spec.LlamaAdapter) and method.layers > 0)
    if depth <= SHALLOW + 1 or some_layers or not shapes.can_be_shallower(config):
        return of(config)
    low, high = (of(shapes.shallower(config, layers)) for layers in (SHALLOW, SHALLOW + 1))
    return low.deeper(high, depth - SHALLOW)


def _passed(
    through: Callable[..., Pass], configuration: str, method: spec.Method, precision: str, device: str, *sizes: Any
) -> Pass:
    """A pass of `tracing` through the model with the method on it."""
    dtype = compute_dtype(precision, device)
    autocast = None if dtype == torch.float32 else dtype

    def passed(config: PretrainedConfig) -> Pass:
        def make() -> nn.Module:
            return shapes.attach(shapes.build(config, precision, dtype), method)

        return through(make, *sizes, autocast=autocast, device=device, vocabulary=config.vocab_size)

    return _deepened(configuration, method, passed)


@lru_cache(maxsize=64)
def _train(
    configuration: str,
    method: spec.Method,
    precision: str,
    device: str,
    sizes: Sizes,
    checkpointing: bool,
    accumulates: bool,
) -> Pass:
    through = partial(tracing.train, checkpointing=checkpointing, accumulates=accumulates)
    return _passed(through, configuration, method, precision, device, sizes)


@lru_cache(maxsize=64)
def _generate(
    configuration: str, method: spec.Method, precision: str, device: str, asked: Sizes, beams: int
) -> _Generated:
    """Bytes of `generate.completions` for one batch, without the model."""

    def read(rows: int, length: int, method: spec.Method = method) -> Pass:
        return _passed(tracing.read, configuration, method, precision, device, Sizes(rows, length, 1))

    config = AutoConfig.for_model(**json.loads(configuration))
    rows, virtual = asked.batch * beams, isinstance(method, VIRTUAL)
    step = read(rows, 1, spec.ZeroShot() if virtual else method)  # virtual tokens are read before the first only
    if beams > 1 and not config.is_encoder_decoder:
        return _searched(read(asked.batch, asked.length), step, config, asked, beams, copied=virtual)
    begun = rows if virtual else asked.batch  # PEFT reads the prompt of its virtual tokens once a beam
    prompt = read(begun, asked.length)
    scores = rows * config.vocab_size * FP32 * (SCORED if beams > 1 else GREEDY)
    full = prompt.growing * rows // begun * (prompt.tokens + asked.answer) // prompt.tokens
    full += prompt.fixed * rows // begun
    # A prompt that is read once stays beside the cache of its beams, into which it is copied layer by layer; that of
    # PEFT and of encoder-decoders is copied to grow.
    own = virtual or config.is_encoder_decoder
    cache = full if own else prompt.growing + full
    moved = (full if own else prompt.growing * beams) // config.num_hidden_layers
    last = max(moved, max(step.peaks.values()), scores)
    return _Generated(cache, max(*prompt.peaks.values(), cache + last), max(scores, prompt.logits))


def _searched(
    prompt: Pass, step: Pass, config: PretrainedConfig, asked: Sizes, beams: int, *, copied: bool
) -> _Generated:
    """Beam search, whose beams share the prompt; `copied` is what PEFT has read, into a cache with room for them."""
    cache = prompt.growing * (prompt.tokens + beams * (asked.answer - 1)) // prompt.tokens
    scores = asked.batch * beams * config.vocab_size * FP32 * GREEDY
    reading = max(prompt.peaks.values()) + (0 if copied else cache - prompt.growing)
    copying = prompt.growing + cache if copied else 0
    return _Generated(
        cache, max(reading, copying, cache + max(*step.peaks.values(), scores)), max(scores, prompt.logits)
    )


def _composed(
    static: _Static, trained: Pass | None, generated: _Generated, dtype: torch.dtype, device: str
) -> Prediction:
    stays = static.weights + static.adapter
    unpacked = static.unpacked * dtype.itemsize
    gradients = static.trainable * FP32
    phases = {}
    if trained:
        # `train.fit` keeps the best weights so far in the host's memory, which on a CPU is the same.
        stays_in_training = stays + static.states + (gradients if device == "cpu" else 0)
        phases = {stage: stays_in_training + peak for stage, peak in trained.peaks.items()}
        phases["optimizer"] = stays_in_training + gradients + static.step
    return Prediction(
        weights_bytes=static.weights,
        adapter_bytes=static.adapter,
        gradients_bytes=gradients if trained else 0,
        optimizer_bytes=static.states if trained else 0,
        activations_bytes=trained.activations if trained else 0,
        logits_bytes=max(trained.logits if trained else 0, generated.logits),
        temporary_bytes=unpacked,
        cache_bytes=generated.cache,
        load_peak_bytes=static.loaded + unpacked,
        train_peak_bytes=max(phases.values()) if phases else None,
        generate_peak_bytes=stays + generated.peak,
        trainable_parameters=static.trainable if trained else 0,
        train_peak_at=max(phases, key=lambda stage: phases[stage]) if phases else None,
    )


@contextmanager
def _explained(method: spec.Method, config: PretrainedConfig) -> Iterator[None]:
    """Quiet, and with one sentence where the method cannot be attached to such a model."""
    logger = logging.getLogger("bitsandbytes.autograd._functions")  # tells of a cast at every layer
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ConnectionError:
        raise
    except Exception as problem:  # PEFT and torch fail in many ways
        sentence = str(problem).strip().split("\n")[0].split(". ")[0].rstrip(".")
        raise ValueError(
            f"memory of {method.kind} on a model of type {config.model_type} cannot be predicted: {sentence}"
        ) from problem
    finally:
        logger.setLevel(level)

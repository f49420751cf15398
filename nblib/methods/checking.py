"""Refuse what cannot work before any weights are loaded, from a model's configuration alone. Attaches only on trial."""

import json
from functools import lru_cache

import bitsandbytes
import peft
import torch
from peft.tuners.adaption_prompt.config import TRANSFORMERS_MODEL_CONFIG
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel

from nblib import models, spec
from nblib.methods import targets
from nblib.methods.attaching import config as peft_config
from nblib.methods.attaching import keeps_checkpointing, made_ready
from nblib.methods.detaching import remember

ANY_STEPS = 100  # of training; AdaLoRA wants to know how many, and a trial has none
TRIAL_WIDTH = 64  # of a quantized layer: one block of constants


def check(method: spec.Method, model: str, precision: str, *, training: spec.Training | None = None) -> None:
    """Raises ValueError with one sentence where this method cannot be attached to this model, or trained so.

    `model` is a short key, Hub id or folder, of which only the configuration is read. `training` may keep gradient
    checkpointing only where `keeps_checkpointing` says so.
    """
    if not isinstance(method, spec.Trained):
        return
    if isinstance(method, spec.FullTuning):
        if precision in spec.QUANTIZED:
            raise ValueError(f"full trains every weight, and {precision} weights cannot be trained: take fp32 or bf16")
        return
    if training and training.gradient_checkpointing and not keeps_checkpointing(method):
        raise ValueError(
            f"{method.kind} cannot be trained with gradient_checkpointing, which would compute its prefix anew: "
            "switch it off"
        )
    tree = _tree(models.config(model).to_json_string(), precision in spec.QUANTIZED)
    _sizes(method, tree)
    _virtual_tokens(method, models.context_length(model))
    with torch.random.fork_rng():  # what tuners draw is nothing to the caller
        if isinstance(method, spec.Custom) and precision in spec.QUANTIZED:
            _over_quantized(method, precision)
        _trial(method, tree)


@lru_cache(maxsize=4)  # a comparison has one or two models, and a 7B model's tree takes a second
def _tree(configuration: str, quantized: bool) -> PreTrainedModel:
    """The model's modules without weights."""
    values = json.loads(configuration)
    config: PreTrainedConfig = AutoConfig.for_model(**values)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        tree = kind.from_config(config).requires_grad_(False)
        if quantized:
            _straighten(tree)
    return tree


def _straighten(tree: PreTrainedModel) -> None:
    """GPT-2's Conv1D as the linear layers that quantizing makes of them."""
    for path, module in list(tree.named_modules()):
        if targets.is_transposed(module):
            parent, _, name = path.rpartition(".")
            setattr(tree.get_submodule(parent), name, nn.Linear(module.nx, module.nf).requires_grad_(False))


def _sizes(method: spec.Trained, tree: PreTrainedModel) -> None:
    """What the sizes of layers and their number do not allow; PEFT would adapt the setting, or fail obscurely."""
    names = targets.chosen(tree, method.targets) if hasattr(method, "targets") else []
    rank = getattr(method, "initial_r", getattr(method, "r", 0))
    for path, (inputs, outputs) in targets.sizes(tree, names).items():
        if not isinstance(method, spec.Vera | spec.Oft) and rank > min(inputs, outputs):
            raise ValueError(
                f"the rank of {method.kind} must be at most {min(inputs, outputs)}, the smaller side of {path}; "
                f"got {rank}"
            )
        if isinstance(method, spec.Oft) and inputs % method.block_size:
            raise ValueError(
                f"block_size must divide the {inputs} inputs of {path}, as {_divisors(inputs)} do; "
                f"got {method.block_size}"
            )
    if isinstance(method, spec.Oft) and any(map(targets.is_transposed, tree.modules())):
        raise ValueError(f"oft needs plain linear layers, and {_type(tree)} stores its weights transposed: take lora")
    if isinstance(method, spec.LnTuning) and not targets.norms(tree):
        raise ValueError(f"ln-tuning trains normalization layers, and {_type(tree)} has none with weights: take lora")
    if isinstance(method, spec.LlamaAdapter):
        _llama_adapter(method, tree)


def _llama_adapter(method: spec.LlamaAdapter, tree: PreTrainedModel) -> None:
    if _type(tree) not in TRANSFORMERS_MODEL_CONFIG:
        raise ValueError(
            f"llama-adapter is made for models of type {', '.join(TRANSFORMERS_MODEL_CONFIG)}; got {_type(tree)}: "
            "take prefix-tuning, which is nearest to it"
        )
    if method.layers > tree.config.num_hidden_layers:
        raise ValueError(
            f"layers must be at most the {tree.config.num_hidden_layers} that the model has; got {method.layers}"
        )


def _virtual_tokens(method: spec.Trained, context: int) -> None:
    virtual = getattr(method, "virtual_tokens", 0)
    if virtual >= context:
        raise ValueError(f"virtual_tokens must leave room in the model's {context} tokens of context; got {virtual}")


def _over_quantized(method: spec.Custom, precision: str) -> None:
    """Tries the method on one layer of such weights: many of PEFT's tuners take their packed bytes for numbers."""
    values = json.loads(method.config)
    if not hasattr(made := peft.PeftConfig.from_peft_type(**values), "target_modules") or made.is_prompt_learning:
        return
    made = peft.PeftConfig.from_peft_type(**values | {"target_modules": ["layer"]})
    try:
        tried = peft.get_peft_model(_quantized_layer(precision), made)
        tried(torch.ones(2, TRIAL_WIDTH)).sum().backward()
    except Exception as problem:  # each tuner fails in its own way
        raise ValueError(
            f"{method.name} does not work over {precision} weights ({_first_sentence(problem)}): "
            "take fp32, bf16 or lora"
        ) from problem


def _quantized_layer(precision: str) -> nn.Module:
    """One linear layer on the CPU; the model around it says how it is held, which is what tuners ask for."""
    eight = precision == "int8"
    model = nn.Sequential()
    if eight:
        model.layer = bitsandbytes.nn.Linear8bitLt(TRIAL_WIDTH, TRIAL_WIDTH, has_fp16_weights=False)
    else:
        model.layer = bitsandbytes.nn.Linear4bit(TRIAL_WIDTH, TRIAL_WIDTH, quant_type=precision[:3])
        model.layer.support_avx512bf16_for_cpu = False  # as in models.load
    model.is_loaded_in_8bit, model.is_loaded_in_4bit = eight, not eight
    return model.to("cpu").requires_grad_(False)


def _trial(method: spec.Trained, tree: PreTrainedModel) -> None:
    """Attaches it to the modules without weights, and computes a forward pass of shapes."""
    tokens = torch.ones((1, 2), dtype=torch.long, device="meta")
    inputs = {"input_ids": tokens} | ({"decoder_input_ids": tokens} if tree.config.is_encoder_decoder else {})
    before, can_compute = remember(tree), _can_compute(tree, inputs)
    try:
        with torch.device("meta"), made_ready(tree):
            attached = peft.get_peft_model(tree, peft_config(tree, method, steps=ANY_STEPS))
            if can_compute:
                attached(**inputs)
    except Exception as problem:  # PEFT and torch fail in many ways
        if not _wants_values(problem):
            raise ValueError(
                f"{spec.label(method)} cannot be attached to a model of type {_type(tree)}: {_first_sentence(problem)}"
            ) from problem
    finally:
        before.restore()


def _can_compute(tree: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> bool:
    """Whether the bare model can; else a failure says nothing about the method."""
    try:
        tree(**inputs)
    except Exception:  # some look at values, some call kernels of their own
        return False
    return True


def _wants_values(problem: Exception) -> bool:
    """Whether a tuner looked at values, which are not there: that can only be tried with weights."""
    return isinstance(problem, RuntimeError) and "meta" in str(problem).lower()


def _divisors(number: int) -> str:
    return ", ".join(str(each) for each in range(2, min(number, 128) + 1) if number % each == 0)


def _type(tree: PreTrainedModel) -> str:
    return tree.config.model_type


def _first_sentence(problem: Exception) -> str:
    return str(problem).strip().split("\n")[0].split(". ")[0].rstrip(".") or type(problem).__name__

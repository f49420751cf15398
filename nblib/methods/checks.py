"""Refuse what cannot work before any weights are loaded, from a model's configuration alone. Attaches only on trial."""

import copy
import warnings
from collections import OrderedDict
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import bitsandbytes
import peft
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from nblib import models, spec
from nblib.methods import initializing, targets
from nblib.methods.attaching import attach, config, custom_config
from nblib.methods.base import checksum, detach, quiet

ANY_STEPS = 100  # of training; AdaLoRA wants to know how many, and a trial has none
TRIAL_WIDTH = 64  # of a quantized layer: one block of constants


def check(method: spec.Method, model: str, precision: str, *, trust_remote_code: bool = False) -> None:
    """Raises ValueError with one sentence where this method cannot be attached to this model.

    `model` is a short key, Hub id or folder, of which only the configuration is read.
    """
    if not isinstance(method, spec.Trained):
        return
    quantized = precision in spec.QUANTIZED
    if isinstance(method, spec.FullTuning):
        if quantized:
            raise ValueError(f"full trains every weight, and {precision} weights cannot be trained: take fp32 or bf16")
        return
    tree = _tree(model, quantized, trust_remote_code)
    _check_sizes(method, tree, models.context_length(tree.config))
    with torch.random.fork_rng():  # what tuners draw is nothing to the caller
        _check_reading(method, tree, precision)
        on_linear_layers = _try(method, tree)
        if on_linear_layers and (isinstance(method, spec.Custom) or hasattr(method, "targets")):
            _try_on_a_layer(method, tree, precision)


@lru_cache(maxsize=4)
def _tree(model: str, quantized: bool, trust_remote_code: bool) -> PreTrainedModel:
    """The model's modules without weights, GPT-2's Conv1D as the linear layers that quantizing makes of them."""
    tree = models.tree(model, trust_remote_code)
    transposed = [path for path, layer in tree.named_modules() if quantized and isinstance(layer, Conv1D)]
    tree = copy.deepcopy(tree) if transposed else tree
    for path in transposed:
        (parent, _, name), layer = path.rpartition("."), tree.get_submodule(path)
        linear = nn.Linear(layer.nx, layer.nf, device="meta").requires_grad_(False)
        setattr(tree.get_submodule(parent), name, linear)
    return tree


def _check_sizes(method: spec.Trained, tree: PreTrainedModel, context: int) -> None:
    """What PEFT would take, and adapt the setting or fail obscurely later."""
    names = targets.chosen(tree, method.targets) if hasattr(method, "targets") else []
    rank = 0 if isinstance(method, spec.Vera) else getattr(method, "initial_r", getattr(method, "r", 0))
    block = getattr(method, "block_size", 1)
    for path, (inputs, outputs) in targets.sizes(tree, names).items():
        smaller = min(inputs, outputs)
        if rank > smaller:
            raise ValueError(
                f"the rank of {method.kind} must be at most {smaller}, the smaller side of {path}; got {rank}"
            )
        if inputs % block:
            raise ValueError(f"block_size must divide the {inputs} inputs of {path}; got {block}")
    virtual = getattr(method, "virtual_tokens", 0)
    if virtual >= context:
        raise ValueError(f"virtual_tokens must leave room in the model's {context} tokens of context; got {virtual}")


def _check_reading(method: spec.Trained, tree: PreTrainedModel, precision: str) -> None:
    """What a configuration of PEFT asks for and would not get, or that no saved adapter would hold."""
    made = config(tree, method, ANY_STEPS)
    begins, quantized = initializing.initialization(made), precision in spec.QUANTIZED
    if made.peft_type == peft.PeftType.ADALORA and (begins or made.alora_invocation_tokens):
        read = "init_lora_weights" if begins else "alora_invocation_tokens"
        raise ValueError(f"adalora begins and prunes in a way of its own and does not read {read}: take lora with it")
    if made.peft_type == peft.PeftType.CPT:
        raise ValueError("cpt takes its loss from all logits, which training does not keep: take prompt-tuning")
    if begins == "loftq":
        raise ValueError(initializing.refusal(spec.label(method)))
    if begins == "eva" and tree.config.is_encoder_decoder:
        raise ValueError("eva looks at one text a row, and an encoder-decoder reads two: take corda or lora_ga")
    if initializing.from_rows(made) and begins != "eva" and quantized:
        raise ValueError(f"{begins} reads whole weights, and {precision} weights are not: take fp32, bf16 or eva")


def _try_on_a_layer(method: spec.Trained, tree: PreTrainedModel, precision: str) -> None:
    """Tries the method on one layer with values, at its usual sizes.

    Many of PEFT's tuners take the packed bytes of quantized weights for numbers, and some replace the base's weights.
    """
    model, quantized, name = _one_layer(tree, precision), precision in spec.QUANTIZED, spec.label(method)
    if isinstance(method, spec.Custom):
        own: dict[str, Any] = {"target_modules": ["layer"]}
        own |= {"feedforward_modules": []} if "feedforward_modules" in method.config else {}
        made = custom_config(method, **own)
    else:
        made = config(tree, spec.METHODS[method.kind](), ANY_STEPS)
        made.target_modules = {"layer"}
    made.task_type = None  # a layer generates nothing
    if initializing.from_rows(made):
        initializing.plain(made)
    weight, content, address = model.layer.weight, checksum(model.layer.weight), model.layer.weight.data_ptr()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the trial's layer alone
            tried = peft.get_peft_model(model, made)
        tried(2 * torch.ones(1, 2, TRIAL_WIDTH, requires_grad=True)).sum().backward()  # as from a layer below
    except Exception as problem:  # each tuner fails in its own way
        if quantized:
            raise ValueError(
                f"{name} does not work over {precision} weights ({_first_sentence(problem)}): take fp32, bf16 or lora"
            ) from problem
        if made.peft_type == peft.PeftType.LORA and isinstance(problem, RuntimeError):
            raise ValueError(f"{name} fails on layers of this kind: {_first_sentence(problem)}") from problem
        return  # others may want a wider layer
    replaced = all(held is not weight and held.data_ptr() != address for held in tried.parameters())
    if (checksum(weight) != content or (quantized and replaced)) and not initializing.can_be_plain_lora(tried):
        raise ValueError(initializing.refusal(name))


def _one_layer(tree: PreTrainedModel, precision: str) -> nn.Module:
    """A model of one layer of the tree's kind on the CPU, which says how it is held: tuners ask for that."""
    eight = precision.endswith("int8")
    if precision == "int8":
        layer = bitsandbytes.nn.Linear8bitLt(TRIAL_WIDTH, TRIAL_WIDTH, has_fp16_weights=False)
    elif precision in spec.QUANTIZED and precision not in spec.TORCHAO:
        layer = bitsandbytes.nn.Linear4bit(TRIAL_WIDTH, TRIAL_WIDTH, quant_type=precision[:3])
        layer.support_avx512bf16_for_cpu = False  # as in models.load
    elif any(isinstance(module, Conv1D) for module in tree.modules()):
        layer = Conv1D(2 * TRIAL_WIDTH, TRIAL_WIDTH)
    else:
        layer = nn.Linear(TRIAL_WIDTH, 2 * TRIAL_WIDTH)
    model = nn.Sequential(OrderedDict(layer=layer))
    if precision in spec.TORCHAO:  # PEFT asks for how it was quantized
        model.hf_quantizer = SimpleNamespace(quantization_config=models.quantization(precision, torch.float32))
        return models.quantize(model, precision).requires_grad_(False)
    if precision in spec.QUANTIZED:
        model.is_loaded_in_8bit, model.is_loaded_in_4bit = eight, not eight
    return model.to("cpu").requires_grad_(False)


def _try(method: spec.Trained, tree: PreTrainedModel) -> bool:
    """Attaches it to the modules without weights, and computes a forward pass of shapes.

    Whether it changes linear layers, which quantizing packs.
    """
    tokens = torch.ones((1, 2), dtype=torch.long, device="meta")
    inputs = {"input_ids": tokens} | ({"decoder_input_ids": tokens} if tree.config.is_encoder_decoder else {})
    can_compute = _can_compute(tree, inputs)
    try:
        with torch.device("meta"):
            attached = attach(tree, method, None, seed=0, steps=ANY_STEPS)
            try:
                if can_compute:
                    attached(**inputs)
            finally:
                detach(attached)
        # As the saved file gives it; PEFT fills in some settings that it then does not take.
        with quiet():
            peft.PeftConfig.from_peft_type(**attached.peft_config["default"].to_dict())
    except Exception as problem:  # PEFT and torch fail in many ways
        if isinstance(problem, RuntimeError) and "meta" in str(problem).lower():
            return True  # a tuner looked at values, which are not there: that can only be tried with weights
        kind = tree.config.model_type
        raise ValueError(
            f"{spec.label(method)} cannot be attached to a model of type {kind}: {_first_sentence(problem)}"
        ) from problem
    changed = getattr(attached.base_model, "targeted_module_names", [])
    return any(isinstance(tree.get_submodule(name), nn.Linear | Conv1D) for name in changed)


def _can_compute(tree: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> bool:
    """Whether the bare model can; else a failure says nothing about the method."""
    try:
        tree(**inputs)
    except Exception:  # some look at values, some call kernels of their own
        return False
    return True


def _first_sentence(problem: Exception) -> str:
    words = str(problem).strip().split("\n")[0].split(". ")[0].split(": func=")[0]  # of torchao, whose list is long
    return words.rstrip(".") or type(problem).__name__

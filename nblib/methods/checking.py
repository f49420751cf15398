"""Refuse what cannot work before any weights are loaded, from a model's configuration alone. Attaches only on trial."""

import json
import warnings
from collections import OrderedDict
from functools import lru_cache

import bitsandbytes
import peft
import torch
from peft.tuners.adaption_prompt.config import TRANSFORMERS_MODEL_CONFIG
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from nblib import models, spec
from nblib.methods import targets
from nblib.methods.attaching import config as peft_config
from nblib.methods.attaching import custom_config, keeps_checkpointing, made_ready
from nblib.methods.detaching import remember
from nblib.methods.identity import checksum
from nblib.methods.initializing import can_be_plain_lora, from_rows, initialization, plain, refusal, require_whole_ranks

ANY_STEPS = 100  # of training; AdaLoRA wants to know how many, and a trial has none
TRIAL_WIDTH = 64  # of a quantized layer: one block of constants


def check(
    method: spec.Method,
    model: str,
    precision: str,
    *,
    training: spec.Training | None = None,
    trust_remote_code: bool = False,
) -> None:
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
    known = models.config(model, trust_remote_code=trust_remote_code)
    if trust_remote_code:
        tree = _built(known, precision in spec.QUANTIZED, trust_remote_code=True)
    else:
        tree = _tree(known.to_json_string(), precision in spec.QUANTIZED)
    _sizes(method, tree)
    _virtual_tokens(method, models.context_length(model, trust_remote_code=trust_remote_code))
    with torch.random.fork_rng():  # what tuners draw is nothing to the caller
        if isinstance(method, spec.Custom):
            _custom(method, tree, precision)
        _trial(method, tree)


@lru_cache(maxsize=4)  # a comparison has one or two models, and a 7B model's tree takes a second
def _tree(configuration: str, quantized: bool) -> PreTrainedModel:
    """The model's modules without weights."""
    return _built(AutoConfig.for_model(**json.loads(configuration)), quantized)


def _built(config: PreTrainedConfig, quantized: bool, *, trust_remote_code: bool = False) -> PreTrainedModel:
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        tree = kind.from_config(config, trust_remote_code=trust_remote_code).requires_grad_(False)
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


def _custom(method: spec.Custom, tree: PreTrainedModel, precision: str) -> None:
    """What a configuration of PEFT asks for and would not get, or that no saved adapter would hold."""
    made = custom_config(method)
    begins, quantized = initialization(made), precision in spec.QUANTIZED
    if begins and made.peft_type == peft.PeftType.ADALORA:
        raise ValueError(f"adalora begins in a way of its own and does not read init_lora_weights; got {begins!r}")
    if getattr(made, "alora_invocation_tokens", None) and made.peft_type == peft.PeftType.ADALORA:
        raise ValueError("adalora has no layers that alora_invocation_tokens would switch on: take lora with them")
    if from_rows(made) and begins != "eva" and quantized:
        raise ValueError(f"{begins} reads whole weights, and {precision} weights are not: take fp32, bf16 or eva")
    if from_rows(made) and begins == "eva" and tree.config.is_encoder_decoder:
        raise ValueError("eva looks at one text a row, and an encoder-decoder reads two: take corda or lora_ga")
    if made.peft_type == peft.PeftType.CPT:
        raise ValueError("cpt takes its loss from all logits, which training does not keep: take prompt-tuning")
    if begins == "loftq":
        raise ValueError(refusal(method.name))
    if hasattr(made, "target_modules") and not made.is_prompt_learning:
        _on_a_layer(method, _quantized_layer(precision) if quantized else _plain_layer(tree), precision)


def _on_a_layer(method: spec.Custom, model: nn.Module, precision: str) -> None:
    """Tries the method on one layer with values.

    Many of PEFT's tuners take the packed bytes of quantized weights for numbers, and some replace the base's weights.
    """
    made, quantized = custom_config(method, target_modules=["layer"]), precision in spec.QUANTIZED
    made.task_type = None  # a layer generates nothing
    if from_rows(made):
        plain(made)
    weight, before, address = model.layer.weight, checksum(model.layer.weight), model.layer.weight.data_ptr()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the trial's layer alone
            tried = peft.get_peft_model(model, made)
        tried(torch.ones(2, TRIAL_WIDTH)).sum().backward()
    except Exception as problem:  # each tuner fails in its own way
        if quantized:
            raise ValueError(
                f"{method.name} does not work over {precision} weights ({_first_sentence(problem)}): "
                "take fp32, bf16 or lora"
            ) from problem
        if made.peft_type == peft.PeftType.LORA and isinstance(problem, RuntimeError):
            raise ValueError(f"{method.name} fails on layers of this kind: {_first_sentence(problem)}") from problem
        return  # others may want a wider layer
    replaced = all(each is not weight and each.data_ptr() != address for each in tried.parameters())
    if (checksum(weight) != before or (quantized and replaced)) and not can_be_plain_lora(tried):
        raise ValueError(refusal(method.name))


def _plain_layer(tree: PreTrainedModel) -> nn.Module:
    """One layer of the tree's kind, on the CPU."""
    transposed = any(map(targets.is_transposed, tree.modules()))
    layer = Conv1D(2 * TRIAL_WIDTH, TRIAL_WIDTH) if transposed else nn.Linear(TRIAL_WIDTH, 2 * TRIAL_WIDTH)
    return nn.Sequential(OrderedDict(layer=layer)).requires_grad_(False)


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
            require_whole_ranks(attached)
            if can_compute:
                attached(**inputs)
        # As the saved file gives it; PEFT fills in some settings that it then does not take.
        peft.PeftConfig.from_peft_type(**attached.peft_config["default"].to_dict())
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

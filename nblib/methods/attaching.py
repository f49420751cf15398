"""Attach a method to a model: one short function a kind. Checks nothing beforehand."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING
from functools import partial
from typing import Any
from unittest.mock import patch

import peft
import torch
from peft.optimizers import create_lorafa_optimizer, create_loraplus_optimizer
from peft.tuners.lora.config import CordaConfig
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from nblib import spec
from nblib.methods import initializing, targets
from nblib.methods.base import prepared
from nblib.methods.bottleneck import BottleneckConfig
from nblib.methods.initializing import Batch

# Of a PeftConfig: what attaching or PEFT itself fills in.
FILLED_IN = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type")
PRUNING_BEGINS, PRUNING_ENDS = 0.1, 0.75  # shares of all steps between which AdaLoRA prunes
TAKING = spec.Pissa | spec.Corda | spec.Custom  # may begin with a part of the base
CACHED_PREFIX = ("PREFIX_TUNING", "CARTRIDGE")  # PEFT's types that put a cache before the input


def attach(
    model: PreTrainedModel,
    method: spec.Trained,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    seed: int,
    steps: int | None = None,
    batches: Iterable[Batch] = (),
) -> nn.Module:
    """The model with the method's parameters added, and only those trainable.

    Trainable weights are fp32, also over a half-precision base: a loss scaler cannot unscale fp16 gradients.
    `steps` of training in all are read by adalora only, which prunes as they pass; `batches` of training rows only by
    what begins with them or with their tokens. On torch's meta device weights have shapes only, and no tokenizer is
    read.
    `detach` gives the model back.
    """
    torch.manual_seed(seed)  # the adapter's initial weights
    with prepared(model) as before:
        if isinstance(method, spec.FullTuning):
            attached = model.requires_grad_(True)
        else:
            attached = _attached(model, method, tokenizer, steps, batches)
        begun = {}
        if isinstance(method, TAKING) and before.changed():  # a part of the base was taken to begin with
            begun = initializing.taken_from_base(attached, spec.label(method))
    for parameter in attached.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    attached.before, attached.begun, attached.method = before, begun, method
    return attached


def _attached(
    model: PreTrainedModel,
    method: spec.Trained,
    tokenizer: PreTrainedTokenizerBase | None,
    steps: int | None,
    batches: Iterable[Batch],
) -> nn.Module:
    settings, has_values = config(model, method, steps), model.device.type != "meta"
    from_rows = isinstance(method, spec.TrainableTokens) or initializing.from_rows(settings)
    known = list(batches) if from_rows and has_values else []
    if from_rows and has_values and not known:
        raise ValueError(f"{spec.label(method)} begins with training rows, so attach needs batches; got none")
    if isinstance(method, spec.TrainableTokens):
        settings.token_indices = initializing.most_frequent(known, method.tokens) if known else settings.token_indices
    elif from_rows:
        initializing.prepare(model, settings, known)
    attached = peft.get_peft_model(model, settings)
    initializing.require_whole_ranks(attached)
    if known and initializing.initialization(settings) == "eva":
        initializing.initialize_eva(attached, settings, known)
    if has_values and isinstance(method, spec.PromptTuning):
        _start_prompt(attached, method, tokenizer)
    if has_values and isinstance(method, spec.PrefixTuning) and not model.config.is_encoder_decoder:
        # An encoder-decoder's prefix starts at random: PEFT hands each of its pairs to two layers of the decoder.
        text = _filling(method, tokenizer)
        peft.initialize_kv_prefix_from_text(attached, tokenizer, text=text, use_chat_template=False)
    # AdaLoRA's scale, which PEFT lets be trained over a half-precision base; what LoRA-FA's optimizer would freeze.
    frozen = (".ranknum.", ".lora_A.") if isinstance(method, spec.LoraFa) else (".ranknum.",)
    for name, parameter in attached.named_parameters():
        if any(part in name for part in frozen):
            parameter.requires_grad_(False)
    return attached


def after_step(model: nn.Module, step: int) -> None:
    """To be called after each optimizer step, from 1 on, before gradients are set to zero: adalora prunes then."""
    if isinstance(adalora := getattr(model, "base_model", None), peft.AdaLoraModel):
        adalora.update_and_allocate(step)


@contextmanager
def penalty_over(model: nn.Module, batches: int) -> Iterator[None]:
    """Inside, what adalora adds to a loss is a share of it: over the `batches` of an optimizer step it counts once."""
    if not isinstance(adalora := getattr(model, "base_model", None), peft.AdaLoraModel):
        yield
        return
    settings = adalora.peft_config[adalora.trainable_adapter_name]
    with patch.object(settings, "orth_reg_weight", settings.orth_reg_weight / batches):
        yield


def optimizer(
    model: nn.Module, usual: type[torch.optim.Optimizer], settings: dict, *, weight_decay: float
) -> torch.optim.Optimizer | None:
    """The optimizer that is a part of the attached method; None for methods that leave it to the training.

    `usual` is the training's, which takes `settings`, the learning rate `lr` among them: LoRA+ gives it groups with
    rates of their own, and LoRA-FA replaces it.
    """
    method = getattr(model, "method", None)
    if isinstance(method, spec.LoraPlus):
        own = {"loraplus_lr_ratio": method.loraplus_lr_ratio, "loraplus_weight_decay": weight_decay}
        return create_loraplus_optimizer(model, usual, **settings | own)
    if isinstance(method, spec.LoraFa):
        own = {"r": method.r, "lora_alpha": method.alpha, "weight_decay": weight_decay}
        return create_lorafa_optimizer(model, lr=settings["lr"], **own)
    return None


def keeps_checkpointing(method: spec.Trained) -> bool:
    """Whether the method can be trained with gradient checkpointing: a prefix is a cache, which it does without."""
    if isinstance(method, spec.Custom):
        return json.loads(method.config)["peft_type"] not in CACHED_PREFIX
    return not isinstance(method, spec.PrefixTuning)


def trainable_parameters(model: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def custom(config: peft.PeftConfig, *, name: str, learning_rate: float) -> spec.Custom:
    """Makes any PEFT method a method of a run; tables and figures call it `name`.

    We keep only what differs from the config's defaults, so a setting that PEFT adds later changes no run's id.
    """
    kept = {"peft_type": config.peft_type}
    for key, value in config.to_dict().items():
        field = type(config).__dataclass_fields__[key]
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if key not in FILLED_IN and value != default:
            kept[key] = value
    return spec.Custom(json.dumps(kept, sort_keys=True, default=_plain), name=name, learning_rate=learning_rate)


def custom_config(method: spec.Custom, *, task_type: str = "CAUSAL_LM", **settings) -> peft.PeftConfig:
    """The configuration that `custom` was given, with other `settings` in their place."""
    return peft.PeftConfig.from_peft_type(**json.loads(method.config) | {"task_type": task_type} | settings)


def _plain(value) -> list | str:
    """A set, such as names of modules, in one order; anything else by its name."""
    return sorted(value) if isinstance(value, set) else str(value)


# --- a method's settings as PEFT takes them -------------------------------------------------------------------------


def config(model: PreTrainedModel, method: spec.Trained, steps: int | None = None) -> peft.PeftConfig:
    """The method's settings for this model. Raises ValueError for a target that the model does not have."""
    made = _adalora(model, method, steps) if isinstance(method, spec.AdaLora) else CONFIGS[method.kind](model, method)
    made.task_type = "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    return made


def _lora(model: PreTrainedModel, method: spec.LowRank, **variant: Any) -> peft.PeftConfig:
    return peft.LoraConfig(r=method.r, **variant, **_low_rank(model, method))


def _low_rank(model: PreTrainedModel, method: spec.LowRank) -> dict:
    names = targets.chosen(model, method.targets)
    return {"lora_alpha": method.alpha, "lora_dropout": method.dropout, "target_modules": names}


def _adalora(model: PreTrainedModel, method: spec.AdaLora, steps: int | None) -> peft.PeftConfig:
    if steps is None:
        raise ValueError("adalora prunes while it is trained, so attach needs steps, of training in all; got None")
    return peft.AdaLoraConfig(
        init_r=method.initial_r,
        target_r=method.r,
        total_step=steps,
        tinit=int(steps * PRUNING_BEGINS),
        tfinal=steps - int(steps * PRUNING_ENDS),
        deltaT=max(1, steps // 100),  # steps between two prunings
        **_low_rank(model, method),
    )


def _ia3(model: PreTrainedModel, method: spec.Ia3) -> peft.PeftConfig:
    """Keys, values and feed-forward layers, as in the paper; queries too, as in the study."""
    feed_forward = targets.feed_forward_layers(model)
    names = targets.attention_inputs(model) + feed_forward
    return peft.IA3Config(target_modules=names, feedforward_modules=feed_forward)


def _p_tuning(model: PreTrainedModel, method: spec.PTuning) -> peft.PeftConfig:
    sizes = {"num_virtual_tokens": method.virtual_tokens, "encoder_hidden_size": method.hidden_size}
    return peft.PromptEncoderConfig(num_transformer_submodules=1, **sizes)  # as for prompt tuning


def _llama_adapter(model: PreTrainedModel, method: spec.LlamaAdapter) -> peft.PeftConfig:
    layers = method.layers or model.config.num_hidden_layers
    return peft.AdaptionPromptConfig(adapter_len=method.adapter_tokens, adapter_layers=layers)


def _vera(model: PreTrainedModel, method: spec.Vera) -> peft.PeftConfig:
    names = targets.chosen(model, method.targets)
    return peft.VeraConfig(r=method.r, vera_dropout=method.dropout, target_modules=names)


def _randlora(model: PreTrainedModel, method: spec.RandLora) -> peft.PeftConfig:
    named = {"randlora_alpha": method.alpha, "randlora_dropout": method.dropout}
    made = peft.RandLoraConfig(r=method.r, target_modules=targets.chosen(model, method.targets), **named)
    made.save_projection = False  # PEFT would save the random matrices once a layer; it draws them from a seed again
    return made


def _gralora(model: PreTrainedModel, method: spec.GraLora) -> peft.PeftConfig:
    named = {"alpha": method.alpha, "gralora_dropout": method.dropout, "gralora_k": method.k}
    return peft.GraloraConfig(r=method.r, target_modules=targets.chosen(model, method.targets), **named)


def _miss(model: PreTrainedModel, method: spec.Miss) -> peft.PeftConfig:
    names = targets.chosen(model, method.targets)
    return peft.MissConfig(r=method.r, miss_dropout=method.dropout, target_modules=names)


def _trainable_tokens(model: PreTrainedModel, method: spec.TrainableTokens) -> peft.PeftConfig:
    """Of as many tokens; `attach` finds which."""
    count = min(method.tokens, model.get_input_embeddings().num_embeddings)
    return peft.TrainableTokensConfig(token_indices=list(range(count)))


CONFIGS: dict[str, Callable[..., peft.PeftConfig]] = {
    "lora": _lora,
    "rslora": partial(_lora, use_rslora=True),
    "dora": partial(_lora, use_dora=True),
    "loraplus": _lora,
    "lora-fa": _lora,
    "pissa": partial(_lora, init_lora_weights="pissa"),
    "eva": partial(_lora, init_lora_weights="eva", eva_config=peft.EvaConfig()),
    "corda": partial(_lora, init_lora_weights="corda", corda_config=CordaConfig()),
    "gralora": _gralora,
    "randlora": _randlora,
    "miss": _miss,
    "ia3": _ia3,
    # Before an encoder's input only: PEFT would make as many again for a decoder, and not read them.
    "prompt-tuning": lambda _, method: peft.PromptTuningConfig(
        num_virtual_tokens=method.virtual_tokens, num_transformer_submodules=1
    ),
    "prefix-tuning": lambda _, method: peft.PrefixTuningConfig(num_virtual_tokens=method.virtual_tokens),
    "p-tuning": _p_tuning,
    "adapter": lambda _, method: BottleneckConfig(bottleneck=method.bottleneck, placement=method.placement),
    "llama-adapter": _llama_adapter,
    "vera": _vera,
    "oft": lambda model, method: peft.OFTConfig(
        oft_block_size=method.block_size, target_modules=targets.chosen(model, method.targets)
    ),
    "road": lambda model, method: peft.RoadConfig(
        variant=method.variant, group_size=method.group_size, target_modules=targets.chosen(model, method.targets)
    ),
    "trainable-tokens": _trainable_tokens,
    "ln-tuning": lambda model, _: peft.LNTuningConfig(target_modules=targets.norms(model)),
    "peft": lambda _, method: custom_config(method),
}


# --- the initial weights of virtual tokens --------------------------------------------------------------------------


def _start_prompt(attached: nn.Module, method: spec.PromptTuning, tokenizer: PreTrainedTokenizerBase) -> None:
    """PEFT's own text initialisation reads the tokenizer from the Hub again, by name and without our pad token."""
    ids = tokenizer(_filling(method, tokenizer), add_special_tokens=False)["input_ids"][: method.virtual_tokens]
    words = attached.get_input_embeddings().weight
    attached.prompt_encoder["default"].embedding.weight.data = words[torch.tensor(ids, device=words.device)].detach()


def _filling(method: spec.PromptTuning | spec.PrefixTuning, tokenizer: PreTrainedTokenizerBase) -> str:
    """The initial text, repeated until it has at least as many tokens as there are virtual ones."""
    tokens = len(tokenizer(method.initial_text, add_special_tokens=False)["input_ids"])
    return method.initial_text * -(-method.virtual_tokens // tokens)

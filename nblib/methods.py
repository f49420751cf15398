"""Attach a method to a model: one short function a kind. Trains nothing."""

import logging
import warnings
from collections.abc import Callable

logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)  # it misses an optional kernel at import

import peft  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from transformers import PreTrainedModel, PreTrainedTokenizerBase  # noqa: E402

from nblib import spec  # noqa: E402


def attach(model: PreTrainedModel, method: spec.Method, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> nn.Module:
    """The model with the method's parameters added, and only those trainable.

    Trainable weights are fp32, also over a half-precision base: a loss scaler cannot unscale fp16 gradients.
    """
    torch.manual_seed(seed)  # the adapter's initial weights
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)  # PEFT 0.21, transformers 5.23
        attached = _ATTACH[method.kind](model, method, tokenizer)
    for parameter in attached.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return attached


def trainable_parameters(model: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Names of the model's linear layers but the head, without their place in the tree."""
    head = model.get_output_embeddings()
    names = {name.split(".")[-1] for name, module in model.named_modules() if _linear(module) and module is not head}
    return sorted(names)


def feed_forward_layers(model: PreTrainedModel) -> list[str]:
    """Those linear layers whose parent holds no attention: the two or three of each feed-forward block."""
    head = model.get_output_embeddings()
    names = set()
    for name, module in model.named_modules():
        if _linear(module) and module is not head and "attn" not in name and "attention" not in name.lower():
            names.add(name.split(".")[-1])
    return sorted(names)


def _linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _has_transposed_weights(model: PreTrainedModel) -> bool:
    """Whether linear layers are GPT-2's Conv1D."""
    return any(type(module).__name__ == "Conv1D" for module in model.modules())


def _full(model: PreTrainedModel, method: spec.FullTuning, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    return model.requires_grad_(True)


def _lora(model: PreTrainedModel, method: spec.Lora, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=method.r,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        target_modules=linear_layers(model),
        fan_in_fan_out=_has_transposed_weights(model),
    )
    return peft.get_peft_model(model, config)


def _ia3(model: PreTrainedModel, method: spec.Ia3, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    """Keys, values and feed-forward layers, as in the paper; queries too, as in the study."""
    feed_forward = feed_forward_layers(model)
    attention = [name for name in linear_layers(model) if name not in feed_forward and not _is_output(name)]
    config = peft.IA3Config(
        task_type="CAUSAL_LM",
        target_modules=attention + feed_forward,
        feedforward_modules=feed_forward,
        fan_in_fan_out=_has_transposed_weights(model),
    )
    return peft.get_peft_model(model, config)


def _is_output(name: str) -> bool:
    """Whether an attention layer is the projection after the values are mixed."""
    return name in ("o_proj", "out_proj", "c_proj", "dense", "o")


def _prompt_tuning(model: PreTrainedModel, method: spec.PromptTuning, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=method.virtual_tokens)
    attached = peft.get_peft_model(model, config)
    # PEFT's own text initialisation reads the tokenizer from the Hub again, by name and without our pad token.
    ids = tokenizer(_filling(method, tokenizer), add_special_tokens=False)["input_ids"][: method.virtual_tokens]
    initial = model.get_input_embeddings().weight[torch.tensor(ids, device=model.device)].detach().clone()
    attached.prompt_encoder["default"].embedding.weight.data = initial
    return attached


def _prefix_tuning(model: PreTrainedModel, method: spec.PrefixTuning, tokenizer: PreTrainedTokenizerBase) -> nn.Module:
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=method.virtual_tokens)
    attached = peft.get_peft_model(model, config)
    peft.initialize_kv_prefix_from_text(attached, tokenizer, text=_filling(method, tokenizer), use_chat_template=False)
    return attached


def _filling(method: spec.PromptTuning | spec.PrefixTuning, tokenizer: PreTrainedTokenizerBase) -> str:
    """The initial text, repeated until it has at least as many tokens as there are virtual ones."""
    tokens = len(tokenizer(method.initial_text, add_special_tokens=False)["input_ids"])
    return method.initial_text * -(-method.virtual_tokens // tokens)


_ATTACH: dict[str, Callable[..., nn.Module]] = {
    "full": _full,
    "lora": _lora,
    "ia3": _ia3,
    "prompt-tuning": _prompt_tuning,
    "prefix-tuning": _prefix_tuning,
}

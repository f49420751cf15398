"""LoRA's initial weights where they are more than noise: from training rows, or out of the base's own weights.

PEFT computes EVA's, CorDA's and LoRA-GA's only where its own functions are called with data; without them it trains
plain LoRA. What PiSSA, OLoRA, CorDA and LoRA-GA begin with is taken out of the base.
"""

import copy
import warnings
from collections.abc import Iterator

import peft
import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.config import CordaConfig
from peft.tuners.lora.corda import preprocess_corda
from torch import nn
from transformers import PreTrainedModel

from nblib.methods import targets

FROM_ROWS = ("eva", "corda", "lora_ga")
OUT_OF_BASE = ("pissa", "olora", "corda", "lora_ga")
ROWS = 256  # that CorDA and LoRA-GA read, as CorDA's authors do
PASSES = 500  # of EVA, after which its components should have settled

Batch = dict[str, torch.Tensor]  # input_ids, attention_mask and labels of some training rows, padded on the right


def initialization(config: peft.PeftConfig) -> str:
    """What `init_lora_weights` names, such as pissa_niter_4; empty for other tuners and for the usual noise."""
    named = getattr(config, "init_lora_weights", None)
    return named.lower() if isinstance(named, str) else ""


def from_rows(config: peft.PeftConfig) -> bool:
    """Whether the initial weights are computed from training rows."""
    return config.peft_type == peft.PeftType.LORA and initialization(config) in FROM_ROWS


def plain(config: peft.LoraConfig) -> peft.LoraConfig:
    """The configuration, changed to begin with the usual noise."""
    config.init_lora_weights = True
    config.eva_config = config.corda_config = config.lora_ga_config = None
    return config


def most_frequent(batches: list[Batch], count: int) -> list[int]:
    """The tokens that occur most often in what the model reads, in the order of their ids."""
    read = torch.cat([batch["input_ids"][batch["attention_mask"].bool()] for batch in batches])
    tokens, counts = read.unique(return_counts=True)
    return sorted(tokens[counts.argsort(descending=True, stable=True)[:count]].tolist())


def prepare(model: PreTrainedModel, config: peft.LoraConfig, batches: list[Batch]) -> None:
    """Leaves on the bare model's layers what CorDA and LoRA-GA learn from the rows, for PEFT to find there.

    Without rows, where there is nothing to compute from, layers of the same shapes will begin with the usual noise.
    """
    if not batches:
        plain(config)
    if config.target_modules == "all-linear":
        config.target_modules = set(targets.linear_layers(model))
    if initialization(config) == "corda":
        config.corda_config = config.corda_config or CordaConfig()
        preprocess_corda(model, config, run_model=lambda: _read(model, batches))
    if initialization(config) == "lora_ga":
        config.lora_ga_config = config.lora_ga_config or peft.LoraGAConfig()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)  # of the first layers
            peft.preprocess_loraga(model, config, train_step=lambda: _learn(model, batches))


def initialize_eva(attached: peft.PeftModel, config: peft.LoraConfig, batches: list[Batch]) -> None:
    """Gives each layer the directions in which its inputs vary most on the answers, and as many as they deserve."""
    components = round(max([config.r, *config.rank_pattern.values()]) * config.eva_config.rho)
    enough = [batch for batch in batches if int((batch["labels"] >= 0).sum()) >= components]
    if not enough:
        raise ValueError(
            f"eva looks for {components} directions, r times rho, and no batch of training rows has so many tokens of "
            "answers: lower r or rho, or train with more rows at a time (device_batch)"
        )
    passes = iter(range(PASSES))

    def forward(model: nn.Module, batch: Batch) -> None:
        if next(passes, None) is None:
            raise ValueError(f"eva's directions have not settled after {PASSES} batches: lower r, rho or tau")
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])

    peft.initialize_lora_eva_weights(attached, dataloader=enough, forward_fn=forward, show_progress_bar=False)


def _read(model: PreTrainedModel, batches: list[Batch]) -> None:
    """One row at a time, without padding, which CorDA would count as well."""
    named = ("input_ids", "attention_mask", "labels")
    rows = [row for batch in batches for row in zip(*(batch[name] for name in named), strict=True)]
    for ids, mask, labels in rows[:ROWS]:
        inputs = {"input_ids": ids[mask.bool()][None].to(model.device)}
        if model.config.is_encoder_decoder:
            inputs["labels"] = labels[labels >= 0][None].to(model.device)
        model(**inputs)


def _learn(model: PreTrainedModel, batches: list[Batch]) -> None:
    """Gradients of the loss, summed over the batches."""
    seen = 0
    for batch in batches:
        if seen < ROWS:
            model(**{name: values.to(model.device) for name, values in batch.items()}).loss.backward()
        seen += len(batch["input_ids"])


def require_whole_ranks(attached: nn.Module) -> None:
    """Raises ValueError where a layer is too small for its rank: some initializations would make a smaller one."""
    for path, layer in _lora_layers(attached):
        for name, down in layer.lora_A.items():
            rank = len(getattr(down, "weight", down))  # AdaLoRA's is no layer
            if rank != layer.r[name]:
                raise ValueError(f"r must be at most {rank} on {path}; got {layer.r[name]}")


# --- over a base that has lost a part -------------------------------------------------------------------------------


def taken_from_base(attached: peft.PeftModel, name: str) -> dict[str, torch.Tensor]:
    """A copy of LoRA's matrices by their names, to be given to `as_plain_lora` after training.

    Raises ValueError where what the base has lost is not what they hold.
    """
    if not can_be_plain_lora(attached):
        raise ValueError(refusal(name))
    matrices = {path: value for path, value in attached.state_dict(keep_vars=True).items() if _is_matrix(path)}
    return {path: value.detach().to("cpu", copy=True) for path, value in matrices.items()}


def can_be_plain_lora(attached: nn.Module) -> bool:
    """Whether what is trained over weights that lost a part can be written as LoRA over the whole ones."""
    config, layers = attached.peft_config["default"], [layer for _, layer in _lora_layers(attached)]
    return (
        config.peft_type == peft.PeftType.LORA
        and initialization(config).startswith(OUT_OF_BASE)
        and not (config.use_rslora and (config.rank_pattern or config.alpha_pattern))
        and not any(layer.lora_variant or layer.lora_embedding_A for layer in layers)
        and all(layer.get_base_layer().weight.is_floating_point() for layer in layers)
    )


def refusal(name: str) -> str:
    """Why a method that changes the base otherwise is not taken."""
    return (
        f"{name} replaces the base's own weights, and no saved adapter would hold what it does: take an initialization "
        f"that leaves them alone, or over fp32 or bf16 weights plain LoRA with {', '.join(OUT_OF_BASE)}"
    )


def as_plain_lora(attached: peft.PeftModel, begun: dict[str, torch.Tensor]) -> tuple[dict, peft.LoraConfig]:
    """State and configuration of LoRA with twice the rank, which over the whole base does what `attached` does.

    The base has lost B₀A₀, so W - B₀A₀ + BA = W + [B, -B₀] [A; A₀].
    """
    state = dict(attached.state_dict())
    for name, first in begun.items():
        first, last = first.to(state[name].device), state[name]
        state[name] = torch.cat([last, first]) if ".lora_A." in name else torch.cat([last, -first], dim=1)
    given = attached.peft_config["default"]
    config = plain(copy.copy(given))
    config.r, config.lora_alpha = 2 * given.r, given.lora_alpha * (2**0.5 if given.use_rslora else 2)
    config.rank_pattern = {name: 2 * rank for name, rank in given.rank_pattern.items()}
    config.alpha_pattern = {name: 2 * alpha for name, alpha in given.alpha_pattern.items()}
    return state, config


def _is_matrix(path: str) -> bool:
    return ".lora_A." in path or ".lora_B." in path


def _lora_layers(attached: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    return ((path, module) for path, module in attached.named_modules() if isinstance(module, LoraLayer))

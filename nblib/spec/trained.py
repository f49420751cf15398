"""Methods that train weights, one frozen class each, with only the fields that it reads. Attaches nothing."""

import json
from dataclasses import dataclass
from typing import ClassVar

from nblib.spec.checks import one_of, positive, share, whole

ALL_LINEAR, ATTENTION_INPUTS = "all-linear", "attention-inputs"  # named choices of target modules
PLACEMENTS = ("pfeiffer", "houlsby")
NAME_BYTES = 64  # of a custom method's name; 255 are allowed for a file's, which has more parts
INITIAL_TEXT = "Generate Python code that follows the instruction.\n"


@dataclass(frozen=True)
class FullTuning:
    """Every weight is trained."""

    kind: ClassVar[str] = "full"
    trained: ClassVar[bool] = True
    learning_rate: float = 5e-5

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)


@dataclass(frozen=True)
class _LowRank:
    """What the methods of low rank share."""

    trained: ClassVar[bool] = True
    learning_rate: float = 3e-4
    r: int = 16  # rank
    alpha: int = 32  # the update is scaled by alpha / r
    dropout: float = 0.05
    targets: str = ALL_LINEAR  # all-linear (but the head), attention-inputs, or names of modules, by commas

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)
        positive("alpha", self.alpha)
        whole("r", self.r)
        share("dropout", self.dropout)
        _targets(self.targets)


@dataclass(frozen=True)
class Lora(_LowRank):
    """Low-rank adaptation (Hu et al. 2021)."""

    kind: ClassVar[str] = "lora"


@dataclass(frozen=True)
class RsLora(_LowRank):
    """LoRA whose update is scaled by alpha / √r, so that high ranks learn too (Kalajdzievski 2023)."""

    kind: ClassVar[str] = "rslora"


@dataclass(frozen=True)
class Dora(_LowRank):
    """LoRA on the direction of each weight column, its magnitude learned apart (Liu et al. 2024)."""

    kind: ClassVar[str] = "dora"


@dataclass(frozen=True)
class AdaLora(_LowRank):
    """LoRA that begins with a higher rank and prunes what matters least, matrix by matrix (Zhang et al. 2023)."""

    kind: ClassVar[str] = "adalora"
    initial_r: int = 24  # rank at the beginning; r is the mean rank at the end

    def __post_init__(self):
        super().__post_init__()
        whole("initial_r", self.initial_r)
        if self.initial_r < self.r:
            raise ValueError(
                f"initial_r must be at least r, from which it is pruned; got {self.initial_r} and {self.r}"
            )


@dataclass(frozen=True)
class Ia3:
    """Learned rescaling of keys, values and feed-forward activations (Liu et al. 2022)."""

    kind: ClassVar[str] = "ia3"
    trained: ClassVar[bool] = True
    learning_rate: float = 3e-3

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)


@dataclass(frozen=True)
class PromptTuning:
    """Learned embeddings before the input (Lester et al. 2021)."""

    kind: ClassVar[str] = "prompt-tuning"
    trained: ClassVar[bool] = True
    learning_rate: float = 3e-3
    virtual_tokens: int = 20
    initial_text: str = INITIAL_TEXT  # repeated to fill the virtual tokens

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)
        whole("virtual_tokens", self.virtual_tokens)


@dataclass(frozen=True)
class PrefixTuning:
    """Learned keys and values before the input in every layer (Li and Liang 2021)."""

    kind: ClassVar[str] = "prefix-tuning"
    trained: ClassVar[bool] = True
    learning_rate: float = 3e-2
    virtual_tokens: int = 10
    initial_text: str = INITIAL_TEXT  # its keys and values start the prefix

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)
        whole("virtual_tokens", self.virtual_tokens)


@dataclass(frozen=True)
class PTuning:
    """Embeddings before the input that a small network computes from learned ones (Liu et al. 2021)."""

    kind: ClassVar[str] = "p-tuning"
    trained: ClassVar[bool] = True
    learning_rate: float = 3e-3
    virtual_tokens: int = 20
    hidden_size: int = 128  # width of the network

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)
        whole("virtual_tokens", self.virtual_tokens)
        whole("hidden_size", self.hidden_size)


@dataclass(frozen=True)
class Adapter:
    """Bottleneck layers inside of each block (Houlsby et al. 2019; Pfeiffer et al. 2021)."""

    kind: ClassVar[str] = "adapter"
    trained: ClassVar[bool] = True
    learning_rate: float = 1e-3
    bottleneck: int = 64  # width of the layer between
    placement: str = "pfeiffer"  # pfeiffer: after the feed-forward block; houlsby: after attention as well

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)
        whole("bottleneck", self.bottleneck)
        one_of("placement", self.placement, PLACEMENTS)


@dataclass(frozen=True)
class LlamaAdapter:
    """Learned tokens that attention sees through a gate that starts at zero (Zhang et al. 2023, LLaMA-Adapter)."""

    kind: ClassVar[str] = "llama-adapter"
    trained: ClassVar[bool] = True
    learning_rate: float = 9e-3
    adapter_tokens: int = 10
    layers: int = 0  # the topmost ones that see them; 0: all

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)
        whole("adapter_tokens", self.adapter_tokens)
        whole("layers", self.layers, at_least=0)


@dataclass(frozen=True)
class Vera:
    """Learned scales between two random matrices that all layers share (Kopiczko et al. 2024)."""

    kind: ClassVar[str] = "vera"
    trained: ClassVar[bool] = True
    learning_rate: float = 4e-3
    r: int = 256  # rank of the random matrices
    dropout: float = 0.0
    targets: str = ALL_LINEAR  # all-linear (but the head), attention-inputs, or names of modules, by commas

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)
        whole("r", self.r)
        share("dropout", self.dropout)
        _targets(self.targets)


@dataclass(frozen=True)
class Oft:
    """Learned orthogonal rotations of blocks of each weight (Qiu et al. 2023)."""

    kind: ClassVar[str] = "oft"
    trained: ClassVar[bool] = True
    learning_rate: float = 1e-3
    block_size: int = 32  # width of a block; a layer's input width must be a multiple of it
    targets: str = ALL_LINEAR  # all-linear (but the head), attention-inputs, or names of modules, by commas

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)
        whole("block_size", self.block_size)
        _targets(self.targets)


@dataclass(frozen=True)
class LnTuning:
    """Only the normalization layers are trained (Zhao et al. 2024)."""

    kind: ClassVar[str] = "ln-tuning"
    trained: ClassVar[bool] = True
    learning_rate: float = 1e-3

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)


@dataclass(frozen=True)
class Custom:
    """Any other method of PEFT; `methods.custom` makes it from a `peft.PeftConfig`."""

    kind: ClassVar[str] = "peft"
    trained: ClassVar[bool] = True
    config: str = ""  # the PeftConfig as JSON
    name: str = "peft"  # how tables and figures call it
    learning_rate: float = 1e-3

    def __post_init__(self):
        positive("learning_rate", self.learning_rate)
        _file_name(self.name)
        if not isinstance(json.loads(self.config or "null"), dict):
            raise ValueError("config must be a PeftConfig as JSON; methods.custom(config, name=…) makes it")


Trained = (
    FullTuning
    | Lora
    | RsLora
    | Dora
    | AdaLora
    | Ia3
    | PromptTuning
    | PrefixTuning
    | PTuning
    | Adapter
    | LlamaAdapter
    | Vera
    | Oft
    | LnTuning
    | Custom
)


def _file_name(name: str) -> None:
    """Names of rows and folders have it inside, on every system."""
    whole = (
        isinstance(name, str) and name.isprintable() and name == name.strip(" .") and not set(name) & set('/\\:*?"<>|')
    )
    if not whole or not 0 < len(name.encode()) <= NAME_BYTES:
        raise ValueError(
            f"name must be a short text of at most {NAME_BYTES} bytes that a file can be called by, with no "
            f'/ \\ : * ? " < > |, such as "pissa"; got {name!r}'
        )


def _targets(targets: str) -> None:
    if not all(name.strip() for name in targets.split(",")):
        raise ValueError(
            f"targets must be {ALL_LINEAR}, {ATTENTION_INPUTS}, or names of modules with commas between them; "
            f"got {targets!r}"
        )

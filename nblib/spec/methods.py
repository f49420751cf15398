"""What is done with a model: a frozen class a method, with only its own fields, and METHODS, which has all by name."""

import json
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

from nblib.rules import Count, FileName, Positive, Rule, Settings, Share, Size, one_of

TORCHAO = ("ao-int8", "ao-int4")  # precisions by torchao, an optional package; the others are by bitsandbytes
QUANTIZED = ("int8", "ao-int8", "nf4", "nf4-dq", "fp4", "ao-int4")  # dq: the constants are quantized too
# Named choices of target modules: all linear layers but the head, those of attention, and of these the inputs alone.
ALL_LINEAR, ATTENTION, ATTENTION_INPUTS = "all-linear", "attention", "attention-inputs"
INITIAL_TEXT = "Generate Python code that follows the instruction.\n"


def names_modules(text: str) -> bool:
    """Whether these are names with commas between them."""
    return all(name.strip() for name in text.split(","))


Modules = Annotated[
    str, Rule(f"{ALL_LINEAR}, {ATTENTION}, {ATTENTION_INPUTS}, or names of modules by commas", names_modules)
]


class Method(Settings):
    """What is done with a model."""

    kind: ClassVar[str]
    trained: ClassVar[bool] = False


class Trained(Method):
    """A method that trains weights."""

    trained = True
    optimizer: ClassVar[str] = ""  # that is a part of the method and replaces the training's
    learning_rate: float


@dataclass(frozen=True)
class ZeroShot(Method):
    """The instruction alone."""

    kind = "zero-shot"


@dataclass(frozen=True)
class InContext(Method):
    """In-context learning: random training examples before the query, the same for every query of a seed."""

    kind = "icl"
    shots: Count = 3  # examples in the prompt


@dataclass(frozen=True)
class Retrieved(Method):
    """Retrieval-augmented generation: the training examples nearest to each query before it, the nearest one last."""

    kind = "rag"
    shots: Count = 3  # examples in the prompt
    # bm25, tfidf (character n-grams), minilm, or a sentence encoder's Hub id or folder
    retriever: Annotated[str, Rule("bm25, tfidf, minilm, or an encoder's Hub id or folder", bool)] = "bm25"
    reranker: str = ""  # a cross-encoder that orders the nearest anew: Hub id or folder; empty: none
    diversity: Share = 0.0  # 0: similarity alone; towards 1, maximal marginal relevance prefers shots unlike each other


@dataclass(frozen=True)
class FullTuning(Trained):
    """Every weight is trained."""

    kind = "full"
    learning_rate: Positive = 5e-5


@dataclass(frozen=True)
class LowRank(Trained):
    """What the methods of low rank share."""

    learning_rate: Positive = 3e-4
    r: Count = 16  # rank
    alpha: Positive = 32  # the update is scaled by alpha / r
    dropout: Share = 0.05
    targets: Modules = ALL_LINEAR


@dataclass(frozen=True)
class Lora(LowRank):
    """Low-rank adaptation (Hu et al. 2021)."""

    kind = "lora"


@dataclass(frozen=True)
class RsLora(LowRank):
    """LoRA whose update is scaled by alpha / √r, so that high ranks learn too (Kalajdzievski 2023)."""

    kind = "rslora"


@dataclass(frozen=True)
class Dora(LowRank):
    """LoRA on the direction of each weight column, its magnitude learned apart (Liu et al. 2024)."""

    kind = "dora"


@dataclass(frozen=True)
class AdaLora(LowRank):
    """LoRA that begins with a higher rank and prunes what matters least, matrix by matrix (Zhang et al. 2023)."""

    kind = "adalora"
    initial_r: Count = 24  # rank at the beginning; r is the mean rank at the end

    def __post_init__(self):
        super().__post_init__()
        if self.initial_r < self.r:
            pair = f"{self.initial_r} and {self.r}"
            raise ValueError(f"initial_r must be at least r, from which it is pruned; got {pair}")


@dataclass(frozen=True)
class LoraPlus(LowRank):
    """LoRA whose matrix B learns at a higher rate than A (Hayou et al. 2024)."""

    kind = "loraplus"
    loraplus_lr_ratio: Positive = 16.0  # B's learning rate is so many times A's, which is learning_rate


@dataclass(frozen=True)
class LoraFa(LowRank):
    """LoRA whose matrix A stays as it was drawn, with an optimizer of its own (Zhang et al. 2023)."""

    kind = "lora-fa"
    optimizer = "lora-fa (AdamW over B, its gradient projected)"


@dataclass(frozen=True)
class Pissa(LowRank):
    """LoRA that begins with each weight's largest singular values, which the frozen base loses (Meng et al. 2024)."""

    kind = "pissa"


@dataclass(frozen=True)
class Eva(LowRank):
    """LoRA that begins with the directions in which inputs vary most, with ranks by layer (Paischer et al. 2024)."""

    kind = "eva"


@dataclass(frozen=True)
class Corda(LowRank):
    """LoRA that begins with what each weight does most to training inputs, out of the base (Yang et al. 2024)."""

    kind = "corda"


@dataclass(frozen=True)
class GraLora(LowRank):
    """LoRA on each of k × k blocks of a weight, with as many numbers as LoRA of that rank (Jung et al. 2025)."""

    kind = "gralora"
    k: Count = 2  # r and the sides of each weight must be multiples of it


@dataclass(frozen=True)
class RandLora(LowRank):
    """An update of full rank: learned scales of random pairs of matrices that all layers share (Albert et al. 2025)."""

    kind = "randlora"
    r: Count = 32  # of each pair; a lower rank means more pairs, and more trained numbers
    alpha: Positive = 640  # the update is scaled by alpha / r


@dataclass(frozen=True)
class Miss(Trained):
    """One small learned matrix a weight, which all shards of its rows share (Kang and Yin 2024)."""

    kind = "miss"
    learning_rate: Positive = 1e-3
    r: Count = 16  # rows of the learned matrix
    dropout: Share = 0.0
    targets: Modules = ALL_LINEAR


@dataclass(frozen=True)
class Ia3(Trained):
    """Learned rescaling of keys, values and feed-forward activations (Liu et al. 2022)."""

    kind = "ia3"
    learning_rate: Positive = 3e-3


@dataclass(frozen=True)
class PromptTuning(Trained):
    """Learned embeddings before the input (Lester et al. 2021)."""

    kind = "prompt-tuning"
    learning_rate: Positive = 3e-3
    virtual_tokens: Count = 20
    initial_text: str = INITIAL_TEXT  # repeated to fill the virtual tokens


@dataclass(frozen=True)
class PrefixTuning(Trained):
    """Learned keys and values before the input in every layer (Li and Liang 2021)."""

    kind = "prefix-tuning"
    learning_rate: Positive = 3e-2
    virtual_tokens: Count = 10
    initial_text: str = INITIAL_TEXT  # its keys and values start the prefix


@dataclass(frozen=True)
class PTuning(Trained):
    """Embeddings before the input that a small network computes from learned ones (Liu et al. 2021)."""

    kind = "p-tuning"
    learning_rate: Positive = 3e-3
    virtual_tokens: Count = 20
    hidden_size: Count = 128  # width of the network


@dataclass(frozen=True)
class Adapter(Trained):
    """Bottleneck layers inside of each block (Houlsby et al. 2019; Pfeiffer et al. 2021)."""

    kind = "adapter"
    learning_rate: Positive = 1e-3
    bottleneck: Count = 64  # width of the layer between
    placement: Annotated[str, one_of("pfeiffer", "houlsby")] = "pfeiffer"  # houlsby: after attention as well


@dataclass(frozen=True)
class LlamaAdapter(Trained):
    """Learned tokens that attention sees through a gate that starts at zero (Zhang et al. 2023, LLaMA-Adapter)."""

    kind = "llama-adapter"
    learning_rate: Positive = 9e-3
    adapter_tokens: Count = 10
    layers: Size = 0  # the topmost ones that see them; 0: all


@dataclass(frozen=True)
class Vera(Trained):
    """Learned scales between two random matrices that all layers share (Kopiczko et al. 2024)."""

    kind = "vera"
    learning_rate: Positive = 4e-3
    r: Count = 256  # rank of the random matrices
    dropout: Share = 0.0
    targets: Modules = ALL_LINEAR


@dataclass(frozen=True)
class Oft(Trained):
    """Learned orthogonal rotations of blocks of each weight (Qiu et al. 2023)."""

    kind = "oft"
    learning_rate: Positive = 1e-3
    block_size: Count = 32  # width of a block; a layer's input width must be a multiple of it
    targets: Modules = ALL_LINEAR


@dataclass(frozen=True)
class Road(Trained):
    """Learned rotations and scales of pairs of each layer's outputs (Liao and Monz 2024)."""

    kind = "road"
    learning_rate: Positive = 3e-3
    variant: Annotated[str, one_of("road_1", "road_2", "road_4")] = "road_1"  # 1, 2 or 4 numbers for each output
    group_size: Count = 64  # pairs are made within so many outputs; a layer's output width must be a multiple of it
    targets: Modules = ALL_LINEAR


@dataclass(frozen=True)
class TrainableTokens(Trained):
    """New embeddings for the tokens that the model reads most often in training: template, and what code repeats."""

    kind = "trainable-tokens"
    learning_rate: Positive = 1e-3
    tokens: Count = 100  # as many; fewer where the training rows have fewer different ones


@dataclass(frozen=True)
class LnTuning(Trained):
    """Only the normalization layers are trained (Zhao et al. 2024)."""

    kind = "ln-tuning"
    learning_rate: Positive = 1e-3


@dataclass(frozen=True)
class Custom(Trained):
    """Any other method of PEFT; `methods.custom` makes it from a `peft.PeftConfig`."""

    kind = "peft"
    config: Annotated[str, Rule("a PeftConfig as JSON", lambda text: isinstance(json.loads(text or "null"), dict))] = ""
    name: FileName = "peft"  # how tables and figures call it
    learning_rate: Positive = 1e-3


PROMPTED = (ZeroShot, InContext, Retrieved)
LOW_RANK = (Lora, RsLora, Dora, AdaLora, LoraPlus, LoraFa, Pissa, Eva, Corda, GraLora, RandLora, Miss)
TOKENS = (PromptTuning, PrefixTuning, PTuning)
OTHER_ADAPTERS = (Ia3, *TOKENS, Adapter, LlamaAdapter, Vera, Oft, Road, TrainableTokens, LnTuning, Custom)
METHODS: dict[str, type] = {method.kind: method for method in (*PROMPTED, *LOW_RANK, *OTHER_ADAPTERS, FullTuning)}
QLORA = {"qlora-8bit": "int8", "qlora-4bit": "nf4-dq"}  # names for lora at a precision


def method(kind: str, **settings) -> Method:
    """The method of that name with these settings.

    Raises ValueError for an unknown name or setting.
    """
    one_of(*METHODS).check("method", kind)
    known = [item.name for item in fields(METHODS[kind])]
    for name in settings:
        if name not in known:
            raise ValueError(f"{kind} has no setting {name!r}; it has {', '.join(known) or 'none'}")
    return METHODS[kind](**settings)


def kind(method: Method, precision: str) -> str:
    """The method's name; LoRA over a quantized base is QLoRA (Dettmers et al. 2023), `qlora-8bit` or `qlora-4bit`."""
    if isinstance(method, Lora) and precision in QUANTIZED:
        return "qlora-8bit" if precision.endswith("int8") else "qlora-4bit"
    return method.kind


def label(method: Method, precision: str = "fp32") -> str:
    """How tables and figures call a method: `icl-3` and `rag-3` for three shots, else its name."""
    if isinstance(method, InContext | Retrieved):
        return f"{method.kind}-{method.shots}"
    return method.name if isinstance(method, Custom) else kind(method, precision)

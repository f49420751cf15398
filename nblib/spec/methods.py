"""The methods and their table; here those that train nothing. Attaches nothing."""

from dataclasses import dataclass, fields
from typing import ClassVar

from nblib.spec.checks import one_of, share, whole
from nblib.spec.trained import (
    AdaLora,
    Adapter,
    Custom,
    Dora,
    FullTuning,
    Ia3,
    LlamaAdapter,
    LnTuning,
    Lora,
    Oft,
    PrefixTuning,
    PromptTuning,
    PTuning,
    RsLora,
    Trained,
    Vera,
)

QUANTIZED = ("int8", "nf4", "nf4-dq", "fp4")  # precisions by bitsandbytes; dq: the constants are quantized too


@dataclass(frozen=True)
class ZeroShot:
    """The instruction alone."""

    kind: ClassVar[str] = "zero-shot"
    trained: ClassVar[bool] = False


@dataclass(frozen=True)
class InContext:
    """In-context learning: random training examples before the query, the same for every query of a seed."""

    kind: ClassVar[str] = "icl"
    trained: ClassVar[bool] = False
    shots: int = 3  # examples in the prompt, 1 or more

    def __post_init__(self):
        whole("shots", self.shots)


@dataclass(frozen=True)
class Retrieved:
    """Retrieval-augmented generation: the training examples nearest to each query before it, the nearest one last."""

    kind: ClassVar[str] = "rag"
    trained: ClassVar[bool] = False
    shots: int = 3  # examples in the prompt, 1 or more
    retriever: str = "bm25"  # bm25, tfidf (character n-grams), minilm, or a sentence encoder's Hub id or folder
    reranker: str = ""  # a cross-encoder that orders the nearest anew: Hub id or folder; empty: none
    diversity: float = 0.0  # 0: similarity alone; towards 1, maximal marginal relevance prefers shots unlike each other

    def __post_init__(self):
        whole("shots", self.shots)
        share("diversity", self.diversity)
        if not self.retriever:
            raise ValueError("retriever must be bm25, tfidf, minilm, or an encoder's Hub id or folder; got ''")


Prompted = ZeroShot | InContext | Retrieved
Method = Prompted | Trained
METHODS: dict[str, type] = {
    each.kind: each
    for each in (
        ZeroShot,
        InContext,
        Retrieved,
        Lora,
        RsLora,
        Dora,
        AdaLora,
        Ia3,
        PromptTuning,
        PrefixTuning,
        PTuning,
        Adapter,
        LlamaAdapter,
        Vera,
        Oft,
        LnTuning,
        Custom,
        FullTuning,
    )
}
QLORA = {"qlora-8bit": "int8", "qlora-4bit": "nf4-dq"}  # names for lora at a precision


def method(kind: str, **settings) -> Method:
    """The method of that name with these settings.

    Raises ValueError for an unknown name or setting.
    """
    one_of("method", kind, METHODS)
    known = [each.name for each in fields(METHODS[kind])]
    for name in settings:
        if name not in known:
            raise ValueError(f"{kind} has no setting {name!r}; it has {', '.join(known) or 'none'}")
    return METHODS[kind](**settings)


def kind(method: Method, precision: str) -> str:
    """The method's name; LoRA over a quantized base is QLoRA (Dettmers et al. 2023), `qlora-8bit` or `qlora-4bit`."""
    if isinstance(method, Lora) and precision in QUANTIZED:
        return next((name for name, usual in QLORA.items() if usual == precision), "qlora-4bit")
    return method.kind


def label(method: Method, precision: str = "fp32") -> str:
    """How tables and figures call a method: `icl-3` and `rag-3` for three shots, else its name."""
    if isinstance(method, InContext | Retrieved):
        return f"{method.kind}-{method.shots}"
    return method.name if isinstance(method, Custom) else kind(method, precision)

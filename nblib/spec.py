"""What is asked of one run: model, task, method, precision, training, decoding, seed. Loads and runs nothing."""

import hashlib
import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import ClassVar

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "nf4", "nf4-dq", "fp4")  # of the base model's weights
QUANTIZED = ("int8", "nf4", "nf4-dq", "fp4")  # by bitsandbytes; dq: the constants are quantized too


# --- methods: one frozen class each, with only the fields that it reads -------------------------------------------


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
        _positive("shots", self.shots)


@dataclass(frozen=True)
class FullTuning:
    """Every weight is trained."""

    kind: ClassVar[str] = "full"
    trained: ClassVar[bool] = True
    learning_rate: float = 5e-5

    def __post_init__(self):
        _positive("learning_rate", self.learning_rate)


@dataclass(frozen=True)
class Lora:
    """Low-rank adaptation (Hu et al. 2021)."""

    kind: ClassVar[str] = "lora"
    trained: ClassVar[bool] = True
    learning_rate: float = 3e-4
    r: int = 16  # rank
    alpha: int = 32  # the update is scaled by alpha / r
    dropout: float = 0.05

    def __post_init__(self):
        _positive("learning_rate", self.learning_rate)
        _positive("r", self.r)
        _positive("alpha", self.alpha)
        _share("dropout", self.dropout)


@dataclass(frozen=True)
class Ia3:
    """Learned rescaling of keys, values and feed-forward activations (Liu et al. 2022)."""

    kind: ClassVar[str] = "ia3"
    trained: ClassVar[bool] = True
    learning_rate: float = 3e-3

    def __post_init__(self):
        _positive("learning_rate", self.learning_rate)


@dataclass(frozen=True)
class PromptTuning:
    """Learned embeddings before the input (Lester et al. 2021)."""

    kind: ClassVar[str] = "prompt-tuning"
    trained: ClassVar[bool] = True
    learning_rate: float = 3e-3
    virtual_tokens: int = 20
    initial_text: str = "Generate Python code that follows the instruction.\n"  # repeated to fill the virtual tokens

    def __post_init__(self):
        _positive("learning_rate", self.learning_rate)
        _positive("virtual_tokens", self.virtual_tokens)


@dataclass(frozen=True)
class PrefixTuning:
    """Learned keys and values before the input in every layer (Li and Liang 2021)."""

    kind: ClassVar[str] = "prefix-tuning"
    trained: ClassVar[bool] = True
    learning_rate: float = 3e-2
    virtual_tokens: int = 10
    initial_text: str = "Generate Python code that follows the instruction.\n"  # its keys and values start the prefix

    def __post_init__(self):
        _positive("learning_rate", self.learning_rate)
        _positive("virtual_tokens", self.virtual_tokens)


Trained = FullTuning | Lora | Ia3 | PromptTuning | PrefixTuning
Method = ZeroShot | InContext | Trained
METHODS: dict[str, type] = {
    each.kind: each for each in (ZeroShot, InContext, Lora, Ia3, PromptTuning, PrefixTuning, FullTuning)
}
QLORA = {"qlora-8bit": "int8", "qlora-4bit": "nf4-dq"}  # names for lora at a precision


# --- the other parts of a run ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """How a method is fitted; the same for every method of a comparison, its learning rate excepted."""

    epochs: int = 5
    batch_size: int = 8  # examples a step
    device_batch: int = 8  # examples a forward pass; accumulated to batch_size
    optimizer: str = "adafactor"  # a name that transformers' TrainingArguments(optim=…) knows
    schedule: str = "linear"  # a name that transformers' get_scheduler knows
    warmup_share: float = 0.05  # of all steps
    weight_decay: float = 0.0
    evaluations_an_epoch: int = 5  # validation losses; the checkpoint with the lowest is kept
    gradient_checkpointing: bool = False  # less memory, more seconds

    def __post_init__(self):
        for name in ("epochs", "batch_size", "device_batch", "evaluations_an_epoch"):
            _positive(name, getattr(self, name))
        _share("warmup_share", self.warmup_share)
        if self.batch_size % self.device_batch:
            raise ValueError(
                f"batch_size must be a multiple of device_batch; got {self.batch_size} and {self.device_batch}"
            )


@dataclass(frozen=True)
class Decoding:
    """How answers are generated: beam search, or sampling where a temperature is given."""

    beams: int = 10  # 1 is greedy
    returned: int = 10  # answers an example
    early_stopping: bool = False  # True: an example's search ends with its `beams`-th finished answer, good or not
    temperature: float | None = None  # None: no sampling
    top_p: float = 1.0  # read only when sampling
    batch_size: int = 16  # examples a batch, before beams

    def __post_init__(self):
        for name in ("beams", "returned", "batch_size"):
            _positive(name, getattr(self, name))
        if self.temperature is None and self.returned > self.beams:
            raise ValueError(
                f"returned must be at most beams without sampling; got {self.returned} answers of {self.beams} beams: "
                "ask for fewer answers, more beams or a temperature"
            )
        if self.temperature is not None and self.temperature <= 0:
            raise ValueError(f"temperature must be above 0, or None for no sampling; got {self.temperature}")


@dataclass(frozen=True)
class Run:
    """Everything that determines one result, but for the content of data and model."""

    model: str  # a short key, a Hub id or a local folder
    task: str  # a name in nblib.tasks.TASKS
    method: Method
    precision: str = "fp32"
    training: Training | None = None  # None where nothing is trained
    decoding: Decoding = field(default_factory=Decoding)
    seed: int = 42
    limit: int | None = None  # only the first test examples: a partial result
    data_dir: str | None = None  # where the task's files are; None: as the task says

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {self.precision!r}")
        if self.limit is not None:
            _positive("limit", self.limit)
        if self.method.trained and self.training is None:
            raise ValueError(f"{self.method.kind} is trained, so it needs training settings; got None")
        if isinstance(self.method, FullTuning) and self.precision in QUANTIZED:
            raise ValueError(
                f"full trains every weight, and {self.precision} weights cannot be trained: take fp32 or bf16, or lora"
            )
        if not self.method.trained and self.training is not None:
            raise ValueError(f"{self.method.kind} trains nothing, so training must be None")


def method(kind: str, **settings) -> Method:
    """The method of that name with these settings.

    Raises ValueError for an unknown name or setting.
    """
    if kind not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {kind!r}")
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
    """How tables and figures call a method: `icl-3` for three shots, else its name."""
    return f"icl-{method.shots}" if isinstance(method, InContext) else kind(method, precision)


def settings(run: Run) -> dict:
    """The run as plain values, every field in it; the method carries its name as `kind`."""
    return asdict(run) | {"method": {"kind": run.method.kind} | asdict(run.method)}


def run_id(run: Run, *, data: str, weights: str) -> str:
    """A readable name with a hash of all that determines the result.

    `data` and `weights` are revisions or content hashes. Only settings that differ from their defaults are hashed, so
    that a field added later keeps the ids of old results.
    """
    changed = {"data": data, "weights": weights} | _changed(run) | {"method": {"kind": run.method.kind}}
    changed["method"] |= _changed(run.method)
    for part in ("training", "decoding"):
        if getattr(run, part) is not None:
            changed[part] = _changed(getattr(run, part))
    changed.pop("data_dir", None)  # the content counts, not the place
    changed["model"] = "" if "/" in run.model or "\\" in run.model else run.model
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True, default=str).encode()).hexdigest()[:10]
    model = run.model.replace("\\", "/").rstrip("/").split("/")[-1]
    return f"{model}.{run.task}.{label(run.method)}.{run.precision}.seed{run.seed}.{digest}".lower()


def _changed(part) -> dict:
    """Fields that differ from their defaults; fields without a default always count."""
    return {
        each.name: getattr(part, each.name)
        for each in fields(part)
        if each.default is MISSING or getattr(part, each.name) != each.default
        if each.name not in ("method", "training", "decoding")
    }


def _positive(name: str, value) -> None:
    if value <= 0:
        raise ValueError(f"{name} must be above 0; got {value}")


def _share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1; got {value}")

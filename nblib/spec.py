"""What is asked of one run: model, task, method, precision, training, decoding, seed; frozen, checked, with an id."""

import hashlib
import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Annotated, Any, ClassVar

from nblib.rules import Count, FileName, Flag, NotNegative, Positive, Rule, Settings, Share, Size, TopShare, one_of

TORCHAO = ("ao-int8", "ao-int4")  # precisions by torchao, an optional package; the others are by bitsandbytes
QUANTIZED = ("int8", "ao-int8", "nf4", "nf4-dq", "fp4", "ao-int4")  # dq: the constants are quantized too
PRECISIONS = ("fp32", "bf16", "fp16", *QUANTIZED)  # of the base model's weights
ALL_LINEAR, ATTENTION_INPUTS = "all-linear", "attention-inputs"  # named choices of target modules
INITIAL_TEXT = "Generate Python code that follows the instruction.\n"
# Fields that older rows lack.
ADDED = set("length_rule study_scores trust_remote_code max_train ending user_data drop_leaked threads".split())


def names_modules(text: str) -> bool:
    """Whether these are names with commas between them."""
    return all(name.strip() for name in text.split(","))


Modules = Annotated[str, Rule(f"{ALL_LINEAR}, {ATTENTION_INPUTS}, or names of modules by commas", names_modules)]


class Method(Settings):
    """What is done with a model."""

    kind: ClassVar[str]
    trained: ClassVar[bool] = False


class Trained(Method):
    """A method that trains weights."""

    trained = True
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
LOW_RANK = (Lora, RsLora, Dora, AdaLora)
OTHER_ADAPTERS = (Ia3, PromptTuning, PrefixTuning, PTuning, Adapter, LlamaAdapter, Vera, Oft, LnTuning, Custom)
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


@dataclass(frozen=True)
class Training(Settings):
    """How a method is fitted; the same for every method of a comparison, its learning rate excepted."""

    epochs: Count = 5
    batch_size: Count = 8  # examples a step
    device_batch: Count = 8  # examples a forward pass, of validation too; accumulated to batch_size
    optimizer: str = "adafactor"  # a name that transformers' TrainingArguments(optim=…) knows
    schedule: str = "linear"  # a name that transformers' get_scheduler knows
    warmup_share: Share = 0.05  # of all steps
    weight_decay: NotNegative = 0.0
    evaluations_an_epoch: Count = 5  # validation losses; the checkpoint with the lowest is kept
    gradient_checkpointing: bool = False  # less memory, more seconds

    def __post_init__(self):
        super().__post_init__()
        if self.batch_size % self.device_batch:
            raise ValueError(
                f"batch_size must be a multiple of device_batch; got {self.batch_size}, {self.device_batch}"
            )


@dataclass(frozen=True)
class Decoding(Settings):
    """How answers are generated: beam search, or sampling where a temperature is given."""

    beams: Count = 10  # 1 is greedy
    returned: Count = 10  # answers an example
    early_stopping: Flag = False  # True: an example's search ends with its `beams`-th finished answer, good or not
    temperature: Positive | None = None  # None: no sampling
    top_p: TopShare = 1.0  # read only when sampling
    batch_size: Count = 16  # examples a batch, before beams
    stop: Annotated[str, one_of("each-answer", "all-beams")] = "each-answer"  # all-beams: not before each has a stop
    length_rule: Annotated[str, one_of("answer", "with-prompt")] = "answer"  # that a beam's score is divided by
    ending: Annotated[str, one_of("task", "fence")] = "task"  # fence: a chat model's answer goes on to its closing one

    def __post_init__(self):
        super().__post_init__()
        if self.temperature is None and self.returned > self.beams:
            counts = f"{self.returned} answers of {self.beams} beams"
            raise ValueError(f"returned must be at most beams without sampling; got {counts}: or give a temperature")
        for name, unusual in (("stop", "all-beams"), ("length_rule", "with-prompt")):
            if getattr(self, name) == unusual and (self.temperature is not None or self.beams == 1):
                raise ValueError(f"{name} {unusual} needs beam search: give 2 beams or more and no temperature")


@dataclass(frozen=True)
class UserData:
    """A user's own data as a task: where they are, how they are read, and what holds for answers to them."""

    name: str  # in titles, ids and names of files
    place: str  # a file, a folder, or a Hub dataset: owner/name:config@revision
    columns: tuple[tuple[str, str], ...]  # what an example has (intent, code, tests…) and the column that has it
    input_tokens: int  # longest intent that is trained on
    output_tokens: int  # longest answer
    stops: tuple[str, ...]  # an answer ends before the first of these strings
    split: tuple[float, ...] = (0.8, 0.1, 0.1)  # shares of training, validation and test rows, for splits that miss
    language: str = "python"  # of the code
    instruction: str = ""  # words before each intent; empty: none
    executed: bool = False  # answers are run against the rows' tests

    def __post_init__(self):  # JSON has lists
        values = {"columns": tuple(map(tuple, self.columns)), "stops": tuple(self.stops), "split": tuple(self.split)}
        self.__dict__.update(values)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Run(Settings):
    """Everything that determines one result, but for the content of data and model."""

    model: str  # a short key, a Hub id, a local folder or a GGUF file
    task: str  # a name in nblib.tasks.TASKS
    method: Method
    precision: Annotated[str, one_of(*PRECISIONS)] = "fp32"
    training: Training | None = None  # None where nothing is trained
    decoding: Decoding = field(default_factory=Decoding)
    seed: Size = 42
    limit: Count | None = None  # only the first examples of the split: a partial result
    data_dir: str | None = None  # where the task's files are; None: as the task says
    train_task: str | None = None  # another task, whose examples are trained on or shown; None: the task itself
    split: Annotated[str, one_of("validation", "test")] = "test"  # of the queries; validation to choose settings
    study_scores: bool = False  # em_study@k and codebleu_study, too: answers end as in the study's package
    shape_only: bool = False  # random weights: bytes and seconds count, answers do not; limit bounds its training too
    trust_remote_code: Flag = False  # code that the model's makers keep beside its weights may be run
    max_train: Count | None = None  # only the first training rows are trained on, shown or retrieved; by joined task
    user_data: UserData | None = None  # a user's own, of which `task` is the name; its content counts, not its place
    drop_leaked: Flag = False  # test rows whose intent is in the training rows, or nearly, are left out
    threads: Count = 1  # that it computes with on a CPU, whatever runs beside it: a sum's rounding depends on them

    def __post_init__(self):
        super().__post_init__()
        kind = self.method.kind
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2**32, which NumPy can take; got {self.seed}")
        if self.method.trained != (self.training is not None):
            allowed = "settings, as it is trained" if self.method.trained else "None, as it trains nothing"
            raise ValueError(f"training of {kind} must be {allowed}; got {self.training!r}")
        if isinstance(self.method, FullTuning) and self.precision in QUANTIZED:
            weights = f"{self.precision} weights"
            raise ValueError(f"full trains every weight, and {weights} cannot be trained: take fp32 or bf16, or lora")
        for name in ("train_task", "max_train") if isinstance(self.method, ZeroShot) else ():
            if (value := getattr(self, name)) is not None:
                raise ValueError(f"{kind} reads no training examples, so {name} must be None; got {value!r}")


def settings(run: Run) -> dict:
    """The run as plain values, every field in it; the method carries its name as `kind`.

    A field that was added later is there where it is not as before: then rows of all versions compare.
    """
    plain = asdict(run) | {"method": {"kind": run.method.kind} | asdict(run.method)}
    for part, values in ((run, plain), (run.decoding, plain["decoding"])):
        for item in fields(part):
            if item.name in ADDED and values[item.name] == item.default:
                del values[item.name]
    return plain


def run_id(run: Run, *, data: str, weights: str) -> str:
    """A readable name with a hash of all that determines the result.

    `data` and `weights` are revisions or content hashes. Only settings that differ from their defaults are hashed, so
    that a field added later keeps the ids of old results.
    """
    hashed = changed(run) | {"decoding": changed(run.decoding)}
    for place in ("data_dir", "user_data"):
        hashed.pop(place, None)  # the content counts, not the place
    return _id(run, run.task, hashed | {"data": data, "weights": weights})


def training_id(run: Run, *, data: str, weights: str) -> str:
    """A readable name with a hash of all that determines the trained weights: runs that share them share it.

    `data` and `weights` are revisions or content hashes, of the data that is trained on.
    """
    read = ("trust_remote_code", "max_train", "threads")
    hashed = {name: value for name, value in changed(run).items() if name in read}
    hashed |= {"precision": run.precision, "seed": run.seed, "data": data, "weights": weights}
    return _id(run, run.train_task or run.task, hashed)


def changed(part: Any) -> dict:
    """Fields of settings that differ from their defaults, but for the parts of a run; those without one always do."""
    values = {item: getattr(part, item.name) for item in fields(part)}
    differ = {item.name: value for item, value in values.items() if item.default is MISSING or value != item.default}
    return {name: value for name, value in differ.items() if name not in ("method", "training", "decoding")}


def _id(run: Run, task: str, hashed: dict) -> str:
    """Of the model a key is hashed, and no place of a folder, of a GGUF file or on the Hub: its content is."""
    name = run.model.replace("\\", "/").rstrip("/").split("/")[-1]
    placed = "/" in run.model or "\\" in run.model or name.lower().endswith(".gguf")
    hashed |= {"model": "" if placed else run.model, "method": {"kind": run.method.kind} | changed(run.method)}
    hashed |= {"training": changed(run.training)} if run.training else {}
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True, default=str).encode()).hexdigest()[:10]
    return f"{name}.{task}.{label(run.method)}.{run.precision}.seed{run.seed}.{digest}".lower()

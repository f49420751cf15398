"""What is asked of one run: model, task, method, precision, training, decoding, seed; frozen, checked, with an id."""

import hashlib
import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Annotated, Any

from nblib.rules import Count, Flag, NotNegative, Positive, Settings, Share, Size, TopShare, one_of
from nblib.spec.methods import (
    ALL_LINEAR,
    ATTENTION,
    ATTENTION_INPUTS,
    METHODS,
    QLORA,
    QUANTIZED,
    TORCHAO,
    AdaLora,
    Adapter,
    Corda,
    Custom,
    Dora,
    Eva,
    FullTuning,
    GraLora,
    Ia3,
    InContext,
    LlamaAdapter,
    LnTuning,
    Lora,
    LoraFa,
    LoraPlus,
    LowRank,
    Method,
    Miss,
    Oft,
    Pissa,
    PrefixTuning,
    PromptTuning,
    PTuning,
    RandLora,
    Retrieved,
    Road,
    RsLora,
    TrainableTokens,
    Trained,
    Vera,
    ZeroShot,
    kind,
    label,
    method,
)

PRECISIONS = ("fp32", "bf16", "fp16", *QUANTIZED)  # of the base model's weights
# Fields that older rows lack.
ADDED = set("length_rule study_scores trust_remote_code max_train ending user_data drop_leaked threads".split())


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
        own_kind = self.method.kind
        if self.seed >= 2**32:
            raise ValueError(f"seed must be below 2**32, which NumPy can take; got {self.seed}")
        if self.method.trained != (self.training is not None):
            allowed = "settings, as it is trained" if self.method.trained else "None, as it trains nothing"
            raise ValueError(f"training of {own_kind} must be {allowed}; got {self.training!r}")
        if isinstance(self.method, FullTuning) and self.precision in QUANTIZED:
            weights = f"{self.precision} weights"
            raise ValueError(f"full trains every weight, and {weights} cannot be trained: take fp32 or bf16, or lora")
        for name in ("train_task", "max_train") if isinstance(self.method, ZeroShot) else ():
            if (value := getattr(self, name)) is not None:
                raise ValueError(f"{own_kind} reads no training examples, so {name} must be None; got {value!r}")


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

"""A run and its other parts, each run with an id. Knows no method's fields."""

import hashlib
import json
from dataclasses import MISSING, asdict, dataclass, field, fields

from nblib.spec.checks import one_of, positive, share, whole
from nblib.spec.methods import QUANTIZED, FullTuning, Method, ZeroShot, label

PRECISIONS = ("fp32", "bf16", "fp16", *QUANTIZED)  # of the base model's weights
STOPS = ("each-answer", "all-beams")  # when a stop string ends: the answer, or a query all of whose beams wrote one
SEEDS = 2**32  # so many has NumPy
ADDED = (
    "length_rule",
    "study_scores",
    "trust_remote_code",
    "max_train",
    "ending",
    "user_data",
    "drop_leaked",
)  # fields that older rows do not have
ENDINGS = ("task", "fence")  # where an answer ends: at the task's stop strings, or where its code fence is closed
LENGTH_RULES = ("answer", "with-prompt")  # tokens that the score of a beam's answer is divided by
SPLITS = ("validation", "test")  # that answer a question: the one to choose settings, the other to report


@dataclass(frozen=True)
class Training:
    """How a method is fitted; the same for every method of a comparison, its learning rate excepted."""

    epochs: int = 5
    batch_size: int = 8  # examples a step
    device_batch: int = 8  # examples a forward pass, of validation too; accumulated to batch_size
    optimizer: str = "adafactor"  # a name that transformers' TrainingArguments(optim=…) knows
    schedule: str = "linear"  # a name that transformers' get_scheduler knows
    warmup_share: float = 0.05  # of all steps
    weight_decay: float = 0.0
    evaluations_an_epoch: int = 5  # validation losses; the checkpoint with the lowest is kept
    gradient_checkpointing: bool = False  # less memory, more seconds

    def __post_init__(self):
        for name in ("epochs", "batch_size", "device_batch", "evaluations_an_epoch"):
            whole(name, getattr(self, name))
        share("warmup_share", self.warmup_share)
        if self.weight_decay:
            positive("weight_decay", self.weight_decay)
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
    stop: str = "each-answer"  # all-beams: a search goes on until every beam has a stop string, as the study's did
    length_rule: str = "answer"  # with-prompt: long prompts make length count less, as in transformers before 4.36
    ending: str = "task"  # fence: a chat model's answer goes on to its closing fence, over lines

    def __post_init__(self):
        one_of("stop", self.stop, STOPS)
        one_of("length_rule", self.length_rule, LENGTH_RULES)
        one_of("ending", self.ending, ENDINGS)
        for name in ("beams", "returned", "batch_size"):
            whole(name, getattr(self, name))
        if not isinstance(self.early_stopping, bool):
            raise ValueError(f"early_stopping must be True or False; got {self.early_stopping!r}")
        if self.temperature is not None:
            positive("temperature", self.temperature)
        positive("top_p", self.top_p)
        if self.top_p > 1:
            raise ValueError(f"top_p must be at most 1, for all tokens; got {self.top_p}")
        if self.temperature is None and self.returned > self.beams:
            raise ValueError(
                f"returned must be at most beams without sampling; got {self.returned} answers of {self.beams} beams: "
                "ask for fewer answers, more beams or a temperature"
            )
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

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Run:
    """Everything that determines one result, but for the content of data and model."""

    model: str  # a short key, a Hub id, a local folder or a GGUF file
    task: str  # a name in nblib.tasks.TASKS
    method: Method
    precision: str = "fp32"
    training: Training | None = None  # None where nothing is trained
    decoding: Decoding = field(default_factory=Decoding)
    seed: int = 42
    limit: int | None = None  # only the first examples of the split: a partial result
    data_dir: str | None = None  # where the task's files are; None: as the task says
    train_task: str | None = None  # another task, whose examples are trained on or shown; None: the task itself
    split: str = "test"  # whose examples are the queries; validation to choose settings
    study_scores: bool = False  # em_study@k and codebleu_study, too: answers end as in the study's package
    shape_only: bool = False  # random weights: bytes and seconds count, answers do not; limit bounds its training too
    trust_remote_code: bool = False  # code that the model's makers keep beside its weights may be run
    max_train: int | None = None  # only the first training rows are trained on, shown or retrieved; of each joined task
    user_data: UserData | None = None  # a user's own, of which `task` is the name; its content counts, not its place
    drop_leaked: bool = False  # test rows whose intent is in the training rows, or nearly, are left out

    def __post_init__(self):
        one_of("precision", self.precision, PRECISIONS)
        one_of("split", self.split, SPLITS)
        whole("seed", self.seed, at_least=0)
        if self.seed >= SEEDS:
            raise ValueError(f"seed must be below 2**32, which NumPy can take; got {self.seed}")
        for name in ("limit", "max_train"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name))
        if not isinstance(self.trust_remote_code, bool):  # any text would be taken for a yes
            raise ValueError(f"trust_remote_code must be True or False; got {self.trust_remote_code!r}")
        if self.method.trained and self.training is None:
            raise ValueError(f"{self.method.kind} is trained, so it needs training settings; got None")
        if isinstance(self.method, FullTuning) and self.precision in QUANTIZED:
            raise ValueError(
                f"full trains every weight, and {self.precision} weights cannot be trained: take fp32 or bf16, or lora"
            )
        if not self.method.trained and self.training is not None:
            raise ValueError(f"{self.method.kind} trains nothing, so training must be None")
        if self.train_task is not None and isinstance(self.method, ZeroShot):
            raise ValueError(
                f"zero-shot reads no training examples, so train_task must be None; got {self.train_task!r}"
            )
        if self.max_train is not None and isinstance(self.method, ZeroShot):
            raise ValueError(f"zero-shot reads no training examples, so max_train must be None; got {self.max_train}")


def settings(run: Run) -> dict:
    """The run as plain values, every field in it; the method carries its name as `kind`.

    A field that was added later is there where it is not as before: then rows of all versions compare.
    """
    plain = asdict(run) | {"method": {"kind": run.method.kind} | asdict(run.method)}
    for part, given in ((run, plain), (run.decoding, plain["decoding"])):
        for each in fields(part):
            if each.name in ADDED and given[each.name] == each.default:
                del given[each.name]
    return plain


def run_id(run: Run, *, data: str, weights: str) -> str:
    """A readable name with a hash of all that determines the result.

    `data` and `weights` are revisions or content hashes. Only settings that differ from their defaults are hashed, so
    that a field added later keeps the ids of old results.
    """
    changed = {"data": data, "weights": weights} | _changed(run) | _parts(run, "training", "decoding")
    for place in ("data_dir", "user_data"):
        changed.pop(place, None)  # the content counts, not the place
    changed["model"] = _known_name(run.model)
    name = f"{_last(run.model)}.{run.task}.{label(run.method)}.{run.precision}.seed{run.seed}.{_digest(changed)}"
    return name.lower()


def training_id(run: Run, *, data: str, weights: str) -> str:
    """A readable name with a hash of all that determines the trained weights: runs that share them share it.

    `data` and `weights` are revisions or content hashes, of the data that is trained on.
    """
    changed = {"data": data, "weights": weights, "precision": run.precision, "seed": run.seed} | _parts(run, "training")
    changed |= {"trust_remote_code": True} if run.trust_remote_code else {}
    changed["model"] = _known_name(run.model)
    if run.max_train is not None:
        changed["max_train"] = run.max_train
    task = run.train_task or run.task
    return f"{_last(run.model)}.{task}.{label(run.method)}.{run.precision}.seed{run.seed}.{_digest(changed)}".lower()


def _parts(run: Run, *names: str) -> dict:
    """The method and the named parts, as far as they are there."""
    there = {name: _changed(part) for name in names if (part := getattr(run, name)) is not None}
    return {"method": {"kind": run.method.kind} | _changed(run.method)} | there


def _changed(part) -> dict:
    """Fields that differ from their defaults; fields without a default always count."""
    return {
        each.name: getattr(part, each.name)
        for each in fields(part)
        if each.default is MISSING or getattr(part, each.name) != each.default
        if each.name not in ("method", "training", "decoding")
    }


def _known_name(model: str) -> str:
    """A short key; the place of a folder, of a GGUF file or on the Hub does not count, its content does."""
    return "" if "/" in model or "\\" in model or model.lower().endswith(".gguf") else model


def _last(model: str) -> str:
    return model.replace("\\", "/").rstrip("/").split("/")[-1]


def _digest(values: dict) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:10]

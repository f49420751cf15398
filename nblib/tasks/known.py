"""The known tasks: where each is found, its limits, its prompt and how it is scored."""

import json
from dataclasses import replace

from nblib.spec import Run
from nblib.tasks.schema import Example, Task

# Longest intent and longest answer in tokens, where an answer ends, then what is particular. The commits are those that
# the repositories' pages showed; codealpaca-filtered's was not to be seen in full.
_ONE_LINE, _PROGRAM = Task(64, 64, ("\n",)), Task(512, 512, ("\n###",), executed=True, sampled=True)
_APPS = Task(
    1024,
    1024,
    ("\n### Instruction",),
    hub="codeparrot/apps",
    files=("train.jsonl", "", "test.jsonl"),
    revision="21e74ddf8de1a21436da12e3e653065c5213e9d1",
    columns="apps",
    prompt="apps",
    executed=True,
    sampled=True,
    training_tokens=1024,
    held_out=500,
    problems_a_difficulty=250,
    download_bytes=1_400_000_000,
)
_ODEX = replace(
    _ONE_LINE,
    hub="neulab/odex",
    files=("", "", "en_test.jsonl"),
    published=("en_test.jsonl",),
    revision="c3741a66c486b1a23beefdf6c75b06dba288d4f9",
    columns="odex",
    executed=True,
    unseen_by="conala",
)
_MBPP = replace(
    _PROGRAM,
    hub="google-research-datasets/mbpp",
    files=("sanitized/train-*.parquet", "sanitized/validation-*.parquet", "sanitized/test-*.parquet"),
    published=("sanitized-mbpp.json",),
    revision="4bb6404fdc6cacfda99d4ac4205087b89d32030c",
    columns="mbpp",
    ids=((601, 974), (511, 600), (11, 510)),  # 1 to 10 are for prompts
)
_HUMANEVAL = replace(
    _PROGRAM,
    hub="openai/openai_humaneval",
    files=("", "", "openai_humaneval/test-*.parquet"),
    published=("HumanEval.jsonl.gz", "HumanEval.jsonl"),
    revision="7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
    columns="humaneval",
)
TASKS = {
    "conala-mini": replace(_ONE_LINE, house_style=True),  # generated, as the next two
    "codealpaca-mini": Task(128, 128, ("\n\n", "\n###"), house_style=True),  # short Python functions
    "apps-mini": Task(
        256, 128, ("\n\n", "\n###"), columns="apps", executed=True, sampled=True
    ),  # over lists of integers
    "conala": replace(  # Stack Overflow's titles, DocPrompting's split
        _ONE_LINE,
        hub="neulab/docprompting-conala",
        files=("conala-train.jsonl", "conala-dev.jsonl", "conala-test.jsonl"),
        revision="48df7abf0f64f9279b4ee04386272eb9dc89ef89",
    ),
    "codealpacapy": Task(
        64,
        128,
        ("\n###",),
        hub="antolin/codealpaca-filtered",
        files=("data/train-*.parquet", "data/valid-*.parquet", "data/test-*.parquet"),
    ),
    "apps": _APPS,  # the study's test subset
    "apps-all": replace(_APPS, problems_a_difficulty=None),
    "odex": _ODEX,  # without the intents that CoNaLa trains on
    "odex-all": replace(_ODEX, unseen_by=""),
    "mbpp": _MBPP,  # the sanitized form
    "mbpp-full": replace(
        _MBPP,
        files=("full/train-*.parquet", "full/validation-*.parquet", "full/test-*.parquet"),
        published=("mbpp.jsonl",),
    ),
    "humaneval": _HUMANEVAL,
    "humaneval-body": replace(  # answers go on from the prompt, as published
        _HUMANEVAL, stops=("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint("), columns="humaneval-body"
    ),
}


def get(name: str) -> Task:
    """The task of that name, or `a+b` for known tasks joined. Raises ValueError for an unknown one."""
    if "+" in name:
        return _joint(name.split("+"))
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, or some of them joined by +; got {name!r}")
    return TASKS[name]


def of(run: Run) -> Task:
    """The task whose queries a run answers: a known one, or that of a user's own data."""
    if (own := run.user_data) is None:
        return get(run.task)
    limits = own.input_tokens, own.output_tokens, own.stops
    return Task(*limits, language=own.language, instruction=own.instruction, executed=own.executed)


def trained(run: Run) -> Task:
    """The task that a run trains on or takes its shots from."""
    return get(run.train_task) if run.train_task else of(run)


def settings(task: Task) -> str:
    """What of a task's definition determines a result besides its rows: lengths, stops, prompt. As text, for a hash."""
    names = ("input_tokens", "output_tokens", "training_tokens", "stops", "prompt")
    parts = [get(part) for part in task.parts] or [task]
    values = [[getattr(part, setting) for setting in names] for part in parts]
    return json.dumps([*values, task.instruction] if task.instruction else values)


def source(task: Task, example: Example) -> Task:
    """The task whose limits and stops hold for an example: the part that it comes from, where tasks are joined."""
    return TASKS[example.source] if example.source else task


def _joint(names: list[str]) -> Task:
    """What holds for every part; the lengths are the largest, so ask `source` for an example's own."""
    parts = [get(name) for name in names]
    if len(set(names)) < len(names):
        raise ValueError(f"a joint task must name each task once; got {'+'.join(names)!r}")
    if len({part.prompt for part in parts}) > 1:
        styles = ", ".join(f"{name} with {part.prompt}" for name, part in zip(names, parts, strict=True))
        raise ValueError(f"tasks of one prompt style can be joined; got {styles}")
    return Task(
        input_tokens=max(part.input_tokens for part in parts),
        output_tokens=max(part.output_tokens for part in parts),
        stops=tuple(stop for stop in parts[0].stops if all(stop in part.stops for part in parts)),
        prompt=parts[0].prompt,
        executed=any(part.executed for part in parts),
        house_style=all(part.house_style for part in parts),
        sampled=all(part.sampled for part in parts),
        parts=tuple(names),
    )

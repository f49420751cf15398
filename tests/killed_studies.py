"""Runs studies in processes that are killed, or two at a time. Imports everything once: its children are forks.

python killed_studies.py kill FOLDER MODEL DATA_DIR SEED: studies in FOLDER/0, FOLDER/1… until there was every kill.
python killed_studies.py share FOLDER MODEL DATA_DIR: two processes on FOLDER.
The last line is JSON: what happened.
"""

import json
import os
import random
import select
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import small

from nblib import methods, metrics, models, presets, results, spec, study, train
from nblib.study import resume, run
from nblib.train import checkpoints

STAGES = {  # one letter each, told at every call
    "l": (models, "load"),
    "t": (methods, "after_step"),
    "c": (checkpoints, "_finish"),
    "a": (methods, "save"),
    "g": (resume.Answers, "keep"),
    "s": (metrics, "score"),
    "w": (results, "_write"),
}
KILLS = 2 * "ltttcaggggsww"  # by stage
OFTEN = "tgcw"  # stages that a study reaches several times
SETTINGS = presets.Preset(
    methods=(spec.ZeroShot(), spec.Lora(learning_rate=1e-2), spec.FullTuning(learning_rate=1e-3)),
    seeds=(1,),
    icl_seeds=(1,),
    training=spec.Training(epochs=2, optimizer="adamw_torch", evaluations_an_epoch=3),
    decoding=spec.Decoding(beams=1, returned=2, temperature=1.0, batch_size=2),
)


def prepare() -> None:
    """Small answers, and a checkpoint at every evaluation."""
    presets.PRESETS["killed"] = SETTINGS
    small.often(pytest.MonkeyPatch())


def planned(model: str, data_dir: str) -> list[study.Planned]:
    """A run without training, two that share one, and a full tuning; sampled answers."""
    runs = study.compare(model, "conala", preset="killed", precision="fp32", data_dir=data_dir)
    runs.insert(2, replace(runs[1], decoding=spec.Decoding(beams=2, returned=1, batch_size=2)))
    return study.plan(runs)


def work(runs: list[study.Planned], folder: Path, pipe: int) -> None:
    """A child's part: the study, telling each stage and each run that it begins."""
    for letter, (place, name) in STAGES.items():
        setattr(place, name, _writing(getattr(place, name), letter, pipe))
    whole, fit = run.run_one, train.fit

    def run_one(planned, *given, **named):
        with (folder.parent / f"{folder.name}.begun").open("a") as begun:
            print(planned.id, results.written(folder, planned.id) is not None, file=begun)
        return whole(planned, *given, **named)

    def fitted(*given, **named):
        with (folder.parent / f"{folder.name}.trained").open("a") as trained:
            print(named["checkpoints"].folder.name, file=trained)
        return fit(*given, **named)

    run.run_one, train.fit = run_one, fitted
    study.run_all(runs, folder)


def _writing(whole, letter: str, pipe: int):
    def call(*given, **named):
        os.write(pipe, letter.encode())
        return whole(*given, **named)

    return call


def child(runs: list[study.Planned], folder: Path) -> tuple[int, int]:
    """A forked process at work: its number, and where it tells."""
    pipe, telling = os.pipe()
    number = os.fork()
    if number:
        os.close(telling)
        return number, pipe
    code = 1
    try:
        os.close(pipe)
        work(runs, folder, telling)
        code = 0
    finally:
        os._exit(code)


def killed(runs: list[study.Planned], folder: Path, stage: str, chance: random.Random) -> bool:
    """Whether a process was killed a moment after that stage; if not, it came to the end of its study."""
    count = chance.randint(1, 3 if stage in OFTEN else 1)
    number, pipe = child(runs, folder)
    seen = ""
    while letter := os.read(pipe, 1).decode():
        seen += letter
        if seen.count(stage) == count:
            select.select([], [], [], chance.uniform(0, 0.03))  # anywhere until the next stage, or beyond
            os.kill(number, signal.SIGKILL)
            break
    os.close(pipe)
    _, status = os.waitpid(number, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0, f"a child failed at {seen}"
    return False


def kill(folder: str, model: str, data_dir: str, seed: str) -> dict:
    """Studies one after the other, until there was every kill and the last study is whole."""
    runs, chance = planned(model, data_dir), random.Random(int(seed))
    wanted, done, studies = chance.sample(KILLS, len(KILLS)), "", 0
    while wanted or studies == 0:
        while killed(runs, Path(folder) / str(studies), wanted[-1] if wanted else "-", chance):
            done += wanted.pop()
        studies += 1
    return {"stages": done, "studies": studies}


def share(folder: str, model: str, data_dir: str) -> dict:
    """Two processes with the same runs, the second in the other order; both come to the end."""
    runs = planned(model, data_dir)
    children = [child(order, Path(folder)) for order in (runs, runs[::-1])]
    for _, pipe in children:
        os.set_blocking(pipe, True)
    open_pipes = {pipe for _, pipe in children}
    while open_pipes:
        for pipe in select.select(list(open_pipes), [], [])[0]:
            if not os.read(pipe, 1000):
                open_pipes.discard(pipe)
    return {"codes": [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number, _ in children]}


if __name__ == "__main__":
    prepare()
    print(json.dumps({"kill": kill, "share": share}[sys.argv[1]](*sys.argv[2:])))

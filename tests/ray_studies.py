"""Studies on a Ray cluster of several nodes on this machine, whose driver is killed, and then nodes.

python ray_studies.py disturb ADDRESS MODEL DATA_DIR KILLS SEED: the first driver is killed, then nodes come and are.
python ray_studies.py refuse FOLDER MODEL DATA_DIR: what is said of stores that cannot be written, and of an interrupt.
python ray_studies.py measure FOLDER MODEL DATA_DIR RUNS WORKERS: the same runs here and on so many workers.
The last line is JSON: what happened.
"""

import io
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from nblib import presets, spec, stores, study
from nblib.study import parallel
from nblib.train import checkpoints

BRIEF = spec.Training(epochs=2, optimizer="adamw_torch", evaluations_an_epoch=2)
SETTINGS = presets.Preset(
    methods=(
        spec.ZeroShot(),
        spec.InContext(1),
        spec.Lora(learning_rate=1e-2),
        spec.FullTuning(learning_rate=1e-3),
    ),
    shots=(1,),
    seeds=tuple(range(6)),
    icl_seeds=tuple(range(5)),
    training=BRIEF,
    decoding=spec.Decoding(beams=1, returned=1, batch_size=4),
)
STORE_BYTES = 100_000_000  # of Ray's objects, on each node


def planned(model: str, data_dir: str) -> list[study.Planned]:
    """24 runs, of which 12 share 6 trainings."""
    presets.PRESETS["clustered"] = SETTINGS
    runs = study.compare(model, "conala", preset="clustered", precision="fp32", data_dir=data_dir)
    again = [
        replace(run, decoding=spec.Decoding(beams=2, returned=1)) for run in runs if isinstance(run.method, spec.Lora)
    ]
    return study.plan([*runs, *again])


def cluster(nodes: int, cpus: int = 1) -> Cluster:
    """A head that does no work, and nodes that do."""
    settings = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    made = Cluster()
    repeated(lambda: made.add_node(num_cpus=0, **settings))
    for _ in range(nodes):
        repeated(lambda: add(made, cpus))
    os.environ["RAY_ADDRESS"] = made.address
    return made


def repeated(start):
    """A busy machine may need more than Ray's 30 seconds."""
    for _ in range(2):
        with suppress(Exception):
            return start()
    return start()


def often() -> None:
    """In each process: what a run has is copied all the time, with each validation a checkpoint; claims end soon."""
    stores.PUSH_SECONDS, checkpoints.MIN_INTERVAL_SECONDS, checkpoints.MAX_OVERHEAD = 0.1, 0.0, math.inf
    stores.CLAIM_SECONDS = 15.0


def add(made: Cluster, cpus: int = 1):
    return made.add_node(num_cpus=cpus, memory=2**32, object_store_memory=STORE_BYTES, include_dashboard=False)


def disturb(address: str, model: str, data_dir: str, kills: str, seed: str) -> dict:
    """Whether each kill came in the middle of a run is chance; rows tell when the next one is due."""
    chance, done, folder = random.Random(int(seed)), [], Path(address.partition("://")[2])
    count, made = len(planned(model, data_dir)), cluster(3)
    left = killed_driver(address, folder, model, data_dir)
    nodes, begun = list(made.worker_nodes), time.monotonic()
    driver = driven(address, model, data_dir, stdout=subprocess.PIPE)
    for kill in range(int(kills)):
        due = len(left) + kill * (count - len(left)) // (int(kills) + 1)
        while len(rows(folder)) <= due and driver.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 2))
        if driver.poll() is not None:
            break
        made.remove_node(nodes.pop(chance.randrange(len(nodes))), allow_graceful=False)
        done.append(len(rows(folder)))
        while len(nodes) < 2 and driver.poll() is None:
            nodes.append(repeated(lambda: add(made)))
    printed = driver.communicate()[0]
    said = [line for line in printed.splitlines() if line.startswith("{")]  # Ray may speak last
    assert driver.returncode == 0, printed[-2000:]
    took = time.monotonic() - begun
    made.shutdown()
    kept = sum(rows(folder)[name] == at for name, at in left.items())
    return json.loads(said[-1]) | {"left": len(left), "kept": kept, "rows_at_kills": done, "seconds": round(took)}


def driven(address: str, model: str, data_dir: str, **settings) -> subprocess.Popen:
    """A driver of its own: what this process starts of Ray has to be in its main thread."""
    return subprocess.Popen([sys.executable, __file__, "drive", address, model, data_dir], text=True, **settings)


def killed_driver(address: str, folder: Path, model: str, data_dir: str) -> dict[str, int]:
    """The rows that a driver leaves which is killed after its third."""
    first = driven(address, model, data_dir, stdout=subprocess.DEVNULL)
    while len(rows(folder)) < 3 and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    return rows(folder)


def drive(address: str, model: str, data_dir: str) -> dict:
    often()
    hook = {"worker_process_setup_hook": "ray_studies.often"}
    ray.init(runtime_env=hook, log_to_driver=False, logging_level="ERROR")
    found = study.run_all(planned(model, data_dir), address, engine="ray")
    resumed = sum("training_resumed" in row.notes or "answers_resumed" in row.notes for row in found)
    return {"errors": [row.error for row in found if row.error], "resumed": resumed}


def rows(folder: Path) -> dict[str, int]:
    """Name -> when it was written, in nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def refuse(folder: str, model: str, data_dir: str) -> dict:
    made, told = cluster(1), {}
    blocked = Path(folder) / "blocked"
    blocked.mkdir(parents=True)
    (blocked / "adapters").touch()  # a file where a folder has to be
    trained = [one for one in planned(model, data_dir) if one.training][:2]
    for name, store in {
        "blocked": blocked,
        "elsewhere": "memory://study",
        "unreachable": "ftp://127.0.0.1:9/x",
    }.items():
        try:
            told[name] = [row.status for row in study.run_all(trained, store, engine="ray")]
        except OSError as problem:
            told[name] = str(problem)
    told |= interrupted(Path(folder) / "interrupted", [one for one in planned(model, data_dir) if not one.training])
    ray.shutdown()
    made.shutdown()
    return told


def interrupted(folder: Path, runs: list[study.Planned]) -> dict:
    """What is said when a cell is interrupted after its first row, and how many rows are missing in the end."""

    def interrupt() -> None:
        while not rows(folder):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with redirect_stdout(io.StringIO()) as said, suppress(KeyboardInterrupt):
        study.run_all(runs, folder, engine="ray")
    cancelled, going_on = map(int, re.findall(r"\d+", said.getvalue()))
    until = time.monotonic() + 60
    while len(rows(folder)) < len(runs) - cancelled and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(2 * parallel.POLL_SECONDS)  # in which one that was not cancelled would begin
    return {
        "said": said.getvalue(),
        "cancelled": cancelled,
        "going_on": going_on,
        "missing": len(runs) - len(rows(folder)),
    }


def measure(folder: str, model: str, data_dir: str, count: str, workers: str) -> dict:
    """Seconds of the same trivial runs, once everything is started: in this process, and as tasks."""
    presets.PRESETS["clustered"] = replace(SETTINGS, methods=(spec.InContext(1),), icl_seeds=tuple(range(int(count))))
    runs = study.plan(study.compare(model, "conala", preset="clustered", precision="fp32", data_dir=data_dir, limit=1))
    warm = study.plan([replace(one.run, limit=2) for one in runs[: 2 * int(workers)]])
    study.run_all(warm, Path(folder) / "warm")
    begun = time.monotonic()
    study.run_all(runs, Path(folder) / "local")
    local = time.monotonic() - begun
    made = cluster(1, int(workers))
    begun = time.monotonic()
    ray.init(log_to_driver=False, logging_level="ERROR")
    connected = time.monotonic() - begun
    begun = time.monotonic()
    study.run_all(warm, Path(folder) / "started", engine="ray")
    started = time.monotonic() - begun
    begun = time.monotonic()
    study.run_all(runs, Path(folder) / "ray", engine="ray")
    on_ray = time.monotonic() - begun
    ray.shutdown()
    made.shutdown()
    each = {"local_seconds_a_run": local / len(runs), "ray_seconds_a_run": on_ray / len(runs)}
    return {"workers": int(workers), "connect_seconds": connected, "first_seconds": started, **each}


if __name__ == "__main__":
    commands = {"disturb": disturb, "drive": drive, "refuse": refuse, "measure": measure}
    print(json.dumps(commands[sys.argv[1]](*sys.argv[2:])))

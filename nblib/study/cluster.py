"""Runs on a Ray cluster: each training with the runs that share it is a task, which goes where there is room for it.

A task works in a folder of its machine with what the store has of its runs, and copies back what it does. One whose
machine died begins again elsewhere, where the other stopped.
"""

import logging
import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nblib import memory, models, provenance, results, spec, stores
from nblib.memory.planning import DRIVER_BYTES, RESERVED_SHARE
from nblib.progress import Progress
from nblib.study import fitting, parallel
from nblib.study.estimates import peaks, weights
from nblib.study.planning import Planned

AHEAD = 8  # tasks that wait on the cluster, beside as many as it has processors: it may add machines for them
RETRIES = 5  # of a task whose process or machine died
STARTS = 3  # a busy machine may need more than Ray's 30 seconds to start it
MARGIN = 1.05  # predictions were up to 4.9 % too little, see docs/memory.md
SETTINGS = {  # of Ray, where the user has none
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of tasks that are cancelled
    "RAY_task_oom_retries": "0",  # out of memory is a result
}
BASE = fitting.Base()  # of a process that works for the cluster: its next task may have the same model


def work(waiting: Sequence[Planned], store: str | Path, options: dict) -> None:
    """Runs them all. What was done when something cannot be written, or when it is interrupted, is kept.

    Raises ImportError without Ray and for a machine with other packages, ConnectionError where Ray cannot be reached,
    OSError where a machine does not see `store` or cannot write to it.
    """
    ray = _connected()
    address = str(store) if stores.is_address(store) else f"file://{Path(store).expanduser().absolute()}"
    seconds, known = weights(waiting, stores.rows_here(store))
    processes = int(ray.cluster_resources().get("CPU", 1))
    progress = Progress(len(waiting), sum(seconds.values()), known=known, processes=processes)
    with stores.Claims(address).kept() as claims:
        _Study(ray, address, options, claims, _needs(ray, waiting)).run(parallel.groups(waiting), seconds, progress)


@dataclass
class _Study:
    """Tasks that have been handed to the cluster, and what is to be known of them."""

    ray: Any  # the package
    address: str
    options: dict
    claims: stores.Claims
    needs: dict[str, dict]  # run -> what its task asks of a machine
    running: dict[Any, list[Planned]] = field(default_factory=dict)  # reference of a task -> its runs
    data: dict[int, Any] = field(default_factory=dict)  # references of rows that tasks read: they travel once
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self, undone: list[list[Planned]], seconds: dict[str, float], progress: Progress) -> None:
        """Until all is done."""
        done: list[Planned] = []
        try:
            while undone or self.running:
                whole, free = self.ray.cluster_resources(), self.ray.available_resources()
                used = [f"{whole[name] - free.get(name, 0):g} {name}s" for name in ("CPU", "GPU") if name in whole]
                progress.begin(f"{' and '.join(used)} of {sum(node['Alive'] for node in self.ray.nodes())} nodes", 0.0)
                self._submit(undone, int(whole.get("CPU", 1)) + AHEAD - len(self.running))
                for reference in self._ended():
                    group = self.running.pop(reference)
                    left = self._collect(reference, group)
                    undone += [left] if left else []
                    self.claims.release(parallel.shared(group[0]))
                    done += group[: len(group) - len(left)]
                    progress.end(len(done), sum(seconds[one.id] for one in done))
        except KeyboardInterrupt:
            self._interrupted(sum(map(len, undone)))
            raise

    def _submit(self, undone: list[list[Planned]], count: int) -> None:
        """Hands out as much as the cluster can soon begin with."""
        for group in list(undone):
            if count <= 0:
                break
            if self.claims.take(parallel.shared(group[0])):
                undone.remove(group)
                self.running[self._task(group)] = group
                count -= 1

    def _task(self, group: list[Planned]) -> Any:
        for one in group:
            if id(one.data) not in self.data:
                self.data[id(one.data)] = self.ray.put(one.data)
        name = parallel.shared(group[0])
        facts = {"key": f"{self.name}/{name}", "claim": self.claims.held[name], "versions": provenance.versions()}
        bare = [replace(one, data=None) for one in group]  # type: ignore[arg-type]  # it comes by its reference
        remote = self.ray.remote(max_retries=RETRIES, retry_exceptions=False, **self.needs[group[0].id])(_work)
        return remote.remote(facts, self.address, bare, self.options, *[self.data[id(one.data)] for one in group])

    def _ended(self) -> Sequence:
        if self.running:
            return self.ray.wait([*self.running], timeout=parallel.POLL_SECONDS)[0]
        time.sleep(parallel.POLL_SECONDS)  # others work on what is left
        return ()

    def _collect(self, reference: Any, group: list[Planned]) -> list[Planned]:
        """What a task leaves undone: where its process died again and again, a row says so, and the rest is left."""
        errors = self.ray.exceptions
        try:
            self.ray.get(reference)
        except errors.RayTaskError as problem:
            self._cancel([*self.running])
            raise problem.cause from None
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as problem:
            status = results.OUT_OF_MEMORY if isinstance(problem, errors.OutOfMemoryError) else results.FAILED
            error = f"{type(problem).__name__}: its process died: {str(problem).strip().splitlines()[0]}"
            with stores.worked_on(self.address, *[f"{one.id}.json" for one in group]) as folder:
                left = [one for one in group if results.written(folder, one.id) is None]
                for one in left[:1]:
                    made = provenance.collect() | {"data": one.data.content}
                    row = results.Row(one.id, spec.settings(one.run), status, {}, {}, {}, made, error)
                    results.write(folder, row)
            return left[1:]
        return []

    def _interrupted(self, undone: int) -> None:
        """Cancels what has not begun, and says what goes on."""
        listed = self.ray.experimental.internal_kv._internal_kv_list(self.name)
        begun = {key.decode().rpartition("/")[2] for key in listed}
        waiting = [reference for reference, group in self.running.items() if parallel.shared(group[0]) not in begun]
        self._cancel(waiting)
        undone += sum(len(self.running.pop(reference)) for reference in waiting)
        for group in self.running.values():
            del self.claims.held[parallel.shared(group[0])]  # its task keeps it
        print(
            f"{undone} runs had not begun and are cancelled; {sum(map(len, self.running.values()))} go on on the "
            "cluster as long as this process lives, and their rows are kept"
        )

    def _cancel(self, references: Sequence) -> None:
        for reference in references:
            self.ray.cancel(reference, force=False)


def _work(facts: dict, address: str, group: list[Planned], options: dict, *rows: Any) -> None:
    """A task, on its machine. Raises ImportError where packages differ, OSError where the store is out of sight."""
    import ray

    ray.experimental.internal_kv._internal_kv_put(facts["key"], b"begun", overwrite=True)
    _require_same(facts["versions"])
    store = stores.Store(address)
    if not store.fs.exists(facts["claim"]):
        shared = "give a folder that all machines share, or an address such as s3://bucket/study"
        raise OSError(f"machine {os.uname().nodename} does not see {address}: {shared}")
    whole = [replace(one, data=data) for one, data in zip(group, rows, strict=True)]
    with store.renewed(facts["claim"]):
        parallel.work_at(whole, address, options | {"processes": int(ray.cluster_resources()["CPU"])}, kept=BASE)


def _require_same(versions: dict) -> None:
    own = provenance.versions()
    if other := [f"{name} {own[name]} for {wanted}" for name, wanted in versions.items() if own[name] != wanted]:
        raise ImportError(f"machine {os.uname().nodename} has {', '.join(other)}: install the same versions there")


# --- the cluster ------------------------------------------------------------------------------------------------------


def _connected() -> Any:
    """Ray, connected to the cluster that runs, or to one that it starts; it stays so, for the next study."""
    try:
        import ray
        import ray.experimental.internal_kv
    except ImportError as problem:
        raise ImportError(
            "engine = 'ray' needs the package ray, which is not installed: pip install \"nblib[ray]\", or take "
            "engine = 'local'"
        ) from problem
    os.environ |= {name: os.environ.get(name, value) for name, value in SETTINGS.items()}
    for attempt in range(1, STARTS + 1):
        try:
            context = None if ray.is_initialized() else ray.init(log_to_driver=False, logging_level=logging.ERROR)
            if context is not None and context.dashboard_url:  # its truth is a length, of which Ray warns
                print(f"Ray's dashboard: http://{context.dashboard_url}")
            return ray
        except Exception as problem:  # a time limit within Ray, in several kinds
            print(f"Ray did not start or could not be reached, attempt {attempt} of {STARTS}: {problem}")
            ray.shutdown()
    raise ConnectionError(
        "Ray could not be started or reached: name a running cluster in RAY_ADDRESS, try again when this machine is "
        "less busy, or take engine = 'local'"
    )


def _needs(ray: Any, waiting: Sequence[Planned]) -> dict[str, dict]:
    """Run -> what its task asks of a machine: a part of a GPU where there are some, else memory."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    has_gpus = any(node.get("GPU") for node in nodes)
    card = memory.device_bytes() if models.device() == "cuda" else None  # the others' are taken to be like it
    most = int(max(node.get("memory", 0) for node in nodes))
    found = {}
    for one, peak in zip(waiting, peaks(waiting, "cuda" if has_gpus else "cpu"), strict=True):
        needed = most if peak is None else min(most, parallel.PROCESS_BYTES + peak)
        room = {"num_gpus": gpu_share(peak, card)} if has_gpus else {"memory": needed}
        found[one.id] = {"num_cpus": one.run.threads} | room
    return found


def gpu_share(peak_bytes: int | None, card_bytes: int | None) -> float:
    """The part of a card that a run needs, with a margin: 1 or 1/n; 1 where either is not known."""
    if peak_bytes is None or card_bytes is None:
        return 1.0
    runs = int(card_bytes * (1 - RESERVED_SHARE) / (peak_bytes * MARGIN + DRIVER_BYTES))
    return int(10_000 / max(1, runs)) / 10_000  # rounded down, to Ray's precision

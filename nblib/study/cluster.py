"""Runs on a Ray cluster: each training with the runs that share it is a task, which goes where there is room for it.

Tasks work as processes of one machine do. One whose node died begins again elsewhere, where the other stopped.
"""

import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nblib import provenance, results, spec, stores
from nblib.memory.planning import DRIVER_BYTES, RESERVED_SHARE
from nblib.progress import Progress
from nblib.results import Row
from nblib.study import fitting, parallel
from nblib.study.estimates import peaks
from nblib.study.planning import Planned

AHEAD = 8  # tasks that wait on the cluster, beside as many as it has processors: it may add nodes for them
RETRIES = 5  # of a task whose process or node died
STARTS = 3  # a busy machine may need more than Ray's 30 seconds to start it
MARGIN = 1.05  # predictions were up to 4.9 % too little, see docs/memory.md
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_task_oom_retries": "0"}
BASE = fitting.Base()  # of a process that works for the cluster: its next task may have the same model


def work(waiting: Sequence[Planned], store: str | Path, options: dict) -> None:
    """Runs them all. What was done when something cannot be written, or when it is interrupted, is kept.

    Raises ImportError without Ray and for a node with other packages, ConnectionError where Ray cannot be reached,
    OSError where a machine does not see `store` or cannot write to it.
    """
    ray = _package()
    with ExitStack() as stack:
        study = _Study(ray, stack.enter_context(_place(store)), options, before=_before(waiting, store))
        stack.enter_context(_connected(ray))
        study.needs = _needs(ray, waiting)
        study.run(parallel.groups(waiting))


def _before(waiting: Sequence[Planned], store: str | Path) -> dict[str, int | None]:
    """When the rows that are there already were written; at an address each task finds out."""
    there = not stores.is_address(store)
    return {one.id: results.written(Path(store).expanduser(), one.id) if there else None for one in waiting}


@dataclass
class _Study:
    """Tasks that have been handed to the cluster, and what each of them needs to know."""

    ray: Any  # the package
    place: "_Place"
    options: dict
    before: dict[str, int | None]
    needs: dict[str, dict] = field(default_factory=dict)  # by run: what its task asks of a node
    running: dict[Any, list[Planned]] = field(default_factory=dict)  # by the reference of a task
    data: dict[int, Any] = field(default_factory=dict)  # references of rows that tasks read: they travel once
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def run(self, undone: list[list[Planned]]) -> None:
        """Until all is done."""
        done, progress = 0, Progress(sum(map(len, undone)))
        try:
            while undone or self.running:
                self._submit(undone)
                progress.begin(self._describe())
                for reference in (
                    self.ray.wait([*self.running], timeout=parallel.POLL_SECONDS)[0] if self.running else ()
                ):
                    group = self.running.pop(reference)
                    left = self._collect(reference, group)
                    undone += [left] if left else []
                    self.place.release(group)
                    progress.end(done := done + len(group) - len(left))
        except KeyboardInterrupt:
            self._interrupted(sum(map(len, undone)))
            raise
        finally:
            self.ray.experimental.internal_kv._internal_kv_del(self.name, del_by_prefix=True)

    def _ended(self) -> Sequence:
        if self.running:
            return self.ray.wait([*self.running], timeout=parallel.POLL_SECONDS)[0]
        time.sleep(parallel.POLL_SECONDS)  # others work on what is left
        return ()

    def _submit(self, undone: list[list[Planned]]) -> None:
        """Hands out what is undone, as much as the cluster can soon begin with."""
        room = int(self.ray.cluster_resources().get("CPU", 1)) + AHEAD - len(self.running)
        for group in list(undone) if room > 0 else ():
            if room > 0 and self.place.take(group):
                undone.remove(group)
                self.running[self._task(group)] = group
                room -= 1

    def _task(self, group: list[Planned]) -> Any:
        remote = self.ray.remote(max_retries=RETRIES, retry_exceptions=False, **self.needs[group[0].id])(_work)
        key = f"{self.name}/{parallel.shared(group[0])}"
        for one in group:
            if id(one.data) not in self.data:
                self.data[id(one.data)] = self.ray.put(one.data)
        facts = {"key": key, "versions": provenance.versions(), "seen": self.place.seen}
        before = {one.id: self.before[one.id] for one in group}
        bare = [replace(one, data=None) for one in group]  # type: ignore[arg-type]  # it comes by its reference
        rows = [self.data[id(one.data)] for one in group]
        return remote.remote(facts, str(self.place.store), bare, before, self.options, *rows)

    def _describe(self) -> str:
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        whole, free = self.ray.cluster_resources(), self.ray.available_resources()
        used = {name: whole.get(name, 0) - free.get(name, 0) for name in ("CPU", "GPU")}
        gpus = f" and {used['GPU']:g} of {whole['GPU']:g} GPUs" if whole.get("GPU") else ""
        return f"{used['CPU']:g} of {whole.get('CPU', 0):g} CPUs{gpus} on {len(nodes)} nodes"

    def _collect(self, reference: Any, group: list[Planned]) -> list[Planned]:
        """What a task has left undone: where its process died again and again, a row says so and the rest is left."""
        died = self.ray.exceptions
        try:
            self.ray.get(reference)
        except died.RayTaskError as problem:
            self._cancel([*self.running])
            raise problem.cause from None
        except (died.WorkerCrashedError, died.NodeDiedError, died.OutOfMemoryError, died.ObjectLostError) as problem:
            left = self.place.unwritten(group, self.before)
            if left:
                self.place.write(_dead(left[0], problem, is_memory=isinstance(problem, died.OutOfMemoryError)))
            return left[1:]
        return []

    def _interrupted(self, undone: int) -> None:
        """Cancels what has not begun, and says what runs on."""
        listed = self.ray.experimental.internal_kv._internal_kv_list(self.name)
        begun = {key.decode().rpartition("/")[2] for key in listed}
        waiting = [reference for reference, group in self.running.items() if parallel.shared(group[0]) not in begun]
        self._cancel(waiting)
        undone += sum(len(self.running.pop(reference)) for reference in waiting)
        print(
            f"{undone} runs had not begun and are cancelled; {sum(map(len, self.running.values()))} go on on the "
            "cluster as long as this process lives, and their rows are kept"
        )

    def _cancel(self, references: Sequence) -> None:
        for reference in references:
            self.ray.cancel(reference, force=False)


# --- on a node --------------------------------------------------------------------------------------------------------


def _work(facts: dict, store: str, group: list[Planned], before: dict, options: dict, *rows: Any) -> None:
    """A task: the runs of a group, in the store itself or, at an address, in a folder of this machine."""
    import ray

    ray.experimental.internal_kv._internal_kv_put(facts["key"], b"begun", overwrite=True)
    _require_same(facts["versions"])
    whole = [replace(one, data=data) for one, data in zip(group, rows, strict=True)]
    options = options | {"processes": int(ray.cluster_resources().get("CPU", 1))}
    if stores.is_address(store):
        _require_seen(store, stores.Store(store).fs.exists(facts["seen"]))
        parallel.work_at(whole, store, options, kept=BASE)
    else:
        _require_seen(store, Path(facts["seen"]).exists())
        parallel.work(whole, Path(store), before, options, wait=True, kept=BASE)


def _require_same(versions: dict) -> None:
    """Raises ImportError where this machine's packages may give other results than those of who asks."""
    own = provenance.versions()
    other = [f"{name} {own.get(name)} for {wanted}" for name, wanted in versions.items() if own.get(name) != wanted]
    if other:
        raise ImportError(f"machine {os.uname().nodename} has {', '.join(other)}: install the same versions there")


def _require_seen(store: str, is_seen: bool) -> None:
    if not is_seen:
        raise OSError(
            f"machine {os.uname().nodename} does not see {store}: give a folder that all machines share, or an address "
            "such as s3://bucket/study"
        )


# --- where results go -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """A shared folder, where tasks lock what they work on; or an address, where this process claims it for them."""

    store: Path | str
    seen: str  # a file that every machine must see
    claims: stores.Claims | None = None

    def take(self, group: Sequence[Planned]) -> bool:
        return self.claims is None or self.claims.take(parallel.shared(group[0]))

    def release(self, group: Sequence[Planned]) -> None:
        if self.claims:
            self.claims.release(parallel.shared(group[0]))

    def unwritten(self, group: Sequence[Planned], before: dict) -> list[Planned]:
        folder = stores.rows_here(self.store)
        if self.claims:
            return [one for one in group if not results.finished(folder, one.id)]
        return [one for one in group if results.written(folder, one.id) == before[one.id]]

    def write(self, row: Row) -> None:
        if self.claims is None:
            results.write(self.store, row)
            return
        with stores.worked_on(str(self.store)) as folder:
            results.write(folder, row)


@contextmanager
def _place(store: str | Path) -> Iterator[_Place]:
    if stores.is_address(store):
        stores.require_room(str(store))
        with stores.Claims(str(store)) as claims:
            yield _Place(str(store), claims.sign, claims)
        return
    folder = Path(store).expanduser().absolute()
    results.require_room(folder)
    seen = folder / f".{uuid.uuid4().hex}"
    seen.touch()
    try:
        yield _Place(folder, str(seen))
    finally:
        seen.unlink(missing_ok=True)


def _dead(planned: Planned, problem: Exception, *, is_memory: bool) -> Row:
    """The row of a run whose process died each time."""
    said = str(problem).strip().split("\n")[0]
    error = f"{type(problem).__name__}: its process died {1 if is_memory else RETRIES + 1} times: {said}"
    status = results.OUT_OF_MEMORY if is_memory else results.FAILED
    made = provenance.collect() | {"data": planned.data.content}
    return Row(planned.id, spec.settings(planned.run), status, {}, {}, {}, made, error)


# --- the cluster ------------------------------------------------------------------------------------------------------


def _package() -> Any:
    try:
        import ray
        import ray.experimental.internal_kv
    except ImportError as problem:
        raise ImportError(
            "engine = 'ray' needs the package ray, which is not installed: pip install \"nblib[ray]\", or take "
            "engine = 'local'"
        ) from problem
    return ray


@contextmanager
def _connected(ray: Any) -> Iterator[None]:
    """The cluster that is there, or one of this machine; a connection that was there before is left as it was.

    After an interrupt it stays, for the tasks that go on.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if url := _start(ray).dashboard_url:
        print(f"Ray's dashboard: http://{url}")
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        ray.shutdown()
        raise
    ray.shutdown()


def _start(ray: Any) -> Any:
    for left in reversed(range(STARTS)):
        try:
            return ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except Exception as problem:  # a time limit within Ray, in several kinds
            ray.shutdown()
            if not left:
                raise ConnectionError(
                    f"Ray could not be started or reached ({problem}): name a running cluster in RAY_ADDRESS, try "
                    "again when this machine is less busy, or take engine = 'local'"
                ) from problem
            print("Ray did not start in time; trying again.")
    raise AssertionError


def _needs(ray: Any, waiting: Sequence[Planned]) -> dict[str, dict]:
    """What each run's task asks of a node, by the run: a part of a GPU where there are some, else memory."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    card = _card_bytes(ray) if any(node.get("GPU") for node in nodes) else 0
    roomiest = int(max(node.get("memory", 0) for node in nodes))
    found = {}
    for one, peak in zip(waiting, peaks(waiting, device="cuda" if card != 0 else "cpu"), strict=True):
        needed = roomiest if peak is None else min(roomiest, parallel.PROCESS_BYTES + peak)
        found[one.id] = {"num_cpus": 1} | ({"memory": needed} if card == 0 else {"num_gpus": gpu_share(peak, card)})
    return found


def gpu_share(peak_bytes: int | None, card_bytes: int | None) -> float:
    """The part of a card that a run needs, with a margin: 1 or 1/n; 1 where either is not known."""
    if peak_bytes is None or card_bytes is None:
        return 1.0
    usable = card_bytes * (1 - RESERVED_SHARE)
    fitting_runs = int(usable / (peak_bytes * MARGIN + DRIVER_BYTES))
    return int(10_000 / max(1, fitting_runs)) / 10_000  # rounded down, to Ray's precision


def _card_bytes(ray: Any) -> int | None:
    """Bytes of the smallest GPU of the cluster; None where its node does not tell."""

    def size() -> int:
        import torch

        return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0

    where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    asked = [ray.remote(num_cpus=0, num_gpus=0.01, scheduling_strategy=where(id, soft=False))(size) for id in nodes]
    with suppress(ray.exceptions.RayError):
        return min(ray.get([remote.remote() for remote in asked])) or None
    return None

"""What running programs use, read from /proc. Kills nothing."""

import os
from dataclasses import dataclass, field

from nblib.sandbox.inside import kernel
from nblib.sandbox.inside.isolation import OTHER_USER, USER, Place

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Use:
    """Of a program, all its processes together."""

    cpu_seconds: float = 0.0
    memory_bytes: int = 0  # resident, without what is shared with files
    processes: int = 0
    own_seconds: dict[int, float] = field(default_factory=dict)  # of each process without its children


@dataclass
class _Process:
    parent: int
    own_seconds: float
    waited_seconds: float  # of children that have ended and were waited for


def works() -> bool:
    """Whether /proc shows this process under the number that it has; it does not from inside another PID namespace."""
    return kernel.LINUX and os.path.islink("/proc/self") and os.readlink("/proc/self") == str(os.getpid())


def of_programs(pids: list[int]) -> dict[int, Use]:
    """By the pid of each program's first process; nothing used where /proc does not work."""
    processes, total = _processes(), {pid: Use() for pid in pids}
    for pid, process in processes.items():
        first = pid
        while first not in total and first in processes:
            first = processes[first].parent
        if first in total:
            total[first].cpu_seconds += process.own_seconds + process.waited_seconds
            total[first].own_seconds[pid] = process.own_seconds
            total[first].memory_bytes += _own_memory(pid)
            total[first].processes += 1
    return total


def below(first: int, keep: frozenset[int] = frozenset()) -> set[int]:
    """All processes that descend from one, without those in `keep` and what descends from them."""
    processes, found, newest = _processes(), set[int](), {first}
    while newest:
        newest = {pid for pid, process in processes.items() if process.parent in newest and pid not in keep} - found
        found |= newest
    return found


def counted_already(place: Place) -> int:
    """Processes and threads that the kernel counts against a program's limit and that are not its own."""
    release = tuple(int(each) for each in os.uname().release.split("-")[0].split(".")[:2] if each.isdigit())
    if USER in place.layers and release >= (5, 14):  # counted by namespace from then on
        return 4  # this process, the first processes of program and judge, the judge
    user = place.user if OTHER_USER in place.layers else os.geteuid()
    return 4 + sum(_threads(pid) for pid in _processes() if _user(pid) == user)


def _processes() -> dict[int, _Process]:
    found = {}
    for name in os.listdir("/proc") if works() else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    fields = file.read().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            own, system, waited, system_waited = (int(each) / _TICK for each in fields[11:15])  # proc(5): 14 to 17
            found[int(name)] = _Process(int(fields[1]), own + system, waited + system_waited)
    return found


def _own_memory(pid: int) -> int:
    """Private and shared anonymous memory; memory of files can be dropped at any time."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            lines = [each.split() for each in file if each.startswith(("RssAnon:", "RssShmem:"))]
    except OSError:
        return 0
    return sum(int(each[1]) for each in lines) * 1024


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _user(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None

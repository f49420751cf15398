"""Layers of isolation: tried one by one, used where they are there. Starts no program."""

import contextlib
import os
import resource
import sys
from dataclasses import dataclass, field

from nblib.sandbox.inside import filter as call_filter
from nblib.sandbox.inside import kernel, view

USER, MOUNT, PID = "user namespace", "mount namespace", "PID namespace"
NETWORK, IPC, NEW_PROC = "network namespace", "IPC namespace", "own /proc"
LANDLOCK, SIGNALS, SECCOMP = "Landlock", "Landlock signal scope", "seccomp"
OTHER_USER, PRIVILEGES = "own user", "no new privileges"
CPU, MEMORY, PROCESSES, FILES = "CPU limit", "memory limit", "process limit", "file limits"
ALL = (USER, MOUNT, PID, NETWORK, IPC, NEW_PROC, LANDLOCK, SIGNALS, SECCOMP, OTHER_USER, PRIVILEGES)
WATCH = "watch over all processes"  # their sums of CPU time and memory
LIMITS = (CPU, MEMORY, PROCESSES, FILES)

_NOBODY = 65534
_NAMESPACES = ((IPC, kernel.NEW_IPC), (NETWORK, kernel.NEW_NETWORK), (PID, kernel.NEW_PID))


@dataclass
class Place:
    """What the process that forks programs has found and made; its children inherit it."""

    layers: set[str] = field(default_factory=set)
    user: int | None = None  # programs run under this one; None: they keep the caller's
    readable: list[str] = field(default_factory=view.readable)
    processes_already: int = 0  # counted by the kernel against the limit of processes


# --- once: the process that forks programs --------------------------------------------------------------------------


def leave(request_user_map, *, without: frozenset[str] = frozenset()) -> Place:
    """Moves this process into new namespaces, as far as they are allowed.

    `request_user_map()` asks the parent to write this process's user map and says whether that includes `nobody`.
    A PID namespace takes effect with the next fork.
    """
    place = Place()
    root = os.geteuid() == 0
    if USER not in without and _works(kernel.unshare, kernel.NEW_USER):
        if request_user_map():
            place.user = _NOBODY
        place.layers.add(USER)
    elif root and kernel.LINUX:
        place.user = _NOBODY
    for name, flag in _NAMESPACES:
        if name not in without and _works(kernel.unshare, flag):
            place.layers.add(name)
    return place


def settle(place: Place, *, without: frozenset[str] = frozenset()) -> None:
    """The second half, in the first process of the PID namespace: the view of the files."""
    if MOUNT not in without and _works(kernel.unshare, kernel.NEW_MOUNT) and _works(view.build, PID in place.layers):
        place.layers.add(MOUNT)
        if PID in place.layers and os.path.exists("/proc/self/stat"):
            place.layers.add(NEW_PROC)
    os.environ.clear()
    os.environ.update(environment(view.PRIVATE if MOUNT in place.layers else "/"))
    sys.path[:] = view.import_path()


def environment(folder: str) -> dict[str, str]:
    """All that a program's environment holds."""
    threads = {f"{each}_NUM_THREADS": "1" for each in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    names = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC", "MPLBACKEND": "Agg"}
    return names | threads | {"HOME": folder, "TMPDIR": folder, "PYTHONHASHSEED": "0"}


# --- for each program -----------------------------------------------------------------------------------------------


def shut_in(place: Place, *, without_folder: bool) -> None:
    """In the first process of a program: its own view of processes."""
    if NEW_PROC in place.layers:
        kernel.unshare(kernel.NEW_MOUNT)
        kernel.mount("proc", "/proc", "proc", kernel.NO_SETUID | kernel.NO_DEVICES)
        if without_folder:
            kernel.unmount(view.PRIVATE)


def confine(place: Place, folder: str | None, limits: dict, *, outcomes: int) -> None:
    """In the program's own process, before a line of it runs: what cannot be taken back. OSError if a layer fails."""
    set_limits(place, limits, outcomes)
    if LANDLOCK in place.layers:
        rules = _rules(place, folder)  # opened before the user changes: a folder above may be closed to others
    if kernel.LINUX:
        with contextlib.suppress(OSError):
            kernel.drop_bounding_set()
    change_user(place)
    if PRIVILEGES in place.layers:
        kernel.no_new_privileges()
    if LANDLOCK in place.layers:
        kernel.landlock_restrict(rules)
        os.close(rules)
    if kernel.LINUX:
        kernel.drop_capabilities()
    if SECCOMP in place.layers:
        kernel.install_filter(call_filter.instructions(kernel.MACHINE))


def change_user(place: Place) -> None:
    if place.user is not None and OTHER_USER in place.layers:
        os.setgroups([])
        os.setresgid(place.user, place.user, place.user)
        os.setresuid(place.user, place.user, place.user)
        kernel.set_dumpable(True)


def set_limits(place: Place, limits: dict, outcomes: int) -> None:
    seconds = int(limits["cpu_seconds"] + 1) * outcomes + 1  # of each process; the sum is watched from outside
    wanted = {
        CPU: (resource.RLIMIT_CPU, seconds),
        MEMORY: (resource.RLIMIT_AS, limits["memory_bytes"]),
        FILES: (resource.RLIMIT_NOFILE, limits["open_files"]),
    }
    for name, (kind, value) in wanted.items():
        if name in place.layers:
            _limit(kind, value)
    if PROCESSES in place.layers:
        _limit(resource.RLIMIT_NPROC, limits["processes"] + place.processes_already)
    _limit(resource.RLIMIT_FSIZE, limits["file_bytes"])
    _limit(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError, ValueError):  # deep recursion; grows only as it is used, and may be raised
        hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
        resource.setrlimit(resource.RLIMIT_STACK, (2**27 if hard == resource.RLIM_INFINITY else min(2**27, hard), hard))


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


# --- Landlock -------------------------------------------------------------------------------------------------------

_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_MAXIMUM = (0, 13, 14, 15, 15, 16)  # kinds of access by version
_SCOPE_SOCKETS, _SCOPE_SIGNALS = 1, 2
_STATISTICS = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/sys/kernel/osrelease")


def _rules(place: Place, folder: str | None) -> int:
    version = kernel.landlock_version()
    every = 2 ** _MAXIMUM[min(version, 5)] - 1
    rules = kernel.landlock_ruleset(every, 3, _SCOPE_SOCKETS | _SCOPE_SIGNALS, version=version)
    read = _EXECUTE | _READ | _LIST
    allowed = dict.fromkeys(place.readable, read)
    allowed |= {"/proc": _READ | _LIST} if NEW_PROC in place.layers else dict.fromkeys(_STATISTICS, _READ)
    allowed |= dict.fromkeys(("/dev/null", "/dev/full"), _READ | _WRITE)
    allowed |= dict.fromkeys(("/dev/zero", "/dev/random", "/dev/urandom", "/etc/passwd", "/etc/group"), _READ)
    allowed |= {folder: every & ~_special_files(version)} if folder else {}
    for path, access in allowed.items():
        if os.path.exists(path):
            kernel.landlock_allow(rules, path, access if os.path.isdir(path) else access & ~_LIST)
    return rules


def _special_files(version: int) -> int:
    """Making devices, and device ioctls; sockets and pipes in its own folder are harmless."""
    return 1 << 6 | 1 << 11 | (1 << 15 if version >= 5 else 0)


# --- what works here ------------------------------------------------------------------------------------------------


def probe(place: Place, folder: str, *, without: frozenset[str]) -> set[str]:
    """Tries the layers of one program in this process, which is of no use afterwards."""
    found = {each for each in LIMITS if _limit_holds(each)}
    root = os.geteuid() == 0
    if kernel.LINUX and LANDLOCK not in without and kernel.landlock_version():
        found |= {LANDLOCK, SIGNALS} if kernel.landlock_version() >= 6 else {LANDLOCK}
    if place.user is not None and _works(os.setgroups, []):
        found.add(OTHER_USER)
    tried = Place(place.layers | found, place.user, place.readable)
    if LANDLOCK in found:
        with contextlib.suppress(OSError):
            os.close(_rules(tried, folder))
    if OTHER_USER in found and not (_works(change_user, tried) and _works(_read_library)):
        found.discard(OTHER_USER)
    if OTHER_USER not in found and root:
        found.discard(PROCESSES)  # the kernel does not count root's
    if kernel.LINUX and _works(kernel.no_new_privileges):
        found.add(PRIVILEGES)
        if SECCOMP not in without and _works(lambda: kernel.install_filter(call_filter.instructions(kernel.MACHINE))):
            found.add(SECCOMP)
    return found


def _limit_holds(name: str) -> bool:
    kind, value = {
        CPU: (resource.RLIMIT_CPU, 1000),
        MEMORY: (resource.RLIMIT_AS, 2**34),
        PROCESSES: (resource.RLIMIT_NPROC, 10000),
        FILES: (resource.RLIMIT_FSIZE, 2**30),
    }[name]
    if name == MEMORY and not kernel.LINUX:
        return False  # macOS takes the limit and does not keep it
    return _works(_limit, kind, value)


def _read_library() -> None:
    """Another user may not see a Python that lies in somebody's home."""
    for folder in view.python_folders():
        os.listdir(folder)
    with open(os.__file__, "rb") as file:
        file.read(1)


def _works(attempt, *arguments) -> bool:
    try:
        attempt(*arguments)
    except (OSError, ValueError):
        return False
    return True

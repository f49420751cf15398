"""Layers of isolation: tried one by one, used where they are there. Starts no program."""

import contextlib
import os
import resource
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nblib.sandbox import linux, wire

USER, MOUNT, PID = "user namespace", "mount namespace", "PID namespace"
NETWORK, IPC, NEW_PROC = "network namespace", "IPC namespace", "own /proc"
LANDLOCK, SIGNALS, SECCOMP = "Landlock", "Landlock signal scope", "seccomp"
OTHER_USER, PRIVILEGES = "own user", "no new privileges"
CPU, MEMORY, PROCESSES, FILES = "CPU limit", "memory limit", "process limit", "file limits"
WATCH = "watch over all processes"  # their sums of CPU time and memory
LAYERS = (
    USER, MOUNT, PID, NETWORK, IPC, NEW_PROC, LANDLOCK, SIGNALS, SECCOMP, OTHER_USER, PRIVILEGES,
    CPU, MEMORY, PROCESSES, FILES, WATCH,
)  # fmt: skip

_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/etc/ld.so.cache", "/etc/ld.so.conf",
    "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/fonts", "/etc/localtime", "/etc/timezone", "/etc/mime.types",
)  # fmt: skip
_NOBODY = 65534
_NAMESPACES = ((IPC, linux.NEW_IPC), (NETWORK, linux.NEW_NETWORK), (PID, linux.NEW_PID))
_ROOMY = {"cpu_seconds": 1000, "memory_bytes": 2**34, "processes": 10_000, "open_files": 64, "file_bytes": 2**30}


def python_folders() -> list[str]:
    """Where this Python's own files and its installed packages lie; no project folder that is only on the path."""
    python = (sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.path.realpath(sys.executable)))
    found = {*python, *site.getsitepackages(), *sysconfig.get_paths().values()}
    found |= {path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages")}  # by a .pth
    found |= {os.path.realpath(path) for path in found}
    known = [path for path in sorted(found) if os.path.isdir(path) and path not in ("/", os.path.expanduser("~"))]
    return [path for path in known if not any(path.startswith(other + "/") for other in known)]


@dataclass
class Place:
    """What the process that forks programs has found and made; its children inherit it."""

    layers: set[str] = field(default_factory=set)
    user: int | None = None  # programs run under this one; None: they keep the caller's
    readable: list[str] = field(  # all that a program may read and execute
        default_factory=lambda: [path for path in (*_SYSTEM, *python_folders()) if os.path.exists(path)]
    )
    processes_already: int = 0  # that the kernel counts against the limit of a program of this user


def _works(attempt: Callable, *arguments) -> bool:
    try:
        attempt(*arguments)
    except (OSError, ValueError):
        return False
    return True


# --- once: the process that forks programs --------------------------------------------------------------------------


def leave(channel: socket.socket, *, without: frozenset[str]) -> Place:
    """Moves this process into new namespaces, as far as they are allowed; a PID namespace with the next fork.

    We ask the other end of the channel to write this process's user map; it says whether that includes `nobody`.
    """
    place = Place()
    root = os.geteuid() == 0
    if USER not in without and _works(linux.call, "unshare", linux.NEW_USER):
        place.layers.add(USER)
        wire.send(channel, {"map": True})
        place.user = _NOBODY if wire.receive(channel)["nobody"] else None
    elif root and linux.LINUX:
        place.user = _NOBODY
    place.layers |= {name for name, flag in _NAMESPACES if name not in without and _works(linux.call, "unshare", flag)}
    return place


def settle(place: Place, *, without: frozenset[str]) -> None:
    """The second half, in the first process of the PID namespace: the view of the files."""
    if MOUNT not in without and _works(linux.call, "unshare", linux.NEW_MOUNT) and _works(_build_root, place):
        place.layers.add(MOUNT)
        if PID in place.layers and os.path.exists("/proc/self/stat"):
            place.layers.add(NEW_PROC)
    roots = [os.path.realpath(path) + "/" for path in place.readable]
    sys.path[:] = [path for path in sys.path if (os.path.realpath(path) + "/").startswith(tuple(roots))]


# --- the files that a program sees: the system's libraries, this Python, one private folder -------------------------

PRIVATE = "/program"  # the private folder, where there is a mount namespace
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_SAFE = linux.NO_SETUID | linux.NO_DEVICES


def _build_root(place: Place) -> None:
    """Puts a new root in the place of the old: only what is readable, all of it read-only."""
    linux.mount(None, "/", flags=linux.PRIVATE)
    root = "/tmp" if os.path.isdir("/tmp") else "/"
    linux.mount("tmpfs", root, "tmpfs", _SAFE, "mode=755,size=1m")
    os.mkdir(f"{root}/old")
    linux.call("pivot_root", root, f"{root}/old")
    os.chdir("/")
    for path in sorted((*_DEVICES, *place.readable), key=lambda path: path.count("/")):  # a folder before what is in it
        _show(path)
    for folder in (PRIVATE, "/proc", "/etc"):
        os.makedirs(folder, exist_ok=True)
    users = f"root:x:0:0::/:/bin/false\nprogram:x:{_NOBODY}:{_NOBODY}::{PRIVATE}:/bin/false\n"
    Path("/etc/passwd").write_text(users)
    Path("/etc/group").write_text(f"root:x:0:\nprogram:x:{_NOBODY}:\n")
    links = {"/dev/shm": PRIVATE, "/tmp": PRIVATE, "/dev/fd": "/proc/self/fd"}
    links |= {f"/dev/{name}": f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))}
    for name, target in links.items():
        if not os.path.lexists(name):
            os.symlink(target, name)
    if PID in place.layers:
        with contextlib.suppress(OSError):  # refused in a container that hides parts of its own /proc
            linux.mount("proc", "/proc", "proc", _SAFE)
    else:
        linux.mount("/old/proc", "/proc", flags=linux.BIND)  # to find what programs leave; Landlock hides it from them
    linux.call("umount2", "/old", linux.DETACH)
    os.rmdir("/old")
    linux.restrict_mount("/", linux.READ_ONLY, recursive=False)


def _show(path: str) -> None:
    source = "/old" + path
    if os.path.lexists(path) or not os.path.lexists(source):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.islink(source):  # /bin -> usr/bin
        os.symlink(os.readlink(source), path)
        return
    if os.path.isdir(source):
        os.mkdir(path)
    else:
        Path(path).touch()
    linux.mount(source, path, flags=linux.BIND)
    linux.restrict_mount(path, linux.NO_SETUID if path in _DEVICES else linux.READ_ONLY | _SAFE)


def make_folder(place: Place, limits: dict) -> str:
    """A new empty folder that programs may write to; its size is limited where it can be a file system of its own."""
    if MOUNT in place.layers:
        folder, size = PRIVATE, 4 * limits["file_bytes"]
        linux.mount("tmpfs", folder, "tmpfs", _SAFE, f"size={size},nr_inodes=4096,mode=700")
    else:
        home = "/tmp" if os.path.isdir("/tmp") else None
        folder = os.path.realpath(tempfile.mkdtemp(prefix="nblib-sandbox-", dir=home))
    if place.user is not None:
        os.chown(folder, place.user, place.user)
    return folder


def remove_folder(place: Place, folder: str) -> None:
    """With all that programs have put there; what cannot be removed stays, and harms no outcome."""
    if MOUNT in place.layers:
        linux.call("umount2", folder, linux.DETACH)
    elif not _works(os.rmdir, folder):  # these reach through folders that are closed, or too deep for a path
        for command in (["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
            with contextlib.suppress(OSError):
                subprocess.run([*command, folder], check=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def shut_in(place: Place, *, without_folder: bool) -> None:
    """In the first process of a program: its own view of processes."""
    if NEW_PROC in place.layers:
        linux.call("unshare", linux.NEW_MOUNT)
        linux.mount("proc", "/proc", "proc", _SAFE)
        if without_folder:
            linux.call("umount2", PRIVATE, linux.DETACH)


def confine(place: Place, folder: str | None, limits: dict, *, outcomes: int) -> None:
    """In the program's own process, before a line of it runs: what cannot be taken back. OSError if a layer fails."""
    for name, apply in _steps(place, folder, limits, outcomes):
        if name in place.layers:
            apply()


def probe(place: Place, *, without: frozenset[str]) -> set[str]:
    """Which layers of a program work, tried in this process, which is of no use afterwards."""
    root, tried, refused = os.geteuid() == 0, set[str](), set(without)
    for name, apply in _steps(place, None, _ROOMY, 1):
        tried.add(name)
        if name not in refused and not _works(apply):
            refused.add(name)
    if not (all(_works(os.listdir, folder) for folder in python_folders()) and os.access(os.__file__, os.R_OK)):
        refused.add(OTHER_USER)  # who may not see a Python that lies in somebody's home
    found = tried - refused
    if root and OTHER_USER not in found:
        found.discard(PROCESSES)  # the kernel does not count root's
    return found | {SIGNALS} if LANDLOCK in found and linux.landlock_version() >= 6 else found


def _steps(place: Place, folder: str | None, limits: dict, outcomes: int) -> Iterator[tuple[str, Callable]]:
    """What confines a process, in order, with the layer that it belongs to."""
    seconds = int(limits["cpu_seconds"] + 1) * outcomes + 1  # of each process; the sum is watched from outside
    yield CPU, partial(_limit, resource.RLIMIT_CPU, seconds)
    yield PROCESSES, partial(_limit, resource.RLIMIT_NPROC, limits["processes"] + 4 + place.processes_already)
    yield FILES, partial(_limit_files, limits)
    if not linux.LINUX:  # macOS takes a limit of memory and does not keep it
        return
    yield MEMORY, partial(_limit, resource.RLIMIT_AS, limits["memory_bytes"])
    rules: list[int] = []
    yield LANDLOCK, lambda: rules.append(linux.landlock_rules(_access(place, folder)))  # as a user who may open all
    yield PRIVILEGES, linux.drop_bounding_set
    if place.user is not None:
        yield OTHER_USER, partial(_become, place.user)
    yield PRIVILEGES, partial(linux.prctl, linux.NO_NEW_PRIVILEGES, 1)
    yield LANDLOCK, lambda: linux.landlock_restrict(rules[0])
    yield PRIVILEGES, linux.drop_capabilities
    yield SECCOMP, linux.install_filter


def _access(place: Place, folder: str | None) -> dict[str, int]:
    """What Landlock leaves: sockets and pipes in the program's own folder are harmless."""
    statistics = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/sys/kernel/osrelease")
    allowed = dict.fromkeys(place.readable, linux.EXECUTE | linux.READ | linux.LIST)
    allowed |= dict.fromkeys(("/proc",) if NEW_PROC in place.layers else statistics, linux.READ | linux.LIST)
    allowed |= dict.fromkeys(("/dev/null", "/dev/full"), linux.READ | linux.WRITE)
    allowed |= dict.fromkeys(("/dev/zero", "/dev/random", "/dev/urandom", "/etc/passwd", "/etc/group"), linux.READ)
    return allowed | ({folder: linux.ALL} if folder else {})


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _limit_files(limits: dict) -> None:
    _limit(resource.RLIMIT_NOFILE, limits["open_files"])
    _limit(resource.RLIMIT_FSIZE, limits["file_bytes"])
    _limit(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError, ValueError):  # deep recursion; grows only as it is used, and may be raised
        hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
        resource.setrlimit(resource.RLIMIT_STACK, (2**27 if hard == resource.RLIM_INFINITY else min(2**27, hard), hard))


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    linux.prctl(linux.DUMPABLE, 1)  # which Linux switches off when the user changes

"""What Linux offers and Python does not: namespaces, mounts, privileges, Landlock, a filter of calls, /proc."""

import ctypes
import os
import platform
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass

LINUX = sys.platform == "linux"

NEW_MOUNT, NEW_IPC, NEW_USER, NEW_PID, NEW_NETWORK = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
READ_ONLY, NO_SETUID, NO_DEVICES = 1, 2, 4  # flags of mount(2) and attributes of mount_setattr(2) alike
BIND, PRIVATE, DETACH = 0x1000 | 0x4000, 0x40000 | 0x4000, 2  # with all mounts below; of umount2(2)
PARENT_DEATH_SIGNAL, DUMPABLE, ADOPT_ORPHANS, NO_NEW_PRIVILEGES = 1, 4, 36, 38  # of prctl(2)
_SECCOMP, _DROP_FROM_BOUNDING_SET = 22, 24
_EPERM, _ENOMEM, _ENOSYS = 1, 12, 38
# Without a function in the C library; the same numbers on all machines.
_MOUNT_SETATTR, _LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 442, 444, 445, 446

_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


def call(name: str, *arguments: int | str | bytes | None) -> int:
    """A function of the C library; OSError where it fails or is not there."""
    if _libc is None:
        raise OSError(_ENOSYS, f"no {name} on {sys.platform}")
    given = [
        ctypes.c_ulong(value) if isinstance(value, int) else os.fsencode(value) if isinstance(value, str) else value
        for value in arguments
    ]
    result = getattr(_libc, name)(*given)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


# --- namespaces, mounts, privileges ---------------------------------------------------------------------------------


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str = "") -> None:
    call("mount", source, target, kind, flags, options)


def restrict_mount(target: str, attributes: int, *, recursive: bool = True) -> None:
    """Adds attributes such as READ_ONLY to a mount and to all below it."""
    value = struct.pack("=4Q", attributes, 0, 0, 0)
    call("syscall", _MOUNT_SETATTR, -100, target, 0x8000 if recursive else 0, value, len(value))


def prctl(option: int, *values: int | bytes) -> None:
    """Of this process; nothing where the system has no such settings."""
    if LINUX:
        call("prctl", option, *values, *[0] * (4 - len(values)))


def drop_bounding_set() -> None:
    """No process from here on can hold a capability again, were it by a setuid program."""
    with suppress(OSError):  # EINVAL: past the last one; EPERM: none are held
        for capability in range(64):
            prctl(_DROP_FROM_BOUNDING_SET, capability)


def drop_capabilities() -> None:
    call("capset", struct.pack("=Ii", 0x20080522, 0), bytes(24))


# --- Landlock: which files a process may reach; no port, no signal or abstract socket of others ---------------------

EXECUTE, WRITE, READ, LIST = 1, 2, 4, 8
ALL = 0xFFFF & ~(1 << 6 | 1 << 11 | 1 << 15)  # but making devices, and their ioctls
_KINDS_OF_ACCESS = (0, 13, 14, 15, 15, 16)  # by version


def landlock_version() -> int:
    """0 where the kernel has none."""
    try:
        return call("syscall", _LANDLOCK_CREATE, None, 0, 1)
    except OSError:
        return 0


def landlock_rules(allowed: dict[str, int]) -> int:
    """An open file with rules that refuse all but this access below each path that exists."""
    version = landlock_version()
    every = 2 ** _KINDS_OF_ACCESS[min(version, 5)] - 1
    handled = struct.pack("=3Q", every, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    rules = call("syscall", _LANDLOCK_CREATE, handled, 8 if version < 4 else 16 if version < 6 else 24, 0)
    for path, access in allowed.items():
        if os.path.exists(path):
            file = os.open(path, 0o10000000 | os.O_CLOEXEC)  # O_PATH
            access &= every if os.path.isdir(path) else every & ~LIST
            call("syscall", _LANDLOCK_ADD, rules, 1, struct.pack("=Qi", access, file), 0)
            os.close(file)
    return rules


def landlock_restrict(rules: int) -> None:
    call("syscall", _LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)


# --- seccomp: which system calls a process may make; all but those that reach out of it -----------------------------

# number on x86_64, on aarch64; None where the machine has no such call
_REFUSED: dict[str, tuple[int, int | None]] = {
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440), "move_pages": (279, 239), "migrate_pages": (256, 238),
    # sockets; socketpair(2) stays
    "socket": (41, 198),
    # file systems and namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "setns": (308, 268),
    "unshare": (272, 97), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "fanotify_init": (300, 262), "lookup_dcookie": (212, 18),
    # keys, and the kernel's large and often broken parts
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # memory that no limit counts
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    # the machine itself
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "syslog": (103, 116), "vhangup": (153, 58),
}  # fmt: skip
_CLONE, _CLONE3, _IOCTL, _MMAP = (56, 220), (435, 435), (16, 29), (9, 222)
_NAMESPACE_FLAGS = 0x7E020000  # all CLONE_NEW…
_SHARED_ANONYMOUS = 0x21  # memory that belongs to no process, so that none is charged with it
_FAKE_INPUT = 0x5412  # TIOCSTI: types into the terminal
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above; AUDIT_ARCH
_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _AND, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
# Offsets in struct seccomp_data; of the arguments their low halves.
_NUMBER, _MACHINE, _FIRST, _SECOND, _FOURTH = 0, 4, 16, 24, 40


def install_filter() -> None:
    """For this process and all that it starts; OSError on a machine whose calls are not in the table."""
    program = _filter(platform.machine())
    buffer = ctypes.create_string_buffer(program, len(program))
    prctl(_SECCOMP, 2, struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)))


def _filter(machine: str) -> bytes:
    """A BPF program: in each step what to do, steps to skip if it holds and if not, a value."""
    if machine not in _MACHINES:
        raise OSError(_ENOSYS, f"no filter for {machine}")
    column, audit = _MACHINES[machine]
    steps = [(_LOAD, 0, 0, _MACHINE), (_EQUAL, 1, 0, audit), (_ANSWER, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    if machine == "x86_64":  # the x32 calls have the same effects under other numbers
        steps += [(_AT_LEAST, 0, 1, 0x40000000), _refuse(_ENOSYS)]
    for numbers in _REFUSED.values():
        if (number := numbers[column]) is not None:
            steps += [(_EQUAL, 0, 1, number), _refuse(_EPERM)]
    # clone3 hides its flags behind a pointer; the C library goes back to clone when it is not there
    steps += [(_EQUAL, 0, 1, _CLONE3[column]), _refuse(_ENOSYS)]
    steps += [(_EQUAL, 0, 3, _CLONE[column]), (_LOAD, 0, 0, _FIRST), (_ANY_OF, 0, 1, _NAMESPACE_FLAGS)]
    steps += [_refuse(_EPERM), (_LOAD, 0, 0, _NUMBER)]
    steps += [(_EQUAL, 0, 5, _MMAP[column]), (_LOAD, 0, 0, _FOURTH), (_AND, 0, 0, _SHARED_ANONYMOUS)]
    steps += [(_EQUAL, 0, 1, _SHARED_ANONYMOUS), _refuse(_ENOMEM), (_LOAD, 0, 0, _NUMBER)]
    steps += [(_EQUAL, 0, 3, _IOCTL[column]), (_LOAD, 0, 0, _SECOND), (_EQUAL, 0, 1, _FAKE_INPUT)]
    steps += [_refuse(_EPERM), (_ANSWER, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _refuse(error: int) -> tuple[int, int, int, int]:
    return _ANSWER, 0, 0, 0x00050000 | error


# --- /proc: what processes use --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    parent: int
    own_seconds: float  # of CPU time
    waited_seconds: float  # of children that have ended and were waited for
    threads: int
    user: int


def shows_processes() -> bool:
    """Whether /proc shows this process under the number that it has; it does not from inside another PID namespace."""
    return LINUX and os.path.islink("/proc/self") and os.readlink("/proc/self") == str(os.getpid())


def processes() -> dict[int, Process]:
    """All by their number; none where /proc does not show them."""
    if not shows_processes():
        return {}
    found, tick = {}, os.sysconf("SC_CLK_TCK")
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    user, fields = os.fstat(file.fileno()).st_uid, file.read().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            own, system, waited, system_waited = (int(ticks) / tick for ticks in fields[11:15])  # proc(5): 14 to 17
            found[int(name)] = Process(int(fields[1]), own + system, waited + system_waited, int(fields[17]), user)
    return found


def below(first: int, keep: frozenset[int] = frozenset(), among: dict[int, Process] | None = None) -> set[int]:
    """All processes that descend from one, without those in `keep` and what descends from them."""
    among = processes() if among is None else among
    found, newest = set[int](), {first}
    while newest:
        newest = {pid for pid, process in among.items() if process.parent in newest and pid not in keep} - found
        found |= newest
    return found


def own_memory(pid: int) -> int:
    """Bytes of private and shared anonymous memory; memory of files can be dropped at any time."""
    with suppress(OSError), open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith(("RssAnon:", "RssShmem:")))
    return 0

"""Linux system calls that Python does not offer, by ctypes. Decides nothing."""

import ctypes
import os
import platform
import sys

LINUX = sys.platform == "linux"
MACHINE = platform.machine() if LINUX else ""

NEW_MOUNT, NEW_IPC, NEW_USER, NEW_PID, NEW_NETWORK = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
NEW_HOSTNAME = 0x04000000
READ_ONLY, NO_SETUID, NO_DEVICES = 1, 2, 4  # flags of mount(2) and attributes of mount_setattr(2) alike
_BIND, _RECURSIVE, _PRIVATE, _DETACH = 0x1000, 0x4000, 0x40000, 2

# The same numbers on all machines, for calls since Linux 5.1.
_MOUNT_SETATTR, _LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 442, 444, 445, 446
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}

_libc = ctypes.CDLL(None, use_errno=True) if LINUX else None


def _call(name: str, *arguments) -> int:
    if _libc is None:
        raise OSError(38, f"no {name} on {sys.platform}")
    result = getattr(_libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _system_call(number: int | None, *arguments) -> int:
    if number is None:
        raise OSError(38, f"no such call on {MACHINE or sys.platform}")
    return _call("syscall", ctypes.c_long(number), *arguments)


def _text(value: str | None):
    return None if value is None else ctypes.c_char_p(os.fsencode(value))


# --- namespaces and mounts ------------------------------------------------------------------------------------------


def unshare(flags: int) -> None:
    _call("unshare", flags)


def enter_namespace(file: int, flag: int) -> None:
    _call("setns", file, flag)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    _call("mount", _text(source), _text(target), _text(kind), ctypes.c_ulong(flags), _text(options))


def bind(source: str, target: str) -> None:
    _call("mount", _text(source), _text(target), None, ctypes.c_ulong(_BIND | _RECURSIVE), None)


def make_private(target: str) -> None:
    _call("mount", None, _text(target), None, ctypes.c_ulong(_PRIVATE | _RECURSIVE), None)


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]


def restrict_mount(target: str, attributes: int, *, recursive: bool = True) -> None:
    """Adds attributes such as READ_ONLY to a mount and to all below it."""
    value = _MountAttributes(attributes, 0, 0, 0)
    flags = 0x8000 if recursive else 0
    path, size = _text(target), ctypes.c_size_t(ctypes.sizeof(value))
    _system_call(_MOUNT_SETATTR, -100, path, ctypes.c_uint(flags), ctypes.byref(value), size)


def unmount(target: str) -> None:
    _call("umount2", _text(target), _DETACH)


def pivot_root(new: str, old: str) -> None:
    _system_call(_PIVOT_ROOT.get(MACHINE), _text(new), _text(old))


# --- privileges -----------------------------------------------------------------------------------------------------

_PARENT_DEATH, _DUMPABLE, _BOUNDING_DROP, _SECUREBITS, _SUBREAPER, _NO_NEW_PRIVILEGES, _SECCOMP = (
    1,
    4,
    24,
    28,
    36,
    38,
    22,
)


def _prctl(option: int, *arguments) -> int:
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _call(
        "prctl", option, *[each if isinstance(each, ctypes._Pointer) else ctypes.c_ulong(each) for each in padded]
    )


def die_with_parent() -> None:
    _prctl(_PARENT_DEATH, 9)


def adopt_orphans() -> None:
    _prctl(_SUBREAPER, 1)


def set_dumpable(value: bool) -> None:
    """Whether processes of the same user may look into this one; Linux switches it off when the user changes."""
    _prctl(_DUMPABLE, int(value))


def no_new_privileges() -> None:
    _prctl(_NO_NEW_PRIVILEGES, 1)


def drop_bounding_set() -> None:
    for capability in range(64):
        try:
            _prctl(_BOUNDING_DROP, capability)
        except OSError:  # EINVAL: past the last one; EPERM: none are held
            return


def drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    _system_call(_CAPSET.get(MACHINE), header, (ctypes.c_uint32 * 6)())


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def install_filter(instructions: bytes) -> None:
    """A seccomp filter for this process and all it starts."""
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    _prctl(_SECCOMP, 2, ctypes.addressof(program))


# --- Landlock -------------------------------------------------------------------------------------------------------


class _Ruleset(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("files", "network", "scope")]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("access", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def landlock_version() -> int:
    """0 where the kernel has none."""
    try:
        return _system_call(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    except OSError:
        return 0


def landlock_ruleset(files: int, network: int, scope: int, *, version: int) -> int:
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = _Ruleset(files, network if version >= 4 else 0, scope if version >= 6 else 0)
    return _system_call(_LANDLOCK_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), 0)


def landlock_allow(ruleset: int, path: str, access: int) -> None:
    file = os.open(path, 0o10000000 | os.O_CLOEXEC)  # O_PATH
    try:
        beneath = _Beneath(access, file)
        _system_call(_LANDLOCK_ADD, ruleset, 1, ctypes.byref(beneath), 0)
    finally:
        os.close(file)


def landlock_restrict(ruleset: int) -> None:
    _system_call(_LANDLOCK_RESTRICT, ruleset, 0)

"""Which system calls a program may make: all but those that reach out of it. Installs nothing."""

import struct

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

_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOMEM, _ENOSYS = 1, 12, 38
# Offsets in struct seccomp_data; of the arguments their low halves.
_NUMBER, _MACHINE, _FIRST, _SECOND, _FOURTH = 0, 4, 16, 24, 40


def instructions(machine: str) -> bytes:
    """The filter as a BPF program; OSError for a machine that is not in the table."""
    if machine not in _MACHINES:
        raise OSError(_ENOSYS, f"no filter for {machine}")
    column, audit = _MACHINES[machine]
    program = [_load(_MACHINE), _if_equal(audit, 1, 0), _answer(_KILL), _load(_NUMBER)]
    if machine == "x86_64":  # the x32 calls have the same effects under other numbers
        program += [_step(0x35, 0, 1, 0x40000000), _answer(_ERROR | _ENOSYS)]
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None:
            program += [_if_equal(number, 0, 1), _answer(_ERROR | _EPERM)]
    # clone3 hides its flags behind a pointer; the C library goes back to clone when it is not there
    program += [_if_equal(_CLONE3[column], 0, 1), _answer(_ERROR | _ENOSYS)]
    program += [_if_equal(_CLONE[column], 0, 3), _load(_FIRST), _step(0x45, 0, 1, _NAMESPACE_FLAGS)]
    program += [_answer(_ERROR | _EPERM), _load(_NUMBER)]
    program += [_if_equal(_MMAP[column], 0, 5), _load(_FOURTH), _step(0x54, 0, 0, _SHARED_ANONYMOUS)]
    program += [_if_equal(_SHARED_ANONYMOUS, 0, 1), _answer(_ERROR | _ENOMEM), _load(_NUMBER)]
    program += [_if_equal(_IOCTL[column], 0, 3), _load(_SECOND), _if_equal(_FAKE_INPUT, 0, 1)]
    program += [_answer(_ERROR | _EPERM), _answer(_ALLOW)]
    return b"".join(program)


def _step(code: int, then: int, otherwise: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)


def _load(offset: int) -> bytes:
    return _step(0x20, 0, 0, offset)


def _if_equal(value: int, then: int, otherwise: int) -> bytes:
    return _step(0x15, then, otherwise, value)


def _answer(value: int) -> bytes:
    return _step(0x06, 0, 0, value)

"""The files that a program sees: the system's libraries, this Python, one private folder."""

import os
import site
import sys
import sysconfig
from contextlib import suppress

from nblib.sandbox.inside import kernel

PRIVATE = "/program"  # the private folder, where there is a mount namespace
_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/fonts",
    "/etc/localtime", "/etc/timezone", "/etc/mime.types",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_USERS = f"root:x:0:0::/:/bin/false\nprogram:x:65534:65534::{PRIVATE}:/bin/false\n"
_GROUPS = "root:x:0:\nprogram:x:65534:\n"


def python_folders() -> list[str]:
    """Where this Python's own files and its installed packages lie; no project folder that is only on the path."""
    found = {sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages(), *sysconfig.get_paths().values()}
    found.add(os.path.dirname(os.path.realpath(sys.executable)))
    found |= {each for each in sys.path if os.path.basename(each) in ("site-packages", "dist-packages")}  # by a .pth
    found |= {os.path.realpath(each) for each in found}
    known = [each for each in sorted(found) if os.path.isdir(each) and each not in ("/", os.path.expanduser("~"))]
    return [each for each in known if not any(each.startswith(other + "/") for other in known)]


def readable() -> list[str]:
    """All that a program may read and execute."""
    return [each for each in (*_SYSTEM, *python_folders()) if os.path.exists(each)]


def import_path() -> list[str]:
    """sys.path without folders that a program cannot read."""
    roots = [os.path.realpath(each) + "/" for each in readable()]
    return [each for each in sys.path if any((os.path.realpath(each) + "/").startswith(root) for root in roots)]


def build(own_processes: bool) -> None:
    """Puts a new root in the place of the old: only `readable`, all of it read-only. Needs its own mount namespace."""
    kernel.make_private("/")
    place = "/tmp" if os.path.isdir("/tmp") else "/"
    kernel.mount("tmpfs", place, "tmpfs", kernel.NO_SETUID | kernel.NO_DEVICES, "mode=755,size=1m")
    os.mkdir(f"{place}/old")
    kernel.pivot_root(place, f"{place}/old")
    os.chdir("/")
    for each in (*_DEVICES, *_outermost(readable_in("/old"))):
        _show(each)
    for folder in (PRIVATE, "/proc", "/etc"):
        os.makedirs(folder, exist_ok=True)
    _write("/etc/passwd", _USERS)
    _write("/etc/group", _GROUPS)
    os.symlink(PRIVATE, "/dev/shm")
    os.symlink("/proc/self/fd", "/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"/dev/{name}")
    if not os.path.lexists("/tmp"):
        os.symlink(PRIVATE, "/tmp")
    if own_processes:
        with suppress(OSError):  # refused in a container that hides parts of its own /proc
            kernel.mount("proc", "/proc", "proc", kernel.NO_SETUID | kernel.NO_DEVICES)
    else:
        kernel.bind("/old/proc", "/proc")  # to find what programs leave; Landlock hides it from them
    kernel.unmount("/old")
    os.rmdir("/old")
    kernel.restrict_mount("/", kernel.READ_ONLY, recursive=False)


def readable_in(root: str) -> list[str]:
    """`readable`, when what was at / is now at that root."""
    return [each for each in (*_SYSTEM, *_FOLDERS) if os.path.lexists(root + each)]


_FOLDERS = python_folders()


def _outermost(paths: list[str]) -> list[str]:
    """Shorter paths first, so that a folder is there before what lies in it."""
    return sorted(paths, key=lambda path: path.count("/"))


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
        _write(path, "")
    kernel.bind(source, path)
    attributes = kernel.NO_SETUID if path in _DEVICES else kernel.READ_ONLY | kernel.NO_SETUID | kernel.NO_DEVICES
    kernel.restrict_mount(path, attributes)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)

"""The private folder of one job: made fresh, removed with all in it."""

import os
import tempfile
from contextlib import suppress

from nblib.sandbox.inside import kernel, view
from nblib.sandbox.inside.isolation import MOUNT, Place


def make(place: Place, limits: dict) -> str:
    """A new empty folder that programs may write to; its size is limited where it can be a file system of its own."""
    owner = place.user if place.user is not None else os.geteuid()
    if MOUNT in place.layers:
        size = limits["file_bytes"] * 4
        options = f"size={size},nr_inodes=4096,mode=700,uid={owner},gid={owner}"
        try:
            kernel.mount("tmpfs", view.PRIVATE, "tmpfs", kernel.NO_SETUID | kernel.NO_DEVICES, options)
        except OSError:  # a user or group that the map does not hold
            kernel.mount("tmpfs", view.PRIVATE, "tmpfs", kernel.NO_SETUID | kernel.NO_DEVICES, f"size={size},mode=777")
        return view.PRIVATE
    folder = os.path.realpath(tempfile.mkdtemp(prefix="nblib-sandbox-", dir="/tmp" if os.path.isdir("/tmp") else None))
    if place.user is not None:
        os.chown(folder, place.user, -1)
    return folder


def remove(place: Place, folder: str) -> None:
    """With all that programs have put there; what cannot be removed stays, and harms no outcome."""
    if MOUNT in place.layers:
        kernel.unmount(folder)
        return
    with suppress(OSError):
        _empty(folder)
        os.rmdir(folder)


def _empty(folder: str) -> None:
    """Step by step and not by path: folders may lie in each other so deep that no path reaches them."""
    os.chmod(folder, 0o700)  # a program may have closed it
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    names, waiting = list[str](), [_folders_left(here)]
    while waiting:
        if waiting[-1]:
            names.append(waiting[-1].pop())
            os.chmod(names[-1], 0o700, dir_fd=here)
            here = _step(here, names[-1])
            waiting.append(_folders_left(here))
        elif waiting.pop() == [] and names:
            here = _step(here, "..")
            os.rmdir(names.pop(), dir_fd=here)
    os.close(here)


def _folders_left(here: int) -> list[str]:
    """After all else is removed from a folder."""
    with os.scandir(here) as entries:
        found = [(each.name, each.is_dir(follow_symlinks=False)) for each in entries]
    for name in [name for name, is_folder in found if not is_folder]:
        os.unlink(name, dir_fd=here)
    return [name for name, is_folder in found if is_folder]


def _step(here: int, name: str) -> int:
    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    os.close(here)
    return there

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
    folder = os.path.realpath(tempfile.mkdtemp(prefix="nblib-program-", dir="/tmp" if os.path.isdir("/tmp") else None))
    if place.user is not None:
        os.chown(folder, place.user, -1)
    return folder


def remove(place: Place, folder: str) -> None:
    """With all that programs have put there; what cannot be removed stays, and harms no outcome."""
    if MOUNT in place.layers:
        kernel.unmount(folder)
        return
    with suppress(OSError):
        os.chmod(folder, 0o700)
        while entries := list(os.scandir(folder)):
            for entry in entries:
                _empty(folder, entry) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
        os.rmdir(folder)


def _empty(folder: str, entry: os.DirEntry) -> None:
    """Removes a folder after moving those in it up, so that none is ever deep."""
    os.chmod(entry.path, 0o700)  # a program may have closed it
    for each in list(os.scandir(entry.path)):
        if each.is_dir(follow_symlinks=False):
            os.chmod(each.path, 0o700)
            os.rename(each.path, tempfile.mkdtemp(dir=folder))
        else:
            os.unlink(each.path)
    os.rmdir(entry.path)

"""The private folder of one job: made fresh, removed with all in it."""

import os
import shutil
import tempfile

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
    folder = os.path.realpath(tempfile.mkdtemp(prefix="nblib-program-"))
    if place.user is not None:
        os.chown(folder, place.user, -1)
    return folder


def remove(place: Place, folder: str) -> None:
    """With all that programs have put there."""
    if MOUNT in place.layers:
        kernel.unmount(folder)
        return

    def open_up(function, path, _):  # a program may have closed its own folders
        os.chmod(os.path.dirname(path), 0o700)
        if not os.path.islink(path):
            os.chmod(path, 0o700)
        function(path)

    shutil.rmtree(folder, onerror=open_up)

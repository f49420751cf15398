"""One worker: takes jobs, has their programs run, gives back outcomes. Decides verdicts, compares no outputs."""

import os
import socket
import sys
from contextlib import suppress

from nblib.sandbox.inside import isolation, jobs, kernel, processes, spawner, wire


def main() -> None:
    """Entry of a fresh interpreter: `argv` holds the number of the channel's file and the layers to leave out."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    without = frozenset(sys.argv[2:])
    if kernel.LINUX:
        kernel.adopt_orphans()
    near, far = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        near.close()
        channel.close()
        try:
            spawner.start(far, without)
        finally:
            os._exit(1)
    far.close()
    layers = _greet(near, pid)
    supply = processes.Supply(near, channel)
    try:
        names = (*isolation.ALL, *isolation.LIMITS, isolation.WATCH)
        wire.send(channel, {"layers": {name: name in layers for name in names}})
        while True:
            message = wire.receive(channel)
            for outcome in jobs.run(supply, message["job"], message["limits"]):
                wire.send(channel, {"outcome": outcome})  # one by one: all together may be very long
            wire.send(channel, {"done": True})
    except wire.ClosedError:
        pass
    except processes.BrokenError as error:
        with suppress(wire.ClosedError):
            wire.send(channel, {"broken": str(error)})
    finally:
        near.close()
        channel.close()
        with suppress(ChildProcessError):
            while True:
                os.wait()


def _greet(near: socket.socket, pid: int) -> list[str]:
    """Writes the new process's user map if it asks, and hears which layers it has."""
    message = wire.receive(near)
    if "map" in message:
        wire.send(near, {"nobody": _map_users(pid)})
        message = wire.receive(near)
    return message["layers"]


def _map_users(pid: int) -> bool:
    """Root maps itself and `nobody`, others only themselves; says whether there is a `nobody`."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        with suppress(OSError):
            _write(f"/proc/{pid}/gid_map", f"{group} {group} 1\n65534 65534 1\n")
            _write(f"/proc/{pid}/uid_map", "0 0 1\n65534 65534 1\n")
            return True
    with suppress(OSError):
        _write(f"/proc/{pid}/setgroups", "deny")
        _write(f"/proc/{pid}/gid_map", f"{group} {group} 1\n")
        _write(f"/proc/{pid}/uid_map", f"{user} {user} 1\n")
    return False


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)

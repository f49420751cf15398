"""Runs attacks inside an outer layer and reports what came of each, one line of JSON an attack.

    python tests/attacks/outer.py [--nobody] [--without "a layer"] ["name of an attack" …]

The outer layer is a PID, mount and network namespace where they are allowed, so that what escapes the sandbox meets
this one; `--nobody` gives up root first, `--without` leaves out a layer. Bait lies in it, and after each attack it is
looked over.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from attacks.forgeries import FORGERIES  # noqa: E402
from attacks.programs import ATTACKS, SMALL, Attack  # noqa: E402

from nblib import sandbox  # noqa: E402
from nblib.sandbox import isolation, linux, run_job  # noqa: E402
from nblib.sandbox.worker import Worker  # noqa: E402

SECRET = "bait-5f1d2c"
NOBODY = 65534
GOOD = sandbox.Script("print(int(input()) * 2)", ("21\n",))
WATCHED = ("/tmp", "/var/tmp", "/dev/shm")


def main(names: list[str], nobody: bool, without: list[str]) -> None:
    own_layer(nobody)
    os.environ["NBLIB_SECRET"] = SECRET
    with tempfile.TemporaryDirectory(prefix="nblib-home-") as home:
        bait = Bait(Path(home), without)
        for attack in [*ATTACKS, *FORGERIES]:
            if not names or attack.name in names:
                print(json.dumps(bait.try_out(attack)), flush=True)
        bait.clear()
        print(json.dumps({"layers": bait.worker.layers, "left": descendants()}), flush=True)


def own_layer(nobody: bool) -> None:
    """New namespaces for all that follows, as far as they are allowed, and another user if asked."""
    linux.prctl(linux.ADOPT_ORPHANS, 1)
    if os.geteuid() == 0:
        with suppress(OSError):
            linux.call("unshare", linux.NEW_MOUNT | linux.NEW_PID | linux.NEW_NETWORK | linux.NEW_IPC)
            if pid := os.fork():
                os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
            linux.prctl(linux.PARENT_DEATH_SIGNAL, 9)
            linux.prctl(linux.ADOPT_ORPHANS, 1)
            linux.mount(None, "/", flags=linux.PRIVATE)
            linux.mount("proc", "/proc", "proc")
            subprocess.run(["ip", "link", "set", "lo", "up"], check=False, capture_output=True)
            if nobody:
                open_the_way()
        if nobody:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            linux.prctl(linux.DUMPABLE, 1)
        os.environ.pop("HOME", None)


def open_the_way() -> None:
    """Shows this Python's folders to a user that may not pass through root's home."""
    for folder in isolation.python_folders():
        closed = [parent for parent in Path(folder).parents if not parent.stat().st_mode & 0o005]
        if closed:
            aside = tempfile.mkdtemp()
            linux.mount(folder, aside, flags=linux.BIND)
            linux.mount("tmpfs", str(closed[-1]), "tmpfs", 0, "mode=755")
            os.makedirs(folder)
            linux.mount(aside, folder, flags=linux.BIND)
            linux.call("umount2", aside, linux.DETACH)
            os.rmdir(aside)


class Bait:
    """What attacks would like to have or to break."""

    def __init__(self, home: Path, without: list[str]):
        self.home = home
        (home / ".ssh").mkdir()
        (home / ".ssh" / "id_rsa").write_text(SECRET)
        (home / "keep").write_text(SECRET)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.abstract, self.local = (socket.socket(socket.AF_UNIX) for _ in range(2))
        self.name = f"nblib-bait-{os.getpid()}"
        self.abstract.bind(f"\0{self.name}")
        self.local.bind(str(home / "socket"))
        for listener in (self.abstract, self.local):
            listener.listen()
        for listener in (self.server, self.abstract, self.local):
            listener.setblocking(False)
        self.victim = subprocess.Popen(["sleep", "9999"])
        self.worker = Worker(without)  # one for all attacks: each finds it as the last one left it

    def try_out(self, attack: Attack) -> dict:
        """What an attack came to, and all that it should not have done."""
        before = self.state()
        limits = sandbox.Limits(**{**SMALL, **attack.limits})
        outcomes = run_job(self.worker, self.with_bait(attack.job), limits)
        state = self.state()
        faults = [f"{name}: {was} -> {state[name]}" for name, was in before.items() if state[name] != was]
        after = run_job(self.worker, GOOD, limits)
        text = "".join(f"{outcome.output} {outcome.message}" for outcome in outcomes)
        if "ESCAPED" in text or SECRET in text:
            faults.append(f"it says: {text[:200]}")
        if [outcome.status for outcome in outcomes if outcome.status not in attack.statuses]:
            faults.append(f"it came to {outcomes[0].status}: {outcomes[0].message}")
        if after[0].output != "42\n":
            faults.append(f"the next program came to {after[0]}")
        if connected := [listener for listener in (self.server, self.abstract, self.local) if accepts(listener)]:
            faults.append(f"a connection to {connected}")
        return {"name": attack.name, "status": outcomes[0].status, "message": outcomes[0].message, "faults": faults}

    def with_bait(self, job: sandbox.Job) -> sandbox.Job:
        names = {"$HOME": self.home, "$PORT": self.server.getsockname()[1], "$SOCKET": self.name}
        code = job.code
        for name, value in {**names, "$PID": self.victim.pid, "$PROJECT": PROJECT}.items():
            code = code.replace(name, str(value))
        return replace(job, code=code)

    def clear(self) -> None:
        self.worker.close()
        self.victim.kill()
        self.victim.wait()
        for listener in (self.server, self.abstract, self.local):
            listener.close()

    def state(self) -> dict:
        """All that may not change."""
        return {
            "files": sorted(str(file) for file in self.home.rglob("*")),
            "keep": (self.home / "keep").read_text(),
            "project": sorted(str(file) for file in (PROJECT / "tests" / "attacks").glob("*.py")),
            "folders": [sorted(name for name in os.listdir(folder) if "nblib-program" in name) for folder in WATCHED],
            "escaped": [path for path in ("/var/tmp/escaped", "/dev/shm/left") if os.path.exists(path)],
            "mounts": len(Path("/proc/self/mounts").read_text().splitlines()),
            "processes": descendants(),  # this one's victim and worker
            "victim": self.victim.poll(),
        }


def accepts(server: socket.socket) -> bool:
    try:
        server.accept()
    except OSError:
        return False
    return True


def descendants() -> list[int]:
    """Of this process, which adopts what is left of its children."""
    return sorted(linux.below(os.getpid()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--nobody", action="store_true")
    parser.add_argument("--without", action="append", default=[])
    main(**vars(parser.parse_args()))

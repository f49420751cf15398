"""Where a result came from: code, versions, machine, content of data. Measures no cost."""

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "nblib torch transformers peft bitsandbytes datasets evaluate accelerate tree-sitter tree-sitter-python".split()
)
# How results are made, where no setting says it: one count more for each change after which a score can differ. Which
# rows such a change concerns says `results.older`; where it says nothing, all of them.
REVISIONS = {"prompts": 3, "training": 3, "decoding": 3, "scores": 2, "execution": 2}
ROOT = Path(__file__).resolve().parent.parent  # of the clone


def collect() -> dict:
    """Commit, versions, revisions and processor, as plain values."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "clean": _git("status", "--porcelain", "--", "nblib") == "",  # a notebook that was run is no other code
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "revisions": dict(REVISIONS),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict:
    """What an unfinished run must find again to go on the same: versions of packages and revisions."""
    return {name: _version(name) for name in PACKAGES} | {"revisions": dict(REVISIONS)}


def content_hash(paths: list[Path]) -> str:
    """A hash of files' names and bytes, the same on every machine."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


@cache
def _git(*arguments: str) -> str | None:
    """What git says of the clone; None outside of one."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

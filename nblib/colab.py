"""Google Colab: installs what it lacks, keeps results on Drive, says what its GPU can train. Never needed elsewhere."""

import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nblib.provenance import ROOT

PINNED = ("torch", "torchvision", "torchaudio", "numpy")  # Colab's own builds, made for each other and for its driver
DRIVE = Path("/content/drive")
ON_DRIVE = DRIVE / "MyDrive" / "nblib"  # what outlasts the machine
LARGE_MODELS = ("codellama-13b-python", "codellama-7b", "qwen2.5-coder-1.5b")
ROW_TOKENS = 512  # of the training rows that the GPU is asked about
SKIPPED_PRECISIONS = ("fp32", "int8", "nf4")  # nobody trains large models in fp32; nf4-dq is the smallest of the others
FREE_GPU = "T4"  # what Colab lends for nothing


def prepare(*, keep_on_drive: bool = False) -> None:
    """Makes a fresh Colab machine ready for any notebook; on one that is ready it only says what its GPU can train.

    With `keep_on_drive` the results folder stands on Google Drive: after a disconnect, run the notebook again and
    it reads the rows that are there and goes on with the rest.
    Raises RuntimeError with the last lines of pip where a package cannot be installed.
    """
    if _version("nblib") is None:
        install()
    if keep_on_drive:
        print(f"Results go to {keep_results(mount_drive() / 'results')} and outlast this machine.")
    else:
        print("Results are lost with this machine: set keep_on_drive, or download the results folder.")
    print(describe_gpu(*gpu()))


def install(root: Path = ROOT) -> None:
    """Installs nblib with what it needs; pip may add and upgrade, but it must not touch Colab's torch and numpy."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{pin}\n" for pin in pins()), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
        done = subprocess.run([*command, "--editable", f"{root}[dense]"], capture_output=True, text=True, check=False)
    if done.returncode:
        last_words = " ".join((done.stderr or done.stdout).split())[-600:]
        raise RuntimeError(f"pip could not install nblib beside {', '.join(pins())}: {last_words}")
    importlib.invalidate_caches()


def pins() -> list[str]:
    """`name==version` of the packages that pip must leave as they are, as far as they are installed."""
    return [f"{name}=={found}" for name in PINNED if (found := _version(name))]


def mount_drive() -> Path:
    """nblib's folder on Google Drive, which the user is asked to open to this machine."""
    from google.colab import drive  # type: ignore[import-not-found,unused-ignore]  # Colab's own, nowhere else

    drive.mount(str(DRIVE))
    return ON_DRIVE


def keep_results(place: Path, results: Path = ROOT / "results") -> Path:
    """Lets the clone's results folder stand at `place`, rows that it already has included; returns `place`."""
    place.mkdir(parents=True, exist_ok=True)
    if results.is_symlink():
        results.unlink()
    elif results.exists():
        _move(results, place)
    results.symlink_to(place, target_is_directory=True)
    return place


def gpu() -> tuple[str, float]:
    """Name and GiB of the GPU; no name where there is none."""
    import torch

    if not torch.cuda.is_available():
        return "", 0.0
    properties = torch.cuda.get_device_properties(0)
    return properties.name, properties.total_memory / 2**30


def describe_gpu(name: str, gib: float) -> str:
    """What a GPU can train, the largest models first, as the memory planner has it; without a GPU what to do."""
    device = FREE_GPU if not name or FREE_GPU in name.split() else round(gib, 1)
    models = "; ".join(trainable(device)) or "none of the study's large models"
    trains = f"trains, with LoRA and texts of {ROW_TOKENS} tokens, {models}."
    if not name:
        return f"No GPU: the embedded model is enough for it. Runtime > Change runtime type > {FREE_GPU} GPU {trains}"
    return f"GPU: {name} with {gib:.1f} GiB {trains}"


def trainable(device: str | float) -> Iterator[str]:
    """`codellama-7b (fp16)` for each model that LoRA fits on a device, at the most exact precision that fits.

    Row by row and with checkpointing, which is the least that training needs; `memory.plan` finds what is fastest.
    """
    from nblib import memory, spec

    card = memory.card(device)
    slowest = spec.Training(device_batch=1, gradient_checkpointing=True)
    for model in LARGE_MODELS:
        for precision in [name for name in card.precisions if name not in SKIPPED_PRECISIONS]:
            needed = memory.predict(model, spec.Lora(), precision, batch=1, training=slowest, length=ROW_TOKENS)
            if needed.peak_bytes <= card.usable_bytes:
                yield f"{model} ({precision})"
                break


def _move(results: Path, place: Path) -> None:
    """Moves the files of a folder; what is at `place` already is an older session's, and stays."""
    for path in [path for path in results.rglob("*") if path.is_file()]:
        target = place / path.relative_to(results)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    shutil.rmtree(results)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

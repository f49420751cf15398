"""Google Colab: installs what it lacks, keeps results on Drive, says what its card can do. Never needed elsewhere."""

import importlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nblib.provenance import ROOT

KEPT = ("torch", "torchvision", "torchaudio", "numpy")  # Colab's own builds, made for each other and for its driver
DRIVE = Path("/content/drive")
ON_DRIVE = DRIVE / "MyDrive" / "nblib"  # what outlasts the machine
LARGE = ("codellama-13b-python", "codellama-7b", "qwen2.5-coder-1.5b")
LENGTH = 512  # tokens of a training row that the card is asked about
LEFT_OUT = ("fp32", "int8", "nf4")  # nobody trains large models in fp32; nf4-dq is the smallest of the others
FREE = "T4"  # what Colab lends for nothing


def prepare(*, keep_on_drive: bool = False) -> None:
    """Makes a fresh Colab machine ready for any notebook; on one that is ready it only says what the card can do.

    With `keep_on_drive` the results folder stands on Google Drive: after a disconnect, run the notebook again and
    it reads the rows that are there and goes on with the rest.
    Raises RuntimeError with the last lines of pip where a package cannot be installed.
    """
    if not _is_installed():
        install()
    if keep_on_drive:
        print(f"Results go to {keep(mounted() / 'results')} and outlast this machine.")
    else:
        print("Results are lost with this machine: set keep_on_drive, or download the results folder.")
    print(ability(*card()))


def install(root: Path = ROOT) -> None:
    """Installs nblib with what it needs; pip may add and upgrade, but it must not touch Colab's torch and numpy."""
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "kept.txt"
        pins.write_text("".join(f"{pin}\n" for pin in kept()), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(pins)]
        done = subprocess.run([*command, "--editable", f"{root}[dense]"], capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-600:]
        raise RuntimeError(f"pip could not install nblib beside {', '.join(kept())}: {said}")
    importlib.invalidate_caches()


def kept() -> list[str]:
    """`name==version` of what pip must leave as it is, as far as it is there."""
    return [f"{name}=={found}" for name in KEPT if (found := _version(name))]


def mounted() -> Path:
    """nblib's folder on Google Drive, which the user is asked to open to this machine."""
    from google.colab import drive  # type: ignore[import-not-found,unused-ignore]  # Colab's own, nowhere else

    drive.mount(str(DRIVE))
    return ON_DRIVE


def keep(place: Path, results: Path = ROOT / "results") -> Path:
    """Lets the clone's results folder stand at `place`, rows that it already has included; returns `place`."""
    place.mkdir(parents=True, exist_ok=True)
    if results.is_symlink():
        results.unlink()
    elif results.exists():
        _move(results, place)
    results.symlink_to(place, target_is_directory=True)
    return place


def card() -> tuple[str, float]:
    """Name and GiB of the GPU; no name where there is none."""
    import torch

    if not torch.cuda.is_available():
        return "", 0.0
    facts = torch.cuda.get_device_properties(0)
    return facts.name, facts.total_memory / 2**30


def ability(name: str, gib: float) -> str:
    """What a card can train, the largest models first, as the memory planner has it; without a GPU what to do."""
    known = FREE if not name or FREE in name.split() else round(gib, 1)
    found = "; ".join(trainable(known)) or "none of the study's large models"
    trains = f"trains, with LoRA and texts of {LENGTH} tokens, {found}."
    if not name:
        return f"No GPU: the embedded model is enough for it. Runtime > Change runtime type > {FREE} GPU {trains}"
    return f"GPU: {name} with {gib:.1f} GiB {trains}"


def trainable(device: str | float) -> Iterator[str]:
    """`codellama-7b (fp16)` for each model that LoRA fits on a device, at the most exact precision that fits.

    Row by row and with checkpointing, which is the least that training needs; `memory.plan` finds what is fastest.
    """
    from nblib import memory, spec
    from nblib.memory import cards

    card = cards.card(device)
    slowest = spec.Training(device_batch=1, gradient_checkpointing=True)
    for model in LARGE:
        for precision in (each for each in card.precisions if each not in LEFT_OUT):
            needed = memory.predict(model, spec.Lora(), precision, batch=1, training=slowest, length=LENGTH)
            if needed.peak_bytes <= card.usable_bytes:
                yield f"{model} ({precision})"
                break


def _is_installed() -> bool:
    return _version("nblib") is not None and _version("peft") is not None


def _move(results: Path, place: Path) -> None:
    """Moves the files of a folder; what is at `place` already is an older session's, and stays."""
    for path in [each for each in results.rglob("*") if each.is_file()]:
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

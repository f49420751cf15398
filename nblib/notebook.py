"""What notebooks begin with: Papermill's parameters checked, and a Colab machine made ready."""

import ast
import difflib
import importlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, MutableMapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from IPython import get_ipython

from nblib.provenance import ROOT

PACKAGE = Path(__file__).parent
REFUSALS = (ValueError, OSError, RuntimeError, ImportError)  # kinds of errors that say what to do
INJECTED = "# Parameters"  # the first line of the cell that Papermill adds
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
BUILDS = ("torch", "torchvision", "torchaudio", "numpy")  # Colab's own, made for each other and for its driver
SERVER = ("google-colab", "ipykernel", "ipywidgets", "jupyter-server", "jupyterlab", "notebook")  # run the page itself
OLDEST_TORCHAO = (0, 16)  # that peft takes
DRIVE = Path("/content/drive")
ON_DRIVE = DRIVE / "MyDrive" / "nblib"  # what outlasts the machine
LARGE_MODELS = ("codellama-13b-python", "codellama-7b", "qwen2.5-coder-1.5b")
ROW_TOKENS = 512  # of the training rows that the GPU is asked about
SKIPPED_PRECISIONS = ("fp32", "int8", "nf4")  # nobody trains large models in fp32; nf4-dq is the smallest of the others
FREE_GPU = "T4"  # what Colab lends for nothing

# --- parameters -----------------------------------------------------------------------------------------------------


def check(cells: Sequence[str], namespace: MutableMapping) -> None:
    """Refuses injected parameters that the notebook does not have, and gives each the kind of its default.

    `cells` are the sources of the cells run so far, in order: `In` in a notebook; `namespace` is its `globals()`.
    Papermill itself only warns of unknown names, and hands on `-p force false` as a text, which Python takes for true.
    From here on, what nblib refuses is shown as its one sentence. Raises ValueError with one that names the parameter.
    """
    if shell := get_ipython():
        shell.set_custom_exc(REFUSALS, _in_a_sentence)
    kinds = {bool: as_bool, int: as_count, str: as_text}
    for before, cell in itertools.pairwise(cells):
        if cell.startswith(INJECTED):
            defaults = _assigned(before)
            for name, value in _assigned(cell).items():
                if name not in defaults:
                    near = difflib.get_close_matches(name, defaults, n=1)
                    hint = f", did you mean {near[0]!r}?" if near else "."
                    raise ValueError(f"this notebook has no parameter {name!r}{hint} It has {', '.join(defaults)}")
                if convert := kinds.get(type(defaults[name])):
                    namespace[name] = convert(value, name=name)


def _in_a_sentence(shell, kind, error, trace, tb_offset=None) -> None:
    """Shows an error: what nblib itself has raised without the way to it, unless NBLIB_DEBUG is set."""
    *_, (frame, _) = traceback.walk_tb(trace)
    if Path(frame.f_code.co_filename).is_relative_to(PACKAGE) and not os.environ.get("NBLIB_DEBUG"):
        error._render_traceback_ = lambda: [f"{kind.__name__}: {error}"]  # IPython asks for it
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def as_bool(value, *, name: str) -> bool:
    """True or False from a truth value or from true, false, yes, no, 1, 0 in any case.

    Raises ValueError for anything else: the text "false" is true for Python.
    """
    found = TRUTHS.get(str(value).strip().lower()) if isinstance(value, bool | int | str) else None
    if found is None:
        raise ValueError(f"{name} must be true or false; got {value!r}")
    return found


def as_count(value, *, name: str) -> int:
    """A whole number, 0 or more, from a number or its text; `1e2` is 100. Raises ValueError for anything else."""
    try:
        number = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = -1.0
    if number < 0 or not number.is_integer():
        raise ValueError(f"{name} must be a whole number, 0 or more; got {value!r}")
    return int(number)


def as_text(value, *, name: str) -> str:
    """A text; a number is taken as it reads, since Papermill makes one of a folder called 2024.

    Raises ValueError for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{name} must be a text; got {value!r}")
    return str(value)


def as_list(value, kind: type = str, *, name: str) -> list:
    """A list of `kind` (str or int) from a list, a single value, or text such as `[1,2]` or `lora,full`.

    Raises ValueError, naming the parameter, for anything else.
    """
    given = value
    if isinstance(value, str):
        try:
            given = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            given = [part.strip(" '\"") for part in value.strip(" []()").split(",") if part.strip()]
    items = list(given) if isinstance(given, list | tuple) else [given]
    try:
        return [as_text(item, name=name).strip() if kind is str else as_count(item, name=name) for item in items]
    except ValueError:
        raise ValueError(f"{name} must be a list of {kind.__name__} values; got {value!r}") from None


def as_folder(value: str | Path, *, name: str) -> Path:
    """A folder to write into, which is made when something is written; `~` stands for the user's own.

    Raises OSError with one sentence where that cannot be: it is known before any work.
    """
    folder = Path(value).expanduser()
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise OSError(f"{name} must be a folder that files can be written to; got {folder}, and {nearest} is none")
    return folder


def _assigned(cell: str) -> dict[str, object]:
    """Names that a cell assigns at its top level, with their values."""
    found: dict[str, object] = {}
    for statement in ast.parse(cell).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        for name in [target.id for target in targets if isinstance(target, ast.Name)]:
            try:
                found[name] = ast.literal_eval(statement.value)  # type: ignore[attr-defined]  # an assignment's
            except ValueError:  # float("nan"), as Papermill writes it
                found[name] = float("nan")
    return found


# --- Google Colab ---------------------------------------------------------------------------------------------------


def prepare_colab(*, keep_on_drive: bool = False) -> None:
    """Makes a fresh Colab machine ready for any notebook; on one that is ready it only says what its GPU can train.

    With `keep_on_drive` the results folder stands on Google Drive: after a disconnect, run the notebook again and
    it reads the rows that are there and goes on with the rest.
    Raises RuntimeError where a package cannot be installed, and shows what pip said.
    """
    if _version("nblib") is None:
        install()
    if keep_on_drive:
        from google.colab import drive  # type: ignore[import-not-found,unused-ignore]  # Colab's own, nowhere else

        drive.mount(str(DRIVE))
        print(f"Results go to {keep_results(ON_DRIVE / 'results')} and outlast this machine.")
    else:
        print("Results are lost with this machine: set keep_on_drive, or download the results folder.")
    print(describe_gpu(*gpu()))


def install(root: Path = ROOT) -> None:
    """Installs nblib with what it needs; Colab's torch and numpy, and all that runs its page, stay as they are."""
    pins = host_pins()
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(pins) + "\n", encoding="utf-8")
        pip("install", "--constraint", str(constraints), "--editable", f"{root}[dense]")
    if (found := _version("torchao")) and tuple(map(int, found.split(".")[:2])) < OLDEST_TORCHAO:
        pip("uninstall", "--yes", "torchao")
        print(f"Removed torchao {found} from this machine: peft refuses a version below 0.16, and nblib needs none.")
    importlib.invalidate_caches()


def pip(action: str, *arguments: str) -> None:
    """Runs pip; where it fails, shows all that it said and raises RuntimeError."""
    command = [sys.executable, "-m", "pip", action, "--quiet", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        print(done.stdout)
        raise RuntimeError(f"`pip {action} {arguments[-1]}` failed; what pip said is above")


def host_pins() -> list[str]:
    """`name==version` of what has to stay: Colab's builds, and all that its notebook server needs, directly or not."""
    from packaging.requirements import Requirement  # which Jupyter needs too

    pins, waiting = {name: _version(name) for name in BUILDS}, list(SERVER)
    while waiting:
        if (name := waiting.pop().lower()) not in pins:
            pins[name] = _version(name)
            needed = [Requirement(line) for line in (requires(name) if pins[name] else None) or ()]
            waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return [f"{name}=={found}" for name, found in sorted(pins.items()) if found]


def keep_results(place: Path, results: Path = ROOT / "results") -> Path:
    """Lets the clone's results folder stand at `place`; rows that it has move there, but for those that are there."""
    place.mkdir(parents=True, exist_ok=True)
    if results.is_symlink():
        results.unlink()
    elif results.exists():
        for path in [path for path in results.rglob("*") if path.is_file()]:
            target = place / path.relative_to(results)
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)
        shutil.rmtree(results)
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


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

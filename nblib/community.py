"""Other people's results: rows checked and packed as one file, and packs read again. Runs nothing, trusts nothing."""

import hashlib
import io
import json
import math
import re
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from nblib import files, results, spec, tasks
from nblib.results import Frames, Prediction, Row

FOLDER = results.SHIPPED / "community"
MANIFEST = "manifest.json"
NAME = re.compile(r"[\w.+-]{1,200}\.json|[\w.+-]{1,200}\.predictions\.jsonl", re.ASCII)
WHO = re.compile(r"[\w .,'-]{1,60}")
MOST_FILES, MOST_BYTES = 20_000, 500 * 2**20  # of a pack, unpacked
NEEDED = ("nblib", "torch", "transformers", "peft")  # whose versions a row has to say


def pack(folder: str | Path, by: str, target: str | Path = FOLDER) -> tuple[Path, dict[str, str]]:
    """Packs the rows of a folder that pass `problem`, in the same bytes every time and without this machine's folders.

    Returns the file, and by id why other rows were left out. Raises ValueError for a name that is none, and where no
    row passes.
    """
    if not WHO.fullmatch(by):
        raise ValueError(f"by must be a name of letters, digits, spaces and .,'-, 60 at most; got {by!r}")
    left = {name.removesuffix(".json"): why for name, why in results.problems(folder).items()}
    ours = shipped_ids()
    with tempfile.TemporaryDirectory() as public:
        for row in results.read(folder, quiet=True):
            answers = results.predictions(folder, row.id)
            if why := problem(row, answers, ours):
                left[row.id] = why
            else:
                results.write(public, _without_places(row), answers)
        contents = {path.name: path.read_bytes() for path in sorted(Path(public).iterdir())}
    if not contents:
        raise ValueError(f"no row of {folder} can be sent: " + "; ".join(f"{id} {why}" for id, why in left.items()))
    manifest = json.dumps({"by": by, "files": _hashes(contents)}, indent=1).encode()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in {MANIFEST: manifest, **contents}.items():
            entry = zipfile.ZipInfo(name)  # of no time
            entry.create_system = 3  # on every system
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    name = re.sub(r"\W+", "-", by.lower()) + "." + hashlib.sha256(manifest).hexdigest()[:10]
    return files.write(Path(target) / f"{name}.zip", held.getvalue()), left


def problem(row: Row, answers: list[Prediction], known: Mapping[str, str]) -> str:
    """Why a row cannot stand beside others, in words that follow its id; `known` are rows and where they are."""
    made, asked, count = row.provenance, row.settings, row.costs.get("examples")
    missing = [name for name in NEEDED if not made.get("packages", {}).get(name)]
    examples = {answer.example for answer in answers}
    off = [
        name for name in row.scores if not _is_mean(row.scores[name], [answer.scores.get(name) for answer in answers])
    ]
    reasons = {
        f"is among the rows of {known.get(row.id)}": row.id in known,
        "has no scores": row.status != results.OK or asked.get("shape_only") or not row.scores,
        "is of the user's own data, which nobody else has": asked.get("user_data"),
        "was made by code that is no commit of nblib: run it again from one": not (
            made.get("commit") and made["clean"]
        ),
        f"does not say the version of {', '.join(missing)}": missing,
        "has an id that does not follow from its settings, data and weights": _id(row) != row.id,
        f"has {len(examples)} answers of {count}": not len(examples) == len(answers) == count,
        f"has another mean of {', '.join(off)} than its answers": off,
    }
    return next((why for why, holds in reasons.items() if holds), "")


def load(folder: str | Path = FOLDER) -> Frames:
    """All packs of a folder as `results.load` gives rows, with whom they are `by`; nothing in them is run.

    A pack that is not as `pack` makes it is left out with a warning, whole.
    """
    none, known = results.load(folder, []), shipped_ids()
    frames = [Frames(none.runs.assign(by=""), none.answers.assign(by=""))]
    for path in sorted(Path(folder).glob("*.zip")):
        try:
            frames.append(_read(path, known))
            known |= dict.fromkeys(frames[-1].runs.index, path.name)
        except Exception as reason:  # what others send may fail in any way, and the report goes on
            warnings.warn(f"{path.name} is left out: {reason}", stacklevel=2)
    runs, answers = zip(*(frames[1:] or frames), strict=True)
    return Frames(pd.concat(runs), pd.concat(answers, ignore_index=True))


def shipped_ids() -> dict[str, str]:
    """Id -> folder, of the rows that the repository ships as its own."""
    return {path.stem: path.parent.name for path in results.SHIPPED.rglob("*.json") if FOLDER not in path.parents}


def _read(path: Path, known: Mapping[str, str]) -> Frames:
    """The rows of a pack, unpacked into a temporary folder. Raises ValueError where any of it is not as it should."""
    contents = _contents(path)
    manifest = json.loads(contents.pop(MANIFEST, b"{}"))
    by = manifest.get("by")
    if not isinstance(by, str) or not WHO.fullmatch(by):
        raise ValueError("it does not say by whom it is, in letters")
    if manifest.get("files") != _hashes(contents):
        raise ValueError("its files are not those of its manifest")
    with tempfile.TemporaryDirectory() as place:
        for name, content in contents.items():
            Path(place, name).write_bytes(content)
        found = results.problems(place)
        for row in results.read(place, quiet=True):
            found |= {row.id: problem(row, results.predictions(place, row.id), known)}
        if wrong := [f"{name} {why}" for name, why in found.items() if why]:
            raise ValueError("; ".join(wrong))
        runs, answers = results.load(place)
    return Frames(runs.assign(by=by), answers.assign(by=by))


def _contents(path: Path) -> dict[str, bytes]:
    """Name -> content of a zip file's entries, none of which is a folder, too large or named like a path."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) > MOST_FILES or sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB")
        if len(entries) < len(archive.infolist()):
            raise ValueError("it has two files of one name")
        if odd := [name for name in entries if not NAME.fullmatch(name)]:
            raise ValueError(f"{odd[0][:80]!r} is no name of a row")
        return {name: archive.read(entry) for name, entry in entries.items()}


def _hashes(contents: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _id(row: Row) -> str:
    """The id that follows from a row's settings and its data's and model's content; empty where they make no run."""
    asked, training = row.settings, row.settings.get("training")
    try:
        parts = {"method": spec.method(**asked["method"]), "decoding": spec.Decoding(**asked["decoding"])}
        run = spec.Run(**asked | parts | {"training": spec.Training(**training) if training else None})
        content = f"{row.provenance['data']} {tasks.settings(tasks.of(run))}"
        return spec.run_id(run, data=content, weights=row.provenance["weights"])
    except (KeyError, TypeError, ValueError):
        return ""


def _without_places(row: Row) -> Row:
    """The row without folders of this machine, which its id does not follow from."""
    model = str(row.settings["model"]).replace("\\", "/")
    if Path(model).expanduser().is_absolute() or ":/" in model:
        model = f"./{Path(model).name}"
    return replace(row, settings=row.settings | {"model": model, "data_dir": None})


def _is_mean(score: Mapping, values: list[float | None]) -> bool:
    known = [value for value in values if value is not None]
    mean = sum(known) / max(1, len(known))
    return score["n"] == len(known) and math.isclose(mean, score["mean"] or 0.0, abs_tol=1e-9)

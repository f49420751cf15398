"""The executed study that the repository ships: its rows, its figures, and the tables of README and docs.

python -m nblib.tools make      executes every notebook from an empty results/, keeps its rows, writes the tables
python -m nblib.tools readme    only writes the tables again from the kept rows
"""

import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from nblib import memory, presets, provenance, results, spec, tables, tasks
from nblib.tools import notebooks

KEPT = results.SHIPPED / "tiny"  # rows and predictions, without the adapters
PRETRAINED = "smollm2-135m-instruct"  # whose rows tests/benchmarks/real_study.py makes
WORKING = provenance.ROOT / "results"  # where the notebooks write
DOCUMENTS = (provenance.ROOT / "README.md", provenance.ROOT / "docs" / "results.md")  # have tables between marks
FIRST = "rq1_peft_vs_icl"
LAST = ("report", "playground")  # they read the rows of all others
METHODS, GRID = "rq3_peft_methods", "rq7_rates_and_ranks"
# That notebook's parameters for a second task, whose rows the report reads; and for methods since the study.
SECOND = {"task": "codealpaca-mini", "methods": ["zero-shot", "icl", "rag", "lora"], "shots": [1, 3]}
SINCE = {"methods": ["lora", *presets.SINCE, "full"], "small_model": "", "sensitive": []}
LARGE = "codellama-7b"  # whose memory the README's advice predicts
SITUATIONS = {  # what a reader has: the method to take, whatever it scores, and how the large model is held
    "no examples": ("zero-shot", "bf16"),
    "a handful of examples": ("icl-3", "bf16"),
    "hundreds of examples, but no training, or they change often": ("rag-3", "bf16"),
    "hundreds of examples, and answers have to be quick": ("lora", "bf16"),
    "the same, and a small GPU": ("qlora-4bit", "nf4-dq"),
}
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
NO_ADDRESS = """On Colab, upload a notebook and put your copy's address into its first cell. To set it everywhere,
change `REPOSITORY` in `nblib/tools/notebooks.py` and run `python -m nblib.tools notebooks clean` and then
`python -m nblib.tools readme`, which also puts a badge into each row above."""
SPARING = spec.Training(batch_size=8, device_batch=8, gradient_checkpointing=True)
TEXTS: dict[str, Any] = {"length": 128, "beams": 1, "new_tokens": 64}  # of the prediction: tokens of rows and answers
FEW = ("zero-shot", "icl-3", "rag-3", "lora", "full")  # whose operations and style are told apart
REAL = ("method", "em@1", "codebleu", "chrf", "seeds")
SCORED = ("method", "em@1", "em@10", "codebleu", "seeds")
PAID = ("method", "prompt_tokens", "trainable_parameters", "train_seconds", "memory_bytes")


def make() -> None:
    """Executes the notebooks in place, each after those whose rows it reads, and keeps what came of it.

    Raises FileExistsError where results/ holds rows already, since they would be read instead of made.
    """
    if count := len(list(WORKING.glob("*.json"))):
        raise FileExistsError(f"{WORKING.name}/ holds {count} rows, which would be read instead of made: move it away")
    apart: set[str] = set()
    for path in in_order((provenance.ROOT / "notebooks").glob("*.ipynb")):
        begun, known = time.monotonic(), _ids()
        notebooks.run(path)
        if path.stem == FIRST:
            also(FIRST, SECOND | {"results_dir": str(WORKING)})
        if path.stem == METHODS:
            with tempfile.TemporaryDirectory() as folder:
                also(METHODS, SINCE | {"results_dir": folder})
                keep(folder, results.SHIPPED / "since")
        if path.stem == GRID:
            apart = _ids() - known
            keep(WORKING, results.SHIPPED / "tuning", apart)
        print(f"{path.stem}: {time.monotonic() - begun:.0f} s", flush=True)
    keep(WORKING, KEPT, _ids() - apart)
    shutil.copytree(WORKING / "figures", provenance.ROOT / "figures", dirs_exist_ok=True)
    write_tables()


def _ids() -> set[str]:
    return {path.stem for path in WORKING.glob("*.json")}


def also(name: str, parameters: dict) -> None:
    """A notebook with other parameters; what is there already is read."""
    import papermill

    source = provenance.ROOT / "notebooks" / f"{name}.ipynb"
    with tempfile.TemporaryDirectory() as folder:
        executed = str(Path(folder) / source.name)
        papermill.execute_notebook(source, executed, parameters=parameters, cwd=source.parent, progress_bar=False)


def in_order(paths) -> list[Path]:
    """By name, those that read the rows of others last."""
    return sorted(paths, key=lambda path: (path.stem in LAST, path.stem))


def keep(source: str | Path, target: Path, ids: Iterable[str] | None = None) -> None:
    """The rows and predictions of a folder, or those of the given ids, in the place of what the other one has."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for row in results.read(source, ids):
        for name in (f"{row.id}.json", f"{row.id}.predictions.jsonl"):
            if (Path(source) / name).exists():
                shutil.copyfile(Path(source) / name, target / name)


def document_tables(folder: str | Path = KEPT) -> dict[str, str]:
    """The tables of README and docs by name, in Markdown: verdicts on the claims, and methods on `conala-mini`."""
    runs, answers = results.load(folder)
    verdicts = tables.verdict_table(tables.verdicts(runs, answers))
    chosen = next(table for table in tables.benchmarks(runs, answers) if table.name == "conala-mini")
    report = tables.report(chosen)
    tiny = report.frame[report.frame["model"] == "tiny"]
    pretrained = tables.benchmarks(*results.load(results.SHIPPED / PRETRAINED))[0]
    verdict = tables.claim_1(pretrained.runs, pretrained.answers)
    since, grid = (results.load(results.SHIPPED / name) for name in ("since", "tuning"))
    return {
        "claims": replace(verdicts, columns=("claim", "model", "task", "verdict")).to_markdown(),
        "methods": replace(report, frame=tiny, columns=SCORED).to_markdown(),
        "costs": replace(report, frame=tiny, columns=PAID).to_markdown(),
        "real_claim": f"> **{verdict.answer}.** {verdict.sentence}",
        "real": replace(tables.report(pretrained), columns=REAL).to_markdown(),
        "since": replace(tables.comparison(*since), columns=(*SCORED, "train_seconds")).to_markdown(),
        "tuning": replace(tables.verdict_table(tables.tuning(*grid)), columns=("claim", "verdict")).to_markdown(),
        "tuned": tables.tuned(*grid).to_markdown(),
        "choice": advice(tiny).to_markdown(),
        "colab": "" if is_public(notebooks.REPOSITORY) else NO_ADDRESS,
        "learned": learned(chosen).to_markdown(),
    }


def learned(chosen: tables.Benchmark) -> tables.Table:
    """What a few methods of the embedded model learned on `conala-mini`: operations, known and new, and house style."""
    few = chosen.runs[(chosen.runs["model"] == "tiny") & chosen.runs["method"].isin(FEW)]
    groups = {row.id: "known operation" if row.known else "new operation" for row in tasks.load(chosen.name).test}
    return tables.by_group(few, chosen.answers, groups, metrics=tables.LEARNED)


def advice(frame: pd.DataFrame) -> tables.Table:
    """For each situation the method to take, with its scores and what a large model needs."""
    frame, lines = frame.drop(columns=["em@1_tie", "em@1_rank"]), []  # marks of a best, which is not the question
    for situation, (name, precision) in SITUATIONS.items():
        line = frame[frame["method"] == name].iloc[0]
        method = spec.Lora() if line["family"] == "PEFT" else spec.ZeroShot()
        needed = memory.predict(LARGE, method, precision, batch=8 if method.trained else 1, training=SPARING, **TEXTS)
        peak = needed.train_peak_bytes or needed.generate_peak_bytes
        lines.append({"situation": situation, **line, "large_bytes": peak})
    heads = {"situation": "you have", "method": "take", "prompt_tokens": "prompt tokens"}
    heads["large_bytes"] = "GPU memory, 7B"
    columns = ("situation", "method", "em@1", "prompt_tokens", "train_seconds", "seeds", "large_bytes")
    return tables.Table(pd.DataFrame(lines), heads=heads, columns=columns)


def write_tables() -> None:
    """Puts the tables between their marks in README and docs."""
    contents = document_tables()
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text(encoding="utf-8"), contents), encoding="utf-8")


def filled(text: str, contents: dict[str, str]) -> str:
    """The text with every table between its marks `<!-- table: NAME -->` and `<!-- end -->`.

    Raises KeyError where `contents` lacks a table that the text has marks for.
    """
    marked = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return badged(marked.sub(lambda found: f"{found[1]}{contents[found[2]]}\n{found[3]}", text), notebooks.REPOSITORY)


def badged(text: str, repository: str) -> str:
    """The text with a badge that opens the notebook on Colab in each notebook's row, if the address is public."""
    place = repository.removeprefix("https://github.com/")
    badge = (
        rf" [![Open in Colab]({BADGE})](https://colab.research.google.com/github/{place}/blob/main/notebooks/\2.ipynb)"
    )
    row = re.compile(r"^(\| .* \| `notebooks/(\w+)\.ipynb`).* \|$", re.MULTILINE)
    return row.sub((r"\1" + badge if is_public(repository) else r"\1") + " |", text)


def is_public(repository: str) -> bool:
    return "example.invalid" not in repository

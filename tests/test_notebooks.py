"""Notebooks as a user has them: on a few rows, or over the shipped ones; `.ci/run` executes all of them."""

import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import papermill
import pytest
from IPython.display import display
from made_rows import put, right, run, study
from PIL import Image

import nblib
from nblib import results, tasks
from nblib.spec import FullTuning, InContext, Lora, Retrieved, ZeroShot
from nblib.tools import shipped

QUESTIONS = (
    "1_peft_vs_icl",
    "2_peft_vs_rag",
    "3_peft_methods",
    "4_quantization",
    "5_apps",
    "6_generalization",
    "7_rates_and_ranks",
)


def execute(root, folder, name, **parameters):
    places = {"results_dir": str(folder / "results"), "figures_dir": str(folder / "figures")}
    source = root / "notebooks" / f"{name}.ipynb"
    papermill.execute_notebook(source, folder / "out.ipynb", places | parameters, progress_bar=False)
    assert (folder / "out.ipynb").stat().st_size < 1.5e6
    return nbformat.read(folder / "out.ipynb", as_version=4)


def cells(root, name, **parameters) -> list[str]:
    """The code from the parameters on, with other parameters where Papermill puts them."""
    code = [cell for cell in nbformat.read(root / "notebooks" / f"{name}.ipynb", 4).cells if cell.cell_type == "code"]
    (first,) = [place for place, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", [])]
    defaults, *others = [cell.source for cell in code[first:]]
    injected = "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in parameters.items())])
    return [defaults, injected, *others]


def run_here(sources):
    """Runs cells in this process, which is quicker than a kernel of their own."""
    namespace = {"In": [], "display": display}
    for source in sources:
        namespace["In"].append(source)
        exec(source, namespace)


def output(notebook, id) -> str:
    (cell,) = (cell for cell in notebook.cells if cell.id == id)
    return json.dumps(cell.outputs, ensure_ascii=False)


def pictures(notebook) -> set[str]:
    """The cells that draw one; the shipped figure at the top does not count."""
    shown = {cell.id for cell in notebook.cells if "image/png" in json.dumps(cell.get("outputs", []))}
    return shown - {"shipped"}


def test_every_notebook_is_known_here_and_begins_with_the_cell_for_colab(root):
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in paths] == [
        *("00_start_here", "playground", "report"),
        *(f"rq{question}" for question in QUESTIONS),
    ]
    for path in paths:
        first = next(cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
        assert (first.id, first.metadata.get("tags")) == ("colab", ["colab"]), path.name


def test_rq1_shows_its_table_figures_and_answer(root, tmp_path):
    settings = {"methods": "[zero-shot, icl, lora]", "shots": "[1,2]", "seeds": "42", "model": "micro"}
    settings |= {"limit": 6, "max_train": 24, "epochs": 1}
    notebook = execute(root, tmp_path, "rq1_peft_vs_icl", **settings)
    for method in ("zero-shot", "icl-1", "icl-2", "lora"):
        assert method in output(notebook, "table")
    assert pictures(notebook) == {"lengths", "ranking", "cost"}
    assert "EM@1" in output(notebook, "answer")
    made = {path.name.removeprefix("rq1_micro_conala-mini_") for path in (tmp_path / "figures").iterdir()}
    assert made == {f"{figure}.{kind}" for figure in ("lengths", "ranking", "cost") for kind in ("png", "svg")}
    assert (tmp_path / "results" / "rq1_micro_conala-mini.csv").exists()
    (ran,) = (cell for cell in notebook.cells if cell.id == "run")
    assert ["4 of 4 | done" in out.data["text/plain"] for out in ran.outputs] == [True, False]  # one line of progress


@pytest.mark.slow
def test_the_readmes_line_for_your_own_data_runs(root, tmp_path):
    """Sixty pairs in a CSV of unusual column names, three of them with one intent, and a leak in none of the splits."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"<!-- own data -->\n```bash\npapermill (.*)\n```", readme)
    notebook, out, *parameters = shlex.split(line)
    rows = [f'"Summe von {place} und {place % 7}";print({place} + {place % 7})' for place in range(58)]
    (tmp_path / "pairs.csv").write_text("\n".join(["frage;loesung", *rows, *rows[:2]]), encoding="utf-8-sig")
    small = {"methods": "[zero-shot,icl,lora]", "shots": "1", "seeds": "1", "epochs": "1", "rank": "4", "limit": "4"}
    small |= {"model": "micro", "results_dir": "results", "figures_dir": "figures"}
    parameters += itertools.chain(*(("-p", *pair) for pair in small.items()))
    command = [sys.executable, "-m", "papermill", root / notebook, out, "--no-progress-bar", *parameters]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    executed = nbformat.read(tmp_path / out, as_version=4)
    assert "Summe von" in output(executed, "data")
    assert "Columns: intent is 'frage', code is 'loesung'." in output(executed, "data")
    assert "on pairs with micro" in output(executed, "answer")
    assert "no test intent is in the training rows" in output(executed, "run")
    assert {path.name.split("_")[2] for path in (tmp_path / "figures").iterdir()} == {"pairs"}
    settings = [json.loads(path.read_text())["settings"] for path in (tmp_path / "results").glob("*.json")]
    assert [row["method"]["r"] for row in settings if row["training"]] == [4]
    assert {row["task"] for row in settings} == {"pairs"}


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("rq1_peft_vs_icl", {"modle": "tiny"}, "no parameter 'modle', did you mean 'model'"),
        ("rq1_peft_vs_icl", {"methods": "lorra"}, "method must be one of zero-shot, icl, rag, lora"),
        ("rq1_peft_vs_icl", {"figures_dir": "/proc/version"}, "figures_dir must be a folder that files can be written"),
        ("rq2_peft_vs_rag", {"methods": "[zero-shot]", "shots": "[1]"}, "shots need the method icl or rag"),
        ("rq3_peft_methods", {"methods": "[full]", "precision": "nf4"}, "nf4 weights cannot be trained"),
        ("rq4_quantization", {"precisions": "int4"}, "precision must be one of auto, fp32"),
        ("rq5_apps", {"limit": -1}, "limit must be a whole number, 0 or more; got -1"),
        ("rq6_generalization", {"method": "icl"}, "transfer takes a method that trains; got 'icl'"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(root, tmp_path, name, parameters, message):
    places = {"results_dir": str(tmp_path / "results"), "figures_dir": str(tmp_path / "figures")}
    up_to_the_plan = cells(root, name, **places | parameters)[:4]
    with pytest.raises((ValueError, OSError), match=message):
        run_here(up_to_the_plan)
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # as in a kernel
@pytest.mark.parametrize("name", [*(f"rq{question}" for question in QUESTIONS), "report"])
def test_over_the_shipped_rows_nothing_is_run_and_the_committed_figures_are_drawn(root, tmp_path, name):
    store, figures = tmp_path / "results", tmp_path / "figures"
    if name == "report":
        store.mkdir()  # where there is nothing, the shipped rows are read
    else:
        shutil.copytree(shipped.KEPT, store)
        if name == "rq6_generalization":  # whose older rows lack the loss elsewhere
            shutil.copytree(results.SHIPPED / "forgetting", store, dirs_exist_ok=True)
        if name == "rq7_rates_and_ranks":
            shutil.copytree(results.SHIPPED / "tuning", store, dirs_exist_ok=True)
    before = sorted(path.name for path in store.glob("*.json"))
    run_here(cells(root, name, results_dir=str(store), figures_dir=str(figures)))
    assert sorted(path.name for path in store.glob("*.json")) == before
    drawn = sorted(figures.glob("*.png"))
    assert drawn
    for path in drawn:
        assert alike(path, root / "figures" / path.name), f"{path.name} is not the committed figure"


def alike(one, other) -> bool:
    """Whether two pictures are the same to the eye: libraries of other builds may shade an edge differently."""
    first, second = (np.asarray(Image.open(path).convert("RGB"), dtype=float) for path in (one, other))
    return first.shape == second.shape and np.abs(first - second).mean() < 0.5


SHOWN: dict[str, tuple[str, dict[str, str]]] = {  # cells with a picture, and what other cells show
    "00_start_here": ("train memory", {"answers": "rag-3", "prompts": "### Instruction:"}),
    "rq1_peft_vs_icl": ("lengths ranking cost", {"table": "icl-2", "answer": "lora"}),
    "rq2_peft_vs_rag": (
        "length even new quality",
        {"table": "icl-2", "answer": "rag-1", "even": "rag-2", "new": "rag-1", "quality": "rag-1"},
    ),
    "rq3_peft_methods": (
        "weights curves since small rate",
        {"since": "trainable-tokens", "table": "p-tuning", "small": "micro", "small-answer": "micro", "rate": "lora"},
    ),
    "rq4_quantization": (
        "table quality steps predicted sized large",
        {"table": "nf4-dq", "large": "codellama-7b", "cards": "T4", "answer": "qlora-4bit"},
    ),
    "rq5_apps": (
        "ranking agreement-figure endings",
        {"agreement": "chrF", "table": "strict accuracy", "difficulty": "lora", "answer": "lora"},
    ),
    "rq6_generalization": (
        "heat-map elsewhere-figure",
        {"elsewhere": "rag-3", "transfer": "conala-mini+codealpaca-mini", "answer": "codealpaca-mini"},
    ),
    "rq7_rates_and_ranks": ("rates", {"run": "lora r=48, attention", "answer": "high ranks", "shipped": "needless"}),
    "report": ("ranks-figure memory", {"claims": "lora", "tables": "qlora-4bit", "appendix": "adapter"}),
    "playground": ("playground explorer front", {"answers": "lora", "prompts": "### Instruction:", "front-table": "●"}),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_committed_notebook_shows_its_tables_figures_and_answers(root, name):
    notebook = nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4)
    drawn, shown = SHOWN[name]
    assert pictures(notebook) == set(drawn.split())
    for cell, text in shown.items():
        assert text in output(notebook, cell)


@pytest.mark.slow
def test_the_playground_opens_on_ones_own_data_and_on_ones_own_adapter(root, tmp_path):
    path, columns = tmp_path / "my_pairs.csv", {"intent": "frage", "code": "loesung"}
    path.write_text(
        "\n".join(["frage;loesung", *(f"count from {n} to {n * n};count({n}, {n * n})" for n in range(60))])
    )
    runs = nblib.study.compare(
        "micro", tasks.resolve(path, columns=columns), names=["lora", "rag"], shots=[1], seeds=[42]
    )
    planned = nblib.study.plan(nblib.study.adjusted(runs, epochs=1))
    nblib.study.run_all(planned, tmp_path / "results")
    (adapter,) = (tmp_path / "results" / "adapters").iterdir()
    asked = {"methods": "[zero-shot, rag-1]", "intent": "count from 8 to 9"}
    notebook = execute(root, tmp_path, "playground", adapter=str(adapter), **asked)
    label = f"lora ({adapter.name.rpartition('.')[2]})"
    for cell, said in {"answers": "count(", "prompts": "count from", "top": "count from 8 to 9"}.items():
        assert label in output(notebook, cell)
        assert said in output(notebook, cell)
    assert "micro_my_pairs.csv" in output(notebook, "export")

    path.rename(tmp_path / "others.csv")
    given = {"model": "micro", "task": str(tmp_path / "others.csv"), "columns": json.dumps(columns)}
    notebook = execute(root, tmp_path, "playground", **given, **asked)
    assert "count from" in output(notebook, "prompts")
    assert "micro_others.csv" in output(notebook, "export")  # of five quick runs


@pytest.mark.slow
def test_a_store_with_gaps_becomes_a_report(root, tmp_path):
    store = tmp_path / "results"
    study(store, {Lora(): 0.6, ZeroShot(): 0.1, InContext(shots=1): 0.2, Retrieved(shots=1): 0.3})
    study(store, {Lora(): 0.7, ZeroShot(): 0.2}, model="large")
    put(store, run(FullTuning(), model="large"), [], status=results.OUT_OF_MEMORY)
    put(store, run(Lora(), limit=5), right(0.5)[:5])
    broken = put(store, run(Lora(), task="b"), right(0.5))
    path = store / f"{broken.id}.json"
    path.write_text(path.read_text()[:-30])
    before = {path.name: path.read_bytes() for path in store.glob("*.json*")}
    notebook = execute(root, tmp_path, "report")
    assert broken.id in output(notebook, "check")
    assert "PEFT beats" in output(notebook, "claims")
    for text in ("OOM", "methods have run", "a partial result", "best"):
        assert text in output(notebook, "tables")
    assert {"ranks-figure", "memory"} <= pictures(notebook)
    assert broken.id not in output(notebook, "appendix")
    made = {path.name for path in (store / "report").iterdir()}
    assert {"a.csv", "a.tex", "claims.tex", "appendix.csv", "a_first_5_examples.csv"} <= made
    assert {path.name: path.read_bytes() for path in store.glob("*.json*")} == before


def test_drawings_exist_and_have_words_and_each_question_has_an_exercise_with_a_folded_answer(root):
    drawn = 0
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        prose = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")
        drawings = re.findall(r'<img src="([^"]+)" width="\d+" alt="([^"]+)">', prose)
        assert len(drawings) == prose.count("<img")
        assert [name for name, _ in drawings if not (path.parent / name).is_file()] == []
        assert (
            path.stem[:2] != "rq"
            or len(re.findall(r"<details><summary>Answer</summary>\n\n.+?\n\n</details>", prose, re.S)) == 1
        )
        drawn += len(drawings)
    assert drawn

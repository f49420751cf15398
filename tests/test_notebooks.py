"""Executes the notebooks as a user does, on a few rows; what they say in full is the business of .ci/run."""

import itertools
import json
import re
import shlex
import subprocess
import sys

import nbformat
import papermill
import pytest
from made_rows import put, right, run, study

import nblib
from nblib import results, tasks
from nblib.spec import FullTuning, InContext, Lora, Retrieved, ZeroShot

# Appended to a cell that plans a training of several epochs.
BRIEFLY = """
from dataclasses import replace

(planned,) = study.plan([replace(planned.run, training=replace(planned.run.training, epochs=1))])"""


def execute(root, folder, name, **parameters):
    places = {"results_dir": str(folder / "results"), "figures_dir": str(folder / "figures")}
    source = root / "notebooks" / f"{name}.ipynb"
    papermill.execute_notebook(source, folder / "out.ipynb", places | parameters, progress_bar=False)
    assert (folder / "out.ipynb").stat().st_size < 1.5e6
    return nbformat.read(folder / "out.ipynb", as_version=4)


def run_here(sources):
    """Runs cells in this process."""
    namespace = {"In": []}
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


@pytest.fixture
def few(root, tmp_path):
    """The folder of the sample tasks with a few rows each, so that training takes a moment."""
    for task in ("conala-mini", "codealpaca-mini", "apps-mini"):
        (tmp_path / "data" / task).mkdir(parents=True)
        for split, rows in (("train", 24), ("validation", 6), ("test", 6)):
            with (root / "data" / "tasks" / task / f"{split}.jsonl").open() as lines:
                (tmp_path / "data" / task / f"{split}.jsonl").write_text("".join(itertools.islice(lines, rows)))
    return tmp_path / "data"


def test_every_notebook_is_known_here_and_begins_with_the_cell_for_colab(root):
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    questions = ["1_peft_vs_icl", "2_peft_vs_rag", "3_peft_methods", "4_quantization", "5_apps", "6_generalization"]
    assert [path.stem for path in paths] == [
        *("00_start_here", "playground", "report"),
        *(f"rq{question}" for question in questions),
    ]
    for path in paths:
        first = next(cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
        assert (first.id, first.metadata.get("tags")) == ("colab", ["colab"]), path.name


def test_rq1_shows_its_table_figures_and_answer(root, few, tmp_path):
    settings = {
        "data_dir": str(few / "conala-mini"),
        "methods": "[zero-shot, icl, lora]",
        "shots": "[1,2]",
        "seeds": "42",
    }
    notebook = execute(root, tmp_path, "rq1_peft_vs_icl", **settings)
    for method in ("zero-shot", "icl-1", "icl-2", "lora"):
        assert method in output(notebook, "table")
    assert pictures(notebook) == {"lengths", "ranking", "cost"}
    assert "EM@1" in output(notebook, "answer")
    made = {path.name.removeprefix("rq1_tiny_conala-mini_") for path in (tmp_path / "figures").iterdir()}
    assert made == {f"{figure}.{kind}" for figure in ("lengths", "ranking", "cost") for kind in ("png", "svg")}
    assert (tmp_path / "results" / "rq1_tiny_conala-mini.csv").exists()
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
    small |= {"results_dir": "results", "figures_dir": "figures"}
    parameters += itertools.chain(*(("-p", *pair) for pair in small.items()))
    command = [sys.executable, "-m", "papermill", root / notebook, out, "--no-progress-bar", *parameters]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    executed = nbformat.read(tmp_path / out, as_version=4)
    assert "Summe von" in output(executed, "data")
    assert "Columns: intent is 'frage', code is 'loesung'." in output(executed, "data")
    assert "on pairs with tiny" in output(executed, "answer")
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
    """The cells up to the plan, in this process, with parameters where Papermill injects them."""
    parameters = {"results_dir": str(tmp_path / "results"), "figures_dir": str(tmp_path / "figures")} | parameters
    code = [cell for cell in nbformat.read(root / "notebooks" / f"{name}.ipynb", 4).cells if cell.cell_type == "code"]
    (first,) = [place for place, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", [])]
    defaults, *others = [cell.source for cell in code[first : first + 3]]
    injected = "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in parameters.items())])
    with pytest.raises((ValueError, OSError), match=message):
        run_here([defaults, injected, *others])
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_papermill_runs_it_from_the_notebooks_folder_and_changes_nothing_in_the_clone(root, tmp_path):
    def clone():
        kept = [path for name in ("data", "docs", "figures", "notebooks") for path in (root / name).rglob("*")]
        return {path: path.stat().st_mtime_ns for path in kept if path.is_file()}

    command, before = [sys.executable, "-m", "papermill", "rq1_peft_vs_icl.ipynb", str(tmp_path / "out.ipynb")], clone()
    for name, value in (("limit", "3"), ("methods", "[zero-shot]"), ("results_dir", str(tmp_path / "results"))):
        command += ["-p", name, value]
    done = subprocess.run(command, cwd=root / "notebooks", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert clone() == before
    assert list((tmp_path / "results" / "figures").glob("rq1_*.png"))


@pytest.mark.slow
def test_rq2_shows_what_retrieval_finds_buys_and_costs(root, few, tmp_path):
    settings = {"methods": "[zero-shot, icl, rag, lora]", "shots": "[1,2]", "seeds": "42"}
    notebook = execute(root, tmp_path, "rq2_peft_vs_rag", data_dir=str(few / "conala-mini"), **settings)
    assert pictures(notebook) == {"length", "even", "new", "quality"}
    shown = {"table": "icl-2", "answer": "RAG", "even": "rag-2", "new": "new operation", "quality": "rag-1"}
    for cell, text in shown.items():
        assert text in output(notebook, cell)
    settings = {"methods": "[rag]", "shots": "[1]", "seeds": "42", "task": "codealpaca-mini", "limit": 2}
    notebook = execute(root, tmp_path, "rq2_peft_vs_rag", data_dir=str(few / "codealpaca-mini"), **settings)
    assert "unknown" in output(notebook, "new")  # that task names no operations


@pytest.mark.slow
def test_rq3_compares_methods_sizes_and_learning_rates(root, few, tmp_path):
    settings = {"methods": "[lora, adapter, p-tuning, full]", "sensitive": "[ia3]"}
    notebook = execute(root, tmp_path, "rq3_peft_methods", data_dir=str(few / "conala-mini"), **settings)
    assert pictures(notebook) == {"weights", "curves", "small", "rate"}
    shown = {"table": "p-tuning", "small": "micro", "small-answer": "micro", "rate": "ia3"}
    for cell, text in shown.items():
        assert text in output(notebook, cell)


@pytest.mark.slow
def test_rq4_weighs_precisions_and_plans_cards(root, few, tmp_path):
    settings = {"precisions": "[fp32, nf4-dq]", "foreseen": "[codegen-350m-mono]", "carded": "codegen-350m-mono"}
    settings["sized"] = "[micro]"
    notebook = execute(root, tmp_path, "rq4_quantization", data_dir=str(few / "conala-mini"), **settings)
    assert pictures(notebook) == {"table", "quality", "steps", "predicted", "sized", "large"}
    shown = {"table": "nf4-dq", "large": "codegen-350m-mono", "cards": "T4", "answer": "half"}
    for cell, text in shown.items():
        assert text in output(notebook, cell)


@pytest.mark.slow
def test_rq5_runs_the_programs_and_shows_how_they_end(root, few, tmp_path):
    settings = {"methods": "[zero-shot, lora, qlora-4bit]", "seeds": "42", "data_dir": str(few / "apps-mini")}
    notebook = execute(root, tmp_path, "rq5_apps", **settings)
    assert "strict accuracy" in output(notebook, "table")
    for text in ("qlora-4bit", "average accuracy", "strict accuracy", "pass@1", "pass@2", "pass@5"):
        assert text in output(notebook, "answer")
    assert pictures(notebook) == {"ranking", "endings"}
    for cell, text in {"difficulty": "lora", "answer": "strict accuracy", "failure": "expected"}.items():
        assert text in output(notebook, cell)


@pytest.mark.slow
def test_rq6_asks_every_task_of_every_adapter(root, few, tmp_path):
    notebook = execute(root, tmp_path, "rq6_generalization", data_dir=str(few), seeds="42")
    assert "conala-mini+codealpaca-mini" in output(notebook, "transfer")
    assert pictures(notebook) == {"heat-map"}
    assert "one adapter for two tasks" in output(notebook, "answer")
    assert len(list((tmp_path / "results" / "adapters").iterdir())) == 3


@pytest.mark.slow
def test_start_here_shows_four_answers_a_loss_and_memory(root, tmp_path):
    """On the whole sample task, since it has no parameter for another; the one epoch is that of the test."""
    notebook = nbformat.read(root / "notebooks" / "00_start_here.ipynb", 4)
    (check,) = (cell for cell in notebook.cells if cell.id == "check")
    check.source += BRIEFLY
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "start.ipynb")
    notebook = execute(tmp_path, tmp_path, "start", large="codegen-350m-mono")
    assert pictures(notebook) == {"train", "memory"}
    for text in ("reference", "zero-shot", "icl-3", "rag-3", "lora", "<ins>"):
        assert text in output(notebook, "answers")
    shown = {"train": "the checkpoint of epoch", "trained": "were trained in", "prompts": "### Instruction:"}
    for cell, text in (shown | {"memory": "codegen-350m-mono"}).items():
        assert text in output(notebook, cell)


@pytest.mark.slow
def test_the_playground_shows_without_a_front_end_all_that_its_widgets_would(root, few, tmp_path):
    notebook = execute(root, tmp_path, "playground", data_dir=str(few / "conala-mini"))
    for method in ("zero-shot", "icl-3", "rag-3", "lora"):
        assert method in output(notebook, "answers")
        assert method in output(notebook, "prompts")
    shown = {
        "answers": "1 epoch, trained here",
        "prompts": "### Instruction:",
        "top": "place",
        "store": "the runs that come with nblib",
    }
    shown |= {"front": "image/png", "front-table": "●", "differences": "common examples"}
    shown |= dict.fromkeys(("playground", "explorer"), "application/vnd.jupyter.widget-view+json")
    for cell, text in shown.items():
        assert text in output(notebook, cell)
    made = {path.suffix for path in (tmp_path / "results" / "exports").iterdir()}
    assert made == {".csv", ".png", ".svg", ".tex"}


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
    assert "1 epoch, your adapter" in output(notebook, "answers")
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
def test_a_store_with_gaps_becomes_a_report_and_one_that_is_not_there_is_no_error(root, tmp_path):
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
    notebook = execute(root, tmp_path, "report", results_dir=str(tmp_path / "nowhere"))
    assert "the runs that come with nblib" in output(notebook, "read")
    assert "PEFT beats" in output(notebook, "claims")


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

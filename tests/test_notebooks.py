"""Executes the notebooks as a user does; what they say in full is the business of .ci/run."""

import itertools
import json
import re
import shlex
import subprocess
import sys

import nbformat
import papermill
import pytest

# Appended to a cell that plans a training of several epochs.
BRIEFLY = """
from dataclasses import replace

(planned,) = study.plan([replace(planned.run, training=replace(planned.run.training, epochs=1))])"""
SMALL = {"limit": 6, "methods": "[zero-shot, icl, lora]", "shots": "[1,2]", "seeds": "42"}


@pytest.fixture(scope="module")
def executed(root, tmp_path_factory):
    """RQ1 at a small limit, its folder, and the seconds of nothing: all its outputs."""
    folder = tmp_path_factory.mktemp("rq1")
    return folder, execute(root, folder)


def execute(root, folder, name="rq1_peft_vs_icl", **parameters):
    places = {"results_dir": str(folder / "results"), "figures_dir": str(folder / "figures")}
    papermill.execute_notebook(
        root / "notebooks" / f"{name}.ipynb",
        folder / "out.ipynb",
        (SMALL if name.startswith("rq1") else {}) | places | parameters,
        progress_bar=False,
    )
    return nbformat.read(folder / "out.ipynb", as_version=4)


def output(notebook, id):
    (cell,) = (cell for cell in notebook.cells if cell.id == id)
    return json.dumps(cell.outputs)


def test_every_notebook_is_known_here(root):
    assert [path.stem for path in sorted((root / "notebooks").glob("*.ipynb"))] == [
        "00_start_here",
        "playground",
        "report",
        "rq1_peft_vs_icl",
        "rq2_peft_vs_rag",
        "rq3_peft_methods",
        "rq4_quantization",
        "rq5_apps",
        "rq6_generalization",
    ]


def test_every_notebook_begins_with_the_cell_for_colab(root):
    """That it agrees with nblib.tools.notebooks is part of `clean` and `check`."""
    for path in (root / "notebooks").glob("*.ipynb"):
        first = next(cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
        assert (first.id, first.metadata.get("tags")) == ("colab", ["colab"]), path.name


def test_rq1_shows_its_table_its_figures_and_its_answer(executed):
    folder, notebook = executed
    assert not [cell for cell in notebook.cells if any(out.output_type == "error" for out in cell.get("outputs", []))]
    for method in ("zero-shot", "icl-1", "icl-2", "lora"):
        assert method in output(notebook, "table")
    for cell in ("lengths", "ranking", "cost"):
        assert "image/png" in output(notebook, cell)
    assert "EM@1" in output(notebook, "answer")
    made = {path.name for path in (folder / "figures").iterdir()}
    assert {
        f"rq1_tiny_conala-mini_{each}.{kind}" for each in ("lengths", "ranking", "cost") for kind in ("png", "svg")
    } == made
    assert (folder / "results" / "rq1_tiny_conala-mini.csv").exists()
    assert len(list((folder / "results").glob("*.predictions.jsonl"))) == 4


def test_an_executed_notebook_is_small_and_has_one_line_of_progress(executed):
    folder, notebook = executed
    assert (folder / "out.ipynb").stat().st_size < 1.5e6
    (run,) = (cell for cell in notebook.cells if cell.id == "run")
    assert len(run.outputs) == 1
    assert "4 of 4 runs" in run.outputs[0].data["text/plain"]


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
    assert "Columns: intent is 'frage', code is 'loesung'." in output(executed, "data-checks")
    assert "on pairs with tiny" in output(executed, "answer")
    assert "no test intent is in the training rows" in output(executed, "fair")
    assert {path.name.split("_")[2] for path in (tmp_path / "figures").iterdir()} == {"pairs"}
    settings = [json.loads(path.read_text())["settings"] for path in (tmp_path / "results").glob("*.json")]
    assert [row["method"]["r"] for row in settings if row["training"]] == [4]
    assert {row["task"] for row in settings} == {"pairs"}


def test_a_full_store_is_read_and_not_made_again(executed, root):
    folder, _ = executed
    before = {path: path.stat().st_mtime_ns for path in (folder / "results").glob("*.json*")}
    notebook = execute(root, folder)
    assert {path: path.stat().st_mtime_ns for path in (folder / "results").glob("*.json*")} == before
    assert "lora" in output(notebook, "table")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"modle": "tiny"}, "no parameter 'modle', did you mean 'model'"),
        ({"model": "codelama-7b"}, "model must be one of micro, tiny, codegen-350m-mono"),
        ({"task": "conla"}, "task must be one of conala-mini"),
        ({"methods": "lorra"}, "method must be one of zero-shot, icl, rag, lora"),
        ({"precision": "int4"}, "precision must be one of auto, fp32, bf16, fp16"),
        ({"preset": "papre"}, "preset must be one of default, paper"),
        ({"shots": "[1,many]"}, "shots must be a list of int values"),
        ({"shots": [900]}, "shots must be at most 800, the size of the training split; got 900"),
        ({"limit": -1}, "limit must be a whole number, 0 or more; got -1"),
        ({"limit": "all"}, "limit must be a whole number, 0 or more; got 'all'"),
        ({"force": "perhaps"}, "force must be true or false; got 'perhaps'"),
        ({"model": None}, "model must be a text; got None"),
        ({"model": "tiny/"}, "model must be one of micro, tiny, codegen-350m-mono"),
        ({"figures_dir": "/proc/version"}, "figures_dir must be a folder that files can be written to"),
        ({"data_dir": "/nowhere"}, "train.jsonl is missing"),
    ],
)
def test_bad_parameters_are_refused_before_any_work(root, tmp_path, parameters, message):
    with pytest.raises(papermill.PapermillExecutionError) as refused:
        execute(root, tmp_path, **parameters)
    assert message in str(refused.value)
    assert not (tmp_path / "results").exists()


def test_papermill_runs_it_from_the_notebooks_folder(root, tmp_path):
    command = [
        sys.executable,
        "-m",
        "papermill",
        "rq1_peft_vs_icl.ipynb",
        str(tmp_path / "out.ipynb"),
        "--no-progress-bar",
    ]
    for name, value in (("model", "tiny"), ("limit", "3"), ("methods", "[zero-shot]")):
        command += ["-p", name, value]
    for name in ("results_dir", "figures_dir"):
        command += ["-p", name, str(tmp_path / name)]
    done = subprocess.run(command, cwd=root / "notebooks", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out.ipynb").exists()


@pytest.fixture
def few(root, tmp_path):
    """The folder of two sample tasks with a few rows each, so that training takes a moment."""
    for task in ("conala-mini", "codealpaca-mini"):
        (tmp_path / "data" / task).mkdir(parents=True)
        for split, rows in (("train", 24), ("validation", 6), ("test", 6)):
            with (root / "data" / "tasks" / task / f"{split}.jsonl").open() as lines:
                (tmp_path / "data" / task / f"{split}.jsonl").write_text("".join(itertools.islice(lines, rows)))
    return tmp_path / "data"


def pictures(notebook) -> set[str]:
    return {cell.id for cell in notebook.cells if "image/png" in json.dumps(cell.get("outputs", []))}


def test_rq2_shows_what_retrieval_finds_buys_and_costs(root, few, tmp_path):
    asked = {"methods": "[zero-shot, icl, rag, lora]", "shots": "[1,2]", "seeds": "42"}
    notebook = execute(root, tmp_path, "rq2_peft_vs_rag", data_dir=str(few / "conala-mini"), **asked)
    for method in ("zero-shot", "icl-2", "rag-1", "rag-2", "lora"):
        assert method in output(notebook, "table")
    assert pictures(notebook) == {"length", "even-figure", "new-figure", "similarity"}
    assert "RAG" in output(notebook, "answer")
    assert "rag-2" in output(notebook, "even")
    assert "new operation" in output(notebook, "new")
    assert "rag-1" in output(notebook, "quality")
    assert (tmp_path / "results" / "rq2_tiny_conala-mini_break_even.csv").exists()


def test_rq2_runs_on_a_task_that_names_no_operations(root, few, tmp_path):
    asked = {"methods": "[rag]", "shots": "[1]", "seeds": "42", "task": "codealpaca-mini", "limit": 2}
    notebook = execute(root, tmp_path, "rq2_peft_vs_rag", data_dir=str(few / "codealpaca-mini"), **asked)
    assert "not said" in output(notebook, "new")


def test_rq3_compares_methods_sizes_and_learning_rates(root, few, tmp_path):
    asked = {"methods": "[lora, adapter, p-tuning, full]", "sensitive": "[ia3]"}
    notebook = execute(root, tmp_path, "rq3_peft_methods", data_dir=str(few / "conala-mini"), **asked)
    for method in ("zero-shot", "lora", "adapter", "p-tuning", "full"):
        assert method in output(notebook, "table")
    assert pictures(notebook) == {"weights", "curves", "small-figure", "rate"}
    assert "micro" in output(notebook, "small")
    assert "micro" in output(notebook, "small-answer")
    assert "ia3" in output(notebook, "rate-table")
    adapters = {path.name.split(".")[2] for path in (tmp_path / "results" / "adapters").iterdir()}
    assert adapters == {"lora", "adapter", "p-tuning", "ia3"}


def test_rq4_weighs_precisions_and_plans_cards(root, few, tmp_path):
    asked = {"precisions": "[fp32, nf4-dq]", "foreseen": "[codegen-350m-mono]", "carded": "codegen-350m-mono"}
    asked["sized"] = "[micro]"
    notebook = execute(root, tmp_path, "rq4_quantization", data_dir=str(few / "conala-mini"), **asked)
    assert pictures(notebook) == {"kinds", "quality", "steps", "predicted", "sized", "large"}
    assert "nf4-dq" in output(notebook, "table")
    assert "codegen-350m-mono" in output(notebook, "large-table")
    assert "T4" in output(notebook, "cards")
    assert "half" in output(notebook, "answer")


def test_rq6_asks_every_task_of_every_adapter(root, few, tmp_path):
    notebook = execute(root, tmp_path, "rq6_generalization", data_dir=str(few), seeds="42")
    for said in ("conala-mini", "codealpaca-mini", "conala-mini+codealpaca-mini"):
        assert said in output(notebook, "transfer")
    assert pictures(notebook) == {"heat-map"}
    assert "one adapter for two tasks" in output(notebook, "answer")
    assert len(list((tmp_path / "results" / "adapters").iterdir())) == 3


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("rq2_peft_vs_rag", {"shots": "[900]"}, "shots must be at most 800"),
        ("rq2_peft_vs_rag", {"methods": "[zero-shot]", "shots": "[1]"}, "shots need the method icl or rag"),
        ("rq3_peft_methods", {"methods": "[lora]", "precision": "int4"}, "precision must be one of auto"),
        ("rq3_peft_methods", {"methods": "[full]", "precision": "nf4"}, "nf4 weights cannot be trained"),
        ("rq3_peft_methods", {"sensitive": "[icl]"}, "method of a search must be one of lora"),
        ("rq6_generalization", {"tasks": "[conala-mini, conla]"}, "task must be one of conala-mini"),
        ("rq6_generalization", {"method": "icl"}, "transfer takes a method that trains; got 'icl'"),
    ],
)
def test_bad_parameters_of_the_others_are_refused_before_any_work(root, tmp_path, name, parameters, message):
    with pytest.raises(papermill.PapermillExecutionError) as refused:
        execute(root, tmp_path, name, **parameters)
    assert message in str(refused.value)
    assert not (tmp_path / "results").exists()


def test_start_here_shows_four_answers_a_loss_and_memory(root, tmp_path):
    """On the whole sample task, since it has no parameter for another; the one epoch is that of the test."""
    place = root / "notebooks" / "00_start_here.ipynb"
    notebook = nbformat.read(place, 4)
    (check,) = (cell for cell in notebook.cells if cell.id == "check")
    assert "study.plan(" in check.source
    check.source += BRIEFLY
    nbformat.write(notebook, tmp_path / "start.ipynb")
    places = {"results_dir": str(tmp_path / "results"), "figures_dir": str(tmp_path / "figures")}
    papermill.execute_notebook(
        tmp_path / "start.ipynb", tmp_path / "out.ipynb", places | {"large": "codegen-350m-mono"}, progress_bar=False
    )
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert pictures(notebook) == {"train", "memory"}
    assert "the checkpoint of epoch" in output(notebook, "train")
    assert "were trained in" in output(notebook, "trained")
    for said in ("reference", "zero-shot", "icl-3", "rag-3", "lora", "<ins>"):
        assert said in output(notebook, "answers")
    assert "### Instruction:" in output(notebook, "prompts")
    assert "codegen-350m-mono" in output(notebook, "memory")
    assert len(list((tmp_path / "figures").glob("start_*.png"))) == 2


@pytest.fixture(scope="module")
def rq5(root, tmp_path_factory):
    """RQ5 on a few of the sample task's problems."""
    folder = tmp_path_factory.mktemp("rq5")
    (folder / "data").mkdir()
    for split, rows in (("train", 24), ("validation", 6), ("test", 6)):
        with (root / "data" / "tasks" / "apps-mini" / f"{split}.jsonl").open() as lines:
            (folder / "data" / f"{split}.jsonl").write_text("".join(itertools.islice(lines, rows)))
    asked = {"methods": "[zero-shot, lora, qlora-4bit]", "seeds": "42", "data_dir": str(folder / "data")}
    return folder, execute(root, folder, "rq5_apps", **asked)


def test_rq5_runs_the_programs_and_shows_how_they_end(rq5):
    folder, notebook = rq5
    for method in ("zero-shot", "lora", "qlora-4bit"):
        assert method in output(notebook, "table")
        assert method in output(notebook, "difficulty")
    for said in ("average accuracy", "strict accuracy", "pass@1", "pass@2", "pass@5"):
        assert said in output(notebook, "table")
    for cell in ("ranking", "endings"):
        assert "image/png" in output(notebook, cell)
    assert "strict accuracy" in output(notebook, "answer")
    assert "expected" in output(notebook, "failure")
    assert (folder / "results" / "rq5_tiny_apps-mini_by_difficulty.csv").exists()
    assert (folder / "figures" / "rq5_tiny_apps-mini_endings.svg").exists()
    assert (folder / "out.ipynb").stat().st_size < 1.5e6

"""Executes the notebooks as a user does; what they say in full is the business of .ci/run."""

import itertools
import json
import subprocess
import sys

import nbformat
import papermill
import pytest

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
    assert [path.stem for path in sorted((root / "notebooks").glob("*.ipynb"))] == ["rq1_peft_vs_icl", "rq5_apps"]


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
        ({"model": "codelama-7b"}, "model must be one of tiny, codegen-350m-mono"),
        ({"task": "conla"}, "task must be one of conala-mini"),
        ({"methods": "lorra"}, "method must be one of zero-shot, icl, lora"),
        ({"precision": "int4"}, "precision must be one of auto, fp32, bf16, fp16"),
        ({"preset": "papre"}, "preset must be one of default, paper"),
        ({"shots": "[1,many]"}, "shots must be a list of int values"),
        ({"shots": [500]}, "shots must be at most 400, the size of the training split; got 500"),
        ({"limit": -1}, "limit must be above 0; got -1"),
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

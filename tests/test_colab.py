"""The first cell and a small RQ1 on a machine like Colab's: with the packages of its public list, and its own page."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

COLAB = Path(__file__).parent / "colab.txt"
# What the package of Colab's own page asks for, of what the list has.
HOST = "Metadata-Version: 2.1\nName: google-colab\nVersion: 1.0.0\n" + "".join(
    f"Requires-Dist: {name}\n" for name in ("ipykernel", "ipython", "notebook", "pandas", "requests", "tornado")
)
STAYS = ("torch", "numpy", "pandas", "ipykernel", "ipython", "ipywidgets", "jupyter_client", "jupyter_server")
STAYS += ("notebook", "pyzmq", "tornado", "traitlets")
SMALL = """
model, limit, max_train, epochs, methods, shots, seeds = "micro", 4, 16, 1, ["zero-shot", "icl", "lora"], [1], [42]
results_dir = {!r}"""
EXECUTE = "import nbclient, nbformat, sys; source, target = sys.argv[1:]; notebook = nbformat.read(source, 4); \
nbclient.NotebookClient(notebook, kernel_name='python3').execute(); nbformat.write(notebook, target)"


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Path:
    """The Python of a machine with Colab's packages; the test is skipped where the index does not give them."""
    folder = tmp_path_factory.mktemp("colab") / "machine"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--requirement", COLAB]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no machine like Colab's here: {done.stderr[-300:]}")
    (packages,) = folder.glob("lib/python*/site-packages")
    for name, text in {"google/colab/__init__.py": "", "google_colab-1.0.0.dist-info/METADATA": HOST}.items():
        (packages / name).parent.mkdir(parents=True)
        (packages / name).write_text(text)
    (packages / "colab.pth").write_text("import google.colab\n")  # loaded in every process, as there
    return python


def versions(python: Path) -> dict[str, str]:
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    return {package["name"].lower().replace("-", "_"): package["version"] for package in json.loads(listed.stdout)}


@pytest.mark.slow
def test_the_first_cell_prepares_colab_and_rq1_runs_while_what_runs_the_page_stays(root, machine, tmp_path):
    notebook = nbformat.read(root / "notebooks" / "rq1_peft_vs_icl.ipynb", 4)
    cells = {cell.id: cell for cell in notebook.cells}
    cells["colab"].source = (
        cells["colab"].source.replace("https://example.invalid/nblib", str(root)).replace("/content", str(tmp_path))
    )
    cells["parameters"].source += SMALL.format(str(tmp_path / "results"))
    nbformat.write(notebook, tmp_path / "in.ipynb")
    before = versions(machine)
    command = [machine, "-c", EXECUTE, tmp_path / "in.ipynb", tmp_path / "out.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    after = versions(machine)
    assert {name: after[name] for name in STAYS} == {name: before[name] for name in STAYS}
    assert "torchao" in before.keys() - after.keys()
    ran = {cell.id: json.dumps(cell.get("outputs")) for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells}
    assert "Removed torchao 0.10.0 from this machine" in ran["colab"]
    assert "3 of 3 | done" in ran["run"]
    assert len(list((tmp_path / "results").glob("*.lora.*.json"))) == 1

"""The report notebook on stores with gaps: no run, no model, everything missing said as missing."""

import json

import nbformat
import papermill
from made_rows import put as fake
from made_rows import right, run, study

from nblib import results
from nblib.spec import FullTuning, InContext, Lora, Retrieved, ZeroShot


def execute(root, folder, **parameters):
    places = {"results_dir": str(folder / "store"), "figures_dir": str(folder / "figures")}
    papermill.execute_notebook(
        root / "notebooks" / "report.ipynb", folder / "out.ipynb", places | parameters, progress_bar=False
    )
    return nbformat.read(folder / "out.ipynb", as_version=4)


def output(notebook, id):
    (cell,) = (cell for cell in notebook.cells if cell.id == id)
    return json.dumps(cell.outputs)


def test_a_store_with_gaps_becomes_a_report(root, tmp_path):
    store = tmp_path / "store"
    study(store, {Lora(): 0.6, ZeroShot(): 0.1, InContext(shots=1): 0.2, Retrieved(shots=1): 0.3})
    study(store, {Lora(): 0.7, ZeroShot(): 0.2}, model="large")
    fake(store, run(FullTuning(), model="large"), [], status=results.OUT_OF_MEMORY)
    fake(store, run(Lora(), limit=5), right(0.5)[:5])
    broken = fake(store, run(Lora(), task="b"), right(0.5))
    path = store / f"{broken.id}.json"
    path.write_text(path.read_text()[:-30])
    before = {each.name: each.read_bytes() for each in store.glob("*.json*")}
    notebook = execute(root, tmp_path)
    assert broken.id in output(notebook, "check")
    assert "PEFT beats" in output(notebook, "claims")
    for said in ("OOM", "missing", "a partial result", "best"):
        assert said in output(notebook, "tables")
    assert "image/png" in output(notebook, "ranks-figure")
    assert "image/png" in output(notebook, "memory")
    assert broken.id not in output(notebook, "appendix")
    made = {each.name for each in (store / "report").iterdir()}
    assert {"a.csv", "a.tex", "claims.tex", "appendix.csv", "a_first_5_examples.csv"} <= made
    assert {each.name: each.read_bytes() for each in store.glob("*.json*")} == before


def test_a_store_that_is_not_there_is_no_error(root, tmp_path):
    notebook = execute(root, tmp_path)
    assert "is not decided by this data" in output(notebook, "claims")

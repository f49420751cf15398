"""The playground runs from an empty store and shows, without a front end, all that its widgets would."""

import itertools
import json

import nbformat
import papermill
import pytest


@pytest.fixture(scope="module")
def executed(root, tmp_path_factory):
    """The notebook on a few rows, with its folder."""
    folder = tmp_path_factory.mktemp("playground")
    (folder / "data").mkdir()
    for split, rows in (("train", 24), ("validation", 6), ("test", 6)):
        with (root / "data" / "tasks" / "conala-mini" / f"{split}.jsonl").open() as lines:
            (folder / "data" / f"{split}.jsonl").write_text("".join(itertools.islice(lines, rows)))
    places = {f"{name}_dir": str(folder / name) for name in ("data", "results", "figures")}
    papermill.execute_notebook(
        root / "notebooks" / "playground.ipynb", folder / "out.ipynb", places, progress_bar=False
    )
    return folder, nbformat.read(folder / "out.ipynb", as_version=4)


def output(notebook, id) -> str:
    (cell,) = (cell for cell in notebook.cells if cell.id == id)
    return json.dumps(cell.outputs, ensure_ascii=False)


def test_the_playground_shows_answers_prompts_and_lists(executed):
    folder, notebook = executed
    for method in ("zero-shot", "icl-3", "rag-3", "lora"):
        assert method in output(notebook, "answers")
        assert method in output(notebook, "prompts")
    assert "1 epoch here" in output(notebook, "answers")
    assert len(list((folder / "results" / "adapters").glob("*.lora.*"))) == 1
    assert "### Instruction:" in output(notebook, "prompts")
    assert "place" in output(notebook, "top")


def test_the_explorer_shows_what_quick_runs_left(executed):
    folder, notebook = executed
    assert "5 of 5 runs" in output(notebook, "store")
    assert "image/png" in output(notebook, "front")
    assert "●" in output(notebook, "front-table")
    assert "common examples" in output(notebook, "differences")
    made = {path.suffix for path in (folder / "results" / "playground" / "exports").iterdir()}
    assert made == {".csv", ".png", ".svg", ".tex"}
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".png", ".svg"}


def test_both_widgets_are_there_for_a_front_end(executed):
    _, notebook = executed
    for cell in ("widget", "explorer"):
        assert "application/vnd.jupyter.widget-view+json" in output(notebook, cell)

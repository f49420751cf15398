"""Notebooks: what the cleaner removes, what it keeps, and that each broken rule is named."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from nblib.tools import __main__ as command
from nblib.tools import notebooks

PARAMETERS = 'model = "tiny"  # a short key, a Hub id or a folder\nlimit = None  # all test examples'


@pytest.fixture
def save(tmp_path):
    """Writes cells as a notebook and returns its path."""

    def write(*cells, name="one.ipynb", **metadata):
        notebook = new_notebook(cells=list(cells), metadata={"kernelspec": dict(notebooks.KERNEL)} | metadata)
        nbformat.write(notebook, tmp_path / name)
        return tmp_path / name

    return write


def parameters(source=PARAMETERS):
    return new_code_cell(source, id="parameters", metadata={"tags": ["parameters"]})


def shown(source="1 + 1", **output):
    output = {"output_type": "execute_result", "data": {"text/plain": "2"}} | output
    return new_code_cell(source, id="answer", outputs=[new_output(**output)])


def streamed(*texts):
    outputs = [new_output("stream", name="stderr", text=text) for text in texts]
    return new_code_cell("work()", id="work", outputs=outputs)


def colab_cell():
    return new_code_cell(notebooks.COLAB_CELL, id="colab", metadata={"tags": ["colab"]})


def cleaned(path):
    """The notebook after cleaning, which leaves nothing to clean."""
    assert notebooks.clean(path)
    assert not notebooks.clean(path)
    return nbformat.read(path, 4)


def test_a_good_notebook_has_no_problems(save):
    over_several_lines = "methods = [  # in the order of the table\n    'lora',\n    'icl',\n]\nlimit = -1  # all"
    for source in (PARAMETERS, over_several_lines):
        path = save(new_markdown_cell("# A question", id="title"), colab_cell(), parameters(source), shown())
        assert notebooks.problems(path) == []


def test_counts_timings_and_papermills_notes_go_while_outputs_ids_and_the_tag_stay(save):
    answer = shown(execution_count=7)
    answer.execution_count = 7
    answer.metadata |= {"papermill": {"duration": 1.5}, "execution": {"iopub.status.busy": "now"}, "tags": []}
    path = save(parameters(), answer, papermill={"duration": 3}, language_info={"name": "python", "version": "3.11.7"})
    result = cleaned(path)
    first, answer = result.cells
    assert first.metadata == {"tags": ["parameters"]}
    assert (first.id, answer.id) == ("parameters", "answer")
    assert (answer.execution_count, answer.outputs[0].execution_count) == (None, None)
    assert answer.metadata == {}
    assert answer.outputs[0].data == {"text/plain": "2"}
    assert result.metadata == {"kernelspec": notebooks.KERNEL, "language_info": {"name": "python"}}
    assert notebooks.problems(path) == []


def test_progress_keeps_its_last_state_widgets_go_and_the_clones_folder_becomes_a_dot(save):
    data = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "0 %"}
    shown_path = shown(data={"text/plain": f"written to {notebooks.ROOT}/results/a.json"})
    bar = streamed(*(f"\r{share} %" for share in range(101)), "\n")
    widget = shown(data=data)
    widget.id = "widget"
    notebook = cleaned(save(parameters(), bar, widget, shown_path, widgets={"a": {}}))
    assert notebook.cells[1].outputs[0].text.strip() == "100 %"
    assert notebook.cells[2].outputs == []
    assert notebook.cells[3].outputs[0].data["text/plain"] == "written to ./results/a.json"
    assert "widgets" not in notebook.metadata


def test_missing_and_repeated_ids_become_numbers(save):
    path = save(parameters(), shown())
    raw = json.loads(path.read_text())
    del raw["cells"][0]["id"]
    raw["cells"] += [raw["cells"][1], raw["cells"][1] | {"id": "cell-1"}]
    path.write_text(json.dumps(raw))
    assert any("not clean" in problem for problem in notebooks.problems(path))
    assert [cell.id for cell in cleaned(path).cells] == ["cell-1", "answer", "cell-3", "cell-4"]


def test_a_new_address_reaches_every_notebook(save, monkeypatch):
    path = save(colab_cell(), parameters(), shown())
    moved = notebooks.COLAB_CELL.replace(notebooks.REPOSITORY, "https://example.org/moved")
    monkeypatch.setattr(notebooks, "COLAB_CELL", moved)
    assert notebooks.problems(path) == ["is not clean (cell 1): python -m nblib.tools notebooks clean"]
    assert cleaned(path).cells[0].source == moved


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (new_code_cell("\n".join(["1"] * 13)), "cell 3 has 13 lines; at most 12"),
        (new_code_cell("if True:\n    class Hidden:\n        pass"), "cell 3 defines Hidden"),
        (new_code_cell("%matplotlib inline\nasync def later():\n    pass"), "cell 3 defines later"),
        (new_code_cell("print('half"), "cell 3 is not Python"),
        (shown(data={"text/plain": "/home/ada/nblib/out.json"}), "cell 3 shows a path of one machine: /home/ada"),
        (streamed("/opt/env/site-packages/torch/x.py:3: UserWarning"), "cell 3 shows a path of one machine"),
        (new_code_cell("1 / 0", outputs=[new_output("error", ename="ZeroDivisionError")]), "ended in an error: ZeroD"),
        (new_code_cell("limit = 3", metadata={"tags": ["injected-parameters"]}), "injected-parameters"),
        (new_code_cell("a = 1  # b", metadata={"tags": ["parameters"]}), "one cell tagged parameters; got 2"),
        (shown(data={"text/plain": "x" * 600_000}), "at most 600,000 are allowed"),
        (colab_cell(), "a cell tagged colab after other code; it must be the first code cell"),
    ],
)
def test_a_bad_cell_is_named(save, cell, expected):
    cell.id = "bad"
    (found,) = notebooks.problems(save(parameters(), shown(), cell))
    assert expected in found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("# how many\nlimit = 3", "'limit = 3' without a trailing comment"),
        ("seeds = [1, 2]  # a run each\nfirst = seeds[0]  # derived", "'first = seeds[0]' in its parameters cell"),
        ("pairs = [(1, 2)]  # nested", "a number, a text, None or a list of these"),
        ("a = b = 3  # twice", "only `name = value` is allowed"),
        ("limit =   # nothing", "not plain Python"),
    ],
)
def test_a_bad_parameter_is_named(save, source, expected):
    (found,) = (problem for problem in notebooks.problems(save(parameters(source), shown())) if "parameter" in problem)
    assert expected in found


def test_a_notebook_that_lacks_parameters_outputs_or_the_usual_kernel_is_named(save, tmp_path):
    assert notebooks.problems(save(shown())) == ["must have one cell tagged parameters; got 0"]
    assert notebooks.problems(save(parameters())) == ["has no outputs: python -m nblib.tools notebooks run"]
    found = notebooks.problems(save(parameters(), shown(), kernelspec={"name": "my-env", "display_name": "My env"}))
    assert "names the kernel 'my-env'; it must be 'python3', which every machine has" in found
    assert notebooks.problems(tmp_path / "gone.ipynb") == ["cannot be read: No such file or directory"]
    for text in ("", "not json", "[]", '{"nbformat": 3, "worksheets": []}', '{"cells": [{}]}'):
        (tmp_path / "odd.ipynb").write_text(text)
        (found,) = notebooks.problems(tmp_path / "odd.ipynb")
        assert "is no notebook" in found


# --- the command ----------------------------------------------------------------------------------------------------


def test_check_fails_when_one_of_several_notebooks_is_bad_or_none_is_found(save, capsys, monkeypatch, tmp_path):
    good, bad = save(parameters(), shown(), name="good.ipynb"), save(shown(), name="bad.ipynb")
    assert command.main(["notebooks", "check", str(good)]) == 0
    assert command.main(["notebooks", "check", str(bad), str(good)]) == 1
    assert "bad.ipynb: must have one cell" in capsys.readouterr().out
    monkeypatch.setattr(command, "ROOT", tmp_path)
    assert command.main(["notebooks", "check"]) == 1


def test_run_executes_in_the_notebooks_folder_leaves_a_clean_file_and_one_that_fails_as_it_was(save, capsys):
    path = save(parameters(), new_code_cell("from pathlib import Path\nprint(Path.cwd().name, limit)", id="work"))
    assert command.main(["notebooks", "run", str(path)]) == 0
    assert nbformat.read(path, 4).cells[1].outputs[0].text == f"{path.parent.name} None\n"
    path = save(parameters(), new_code_cell("1 / 0", id="work"))
    before = path.read_bytes()
    assert command.main(["notebooks", "run", str(path)]) == 1
    assert path.read_bytes() == before
    assert "ZeroDivisionError" in capsys.readouterr().out

"""Holds the committed notebooks to the rules of the house: executed, clean, short. Knows nothing of the study."""

import ast
import copy
import io
import json
import re
import tempfile
import tokenize
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import nbformat

from nblib import files
from nblib.provenance import ROOT

MAX_BYTES = 600_000
MAX_LINES = 12  # of a code cell
PICTURE_WIDTH = 800  # pixels that a widget's picture has on a page
MAX_PARAMETERS = 29  # lines of the parameters cell, which is a list and no code
# The public address is set here only: `python -m nblib.tools notebooks clean` and `... readme` write it to its places.
REPOSITORY = "https://example.invalid/nblib"
COLAB_CELL = f"""\
# On Colab this cell fetches nblib and installs what is missing; elsewhere it does nothing.
import sys

keep_on_drive = False  # @param {{type: "boolean"}}
address = "{REPOSITORY}"  # put that of your copy here, such as https://github.com/you/nblib
if "google.colab" in sys.modules:
    clone = "/content/nblib"
    ![ -d {{clone}} ] || git clone --quiet --depth 1 {{address}} {{clone}} || echo "Set address to your copy of nblib."
    sys.path.insert(0, clone)
    from nblib import notebook

    notebook.prepare_colab(keep_on_drive=keep_on_drive)"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}

# Metadata left by Jupyter, Papermill and editors; the widgets' state is of no use without a kernel.
_OF_NOTEBOOKS = ("papermill", "widgets", "signature", "vscode", "language_info.version")
_OF_CELLS = ("papermill", "execution", "ExecuteTime", "collapsed", "scrolled", "vscode", "outputId", "id")
_LEFTOVERS = [f"metadata.{key}" for key in _OF_NOTEBOOKS] + [f"cell.metadata.{key}" for key in _OF_CELLS]
_WIDGET = "application/vnd.jupyter.widget-view+json"
_MACHINE_PATH = re.compile(
    r"/(?:home|Users|root|var/folders)/[\w.-]+|/tmp/(?:ipykernel|tmp)\w+|[A-Z]:\\+Users\\+\w+|site-packages/"
)


def run(path: Path) -> None:
    """Executes a notebook from its own folder, as Jupyter does, and puts the clean result in its place.

    Raises RuntimeError where a cell fails; the notebook is then left as it was.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder) / path.name
        try:
            papermill.execute_notebook(path, executed, kernel_name=KERNEL["name"], cwd=path.parent, progress_bar=False)
        except PapermillExecutionError as error:
            raise RuntimeError(f"is left as it was, because a cell failed: {error}") from error
        _write(path, cleaned(_read(executed)))


def clean(path: Path) -> bool:
    """Cleans a notebook in place; whether that changed anything."""
    notebook = _read(path)
    if changed := (result := cleaned(notebook)) != notebook:
        _write(path, result)
    return changed


def cleaned(notebook):
    """A copy without counts, timings, widget state, Papermill's notes or the clone's path."""
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor
    from nbstripout import strip_output

    notebook = copy.deepcopy(notebook)
    notebook.nbformat_minor = 5  # the first with cell ids
    notebook.metadata["kernelspec"] = dict(KERNEL)
    _give_ids(notebook.cells)
    notebook = strip_output(notebook, keep_output=True, keep_count=False, keep_id=True, extra_keys=_LEFTOVERS)
    for cell in notebook.cells:
        if cell.metadata.get("tags") == []:
            del cell.metadata["tags"]  # Papermill adds empty ones
        if "colab" in cell.metadata.get("tags", []):
            cell["source"] = COLAB_CELL
        if cell.cell_type == "code":
            shown = [_portable(output) for output in cell.outputs if _WIDGET not in output.get("data", {})]
            cell["outputs"] = _picture(cell.id) or shown
    return CoalesceStreamsPreprocessor().preprocess(notebook, {})[0]  # a progress bar leaves its last state


def act(action: str, path: Path) -> bool:
    """Does `run`, `clean` or `check` to one notebook and prints what came of it; whether all is well."""
    if action == "clean":
        print(f"{path}: {'cleaned' if clean(path) else 'was clean'}")
        return True
    try:
        if action == "run":
            print(f"{path}: running", flush=True)
            run(path)
        found = problems(path)
    except RuntimeError as error:
        found = [str(error)]
    print("\n".join(f"{path}: {problem}" for problem in found or ["good"]))
    return not found


def problems(path: Path) -> list[str]:
    """What is wrong with a notebook on disk, one sentence each; empty where nothing is."""
    try:
        notebook = _read(path)
    except ValueError as error:
        return [str(error)]
    code = [(number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]
    found = [*_of_notebook(path, notebook), *_of_tags([cell for _, cell in code])]
    return found + [f"cell {number} {problem}" for number, cell in code for problem in _of_cell(cell)]


def _of_notebook(path: Path, notebook) -> Iterator[str]:
    size = path.stat().st_size
    if size > MAX_BYTES:
        yield f"has {size:,} bytes; at most {MAX_BYTES:,} are allowed"
    if not any(cell.get("outputs") for cell in notebook.cells):
        yield "has no outputs: python -m nblib.tools notebooks run"
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != KERNEL["name"]:
        yield f"names the kernel {kernel!r}; it must be {KERNEL['name']!r}, which every machine has"
    if (result := cleaned(notebook)) != notebook:
        pairs = zip(notebook.cells, result.cells, strict=True)
        places = [f"cell {number}" for number, (old, new) in enumerate(pairs, 1) if old != new]
        yield f"is not clean ({', '.join(places) or 'its metadata'}): python -m nblib.tools notebooks clean"


def _of_tags(code_cells) -> Iterator[str]:
    tags = [cell.metadata.get("tags", []) for cell in code_cells]
    if any("colab" in found for found in tags[1:]):  # or nothing before it would run on Colab
        yield "has a cell tagged colab after other code; it must be the first code cell"
    if any("injected-parameters" in found for found in tags):
        yield "holds the parameters of one run (a cell tagged injected-parameters); commit the default run"
    parameters = [cell.source for cell, found in zip(code_cells, tags, strict=True) if "parameters" in found]
    if len(parameters) != 1:
        yield f"must have one cell tagged parameters; got {len(parameters)}"
    for source in parameters:
        try:
            yield from _of_parameters(source)
        except SyntaxError as error:
            yield f"has a parameters cell that is not plain Python: {error.msg}"


def _of_parameters(source: str) -> Iterator[str]:
    """What Papermill cannot read, or a reader not understand: each line has to be `name = value  # comment`."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    for statement in ast.parse(source).body:
        shown = ast.unparse(statement)
        match statement:
            case ast.Assign(targets=[ast.Name()], value=value) if _is_plain(value):
                if commented.isdisjoint(range(statement.lineno, (statement.end_lineno or 0) + 1)):
                    yield f"has the parameter {shown!r} without a trailing comment"
            case _:
                allowed = "`name = value` is allowed, with a number, a text, None or a list of these"
                yield f"has {shown!r} in its parameters cell; only {allowed}, which Papermill can read"


def _is_plain(value: ast.expr) -> bool:
    try:
        literal = ast.literal_eval(value)
    except ValueError:
        return False
    items = literal if isinstance(literal, list) else [literal]
    return all(item is None or isinstance(item, str | int | float) for item in items)


def _of_cell(cell) -> Iterator[str]:
    lines = len(cell.source.strip().splitlines())
    allowed = MAX_PARAMETERS if "parameters" in cell.metadata.get("tags", []) else MAX_LINES
    if lines > allowed:
        yield f"has {lines} lines; at most {allowed} are allowed"
    yield from _definitions(cell.source)
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"ended in an error: {output.get('ename')}"
        for found in sorted(set(_MACHINE_PATH.findall(_text(output)))):
            yield f"shows a path of one machine: {found}"


def _definitions(source: str) -> Iterator[str]:
    """Notebooks import, they never define; a definition belongs in nblib."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        tree = ast.parse(TransformerManager().transform_cell(source))  # %magics and !commands become Python
    except SyntaxError as error:
        yield f"is not Python: {error.msg}"
        return
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    yield from (f"defines {node.name}; move it into nblib" for node in ast.walk(tree) if isinstance(node, defined))


def _text(output) -> str:
    """All that an output says; pictures that are bytes say nothing."""
    data = {kind: content for kind, content in output.get("data", {}).items() if kind != "image/png"}
    return json.dumps(output | {"data": data}, ensure_ascii=False)


def _portable(output):
    """The output with the clone's own folder shown as `.`."""
    inside_json = json.dumps(str(ROOT))[1:-1]
    return nbformat.from_dict(json.loads(json.dumps(output).replace(inside_json, ".")))


def _picture(id: str) -> list:
    """A picture in the place of a cell's widget, which lives only beside a kernel; the browser test takes it."""
    path = ROOT / "figures" / f"widget_{id}.png"
    if not path.exists():
        return []
    data = {"image/png": b64encode(path.read_bytes()).decode(), "text/plain": f"A picture of the {id}'s widget."}
    return [nbformat.v4.new_output("display_data", data, metadata={"image/png": {"width": PICTURE_WIDTH}})]


def _give_ids(cells) -> None:
    """Keeps the ids that cells have; a missing or repeated one becomes the cell's number."""
    used: set[str] = set()
    for number, cell in enumerate(cells, 1):
        if not cell.get("id") or cell["id"] in used:
            cell["id"] = f"cell-{number}"
            while cell["id"] in used:
                cell["id"] += "-more"
        used.add(cell["id"])


def _read(path: Path):
    """The notebook as it is on disk, ids and all: nbformat's own reader would quietly repair some of it.

    Raises ValueError, in one sentence, for anything else than a notebook of format 4.
    """
    try:
        notebook = nbformat.v4.reads(path.read_text(encoding="utf-8"))
        repaired = copy.deepcopy(notebook)
        _give_ids(repaired["cells"])
        nbformat.validate(repaired | {"nbformat_minor": 5})
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except (nbformat.ValidationError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"is no notebook of format 4: {error!s}".partition("\n")[0]) from None
    return notebook


def _write(path: Path, notebook) -> None:
    files.write(path, nbformat.writes(notebook) + "\n")

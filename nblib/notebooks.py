"""Holds the committed notebooks to the rules of the house: executed, clean, short. Knows nothing of the study.

    python -m nblib.notebooks run      executes every notebook in place, then cleans and checks it
    python -m nblib.notebooks clean    removes what changes from run to run; outputs and the parameters tag stay;
                                       puts the cell for Colab as it stands here
    python -m nblib.notebooks check    prints every violation; exit status 1 if there is one

Paths may follow; without them it takes notebooks/*.ipynb of the clone.
"""

import argparse
import ast
import copy
import io
import re
import tempfile
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # of the clone
MAXIMUM_BYTES = 600_000
MAXIMUM_LINES = 12  # of a code cell
MAXIMUM_PARAMETERS = 18  # lines of the parameters cell, which is a list and no code
REPOSITORY = "https://github.com/OWNER/nblib"  # OWNER is to be decided; then `clean` writes it into all notebooks
COLAB = f"""\
# On Colab this cell fetches the repository and what is missing; elsewhere it does nothing.
import sys

keep_on_drive = False  # @param {{type: "boolean"}}
if "google.colab" in sys.modules:
    address, clone = "{REPOSITORY}", "/content/nblib"
    ![ -d {{clone}} ] || git clone --quiet --depth 1 {{address}} {{clone}}
    sys.path.insert(0, clone)
    from nblib import colab

    colab.prepare(keep_on_drive=keep_on_drive)"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}

# Left by Jupyter, Papermill and editors; the widgets' state is of no use without a kernel.
_LEFTOVERS = [f"metadata.{key}" for key in ("papermill", "widgets", "signature", "vscode", "language_info.version")]
_LEFTOVERS += [
    f"cell.metadata.{key}"
    for key in ("papermill", "execution", "ExecuteTime", "collapsed", "scrolled", "vscode", "outputId", "id")
]
_WIDGET = "application/vnd.jupyter.widget-view+json"
_MACHINE_PATH = re.compile(
    r"/(?:home|Users|root|var/folders)/[\w.-]+|/tmp/(?:ipykernel|tmp)\w+|[A-Z]:\\+Users\\+\w+|site-packages/"
)


def run(path: Path) -> None:
    """Executes a notebook from its own folder, as Jupyter does, and puts the clean result in its place.

    Raises papermill's PapermillExecutionError where a cell fails; the notebook is then left as it was.
    """
    import papermill

    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder) / path.name
        papermill.execute_notebook(path, executed, kernel_name=KERNEL["name"], cwd=path.parent, progress_bar=False)
        _write(path, cleaned(_read(executed)))


def clean(path: Path) -> bool:
    """Cleans a notebook in place; whether that changed anything."""
    notebook = _read(path)
    result = cleaned(notebook)
    if result != notebook:
        _write(path, result)
    return result != notebook


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
            cell["source"] = COLAB
        if cell.cell_type == "code":
            cell["outputs"] = [_without_clone(each) for each in cell.outputs if _WIDGET not in each.get("data", {})]
    return CoalesceStreamsPreprocessor().preprocess(notebook, {})[0]  # a progress bar leaves its last state


def problems(path: Path) -> list[str]:
    """What is wrong with a notebook on disk, one sentence each; empty where nothing is."""
    try:
        notebook = _read(path)
    except ValueError as error:
        return [str(error)]
    return [*_whole_notebook(path, notebook), *_colab(notebook), *_parameters(notebook), *_cells(notebook)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m nblib.notebooks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=["run", "clean", "check"])
    parser.add_argument("paths", nargs="*", type=Path, help="notebooks; default: notebooks/*.ipynb of the clone")
    asked = parser.parse_args(arguments)
    paths = asked.paths or sorted((ROOT / "notebooks").glob("*.ipynb"))
    if not paths:
        print(f"no notebook in {ROOT / 'notebooks'}")
        return 1
    return max(_act(asked.action, path) for path in paths)


def _act(action: str, path: Path) -> int:
    """Does one action to one notebook, prints what came of it; 0 if all is well."""
    if action == "clean":
        print(f"{path}: {'cleaned' if clean(path) else 'was clean'}")
        return 0
    if action == "run":
        from papermill.exceptions import PapermillExecutionError

        print(f"{path}: running", flush=True)
        try:
            run(path)
        except PapermillExecutionError as error:
            print(f"{path}: left as it was, because a cell failed: {error}")
            return 1
    found = problems(path)
    for problem in found:
        print(f"{path}: {problem}")
    if not found:
        print(f"{path}: good")
    return bool(found)


# --- the checks -----------------------------------------------------------------------------------------------------


def _whole_notebook(path: Path, notebook) -> Iterator[str]:
    size = path.stat().st_size
    if size > MAXIMUM_BYTES:
        yield f"has {size:,} bytes; at most {MAXIMUM_BYTES:,} are allowed"
    if not any(cell.get("outputs") for cell in notebook.cells):
        yield "has no outputs: python -m nblib.notebooks run"
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != KERNEL["name"]:
        yield f"names the kernel {kernel!r}; it must be {KERNEL['name']!r}, which every machine has"
    if (result := cleaned(notebook)) != notebook:
        pairs = zip(notebook.cells, result.cells, strict=True)
        places = [f"cell {number}" for number, (old, new) in enumerate(pairs, 1) if old != new]
        yield f"is not clean ({', '.join(places) or 'its metadata'}): python -m nblib.notebooks clean"


def _colab(notebook) -> Iterator[str]:
    """The cell that makes Colab ready comes first, or nothing after it would run there."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if any("colab" in cell.metadata.get("tags", []) for cell in code[1:]):
        yield "has a cell tagged colab after other code; it must be the first code cell"


def _parameters(notebook) -> Iterator[str]:
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        yield f"must have one cell tagged parameters; got {len(tagged)}"
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            yield "holds the parameters of one run (a cell tagged injected-parameters); commit the default run"
    for cell in tagged:
        try:
            yield from _assignments(cell.source)
        except SyntaxError as error:
            yield f"has a parameters cell that is not plain Python: {error.msg}"


def _assignments(source: str) -> Iterator[str]:
    """What is wrong with a parameters cell: each line there has to be `name = plain value  # comment`."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    for statement in ast.parse(source).body:
        shown = ast.unparse(statement)
        match statement:
            case ast.Assign(targets=[ast.Name()], value=value):
                if not _is_plain(value):
                    yield f"has {shown!r} in its parameters cell; a value is a number, a text, None or a list of these"
            case _:
                yield f"has {shown!r} in its parameters cell; only `name = value` is allowed, which Papermill can read"
                continue
        if commented.isdisjoint(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1)):
            yield f"has the parameter {shown!r} without a trailing comment"


def _is_plain(value: ast.expr) -> bool:
    try:
        literal = ast.literal_eval(value)
    except ValueError:
        return False
    items = literal if isinstance(literal, list) else [literal]
    return all(each is None or isinstance(each, str | int | float) for each in items)


def _cells(notebook) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code":
            continue
        lines = len(cell.source.strip().splitlines())
        allowed = MAXIMUM_PARAMETERS if "parameters" in cell.metadata.get("tags", []) else MAXIMUM_LINES
        if lines > allowed:
            yield f"cell {number} has {lines} lines; at most {allowed} are allowed"
        yield from (f"cell {number} {each}" for each in _definitions(cell.source))
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"cell {number} ended in an error: {output.get('ename')}"
            for found in sorted({path for text in _texts(output) for path in _MACHINE_PATH.findall(text)}):
                yield f"cell {number} shows a path of one machine: {found}"


def _definitions(source: str) -> Iterator[str]:
    """Notebooks import, they never define; a definition belongs in a room of nblib."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        tree = ast.parse(TransformerManager().transform_cell(source))  # %magics and !commands become Python
    except SyntaxError as error:
        yield f"is not Python: {error.msg}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"defines {node.name}; move it into nblib"


# --- outputs and files ----------------------------------------------------------------------------------------------


def _texts(output) -> Iterator[str]:
    """Every text that an output shows; pictures that are bytes have none."""
    yield output.get("text", "")
    yield from output.get("traceback", [])
    for kind, value in output.get("data", {}).items():
        if isinstance(value, str) and (kind.startswith("text/") or kind == "image/svg+xml"):
            yield value


def _without_clone(output):
    """The output with the clone's own folder shown as `.`."""
    if "text" in output:
        output["text"] = output["text"].replace(str(ROOT), ".")
    for kind, value in output.get("data", {}).items():
        if isinstance(value, str) and kind.startswith("text/"):
            output["data"][kind] = value.replace(str(ROOT), ".")
    return output


def _give_ids(cells) -> None:
    """Keeps the ids that are there; a missing or repeated one becomes the cell's number."""
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
    import nbformat

    try:
        notebook = nbformat.v4.reads(path.read_text(encoding="utf-8"))
        repaired = copy.deepcopy(notebook)
        _give_ids(repaired["cells"])
        nbformat.validate(repaired | {"nbformat_minor": 5})
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except nbformat.ValidationError as error:
        raise ValueError(f"is no valid notebook: {error.message}") from None
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"is no notebook of format 4: {error!r}") from None
    if notebook.nbformat != 4:
        raise ValueError(f"must have notebook format 4; got {notebook.nbformat}")
    return notebook


def _write(path: Path, notebook) -> None:
    import nbformat

    part = path.with_name(f".{path.name}.part")
    try:
        nbformat.write(notebook, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    raise SystemExit(main())

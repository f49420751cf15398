"""Parameters get the kinds of their defaults or are refused in a sentence; Colab, on a stand-in and on its packages."""

import json
import re
import subprocess
import sys
from importlib.metadata import distributions, requires, version
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from nblib import notebook
from nblib.tools import notebooks

CELL = 'model = "tiny"  # a key\nshots = [1, 2]  # examples\nlimit: int = 0  # all\nforce = False\nresults_dir = ""'


def checked(injected):
    """What the notebook goes on with after Papermill injected that."""
    namespace = {}
    exec(CELL + "\n" + injected, namespace)
    notebook.check(["import nblib", CELL, f"# Parameters\n{injected}"], namespace)
    return namespace


def test_a_misspelt_name_is_refused_with_the_near_one():
    with pytest.raises(ValueError, match="no parameter 'modle', did you mean 'model'\\? It has model, shots, limit"):
        checked('modle = "other"')
    notebook.check([CELL, "modle = 3"], {})  # a later cell may have any name


def test_what_nblib_refuses_is_one_sentence_and_other_errors_keep_their_traceback(monkeypatch, capsys):
    shell = InteractiveShell(colors="nocolor", config=Config({"HistoryManager": {"enabled": False}}))
    monkeypatch.setattr(notebook, "get_ipython", lambda: shell)
    notebook.check([], {})

    def shown(code):
        shell.run_cell(code)
        return capsys.readouterr().out.strip()

    refused = "from nblib import spec\nspec.Lora(r=-1)"
    assert shown(refused) == "ValueError: r must be a whole number, 1 or more; got -1"
    for other in ("int('x')", "import json\njson.loads('{')", "def f():\n    raise OSError('mine')\nf()"):
        assert "Traceback" in shown(other)
    monkeypatch.setenv("NBLIB_DEBUG", "1")
    assert "Traceback" in shown(refused)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *(("force = " + text, False) for text in ('"false"', '"No"', "0", "False")),
        *(("force = " + text, True) for text in ('"TRUE"', '" yes "', "1")),
        ("limit = 3", 3),
        ("limit = 100.0", 100),
        ('limit = "1e2"', 100),
        ("results_dir = 2024", "2024"),
    ],
)
def test_a_value_in_other_clothes_is_of_the_kind_of_its_default(given, expected):
    found = checked(given)[given.split()[0]]
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("force", ('"maybe"', "2", "None", '""', 'float("nan")'), "true or false"),
        ("limit", ("5.5", '"all"', "-3", "None", "True", 'float("inf")', "[3]"), "a whole number, 0 or more"),
        ("model", ("None", "True", "[1]"), "a text"),
    ],
)
def test_a_value_of_another_kind_is_refused(name, values, allowed):
    for value in values:
        with pytest.raises(ValueError, match=f"{name} must be {allowed}; got "):
            checked(f"{name} = {value}")


def test_lists_arrive_in_many_shapes():
    for given in ("[1,2]", "1,2", ["1", 2], [1.0, 2]):
        assert notebook.as_list(given, int, name="shots") == [1, 2]
    for given in ("[lora, full]", "['lora', 'full']", "lora,full", ("lora", "full")):
        assert notebook.as_list(given, str, name="methods") == ["lora", "full"]
    assert notebook.as_list(3, int, name="shots") == [3]
    assert notebook.as_list("lora", name="methods") == ["lora"]
    assert notebook.as_list("[]", int, name="shots") == notebook.as_list("", name="methods") == []
    for given in ("[1,two]", [1.5], {"a": 1}, None, [True]):
        with pytest.raises(ValueError, match="shots must be a list of int values"):
            notebook.as_list(given, int, name="shots")


def test_a_folder_is_not_made_yet_and_one_that_takes_no_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert notebook.as_folder("~/a/b", name="results_dir") == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="figures_dir must be a folder that files can be written to; got .*file is none"):
        notebook.as_folder(tmp_path / "file" / "inside", name="figures_dir")


# --- Google Colab ---------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(monkeypatch):
    """Runs the cell as IPython would; returns the commands that went to the system shell and to `prepare_colab`."""
    calls = []

    def run():
        cell = TransformerManager().transform_cell(notebooks.COLAB_CELL)
        exec(cell, {"get_ipython": lambda: SimpleNamespace(system=calls.append)})  # the cell is our own
        return calls

    monkeypatch.setattr(notebook, "prepare_colab", lambda **settings: calls.append(settings))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return run


@pytest.fixture
def drive(monkeypatch):
    """Colab's own package is there, with a Drive that remembers where it was mounted."""
    drive = SimpleNamespace(mounted=[])
    drive.mount = drive.mounted.append
    package = ModuleType("google.colab")
    package.drive = drive
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)
    return drive


def test_the_cell_does_nothing_elsewhere(shell):
    assert shell() == []


def test_on_colab_the_cell_fetches_the_repository_and_prepares_the_machine(shell, drive):
    fetched, prepared = shell()
    assert "git clone --quiet --depth 1 {address} {clone} || echo" in fetched
    assert prepared == {"keep_on_drive": False}
    assert sys.path[0] == "/content/nblib"


def test_pip_leaves_colabs_builds_and_its_notebook_server_as_they_are(monkeypatch, tmp_path, capsys):
    calls, versions = [], {"torchao": "0.10.0", "google-colab": "1.0.0"}

    def run(command, **_):
        pins = Path(command[command.index("--constraint") + 1]).read_text() if "--constraint" in command else ""
        calls.append((command[3:], pins.splitlines()))
        return subprocess.CompletedProcess([], 0, "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(notebook, "_version", lambda name, found=notebook._version: versions.get(name) or found(name))
    monkeypatch.setattr(notebook, "requires", lambda name: ["tabulate>0"] if name == "google-colab" else requires(name))
    notebook.install(tmp_path)
    (installed, pins), (removed, _) = calls
    assert (installed[0], installed[-2:]) == ("install", ["--editable", f"{tmp_path}[dense]"])
    kept = ("torch", "numpy", "ipykernel", "jupyter-client", "tornado", "traitlets", "pyzmq", "tabulate")
    assert {f"{name}=={version(name)}" for name in kept} <= set(pins)
    assert "google-colab==1.0.0" in pins
    assert not any(pin.startswith(("transformers", "peft", "filelock")) for pin in pins)  # which nblib needs newer
    assert removed == ["uninstall", "--quiet", "--yes", "torchao"]
    assert "Removed torchao 0.10.0 from this machine: peft refuses" in capsys.readouterr().out
    versions["torchao"] = "0.18.0"
    notebook.install(tmp_path)
    assert len(calls) == 3


def test_what_pip_says_is_shown_where_it_fails(capsys):
    with pytest.raises(RuntimeError, match="`pip install /no/such/place` failed; what pip said is above"):
        notebook.pip("install", "--no-index", "/no/such/place")
    assert "/no/such/place" in capsys.readouterr().out


def test_results_move_to_drive_and_a_later_session_finds_them(tmp_path):
    drive, results = tmp_path / "drive" / "results", tmp_path / "clone" / "results"
    (results / "adapters" / "a").mkdir(parents=True)
    (results / "adapters" / "a" / "facts.json").write_text("trained")
    (results / "one.json").write_text("row")
    assert notebook.keep_results(drive, results) == drive
    (results / "two.json").write_text("row of the first session")
    later = tmp_path / "later" / "results"  # a fresh clone on a fresh machine
    later.mkdir(parents=True)
    (later / "two.json").write_text("row of the second")
    notebook.keep_results(drive, later)
    notebook.keep_results(drive, later)  # the cell, run twice
    assert {path.name for path in later.iterdir()} == {"adapters", "one.json", "two.json"}
    assert (later / "two.json").read_text() == "row of the first session"
    assert (later / "adapters" / "a" / "facts.json").read_text() == "trained"


def test_a_ready_machine_is_told_where_results_go_and_what_it_can_train(monkeypatch, tmp_path, capsys, drive):
    monkeypatch.setattr(notebook, "install", lambda: pytest.fail("it is installed"))
    monkeypatch.setattr(notebook, "ON_DRIVE", tmp_path)
    monkeypatch.setattr(notebook, "keep_results", lambda place: place)
    monkeypatch.setattr(notebook, "describe_gpu", lambda *_: "GPU")
    notebook.prepare_colab(keep_on_drive=True)
    assert drive.mounted == ["/content/drive"]
    assert f"Results go to {tmp_path / 'results'}" in capsys.readouterr().out
    notebook.prepare_colab()
    assert "Results are lost with this machine: set keep_on_drive" in capsys.readouterr().out


def test_it_says_what_a_gpu_can_train(monkeypatch):
    monkeypatch.setattr(notebook, "trainable", lambda card: {"T4": ["a", "b"], 22.2: ["c"]}.get(card, []))
    assert re.search(r"No GPU: .* T4 GPU trains, .* 512 tokens, a; b\.$", notebook.describe_gpu("", 0.0))
    assert re.search(r"GPU: Tesla T4 with 14\.7 GiB trains, .* a; b\.$", notebook.describe_gpu("Tesla T4", 14.7))
    assert re.search(r"GPU: NVIDIA L4 with 22\.2 GiB trains, .* c\.$", notebook.describe_gpu("NVIDIA L4", 22.17))
    assert notebook.describe_gpu("Old card", 1.0).endswith("none of the study's large models.")


def test_a_model_is_trained_at_the_most_exact_precision_that_the_gpu_can_and_that_fits(monkeypatch):
    monkeypatch.setattr(notebook, "LARGE_MODELS", ("tiny",))
    assert list(notebook.trainable("T4")) == ["tiny (fp16)"]
    assert list(notebook.trainable(0.55)) == []  # a reserve stays free


# --- a machine with the packages of Colab's public list, and its own page -------------------------------------------

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
    python, (packages,) = folder / "bin" / "python", folder.glob("lib/python*/site-packages")
    link_torch(packages)
    pip = [python, "-m", "pip", "install", "--quiet", "--requirement", COLAB]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no machine like Colab's here: {done.stderr[-300:]}")
    for name, text in {"google/colab/__init__.py": "", "google_colab-1.0.0.dist-info/METADATA": HOST}.items():
        (packages / name).parent.mkdir(parents=True)
        (packages / name).write_text(text)
    (packages / "colab.pth").write_text("import google.colab\n")  # loaded in every process, as there
    return python


def link_torch(packages: Path) -> None:
    """Our own torch with its GPU libraries, which are gigabytes; pip finds it there, if it is of the list's version."""
    for package in distributions():
        if package.name == "torch" or package.name.startswith(("nvidia-", "cuda-", "triton")):
            for name in {file.parts[0] for file in package.files or ()} - {".."}:
                if not (packages / name).exists():
                    (packages / name).symlink_to(package.locate_file(name))


def installed_versions(python: Path) -> dict[str, str]:
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    return {package["name"].lower().replace("-", "_"): package["version"] for package in json.loads(listed.stdout)}


@pytest.mark.slow
def test_the_first_cell_prepares_colab_and_rq1_runs_while_what_runs_the_page_stays(root, machine, tmp_path):
    rq1 = nbformat.read(root / "notebooks" / "rq1_peft_vs_icl.ipynb", 4)
    cells = {cell.id: cell for cell in rq1.cells}
    cells["colab"].source = (
        cells["colab"].source.replace("https://example.invalid/nblib", str(root)).replace("/content", str(tmp_path))
    )
    cells["parameters"].source += SMALL.format(str(tmp_path / "results"))
    nbformat.write(rq1, tmp_path / "in.ipynb")
    before = installed_versions(machine)
    command = [machine, "-c", EXECUTE, tmp_path / "in.ipynb", tmp_path / "out.ipynb"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    after = installed_versions(machine)
    assert {name: after[name] for name in STAYS} == {name: before[name] for name in STAYS}
    assert "torchao" in before.keys() - after.keys()
    ran = {cell.id: json.dumps(cell.get("outputs")) for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells}
    assert "Removed torchao 0.10.0 from this machine" in ran["colab"]
    assert "3 of 3 | done" in ran["run"]
    assert len(list((tmp_path / "results").glob("*.lora.*.json"))) == 1

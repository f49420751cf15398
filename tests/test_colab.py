"""Colab: what its first cell does there, on a stand-in for it, and that it does nothing elsewhere."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from nblib import colab
from nblib.tools import notebooks


@pytest.fixture
def shell(monkeypatch):
    """Runs the cell as IPython would; returns the commands that went to the system shell and to `prepare`."""
    asked = []

    def run():
        cell = TransformerManager().transform_cell(notebooks.COLAB_CELL)
        exec(cell, {"get_ipython": lambda: SimpleNamespace(system=asked.append)})  # the cell is our own
        return asked

    monkeypatch.setattr(colab, "prepare", lambda **settings: asked.append(settings))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return run


def on_colab(monkeypatch):
    """Its own package is there, with a Drive that remembers where it was mounted."""
    drive = SimpleNamespace(mounted=[])
    drive.mount = drive.mounted.append
    package = ModuleType("google.colab")
    package.drive = drive
    monkeypatch.setitem(sys.modules, "google", ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)
    return drive


def test_the_cell_does_nothing_elsewhere(shell):
    before = list(sys.path)
    assert shell() == []
    assert sys.path == before


def test_on_colab_the_cell_fetches_the_repository_and_prepares_the_machine(shell, monkeypatch):
    on_colab(monkeypatch)
    fetched, prepared = shell()
    assert "git clone --quiet --depth 1 {address} {clone}" in fetched
    assert prepared == {"keep_on_drive": False}
    assert sys.path[0] == "/content/nblib"


def test_pip_is_told_to_leave_torch_and_numpy_as_they_are(monkeypatch, tmp_path):
    seen = []

    def pip(command, **_):
        seen.append((command, Path(command[command.index("--constraint") + 1]).read_text()))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    colab.install(tmp_path)
    ((command, pins),) = seen
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert command[-2:] == ["--editable", f"{tmp_path}[dense]"]
    assert f"torch=={version('torch')}\n" in pins
    assert f"numpy=={version('numpy')}\n" in pins


def test_a_failing_installation_is_said_with_pips_last_words(monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: Cannot install\n  numpy 3")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RuntimeError, match="beside torch==.*numpy==.*: ERROR: Cannot install numpy 3"):
        colab.install(tmp_path)


def test_results_move_to_drive_and_a_later_session_finds_them(tmp_path):
    drive, results = tmp_path / "drive" / "results", tmp_path / "clone" / "results"
    (results / "adapters" / "a").mkdir(parents=True)
    (results / "adapters" / "a" / "facts.json").write_text("trained")
    (results / "one.json").write_text("row")
    assert colab.keep_results(drive, results) == drive
    (results / "two.json").write_text("row of the first session")
    later = tmp_path / "later" / "results"  # a fresh clone on a fresh machine
    later.mkdir(parents=True)
    (later / "two.json").write_text("row of the second")
    colab.keep_results(drive, later)
    colab.keep_results(drive, later)  # the cell, run twice
    assert {each.name for each in later.iterdir()} == {"adapters", "one.json", "two.json"}
    assert (later / "two.json").read_text() == "row of the first session"
    assert (later / "adapters" / "a" / "facts.json").read_text() == "trained"


def test_a_machine_that_is_ready_is_only_told_about(monkeypatch, tmp_path, capsys):
    drive = on_colab(monkeypatch)
    monkeypatch.setattr(colab, "install", lambda: pytest.fail("it is installed"))
    monkeypatch.setattr(colab, "ON_DRIVE", tmp_path)
    monkeypatch.setattr(colab, "keep_results", lambda place: place)
    monkeypatch.setattr(colab, "describe_gpu", lambda *_: "GPU")
    colab.prepare(keep_on_drive=True)
    assert drive.mounted == ["/content/drive"]
    assert f"Results go to {tmp_path / 'results'}" in capsys.readouterr().out


def test_without_drive_the_user_is_warned_of_the_loss(monkeypatch, capsys):
    monkeypatch.setattr(colab, "describe_gpu", lambda *_: "GPU")
    colab.prepare()
    assert "Results are lost with this machine: set keep_on_drive" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "gib", "device", "sentence"),
    [
        ("", 0.0, "T4", r"No GPU: .* T4 GPU trains, .* 512 tokens, a; b\.$"),
        ("Tesla T4", 14.7, "T4", r"GPU: Tesla T4 with 14\.7 GiB trains, .* a; b\.$"),
        ("NVIDIA L4", 22.17, 22.2, r"GPU: NVIDIA L4 with 22\.2 GiB trains, .* a; b\.$"),
        ("Old card", 1.0, None, r"none of the study's large models\.$"),
    ],
)
def test_it_says_what_a_gpu_can_train(monkeypatch, name, gib, device, sentence):
    monkeypatch.setattr(colab, "trainable", lambda asked: ["a", "b"] if asked == device else [])
    assert re.search(sentence, colab.describe_gpu(name, gib))


def test_a_model_is_trained_at_the_most_exact_precision_that_the_gpu_can_and_that_fits(monkeypatch):
    monkeypatch.setattr(colab, "LARGE_MODELS", ("tiny",))
    assert list(colab.trainable("T4")) == ["tiny (fp16)"]
    assert list(colab.trainable(0.55)) == []  # a reserve stays free

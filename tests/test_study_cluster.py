"""Runs on a Ray cluster: what it is asked for, and studies whose nodes and drivers are killed."""

import importlib.util
import sys
from pathlib import Path

import pytest
import small
from test_notebooks import execute, output

from nblib import results, study
from nblib.study import cluster

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason='ray is not installed: pip install -e ".[ray]"')
GIB = 2**30


def test_without_ray_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    planned = study.plan(study.compare("micro", "conala-mini", names=["zero-shot"], limit=1))
    with pytest.raises(ImportError, match=r'not installed: pip install "nblib\[ray\]", or take engine = \'local\''):
        study.run_all(planned, tmp_path / "rows", engine="ray")
    with pytest.raises(ValueError, match="engine must be one of local, ray; got 'slurm'"):
        study.run_all(planned, tmp_path / "rows", engine="slurm")
    assert not (tmp_path / "rows").exists()


def test_small_runs_share_a_card_and_a_large_or_unknown_one_has_it_alone():
    shares = [cluster.gpu_share(peak and int(peak * GIB), 24 * GIB) for peak in (1, 2, 5, 12, 40, None)]
    assert shares == [0.0714, 0.125, 0.3333, 1.0, 1.0, 1.0]
    assert cluster.gpu_share(GIB, None) == 1.0
    for peak in range(1, 25):
        runs = 1 / cluster.gpu_share(peak * GIB, 24 * GIB)
        assert runs < 1.01 or runs * peak * cluster.MARGIN < 24


def test_a_machine_with_other_packages_is_refused_with_the_difference(monkeypatch):
    versions = cluster.provenance.versions()
    cluster._require_same(versions)
    with pytest.raises(ImportError, match=r"has torch .* for 1.0: install the same versions there"):
        cluster._require_same(versions | {"torch": "1.0"})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clustered")
    small.base_and_data(folder)
    return folder


def what_counts(folder) -> dict:
    return {row.id: (row.status, row.scores, results.predictions(folder, row.id)) for row in results.read(folder)}


def told(place, command, folder, *more) -> dict:
    """What the other program says at its end."""
    given = (command, folder, place / "base", place / "data", *more)
    return small.said_by("ray_studies.py", *given, XDG_CACHE_HOME=str(place / "cache"))


@needs_ray
@pytest.mark.slow
def test_a_driver_and_nodes_that_are_killed_change_nothing(place):
    said = told(place, "disturb", f"file://{place}/by 100% disturbed", 2, 1)
    assert said["left"] >= 3
    assert said["kept"] == said["left"]
    assert len(said["rows_at_kills"]) == 2
    assert said["errors"] == []
    ray_studies = pytest.importorskip("ray_studies")
    study.run_all(ray_studies.planned(str(place / "base"), str(place / "data")), place / "undisturbed")
    undisturbed = what_counts(place / "undisturbed")
    assert len(undisturbed) == 24
    assert what_counts(place / "by 100% disturbed") == undisturbed
    folder = place / "by 100% disturbed"
    names = {path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()}
    assert {name for name in names if not name.endswith((".json", ".jsonl"))} == {"adapters"}


@needs_ray
@pytest.mark.slow
def test_a_store_that_cannot_be_written_and_an_interrupt_are_said_in_a_sentence(place):
    said = told(place, "refuse", place / "refused")
    assert "refused/blocked cannot be read or written" in said["blocked"]
    assert "does not see memory://study: give a folder that all machines share" in said["elsewhere"]
    assert "ftp://127.0.0.1:9/x cannot be read or written" in said["unreachable"]
    assert "runs had not begun and are cancelled" in said["said"]
    assert said["missing"] == said["cancelled"] > 0
    assert said["going_on"] >= 1


@needs_ray
@pytest.mark.slow
def test_a_notebook_hands_its_runs_to_the_cluster(root, tmp_path):
    settings = {"methods": "[zero-shot,icl]", "shots": "[1]", "seeds": "[1,2]", "model": "micro", "limit": 4}
    session = Path("/tmp/ray/session_latest")
    before = session.resolve()
    notebook = execute(root, tmp_path, "rq1_peft_vs_icl", engine="ray", **settings)
    assert session.resolve() != before  # a cluster was started
    assert "stderr" not in output(notebook, "run")  # and kept its messages to itself
    assert {row.status for row in results.read(tmp_path / "results")} == {results.OK}
    assert len(results.read(tmp_path / "results")) == 3

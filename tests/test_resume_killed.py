"""Real signals at random moments, and two real processes on one folder. Slow: each process loads everything."""

from collections import Counter

import killed_studies
import pytest
import small

from nblib import presets, results, study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Model, data, and the folder of an undisturbed study."""
    folder = tmp_path_factory.mktemp("killed")
    small.base_and_data(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(place):
    """Run -> what counts of it, from this process, which nobody kills."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "killed", killed_studies.SETTINGS)
        small.often(patch)
        runs = killed_studies.planned(str(place / "base"), str(place / "data"))
        study.run_all(runs, place / "undisturbed")
    return what_counts(place / "undisturbed")


def what_counts(folder) -> dict:
    """What does not depend on the time."""
    found = {}
    for row in results.read(folder):
        notes = {name: value for name, value in row.notes.items() if not name.endswith("resumed")}
        found[row.id] = (row.status, row.scores, notes, results.predictions(folder, row.id))
    return found


def expected_files(rows, folder) -> set[str]:
    files = {f"{id}{end}" for id in rows for end in (".json", ".predictions.jsonl")}
    trained = {row.notes.get("adapter") for row in results.read(folder) if "lora" in row.id}
    return files | trained | {"adapters"}


def test_killed_at_random_moments_a_study_ends_as_an_undisturbed_one(place, undisturbed):
    told_of = small.said_by("killed_studies.py", "kill", place / "killed", place / "base", place / "data", 5)
    assert Counter(told_of["stages"]) == Counter(killed_studies.KILLS)
    assert len(told_of["stages"]) >= 25
    for number in range(told_of["studies"]):
        folder = place / "killed" / str(number)
        assert what_counts(folder) == undisturbed
        assert results.problems(folder) == {}
        left = {path.name for path in (*folder.iterdir(), *(folder / "adapters").iterdir())}
        assert left == expected_files(undisturbed, folder), "something is left behind"
        begun = (folder.parent / f"{number}.begun").read_text().splitlines()
        assert begun
        assert not [line for line in begun if line.endswith("True")], "a finished run was begun again"


def test_two_processes_share_the_work_and_no_run_or_training_is_done_twice(place, undisturbed):
    folder = place / "shared"
    assert small.said_by("killed_studies.py", "share", folder, place / "base", place / "data") == {"codes": [0, 0]}
    assert what_counts(folder) == undisturbed
    begun = Counter((folder.parent / "shared.begun").read_text().splitlines())
    assert set(begun.values()) == {1}
    assert len(begun) == len(undisturbed)
    trained = (folder.parent / "shared.trained").read_text().splitlines()
    assert len(set(trained)) == len(trained) == 2  # one for the two runs that share it
    assert not (folder / ".locks").exists()

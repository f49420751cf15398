import pytest

from nblib import parameters

CELL = 'model = "tiny"  # a key\nshots = [1, 2]  # examples\nlimit: int = 0  # all\nforce = False\nresults_dir = ""'


def checked(injected, cells=()):
    """What the notebook goes on with after Papermill injected that."""
    namespace = {}
    exec(CELL + "\n" + injected, namespace)
    parameters.check(["import nblib", CELL, f"# Parameters\n{injected}", *cells], namespace)
    return {name: value for name, value in namespace.items() if name != "__builtins__"}


def test_known_names_pass():
    assert checked('model = "other"\nlimit = 3')["limit"] == 3


def test_a_misspelt_name_is_refused_with_the_near_one():
    with pytest.raises(ValueError, match="no parameter 'modle', did you mean 'model'\\? It has model, shots, limit"):
        checked('modle = "other"')


def test_names_of_later_cells_are_no_parameters():
    parameters.check([CELL, "modle = 3"], {})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('"false"', False),
        ('"No"', False),
        ("0", False),
        ("False", False),
        ('"TRUE"', True),
        ('" yes "', True),
        ("1", True),
    ],
)
def test_a_truth_value_that_arrives_as_text_is_what_it_says(given, expected):
    assert checked(f"force = {given}")["force"] is expected


@pytest.mark.parametrize("given", ['"maybe"', "2", "None", "[]", '""', "1.0", 'float("nan")'])
def test_what_is_no_truth_value_is_refused(given):
    with pytest.raises(ValueError, match="force must be true or false; got "):
        checked(f"force = {given}")


@pytest.mark.parametrize(("given", "expected"), [("100.0", 100), ('"20"', 20), ("0", 0), ('"1e2"', 100)])
def test_a_whole_number_in_other_clothes_is_one(given, expected):
    found = checked(f"limit = {given}")["limit"]
    assert (found, type(found)) == (expected, int)


@pytest.mark.parametrize("given", ["5.5", '"all"', "-3", "None", "True", 'float("nan")', 'float("inf")', "[3]"])
def test_what_is_no_count_is_refused(given):
    with pytest.raises(ValueError, match="limit must be a whole number, 0 or more; got "):
        checked(f"limit = {given}")


@pytest.mark.parametrize("given", ["None", "True", "[1]"])
def test_what_is_no_text_is_refused(given):
    with pytest.raises(ValueError, match="model must be a text; got "):
        checked(f"model = {given}")


def test_a_folder_called_like_a_year_is_a_folder():
    assert checked("results_dir = 2024")["results_dir"] == "2024"


def test_the_tilde_is_the_users_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parameters.as_folder("~/a/b", name="results_dir") == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_files_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="figures_dir must be a folder that files can be written to; got .*file is none"):
        parameters.as_folder(tmp_path / "file" / "inside", name="figures_dir")


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        ("[1,2]", int, [1, 2]),
        ("1,2", int, [1, 2]),
        (3, int, [3]),
        ("3", int, [3]),
        (["1"], int, [1]),
        ([1, 2], int, [1, 2]),
        ("[lora, full]", str, ["lora", "full"]),
        ("['lora', 'full']", str, ["lora", "full"]),
        ("lora", str, ["lora"]),
        ("icl,lora", str, ["icl", "lora"]),
        ([], int, []),
        ("[]", int, []),
        ("", str, []),
    ],
)
def test_lists_arrive_in_many_shapes(given, kind, expected):
    assert parameters.as_list(given, kind, name="shots") == expected


@pytest.mark.parametrize("given", ["[1,two]", [1.5], {"a": 1}, None, True, [True]])
def test_other_things_are_refused_by_name(given):
    with pytest.raises(ValueError, match="shots must be a list of int values"):
        parameters.as_list(given, int, name="shots")

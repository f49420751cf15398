import pytest

from nblib import parameters

CELL = 'model = "tiny"  # a key\nshots = [1, 2]  # examples\nlimit: int = 0  # all'


def test_known_names_pass():
    parameters.check(["import nblib", CELL, '# Parameters\nmodel = "other"\nlimit = 3', "x = 1"])


def test_a_misspelt_name_is_refused_with_the_near_one():
    with pytest.raises(ValueError, match="no parameter 'modle', did you mean 'model'\\? It has model, shots, limit"):
        parameters.check([CELL, '# Parameters\nmodle = "other"'])


def test_names_of_later_cells_are_no_parameters():
    parameters.check([CELL, "modle = 3"])


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        ("[1,2]", int, [1, 2]),
        ("1,2", int, [1, 2]),
        (3, int, [3]),
        ("3", int, [3]),
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


@pytest.mark.parametrize("given", ["[1,two]", [1.5], {"a": 1}, None])
def test_other_things_are_refused_by_name(given):
    with pytest.raises(ValueError, match="shots must be a list of int values"):
        parameters.as_list(given, int, name="shots")

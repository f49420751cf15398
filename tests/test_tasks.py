import json

import pytest

from nblib import tasks

ROW = {"nl": "sort list `xs`", "cmd": "xs.sort()"}


def folder(path, **lines):
    for split in tasks.SPLITS:
        text = lines.get(split, json.dumps(ROW) + "\n")
        if text is not None:
            (path / f"{split}.jsonl").write_text(text)
    return path


@pytest.mark.parametrize("name", ["conala-mini", "codealpaca-mini"])
def test_the_shipped_tasks_load_without_a_network(name):
    data = tasks.load(name)
    assert (len(data.train), len(data.validation), len(data.test)) == (400, 100, 200)
    assert len({example.id for example in data.test}) == 200
    assert any(example.tests for example in data.test)


def test_a_folder_of_json_lines_in_the_hubs_field_names_loads(tmp_path):
    data = tasks.load("conala", folder(tmp_path))
    assert data.test[0].intent == "sort list `xs`"
    assert data.test[0].code == "xs.sort()"


def test_the_content_hash_follows_the_content(tmp_path):
    first = tasks.load("conala", folder(tmp_path)).content
    assert first == tasks.load("conala", folder(tmp_path)).content
    changed = folder(tmp_path, test=json.dumps(ROW | {"cmd": "sorted(xs)"}))
    assert first != tasks.load("conala", changed).content


@pytest.mark.parametrize("corpus", ["conala", "codealpacapy"])
def test_the_real_corpora_load(corpus, real_data):
    data = tasks.load(corpus, real_data / corpus)
    sizes = {"conala": (2135, 201, 543, 0), "codealpacapy": (2193, 314, 628, 1)}  # one training row has no code
    assert (len(data.train), len(data.validation), len(data.test), data.without_code) == sizes[corpus]


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        ({"test": None}, FileNotFoundError, "test.jsonl is missing; a data folder holds"),
        ({"test": ""}, ValueError, "test.jsonl has no rows"),
        ({"test": json.dumps(ROW) + '\n{"nl": "cut'}, ValueError, "test.jsonl, line 2: not JSON"),
        ({"train": '{"cmd": "x"}'}, ValueError, "train.jsonl, line 1: no intent; the field 'nl' must hold text"),
        ({"train": '{"nl": "   ", "cmd": "x"}'}, ValueError, "line 1: no intent"),
        ({"test": '{"nl": "do", "cmd": null}'}, ValueError, "test row '1' has no code"),
        ({"train": "[1]"}, ValueError, "line 1: no intent"),
    ],
)
def test_bad_data_is_refused_with_file_and_line(tmp_path, lines, kind, message):
    with pytest.raises(kind) as refused:
        tasks.load("conala", folder(tmp_path, **lines))
    assert message in str(refused.value)


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="task must be one of conala-mini, codealpaca-mini, conala.*; got 'conla'"):
        tasks.load("conla")


def test_without_the_hub_the_error_names_the_way_out():
    with pytest.raises(ConnectionError, match="could not fetch conala-train.jsonl of neulab/docprompting-conala"):
        tasks.load("conala")

"""A file or a folder is the old one or the new one, and nothing is left beside it."""

import os

import pytest
import torch
from safetensors.torch import save_file

from nblib import files


def test_a_file_is_replaced_and_its_folder_made(tmp_path):
    path = tmp_path / "new" / "row.json"
    for content in ("é\n", b"\x00"):
        assert files.write(path, content) == path
    assert path.read_bytes() == b"\x00"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = files.write(tmp_path / "row.json", "old")
    monkeypatch.setattr(files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("No space left on device")))
    with pytest.raises(OSError, match="No space"):
        files.write(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("row.json", "old")]


def test_a_folder_takes_the_place_of_another_only_when_it_is_whole(tmp_path):
    folder = tmp_path / "adapter"
    for content in ("old", "new"):
        with files.new_folder(folder) as unfinished:
            (unfinished / content).write_text(content)
    with pytest.raises(FileNotFoundError), files.new_folder(folder) as unfinished:
        (unfinished / "half" / "way").write_text("")
    assert [file.name for file in tmp_path.rglob("*")] == ["adapter", "new"]


def test_files_and_folders_have_the_modes_that_the_user_gives_to_new_ones(tmp_path):
    usual = os.umask(0o027)
    try:
        row = files.write(tmp_path / "row.json", "{}")
        with files.new_folder(tmp_path / "adapter") as unfinished:
            save_file({"weight": torch.zeros(2)}, unfinished / "adapter_model.safetensors")
    finally:
        os.umask(usual)
    written = [row, tmp_path / "adapter", tmp_path / "adapter" / "adapter_model.safetensors"]
    assert [path.stat().st_mode & 0o777 for path in written] == [0o640, 0o750, 0o640]

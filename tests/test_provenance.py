"""What a result knows of its making."""

import shutil

from nblib import provenance


def test_a_result_knows_its_code_and_its_packages():
    found = provenance.collect()
    assert found["packages"]["torch"].startswith("2.")
    assert found["packages"]["nblib"] is not None
    assert found["python"].startswith("3.")
    assert found["commit"] is None or len(found["commit"]) == 40


def test_a_content_hash_follows_names_and_bytes_but_not_the_place(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_text("one")
    (tmp_path / "a" / "y.txt").write_text("two")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    first, second = (sorted((tmp_path / name).iterdir()) for name in "ab")
    assert provenance.content_hash(first) == provenance.content_hash(second[::-1])
    (tmp_path / "b" / "x.txt").write_text("One")
    assert provenance.content_hash(first) != provenance.content_hash(second)

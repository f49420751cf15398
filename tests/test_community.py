"""Results that others send: what is packed, what is refused when it is read, and how the report shows the rest."""

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace

import pytest

from nblib import community, results, tables
from nblib.tools.__main__ import main

METHODS = ("zero-shot.fp32.seed42", "icl-3.fp32.seed42", "lora.fp32.seed42")


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A results folder with three rows that stand for another person's."""
    monkeypatch.setattr(community, "shipped_ids", dict)
    folder = tmp_path / "results"
    folder.mkdir()
    for method in METHODS:
        row = min((results.SHIPPED / "tiny").glob(f"tiny.conala-mini.{method}.*.json"))
        for path in (row, row.with_suffix(".predictions.jsonl")):
            shutil.copyfile(path, folder / path.name)
    return folder


@pytest.fixture
def sent(mine, tmp_path):
    """The folder of packs with theirs."""
    community.pack(mine, "Ada Lovelace", tmp_path / "community")
    return tmp_path / "community"


def changed(folder, change) -> None:
    """Rewrites the one pack of a folder with other contents; its manifest fits them, as a forger's would."""
    (path,) = folder.glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(contents.pop("manifest.json"))
    change(manifest, contents)
    manifest.setdefault("files", {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()})
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {"manifest.json": json.dumps(manifest).encode(), **contents}.items():
            archive.writestr(name, content)


def row_of(contents: dict, kind: str) -> str:
    return next(name for name in contents if f".{kind}." in name and not name.endswith(".predictions.jsonl"))


def test_what_is_packed_is_read_again_row_by_row_in_the_same_bytes_every_time(mine, tmp_path):
    path, left = community.pack(mine, "Ada Lovelace", tmp_path / "a")
    again, _ = community.pack(mine, "Ada Lovelace", tmp_path / "b")
    assert left == {}
    assert path.name == again.name
    assert path.read_bytes() == again.read_bytes()
    runs, answers = community.load(tmp_path / "a")
    own = results.load(mine)
    assert list(runs.index) == list(own.runs.index)
    assert runs["em@1"].equals(own.runs["em@1"])
    assert len(answers) == 600
    assert set(answers["by"]) == {"Ada Lovelace"}


def test_the_command_says_what_it_wrote_and_what_it_left_out(mine, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(community.pack, "__defaults__", (tmp_path / "packs",))
    (icl,) = mine.glob("*icl-3*.predictions.jsonl")
    icl.write_text(icl.read_text().replace('"em@1": 0.0', '"em@1": 1.0', 1))
    unclean = next(row for row in results.read(mine, quiet=True) if "zero-shot" in row.id)
    unclean = replace(unclean, provenance=unclean.provenance | {"clean": False})
    results.write(mine, unclean, results.predictions(mine, unclean.id))
    assert main(["submit", str(mine), "--by", "Ada"]) == 0
    said = capsys.readouterr().out
    assert f"left out: {icl.name.removesuffix('.predictions.jsonl')} has predictions that were changed later" in said
    assert f"left out: {unclean.id} was made by code that is no commit of nblib: run it again from one" in said
    assert "add it to a pull request" in said
    assert len(community.load(tmp_path / "packs").runs) == 1
    assert main(["submit", str(tmp_path), "--by", "Ada"]) == 1
    assert main(["submit", str(mine), "--by", "<b>Ada</b>"]) == 1
    assert "no row of" in (said := capsys.readouterr().out)
    assert "by must be a name of letters, digits, spaces and .,'-, 60 at most; got '<b>Ada</b>'" in said


def test_folders_of_the_senders_machine_are_not_sent(mine, tmp_path):
    row = next(row for row in results.read(mine) if "zero-shot" in row.id)
    placed = row.settings | {"data_dir": "/home/ada/secret/data"}
    results.write(mine, replace(row, settings=placed), results.predictions(mine, row.id))
    path, left = community.pack(mine, "Ada", tmp_path / "community")
    assert left == {}
    with zipfile.ZipFile(path) as archive:
        assert not any(b"secret" in archive.read(name) for name in archive.namelist())
    assert row.id in community.load(tmp_path / "community").runs.index


def test_rows_of_ours_and_rows_without_scores_are_not_packed(mine, tmp_path, monkeypatch):
    ours = next(path.stem for path in mine.glob("*lora*.json"))
    monkeypatch.setattr(community, "shipped_ids", lambda: {ours: "tiny"})
    failed = next(row for row in results.read(mine) if "zero-shot" in row.id)
    results.write(mine, replace(failed, status="failed", error="MemoryError: /home/ada"))
    path, left = community.pack(mine, "Ada", tmp_path)
    assert left == {ours: "is among the rows of tiny", failed.id: "has no scores"}
    assert len(zipfile.ZipFile(path).namelist()) == 3  # a manifest, a row, its predictions


def escaping(manifest, contents):
    contents["../../escaped.json"] = b"{}"


def absolute(manifest, contents):
    contents["/tmp/escaped.json"] = b"{}"


def a_program(manifest, contents):
    contents["run.py"] = b"open('escaped', 'w')"


def with_html(manifest, contents):
    manifest["by"] = "<script>alert(1)</script>"


def with_html_in_a_name(manifest, contents):
    contents["<img src=x>.json"] = b"{}"


def other_hashes(manifest, contents):
    contents[row_of(contents, "lora")] += b" "


def a_row_less(manifest, contents):
    del contents[row_of(contents, "lora")]


def a_manifest_of_another_kind(manifest, contents):
    manifest["by"], manifest["files"] = ["Ada"], [1]


def rewritten(contents, kind, change):
    """The row as a forger who knows how rows are hashed would write it."""
    name = row_of(contents, kind)
    fields = json.loads(contents[name])
    content = fields.pop("content")
    change(fields)
    canonical = json.dumps(fields, sort_keys=True).encode()
    content["row"] = hashlib.sha256(canonical).hexdigest()[:16]
    contents[name] = json.dumps(fields | {"content": content}).encode()


def better_scores(manifest, contents):
    del manifest["files"]
    rewritten(contents, "zero-shot", lambda row: row["scores"]["em@1"].update(mean=0.99))


def another_method(manifest, contents):
    del manifest["files"]
    rewritten(contents, "icl-3", lambda row: row["settings"]["method"].update(shots=2))


def half_of_the_answers(manifest, contents):
    del manifest["files"]
    name = row_of(contents, "zero-shot").replace(".json", ".predictions.jsonl")
    contents[name] = b"".join(contents[name].splitlines(keepends=True)[:100])

    def fits(row):
        row["costs"]["examples"] = 200

    rewritten(contents, "zero-shot", fits)
    fields = json.loads(contents[row_of(contents, "zero-shot")])
    fields["content"]["predictions"] = hashlib.sha256(contents[name]).hexdigest()[:16]
    contents[row_of(contents, "zero-shot")] = json.dumps(fields).encode()


def deeply_nested(manifest, contents):
    del manifest["files"]
    contents["a.json"] = b"[" * 200_000


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (escaping, "'../../escaped.json' is no name of a row"),
        (absolute, "'/tmp/escaped.json' is no name of a row"),
        (a_program, "'run.py' is no name of a row"),
        (with_html, "does not say by whom it is"),
        (with_html_in_a_name, "is no name of a row"),
        (other_hashes, "its files are not those of its manifest"),
        (a_row_less, "its files are not those of its manifest"),
        (a_manifest_of_another_kind, "does not say by whom it is"),
        (better_scores, "zero-shot.* has another mean of em@1 than its answers"),
        (another_method, "icl-3.* has an id that does not follow from its settings, data and weights"),
        (half_of_the_answers, "zero-shot.* has 100 answers of 200"),
        (deeply_nested, "recursion"),
    ],
)
def test_a_pack_that_nobody_could_have_made_is_left_out_whole_with_a_sentence(sent, tmp_path, forge, reason):
    before = {path for path in tmp_path.rglob("*") if path.suffix != ".zip"}
    changed(sent, forge)
    with pytest.warns(UserWarning, match=f"ada-lovelace.*zip is left out: .*{reason}"):
        runs, answers = community.load(sent)
    assert (len(runs), len(answers)) == (0, 0)
    assert {path for path in tmp_path.rglob("*") if path.suffix != ".zip"} == before
    assert "Nobody has sent results yet" in repr(tables.community(runs, answers))


def test_a_pack_that_is_too_large_or_no_pack_at_all_is_left_out(sent, monkeypatch):
    monkeypatch.setattr(community, "MOST_BYTES", 1000)
    with pytest.warns(UserWarning, match="left out: it has more than 20000 files or 0 MiB"):
        assert community.load(sent).runs.empty
    next(sent.glob("ada*")).unlink()
    (sent / "other.zip").write_bytes(b"not a zip file")
    with pytest.warns(UserWarning, match="other.zip is left out: File is not a zip file"):
        community.load(sent)


def test_rows_that_are_ours_or_came_in_an_earlier_pack_are_no_second_ones(sent, mine, monkeypatch):
    community.pack(mine, "Bob", sent)
    with pytest.warns(UserWarning, match=r"bob.*zip is left out: .* is among the rows of ada-lovelace\..*zip"):
        assert set(community.load(sent).runs["by"]) == {"Ada Lovelace"}
    next(sent.glob("bob*")).unlink()
    monkeypatch.undo()
    with pytest.warns(UserWarning, match=r"ada-lovelace.*zip is left out: .* is among the rows of tiny"):
        assert community.load(sent).runs.empty


def test_the_report_says_whose_results_they_are_and_that_we_have_not_run_them(sent):
    table = tables.community(*community.load(sent))
    assert list(table.frame["by"]) == ["Ada Lovelace"] * 3
    assert "Others made these results, and we have not run them." in repr(table)
    assert "sent by" in table.html


def test_what_the_repository_ships_of_others_is_sound(recwarn):
    community.load()
    assert [str(warning.message) for warning in recwarn] == []

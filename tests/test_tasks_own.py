"""A user's own data as a task: every kind of source, messy files, splits that leak nothing."""

import json

import datasets
import pandas as pd
import pytest
import small

from nblib import metrics, prompts, results, study, tables, tasks

PAIRS = [{"frage": f"Zähle bis {word}", "loesung": f"count({place})"} for place, word in enumerate("abcdefghij")]
NAMES = {"intent": "frage", "code": "loesung"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """What was in memory is kept there."""
    monkeypatch.setenv("NBLIB_CACHE", str(tmp_path / "cache"))


def load(place, **settings):
    return tasks.load(tasks.resolve(place, **settings))


def sizes(data):
    return [len(getattr(data, split)) for split in tasks.SPLITS]


def pairs(data):
    return {(row.intent, row.code) for split in tasks.SPLITS for row in getattr(data, split)}


def written(folder, name):
    """PAIRS in a file of the kind that the name says."""
    frame, path = pd.DataFrame(PAIRS), folder / name
    folder.mkdir(exist_ok=True)
    write = {
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "gz": lambda: frame.to_json(path, orient="records", lines=True),
        "json": lambda: frame.to_json(path, orient="records"),
        "csv": lambda: frame.to_csv(path, index=False),
        "tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        "parquet": lambda: frame.to_parquet(path),
    }
    write[name.rpartition(".")[2]]()
    return path


# --- sources --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json", "csv", "tsv", "parquet"])
def test_a_file_of_every_kind_is_a_task_of_its_own_name(tmp_path, kind):
    own = tasks.resolve(written(tmp_path, f"Meine Paare.{kind}"), columns=json.dumps(NAMES))
    data = tasks.load(own)
    assert (own.name, str(own), data.name) == ("meine-paare",) * 3
    assert tasks.resolve(written(tmp_path, f"conala.{kind}"), columns=NAMES).name == "conala-own"
    assert pairs(data) == {(row["frage"], row["loesung"]) for row in PAIRS}
    assert sizes(data) == [8, 1, 1]
    assert tasks.load(own) == data


def test_a_folder_has_its_files_by_split(tmp_path):
    for split, rows in (("train", 6), ("dev", 1), ("test", 3)):
        pd.DataFrame(PAIRS[:rows]).to_csv(tmp_path / f"{split}.csv", index=False)
    data = load(tmp_path, columns=NAMES)
    assert sizes(data) == [6, 1, 3]
    assert tasks.checks(data, None, tasks.TASKS["conala"])["overlaps"][1]["exact"] == 3


def test_a_split_that_is_missing_comes_from_the_training_rows(tmp_path):
    pd.DataFrame(PAIRS).to_csv(tmp_path / "train.csv", index=False)
    pd.DataFrame(PAIRS[:2]).to_csv(tmp_path / "test.csv", index=False)
    data = load(tmp_path, columns=NAMES)
    assert sizes(data) == [9, 1, 2]
    assert "Taken from the other rows, with similar intents in one split: validation." in data.remarks


def test_what_is_in_memory_is_a_task_of_the_same_content():
    frame, split = pd.DataFrame(PAIRS), datasets.Dataset.from_list(PAIRS)
    given = [load(rows, columns=NAMES, name="paare") for rows in (frame, PAIRS, split)]
    assert {data.content for data in given} == {given[0].content}
    by_split = datasets.DatasetDict(train=split, validation=split.select([0]), test=split.select([1, 2]))
    assert sizes(load(by_split, columns=NAMES)) == [10, 1, 2]
    assert sizes(load({"train": PAIRS, "validation": frame[:1], "test": PAIRS[:3]}, columns=NAMES)) == [10, 1, 3]


@pytest.mark.parametrize(
    ("rows", "intent", "code"),
    [
        ({"Instruction": "sort", "input": "xs", "output": "xs.sort()"}, "sort\nxs", "xs.sort()"),
        ({"question": "sort", "cmd": "xs.sort()", "input": None}, "sort", "xs.sort()"),
        ({"prompt": "sort", "completion": "Sure:\n```python\nxs.sort()\n```\nDone."}, "sort", "xs.sort()"),
        (
            {"messages": [{"role": role, "content": role[0]} for role in ("system", "user", "assistant")]},
            "u",
            "a",
        ),
        ({"conversations": [{"from": "human", "value": "sort"}, {"from": "gpt", "value": "xs"}]}, "sort", "xs"),
    ],
)
def test_columns_are_found_by_their_customary_names(rows, intent, code):
    data = load({"train": [rows] * 2, "validation": [rows], "test": [rows]})
    assert [(row.intent, row.code) for row in data.test] == [(intent, code)]
    assert data.remarks[0].startswith("Columns: ")


def test_ids_and_tests_are_read_and_tests_of_python_are_run():
    rows = [
        {"nl": f"add {word}", "code": "x", "test_list": ["assert x", "assert 1"], "id": 7} for word in ("a", "b", "c")
    ]
    own = tasks.resolve(rows)
    assert (own.executed, tasks.load(own).test[0].tests) == (True, ("assert x", "assert 1"))
    assert sorted(row.id for split in tasks.SPLITS for row in getattr(tasks.load(own), split)) == ["1:7", "2:7", "3:7"]
    assert not tasks.resolve(rows, columns={"tests": ""}).executed
    foreign = load(rows, language="sql")
    assert "Tests are not run: only Python is run." in foreign.remarks


# --- messy files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("\ufefffrage;loesung\r\neins;a()\r\n\r\nzwei;b()\r\ndrei;c()\r\n", "a()"),
        ('frage,loesung\neins,"for x in y:\n\n    a(x, y)"\nzwei,b\ndrei,c\n', "for x in y:\n\n    a(x, y)"),
        ("frage,loesung,mehr\neins,a(),\nzwei,b,1\ndrei,c,2\nvier,,3\n,d,4\n", "a()"),
        ("frage,loesung\neins,a()\nzwei,007\ndrei,NA\n", "a()"),
    ],
    ids=["BOM, CRLF, blank line, semicolons", "quoted newlines", "missing cells", "like numbers"],
)
def test_untidy_tables_are_read(tmp_path, text, code):
    (tmp_path / "t.csv").write_bytes(text.encode())
    data = load(tmp_path / "t.csv", columns=NAMES)
    found = dict(pairs(data))
    assert sorted(found) == ["drei", "eins", "zwei"]
    assert found["eins"] == code
    assert data.without_code == (2 if ",,3" in text else 0)
    assert "007" not in text or (found["zwei"], found["drei"]) == ("007", "NA")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "t.csv",
            "nl,cmd\na,b\n",
            "t.csv has 1 different intents, nearly equal ones taken as one, and train",
        ),
        ("t.csv", "nl,cmd\na,b\nc,d\n", "has 2 different intents"),
        ("t.csv", "nl,cmd\n", "t.csv has no rows"),
        ("t.csv", "", "t.csv has no rows"),
        ("t.jsonl", "\n", "t.jsonl has no rows"),
        ("t.csv", "nl\na\nb\n", "t.csv has no column with a usual name for the code; it has 'nl'"),
        ("t.csv", "x,y\na,b\n", "usual name for the intent; it has 'x', 'y': name it, as in -p columns '{\"intent\":"),
        ("t.csv", "nl,cmd\n,\n", "has no row with both an intent and code"),
        ("t.csv", "nl,cmd\na,b,c,d\nb\na,b,c,d,e,f\n", "t.csv: not a table"),
        ("t.jsonl", '{"nl": "a", "cmd": "b"}\n{"nl', "t.jsonl, line 2: not JSON"),
        ("t.jsonl", "[1]\n", "t.jsonl, line 1: a row must have named columns; got list"),
        ("t.jsonl", '{"messages": [{"role": "user", "content": "a"}]}', "line 1: no turn of the assistant"),
        ("t.xlsx", "nl", "must be a file of the kind .jsonl, .json, .csv, .tsv, .parquet"),
    ],
)
def test_what_cannot_be_a_task_is_one_sentence(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=".") as refused:
        load(tmp_path / name)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"intent": "x"}}, "has no column 'x'; it has 'frage', 'loesung'"),
        ({"columns": "frage"}, "columns must map some of messages, intent, code"),
        ({"columns": {"answer": "frage"}}, "columns must map some of messages, intent, code"),
        ({"columns": NAMES, "split": [0.5, 0.5]}, "split must be shares of training, validation and test rows"),
        ({"columns": NAMES, "split": "[0.5, 0.5, 0.5]"}, "split must be shares"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match="must|has") as refused:
        tasks.resolve(written(tmp_path, "t.csv"), **settings)
    assert message in str(refused.value)


def test_a_place_that_is_not_there_and_settings_of_a_known_task_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a file nor a folder"):
        tasks.resolve(str(tmp_path / "t.csv"))
    with pytest.raises(ValueError, match="are for your own data; the task is 'conala-mini'"):
        tasks.resolve("conala-mini", language="sql")
    with pytest.raises(ValueError, match="data_dir and revision are for a known task"):
        tasks.load(tasks.resolve(PAIRS, columns=NAMES), "/data")


# --- splits and leaks -----------------------------------------------------------------------------------------------


def test_a_seeded_split_keeps_like_intents_and_groups_together():
    same = [
        {"nl": text, "cmd": f"f({place})"} for place, text in enumerate(["Sort the list xs", "sort the list `xs`."])
    ]
    near = [{"nl": " ".join([*map(str, range(30)), str(end)]), "cmd": "f"} for end in (40, 41, 42)]
    grouped = [{"nl": f"group {word}", "cmd": "g", "who": "ann"} for word in "klmnop"]
    rows = [*same, *near, *grouped, *({"nl": f"row {word}", "cmd": "h"} for word in "abcdefghi")]
    data = load(rows, columns={"group": "who"}, split=[0.5, 0.25, 0.25])
    assert sizes(data) == [10, 5, 5]
    split_of = {row.intent: split for split in tasks.SPLITS for row in getattr(data, split)}
    for family in (same, near, grouped):
        assert len({split_of[row["nl"]] for row in family}) == 1
    assert data == load(rows, columns={"group": "who"}, split=[0.5, 0.25, 0.25])
    assert all(pair["near"] == 0 for pair in tasks.checks(data, None, tasks.TASKS["conala"])["overlaps"])


def leaky(tmp_path):
    """A folder with files by split: two of three test intents are also in the training rows, one of them nearly."""
    long = " ".join(f"word{number}" for number in range(30))
    splits = {"train": [long, "sort xs", "add"], "validation": ["sub"], "test": [f"{long} more", "Sort `xs`.", "mul"]}
    for split, intents in splits.items():
        pd.DataFrame({"nl": intents, "cmd": [f"f({place})" for place in range(len(intents))]}).to_csv(
            tmp_path / f"{split}.csv", index=False
        )
    return tmp_path


def test_leaks_are_counted_in_the_row_and_may_be_left_out(tmp_path):
    runs = study.compare("tiny", str(leaky(tmp_path)), names=["icl"], shots=[1], seeds=[1])
    (planned,), (strict,) = study.plan(runs), study.plan(study.adjusted(runs, drop_leaked=True))
    train_and_test = planned.checks["overlaps"][1]
    assert (train_and_test["exact"], train_and_test["normalized"], train_and_test["near"]) == (0, 1, 2)
    assert [row.intent for row in strict.data.test] == ["mul"]
    assert strict.checks["remarks"][-1] == "2 test rows are left out because their intent is in the training rows."
    assert planned.checks["ids"] == {"train": ["1", "2", "3"], "validation": ["1"], "test": ["1", "2", "3"]}
    assert strict.id != planned.id
    frame = {"task": "own", "split": "test", "shape_only": False, "settings": [{}]}
    frame = pd.DataFrame(frame | {"notes": [{"data_checks": planned.checks}]})
    assert tables.protocol.leaked(frame) == "2 of 3, 1 of them exactly"


# --- runs -----------------------------------------------------------------------------------------------------------


def test_an_id_follows_content_and_words_but_not_the_place(tmp_path):
    def planned(place, **settings):
        own = tasks.resolve(place, columns=NAMES, **settings)
        return study.plan(study.compare("tiny", own, names=["zero-shot"]))[0]

    first = planned(written(tmp_path / "a", "paare.csv"))
    assert first.id.startswith("tiny.paare.zero-shot.")
    assert first.id == planned(written(tmp_path / "b", "paare.jsonl")).id
    assert first.id != planned(tmp_path / "a" / "paare.csv", language="sql").id
    assert first.id != planned(tmp_path / "a" / "paare.csv", instruction="Auf Deutsch:").id
    assert first.id != planned(tmp_path / "a" / "paare.csv", split=[0.6, 0.2, 0.2]).id


def test_prompts_and_scores_are_of_the_languages_own_words():
    rows, tokenizer = [{"nl": f"all {word}", "sql": f"SELECT {word}"} for word in "abc"], small.tokenizer()
    calls = {}
    for words in ("", "Schreibe SQL."):
        own = tasks.resolve(rows, columns={"code": "sql"}, language="SQL", instruction=words)
        (planned,) = study.plan(study.compare("tiny", own, names=["zero-shot"]))
        calls[words] = study.planning.build_prompts(planned.run, planned.data.test, [()], tokenizer)[0].text
    (row,) = planned.data.test
    assert calls[""] == prompts.INSTRUCTION.format(
        intent=prompts.CODE_ONLY.replace("Python", "SQL").format(intent=row.intent)
    )
    assert calls["Schreibe SQL."] == prompts.INSTRUCTION.format(intent=f"Schreibe SQL.\n\n{row.intent}")
    assert planned.checks["remarks"][-1].startswith("CodeBLEU is left out: there is one of python, c,")
    (scored,) = metrics.score([row], [results.Prediction(row.id, (row.code,), (row.code,), 1, 1)])
    assert scored.scores == {"em@1": 1.0, "chrf": 1.0, "chrf++": 1.0}
    both = "run `pip install 'tree-sitter-java<0.24' && pip install --no-deps codebleu`"
    assert both in metrics.code_bleu.gap("java")


def test_a_practitioners_settings_are_in_every_runs_id():
    runs = study.compare("tiny", "conala-mini", names=["zero-shot", "icl", "lora", "adalora"], shots=[1], seeds=[1])
    assert study.adjusted(runs) == runs
    zero, icl, lora, adalora = study.adjusted(
        runs, epochs=2, batch_size=6, learning_rate=0.01, rank=32, max_train=40, drop_leaked=True
    )
    assert (zero.max_train, icl.max_train, zero.drop_leaked) == (None, 40, True)
    assert (lora.training.epochs, lora.training.batch_size, lora.training.device_batch) == (2, 6, 2)
    assert (lora.method.r, lora.method.learning_rate, adalora.method.initial_r) == (32, 0.01, 48)
    with pytest.raises(ValueError, match="learning_rate must be above 0; got 'much'"):
        study.adjusted(runs, learning_rate="much")

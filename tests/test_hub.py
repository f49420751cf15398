"""Datasets and models by their Hub ids, from a small Hub on loopback; what a user reads when that fails."""

import hub
import pytest
import small

from nblib import models, tasks
from nblib.hub import bar

ROW = {"nl": "sort list `xs`", "cmd": "xs.sort()"}
NO_WAITING = "time.sleep = lambda seconds: None"  # the Hub's client waits before it tries again


@pytest.fixture
def server():
    """An empty Hub."""
    running = hub.Hub()
    yield running
    running.close()


def conala(count: int = 3) -> dict[str, bytes]:
    """CoNaLa's files with so many training rows, all different."""
    return {
        f"conala-{split}.jsonl": hub.lines(*[{**ROW, "question_id": f"{split}-{number}"} for number in range(rows)])
        for split, rows in (("train", count), ("dev", 2), ("test", 1))
    }


# --- datasets -------------------------------------------------------------------------------------------------------


def test_every_task_of_the_hub_loads_from_its_layout(server, tmp_path):
    function = {"task_id": "HumanEval/0", "prompt": "def f(x):\n", "canonical_solution": "    return x\n"}
    function |= {"test": "def check(candidate):\n    assert candidate(1) == 1\n"}
    problem = {"id": 7, "question": "Double it.", "solutions": '["print(2 * int(input()))"]', "difficulty": "interview"}
    pair = {
        "text": "Double x.",
        "code": "def f(x):\n    return 2 * x",
        "test_list": ["assert f(1) == 2"],
        "task_id": 11,
    }
    piece = {"task_id": 1, "intent": "double x", "prompt": "def f(x):\n\treturn ", "canonical_solution": "2 * x"}
    served = {
        "conala": conala(),
        "codealpacapy": {
            f"data/{split}-00000-of-00001-ab1.parquet": hub.parquet(ROW) for split in ("train", "valid", "test")
        },
        "apps": {
            "train.jsonl": hub.lines(*[problem] * 20),
            "test.jsonl": hub.lines(problem),
            "apps.py": b"raise SystemExit",
        },
        "odex": {"en_test.jsonl": hub.lines(piece, {**piece, "intent": ROW["nl"]}), "ja_test.jsonl": b"{"},
        "mbpp": {
            f"{form}/{split}-00000-of-00001.parquet": hub.parquet({**pair, "task_id": id, "prompt": pair["text"]})
            for form in ("full", "sanitized")
            for split, id in (("train", 700), ("validation", 550), ("test", 12), ("prompt", 1))
        },
        "humaneval": {"openai_humaneval/test-00000-of-00001.parquet": hub.parquet({**function, "entry_point": "f"})},
    }
    commits = {name: server.add_task(name, files) for name, files in served.items()}
    sizes = {"conala": [3, 2, 1], "codealpacapy": [1, 1, 1], "apps": [18, 2, 1], "odex": [0, 0, 1], "mbpp": [1, 1, 1]}
    sizes |= {"humaneval": [0, 0, 1]}
    answers = hub.ask(server.endpoint, tmp_path, *[f"about(tasks.load({name!r}))" for name in sizes])
    assert answers == [[*size, commits[name]] for name, size in sizes.items()]
    fetched = " ".join(request for request in server.requests if "resolve" in request)
    assert all(unread not in fetched for unread in ("ja_test", "apps.py", "full/", "sanitized/prompt"))


def test_a_users_own_dataset_is_a_task_by_its_id(server, tmp_path):
    rows = [{"question": f"add {word}", "answer": f"{word} + 1"} for word in "abcdefghijkl"]
    card = b"---\nconfigs:\n- config_name: short\n  data_files: short/*.jsonl\n- config_name: long\n  data_files:\n"
    card += b"  - split: train\n    path: long/a.csv\n  - split: test\n    path: long/b.csv\n---\n"
    files = {"README.md": card, "short/x.jsonl": hub.lines(*rows)}
    files |= {f"long/{name}.csv": f"nl,cmd\n{name} {name},f\nc {name},g\n".encode() for name in ("a", "b")}
    commit = server.add("datasets", "ann/tickets", files, names=("v1",))
    server.add(
        "datasets",
        "ann/plain",
        {"data/train-0.parquet": hub.parquet(*rows), "data/test-0.parquet": hub.parquet(rows[0])},
    )
    server.add("datasets", "ann/script", {"script.py": b"raise SystemExit"})
    places = (
        "ann/tickets:short@v1",
        "ann/tickets:long@v1",
        "ann/plain",
        "ann/tickets:other@v1",
        "ann/script",
        "ann/none",
    )
    answers = hub.ask(server.endpoint, tmp_path, *[f"about(tasks.load({place!r}))" for place in places])
    assert answers[0] == [10, 1, 1, commit]
    assert answers[1][:3] == [1, 1, 2]
    assert answers[2][:3] == [11, 1, 1]
    assert [kind for kind, _ in answers[3:]] == ["ValueError"] * 3
    assert all("\n" not in text for _, text in answers[3:])
    assert "other" in answers[3][1]
    (name,) = hub.ask(server.endpoint, tmp_path, "tasks.resolve('ann/tickets:long@v1').name")
    assert name == "tickets-long"
    server.close()
    assert hub.ask(server.endpoint, tmp_path, "about(tasks.load('ann/plain'))") == [answers[2]]


def test_a_revision_is_a_commit_a_tag_or_a_branch_and_the_cache_serves_without_the_hub(server, tmp_path):
    id = tasks.TASKS["conala"].hub
    old = server.add("datasets", id, conala(5), names=("v1",))
    new = server.add("datasets", id, conala(6))
    questions = [f"about(tasks.load('conala', revision={name!r}))" for name in (old, "v1", "main")]
    answers = hub.ask(server.endpoint, tmp_path, *questions, "tasks.load('conala', revision='v2')")
    assert answers[:3] == [[5, 2, 1, old], [5, 2, 1, old], [6, 2, 1, new]]
    assert answers[3][1] == f"the Hub has no revision 'v2' of dataset {id}; give a branch, a tag or a commit"
    server.requests.clear()
    assert hub.ask(server.endpoint, tmp_path, questions[0]) == answers[:1]
    assert server.requests == []  # a commit in the cache asks nothing of the Hub
    server.close()
    for offline in (False, True):
        assert hub.ask(server.endpoint, tmp_path, *questions, offline=offline) == answers[:3]


def test_rows_from_the_hub_are_those_of_a_folder_and_arrive_silently(server, tmp_path):
    server.add_task("conala", conala())
    for split, data in zip(tasks.SPLITS, conala().values(), strict=True):
        (tmp_path / f"{split}.jsonl").write_bytes(data)
    assert hub.screen(server.endpoint, tmp_path / "home", "tasks.load('conala')") == ""
    (content,) = hub.ask(server.endpoint, tmp_path / "home", "tasks.load('conala').content")
    assert content == tasks.load("conala", tmp_path).content
    assert bar(shown=False)(total=1).disable
    with bar(shown=True)(total=1, disable=False) as shown:  # a long download
        assert not shown.disable
        assert shown.mininterval >= 1


REFUSED = "the Hub refuses dataset {id}: accept its licence on its page and run `hf auth login`"
ABSENT = "dataset {id} is neither in the local cache nor could it be fetched from the Hub{offline}: check the name and"
INSTEAD = "give data_dir, a folder with train.jsonl, validation.jsonl and test.jsonl for conala"


def test_what_fails_on_the_hub_is_one_sentence_and_then_works(server, tmp_path):
    server.add_task("conala", conala())
    server.add_task("odex", {"en_test.jsonl": hub.lines({"intent": "double x", "canonical_solution": "2 * x"})})
    id = str(tasks.TASKS["conala"].hub)
    repository = server.repositories["datasets", id]

    def refused(*questions, cache="cache") -> list[str]:
        answers = hub.ask(server.endpoint, tmp_path / cache, *questions, before=NO_WAITING)
        assert all("\n" not in text for _, text in answers)
        return [f"{kind} {text}" for kind, text in answers]

    repository.gated = 403
    gated, odex, absent = refused("tasks.load('conala')", "tasks.load('odex')", "tasks.load('humaneval')")
    assert gated == f"ConnectionError {REFUSED.format(id=id)}"
    assert odex.startswith("ConnectionError odex leaves out what conala trains on, and its rows are not there (the Hub")
    assert odex.endswith("or take the task odex-all")
    assert absent.startswith("ValueError the Hub has no dataset openai/openai_humaneval, or it is private: check the")
    assert absent.endswith("or give data_dir, a folder with test.jsonl for humaneval")
    repository.gated = 401
    assert refused("tasks.load('conala')") == [f"ConnectionError {REFUSED.format(id=id)}"]
    repository.gated = None
    repository.cut.add("conala-train.jsonl")
    assert refused("tasks.load('conala')")[0].startswith(f"ConnectionError the download of dataset {id} broke off")
    repository.cut.clear()
    (files,) = repository.commits.values()
    test = files.pop("conala-test.jsonl")
    (missing,) = refused("tasks.load('conala')", cache="empty")
    assert missing.startswith(f"ValueError dataset {id} has no file conala-test.jsonl at revision")
    files["conala-test.jsonl"] = test
    assert hub.ask(server.endpoint, tmp_path / "cache", "about(tasks.load('conala'))[:3]") == [[3, 2, 1]]


def test_no_network_and_no_cache_say_so_at_once(server, tmp_path):
    server.close()
    id = tasks.TASKS["conala"].hub
    for offline, words in ((False, ""), (True, " (HF_HUB_OFFLINE is set)")):
        ((kind, text),) = hub.ask(server.endpoint, tmp_path, "tasks.load('conala')", offline=offline)
        assert kind == "ConnectionError"
        assert text.startswith(ABSENT.format(id=id, offline=words))
        assert text.endswith(INSTEAD)


# --- models ---------------------------------------------------------------------------------------------------------


def test_a_model_loads_by_its_id_and_again_without_the_hub_and_what_fails_is_one_sentence(server, tmp_path):
    files = {seed: hub.folder_files(_saved(tmp_path / str(seed), seed)) for seed in (1, 2)}
    old = server.add("models", "someone/small", files[1], names=("v1",))
    new = server.add("models", "someone/small", files[2])
    for name, lost in (("gated", ""), ("cut", ""), ("bare", "model.safetensors"), ("empty", "config.json")):
        kept = {file: data for file, data in files[1].items() if file != lost}
        server.add("models", f"someone/{name}", {**kept, "README.md": name.encode()})
    server.repositories["models", "someone/gated"].gated = 403
    server.repositories["models", "someone/cut"].cut.add("model.safetensors")
    ids = ("someone/small", "someone/small@v1", f"someone/small@{old}")
    questions = [f"[models.revision({id!r}), total(models.load({id!r}))]" for id in ids]
    questions += ["models.config('someone/small@v1').max_position_embeddings"]
    questions += ["models.load('someone/small@v1')[0].name_or_path"]
    failing = {
        "gated": "ConnectionError the Hub refuses model someone/gated: accept its licence on its page and run `hf auth",
        "cut": "ConnectionError the download of model someone/cut broke off (RemoteProtocolError: ",
        "bare": "ValueError model someone/bare has no model*.safetensors and no pytorch_model*.bin on the Hub",
        "empty": "ValueError model someone/empty has no config.json on the Hub",
        "nothing": "ValueError the Hub has no model someone/nothing, or it is private: check the name, run `hf auth",
        "cut@v9": "ValueError the Hub has no revision 'v9' of model someone/cut; give a branch, a tag or a commit",
    }
    loads = [f"models.load('someone/{name}')" for name in failing]
    answers = hub.ask(server.endpoint, tmp_path / "home", *questions, *loads, before=NO_WAITING)
    sums = [_total(small.model(seed=seed)) for seed in (2, 1, 1)]
    assert sums[0] != pytest.approx(sums[1], rel=1e-6)
    assert [commit for commit, _ in answers[:3]] == [new, old, old]
    assert [total for _, total in answers[:3]] == pytest.approx(sums, rel=1e-9)
    assert answers[3:5] == [2048, "someone/small"]
    for (kind, text), start in zip(answers[5:], failing.values(), strict=True):
        assert f"{kind} {text}".startswith(start)
        assert "\n" not in text
    server.close()
    assert hub.ask(server.endpoint, tmp_path / "home", *questions) == answers[:5]


def test_a_model_without_network_is_one_sentence():
    with pytest.raises(
        ConnectionError, match="model codellama/CodeLlama-7b-hf is neither in the local cache.*HF_HUB_OFFLINE is set"
    ):
        models.revision("codellama-7b@main")


def _total(model) -> float:
    return sum(parameter.detach().double().abs().sum().item() for parameter in model.parameters())


def _saved(path, seed: int):
    small.folder(path, seed=seed)
    return path

